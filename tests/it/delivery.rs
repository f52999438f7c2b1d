//! Reliable delivery: the real binary, a receiver that fails in every way, and kills at the worst
//! moment.
//!
//! The lettered scenarios are those in which other monitors lose or repeat alerts.

use std::collections::BTreeSet;

use llmwatch_simulator::{Request, Scenario, WebhookBehavior};
use serde_json::Value;

use crate::locations::{as_pairs, clock};
use crate::support::{Daemon, PATIENCE, World, eventually};

fn outage() -> Scenario {
    Scenario::parse("[[rule]]\npath = \"/v1/*\"\nfault = \"openai_503\"\n").unwrap()
}

fn status(code: u16) -> WebhookBehavior {
    WebhookBehavior::Status(code, Vec::new())
}

fn body(request: &Request) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

/// Returns the `type` of each message in the order of arrival.
fn types(requests: &[std::sync::Arc<Request>]) -> Vec<String> {
    requests
        .iter()
        .map(|r| {
            body(r)["type"]
                .as_str()
                .unwrap()
                .trim_start_matches("incident.")
                .to_owned()
        })
        .collect()
}

async fn next(world: &mut World) -> Value {
    body(
        &tokio::time::timeout(PATIENCE, world.hook.next())
            .await
            .expect("a webhook comes"),
    )
}

async fn watched(world: &World, extra: &str) -> Daemon {
    world.write(&(world.endpoints() + &world.webhook() + extra));
    let mut daemon = world.run();
    daemon.well().await;
    daemon
}

/// A: the receiver is down, the failure is detected, the monitor is killed, and the vendor keeps
/// failing.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_before_it_could_notify() {
    let mut world = World::new().await;
    world.hook.set_behavior(status(503));
    let mut daemon = watched(&world, "").await;
    world.openai.set_scenario(outage());
    daemon.event("notification.retry").await;
    daemon.kill().await;
    let refused = world.hook.requests().len();

    world.hook.set_behavior(WebhookBehavior::Ok);
    let mut daemon = world.run();
    daemon.event("notification.sent").await;
    world.openai.set_scenario(Scenario::healthy());
    daemon.event("notification.sent").await;
    assert_eq!(
        types(&world.hook.requests()[refused..]),
        ["opened", "resolved"]
    );
    let ids: BTreeSet<_> = world.hook.requests()[..=refused]
        .iter()
        .map(|r| body(r)["data"]["notification_id"].to_string())
        .collect();
    assert_eq!(ids.len(), 1, "every attempt carried the same id");
    next(&mut world).await;
    assert_eq!(daemon.stop().await, Some(0));
}

/// B: the same, but everything recovers before the monitor restarts.
#[tokio::test(flavor = "multi_thread")]
async fn b_killed_before_sending_and_over_before_the_restart() {
    let world = World::new().await;
    world.hook.set_behavior(status(503));
    let mut daemon = watched(&world, "").await;
    world.openai.set_scenario(outage());
    daemon.event("notification.retry").await;
    daemon.kill().await;
    let refused = world.hook.requests().len();

    world.openai.set_scenario(Scenario::healthy());
    world.hook.set_behavior(WebhookBehavior::Ok);
    let mut daemon = world.run();
    let resolved = daemon.event("incident.resolved").await;
    eventually("all is sent", || {
        (world.query::<i64>("SELECT count(*) FROM outbox WHERE state NOT IN ('sent', 'merged')")
            == 0)
            .then_some(())
    })
    .await;
    // It may be sent before the monitor knows that the incident is over; then the end is sent as
    // well.
    let reported = world.hook.requests();
    let last = body(reported.last().unwrap());
    assert_eq!(
        last["data"]["incident"]["resolved_at"],
        resolved["resolved_at"]
    );
    assert!(
        [vec!["opened"], vec!["opened", "resolved"]].contains(
            &types(&reported[refused..])
                .iter()
                .map(String::as_str)
                .collect()
        )
    );
    assert_eq!(daemon.stop().await, Some(0));
}

/// C: notified, killed, restarted while still failing, recovered later: one opening, one end.
#[tokio::test(flavor = "multi_thread")]
async fn c_killed_after_it_notified() {
    let world = World::new().await;
    let mut daemon = watched(&world, "").await;
    world.openai.set_scenario(outage());
    daemon.event("notification.sent").await;
    // The log reports it slightly before the store; a kill in between correctly resends it with the
    // same id.
    eventually("the delivery is recorded", || {
        (world.query::<i64>("SELECT count(*) FROM outbox WHERE state = 'sent'") == 1).then_some(())
    })
    .await;
    daemon.kill().await;
    let mut daemon = world.run();
    daemon.event("monitor.ready").await;
    for _ in 0..6 {
        daemon.event("probe.completed").await;
    }
    world.openai.set_scenario(Scenario::healthy());
    daemon.event("notification.sent").await;
    assert_eq!(types(&world.hook.requests()), ["opened", "resolved"]);
    assert_eq!(daemon.stop().await, Some(0));
}

/// The receiver accepts the message, but the monitor is killed before it knows. The end must be a
/// separate message.
#[tokio::test(flavor = "multi_thread")]
async fn killed_while_the_receiver_answers() {
    let mut world = World::new().await;
    world.hook.set_behavior(WebhookBehavior::Hang);
    let mut daemon = watched(&world, "").await;
    world.openai.set_scenario(outage());
    let taken = next(&mut world).await;
    daemon.kill().await;
    world.hook.set_behavior(status(503));
    let mut daemon = world.run();
    daemon.event("notification.retry").await;
    world.openai.set_scenario(Scenario::healthy());
    daemon.event("incident.resolved").await;
    let refused = world.hook.requests().len();
    world.hook.set_behavior(WebhookBehavior::Ok);
    daemon.event("notification.sent").await;
    daemon.event("notification.sent").await;
    let rest = &world.hook.requests()[refused..];
    let id = |v: &Value| v["data"]["notification_id"].clone();
    let told = types(rest);
    assert_eq!(
        told.last().map(String::as_str),
        Some("resolved"),
        "{told:?}"
    );
    for repeat in rest.iter().map(|r| body(r)) {
        let is_opened = repeat["type"] == "incident.opened";
        assert_eq!(is_opened, id(&repeat) == id(&taken), "{repeat}");
    }
    assert_eq!(daemon.stop().await, Some(0));
}

/// D: the receiver is down during the entire outage. The late message is still sent, and says that
/// the outage is over.
#[tokio::test(flavor = "multi_thread")]
async fn d_receiver_down_for_the_entire_outage() {
    let world = World::new().await;
    world.hook.set_behavior(WebhookBehavior::Reset);
    let mut daemon = watched(&world, "").await;
    world.openai.set_scenario(outage());
    let opened = daemon.event("incident.opened").await;
    world.openai.set_scenario(Scenario::healthy());
    daemon.event("incident.resolved").await;
    let refused = world.hook.requests().len();
    world.hook.set_behavior(WebhookBehavior::Ok);
    daemon.event("notification.sent").await;
    eventually("nothing waits any more", || {
        (world.query::<i64>("SELECT count(*) FROM outbox WHERE state = 'pending'") == 0)
            .then_some(())
    })
    .await;
    let reported = world.hook.requests();
    let sent: Vec<_> = reported[refused..].iter().map(|r| body(r)).collect();
    let beginnings = sent.iter().filter(|m| m["type"] == "incident.opened");
    let ids: BTreeSet<_> = beginnings
        .map(|m| m["data"]["notification_id"].to_string())
        .collect();
    assert_eq!(ids.len(), 1, "{sent:?}");
    assert_eq!(
        sent[0]["timestamp"], opened["opened_at"],
        "it carries the time of the decision"
    );
    // One message reports both, unless its delivery was already in progress when the incident
    // ended.
    let last = sent.last().unwrap();
    assert_eq!(
        last["data"]["incident"]["state"], "resolved",
        "it says that it is over: {sent:?}"
    );
    assert!(last["data"]["incident"]["resolved_at"].is_string());
    assert_eq!(daemon.stop().await, Some(0));
}

/// F: the receiver is down for a while during the outage; the monitor keeps running.
#[tokio::test(flavor = "multi_thread")]
async fn f_receiver_down_for_a_while() {
    let world = World::new().await;
    world.hook.set_behavior(WebhookBehavior::Status(
        429,
        vec![("retry-after".to_owned(), "2".to_owned())],
    ));
    let mut daemon = watched(&world, "").await;
    world.openai.set_scenario(outage());
    let retry = daemon.event("notification.retry").await;
    let at = |v: &Value| chrono::DateTime::parse_from_rfc3339(v.as_str().unwrap()).unwrap();
    let wait = at(&retry["next_attempt_at"]) - at(&retry["ts"]);
    assert!(
        wait.num_milliseconds() >= 1_900,
        "the receiver asked for two seconds: {wait}"
    );
    world.hook.set_behavior(status(500));
    daemon.event("notification.retry").await;
    world.hook.set_behavior(WebhookBehavior::Ok);
    daemon.event("notification.sent").await;
    assert_eq!(
        types(&world.hook.requests()).last().map(String::as_str),
        Some("opened")
    );
    assert_eq!(daemon.stop().await, Some(0));
}

/// A clock of the daemon's own, which can be set while it runs.
struct SettableClock {
    file: std::path::PathBuf,
    environment: Vec<(&'static str, String)>,
}

impl SettableClock {
    /// Returns `None` where libfaketime is missing.
    fn new(test: &str, world: &World) -> Option<Self> {
        let file = world.directory.path().join("clock");
        let mut environment = clock(test, "")?;
        environment.retain(|(name, _)| *name != "FAKETIME");
        environment.push(("FAKETIME_TIMESTAMP_FILE", file.display().to_string()));
        environment.push(("FAKETIME_NO_CACHE", "1".to_owned()));
        let clock = Self { file, environment };
        clock.set("+0");
        Some(clock)
    }

    /// Sets it to be ahead of the machine's clock by `offset`. The file is replaced, because it is
    /// read at any moment.
    fn set(&self, offset: &str) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, offset).unwrap();
        std::fs::rename(new, &self.file).unwrap();
    }
}

/// The clock jumps while the receiver is down, by hours and by minutes: nothing waits for as long,
/// and the messages say how long things really took.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_delays_nothing_and_changes_no_duration() {
    let world = World::new().await;
    let Some(clock) = SettableClock::new("a clock that jumps", &world) else {
        return;
    };
    world.write(&(world.endpoints() + &world.webhook()));
    let mut daemon = world.run_with(&as_pairs(&clock.environment));
    daemon.well().await;
    // Ahead of the machine's clock by this: it jumps by 6 h, -9 h, -20 min and 40 min.
    for jump in ["+6h", "-3h", "-200m", "-160m"] {
        let wait = vec![("retry-after".to_owned(), "2".to_owned())];
        world.hook.set_behavior(WebhookBehavior::Status(503, wait));
        world.openai.set_scenario(outage());
        daemon.event("notification.retry").await;
        clock.set(jump);
        daemon.event("monitor.clock_set").await;
        world.hook.set_behavior(WebhookBehavior::Ok);
        daemon.event("notification.sent").await;
        world.openai.set_scenario(Scenario::healthy());
        daemon.event("incident.resolved").await;
        eventually("nothing waits any more", || {
            let pending = "SELECT count(*) FROM outbox WHERE state = 'pending'";
            (world.query::<i64>(pending) == 0).then_some(())
        })
        .await;
        let resolved = world.hook.requests();
        let resolved = resolved
            .iter()
            .map(|request| body(request))
            .rfind(|message| message["type"] == "incident.resolved")
            .unwrap();
        let lasted = resolved["data"]["incident"]["duration_s"].as_f64().unwrap();
        assert!((0.0..3600.0).contains(&lasted), "{jump}: {lasted} s");
    }
    assert_eq!(daemon.stop().await, Some(0), "{}", daemon.log);
}

#[tokio::test(flavor = "multi_thread")]
async fn permanent_failure_goes_to_fallback_and_dead_letters() {
    let mut world = World::new().await;
    world.hook.set_behavior(status(410));
    let fallback = "fallback = \"oncall\"\n".to_owned() + &world.email() + "on = []\n";
    let mut daemon = watched(&world, &fallback).await;
    world.openai.set_scenario(outage());
    daemon.event("notification.failed").await;
    let mail = tokio::time::timeout(PATIENCE, world.mail.next())
        .await
        .expect("the fallback is used");
    assert!(String::from_utf8_lossy(&mail.data).contains("Subject: [OUTAGE] OpenAI"));

    let listed = world
        .llmwatch(&["outbox", "--json"])
        .output()
        .await
        .unwrap();
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(
        (listed[0]["channel"].as_str(), listed[0]["state"].as_str()),
        (Some("hook"), Some("failed")),
        "{listed}"
    );
    let id = listed[0]["id"].as_str().unwrap();
    // If the daemon does not answer, the status comes from the store.
    let status = world.llmwatch(&["status"]).output().await.unwrap();
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(
        status.contains("hook has undelivered notifications") && status.contains("HTTP 410"),
        "{status}"
    );
    world.hook.set_behavior(WebhookBehavior::Ok);
    let retried = world
        .llmwatch(&["outbox", "retry", &id[..13]])
        .output()
        .await
        .unwrap();
    assert_eq!(retried.status.code(), Some(0), "{retried:?}");
    // The daemon finds it without any other trigger.
    while daemon.event("notification.sent").await["channel"] != "hook" {}
    world.openai.set_scenario(Scenario::healthy());
    while daemon.event("notification.sent").await["channel"] != "hook" {}
    eventually("both are delivered", || {
        (world.query::<i64>("SELECT count(*) FROM outbox WHERE state <> 'sent'") == 0).then_some(())
    })
    .await;
    let reported = types(&world.hook.requests());
    assert_eq!(
        reported[reported.len() - 2..],
        ["opened", "resolved"],
        "{reported:?}"
    );
    let mail = tokio::time::timeout(PATIENCE, world.mail.next())
        .await
        .expect("a channel with the beginning gets the end");
    assert!(String::from_utf8_lossy(&mail.data).contains("Subject: [RESOLVED"));
    let empty = world.llmwatch(&["outbox"]).output().await.unwrap();
    assert!(
        empty.stdout.is_empty()
            && String::from_utf8_lossy(&empty.stderr).contains("no undelivered"),
        "{empty:?}"
    );
    assert_eq!(daemon.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn pending_rows_of_a_removed_channel_become_dead_letters() {
    let world = World::new().await;
    world.hook.set_behavior(status(500));
    let mut daemon = watched(&world, "").await;
    world.openai.set_scenario(outage());
    daemon.event("notification.retry").await;
    world.write(&world.endpoints());
    daemon.signal("HUP");
    let failed = daemon.event("notification.failed").await;
    assert_eq!(failed["channel"], "hook");
    assert!(
        failed["message"]
            .as_str()
            .unwrap()
            .contains("no longer configured"),
        "{failed}"
    );
    eventually("it is a dead letter", || {
        (world.query::<String>("SELECT state FROM outbox") == "failed").then_some(())
    })
    .await;
    assert_eq!(daemon.stop().await, Some(0));
}

/// Editing a threshold during an outage affects neither the alert nor its end.
#[tokio::test(flavor = "multi_thread")]
async fn an_edited_threshold_neither_repeats_nor_loses() {
    let world = World::new().await;
    let mut daemon = watched(&world, "").await;
    world.openai.set_scenario(outage());
    daemon.event("notification.sent").await;
    let edited = (world.endpoints() + &world.webhook())
        .replace("alert_after = \"2s\"", "alert_after = \"4s\"");
    world.write(&edited);
    daemon.signal("HUP");
    daemon.event("config.reloaded").await;
    for _ in 0..8 {
        daemon.event("probe.completed").await;
    }
    world.openai.set_scenario(Scenario::healthy());
    daemon.event("notification.sent").await;
    assert_eq!(types(&world.hook.requests()), ["opened", "resolved"]);
    assert_eq!(daemon.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_endpoints_failing_together_are_one_incident() {
    let mut world = World::new().await;
    let mut more = String::new();
    for i in 0..9 {
        let address = world.openai.addr();
        more += &format!(
            "\n[[endpoint]]\nname = \"openai-{i}\"\nprovider = \"openai\"\nbase_url = \"http://{address}/v1\"\n"
        );
    }
    world.write(&(world.endpoints() + &more + &world.webhook().replace("\"0s\"", "\"5s\"")));
    let mut daemon = world.run();
    daemon.well().await;
    world.openai.set_scenario(outage());
    let opened = next(&mut world).await;
    assert_eq!(opened["type"], "incident.opened");
    let down = "SELECT json_array_length(data, '$.endpoints') FROM incident";
    eventually("all of them are part of it", || {
        (world.query::<i64>(down) == 10).then_some(())
    })
    .await;
    world.openai.set_scenario(Scenario::healthy());
    let resolved = loop {
        let message = next(&mut world).await;
        assert_eq!(
            message["data"]["incident"]["id"],
            opened["data"]["incident"]["id"]
        );
        if message["type"] == "incident.resolved" {
            break message;
        }
    };
    let endpoints = resolved["data"]["incident"]["endpoints"].as_array();
    assert_eq!(endpoints.unwrap().len(), 10, "{resolved}");
    let sent = types(&world.hook.requests());
    assert_eq!(
        sent.iter().filter(|t| *t == "opened").count(),
        1,
        "{sent:?}"
    );
    assert_eq!(daemon.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_maintenance_is_silent_and_its_end_is_not() {
    let mut world = World::new().await;
    let now = llmwatch::clock::now().to_datetime();
    let end = now + chrono::TimeDelta::seconds(20);
    let window = format!(
        "\n[[maintenance]]\nname = \"upgrade\"\nstart = \"{}\"\nend = \"{}\"\nproviders = [\"openai\"]\n",
        (now - chrono::TimeDelta::seconds(60)).to_rfc3339(),
        end.to_rfc3339()
    );
    let mut daemon = watched(&world, &window).await;
    world.openai.set_scenario(outage());
    daemon.event("incident.opened").await;
    let reported = next(&mut world).await;
    assert_eq!(reported["type"], "incident.opened");
    let at = chrono::DateTime::parse_from_rfc3339(reported["timestamp"].as_str().unwrap()).unwrap();
    assert!(
        at >= end,
        "nothing is sent before the end of the window: {at}"
    );
    assert_eq!(daemon.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeat_is_sent_only_while_recording() {
    let mut world = World::new().await;
    let address = world.hook.addr();
    let heartbeat = format!(
        "\n[heartbeat]\nurl = \"http://{address}/alive\"\nfail_url = \"http://{address}/fail\"\ninterval = \"1s\"\n"
    );
    world.write(&(world.endpoints() + &heartbeat));
    let mut daemon = world.run();
    let ping = tokio::time::timeout(PATIENCE, world.hook.next())
        .await
        .expect("a ping comes");
    assert_eq!(
        (ping.method.as_str(), ping.path.as_str()),
        ("GET", "/alive")
    );
    let samples: i64 = world.query("SELECT count(DISTINCT series) FROM sample");
    assert_eq!(samples, 2, "not before every endpoint was probed");

    // The store rejects writes: nothing can be recorded.
    let lock = rusqlite::Connection::open(world.store()).unwrap();
    lock.execute_batch("DROP TRIGGER IF EXISTS full; CREATE TRIGGER full BEFORE INSERT ON sample BEGIN SELECT RAISE(FAIL, 'full'); END").unwrap();
    daemon.event("store.failed").await;
    let failing = async { while world.hook.next().await.path != "/fail" {} };
    tokio::time::timeout(PATIENCE, failing)
        .await
        .expect("the other address is pinged");
    lock.execute_batch("DROP TRIGGER full").unwrap();
    let alive = async { while world.hook.next().await.path != "/alive" {} };
    tokio::time::timeout(PATIENCE, alive)
        .await
        .expect("all is well again");
    world.hook.set_behavior(status(500));
    daemon.event("heartbeat.failed").await;
    assert_eq!(daemon.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn store_failure_and_recovery_are_notified() {
    let mut world = World::new().await;
    let mut daemon = watched(&world, "").await;
    // Locks the store.
    let lock = rusqlite::Connection::open(world.store()).unwrap();
    lock.busy_timeout(PATIENCE).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let reported = next(&mut world).await;
    assert_eq!(reported["type"], "monitor.store");
    assert!(
        reported["data"]["title"]
            .as_str()
            .unwrap()
            .contains("cannot write its database"),
        "{reported}"
    );
    lock.execute_batch("COMMIT").unwrap();
    let reported = next(&mut world).await;
    assert_eq!(reported["type"], "monitor.store");
    assert!(
        reported["data"]["title"]
            .as_str()
            .unwrap()
            .contains("database writes recovered after"),
        "{reported}"
    );
    assert_eq!(daemon.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_and_ack_through_the_running_daemon() {
    let world = World::new().await;
    let token = "\n[web]\ntoken = \"let-me-write\"\n";
    world.write(&(world.endpoints() + &world.webhook() + token));
    let mut daemon = world.run();
    daemon.event("monitor.ready").await;
    let silenced = world
        .llmwatch(&[
            "silence",
            "--for",
            "1h",
            "--endpoint",
            "openai-chat",
            "--json",
        ])
        .output()
        .await
        .unwrap();
    assert_eq!(silenced.status.code(), Some(0), "{silenced:?}");
    let silenced: Value = serde_json::from_slice(&silenced.stdout).unwrap();
    world.openai.set_scenario(outage());
    let opened = daemon.event("incident.opened").await;
    for _ in 0..4 {
        daemon.event("probe.completed").await;
    }
    assert!(world.hook.requests().is_empty(), "it is silent");
    let typo = world
        .llmwatch(&["silence", "--for", "1h", "--endpoint", "openai-caht"])
        .output()
        .await
        .unwrap();
    assert_eq!(typo.status.code(), Some(1));

    let ended = world
        .llmwatch(&["silence", "--end", silenced["id"].as_str().unwrap()])
        .output()
        .await
        .unwrap();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    daemon.event("notification.sent").await;
    let number = opened["number"].to_string();
    let acknowledged = world
        .llmwatch(&["ack", &number, "--by", "ann", "--json"])
        .output()
        .await
        .unwrap();
    let acknowledged: Value = serde_json::from_slice(&acknowledged.stdout).unwrap();
    assert_eq!(acknowledged["acknowledged"]["by"], "ann");
    let unknown = world.llmwatch(&["ack", "99"]).output().await.unwrap();
    assert_eq!(unknown.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&unknown.stderr).contains("incident 99 is not open"),
        "{unknown:?}"
    );
    let kept: String = world.query("SELECT json_extract(data, '$.acknowledged.by') FROM incident");
    assert_eq!(kept, "ann");
    let mut noted = world.llmwatch(&["note", &number, "the vendor is on it", "--by", "bob"]);
    assert_eq!(noted.output().await.unwrap().status.code(), Some(0));
    let shown = world
        .llmwatch(&["incidents", &number])
        .output()
        .await
        .unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    let timeline = shown.split_once("\ntimeline\n").unwrap().1;
    for entry in [
        "First failed probe",
        "Incident opened: enough evidence",
        "Notified hook: opened",
        "Acknowledged: by ann",
        "Note by bob: the vendor is on it",
    ] {
        assert!(timeline.contains(entry), "{entry}: {shown}");
    }
    // What the file says meanwhile is no matter of the running daemon.
    let config = std::fs::read_to_string(world.config_path()).unwrap();
    world.write(&(config + "\n[monitr]\n"));
    let listed = world
        .llmwatch(&["silence", "--json"])
        .output()
        .await
        .unwrap();
    assert_eq!(listed.status.code(), Some(0), "{listed:?}");
    let said = String::from_utf8_lossy(&listed.stderr).into_owned();
    assert!(said.contains("monitor.toml has errors"), "{said}");
    assert_eq!(daemon.stop().await, Some(0));
}
