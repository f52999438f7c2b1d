//! An attribution that one location revises afterwards: page, report, SLO and export agree at every
//! daemon, and follow from the samples.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};

use serde_json::Value;

use crate::links::ask;
use crate::locations::config;
use crate::support::postgres::Postgres;
use crate::support::{Daemon, PATIENCE, World, eventually, skipped};

const PAGE: &str = "listen = \"127.0.0.1:0\"";
const SLO: f64 = 99.0;

/// Writes the configuration of a daemon at `place` with a page.
fn write(world: &World, place: &str, store: &str, more: &str) {
    let text = config(world, world, place, store, more)
        .replace("listen = \"off\"", PAGE)
        .replace("[defaults]\n", &format!("[defaults]\nslo = {SLO:?}\n"));
    world.write(&text);
}

/// Writes the configuration of fra1, whose first endpoint has a name that does not resolve. Whether
/// the name `known` resolves says whose fault that is.
fn write_unresolved(world: &World, store: &str, known: &str) {
    let check = format!(
        "\n[[connectivity_check]]\nurl = \"tcp://{}\"\nname = {known:?}\n",
        world.azure.addr()
    );
    write(world, "fra1", store, &check);
    let text = std::fs::read_to_string(world.config_path()).unwrap();
    let own = format!("http://{}/v1", world.openai.addr());
    world.write(&text.replace(&own, "http://llm.invalid:1/v1"));
}

/// A name that resolves without a network.
fn name_of_this_machine() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim().to_owned();
    (name.as_str(), 443).to_socket_addrs().ok()?.next()?;
    Some(name)
}

async fn address_of(daemon: &mut Daemon) -> SocketAddr {
    let listening = daemon.event("web.listening").await;
    listening["address"].as_str().unwrap().parse().unwrap()
}

async fn output(world: &World, verb: &[&str]) -> String {
    let output = world.llmwatch(verb).output().await.unwrap();
    assert!(output.status.success(), "{verb:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The samples that fra1 recorded of the endpoint, by id: outcome and attribution.
async fn exported(world: &World) -> BTreeMap<String, (String, Value)> {
    let lines = output(world, &["export"]).await;
    let samples = lines.lines().map(|line| {
        let sample: Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| sample[key].as_str().unwrap().to_owned();
        let is_wanted = text("location") == "fra1" && text("endpoint") == "openai-chat";
        (
            is_wanted,
            text("id"),
            (text("outcome"), sample["attribution"].clone()),
        )
    });
    samples
        .filter(|(is_wanted, ..)| *is_wanted)
        .map(|(_, id, rest)| (id, rest))
        .collect()
}

/// Compares the report and the API of a daemon with its samples.
async fn assert_report_follows(
    world: &World,
    page: SocketAddr,
    samples: &BTreeMap<String, (String, Value)>,
) {
    let verb = ["report", "--since", "1h", "--location", "fra1", "--json"];
    let report: Value = serde_json::from_str(&output(world, &verb).await).unwrap();
    let figures = &report["endpoints"][0];
    let failed_by = |who: &str| {
        let failed = samples.values().filter(|(_, by)| by == who);
        failed.count() as u64
    };
    let good = samples.values().filter(|(o, _)| o != "failed").count() as u64;
    let down = failed_by("provider");
    assert!(good > 0 && down > 0, "{samples:?}");
    assert_eq!(figures["probes"], samples.len(), "{figures}");
    assert_eq!(figures["failed_local"], failed_by("local"), "{figures}");
    assert_eq!(figures["slo"], SLO, "{figures}");
    let failed = down as f64 / (down + good) as f64;
    let wanted = [
        ("availability", 1.0 - failed),
        ("budget_left", 1.0 - failed / (1.0 - SLO / 100.0)),
    ];
    for (key, wanted) in wanted {
        let figure = figures[key].as_f64().unwrap();
        assert!((figure - wanted).abs() < 1e-6, "{key}: {figure} {wanted}");
    }
    let path = "/api/v1/endpoints/openai-chat/series?range=1h&location=fra1";
    let (status, answer) = ask(page, "GET", path, "", "").await;
    assert_eq!(status, 200, "{answer}");
    let (_, series) = answer.split_at(answer.find('{').unwrap());
    let series: Value = serde_json::from_str(series).unwrap();
    let summary = &series["summary"];
    assert_eq!(summary["failed_provider"], down, "{summary}");
    assert_eq!(summary["failed_local"], failed_by("local"), "{summary}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revised_attribution_is_the_same_at_every_daemon() {
    let Some(known) = name_of_this_machine() else {
        skipped(
            "a revised attribution",
            "this machine's own name does not resolve",
        );
        return;
    };
    let Some(server) = Postgres::start("a revised attribution") else {
        return;
    };
    let store = server.database("monitor");
    let worlds = [World::new().await, World::new().await];
    write_unresolved(&worlds[0], &store, "check.invalid");
    write(&worlds[1], "nyc1", &store, "");
    let mut daemons = [worlds[0].run(), worlds[1].run()];
    for daemon in &mut daemons {
        daemon.event("monitor.ready").await;
    }
    // No name resolves at fra1, so it is nobody's downtime.
    for _ in 0..3 {
        let failed = loop {
            let sample = daemons[0].event("probe.completed").await;
            if sample["endpoint"] == "openai-chat" {
                break sample;
            }
        };
        assert_eq!(failed["fault"], "local.dns", "{failed}");
        assert_eq!(failed["attribution"], "local", "{failed}");
    }
    let taken = "SELECT count(*) FROM sample JOIN series ON series.id = series
                 WHERE location = 'fra1' AND endpoint = 'openai-chat'";
    eventually("nyc1 has some of them", || {
        (worlds[1].query::<i64>(taken) >= 3).then_some(())
    })
    .await;
    // What it derives from other samples is lost.
    daemons[1].kill().await;
    daemons[1] = worlds[1].run();
    let page_there = address_of(&mut daemons[1]).await;
    daemons[1].well().await;

    // Other names resolve, and this one still does not: it is the provider's.
    write_unresolved(&worlds[0], &store, &known);
    daemons[0].signal("HUP");
    let revised = daemons[0].event("attribution.revised").await;
    assert_eq!(revised["endpoint"], "openai-chat", "{revised}");
    let local =
        "SELECT count(*) FROM llmwatch_sample WHERE location = 'fra1' AND endpoint = 'openai-chat'
                 AND data LIKE '%\"attribution\":\"local\"%'";
    eventually("the shared store has it", || {
        (server.query("monitor", local) == "0").then_some(())
    })
    .await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let there = exported(&worlds[1]).await;
        if there.values().all(|(_, by)| by == "provider") {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{there:?}");
    }
    // The name is found again. A daemon that is new gets the samples as they are now.
    write(&worlds[0], "fra1", &store, "");
    daemons[0].signal("HUP");
    daemons[0].good_probes(&["openai-chat"]).await;
    let third = World::new().await;
    write(&third, "sin1", &store, "");
    let mut new = third.run();
    let page = address_of(&mut new).await;
    new.well().await;

    // No more samples of fra1 from here on.
    assert_eq!(daemons[0].stop().await, Some(0), "{}", daemons[0].log);
    let here = exported(&worlds[0]).await;
    let by_provider = here.values().filter(|(_, by)| by == "provider").count();
    assert!(by_provider >= 3, "{here:?}");
    for (world, page) in [(&worlds[1], page_there), (&third, page)] {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let there = exported(world).await;
            if there == here {
                break;
            }
            let is_late = tokio::time::Instant::now() >= deadline;
            assert!(!is_late, "{there:?} {here:?}");
        }
        assert_report_follows(world, page, &here).await;
    }
    assert_eq!(daemons[1].stop().await, Some(0), "{}", daemons[1].log);
    assert_eq!(new.stop().await, Some(0), "{}", new.log);
    // Nothing is left to push.
    let waiting = "SELECT count(*) FROM revised_sample";
    assert_eq!(worlds[0].query::<i64>(waiting), 0);
}
