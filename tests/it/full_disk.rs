//! A full disk, simulated by a limit on file size that makes writes beyond it fail.

use std::process::Stdio;

use llmwatch_simulator::Scenario;
use serde_json::Value;

use crate::support::{Daemon, PATIENCE, World, eventually};

fn outage() -> Scenario {
    Scenario::parse("[[rule]]\npath = \"/v1/*\"\nfault = \"openai_503\"\n").unwrap()
}

/// The smallest size limit of a file, in bytes. The daemon's reserve is written below it.
const LIMIT: u64 = 48 << 10;

/// Starts the daemon so that exceeding the file size limit does not kill it.
fn run(world: &World) -> Daemon {
    let daemon = world.llmwatch(&["run"]);
    let mut command = tokio::process::Command::new("sh");
    command
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(daemon.as_std().get_program())
        .args(daemon.as_std().get_args())
        .current_dir(world.directory.path())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    Daemon::start(command)
}

/// Limits the size of the daemon's files, or removes the limit.
fn limit(daemon: &Daemon, size: Option<u64>) {
    let size = size.map_or("unlimited".to_owned(), |size| format!("{size}:unlimited"));
    let limited = std::process::Command::new("prlimit")
        .args([
            "--pid",
            &daemon.pid().to_string(),
            &format!("--fsize={size}"),
        ])
        .status();
    assert!(limited.expect("util-linux is installed").success());
}

async fn next(world: &mut World) -> (String, Value) {
    let request = tokio::time::timeout(PATIENCE, world.hook.next())
        .await
        .expect("a webhook comes");
    let id = request
        .headers
        .iter()
        .find(|(name, _)| name == "webhook-id");
    let id = id.expect("the message has an id").1.clone();
    (id, serde_json::from_slice(&request.body).unwrap())
}

/// Returns the type of a message, and the incident's id and number.
fn about(message: &Value) -> (&str, &Value, &Value) {
    let incident = &message["data"]["incident"];
    (
        message["type"].as_str().unwrap_or_default(),
        &incident["id"],
        &incident["number"],
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_on_a_full_disk_keeps_the_incident_and_its_ids() {
    for is_still_full in [true, false] {
        let mut world = World::new().await;
        world.write(&(world.endpoints() + &world.webhook()));
        let mut daemon = run(&world);
        daemon.event("monitor.ready").await;
        eventually("the log of the store has grown", || {
            let log = world.state().join("llmwatch.db-wal");
            (std::fs::metadata(log).ok()?.len() > LIMIT).then_some(())
        })
        .await;
        limit(&daemon, Some(LIMIT));
        let is_own = |failed: &Value| {
            failed["message"]
                .as_str()
                .is_some_and(|m| m.contains("keeping samples in memory"))
        };
        while !is_own(&daemon.event("store.failed").await) {}
        world.openai.set_scenario(outage());
        let (first_id, first) = next(&mut world).await;
        assert_eq!(about(&first).0, "incident.opened");
        daemon.kill().await;

        let mut daemon = run(&world);
        if is_still_full {
            limit(&daemon, Some(LIMIT));
        }
        daemon.event("monitor.ready").await;
        for _ in 0..10 {
            daemon.event("probe.completed").await;
        }
        limit(&daemon, None);
        world.openai.set_scenario(Scenario::healthy());
        let resolved = loop {
            let (id, message) = next(&mut world).await;
            if message["type"] == "incident.opened" {
                assert_eq!(id, first_id, "a repeat has the id of the first");
                assert_eq!(about(&message), about(&first));
                continue;
            }
            break message;
        };
        assert_eq!(about(&resolved).0, "incident.resolved");
        assert_eq!(about(&resolved).1, about(&first).1);
        eventually("the incident is recorded", || {
            (world.query::<i64>("SELECT count(*) FROM incident WHERE NOT open") == 1).then_some(())
        })
        .await;
        assert_eq!(world.query::<i64>("SELECT count(*) FROM incident"), 1);
        assert_eq!(daemon.stop().await, Some(0));
    }
}
