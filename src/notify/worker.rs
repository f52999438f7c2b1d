//! Takes notifications out of the outbox and sees them delivered. One task per channel, so that a channel that hangs
//! delays only itself; none of them is ever waited for by the probes.
//!
//! Delivery is at least once: a row is marked only after the receiver has taken the message. A crash in between sends
//! it again with the same id.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Level;

use super::{Attempt, Progress, Sender, backoff, keep_alive};
use crate::audience::ends_by_message;
use crate::clock::Wall;
use crate::config::{Channel, Settings};
use crate::log::{Event, emit};
use crate::model::{NoticeType, Timestamp};
use crate::store::{Attempted, Pending, Store, StoreError};

/// How long an attempt under way may go on after the daemon is told to stop. What is cut off is sent again later.
pub const DRAIN: Duration = Duration::from_secs(5);
/// A worker looks at its rows at least this often, whatever it was told: `llmwatch outbox` changes them from another
/// process.
const POLL: Duration = Duration::from_secs(5);
/// How long a worker waits when the store fails.
const STORE_PAUSE: Duration = Duration::from_secs(5);
/// How long after a failed attempt it is tried again to say that the monitor is blind.
const BLIND_AGAIN: Duration = Duration::from_mins(1);

/// What every worker needs.
#[derive(Clone)]
pub struct Post {
    /// The outbox.
    pub store: Store,
    /// The machine's wall clock.
    pub wall: Wall,
    /// Woken when rows were added.
    pub wake: Arc<Notify>,
    /// When to stop.
    pub stop: CancellationToken,
}

/// Runs a worker for each channel of the configuration, and new ones whenever it changes, until told to stop.
///
/// # Errors
/// When a channel cannot be set up.
pub async fn run(
    post: Post,
    mut config: watch::Receiver<Arc<Settings>>,
) -> Result<(), super::SetupError> {
    loop {
        let current = config.borrow_and_update().clone();
        let sender = Arc::new(Sender::new(&current)?);
        give_up_the_gone(&post, &current).await;
        let round = post.stop.child_token();
        let mut workers = JoinSet::new();
        for channel in &current.channels {
            let worker = Worker {
                channel: channel.clone(),
                sender: sender.clone(),
                post: Post {
                    stop: round.clone(),
                    ..post.clone()
                },
            };
            if keep_alive::is_needed(channel) {
                workers.spawn(keep_alive::run(
                    channel.clone(),
                    sender.clone(),
                    worker.post.clone(),
                ));
            }
            workers.spawn(worker.run());
        }
        let stopped = tokio::select! {
            changed = config.changed() => changed.is_err(),
            () = post.stop.cancelled() => true,
        };
        round.cancel();
        while let Some(ended) = workers.join_next().await {
            if let Err(Ok(panic)) = ended.map_err(tokio::task::JoinError::try_into_panic) {
                std::panic::resume_unwind(panic);
            }
        }
        if stopped {
            return Ok(());
        }
    }
}

/// What waits for a channel that is not configured any more will never be sent: it becomes a dead letter, and the log
/// says so.
async fn give_up_the_gone(post: &Post, config: &Settings) {
    let (known, now) = (
        config
            .channels
            .iter()
            .map(|c| c.name.clone())
            .collect::<Vec<_>>(),
        (post.wall)(),
    );
    match post
        .store
        .aside(move |store| store.give_up_all_but(&known, now))
        .await
    {
        Ok(lost) => {
            for row in lost {
                let message = format!(
                    "{} to {}: the channel is not configured any more",
                    row.r#type, row.channel
                );
                let fields = json!({
                    "notification": row.id, "channel": row.channel, "type": row.r#type, "attempt": row.attempts,
                    "error": "the channel is not configured any more",
                });
                emit(Event::NotificationFailed, Level::ERROR, &message, &fields);
            }
        }
        // It is tried again at the next start.
        Err(error) => store_failed(&error, "every channel"),
    }
}

fn store_failed(error: &StoreError, channel: &str) {
    let fields = json!({"channel": channel, "error": error.to_string()});
    emit(
        Event::StoreFailed,
        Level::ERROR,
        &format!("the outbox cannot be used: {error}"),
        &fields,
    );
}

struct Worker {
    channel: Arc<Channel>,
    sender: Arc<Sender>,
    post: Post,
}

impl Worker {
    async fn run(self) {
        while !self.post.stop.is_cancelled() {
            let woken = self.post.wake.notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            let wait = match self.next().await {
                Ok((Some(pending), _)) => match self.deliver(pending).await {
                    Ok(()) => continue,
                    Err(error) => {
                        store_failed(&error, &self.channel.name);
                        STORE_PAUSE
                    }
                },
                Ok((None, next)) => next.map_or(POLL, |at| {
                    Duration::from_millis(at.since_ms((self.post.wall)()).max(1).unsigned_abs())
                        .min(POLL)
                }),
                Err(error) => {
                    store_failed(&error, &self.channel.name);
                    STORE_PAUSE
                }
            };
            tokio::select! {
                () = self.post.stop.cancelled() => {}
                () = woken => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// The next row to send, or when there will be one.
    async fn next(&self) -> Result<(Option<Pending>, Option<Timestamp>), StoreError> {
        let (channel, now) = (self.channel.name.clone(), (self.post.wall)());
        self.post
            .store
            .aside(move |store| {
                let pending = store.next_pending(&channel, now)?;
                let next = if pending.is_some() {
                    None
                } else {
                    store.next_attempt_at(&channel)?
                };
                Ok((pending, next))
            })
            .await
    }

    /// One attempt, and what came of it.
    async fn deliver(&self, pending: Pending) -> Result<(), StoreError> {
        let progress = serde_json::from_str::<Progress>(&pending.progress).unwrap_or_default();
        // Whoever has it, or may have it, from before it was over still has to hear of the end.
        let nobody_had_it = progress.delivered.is_empty() && !progress.perhaps;
        let attempt =
            self.sender
                .attempt(&self.channel, &pending.notice, progress, (self.post.wall)());
        let given_up = async {
            self.post.stop.cancelled().await;
            tokio::time::sleep(DRAIN).await;
        };
        let attempt = tokio::select! {
            attempt = attempt => attempt,
            () = given_up => return Ok(()),
        };
        let now = (self.post.wall)();
        let notice = &pending.notice;
        let number = pending.attempts + 1;
        let mut fields = json!({
            "notification": notice.id, "channel": self.channel.name, "type": notice.r#type, "attempt": number,
            "incident": notice.incident.as_ref().map(|i| i.id),
        });
        let what = format!("{} to {}", notice.r#type.as_str(), self.channel.name);
        let (attempted, progress, error) = match attempt {
            Attempt::Delivered { progress } => {
                let refused = progress.refused_summary();
                if let Some(refused) = &refused {
                    fields["error"] = json!(refused);
                }
                emit(
                    Event::NotificationSent,
                    Level::INFO,
                    &format!("{what}: delivered"),
                    &fields,
                );
                let with_end =
                    nobody_had_it && notice.already_over && !ends_by_message(&self.channel);
                (
                    if with_end {
                        Attempted::SentWithEnd
                    } else {
                        Attempted::Sent
                    },
                    progress,
                    refused,
                )
            }
            Attempt::Failed { progress, error } => {
                fields["error"] = json!(error);
                emit(
                    Event::NotificationFailed,
                    Level::ERROR,
                    &format!("{what}: refused for good: {error}"),
                    &fields,
                );
                (Attempted::Failed, progress, Some(error))
            }
            Attempt::Retry {
                progress,
                error,
                retry_after,
            } => {
                fields["error"] = json!(error);
                let at = if notice.r#type == NoticeType::Blind {
                    // Where there is no network it is no use to hurry, and when it is back its end says it all.
                    now + backoff(1, retry_after, 0.0).max(BLIND_AGAIN)
                } else {
                    now + backoff(number, retry_after, fastrand::f64())
                };
                if at > pending.queued_at + self.channel.filters.give_up_after {
                    emit(
                        Event::NotificationExpired,
                        Level::ERROR,
                        &format!("{what}: given up: {error}"),
                        &fields,
                    );
                    (Attempted::Expired, progress, Some(error))
                } else {
                    fields["next_attempt_at"] = json!(at);
                    emit(
                        Event::NotificationRetry,
                        Level::WARN,
                        &format!("{what}: {error}; trying again"),
                        &fields,
                    );
                    (Attempted::RetryAt(at), progress, Some(error))
                }
            }
        };
        // Plain data with string keys: serialising cannot fail.
        let progress = serde_json::to_string(&progress).unwrap_or_default();
        let fallback = self.channel.filters.fallback.clone();
        let work = move |store: &Store| {
            store.record_attempt(
                &pending,
                now,
                attempted,
                &progress,
                error.as_deref(),
                fallback.as_deref(),
            )
        };
        let recorded = self.post.store.aside(work).await;
        // There may be something for the fallback now.
        if self.channel.filters.fallback.is_some() {
            self.post.wake.notify_waiters();
        }
        recorded
    }
}
