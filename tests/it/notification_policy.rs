//! Which channel is notified of what, with the real binary: advice, escalation, reminders, quiet
//! hours.

use chrono::{TimeDelta, Timelike};
use llmwatch_simulator::{Request, Scenario};
use serde_json::Value;

use crate::support::{PATIENCE, World, eventually};

fn body(request: &Request) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn advice_reaches_its_channels_once() {
    let mut world = World::new().await;
    let little = "[[rule]]\npath = \"/v1/*\"\n\
                  response_headers = { x-ratelimit-limit-requests = \"100\", x-ratelimit-remaining-requests = \"4\" }\n";
    world.openai.set_scenario(Scenario::parse(little).unwrap());
    world.write(&(world.endpoints() + &world.webhook() + "on = [\"advice\"]\n" + &world.email()));
    let mut daemon = world.run();
    daemon.event("notification.sent").await;
    for _ in 0..6 {
        daemon.event("probe.completed").await;
    }
    let reported = body(
        &tokio::time::timeout(PATIENCE, world.hook.next())
            .await
            .expect("advice comes"),
    );
    assert_eq!(
        (&reported["type"], &reported["data"]["reason"]),
        (&"advice.given".into(), &"advice".into())
    );
    let advice = &reported["data"]["details"]["advice"][0];
    assert_eq!(
        (&advice["endpoint"], &advice["kind"]),
        (&"openai-chat".into(), &"headroom".into())
    );
    assert!(
        reported["data"]["title"]
            .as_str()
            .unwrap()
            .contains("4% of the account's rate limit"),
        "{reported}"
    );
    assert_eq!(world.hook.requests().len(), 1, "not with every probe");
    assert!(world.mail.messages().is_empty(), "nobody else is bothered");
    let report = world.llmwatch(&["report"]).output().await.unwrap();
    let report = String::from_utf8_lossy(&report.stdout).into_owned();
    assert_eq!(daemon.stop().await, Some(0));
    let after = world.llmwatch(&["report"]).output().await.unwrap();
    let after = String::from_utf8_lossy(&after.stdout).into_owned();
    assert!(
        after.contains("ADVICE") && after.contains("4% of the account's"),
        "{report}\n{after}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn reminders_escalation_and_quiet_hours_by_channel() {
    let mut world = World::new().await;
    let now = llmwatch::clock::now().to_datetime();
    let clock = |at: chrono::DateTime<chrono::Utc>| format!("{:02}:{:02}", at.hour(), at.minute());
    let night = format!(
        "{}-{}",
        clock(now - TimeDelta::hours(2)),
        clock(now + TimeDelta::hours(2))
    );
    let quiet = world
        .webhook()
        .replace("\"hook\"", "\"quiet\"")
        .replace("/alerts", "/quiet");
    let channels = world.webhook()
        + "remind_every = \"3s\"\n"
        + &quiet
        + &format!("quiet_hours = \"{night}\"\nquiet_hours_all = true\n")
        + &world.email()
        + "after = \"5s\"\n";
    world.write(&(world.endpoints() + &channels));
    let mut daemon = world.run();
    daemon.well().await;
    world.openai.set_scenario(
        Scenario::parse("[[rule]]\npath = \"/v1/*\"\nfault = \"openai_503\"\n").unwrap(),
    );
    let opened = daemon.event("incident.opened").await;
    let mail = tokio::time::timeout(PATIENCE, world.mail.next())
        .await
        .expect("it lasts");
    let opened_at =
        chrono::DateTime::parse_from_rfc3339(opened["opened_at"].as_str().unwrap()).unwrap();
    let waited = mail.received_at.0 - opened_at.timestamp_millis();
    assert!(waited >= 5_000, "it is sent after its time: {waited} ms");
    let types = || {
        world
            .hook
            .requests()
            .iter()
            .map(|r| body(r)["type"].to_string())
            .collect::<Vec<_>>()
    };
    eventually("a reminder", || {
        types()
            .contains(&"\"incident.reminder\"".to_owned())
            .then_some(())
    })
    .await;
    assert_eq!(types()[0], "\"incident.opened\"");
    world.openai.set_scenario(Scenario::healthy());
    daemon.event("incident.resolved").await;
    let end = tokio::time::timeout(PATIENCE, world.mail.next())
        .await
        .expect("its end is sent as well");
    assert!(String::from_utf8_lossy(&end.data).contains("Subject: [RESOLVED"));
    assert!(
        world.hook.requests().iter().all(|r| r.path == "/alerts"),
        "somebody sleeps"
    );
    assert_eq!(daemon.stop().await, Some(0));
}
