//! Channels that run a program, and templates with a custom method and URL.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use llmwatch::clock;
use llmwatch::config::Settings;
use llmwatch::notify::{Attempt, Progress, Sender};
use llmwatch_simulator::WebhookSink;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::receivers::{load, opened};
use crate::support::{PATIENCE, World};

/// Configures a channel that runs this shell script with this timeout.
fn script(directory: &Path, text: &str, timeout: &str) -> Settings {
    let path = directory.join("notify");
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = path.display();
    load(&format!(
        "[[webhook]]\nkind = \"exec\"\ncommand = [\"{path}\", \"two words\"]\ntimeout = \"{timeout}\"\nheaders = {{ x = \"sentinel-secret\" }}\n"
    ))
}

async fn attempt(config: &Settings) -> Attempt {
    Sender::new(config)
        .unwrap()
        .attempt(
            &config.channels[0],
            &opened(),
            Progress::default(),
            clock::now(),
        )
        .await
}

#[tokio::test]
async fn a_program_gets_the_json_and_a_small_environment() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().display();
    let config = script(
        directory.path(),
        &format!("cat > {at}/body; env > {at}/env; printf '%s' \"$1\" > {at}/argument"),
        "2m",
    );
    let delivered = attempt(&config).await;
    assert!(
        matches!(delivered, Attempt::Delivered { .. }),
        "{delivered:?}"
    );
    let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
    let body: Value = serde_json::from_str(&read("body")).unwrap();
    assert_eq!(body["type"], "incident.opened");
    assert_eq!(read("argument"), "two words");
    let environment = read("env");
    assert!(
        environment.contains("LLMWATCH_TYPE=incident.opened\n"),
        "{environment}"
    );
    assert!(!environment.contains("CARGO"), "{environment}");
}

#[tokio::test]
async fn exit_codes_decide_whether_a_program_is_run_again() {
    let directory = tempfile::tempdir().unwrap();
    let config = script(
        directory.path(),
        "echo 'no sentinel-secret today' >&2; exit 3",
        "2m",
    );
    let Attempt::Retry { error, .. } = attempt(&config).await else {
        panic!("it is retried")
    };
    assert_eq!(error, "the program ended with exit code 3: no *** today");
    let config = script(directory.path(), "exit 78", "2m");
    assert!(matches!(attempt(&config).await, Attempt::Failed { .. }));
    let config = script(directory.path(), "kill -9 $$", "2m");
    assert!(matches!(attempt(&config).await, Attempt::Retry { .. }));
    let config = load("[[webhook]]\nkind = \"exec\"\ncommand = [\"/nonexistent/program\"]\n");
    let Attempt::Retry { error, .. } = attempt(&config).await else {
        panic!("it is retried")
    };
    assert_eq!(
        error,
        "the program cannot be run: no such file or directory"
    );
}

#[tokio::test]
async fn check_reports_a_program_that_cannot_be_run() {
    let directory = tempfile::tempdir().unwrap();
    let plain = directory.path().join("plain");
    std::fs::write(&plain, "#!/bin/sh\n").unwrap();
    for (program, why) in [
        (
            "/nonexistent/program".to_owned(),
            "cannot be run: no such file or directory",
        ),
        (plain.display().to_string(), "is not executable"),
        (directory.path().display().to_string(), "is not a file"),
    ] {
        let world = World::new().await;
        world.write(&format!(
            "{}\n[[webhook]]\nname = \"pager\"\nkind = \"exec\"\ncommand = [\"{program}\"]\n",
            world.endpoints()
        ));
        let checked = world.llmwatch(&["check"]).output().await.unwrap();
        let said = String::from_utf8_lossy(&checked.stdout).into_owned();
        let wanted = format!("warning: channel `pager`: `{program}` {why}");
        assert!(said.contains(&wanted), "{said}");
        assert_eq!(checked.status.code(), Some(0));
    }
}

#[tokio::test]
async fn a_program_that_hangs_is_killed_with_its_children() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().display();
    let config = script(
        directory.path(),
        &format!("sleep 600 & echo $! > {at}/child; head -c 10000000 /dev/zero >&2; sleep 600"),
        "1s",
    );
    let child = directory.path().join("child");
    // On a busy machine, the timeout may expire before the program has started.
    while !child.exists() {
        let attempt = tokio::time::timeout(PATIENCE, attempt(&config)).await;
        let Attempt::Retry { error, .. } = attempt.expect("it is ended") else {
            panic!("it is retried")
        };
        assert!(
            error.contains("took longer than `timeout` (1 s)"),
            "{error}"
        );
    }
    let child = std::fs::read_to_string(child).unwrap();
    let stat = format!("/proc/{}/stat", child.trim());
    crate::support::eventually("the end of the child", || {
        let state = std::fs::read_to_string(&stat).unwrap_or_default();
        // A zombie only waits to be reaped by its new parent.
        (state.is_empty() || state.contains(") Z ")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_template_may_put_and_fill_its_address() {
    let mut sink = WebhookSink::start(TcpListener::bind("127.0.0.1:0").await.unwrap()).unwrap();
    let config = load(&format!(
        "[[webhook]]\nkind = \"template\"\nurl = \"http://{}/incidents/{{{{data.incident.number}}}}?title={{{{data.incident.title}}}}\"\n\
         method = \"PUT\"\ncontent_type = \"application/x-www-form-urlencoded\"\nbody = \"text={{{{subject}}}}\"\n",
        sink.addr()
    ));
    let delivered = attempt(&config).await;
    assert!(
        matches!(delivered, Attempt::Delivered { .. }),
        "{delivered:?}"
    );
    let request = sink.next().await;
    assert_eq!(request.method, "PUT");
    assert!(
        request.path.starts_with("/incidents/42"),
        "{}",
        request.path
    );
    assert!(!String::from_utf8_lossy(&request.body).contains(' '));
}
