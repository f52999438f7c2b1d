//! `llmwatch route`: follows the choice, in a file and for a program.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use llmwatch_simulator::Scenario;

use crate::support::{World, eventually};

fn outage() -> Scenario {
    Scenario::parse("[[rule]]\npath = \"/*\"\nfault = \"openai_503\"\n").unwrap()
}

/// A program in a folder whose name a shell would split.
fn program(world: &World) -> std::path::PathBuf {
    let folder = world.directory.path().join("with a blank; and more");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("note it");
    let log = world.directory.path().join("runs");
    let script = format!(
        "#!/bin/sh\nprintf '%s %s %s\\n' \"$#\" \"$LLMWATCH_GROUP\" \"$LLMWATCH_ENDPOINT\" >> '{}'\n",
        log.display()
    );
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_writes_the_choice_and_runs_the_program() {
    let world = World::new().await;
    world.write(&world.endpoints());
    let mut daemon = world.run();
    daemon.well().await;
    let file = world.directory.path().join("endpoint");
    let runs = world.directory.path().join("runs");
    let program = program(&world);
    let verb = [
        "route",
        "chat",
        "--watch",
        "--write",
        file.to_str().unwrap(),
        "--exec",
        program.to_str().unwrap(),
    ];
    let watch = world
        .llmwatch(&verb)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let first = eventually("the first choice", || {
        Some(read(&file)).filter(|text| !text.is_empty())
    })
    .await;
    let (down, other) = match first.as_str() {
        "openai-chat\n" => (&world.openai, "azure-chat"),
        "azure-chat\n" => (&world.azure, "openai-chat"),
        odd => panic!("{odd:?}"),
    };
    down.set_scenario(outage());
    let changed = format!("{other}\n");
    eventually("the other choice", || {
        (read(&file) == changed).then_some(())
    })
    .await;
    // One run per change, in order.
    let begins = format!("0 chat {}\n0 chat {other}\n", first.trim());
    eventually("two runs", || {
        read(&runs).starts_with(&begins).then_some(())
    })
    .await;
    assert!(!world.directory.path().join("endpoint.new").exists());

    // While the daemon is down, the last choice stays; afterwards the watch continues.
    daemon.kill().await;
    assert_eq!(read(&file), changed);
    let mut daemon = world.run();
    daemon.event("monitor.ready").await;
    down.set_scenario(Scenario::healthy());
    let still_down = if other == "azure-chat" {
        &world.azure
    } else {
        &world.openai
    };
    still_down.set_scenario(outage());
    eventually("back to the first", || (read(&file) == first).then_some(())).await;
    drop(watch);
    assert_eq!(daemon.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_says_when_nothing_is_healthy_or_known() {
    let world = World::new().await;
    world.write(&world.endpoints());
    for simulator in [&world.openai, &world.azure] {
        simulator.set_scenario(outage());
    }
    let mut daemon = world.run();
    let mut failing = std::collections::BTreeSet::new();
    while failing.len() < 2 {
        let opened = daemon.event("incident.opened").await;
        failing.insert(opened["provider"].to_string());
    }
    let file = world.directory.path().join("endpoint");
    std::fs::write(&file, "azure-chat\n").unwrap();
    let verb = ["route", "chat", "--write", file.to_str().unwrap()];
    let output = world.llmwatch(&verb).output().await.unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("no endpoint is healthy"));
    assert_eq!(
        read(&file),
        "azure-chat\n",
        "the last choice is better than none"
    );
    for verb in [
        ["route", "nobody"].as_slice(),
        &["route", "nobody", "--watch"],
    ] {
        let output = world.llmwatch(verb).output().await.unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(
            stderr.contains("there is no group `nobody`; known: chat"),
            "{stderr}"
        );
    }
    let missing = ["route", "chat", "--exec", "/nonexistent/program"];
    world.azure.set_scenario(Scenario::healthy());
    eventually("the route is healthy", || {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_llmwatch"))
            .arg("-c")
            .arg(world.config_path())
            .args(["route", "chat"])
            .output()
            .unwrap();
        output.status.success().then_some(())
    })
    .await;
    let output = world.llmwatch(&missing).output().await.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("cannot run `/nonexistent/program`"),
        "{stderr}"
    );
    assert_eq!(daemon.stop().await, Some(0));
}
