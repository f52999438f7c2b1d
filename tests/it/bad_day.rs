//! 29 September 2026, a day on which the second platform failed, too:
//! `scenarios/outages/vendors-2026-09-29.toml`, replayed in simulated time through the detector,
//! the notification policy, a store and the routing. The mails of that day are a snapshot for
//! review by people.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use llmwatch::config::{self, Environment};
use llmwatch::failover;
use llmwatch::store::{Commit, IncidentRow, Store};
use llmwatch_core::alerting::NotificationScheduler;
use llmwatch_core::config::Config;
use llmwatch_core::message::render::{self, Setting};
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::{Notice, NoticeKind, Timestamp};

use crate::scenarios::Play;

/// How often the notification policy is asked what is due.
const TICK: Duration = Duration::from_secs(5);

/// A mailbox, and these endpoints of [`crate::scenarios`] as a group of alternatives.
fn configuration(endpoints: &[&str]) -> Arc<Config> {
    let mut text = "[monitor]\nlocation = \"fra1\"\nlisten = \"off\"\n[budget]\ndaily_usd = 100.0\n\
                    [defaults]\ngroup = \"chat\"\n\
                    [[email]]\nname = \"oncall\"\nto = [\"oncall@example.com\"]\nfrom = \"llmwatch@example.com\"\n\
                    smtp = \"smtp://127.0.0.1:25\"\n"
        .to_owned();
    for name in endpoints {
        let rest = match *name {
            "azure" => {
                "provider = \"azure-openai\"\nbase_url = \"https://r.example.com\"\ndeployment = \"gpt-5.2\"\nmodel = \"gpt-5.2\""
            }
            "claude" => "provider = \"anthropic\"\nmodel = \"claude-opus\"",
            _ => "provider = \"openai\"\nmodel = \"gpt-6-luna\"",
        };
        let _ = write!(
            text,
            "[[endpoint]]\nname = \"{name}\"\n{rest}\napi_key = \"k\"\n"
        );
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("monitor.toml");
    std::fs::write(&path, text).unwrap();
    config::load(&path, &Environment::default()).unwrap().config
}

/// What the mailbox receives on that day, in order.
fn mails(endpoints: &[&str]) -> Vec<Notice> {
    let config = configuration(endpoints);
    let store = Store::in_memory().unwrap();
    let mut notifications = NotificationScheduler::default();
    let mut asked_at: Option<Timestamp> = None;
    let mut sent = Vec::new();
    let day = Play::shipped_at("outages/vendors-2026-09-29.toml", "2026-09-29T09:55:00Z");
    day.replay(&config, |core, step, sample| {
        let Some(sample) = sample else { return };
        let now = sample.ended_at();
        let commit = Commit {
            sample: Some(sample.clone()),
            incidents: step
                .incidents()
                .map(|(_, i, _)| IncidentRow::of(i))
                .collect(),
            ..Commit::default()
        };
        store.commit(&[commit]).unwrap();
        for (change, incident, at) in step.incidents() {
            notifications.record_change(change, incident.clone(), at);
        }
        let mut at = asked_at.map_or(now, |asked| asked + TICK);
        while at <= now {
            let due = notifications.tick(at, &config, &core.snapshot(at), &[]);
            sent.extend(due.into_iter().map(|outgoing| outgoing.notice));
            asked_at = Some(at);
            at = at + TICK;
        }
    });
    for notice in &mut sent {
        let incident = notice.incident.as_ref();
        let incident = incident.filter(|_| notice.kind == NoticeKind::Resolved);
        notice.failover = incident.and_then(|i| failover::of_incident(&store, &config, i).unwrap());
    }
    sent
}

fn shown(mails: &[Notice]) -> String {
    let mut shown = String::new();
    for notice in mails {
        let setting = Setting {
            locale: Locale::default(),
            now: notice.decided_at,
            acknowledge_url: None,
            confirm_url: None,
        };
        let subject = render::subject(notice, &Locale::default());
        let _ = write!(
            shown,
            "### {}\nSubject: {subject}\n\n{}\n",
            notice.decided_at,
            render::text(notice, setting)
        );
    }
    shown
}

#[test]
fn the_mails_of_a_day_when_two_vendors_failed_are_good() {
    insta::with_settings!({filters => vec![
        (r"llmwatch \d+\.\d+\.\d+", "llmwatch VERSION"),
        (r"notification [0-9a-f-]{36}", "notification ID"),
    ]}, {
        insta::assert_snapshot!("three_vendors", shown(&mails(&["chat", "azure", "claude"])));
        insta::assert_snapshot!("two_vendors", shown(&mails(&["chat", "azure"])));
    });
}
