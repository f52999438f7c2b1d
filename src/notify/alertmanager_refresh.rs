//! Refreshes firing alerts on Alertmanager, which drops alerts that are not repeated. Every minute
//! the open incidents that were notified to such a channel are sent again, directly from the store.
//! They are not queued or retried: they are the current state, and the next minute makes up for a
//! failure.

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

/// Alerts expire after five times this (see the format), so four refreshes in a row may fail.
const EVERY: Duration = Duration::from_mins(1);

/// Reports whether `channel` needs its alerts refreshed.
pub(super) fn is_needed(channel: &Channel) -> bool {
    matches!(&channel.kind, ChannelKind::Webhook(webhook) if webhook.kind == WebhookKind::Alertmanager)
}

/// Refreshes until `stop` is cancelled.
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

/// Sends every open incident again.
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
            // The next one would fail as well.
            Attempt::Retry { error, .. } | Attempt::Failed { error, .. } => {
                return failed(channel, &error, context, retries);
            }
        }
    }
}

/// Returns the firing notifications of the shared store, if it is this daemon's turn to refresh
/// them. The coordinator reports an unreachable store.
async fn shared(channel: &Channel, context: &WorkerContext) -> Vec<Notice> {
    let Some(shared) = &context.shared else {
        return Vec::new();
    };
    let minute = Timestamp((context.wall)().0.div_euclid(60_000) * 60_000);
    // An empty location cannot collide with an endpoint's slot.
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
