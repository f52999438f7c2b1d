//! An upgrade from release 0.1: the daemon starts with a store that 0.1 wrote (see
//! `tests/fixtures/release_0_1`).

use std::io::Read as _;

use llmwatch::clock;
use llmwatch::config::{self, Environment};
use llmwatch_core::monitor::MonitorState;
use serde_json::Value;

use crate::support::{World, eventually};

/// The open incident of the store.
const INCIDENT: &str = "01a22b77-6b08-7002-bbef-4add7a87ce4f";
/// Its notification, which 0.1 could not deliver.
const NOTIFICATION: &str = "e86e16f5-07a1-8c3d-93c2-b8abad3b9994";

fn unpack(world: &World) {
    let packed = std::fs::File::open("tests/fixtures/release_0_1/store.db.gz").unwrap();
    let mut store = Vec::new();
    flate2::read::GzDecoder::new(packed)
        .read_to_end(&mut store)
        .unwrap();
    std::fs::create_dir_all(world.state()).unwrap();
    std::fs::write(world.store(), store).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_release_0_1_loses_and_repeats_nothing() {
    let world = World::new().await;
    unpack(&world);
    world.write(&(world.endpoints() + &world.webhook()));
    // The checkpoint is used as it is, not rebuilt from the samples.
    let settings = config::load(&world.config_path(), &Environment::from_process()).unwrap();
    let checkpoint: String = world.query("SELECT state FROM checkpoint");
    let resumed = MonitorState::resume(settings.config, 1.0, &checkpoint, clock::now()).unwrap();
    assert_eq!(resumed.snapshot(clock::now()).incidents.len(), 1);
    let mut daemon = world.run();
    daemon.event("monitor.ready").await;
    // The provider has recovered in the meantime.
    let resolved = daemon.event("incident.resolved").await;
    assert_eq!(resolved["number"], 1);
    let silences = world.llmwatch(&["silence", "--json"]).output().await;
    let silences = String::from_utf8(silences.unwrap().stdout).unwrap();
    assert!(
        silences.contains(r#""note":"cutover""#) && silences.contains(r#""by":"ops""#),
        "{silences}"
    );
    eventually("every notification is settled", || {
        (world.query::<i64>("SELECT count(*) FROM outbox WHERE state = 'pending'") == 0)
            .then_some(())
    })
    .await;
    let incidents: String = world.query("SELECT group_concat(lower(hex(id))) FROM incident");
    assert_eq!(incidents, INCIDENT.replace('-', ""), "no second incident");
    let stored = format!(
        "SELECT count(*) FROM outbox WHERE id = x'{}'",
        NOTIFICATION.replace('-', "")
    );
    assert_eq!(world.query::<i64>(&stored), 1, "{NOTIFICATION} is kept");
    let received: Vec<Value> = world
        .hook
        .requests()
        .iter()
        .map(|r| serde_json::from_slice(&r.body).unwrap())
        .collect();
    let of_type = |kind: &str| received.iter().filter(|n| n["type"] == kind).count();
    assert!(of_type("incident.opened") <= 1, "{received:?}");
    assert_eq!(of_type("incident.resolved"), 1, "{received:?}");
    assert!(
        received
            .iter()
            .filter(|n| n["data"].get("incident").is_some())
            .all(|n| n["data"]["incident"]["id"] == INCIDENT),
        "{received:?}"
    );
    assert_eq!(daemon.stop().await, Some(0));
}
