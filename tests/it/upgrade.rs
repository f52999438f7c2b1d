//! An upgrade from release 0.1: the daemon starts with a store that 0.1 wrote (see
//! `tests/fixtures/release_0_1`).

use std::io::Read as _;
use std::time::Duration;

use llmwatch::clock;
use llmwatch::config::{self, Environment};
use llmwatch::store::Store;
use llmwatch_core::model::{NoticeKind, Timestamp};
use llmwatch_core::monitor::MonitorState;
use serde_json::Value;

use crate::support::{World, eventually, good};

/// The open incident of the store.
const INCIDENT: &str = "01a22b77-6b08-7002-bbef-4add7a87ce4f";
/// Its notification, which 0.1 could not deliver.
const NOTIFICATION: &str = "e86e16f5-07a1-8c3d-93c2-b8abad3b9994";

/// What 0.1 delivered to the channel `pager` when its machine lost the network.
const BLIND: &str = r#"{"id":"a86e16f5-07a1-8c3d-93c2-b8abad3b9995","type":"monitor.blind",
    "decided_at":"2026-11-30T07:59:42.000Z","location":"fra1","incident":null,"subject":null,
    "title":"fra1 has lost its network","alternatives":[],"url":null,"thread":null,"already_over":false,
    "condition":{"key":"blind","over":false}}"#;

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

/// A pager keeps the alert of 0.1 open under the key that 0.1 gave it.
#[tokio::test]
async fn an_offline_alert_of_release_0_1_is_closed() {
    let world = World::new().await;
    unpack(&world);
    let lost = "2026-11-30T07:59:42.000Z";
    let written_by_0_1 = rusqlite::Connection::open(world.store()).unwrap();
    written_by_0_1
        .execute(
            "UPDATE checkpoint SET state = json_set(state, '$.blind', json(?1))",
            [format!(r#"{{"since":"{lost}","told":true}}"#)],
        )
        .unwrap();
    written_by_0_1
        .execute(
            "INSERT INTO outbox (id, channel, notice, state, decided_at, queued_at, next_attempt_at)
             VALUES (x'01', 'pager', ?1, 'sent', 0, 0, 0)",
            [BLIND],
        )
        .unwrap();
    drop(written_by_0_1);
    world.write(
        "[monitor]\nlocation = \"fra1\"\nlisten = \"off\"\n\
         [[webhook]]\nname = \"hook\"\nurl = \"http://127.0.0.1:9/\"\n\
         [[webhook]]\nname = \"pager\"\nkind = \"pagerduty\"\nrouting_key = \"0123456789abcdef0123456789abcdef\"\n\
         [[endpoint]]\nname = \"openai-chat\"\nprovider = \"openai\"\nmodel = \"m\"\napi_key = \"k\"\n",
    );
    let settings = config::load(&world.config_path(), &Environment::from_process()).unwrap();
    let (_, checkpoint) = Store::open(&world.store())
        .unwrap()
        .checkpoint()
        .unwrap()
        .unwrap();
    let lost = Timestamp::parse(lost).unwrap();
    let mut monitor = MonitorState::resume(settings.config, 1.0, &checkpoint, lost).unwrap();

    let online = monitor.step(good("openai-chat", lost + Duration::from_mins(3)));
    let keys: Vec<_> = online
        .announcements()
        .filter(|a| a.kind == NoticeKind::Online)
        .map(|a| (a.condition.clone().unwrap().key, a.only.clone()))
        .collect();
    assert_eq!(
        keys,
        [
            ("blind".to_owned(), Some(vec!["pager".into()])),
            ("offline".to_owned(), None)
        ]
    );
    assert!(!monitor.checkpoint().contains("closes_blind"), "once only");
}
