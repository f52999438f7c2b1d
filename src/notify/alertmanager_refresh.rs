//! Alertmanager forgets an alert that nobody repeats. So the open incidents that such a channel was notified of are sent
//! again every minute, straight from the store: not as notifications of their own, which would be queued and retried, but
//! as the present state, where the next minute makes up for a failure.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tracing::Level;

use super::context::WorkerContext;
use super::retry::RetryLog;
use super::{Attempt, Progress, Sender};
use crate::config::{Channel, ChannelKind, WebhookKind};
use crate::log::{Event, emit};
use llmwatch_core::model::{Notice, NoticeKind, Timestamp};

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
            kind: NoticeKind::Reminder,
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
mod tests;
