//! Tests of the module `alertmanager_refresh`.

use std::sync::Arc;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::*;
use crate::clock;
use crate::config::{self, Environment};
use crate::store::{Commit, DeliveryOutcome, IncidentRow, Store};
use llmwatch_core::message::test_notice::sample_notice;
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::Outgoing;
use llmwatch_simulator::WebhookSink;

/// An incident that `channel` was notified of.
fn record_sent(store: &Store, channel: &str, kind: NoticeKind, open: bool) {
    let notice = sample_notice(
        kind,
        Uuid::now_v7(),
        "fra1",
        None,
        clock::now(),
        &Locale::default(),
    );
    let incident = notice.incident.clone().unwrap();
    let row = IncidentRow {
        id: incident.id,
        number: incident.number,
        open,
        started_at: incident.started_at,
        data: serde_json::to_string(&incident).unwrap(),
    };
    let outgoing = vec![Outgoing {
        channel: channel.into(),
        not_before: None,
        notice,
        supersedes_pending: false,
    }];
    store
        .commit(&[Commit {
            incidents: vec![row],
            outgoing,
            ..Commit::default()
        }])
        .unwrap();
    let pending = store.next_pending(channel, clock::now()).unwrap().unwrap();
    store
        .record_attempt(
            &pending,
            clock::now(),
            DeliveryOutcome::Sent,
            "{}",
            None,
            None,
        )
        .unwrap();
}

#[tokio::test]
async fn firing_alert_is_refreshed_while_its_incident_is_open() {
    let mut sink = WebhookSink::start(TcpListener::bind("127.0.0.1:0").await.unwrap()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("monitor.toml");
    let text = format!(
        "[[endpoint]]\nprovider = \"openai\"\napi_key = \"k\"\n[[webhook]]\nname = \"am\"\nkind = \"alertmanager\"\nurl = \"http://{}\"\n",
        sink.addr()
    );
    std::fs::write(&path, text).unwrap();
    let surroundings = Environment {
        hostname: "host".to_owned(),
        ..Environment::default()
    };
    let config = config::load(&path, &surroundings).unwrap();
    let sender = Sender::new(&config).unwrap();
    let store = Store::in_memory().unwrap();
    let context = WorkerContext {
        shared: None,
        store: store.clone(),
        wall: Arc::new(clock::now),
        wake: Arc::new(Notify::new()),
        stop: CancellationToken::new(),
        links: crate::links::Links::new(&[7; 32].into()),
    };
    let channel = &config.channels[0];
    assert!(is_needed(channel));

    record_sent(&store, "am", NoticeKind::Opened, true);
    record_sent(&store, "am", NoticeKind::Escalated, true);
    let before = clock::now();
    repeat(channel, &sender, &context, &RetryLog::default()).await;
    let alerts: Value = serde_json::from_slice(&sink.next().await.body).unwrap();
    assert_eq!(
        (
            alerts.as_array().unwrap().len(),
            &alerts[0]["labels"]["number"]
        ),
        (1, &"42".into())
    );
    assert!(
        alerts[0]["endsAt"].as_str().unwrap() > before.to_string().as_str(),
        "it lives on: {alerts}"
    );

    record_sent(&store, "am", NoticeKind::Resolved, false);
    repeat(channel, &sender, &context, &RetryLog::default()).await;
    assert_eq!(sink.requests().len(), 1, "and ends with it");
}
