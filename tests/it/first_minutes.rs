//! The first minutes of a new user: `llmwatch init`, and the help texts.

use std::net::SocketAddr;
use std::path::Path;

use llmwatch::store::Store;
use llmwatch_simulator::{Scenario, Simulator};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::support::{KEY, World, free_port};

async fn simulator(name: &str) -> Simulator {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Simulator::start_as(name, listener, Scenario::healthy()).unwrap()
}

/// Runs the binary in `directory` with only `vars` in its environment.
fn llmwatch(directory: &Path, verb: &[&str], vars: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llmwatch"));
    command.args(verb).current_dir(directory).env_clear();
    command.env("HOME", directory);
    // Do not find an Ollama server on this machine.
    command.env("OLLAMA_HOST", "127.0.0.1:9");
    command.envs(vars.iter().copied());
    command
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn init_writes_what_it_finds_and_check_takes_it() {
    let (openai, azure) = (simulator("openai").await, simulator("azure").await);
    let directory = tempfile::tempdir().unwrap();
    let openai = format!("http://{}/v1", openai.addr());
    let azure = format!("http://{}", azure.addr());
    let vars = [
        ("OPENAI_API_KEY", KEY),
        ("OPENAI_BASE_URL", &openai),
        ("AZURE_OPENAI_API_KEY", KEY),
        ("AZURE_OPENAI_ENDPOINT", &azure),
        ("AZURE_OPENAI_DEPLOYMENT", "gpt-6-luna"),
        ("ANTHROPIC_API_KEY", KEY),
        ("ANTHROPIC_BASE_URL", "http://127.0.0.1:9"),
        ("GEMINI_API_KEY", ""),
    ];
    let done = llmwatch(directory.path(), &["init", "--yes"], &vars)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(0), "{said}");
    assert!(done.stdout.is_empty());
    let path = directory.path().join("monitor.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains(KEY) && !said.contains(KEY), "{text}\n{said}");
    assert!(text.contains("api_key = \"${OPENAI_API_KEY}\""), "{text}");
    assert!(text.contains(&format!("base_url = \"{openai}\"")), "{text}");
    assert!(text.contains("deployment = \"gpt-6-luna\""), "{text}");
    assert!(!text.contains("gemini"), "{text}");
    assert!(text.contains("# [[email]]"), "{text}");
    let (_, anthropic) = text.rsplit_once("# The first probe failed: ").unwrap();
    assert!(anthropic.contains("(tcp.refused)"), "{text}");
    assert!(anthropic.contains("provider = \"anthropic\""), "{text}");
    assert_eq!(text.matches("# The first probe succeeded").count(), 2);

    let check = llmwatch(directory.path(), &["check", "--json"], &vars)
        .output()
        .await
        .unwrap();
    assert_eq!(check.status.code(), Some(0), "{check:?}");
    let plan: serde_json::Value = serde_json::from_slice(&check.stdout).unwrap();
    assert_eq!(plan["endpoints"].as_array().unwrap().len(), 3);

    let again = llmwatch(
        directory.path(),
        &["init", "--yes"],
        &[("OPENAI_API_KEY", "x")],
    )
    .output()
    .await
    .unwrap();
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("--force"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test(flavor = "multi_thread")]
async fn init_that_finds_nothing_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let done = llmwatch(directory.path(), &["init"], &[])
        .output()
        .await
        .unwrap();
    assert_eq!(done.status.code(), Some(1));
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(said.contains("OPENAI_API_KEY"), "{said}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn init_keeps_clouds_only_if_they_answer() {
    let (bedrock, vertex) = (simulator("bedrock").await, simulator("vertex").await);
    let bedrock = format!("http://{}", bedrock.addr());
    let vertex = format!("http://{}", vertex.addr());
    let closed = "http://127.0.0.1:9";
    for (bedrock, vertex, code) in [(bedrock.as_str(), vertex.as_str(), 0), (closed, closed, 1)] {
        let directory = tempfile::tempdir().unwrap();
        let vars = [
            ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
            ("AWS_SECRET_ACCESS_KEY", KEY),
            ("AWS_DEFAULT_REGION", "eu-central-1"),
            ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", bedrock),
            ("GOOGLE_CLOUD_PROJECT", "my-project"),
            ("GOOGLE_VERTEX_BASE_URL", vertex),
        ];
        let done = llmwatch(directory.path(), &["init", "--yes"], &vars)
            .output()
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(code), "{said}");
        let text = std::fs::read_to_string(directory.path().join("monitor.toml"));
        let text = text.unwrap_or_default();
        let is_written = code == 0;
        for table in [
            "aws = { region = \"eu-central-1\" }",
            "google = { project = \"my-project\" }",
        ] {
            assert_eq!(text.contains(table), is_written, "{text}\n{said}");
        }
        assert!(!text.contains(KEY) && !said.contains(KEY), "{text}\n{said}");
        let dropped = said.matches("probably for something else").count();
        assert_eq!(dropped, if is_written { 0 } else { 2 }, "{said}");
    }
    let directory = tempfile::tempdir().unwrap();
    let vars = [
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("OPENAI_API_KEY", KEY),
        ("OPENAI_BASE_URL", closed),
    ];
    let done = llmwatch(directory.path(), &["init"], &vars)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(0), "{said}");
    assert!(
        said.contains("found AWS_ACCESS_KEY_ID, but not AWS_REGION: skipped"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn init_keeps_secrets_of_channels_in_files_of_their_own() {
    use std::os::unix::fs::PermissionsExt as _;
    let openai = simulator("openai").await;
    let directory = tempfile::tempdir().unwrap();
    let openai = format!("http://{}/v1", openai.addr());
    let vars = [("OPENAI_API_KEY", KEY), ("OPENAI_BASE_URL", &openai)];
    let smtp = "smtps://user:hunter2-secret@smtp.example.com";
    let verb = [
        "init",
        "--force",
        "--output",
        "watch.toml",
        "--to",
        "oncall@example.com",
        "--smtp",
        smtp,
    ];
    for _ in 0..2 {
        let done = llmwatch(directory.path(), &verb, &vars)
            .output()
            .await
            .unwrap();
        assert_eq!(done.status.code(), Some(0), "{done:?}");
    }
    let text = std::fs::read_to_string(directory.path().join("watch.toml")).unwrap();
    assert!(text.contains("smtp_file = \"watch.smtp\""), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    let secret = directory.path().join("watch.smtp");
    let mode = std::fs::metadata(&secret).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(std::fs::read_to_string(secret).unwrap().trim(), smtp);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn init_takes_the_smallest_model_of_an_ollama() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = server.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = server.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let body =
                r#"{"models":[{"name":"big:70b","size":40000},{"name":"small:1b","size":900}]}"#;
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
            let answer = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let done = llmwatch(directory.path(), &["init"], &[("OLLAMA_HOST", &host)])
        .output()
        .await
        .unwrap();
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    let text = std::fs::read_to_string(directory.path().join("monitor.toml")).unwrap();
    assert!(text.contains("model = \"small:1b\""), "{text}");
    assert!(text.contains("api = \"ollama\""), "{text}");
}

/// Collects the help of `verb`, and of everything below it.
fn helps(verb: &[String], found: &mut Vec<(String, String)>) {
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_llmwatch"))
        .args(verb)
        .arg("--help")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let below: Vec<String> = text
        .split_once("\nCommands:\n")
        .map_or("", |(_, rest)| {
            rest.split("\n\n").next().unwrap_or_default()
        })
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect();
    found.push((verb.join(" "), text));
    for name in below {
        helps(&[verb, &[name]].concat(), found);
    }
}

#[test]
fn every_help_has_an_example_and_its_own_options_first() {
    let mut found = Vec::new();
    helps(&[], &mut found);
    assert!(found.len() > 20, "{}", found.len());
    for (verb, text) in found {
        assert!(text.contains("\nExample"), "llmwatch {verb}:\n{text}");
        let own = text.find("\nOptions:\n").unwrap();
        let global = text.find("\nGlobal options:\n").unwrap();
        assert!(own < global, "llmwatch {verb}:\n{text}");
    }
}

/// Answers every request with 404.
async fn unknown_everywhere() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = client.read(&mut request).await;
            let answer =
                "HTTP/1.1 404 Not Found\r\ncontent-length: 9\r\nconnection: close\r\n\r\nNot found";
            let _ = client.write_all(answer.as_bytes()).await;
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn probe_names_the_url_that_a_server_does_not_know() {
    let world = World::new().await;
    let address = unknown_everywhere().await;
    let own = format!("http://{}/v1", world.openai.addr());
    let elsewhere = format!("http://{address}/api");
    world.write(&world.endpoints().replace(&own, &elsewhere));
    let output = world.llmwatch(&["probe", "openai-chat"]).output().await;
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    let asked = format!("asked: POST http://{address}/api/chat/completions");
    assert!(text.contains(&asked), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn list_of_models_needs_no_model() {
    let world = World::new().await;
    world.write("[[endpoint]]\nprovider = \"openai-compatible\"\napi = \"models\"\nbase_url = \"http://127.0.0.1:1/v1\"\n");
    let output = world.llmwatch(&["check"]).output().await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_of_another_daemon_is_not_shown() {
    let [here, there] = [World::new().await, World::new().await];
    let listen = format!("listen = \"127.0.0.1:{}\"", free_port());
    for world in [&here, &there] {
        world.write(&world.endpoints().replace("listen = \"off\"", &listen));
    }
    let mut daemon = there.run();
    daemon.well().await;
    let status = async |world: &World| {
        let output = world.llmwatch(&["status"]).output().await.unwrap();
        (output.status.code(), format!("{output:?}"))
    };
    let (code, text) = status(&there).await;
    assert_eq!(code, Some(0), "{text}");
    // There is no store here yet, and then one without a daemon.
    let (code, text) = status(&here).await;
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("uses a different store"), "{text}");
    drop(Store::open(&here.store()).unwrap());
    let (_, text) = status(&here).await;
    assert!(text.contains("uses a different store"), "{text}");
    assert_eq!(daemon.stop().await, Some(0));
}
