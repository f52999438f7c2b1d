//! Recomputes reports from the output of `export`: every figure must follow from the samples alone.

use std::collections::BTreeMap;

use llmwatch_core::model::Timestamp;
use llmwatch_simulator::Scenario;
use serde_json::Value;

use crate::support::World;

/// One exported sample, with the fields that these figures need.
struct Exported {
    endpoint: String,
    started_at: Timestamp,
    is_bad: bool,
    counts: bool,
    cost_usd: f64,
}

async fn output(world: &World, verb: &[&str]) -> String {
    let output = world.llmwatch(verb).output().await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{verb:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

async fn exported(world: &World) -> Vec<Exported> {
    let lines = output(world, &["export", "--since", "1d"]).await;
    let sample = |line: &str| {
        let sample: Value = serde_json::from_str(line).unwrap();
        let is_bad = sample["outcome"] == "failed";
        Exported {
            endpoint: sample["endpoint"].as_str().unwrap().to_owned(),
            started_at: Timestamp::parse(sample["started_at"].as_str().unwrap()).unwrap(),
            is_bad,
            counts: !is_bad || sample["attribution"] == "provider",
            cost_usd: sample["cost_usd"].as_f64().unwrap_or(0.0),
        }
    };
    lines.lines().map(sample).collect()
}

fn availability<'a>(samples: impl Iterator<Item = &'a Exported>) -> f64 {
    let (mut good, mut all) = (0.0, 0.0);
    for sample in samples.filter(|s| s.counts) {
        all += 1.0;
        good += f64::from(u8::from(!sample.is_bad));
    }
    good / all
}

fn assert_equal(left: &Value, right: f64, what: &str) {
    let left = left.as_f64().unwrap_or_else(|| panic!("{what}: {left}"));
    assert!((left - right).abs() < 1e-9, "{what}: {left}, {right}");
}

/// Records an outage of the first endpoint that starts in the middle of a minute.
async fn recorded() -> World {
    let world = World::new().await;
    world.write(&world.endpoints());
    let mut daemon = world.run();
    for _ in 0..4 {
        daemon.good_probes(&["openai-chat", "azure-chat"]).await;
    }
    let outage = "[[rule]]\npath = \"/v1/*\"\nfault = \"openai_503\"\n";
    world.openai.set_scenario(Scenario::parse(outage).unwrap());
    daemon.event("incident.opened").await;
    // Only the first choice fails these probes, after the group has moved to the other endpoint.
    for _ in 0..3 {
        while daemon.event("probe.completed").await["endpoint"] != "openai-chat" {}
    }
    world.openai.set_scenario(Scenario::healthy());
    daemon.event("incident.resolved").await;
    assert_eq!(daemon.stop().await, Some(0));
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_can_be_recomputed_from_an_export() {
    let world = recorded().await;
    let samples = exported(&world).await;
    let of = |name: &'static str| samples.iter().filter(move |s| s.endpoint == name);
    let verb = [
        "report",
        "--since",
        "1d",
        "--failover",
        "--sla",
        "99.9",
        "--json",
    ];
    let report: Value = serde_json::from_str(&output(&world, &verb).await).unwrap();
    let incident: String = world.query("SELECT data FROM incident WHERE number = 1");
    let incident: Value = serde_json::from_str(&incident).unwrap();
    let time = |key: &str| {
        let text = incident[key]
            .as_str()
            .unwrap_or_else(|| panic!("no {key} in {incident}"));
        Timestamp::parse(text).unwrap()
    };
    let end = if incident["ended_at"].is_null() {
        "resolved_at"
    } else {
        "ended_at"
    };
    let down_s = time(end).since_ms(time("started_at")) as f64 / 1000.0;
    assert!(down_s > 1.0, "{incident}");

    // The figures of each endpoint.
    for (place, name) in ["openai-chat", "azure-chat"].into_iter().enumerate() {
        let figures = &report["endpoints"][place];
        assert_eq!(figures["name"], name);
        assert_eq!(figures["probes"], of(name).count(), "{figures}");
        assert_equal(&figures["availability"], availability(of(name)), name);
        let cost: f64 = of(name).map(|s| s.cost_usd).sum();
        assert_equal(&figures["cost_usd"], cost, name);
        let down_s = if name == "openai-chat" { down_s } else { 0.0 };
        assert_equal(&figures["downtime_s"], down_s, name);
        let sla = &figures["sla"];
        assert_equal(&sla["objective"], 99.9, name);
        assert_equal(&sla["availability"], availability(of(name)), name);
        assert_equal(&sla["downtime_s"], down_s, name);
        let allowed = sla["allowed_s"].as_f64().unwrap();
        assert!((allowed - 86.4).abs() < 0.1, "{sla}");
        assert_eq!(sla["missed"], name == "openai-chat", "{sla}");
    }
    assert_eq!(report["providers"][0]["sla"]["missed"], true);

    // The incident, as evidence for an SLA claim.
    let brief = &report["incidents"][0];
    assert_eq!(brief["started_at"], incident["started_at"]);
    assert_eq!(brief["ended_at"], incident["ended_at"]);
    assert_equal(&brief["duration_s"], down_s, "the incident");
    assert!(brief["request_ids"].is_array(), "{brief}");

    // The failover figures of the group.
    let failover = &report["failover"][0];
    assert_eq!(failover["first"], "openai-chat");
    assert_eq!(
        failover["samples"],
        samples.iter().filter(|s| s.counts).count()
    );
    for alone in failover["alone"].as_array().unwrap() {
        let name = alone["name"].as_str().unwrap();
        let of = samples.iter().filter(|s| s.endpoint == name);
        assert_equal(&alone["availability"], availability(of), name);
    }
    let switches: Vec<(Timestamp, &str)> = failover["switchovers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| {
            let at = Timestamp::parse(s["at"].as_str().unwrap()).unwrap();
            (at, s["to"].as_str().unwrap())
        })
        .collect();
    assert!(
        switches.iter().any(|(_, to)| *to == "azure-chat"),
        "{failover}"
    );
    let chosen = |s: &&Exported| {
        let before = switches.iter().rev().find(|(at, _)| *at < s.started_at);
        s.endpoint == before.map_or("openai-chat", |(_, to)| to)
    };
    let with_group = availability(samples.iter().filter(chosen));
    assert_equal(
        &failover["with_group"]["availability"],
        with_group,
        "the group",
    );
    let first = availability(of("openai-chat"));
    assert!(with_group > first, "{with_group} {first}");
    assert_equal(
        &failover["down_together_s"],
        0.0,
        "one of them always worked",
    );
    assert!(failover["independence_ratio"].is_null(), "too little data");
    assert_equal(
        &failover["pairs"][0]["availability"],
        with_group,
        "the pair",
    );

    // CSV has the same figures.
    let verb = [
        "report", "--since", "1d", "--sla", "99.9", "--format", "csv",
    ];
    let csv = output(&world, &verb).await;
    let mut lines = csv.lines();
    let head: Vec<&str> = lines.next().unwrap().split(',').collect();
    let row: BTreeMap<_, _> = head
        .iter()
        .copied()
        .zip(lines.next().unwrap().split(','))
        .collect();
    assert_eq!(row["endpoint"], "\"openai-chat\"");
    for (key, wanted) in [
        ("availability", first),
        ("downtime_s", down_s),
        ("sla_objective", 99.9),
    ] {
        assert!(
            (row[key].parse::<f64>().unwrap() - wanted).abs() < 1e-9,
            "{key}: {csv}"
        );
    }
    assert_eq!(row["sla_missed"], "true");

    // A self-contained page: charts inline, no external resources.
    let verb = [
        "report",
        "--since",
        "1d",
        "--sla",
        "99.9",
        "--failover",
        "--format",
        "html",
    ];
    let page = output(&world, &verb).await;
    for part in [
        "<svg",
        "openai-chat",
        "Commitment of 99.9%",
        "Failover: chat",
        "<polyline",
    ] {
        assert!(page.contains(part), "no {part} in {page}");
    }
    for foreign in ["<script", "src=", "<link", "@import"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}

/// The period may end in the future, as the current month does.
#[tokio::test(flavor = "multi_thread")]
async fn an_open_incident_lasts_until_now() {
    let world = World::new().await;
    world.write(&world.endpoints());
    let mut daemon = world.run();
    daemon.good_probes(&["openai-chat", "azure-chat"]).await;
    let outage = "[[rule]]\npath = \"/v1/*\"\nfault = \"openai_503\"\n";
    world.openai.set_scenario(Scenario::parse(outage).unwrap());
    let opened = daemon.event("incident.opened").await;
    let started_at = Timestamp::parse(opened["started_at"].as_str().unwrap()).unwrap();
    let in_a_month = Timestamp(started_at.0 + 30 * 86_400_000).to_string();
    let verb = [
        "report",
        "--since",
        "1d",
        "--until",
        &in_a_month,
        "--sla",
        "99.9",
        "--json",
    ];
    let report: Value = serde_json::from_str(&output(&world, &verb).await).unwrap();
    let lasted_s = llmwatch::clock::now().since_ms(started_at) as f64 / 1000.0;
    for (figure, what) in [
        (&report["incidents"][0]["duration_s"], "the incident"),
        (&report["endpoints"][0]["downtime_s"], "the endpoint"),
        (&report["providers"][0]["sla"]["downtime_s"], "the SLA"),
    ] {
        let figure = figure.as_f64().unwrap();
        assert!(figure > 0.0 && figure <= lasted_s, "{what}: {figure}");
    }
    assert_eq!(daemon.stop().await, Some(0));
}

#[tokio::test]
async fn a_commitment_is_a_percentage() {
    let world = World::new().await;
    world.write(&world.endpoints());
    for bad in ["100", "0", "many", "-3"] {
        let output = world
            .llmwatch(&["report", &format!("--sla={bad}")])
            .output()
            .await
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{bad}: {stderr}");
        assert!(stderr.contains("such as 99.9"), "{stderr}");
    }
}
