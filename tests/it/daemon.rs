//! The daemon from outside: the real binary, real sockets, a real store.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::Stdio;

use llmwatch_simulator::{MailFault, Scenario, WebhookBehavior};
use serde_json::Value;

use crate::support::{Daemon, KEY, PATIENCE, World, eventually};

const OUTAGE: &str = "[[rule]]\npath = \"/v1/*\"\nfault = \"openai_503\"\n";

fn outage() -> Scenario {
    Scenario::parse(OUTAGE).unwrap()
}

async fn patiently<T>(what: &str, wanted: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, wanted)
        .await
        .unwrap_or_else(|_| panic!("{what}: it did not come"))
}

fn header<'a>(mail: &'a str, name: &str) -> &'a str {
    let found = mail
        .lines()
        .find_map(|l| l.strip_prefix(name).and_then(|l| l.strip_prefix(": ")));
    found.unwrap_or_else(|| panic!("no {name} in\n{mail}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn outage_and_recovery_are_notified() {
    let mut world = World::new().await;
    world.write(&(world.endpoints() + &world.email() + &world.webhook()));
    let mut daemon = world.run();
    daemon.well().await;

    world.openai.set_scenario(outage());
    let opened = daemon.event("incident.opened").await;
    assert_eq!(
        (
            opened["provider"].as_str(),
            opened["attribution"].as_str(),
            opened["cause"].as_str()
        ),
        (Some("openai"), Some("provider"), Some("overloaded"))
    );
    let first = patiently("the first mail", world.mail.next()).await;
    let first = String::from_utf8_lossy(&first.data).into_owned();
    assert!(
        header(&first, "Subject").starts_with("[OUTAGE] OpenAI: openai-chat failing"),
        "{first}"
    );
    assert!(
        header(&first, "Subject").ends_with("Azure healthy"),
        "{first}"
    );
    let hook: Value =
        serde_json::from_slice(&patiently("the webhook", world.hook.next()).await.body).unwrap();
    assert_eq!(hook["type"], "incident.opened");
    assert_eq!(
        hook["data"]["incident"]["alternatives"][0]["endpoint"],
        "azure-chat"
    );
    assert_eq!(
        hook["data"]["incident"]["endpoints"],
        serde_json::json!(["openai-chat"])
    );

    world.openai.set_scenario(Scenario::healthy());
    let second = patiently("the second mail", world.mail.next()).await;
    let second = String::from_utf8_lossy(&second.data).into_owned();
    assert!(
        header(&second, "Subject").starts_with("[RESOLVED after "),
        "{second}"
    );
    assert_eq!(header(&second, "In-Reply-To"), header(&first, "Message-ID"));
    // The failover figures of the group.
    let text = crate::links::decoded(second.as_bytes());
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        text.contains("the route of group chat moved to azure-chat"),
        "{text}"
    );
    let hook: Value =
        serde_json::from_slice(&patiently("the webhook", world.hook.next()).await.body).unwrap();
    assert_eq!(hook["type"], "incident.resolved");
    assert_eq!(daemon.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_server_down_for_an_entire_outage_gets_one_mail() {
    let mut world = World::new().await;
    world.mail.set_fault(MailFault::Refuse);
    world.write(&(world.endpoints() + &world.email()));
    let mut daemon = world.run();
    daemon.event("monitor.ready").await;
    world.openai.set_scenario(outage());
    let opened = daemon.event("incident.opened").await;
    world.openai.set_scenario(Scenario::healthy());
    daemon.event("incident.resolved").await;
    daemon.event("notification.retry").await;

    world.mail.set_fault(MailFault::None);
    let first = patiently("the first mail", world.mail.next()).await;
    let first = String::from_utf8_lossy(&first.data);
    assert!(
        header(&first, "Subject").contains(", over after "),
        "{first}"
    );
    eventually("nothing waits any more", || {
        (world.query::<i64>("SELECT count(*) FROM outbox WHERE state = 'pending'") == 0)
            .then_some(())
    })
    .await;
    assert_eq!(world.mail.messages().len(), 1);
    let date = chrono::DateTime::parse_from_rfc2822(header(&first, "Date")).unwrap();
    let decided =
        chrono::DateTime::parse_from_rfc3339(opened["opened_at"].as_str().unwrap()).unwrap();
    assert_eq!(
        date.timestamp(),
        decided.timestamp(),
        "the mail carries the time of the decision"
    );
    assert_eq!(daemon.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_key_is_the_accounts_and_not_the_providers() {
    let mut world = World::new().await;
    let config = world
        .endpoints()
        .replace("listen = \"off\"", "listen = \"127.0.0.1:0\"");
    world.write(&(config + &world.email()));
    let mut daemon = world.run();
    let address = daemon.event("web.listening").await["address"]
        .as_str()
        .unwrap()
        .to_owned();
    daemon.well().await;
    world.openai.set_scenario(
        Scenario::parse("[[rule]]\npath = \"/v1/*\"\nfault = \"openai_401\"\n").unwrap(),
    );
    let opened = daemon.event("incident.opened").await;
    assert_eq!(
        (opened["attribution"].as_str(), opened["cause"].as_str()),
        (Some("account"), Some("account.auth"))
    );
    let mail = patiently("the mail", world.mail.next()).await;
    let mail = String::from_utf8_lossy(&mail.data);
    assert!(
        header(&mail, "Subject").starts_with("[YOUR ACCOUNT] OpenAI: "),
        "{mail}"
    );
    for (path, words) in [
        ("incidents", "<b>Ongoing account fault</b>"),
        ("incidents/1", ">ongoing account fault</b>"),
    ] {
        let (.., page) = crate::pages::get(&address, &format!("/{path}")).await;
        assert!(page.contains(words), "{page}");
    }
    assert_eq!(daemon.stop().await, Some(0));
    let status = world.llmwatch(&["status"]).output().await.unwrap();
    let said = String::from_utf8_lossy(&status.stdout);
    assert!(
        said.starts_with("2 endpoints, 1 account fault: OpenAI; last probe "),
        "{said}"
    );
    assert_eq!(status.status.code(), Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn connectivity_check_on_loopback_attributes_local_faults() {
    let world = World::new().await;
    let (openai, azure) = (
        world.openai.addr().to_string(),
        world.azure.addr().to_string(),
    );
    let nobody = "127.0.0.1:1";
    let dead = world
        .endpoints()
        .replace(&openai, nobody)
        .replace(&azure, nobody);
    let control = |address: &str| format!("\n[[connectivity_check]]\nurl = \"tcp://{address}\"\n");
    world.write(&(dead.clone() + &control(nobody)));
    let mut daemon = world.run();
    let offline = daemon.event("monitor.offline").await;
    assert_eq!(offline["fault"], "tcp.refused");
    for _ in 0..8 {
        assert_eq!(
            daemon.event("probe.completed").await["attribution"],
            "local"
        );
    }
    assert_eq!(
        world.query::<i64>("SELECT count(*) FROM incident"),
        0,
        "nobody's downtime"
    );

    let alive = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.write(&(dead + &control(&alive.local_addr().unwrap().to_string())));
    daemon.signal("HUP");
    daemon.event("monitor.online").await;
    let opened = daemon.event("incident.opened").await;
    assert_eq!(
        (opened["attribution"].as_str(), opened["cause"].as_str()),
        (Some("provider"), Some("tcp.refused"))
    );
    assert_eq!(daemon.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn reload_ignores_a_bad_file_and_keeps_state_with_a_good_one() {
    let world = World::new().await;
    world.write(&world.endpoints());
    let mut daemon = world.run();
    daemon.event("monitor.ready").await;
    world.openai.set_scenario(outage());
    daemon.event("incident.opened").await;

    world.write(&(world.endpoints() + "\n[[endpoint]]\nprovder = \"openai\"\n"));
    daemon.signal("HUP");
    let rejected = daemon.event("config.rejected").await;
    assert!(
        rejected["error"].as_str().unwrap().contains("provder"),
        "{rejected}"
    );
    daemon.event("probe.completed").await;

    world.write(
        &world
            .endpoints()
            .replace("alert_after = \"2s\"", "alert_after = \"3s\""),
    );
    daemon.signal("HUP");
    daemon.event("config.reloaded").await;
    world.openai.set_scenario(Scenario::healthy());
    daemon.event("incident.resolved").await;
    assert_eq!(
        world.query::<i64>("SELECT count(*) FROM incident"),
        1,
        "the incident outlived both reloads"
    );
    assert_eq!(daemon.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn reload_refuses_a_bad_key_file_and_follows_the_log_level() {
    let world = World::new().await;
    world.openai.set_scenario(outage());
    let good = world.endpoints() + &world.email();
    world.write(&format!("{good}\n[log]\nlevel = \"warn\"\n"));
    let mut daemon = world.run();
    daemon.event("probe.completed").await;
    world.write(&format!(
        "{good}dkim = {{ selector = \"s\", domain = \"example.com\", key_file = \"none.pem\" }}\n"
    ));
    daemon.signal("HUP");
    let rejected = daemon.event("config.rejected").await;
    assert!(
        rejected["error"].as_str().unwrap().contains("none.pem"),
        "{rejected}"
    );
    daemon.event("probe.completed").await;
    assert!(!daemon.log.contains("\"level\":\"info\""), "{}", daemon.log);
    world.write(&format!(
        "{good}\n[log]\nlevel = \"info\"\nformat = \"pretty\"\n"
    ));
    daemon.signal("HUP");
    let reloaded = daemon.event("config.reloaded").await;
    assert_eq!(
        reloaded["needs_restart"],
        serde_json::json!(["the log's `format`"])
    );
    world.write(&format!("{good}\n[log]\nlevel = \"warn\"\n"));
    daemon.signal("HUP");
    daemon.event("config.reloaded").await;
    assert_eq!(daemon.stop().await, Some(0));
}

/// Too few descriptors for the probes of a late vendor: some get one and others do not.
#[tokio::test(flavor = "multi_thread")]
async fn with_64_descriptors_the_mail_blames_this_machine_alone() {
    let mut world = World::new().await;
    world.openai.set_scenario(
        Scenario::parse("[[rule]]\npath = \"/v1/*\"\nfirst_token_after = \"20s\"\n").unwrap(),
    );
    // Left to itself, it probes no more at once than it has descriptors for.
    let several = "listen = \"off\"\nmax_concurrent_probes = 100";
    let mut config = world.endpoints().replace("listen = \"off\"", several) + &world.email();
    for n in 0..80 {
        let _ = write!(
            config,
            "[[endpoint]]\nname = \"many-{n}\"\nprovider = \"openai\"\nbase_url = \"http://{}/v1\"\n",
            world.openai.addr()
        );
    }
    world.write(&config);
    let run = world.llmwatch(&["run"]);
    let mut command = tokio::process::Command::new("sh");
    command
        .args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""])
        .arg(run.as_std().get_program())
        .args(run.as_std().get_args())
        .current_dir(world.directory.path())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let mut daemon = Daemon::start(command);
    let opened = daemon.event("incident.opened").await;
    assert_eq!(opened["attribution"], "local", "{opened}");
    // The mail is sent once probes have given descriptors back.
    world.openai.set_scenario(Scenario::healthy());
    let mail = tokio::time::timeout(PATIENCE, world.mail.next()).await;
    let mail = crate::links::decoded(&mail.expect("a mail comes").data);
    let text = mail.split("text/html").next().unwrap_or_default();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("out of local resources"), "{text}");
    assert!(text.contains("the cause is this machine"), "{text}");
    for untrue in ["The API said", "as usual", "healthy", "still answer"] {
        assert!(!text.contains(untrue), "`{untrue}`: {text}");
    }
    assert!(
        !daemon.log.contains("\"attribution\":\"provider\""),
        "{}",
        daemon.log
    );
    daemon.stop().await;
}

/// The pipeline waits for the store, which another process has locked, and the reloads wait for the
/// pipeline.
#[tokio::test(flavor = "multi_thread")]
async fn it_stops_during_reloads_that_wait_for_a_locked_store() {
    let world = World::new().await;
    world.write(&world.endpoints());
    let mut daemon = world.run();
    daemon.well().await;
    let other = rusqlite::Connection::open(world.store()).unwrap();
    other.busy_timeout(PATIENCE).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for _ in 0..4 {
        daemon.signal("HUP");
        daemon.event("config.reloaded").await;
    }
    daemon.signal("HUP");
    assert_eq!(daemon.stop().await, Some(0), "{}", daemon.log);
    assert!(daemon.log.contains("monitor.stopped"), "{}", daemon.log);
    drop(other);
    let mut daemon = world.run();
    daemon.well().await;
    assert_eq!(daemon.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_has_one_daemon_until_that_ends_in_whatever_way() {
    let world = World::new().await;
    world.write(&world.endpoints());
    let mut first = world.run();
    first.event("probe.completed").await;
    let second = world.llmwatch(&["run"]).output().await.unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(
        said.contains("another llmwatch runs on the store"),
        "{said}"
    );
    first.event("probe.completed").await;
    first.kill().await;
    let mut third = world.run();
    third.event("probe.completed").await;
    assert_eq!(third.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_ends_when_its_daemon_does() {
    let world = World::new().await;
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let demo = patiently(
        "the end",
        world
            .llmwatch(&["demo", "--for", "7d", "--listen", &address])
            .output(),
    )
    .await
    .unwrap();
    let said = String::from_utf8_lossy(&demo.stderr);
    assert_eq!(demo.status.code(), Some(1), "{said}");
    assert!(
        said.contains(&format!("cannot listen on {address}")),
        "{said}"
    );
    let simulator = patiently(
        "the end",
        world.llmwatch(&["simulate", "--listen", &address]).output(),
    )
    .await
    .unwrap();
    assert!(
        String::from_utf8_lossy(&simulator.stderr).contains(&format!("cannot listen on {address}"))
    );
    let mut demo = world
        .llmwatch(&["demo", "--for", "7d"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines =
        tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(demo.stdout.take().unwrap()));
    while !patiently("the first probes", lines.next_line())
        .await
        .unwrap()
        .unwrap()
        .contains("operational")
    {}
    let pid = demo.id().unwrap().to_string();
    assert!(
        std::process::Command::new("kill")
            .args(["-s", "INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(
        patiently("the end", demo.wait()).await.unwrap().code(),
        Some(1)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_when_nobody_reads_it_any_more() {
    let world = World::new().await;
    world.write(&world.endpoints());
    llmwatch::store::Store::open(&world.store()).unwrap();
    let mut watch = world
        .llmwatch(&["status", "--watch"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines =
        tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(watch.stdout.take().unwrap()));
    patiently("the first line", lines.next_line())
        .await
        .unwrap();
    drop(lines);
    assert_eq!(
        patiently("the end", watch.wait()).await.unwrap().code(),
        Some(3)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoint_that_never_answered_is_unknown_until_its_outage() {
    let world = World::new().await;
    world.openai.set_scenario(outage());
    let unpriced = format!(
        "\n[[endpoint]]\nname = \"mine\"\nprovider = \"openai-compatible\"\nmodel = \"mine\"\nbase_url = \"http://{}/v1\"\n",
        world.azure.addr()
    );
    world.write(&(world.endpoints() + &world.webhook() + &unpriced));
    let mut daemon = world.run();
    while daemon.event("config.warning").await["message"]
        .as_str()
        .is_none_or(|m| !m.contains("the price of `mine`"))
    {}
    let changed = loop {
        let changed = daemon.event("status.changed").await;
        if changed["endpoint"] == "openai-chat" {
            break changed;
        }
    };
    assert_eq!(
        (changed["status"].as_str(), changed["was"].as_str()),
        (Some("outage"), Some("unknown"))
    );
    assert_eq!(daemon.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_an_endpoint_closes_its_incident() {
    let world = World::new().await;
    world.write(&world.endpoints());
    let mut daemon = world.run();
    daemon.event("monitor.ready").await;
    world.openai.set_scenario(outage());
    daemon.event("incident.opened").await;
    world.write(&world.endpoints().replace("openai-chat", "openai-renamed"));
    daemon.signal("HUP");
    let closed = daemon.event("incident.resolved").await;
    let message = closed["message"].as_str().unwrap();
    assert!(
        message.contains("removed from the configuration") && !message.contains("recovered after"),
        "{closed}"
    );
    assert_eq!(daemon.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoint_removed_while_stopped_has_its_incident_closed() {
    for killed in [false, true] {
        let mut world = World::new().await;
        let config = world.endpoints() + &world.webhook();
        world.write(&config);
        let mut daemon = world.run();
        daemon.event("monitor.ready").await;
        world.openai.set_scenario(outage());
        daemon.event("notification.sent").await;
        eventually("that is recorded", || {
            (world.query::<i64>("SELECT count(*) FROM outbox WHERE state = 'sent'") == 1)
                .then_some(())
        })
        .await;
        if killed {
            daemon.kill().await;
        } else {
            assert_eq!(daemon.stop().await, Some(0));
        }
        world.openai.set_scenario(Scenario::healthy());
        world.write(&config.replace("openai-chat", "openai-renamed"));
        let mut daemon = world.run();
        let closed = daemon.event("incident.resolved").await;
        assert!(
            closed["message"]
                .as_str()
                .unwrap()
                .contains("removed from the configuration"),
            "{closed}"
        );
        let mut reported = Vec::new();
        while !reported.contains(&"incident.resolved".to_owned()) {
            let hook: Value =
                serde_json::from_slice(&patiently("the webhook", world.hook.next()).await.body)
                    .unwrap();
            reported.push(hook["type"].as_str().unwrap().to_owned());
        }
        assert_eq!(reported, ["incident.opened", "incident.resolved"]);
        let (open, removed) = (
            "SELECT count(*) FROM incident WHERE open",
            "SELECT json_extract(data, '$.removed') FROM incident",
        );
        assert_eq!(
            (world.query::<i64>(open), world.query::<bool>(removed)),
            (0, true),
            "killed: {killed}"
        );
        assert_eq!(daemon.stop().await, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restart_during_an_outage_repeats_and_loses_nothing() {
    let mut world = World::new().await;
    world.write(&(world.endpoints() + &world.webhook()));
    let mut daemon = world.run();
    daemon.event("monitor.ready").await;
    world.openai.set_scenario(outage());
    patiently("the alert", world.hook.next()).await;
    daemon.event("notification.sent").await;
    assert_eq!(daemon.stop().await, Some(0));

    let mut daemon = world.run();
    daemon.event("monitor.ready").await;
    daemon.event("probe.completed").await;
    world.openai.set_scenario(Scenario::healthy());
    let next: Value =
        serde_json::from_slice(&patiently("the end", world.hook.next()).await.body).unwrap();
    assert_eq!(next["type"], "incident.resolved", "and not a second alert");
    assert_eq!(daemon.stop().await, Some(0));
}

/// Kills the daemon repeatedly, while a vendor fails and recovers and the receiver occasionally
/// rejects messages.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_kills_lose_nothing_and_open_nothing_twice() {
    const KILLS: u64 = 50;
    let world = World::new().await;
    let mut config = world.endpoints() + &world.webhook();
    for i in 0..12 {
        let address = world.openai.addr();
        config += &format!(
            "\n[[endpoint]]\nname = \"openai-{i}\"\nprovider = \"openai\"\nbase_url = \"http://{address}/v1\"\n"
        );
    }
    world.write(&config);
    // One complete incident before the kills and one after them, regardless of those between.
    world.openai.set_scenario(outage());
    let mut daemon = world.run();
    daemon.event("incident.opened").await;
    world.openai.set_scenario(Scenario::healthy());
    daemon.event("incident.resolved").await;
    daemon.kill().await;
    let mut random = fastrand::Rng::with_seed(20_261_124);
    for round in 0..KILLS {
        world.openai.set_scenario(if round / 6 % 2 == 0 {
            Scenario::healthy()
        } else {
            outage()
        });
        let behavior = if round % 5 == 4 {
            WebhookBehavior::Hang
        } else {
            WebhookBehavior::Ok
        };
        world.hook.set_behavior(behavior);
        let mut daemon = world.run();
        tokio::time::sleep(std::time::Duration::from_millis(random.u64(50..1500))).await;
        daemon.kill().await;
        let check: String = world.query("PRAGMA integrity_check");
        assert_eq!(check, "ok");
    }
    world.hook.set_behavior(WebhookBehavior::Ok);
    world.openai.set_scenario(outage());
    let mut daemon = world.run();
    eventually("an open incident", || {
        (world.query::<i64>("SELECT count(*) FROM incident WHERE open") > 0).then_some(())
    })
    .await;
    world.openai.set_scenario(Scenario::healthy());
    eventually("everything resolved and delivered", || {
        let left: i64 = world.query(
            "SELECT (SELECT count(*) FROM incident WHERE open) + (SELECT count(*) FROM outbox WHERE state = 'pending')",
        );
        (left == 0).then_some(())
    })
    .await;
    assert_eq!(daemon.stop().await, Some(0));
    // If the first message already reports the end, the end is not sent again.
    assert_eq!(
        world.query::<i64>("SELECT count(*) FROM outbox WHERE state NOT IN ('sent', 'merged')"),
        0
    );

    // What the receiver got: per incident its notifications in order, each with its ids.
    let mut received: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let mut over = BTreeSet::new();
    for request in world.hook.requests() {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        if body["data"]["incident"]["state"] == "resolved" {
            over.insert(body["data"]["incident"]["id"].as_str().unwrap().to_owned());
        }
        let incident = body["data"]["incident"]["id"].as_str().unwrap().to_owned();
        let id = body["data"]["notification_id"].as_str().unwrap().to_owned();
        received
            .entry(incident)
            .or_default()
            .push((body["type"].as_str().unwrap().to_owned(), id));
    }
    let incidents: i64 = world.query("SELECT count(*) FROM incident");
    assert!(incidents >= 2, "{incidents}");
    assert_eq!(
        received.len() as i64,
        incidents,
        "every incident was reported"
    );
    for (incident, reported) in &received {
        let ids = |wanted: &str| -> BTreeSet<_> {
            let of_type = reported.iter().filter(|(t, _)| t == wanted);
            of_type.map(|(_, id)| id).collect()
        };
        assert_eq!(ids("incident.opened").len(), 1, "{incident}: {reported:?}");
        assert!(
            ids("incident.resolved").len() <= 1,
            "{incident}: {reported:?}"
        );
        assert!(over.contains(incident), "{incident}: no end: {reported:?}");
        assert_eq!(reported[0].0, "incident.opened", "{incident}: {reported:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_seen_nowhere_but_on_the_wire() {
    let mut world = World::new().await;
    let echo = format!(
        "[[rule]]\npath = \"/v1/*\"\nstatus = 500\nbody = '{{\"error\":{{\"message\":\"your key {KEY} is fine, we are not\"}}}}'\n"
    );
    world.openai.set_scenario(Scenario::parse(&echo).unwrap());
    let config = world.endpoints() + &world.email() + &world.webhook();
    world.write(&config.replace(KEY, "${SENTINEL_KEY}"));
    std::fs::write(world.directory.path().join("key"), KEY).unwrap();
    let config = std::fs::read_to_string(world.config_path()).unwrap();
    world.write(&config.replace("api_key = \"${SENTINEL_KEY}\"", "api_key_file = \"key\""));
    let mut daemon = world.run();
    let mail = patiently("the mail", world.mail.next()).await;
    let hook = patiently("the webhook", world.hook.next()).await;
    let mut seen = vec![("mail", mail.data.clone()), ("webhook", hook.body.clone())];
    for verb in [
        &["check"][..],
        &["check", "--json"],
        &["probe"],
        &["probe", "--json"],
        &["export"],
        &["status", "--json"],
    ] {
        let out = world.llmwatch(verb).output().await.unwrap();
        seen.push(("a verb's stdout", out.stdout));
        seen.push(("a verb's stderr", out.stderr));
    }
    assert_eq!(daemon.stop().await, Some(0));
    seen.push(("the log", daemon.log.clone().into_bytes()));
    for file in std::fs::read_dir(world.state()).unwrap() {
        seen.push(("the store", std::fs::read(file.unwrap().path()).unwrap()));
    }
    let samples: i64 = world.query("SELECT count(*) FROM sample WHERE extra LIKE '%we are not%'");
    assert!(samples > 0, "the provider's words were recorded");
    for (place, bytes) in seen {
        let found = bytes.windows(KEY.len()).any(|w| w == KEY.as_bytes());
        assert!(
            !found,
            "the key stands in {place}: {}",
            String::from_utf8_lossy(&bytes)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn uncreatable_store_is_reported_once_and_to_systemd() {
    let world = World::new().await;
    let store = world.store();
    // Not even root can write a file where there is a directory.
    std::fs::create_dir_all(&store).unwrap();
    world.write(&world.endpoints());
    let socket = world.directory.path().join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    manager.set_nonblocking(true).unwrap();
    let ended = world
        .llmwatch(&["run"])
        .env("NOTIFY_SOCKET", &socket)
        .output();
    let ended = patiently("the end", ended).await.unwrap();
    assert_eq!(ended.status.code(), Some(1), "it is tried again");
    let stderr = String::from_utf8(ended.stderr).unwrap();
    let what = format!(
        "llmwatch: the store `{}` cannot be opened for writing: ",
        store.display()
    );
    let reported: Vec<_> = stderr
        .lines()
        .filter(|line| line.starts_with(&what))
        .collect();
    assert_eq!(reported.len(), 1, "{stderr}");
    assert!(
        reported[0].contains("df -h") && reported[0].matches("opened").count() == 2,
        "{stderr}"
    );
    let mut said = vec![0; 4096];
    let mut last = String::new();
    while let Ok(n) = manager.recv(&mut said) {
        last = String::from_utf8_lossy(&said[..n]).into_owned();
    }
    assert_eq!(last, format!("STATUS={}", reported[0]));
}
