//! Delivers the notifications of the outbox. One task per channel, so that a channel that hangs
//! delays only itself. Probes never wait for these tasks.
//!
//! Delivery is at least once: a row is marked only after the receiver has accepted the message.
//! After a crash in between, it is sent again with the same ID.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::Level;
use uuid::Uuid;

use super::context::WorkerContext;
use super::retry::RetryLog;
use super::{Attempt, Obstacle, Progress, Sender, alertmanager_refresh, backoff};
use crate::config::{Channel, Settings};
use crate::failover;
use crate::log::{self, Event, emit};
use crate::store::postgres::{RENEW, day_of};
use crate::store::{DeliveryOutcome, Pending, Store, StoreError};
use llmwatch_core::config::matchers::requires_explicit_resolve;
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::{FailoverOutcome, Notice, NoticeKind, Outgoing, Timestamp};

/// How long an attempt in progress may continue after the shutdown begins. An aborted one is
/// repeated later.
pub const DRAIN: Duration = Duration::from_secs(5);
/// A worker polls its rows at least this often, even without a wake-up: `llmwatch outbox` changes
/// them from another process.
const POLL: Duration = Duration::from_secs(5);
/// How long a worker waits when the store fails.
const STORE_PAUSE: Duration = Duration::from_secs(5);
/// How often a worker polls for rows that other daemons have queued or abandoned.
const SHARED_POLL: Duration = Duration::from_secs(1);
/// How often recording a delivery is attempted before its claim is left to expire.
const RECORD_ATTEMPTS: u32 = 5;

/// The outbox that a row comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// This daemon's own outbox.
    Own,
    /// The shared outbox.
    Shared,
}

/// Runs a worker for each channel of the configuration, restarting them when it changes, until
/// `stop` is cancelled.
///
/// # Errors
/// When a channel cannot be set up.
pub async fn run(
    context: WorkerContext,
    mut config: watch::Receiver<Arc<Settings>>,
) -> Result<(), super::SenderSetupError> {
    let retries = RetryLog::default();
    loop {
        let current = config.borrow_and_update().clone();
        let sender = Sender::new(&current)?.with_links(context.links.clone());
        let sender = Arc::new(sender);
        expire_removed_channels(&context, &current).await;
        let round = context.stop.child_token();
        let mut workers = JoinSet::new();
        for channel in &current.channels {
            let worker = Worker {
                channel: channel.clone(),
                sender: sender.clone(),
                context: WorkerContext {
                    stop: round.clone(),
                    ..context.clone()
                },
                retries: retries.clone(),
                outage: Outage::default(),
                settings: current.clone(),
                failover: None,
            };
            if alertmanager_refresh::is_needed(channel) {
                workers.spawn(alertmanager_refresh::run(
                    channel.clone(),
                    sender.clone(),
                    worker.context.clone(),
                    retries.clone(),
                ));
            }
            workers.spawn(worker.run());
        }
        let stopped = tokio::select! {
            changed = config.changed() => changed.is_err(),
            () = context.stop.cancelled() => true,
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

/// Dead-letters and logs the pending notifications of channels that are no longer configured.
async fn expire_removed_channels(context: &WorkerContext, config: &Settings) {
    let known = config
        .channels
        .iter()
        .map(|c| c.name.clone())
        .collect::<Vec<_>>();
    let now = (context.wall)();
    match context
        .store
        .run_blocking(move |store| store.expire_all_except(&known, now))
        .await
    {
        Ok(lost) => {
            for row in lost {
                let message = format!(
                    "{} to {}: the channel is no longer configured",
                    row.kind, row.channel
                );
                let fields = json!({
                    "notification": row.id, "channel": row.channel, "type": row.kind, "attempt": row.attempts,
                    "error": "the channel is no longer configured",
                });
                emit(Event::NotificationFailed, Level::ERROR, &message, &fields);
            }
        }
        // Retried at the next start or reload.
        Err(error) => store_failed(&error, "every channel"),
    }
}

fn store_failed(error: &StoreError, channel: &str) {
    let message = format!("the outbox of {channel} cannot be used: {error}");
    log::store_failed("outbox", &message, error);
}

/// The state of a failing receiver.
#[derive(Debug, Clone, Copy, Default)]
struct Outage {
    /// Since when every attempt has failed.
    since: Option<Instant>,
    /// Nothing is sent before this: the receiver asked for it, or nothing listens there.
    hold_until: Option<Instant>,
}

struct Worker {
    channel: Arc<Channel>,
    sender: Arc<Sender>,
    context: WorkerContext,
    retries: RetryLog,
    outage: Outage,
    settings: Arc<Settings>,
    /// The failover outcome of the last notification, so that a retry does not compute it again.
    failover: Option<(Uuid, Option<FailoverOutcome>)>,
}

impl Worker {
    async fn run(mut self) {
        while !self.context.stop.is_cancelled() {
            let wake = self.context.wake.clone();
            let woken = wake.notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            if let Some(wait) = Box::pin(self.step()).await {
                tokio::select! {
                    () = self.context.stop.cancelled() => {}
                    () = woken => {}
                    () = tokio::time::sleep(wait) => {}
                }
            }
        }
    }

    /// Delivers the next notification if one is due; otherwise returns how long to wait.
    async fn step(&mut self) -> Option<Duration> {
        let now = (self.context.wall)();
        let held = self
            .outage
            .hold_until
            .map(|until| until.saturating_duration_since(Instant::now()))
            .filter(|held| !held.is_zero());
        if let Some(held) = held {
            return Some(held.min(POLL));
        }
        self.outage.hold_until = None;
        let result = match self.next().await {
            Ok((Some(pending), _)) if self.hand_over(&pending).await => Ok(None),
            Ok((Some(pending), _)) => Box::pin(self.deliver(pending, Origin::Own))
                .await
                .map(|()| None),
            Ok((None, _)) if let Some(pending) = self.claim().await => {
                Box::pin(self.deliver(pending, Origin::Shared))
                    .await
                    .map(|()| None)
            }
            Ok((None, _)) if self.context.shared.is_some() => Ok(Some(SHARED_POLL)),
            Ok((None, next)) => Ok(Some(next.map_or(POLL, |at| {
                Duration::from_millis(at.since_ms(now).max(1).unsigned_abs()).min(POLL)
            }))),
            Err(error) => Err(error),
        };
        result.unwrap_or_else(|error| {
            store_failed(&error, &self.channel.name);
            Some(STORE_PAUSE)
        })
    }

    /// Returns the next row to send, or when one will be due.
    async fn next(&self) -> Result<(Option<Pending>, Option<Timestamp>), StoreError> {
        let channel = self.channel.name.clone();
        let now = (self.context.wall)();
        self.context
            .store
            .run_blocking(move |store| {
                let pending = store.next_pending(&channel, now)?;
                let next = if pending.is_some() {
                    None
                } else {
                    store.next_attempt_at(&channel, now)?
                };
                Ok((pending, next))
            })
            .await
    }

    /// Hands a periodic report, advice or a message about the budget over to the shared outbox,
    /// which accepts it once, whichever daemon made it. If that is unreachable, it is sent from
    /// here.
    async fn hand_over(&self, pending: &Pending) -> bool {
        let Some(shared) = &self.context.shared else {
            return false;
        };
        let kind = pending.notice.kind;
        if !matches!(
            kind,
            NoticeKind::Report | NoticeKind::Advice | NoticeKind::Budget
        ) {
            return false;
        }
        let outgoing = Outgoing {
            channel: pending.channel.clone(),
            not_before: None,
            notice: pending.notice.clone(),
            supersedes_pending: false,
        };
        let queued = match kind {
            NoticeKind::Advice => {
                let locale = Locale::of(&self.settings.config);
                shared.queue_advice(&outgoing, &locale).await
            }
            NoticeKind::Budget => {
                let key = self.budget_key(pending.notice.decided_at);
                let is_shared = self.settings.config.budget.shared;
                shared.queue_budget(&outgoing, &key, is_shared).await
            }
            _ => shared.queue_once(&outgoing).await,
        };
        if queued.is_err() {
            return false;
        }
        let id = pending.notice.id;
        let now = (self.context.wall)();
        self.context
            .store
            .run_blocking(move |store| store.handed_over(id, now))
            .await
            .is_ok()
    }

    /// Identifies the budget of the day of `at`: one for all daemons if it is shared, otherwise one
    /// for each location. A budget that was changed is another one.
    fn budget_key(&self, at: Timestamp) -> String {
        let config = &self.settings.config;
        let day = day_of(at, config.monitor.timezone);
        let location = if config.budget.shared {
            ""
        } else {
            config.monitor.location.as_str()
        };
        format!("{day} {location:?} {:?}", config.budget)
    }

    /// Claims the next row of the shared outbox.
    async fn claim(&self) -> Option<Pending> {
        let shared = self.context.shared.as_ref()?;
        // The coordinator reports an unreachable store.
        shared.claim(&self.channel.name).await.ok().flatten()
    }

    /// Renews the claim on a row during delivery. Returns when another daemon has taken it over.
    async fn hold_claim(&self, id: Uuid, origin: Origin) {
        let Some(shared) = self
            .context
            .shared
            .as_ref()
            .filter(|_| origin == Origin::Shared)
        else {
            return std::future::pending().await;
        };
        loop {
            tokio::time::sleep(RENEW).await;
            if matches!(shared.renew_claim(id).await, Ok(false)) {
                return;
            }
        }
    }

    /// Returns how much failing over would have helped, for messages about the end of an incident.
    /// A store that cannot be read does not delay the message.
    async fn failover(&mut self, notice: &Notice) -> Option<FailoverOutcome> {
        let is_end = notice.kind == NoticeKind::Resolved || notice.already_over;
        let incident = notice.incident.clone().filter(|_| is_end)?;
        if let Some((id, known)) = &self.failover
            && *id == notice.id
        {
            return known.clone();
        }
        let config = self.settings.config.clone();
        let store = &self.context.store;
        let found =
            store.run_blocking(move |store| failover::of_incident(store, &config, &incident));
        let found = found.await.ok()?;
        self.failover = Some((notice.id, found.clone()));
        found
    }

    /// Makes one attempt and records its outcome.
    async fn deliver(&mut self, mut pending: Pending, origin: Origin) -> Result<(), StoreError> {
        pending.notice.failover = self.failover(&pending.notice).await;
        let mut progress = serde_json::from_str::<Progress>(&pending.progress).unwrap_or_default();
        progress.perhaps |= pending.is_interrupted;
        // A receiver that has, or may have, an earlier version still needs the message about the
        // end.
        let nobody_had_it = progress.delivered.is_empty() && !progress.perhaps;
        if origin == Origin::Own && nobody_had_it {
            self.begin_attempt(&pending, &progress).await;
        }
        let attempt = self.sender.attempt(
            &self.channel,
            &pending.notice,
            progress,
            (self.context.wall)(),
        );
        let drained = async {
            self.context.stop.cancelled().await;
            tokio::time::sleep(DRAIN).await;
        };
        let attempt = tokio::select! {
            attempt = attempt => attempt,
            () = drained => return Ok(()),
            () = self.hold_claim(pending.notice.id, origin) => return Ok(()),
        };
        let now = (self.context.wall)();
        let (attempted, progress, error) = match attempt {
            Attempt::Delivered { progress } => {
                let refused = progress.refused_summary();
                self.log_sent(&pending, refused.as_deref());
                let with_end = nobody_had_it
                    && pending.notice.already_over
                    && !requires_explicit_resolve(&self.channel);
                let attempted = if with_end {
                    DeliveryOutcome::SentAsResolved
                } else {
                    DeliveryOutcome::Sent
                };
                (attempted, progress, refused)
            }
            Attempt::Failed { progress, error } => {
                let message = format!("permanently rejected: {error}");
                self.log(
                    Event::NotificationFailed,
                    Level::ERROR,
                    &pending,
                    &message,
                    json!({"error": error}),
                );
                (DeliveryOutcome::Failed, progress, Some(error))
            }
            Attempt::Retry {
                progress,
                error,
                retry_after,
                obstacle,
            } => {
                let attempted = self.put_off(&pending, now, &error, retry_after, obstacle);
                (attempted, progress, Some(error))
            }
        };
        match origin {
            Origin::Own => self.record(pending, now, attempted, &progress, error).await,
            Origin::Shared => {
                self.record_shared(&pending, now, attempted, &progress, error.as_deref())
                    .await;
                Ok(())
            }
        }
    }

    /// Records that the receiver may get an `opened`, in case this daemon is killed before it
    /// records the outcome. In the shared store the claim serves this purpose.
    async fn begin_attempt(&self, pending: &Pending, progress: &Progress) {
        if pending.notice.kind != NoticeKind::Opened {
            return;
        }
        let perhaps = Progress {
            perhaps: true,
            ..progress.clone()
        };
        // Plain data with string keys: serializing cannot fail.
        let perhaps = serde_json::to_string(&perhaps).unwrap_or_default();
        let id = pending.notice.id;
        let work = move |store: &Store| store.begin_attempt(id, &perhaps);
        // A file that cannot be written is reported when the attempt is recorded.
        let _ = self.context.store.run_blocking(work).await;
    }

    /// Records an attempt in the shared store. If that fails, the claim expires and the message is
    /// sent again with the same ID.
    async fn record_shared(
        &mut self,
        pending: &Pending,
        now: Timestamp,
        attempted: DeliveryOutcome,
        progress: &Progress,
        error: Option<&str>,
    ) {
        let Some(shared) = self.context.shared.clone() else {
            return;
        };
        // Plain data with string keys: serializing cannot fail.
        let progress = serde_json::to_string(progress).unwrap_or_default();
        let wait = match attempted {
            DeliveryOutcome::RetryAt(at) => {
                Duration::from_millis(at.since_ms(now).max(0).unsigned_abs())
            }
            _ => Duration::ZERO,
        };
        let is_back = self.note_outcome(pending, attempted);
        let fallback = self.channel.filters.fallback.as_deref();
        for _ in 0..RECORD_ATTEMPTS {
            let recorded = shared
                .record_shared_attempt(pending, attempted, wait, &progress, error, fallback)
                .await;
            if recorded.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        if is_back {
            let _ = shared.release_shared_channel(&self.channel.name).await;
        }
        if fallback.is_some() {
            self.context.wake.notify_waiters();
        }
    }

    /// Ends the outage of the channel after a success. Returns whether the receiver has recovered,
    /// so that earlier failures are retried now.
    fn note_outcome(&mut self, pending: &Pending, attempted: DeliveryOutcome) -> bool {
        let is_success = matches!(
            attempted,
            DeliveryOutcome::Sent | DeliveryOutcome::SentAsResolved
        );
        let is_back = is_success && (self.outage.since.is_some() || pending.attempts > 0);
        if is_success {
            self.outage = Outage::default();
            self.retries.forget(&self.channel.name);
        }
        is_back
    }

    /// Schedules the next attempt after a failure, or gives up.
    fn put_off(
        &mut self,
        pending: &Pending,
        now: Timestamp,
        error: &str,
        retry_after: Option<Duration>,
        obstacle: Obstacle,
    ) -> DeliveryOutcome {
        let number = pending.attempts + 1;
        // A notification attempted before the daemon started has been failing since it was queued.
        let failing_for = match self.outage.since {
            Some(since) => since.elapsed(),
            None if pending.attempts > 0 => {
                let waiting_ms = now.since_ms(pending.queued_at).max(0);
                Duration::from_millis(waiting_ms.unsigned_abs())
            }
            None => Duration::ZERO,
        };
        if self.outage.since.is_none() {
            let began = Instant::now();
            self.outage.since = Some(began.checked_sub(failing_for).unwrap_or(began));
        }
        let wait = backoff(number, obstacle, failing_for, retry_after, fastrand::f64());
        let at = now + wait;
        let is_too_old = at > pending.queued_at + self.channel.filters.give_up_after;
        if is_too_old && !self.context.store.is_clock_behind() {
            let message = format!("gave up: {error}");
            self.log(
                Event::NotificationExpired,
                Level::ERROR,
                pending,
                &message,
                json!({"error": error}),
            );
            return DeliveryOutcome::Expired;
        }
        if retry_after.is_some() || obstacle == Obstacle::Refused {
            self.outage.hold_until = Some(Instant::now() + wait);
        }
        if let Some(suppressed) = self.retries.is_due(&self.channel.name, now) {
            let message = format!("{error}; will retry");
            let more = json!({"error": error, "next_attempt_at": at, "suppressed": suppressed});
            self.log(
                Event::NotificationRetry,
                Level::WARN,
                pending,
                &message,
                more,
            );
        }
        DeliveryOutcome::RetryAt(at)
    }

    fn log_sent(&self, pending: &Pending, refused: Option<&str>) {
        let more = refused.map_or_else(|| json!({}), |refused| json!({"error": refused}));
        self.log(
            Event::NotificationSent,
            Level::INFO,
            pending,
            "delivered",
            more,
        );
    }

    fn log(&self, event: Event, level: Level, pending: &Pending, message: &str, more: Value) {
        let notice = &pending.notice;
        let mut fields = json!({
            "notification": notice.id, "channel": self.channel.name, "type": notice.kind,
            "attempt": pending.attempts + 1, "incident": notice.incident.as_ref().map(|i| i.id),
        });
        if let (Value::Object(fields), Value::Object(more)) = (&mut fields, more) {
            fields.extend(more);
        }
        let message = format!(
            "{} to {}: {message}",
            notice.kind.as_str(),
            self.channel.name
        );
        emit(event, level, &message, &fields);
    }

    async fn record(
        &mut self,
        pending: Pending,
        now: Timestamp,
        attempted: DeliveryOutcome,
        progress: &Progress,
        error: Option<String>,
    ) -> Result<(), StoreError> {
        // Plain data with string keys: serializing cannot fail.
        let progress = serde_json::to_string(progress).unwrap_or_default();
        // A drill tests this channel only.
        let fallback = match pending.notice.kind {
            NoticeKind::Drill => None,
            _ => self.channel.filters.fallback.clone(),
        };
        let is_back = self.note_outcome(&pending, attempted);
        let channel = self.channel.name.clone();
        let work = move |store: &Store| {
            store.record_attempt(
                &pending,
                now,
                attempted,
                &progress,
                error.as_deref(),
                fallback.as_deref(),
            )?;
            if is_back {
                store.release_channel(&channel, now)?;
            }
            Ok(())
        };
        let recorded = self.context.store.run_blocking(work).await;
        // The fallback may have a notification now.
        if self.channel.filters.fallback.is_some() {
            self.context.wake.notify_waiters();
        }
        recorded
    }
}
