//! Several daemons whose database, network or clock fails. They take minutes of real time: `just
//! locations` runs them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use llmwatch_core::model::Timestamp;
use llmwatch_simulator::Scenario;
use serde_json::Value;

use crate::locations::{
    PATIENT, all_well, as_pairs, body, break_at, clock, config, next_message, reported,
};
use crate::support::link::{Link, Path};
use crate::support::postgres::{Pooler, Postgres, SmallDisk};
use crate::support::{Daemon, PATIENCE, World, eventually};

/// Returns the URL of the database `monitor` at `port`.
fn behind(port: u16) -> String {
    format!("postgres://llmwatch@127.0.0.1:{port}/monitor")
}

/// Starts daemons at `places`, each with its own URL of the database; all notify the webhook of the
/// first one's world.
async fn daemons_over(places: &[(&str, String)], more: &str) -> (Vec<World>, Vec<Daemon>) {
    let mut worlds = Vec::new();
    for _ in places {
        worlds.push(World::new().await);
    }
    let mut running = Vec::new();
    for (world, (place, store)) in worlds.iter().zip(places) {
        world.write(&config(world, &worlds[0], place, store, more));
        running.push(world.run());
    }
    for daemon in &mut running {
        daemon.event("monitor.ready").await;
        daemon.event("probe.completed").await;
    }
    (worlds, running)
}

/// Waits for the message that the outage is everywhere: its opening, or its escalation if one
/// location detected it first.
async fn outage_everywhere(world: &mut World) -> Value {
    loop {
        let request = tokio::time::timeout(PATIENCE, world.hook.next()).await;
        let message = body(&request.expect("an outage is notified"));
        if message["data"]["incident"]["scope"] == "all" {
            return message;
        }
    }
}

fn heal(worlds: &[World]) {
    for world in worlds {
        world.openai.set_scenario(Scenario::healthy());
    }
}

async fn stop_all(daemons: &mut [Daemon]) {
    for daemon in daemons {
        assert_eq!(daemon.stop().await, Some(0), "{}", daemon.log);
    }
}

/// Asserts that the opening and the end of each incident were sent at least once, each with one id,
/// in order.
fn check_messages(world: &World, incidents: usize) {
    let reported = reported(world);
    let of: BTreeSet<_> = reported.iter().map(|(_, incident, _)| incident).collect();
    assert_eq!(of.len(), incidents, "none lost, none doubled: {reported:?}");
    for incident in of {
        let ids = |wanted: &str| -> BTreeSet<_> {
            let of_it = reported
                .iter()
                .filter(|(kind, i, _)| kind == wanted && i == incident);
            of_it.map(|(.., id)| id).collect()
        };
        assert_eq!(ids("incident.opened").len(), 1, "{reported:?}");
        assert_eq!(ids("incident.resolved").len(), 1, "{reported:?}");
        let first = reported.iter().find(|(_, i, _)| i == incident).unwrap();
        let last = reported.iter().rfind(|(_, i, _)| i == incident).unwrap();
        assert_eq!(first.0, "incident.opened", "{reported:?}");
        assert_eq!(last.0, "incident.resolved", "{reported:?}");
    }
}

/// Asserts that the database contains every sample of every daemon once, with its location.
fn check_samples(server: &Postgres, worlds: &[World], places: &[&str]) {
    let mut own = 0;
    for (world, place) in worlds.iter().zip(places) {
        own += world.query::<i64>(&format!(
            "SELECT count(*) FROM sample JOIN series ON series.id = series WHERE location = '{place}'"
        ));
    }
    let stored = server.query(
        "monitor",
        "SELECT count(*) || ' ' || count(DISTINCT id) FROM llmwatch_sample",
    );
    assert_eq!(stored, format!("{own} {own}"), "each once");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; `just locations` runs it"]
async fn one_location_loses_the_database_and_two_lose_the_vendor() {
    let Some(server) = Postgres::start("a split") else {
        return;
    };
    server.database("monitor");
    let link = Link::to(server.port).await;
    let direct = behind(server.port);
    let places = [
        ("fra1", direct.clone()),
        ("nyc1", direct),
        ("sin1", behind(link.port)),
    ];
    let more = "[quorum]\nalone_after = \"4s\"\n";
    let (mut worlds, mut daemons) = daemons_over(&places, more).await;
    all_well(&server, 3).await;
    link.set(Path::Cut);
    daemons[2].event("store.unreachable").await;
    break_at(&worlds[0]);
    break_at(&worlds[1]);
    let opened = outage_everywhere(&mut worlds[0]).await;
    assert!(opened["alone"].is_null(), "{opened}");
    // It can reach the vendor, so it has nothing to notify.
    for _ in 0..3 {
        daemons[2].good_probes(&["openai-chat", "azure-chat"]).await;
    }
    assert!(!daemons[2].log.contains("incident.opened"));
    // It loses the vendor as well, and notifies on its own.
    break_at(&worlds[2]);
    let alone = next_message(&mut worlds[0], "incident.opened").await;
    assert_eq!(alone["alone"], true, "{alone}");
    assert_ne!(
        alone["data"]["incident"]["id"],
        opened["data"]["incident"]["id"]
    );
    link.set(Path::Open);
    daemons[2].event("store.reachable").await;
    // The incident that was opened alone is resolved as part of the joint one.
    let absorbed = next_message(&mut worlds[0], "incident.resolved").await;
    assert_eq!(
        absorbed["data"]["incident"]["id"],
        alone["data"]["incident"]["id"]
    );
    heal(&worlds);
    let resolved = next_message(&mut worlds[0], "incident.resolved").await;
    assert_eq!(
        resolved["data"]["incident"]["id"],
        opened["data"]["incident"]["id"]
    );
    stop_all(&mut daemons).await;
    check_messages(&worlds[0], 2);
    check_samples(&server, &worlds, &["fra1", "nyc1", "sin1"]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; `just locations` runs it"]
async fn a_database_that_restarts_in_a_transaction_loses_nothing() {
    let Some(mut server) = Postgres::start("restarts of the database") else {
        return;
    };
    let store = server.database("monitor");
    let places = [("fra1", store.clone()), ("nyc1", store)];
    let (mut worlds, mut daemons) = daemons_over(&places, "").await;
    for round in 0..6_u64 {
        for world in &worlds {
            break_at(world);
        }
        // At a different step each time: while the incident is decided, recorded, sent, and
        // resolved.
        for pause in [900 + 370 * round, 1_300, 170 * round] {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            server.down();
            server.up();
        }
        next_message(&mut worlds[0], "incident.opened").await;
        heal(&worlds);
        tokio::time::sleep(Duration::from_millis(1_500 + 310 * round)).await;
        server.down();
        server.up();
        next_message(&mut worlds[0], "incident.resolved").await;
    }
    stop_all(&mut daemons).await;
    check_messages(&worlds[0], 6);
    check_samples(&server, &worlds, &["fra1", "nyc1"]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; `just locations` runs it"]
async fn a_slow_database_delays_and_a_hanging_one_is_away() {
    let Some(server) = Postgres::start("a slow database") else {
        return;
    };
    server.database("monitor");
    let link = Link::to(server.port).await;
    let store = behind(link.port);
    let places = [("fra1", store.clone()), ("nyc1", store)];
    let (mut worlds, mut daemons) = daemons_over(&places, "").await;
    link.set(Path::Slow(Duration::from_millis(150)));
    for world in &worlds {
        break_at(world);
    }
    next_message(&mut worlds[0], "incident.opened").await;
    for daemon in &daemons {
        assert!(!daemon.log.contains("store.unreachable"), "{}", daemon.log);
    }
    link.set(Path::Hanging);
    for daemon in &mut daemons {
        daemon.event("store.unreachable").await;
        daemon.event("probe.completed").await;
    }
    link.set(Path::Open);
    for daemon in &mut daemons {
        daemon.event("store.reachable").await;
        daemon.event("store.spooled").await;
    }
    heal(&worlds);
    next_message(&mut worlds[0], "incident.resolved").await;
    stop_all(&mut daemons).await;
    check_messages(&worlds[0], 1);
    check_samples(&server, &worlds, &["fra1", "nyc1"]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; `just locations` runs it"]
async fn a_full_database_is_away_until_there_is_room() {
    let name = "a full database";
    let Some(server) = Postgres::start(name) else {
        return;
    };
    let Some(disk) = SmallDisk::mount(name, "32m") else {
        return;
    };
    let place = disk.path().display();
    server.query(
        "postgres",
        &format!("CREATE TABLESPACE small LOCATION '{place}'"),
    );
    server.query("postgres", "CREATE DATABASE monitor TABLESPACE small");
    let store = behind(server.port);
    let places = [("fra1", store.clone()), ("nyc1", store)];
    let (mut worlds, mut daemons) = daemons_over(&places, "").await;
    server.query("monitor", "CREATE TABLE filler (text TEXT)");
    for rows in [1000, 100, 10, 1] {
        let fill = format!(
            "INSERT INTO filler SELECT repeat(md5(random()::TEXT), 30) FROM generate_series(1, {rows})"
        );
        while server.try_query("monitor", &fill).is_ok() {}
    }
    for daemon in &mut daemons {
        let away = daemon.event("store.unreachable").await;
        let why = away["error"].as_str().unwrap();
        assert!(why.contains("53100"), "{why}");
        daemon.event("probe.completed").await;
    }
    server.query("monitor", "DROP TABLE filler");
    for daemon in &mut daemons {
        daemon.event("store.reachable").await;
        daemon.event("store.spooled").await;
    }
    for world in &worlds {
        break_at(world);
    }
    next_message(&mut worlds[0], "incident.opened").await;
    heal(&worlds);
    next_message(&mut worlds[0], "incident.resolved").await;
    stop_all(&mut daemons).await;
    check_messages(&worlds[0], 1);
    check_samples(&server, &worlds, &["fra1", "nyc1"]);
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; `just locations` runs it"]
async fn a_pooler_may_stand_in_between() {
    let name = "a pooler";
    let Some(server) = Postgres::start(name) else {
        return;
    };
    server.database("monitor");
    let Some(pooler) = Pooler::start(name, &server) else {
        return;
    };
    let store = behind(pooler.port);
    // More connections than the pooler has to the server. Two of the daemons are a pair.
    let places = ["fra1", "nyc1", "sin1", "sin1"].map(|place| (place, store.clone()));
    let (mut worlds, mut daemons) = daemons_over(&places, "").await;
    all_well(&server, 3).await;
    for world in &worlds {
        break_at(world);
    }
    next_message(&mut worlds[0], "incident.opened").await;
    heal(&worlds);
    next_message(&mut worlds[0], "incident.resolved").await;
    for daemon in &daemons {
        assert!(!daemon.log.contains("store.unreachable"), "{}", daemon.log);
    }
    stop_all(&mut daemons).await;
    check_messages(&worlds[0], 1);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; `just locations` runs it"]
async fn clocks_may_differ_by_five_minutes() {
    let name = "clocks that differ";
    let Some(ahead) = clock(name, "+300s") else {
        return;
    };
    let Some(behind) = clock(name, "-300s") else {
        return;
    };
    let Some(server) = Postgres::start(name) else {
        return;
    };
    let store = server.database("monitor");
    let mut worlds = [World::new().await, World::new().await, World::new().await];
    let clocks = [Vec::new(), ahead, behind];
    let mut daemons = Vec::new();
    for ((world, place), clock) in worlds.iter().zip(["fra1", "nyc1", "sin1"]).zip(&clocks) {
        world.write(&config(world, &worlds[0], place, &store, PATIENT));
        daemons.push(world.run_with(&as_pairs(clock)));
    }
    for daemon in &mut daemons {
        daemon.well().await;
    }
    all_well(&server, 3).await;
    break_at(&worlds[1]);
    let opened = next_message(&mut worlds[0], "incident.opened").await;
    let text = opened["data"]["incident"]["explanation"].as_str().unwrap();
    assert!(
        text.contains("from nyc1 only; fra1 and sin1 reach it"),
        "{text}"
    );
    break_at(&worlds[2]);
    let escalated = next_message(&mut worlds[0], "incident.escalated").await;
    assert_eq!(escalated["data"]["incident"]["scope"], "all", "{escalated}");
    heal(&worlds);
    let resolved = next_message(&mut worlds[0], "incident.resolved").await;
    let length = resolved["data"]["incident"]["duration_s"].as_f64().unwrap();
    assert!(length >= 0.0, "{resolved}");
    stop_all(&mut daemons).await;
    check_messages(&worlds[0], 1);
    check_samples(&server, &worlds, &["fra1", "nyc1", "sin1"]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; `just locations` runs it"]
async fn one_daemon_at_a_time_refreshes_alertmanager() {
    let Some(server) = Postgres::start("firing alerts of several daemons") else {
        return;
    };
    let store = server.database("monitor");
    let worlds = [World::new().await, World::new().await];
    let mut daemons = Vec::new();
    for (world, place) in worlds.iter().zip(["fra1", "nyc1"]) {
        let text = config(world, &worlds[0], place, &store, "");
        let kind = "name = \"hook\"\nkind = \"alertmanager\"";
        world.write(&text.replace("name = \"hook\"", kind));
        daemons.push(world.run());
    }
    for daemon in &mut daemons {
        daemon.well().await;
    }
    for world in &worlds {
        break_at(world);
    }
    let everywhere = "SELECT count(*) FROM llmwatch_incident WHERE data LIKE '%\"scope\":\"all\"%'";
    let sent = "SELECT count(*) > 0 AND bool_and(state = 'sent') FROM llmwatch_outbox";
    eventually("everything is sent", || {
        let is_known = server.query("monitor", everywhere) == "1";
        (is_known && server.query("monitor", sent) == "t").then_some(())
    })
    .await;
    let before = worlds[0].hook.requests().len();
    let began = Instant::now();
    eventually("a refresh", || {
        (worlds[0].hook.requests().len() > before).then_some(())
    })
    .await;
    eventually("another one", || {
        (worlds[0].hook.requests().len() > before + 1).then_some(())
    })
    .await;
    let all = worlds[0].hook.requests();
    let alerts: Vec<Value> = all.iter().map(|r| body(r)).collect();
    let minutes = began.elapsed().as_secs() as usize / 60 + 2;
    assert!(all.len() - before <= minutes, "one a minute: {alerts:?}");
    let labels = &alerts[0][0]["labels"];
    for refreshed in &alerts[before..] {
        assert_eq!(refreshed[0]["labels"]["number"], labels["number"]);
        assert!(refreshed[0]["endsAt"].is_string(), "{refreshed}");
    }
    heal(&worlds);
    let over =
        "SELECT count(*) FROM llmwatch_outbox WHERE kind = 'incident.resolved' AND state = 'sent'";
    eventually("the end is sent", || {
        (server.query("monitor", over) == "1").then_some(())
    })
    .await;
    let last = worlds[0].hook.requests();
    let last = body(last.last().unwrap());
    let end = last[0]["endsAt"].as_str().unwrap();
    assert!(
        Timestamp::parse(end).unwrap() <= llmwatch::clock::now(),
        "{last}"
    );
    stop_all(&mut daemons).await;
}

const ROUNDS: usize = 10;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; `just locations` runs it"]
async fn a_kill_at_any_step_loses_nothing() {
    let Some(server) = Postgres::start("kills at every step") else {
        return;
    };
    let store = server.database("monitor");
    let places = [("fra1", store.clone()), ("nyc1", store)];
    let (mut worlds, mut daemons) = daemons_over(&places, "").await;
    for round in 0..ROUNDS {
        for world in &worlds {
            break_at(world);
        }
        // From before the detection until after the delivery.
        tokio::time::sleep(Duration::from_millis(420 * round as u64)).await;
        let killed = round % 2;
        daemons[killed].kill().await;
        next_message(&mut worlds[0], "incident.opened").await;
        heal(&worlds);
        // It restarts before or after the end is decided.
        if round % 3 == 0 {
            tokio::time::sleep(Duration::from_secs(4)).await;
        }
        daemons[killed] = worlds[killed].run();
        daemons[killed].event("probe.completed").await;
        next_message(&mut worlds[0], "incident.resolved").await;
        // Both have detected the recovery.
        all_well(&server, 2).await;
    }
    stop_all(&mut daemons).await;
    check_messages(&worlds[0], ROUNDS);
    let waiting = "SELECT count(*) FROM llmwatch_outbox WHERE state = 'pending'";
    eventually("nothing waits", || {
        (server.query("monitor", waiting) == "0").then_some(())
    })
    .await;
    check_samples(&server, &worlds, &["fra1", "nyc1"]);
}
