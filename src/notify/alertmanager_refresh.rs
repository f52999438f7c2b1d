//! Alertmanager forgets an alert that nobody repeats. So the open incidents that such a channel was notified of are sent
//! again every minute, straight from the store: not as notifications of their own, which would be queued and retried, but
//! as the present state, where the next minute makes up for a failure.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tracing::Level;

use super::retry::RetryLog;
use super::worker::WorkerContext;
use super::{Attempt, Progress, Sender};
use crate::config::{Channel, ChannelKind, WebhookKind};
use crate::log::{Event, emit};
use llmwatch_core::model::{Notice, NoticeType, Timestamp};

/// An alert lives five times as long (see the format), so four repeats in a row may fail.
const EVERY: Duration = Duration::from_mins(1);

/// Whether `channel` forgets what is not repeated.
pub(super) fn is_needed(channel: &Channel) -> bool {
    matches!(&channel.kind, ChannelKind::Webhook(webhook) if webhook.kind == WebhookKind::Alertmanager)
}

/// Repeats until `stop` is cancelled.
pub(super) async fn run(
    channel: Arc<Channel>,
    sender: Arc<Sender>,
    context: WorkerContext,
    retries: RetryLog,
) {
    loop {
        tokio::select! {
            () = context.stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        tokio::select! {
            () = context.stop.cancelled() => return,
            () = repeat(&channel, &sender, &context, &retries) => {}
        }
    }
}

/// Sends every open incident once more.
async fn repeat(channel: &Channel, sender: &Sender, context: &WorkerContext, retries: &RetryLog) {
    let name = channel.name.clone();
    let firing = match context
        .store
        .run_blocking(move |store| store.firing_notifications(&name))
        .await
    {
        Ok(firing) => firing.into_iter().chain(shared(channel, context).await),
        Err(error) => return failed(channel, &error.to_string(), context, retries),
    };
    for notice in firing {
        let notice = Notice {
            r#type: NoticeType::Reminder,
            ..notice
        };
        match sender
            .attempt(channel, &notice, Progress::default(), (context.wall)())
            .await
        {
            Attempt::Delivered { .. } => {}
            // What does not reach it now will not reach it for the next one either.
            Attempt::Retry { error, .. } | Attempt::Failed { error, .. } => {
                return failed(channel, &error, context, retries);
            }
        }
    }
}

/// What the daemons of a shared store have notified `channel` of, for the one of them whose turn it is. A store that does
/// not answer is the coordinator's to report.
async fn shared(channel: &Channel, context: &WorkerContext) -> Vec<Notice> {
    let Some(shared) = &context.shared else {
        return Vec::new();
    };
    let minute = Timestamp((context.wall)().0.div_euclid(60_000) * 60_000);
    // No endpoint is probed from a location without a name.
    let turn = format!("alertmanager {}", channel.name);
    match shared.claim_slot(&turn, "", minute, 2 * EVERY).await {
        Ok(true) => shared
            .firing_notifications(&channel.name)
            .await
            .unwrap_or_default(),
        _ => Vec::new(),
    }
}

fn failed(channel: &Channel, error: &str, context: &WorkerContext, retries: &RetryLog) {
    if retries.is_due(&channel.name, (context.wall)()).is_none() {
        return;
    }
    let message = format!(
        "could not refresh firing alerts on {}: {error}; trying again in a minute",
        channel.name
    );
    let fields = json!({"channel": channel.name, "error": error});
    emit(Event::NotificationRetry, Level::WARN, &message, &fields);
}

#[cfg(test)]
mod tests {
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
    use llmwatch_core::message::test_notice::specimen;
    use llmwatch_core::model::Outgoing;
    use llmwatch_simulator::WebhookSink;

    /// An incident that `channel` was notified of.
    fn record_sent(store: &Store, channel: &str, r#type: NoticeType, open: bool) {
        let notice = specimen(r#type, Uuid::now_v7(), "fra1", None, clock::now());
        let incident = notice.incident.clone().unwrap();
        let row = IncidentRow {
            id: incident.id,
            number: incident.number,
            open,
            started_at: incident.started_at,
            data: serde_json::to_string(&incident).unwrap(),
        };
        let outgoing = vec![Outgoing {
            channel: channel.to_owned(),
            not_before: None,
            notice,
            supersedes_opening: false,
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
    async fn an_alert_is_repeated_for_as_long_as_its_incident_goes_on() {
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
        };
        let channel = &config.channels[0];
        assert!(is_needed(channel));

        record_sent(&store, "am", NoticeType::Opened, true);
        record_sent(&store, "am", NoticeType::Escalated, true);
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

        record_sent(&store, "am", NoticeType::Resolved, false);
        repeat(channel, &sender, &context, &RetryLog::default()).await;
        assert_eq!(sink.requests().len(), 1, "and ends with it");
    }
}
