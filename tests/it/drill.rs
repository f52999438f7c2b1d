//! Drills: through the binary, a mail server, a webhook, the pages and agent checks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use llmwatch::config::{self, Config, Environment};
use llmwatch::store::{Commit, DeliveryOutcome, Store};
use llmwatch_core::alerting::{DrillConfirmation, NotificationScheduler};
use llmwatch_core::model::{NoticeKind, Outgoing, Timestamp};
use llmwatch_core::monitor::{MonitorState, rehearse};
use llmwatch_simulator::{MailFault, MailStage, Scenario, WebhookBehavior};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::support::{Daemon, PATIENCE, World, free_port, notice};

/// Tuesday, noon UTC.
const NOON: Timestamp = Timestamp(1_795_521_600_000);

fn free_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

/// Configures a page below a path, and filters that suppress everything except drills.
fn configured(world: &World, listen: SocketAddr, rest: &str) -> String {
    let monitor = format!("listen = \"{listen}\"\npublic_url = \"http://{listen}/watch\"");
    let held = "on = [\"report\"]\nafter = \"1h\"\nquiet_hours = \"00:00-23:59\"\n";
    let endpoints = world.endpoints().replace("listen = \"off\"", &monitor);
    format!(
        "{endpoints}{}{held}{}{held}{rest}",
        world.email(),
        world.webhook()
    )
}

async fn ask(address: SocketAddr, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn drill(world: &World, arguments: &[&str]) -> (Option<i32>, String, String) {
    let verb: Vec<_> = std::iter::once("drill")
        .chain(arguments.iter().copied())
        .collect();
    let output = world.llmwatch(&verb).output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

async fn ready(world: &World) -> Daemon {
    let mut daemon = world.run();
    daemon.well().await;
    daemon
}

/// Starts a route drill once the group has two healthy endpoints. Returns the output.
async fn drilled(world: &World) -> String {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let (code, out, err) = drill(world, &["--route", "chat", "--json"]).await;
        if code == Some(0) {
            return out;
        }
        assert!(tokio::time::Instant::now() < deadline, "{err}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn text_of(mail: &[u8]) -> (String, String) {
    let mail = mail_parser::MessageParser::default().parse(mail).unwrap();
    let text = mail.body_text(0).unwrap().into_owned();
    (mail.subject().unwrap().to_owned(), text)
}

fn link_in(text: &str) -> &str {
    let start = text.find("/watch/a/").expect("the mail has a link");
    text[start..].split_whitespace().next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_arrives_and_is_confirmed_by_its_link() {
    let mut world = World::new().await;
    let address = free_address();
    world.write(&configured(&world, address, ""));
    let mut daemon = ready(&world).await;

    let (code, out, err) = drill(&world, &["--json"]).await;
    assert_eq!(code, Some(0), "{out}{err}");
    let receipts: Value = serde_json::from_str(&out).unwrap();
    for receipt in receipts["receipts"].as_array().unwrap() {
        assert!(receipt["accepted_at"].is_string(), "{out}");
        assert!(receipt["confirmed_at"].is_null(), "{out}");
    }

    let mail = world.mail.next().await;
    let (subject, text) = text_of(&mail.data);
    assert!(subject.starts_with("[DRILL] "), "{subject}");
    assert!(text.starts_with("DRILL: "), "{text}");
    assert!(text.contains("http.5xx"), "{text}");
    let hook: Value = serde_json::from_slice(&world.hook.next().await.body).unwrap();
    assert_eq!(hook["type"], "monitor.drill");
    assert!(hook["data"]["incident"].is_null(), "{hook}");

    // Link scanners follow every GET; only the button acts.
    let link = link_in(&text);
    for _ in 0..2 {
        let page = ask(address, "GET", link).await;
        assert!(
            page.contains("200 OK") && page.contains("<button"),
            "{page}"
        );
        assert!(page.contains("no-store"), "{page}");
    }
    let metrics = "llmwatch_channel_last_confirmed_timestamp_seconds{channel=\"oncall\"}";
    assert!(!ask(address, "GET", "/metrics").await.contains(metrics));
    let page = ask(address, "POST", link).await;
    assert!(page.contains("the drill is confirmed"), "{page}");
    let page = ask(address, "POST", link).await;
    assert!(page.contains("already confirmed"), "{page}");
    daemon.event("drill.confirmed").await;
    let cut = &link[..link.len() - 4];
    assert!(ask(address, "POST", cut).await.contains("404 Not Found"));
    assert!(ask(address, "GET", "/metrics").await.contains(metrics));

    let status = world.llmwatch(&["status"]).output().await.unwrap();
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(
        status.contains("channel oncall: last confirmed by a person on"),
        "{status}"
    );
    assert!(status.contains("channel hook: never confirmed"), "{status}");
    assert!(status.contains("no incident"), "{status}");

    // A message without a link names this command.
    let id = hook["data"]["notification_id"].as_str().unwrap();
    let (code, out, err) = drill(&world, &["--confirm", id, "--by", "ada"]).await;
    assert_eq!(
        (code, out.trim()),
        (Some(0), "the drill of hook is confirmed"),
        "{err}"
    );
    let (code, _, err) = drill(&world, &["--confirm", &Uuid::nil().to_string()]).await;
    assert_eq!(code, Some(1), "{err}");

    // Drills create no incidents or samples.
    let incidents: i64 = world.query("SELECT count(*) FROM incident");
    assert_eq!(incidents, 0);
    let endpoints = world.llmwatch(&["export"]).output().await.unwrap();
    assert!(!String::from_utf8_lossy(&endpoints.stdout).contains("simulated-endpoint"));
    assert_eq!(daemon.stop().await, Some(0));
    assert!(
        !daemon.log.contains("\"event\":\"incident."),
        "{}",
        daemon.log
    );
    assert!(!daemon.log.contains(link.rsplit('/').next().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_says_why_it_cannot_be_started() {
    let world = World::new().await;
    let address = free_address();
    world.write(&configured(&world, address, ""));
    let (code, _, err) = drill(&world, &[]).await;
    assert_eq!(code, Some(1));
    assert!(
        err.contains("is `llmwatch run` running?") || err.contains("no daemon answers"),
        "{err}"
    );

    let mut daemon = ready(&world).await;
    let (code, _, err) = drill(&world, &["pager"]).await;
    assert_eq!(code, Some(1));
    assert!(
        err.contains("unknown channel `pager`; configured: oncall, hook"),
        "{err}"
    );
    let (code, _, err) = drill(&world, &["--route", "nowhere"]).await;
    assert_eq!(code, Some(1));
    assert!(
        err.contains("there is no group `nowhere`; known: chat"),
        "{err}"
    );
    assert_eq!(daemon.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unconfirmed_drill_is_reported_once_to_others() {
    let mut world = World::new().await;
    let address = free_address();
    let rest =
        "[drill]\nchannels = [\"oncall\"]\nconfirm_within = \"2s\"\nescalate_to = [\"hook\"]\n";
    world.write(&configured(&world, address, rest));
    // A nonexistent mailbox rejects permanently.
    world.mail.set_fault(MailFault::Permanent(MailStage::Rcpt));
    let mut daemon = ready(&world).await;
    let (code, out, err) = drill(&world, &[]).await;
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(out.contains("oncall"), "{out}");
    daemon.event("drill.unconfirmed").await;
    let reported = loop {
        let request = world.hook.next().await;
        let hook: Value = serde_json::from_slice(&request.body).unwrap();
        if hook["data"]["details"]["drill"].is_string() {
            break hook;
        }
    };
    assert_eq!(reported["type"], "monitor.delivery");
    assert_eq!(
        reported["data"]["title"],
        "nobody confirmed the drill of the channel `oncall`"
    );
    assert_eq!(daemon.stop().await, Some(0));
    assert_eq!(daemon.log.matches("drill.unconfirmed").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_drill_moves_traffic_and_a_restart_ends_it() {
    let world = World::new().await;
    let (address, agent) = (free_address(), free_address());
    let rest = format!(
        "[route]\nagent_listen = \"{agent}\"\n\n[[endpoint]]\nname = \"alone\"\nprovider = \"openai\"\ngroup = \"solo\"\n\
         base_url = \"http://{}/v1\"\n",
        world.openai.addr()
    );
    world.write(&configured(&world, address, &rest));
    let agent_says = |name: &'static str| async move {
        let mut stream = TcpStream::connect(agent).await.unwrap();
        stream.write_all(name.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        reply
    };
    let mut daemon = ready(&world).await;
    let route = async || {
        let path = "/watch/api/v1/route?group=chat&format=text";
        let answer = ask(address, "GET", path).await;
        answer.lines().last().unwrap_or_default().to_owned()
    };
    let begun: Value = serde_json::from_str(&drilled(&world).await).unwrap();
    assert_eq!(
        (begun["endpoint"].as_str(), begun["instead"].as_str()),
        (Some("openai-chat"), Some("azure-chat"))
    );
    assert_eq!(route().await, "azure-chat");
    assert_eq!(agent_says("openai-chat\n").await, "down #drill\n");
    assert_eq!(agent_says("azure-chat\n").await, "up ready 100%\n");
    let status = ask(address, "GET", "/api/v1/status").await;
    assert!(
        !status.contains("outage") && !status.contains("\"drill\":"),
        "{status}"
    );
    let (code, _, err) = drill(&world, &["--route", "solo"]).await;
    assert_eq!(code, Some(1));
    assert!(err.contains("has one endpoint, `alone`"), "{err}");

    let kept = std::fs::read_to_string(world.state().join("route_drill.json")).unwrap();
    assert!(kept.contains("\"until\""), "{kept}");
    daemon.kill().await;
    let mut daemon = world.run();
    let ended = daemon.event("drill.ended").await;
    assert_eq!(ended["reason"], "the daemon has restarted");
    daemon.event("monitor.ready").await;
    assert_eq!(agent_says("openai-chat\n").await, "up ready 100%\n");
    assert!(!world.state().join("route_drill.json").exists());

    // A real outage of the alternative ends the drill.
    daemon.good_probes(&["openai-chat", "azure-chat"]).await;
    drilled(&world).await;
    let outage = "[[rule]]\npath = \"/*\"\nfault = \"openai_503\"\n";
    world.azure.set_scenario(Scenario::parse(outage).unwrap());
    let ended = daemon.event("drill.ended").await;
    assert_eq!(ended["reason"], "no other endpoint of the group is healthy");
    assert_eq!(daemon.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_that_waits_holds_nothing_back() {
    let world = World::new().await;
    let address = free_address();
    let config = configured(&world, address, "");
    // The webhook receives incidents.
    let config = config.replace(
        "name = \"hook\"",
        "name = \"hook\"\nmin_status = \"degraded\"",
    );
    let (head, tail) = config.split_at(config.find("[[webhook]]").unwrap());
    let tail = tail.replace(
        "on = [\"report\"]\nafter = \"1h\"\nquiet_hours = \"00:00-23:59\"\n",
        "",
    );
    world.write(&format!("{head}{tail}"));
    world
        .hook
        .set_behavior(WebhookBehavior::Status(503, Vec::new()));
    let mut daemon = ready(&world).await;
    let begun = world.llmwatch(&["drill", "hook"]).spawn().unwrap();
    daemon.event("drill.started").await;
    daemon.event("notification.retry").await;
    let outage = "[[rule]]\npath = \"/v1/*\"\nfault = \"openai_503\"\n";
    world.openai.set_scenario(Scenario::parse(outage).unwrap());
    daemon.event("incident.opened").await;
    // Its first attempt has failed too, so no attempt of the drill is in progress.
    while daemon.event("notification.retry").await["type"] != "incident.opened" {}
    world.hook.set_behavior(WebhookBehavior::Ok);
    for wanted in ["incident.opened", "monitor.drill"] {
        let sent = daemon.event("notification.sent").await;
        assert_eq!(sent["type"], wanted, "{}", daemon.log);
    }
    drop(begun);
    assert_eq!(daemon.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_while_offline_is_refused_with_the_reason() {
    let mut world = World::new().await;
    let address = free_address();
    let online = configured(&world, address, "[drill]\nchannels = [\"hook\"]\n");
    let nobody = "127.0.0.1:1";
    let offline = online
        .replace(&world.openai.addr().to_string(), nobody)
        .replace(&world.azure.addr().to_string(), nobody);
    let check = |at: &str| format!("\n[[connectivity_check]]\nurl = \"tcp://{at}\"\n");
    world.write(&(offline + &check(nobody)));
    let mut daemon = world.run();
    daemon.event("monitor.offline").await;
    for (arguments, reason) in [
        (&["--route", "chat"][..], "this machine is offline"),
        (&[][..], "a drill needs the network, so none was started"),
    ] {
        let (code, _, err) = drill(&world, arguments).await;
        assert_eq!(code, Some(1));
        assert!(err.contains(reason), "{err}");
    }

    world.write(&(online + &check(&world.openai.addr().to_string())));
    daemon.signal("HUP");
    daemon.event("monitor.online").await;
    let (code, out, err) = drill(&world, &[]).await;
    assert_eq!(code, Some(0), "{out}{err}");
    let hook: Value = serde_json::from_slice(&world.hook.next().await.body).unwrap();
    assert_eq!(hook["type"], "monitor.drill");
    assert_eq!(daemon.stop().await, Some(0));
}

fn core_config(rest: &str) -> Arc<Config> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("monitor.toml");
    let text = format!(
        "[[endpoint]]\nname = \"a\"\nprovider = \"openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\napi_key = \"k\"\n\
         [[webhook]]\nname = \"hook\"\nurl = \"http://127.0.0.1:9/\"\n\
         [[webhook]]\nname = \"pager\"\nkind = \"pagerduty\"\nrouting_key = \"0123456789abcdef0123456789abcdef\"\n{rest}"
    );
    std::fs::write(&path, text).unwrap();
    let settings = config::load(&path, &Environment::default()).unwrap();
    settings.config
}

#[test]
fn drill_outage_is_decided_by_the_real_detector() {
    let usual = rehearse(&core_config(""), NOON).unwrap();
    let after = usual.opened_at.since_ms(usual.started_at);
    assert!((0..=60_000).contains(&NOON.since_ms(usual.opened_at)));
    assert!((60_000..=180_000).contains(&after), "{after}");
    let slow = "[detection]\nalert_after = \"20m\"\n";
    let late = rehearse(&core_config(slow), NOON).unwrap();
    assert!(
        late.opened_at.since_ms(late.started_at) >= 20 * 60_000,
        "the settings in force count"
    );
    let never = "[detection]\nalert_after = \"2d\"\n";
    assert_eq!(rehearse(&core_config(never), NOON), None);
}

#[test]
fn drills_are_started_by_the_calendar_and_once() {
    let config = core_config("[drill]\nevery = \"weekly\"\n");
    let core = MonitorState::new(config.clone(), 1.0);
    let mut notifications = NotificationScheduler::default();
    let mut due = |at: Timestamp| notifications.is_drill_due(&config, &core.snapshot(at));
    let hour = |n: i64| Timestamp(NOON.0 + n * 3_600_000);
    assert!(!due(NOON), "the first one is the next Monday's");
    assert!(!due(hour(24 * 5)));
    let monday = hour(24 * 6 - 2);
    assert!(!due(Timestamp(monday.0 - 1000)));
    assert!(due(monday), "Monday at 10:00");
    assert!(!due(hour(24 * 6)), "once");
    // A clock that was a day ahead is corrected, so that Monday is in the future again.
    assert!(!due(hour(24 * 5)));
    assert!(due(hour(24 * 6)) && !due(hour(24 * 6)));
    assert!(due(hour(24 * 13)), "the next Monday");
}

#[test]
fn a_receiver_that_keeps_alerts_gets_the_end() {
    let config = core_config("");
    let core = MonitorState::new(config.clone(), 1.0);
    let mut notifications = NotificationScheduler::default();
    let all = ["hook".into(), "pager".into()];
    let incident = rehearse(&config, NOON);
    let messages = notifications.start_drill(Uuid::nil(), &all, incident.as_ref(), &config, NOON);
    let outgoing = notifications.tick(NOON, &config, &core.snapshot(NOON), &[]);
    let seen: Vec<_> = outgoing
        .iter()
        .map(|o| {
            let over = o.notice.condition.as_ref().map(|c| c.over);
            (o.channel.as_str(), o.notice.kind, over)
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("hook", NoticeKind::Drill, None),
            ("pager", NoticeKind::Drill, Some(false)),
            ("pager", NoticeKind::Drill, Some(true)),
        ]
    );
    let id = messages[0].notification;
    assert_eq!(outgoing[0].notice.id, id);
    // The clock is set forward by a day: the time to confirm does not change.
    let day = Duration::from_hours(25);
    notifications.follow_clock(day.as_millis() as i64);
    assert!(
        notifications
            .report_unconfirmed_drills(&config, NOON + day)
            .is_empty()
    );
    assert!(matches!(
        notifications.confirm_drill(id, NOON + day, "link"),
        DrillConfirmation::Confirmed(_)
    ));
    assert!(matches!(
        notifications.confirm_drill(id, NOON + day, "link"),
        DrillConfirmation::Already(_)
    ));
    assert_eq!(
        notifications.confirm_drill(Uuid::max(), NOON, "link"),
        DrillConfirmation::Unknown
    );
    let late = notifications.report_unconfirmed_drills(&config, NOON + day * 2);
    assert_eq!(late.len(), 1, "the pager's");
    assert!(
        notifications
            .report_unconfirmed_drills(&config, NOON + day * 3)
            .is_empty()
    );
}

#[test]
fn real_messages_go_before_a_drill() {
    let store = Store::in_memory().unwrap();
    let queued = |kind, at| Outgoing {
        channel: "mail".into(),
        not_before: None,
        notice: notice(kind, None, Timestamp(at)),
        supersedes_pending: false,
    };
    let outgoing = vec![
        queued(NoticeKind::Drill, 1000),
        queued(NoticeKind::Store, 2000),
    ];
    let commit = Commit {
        outgoing,
        ..Commit::default()
    };
    store.commit(&[commit]).unwrap();
    let next = |now| store.next_pending("mail", Timestamp(now)).unwrap();
    let first = next(3000).unwrap();
    assert_eq!(first.notice.kind, NoticeKind::Store);
    // It failed and will be retried soon; the drill waits for it.
    let later = DeliveryOutcome::RetryAt(Timestamp(10_000));
    store
        .record_attempt(&first, Timestamp(3000), later, "{}", Some("no"), None)
        .unwrap();
    assert_eq!(next(4000), None);
    let again = next(10_000).unwrap();
    store
        .record_attempt(
            &again,
            Timestamp(10_000),
            DeliveryOutcome::Sent,
            "{}",
            None,
            None,
        )
        .unwrap();
    assert_eq!(next(10_001).unwrap().notice.kind, NoticeKind::Drill);
}
