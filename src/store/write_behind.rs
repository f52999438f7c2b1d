//! The in-memory outbox while the file cannot be written, so that alerts still go out.
//!
//! A commit that fails (the disk is full or broken, or another process holds the file) leaves its
//! notifications here. The workers send them as if they were rows. Attempts that cannot be recorded
//! are kept here too, so that a delivered notification is not sent repeatedly. The next successful
//! commit writes both. The contents do not survive the process.

use std::collections::BTreeSet;

use rusqlite::Transaction;
use uuid::Uuid;

use super::Commit;
use super::delivery::{self, AttemptRecord, DeliveryOutcome, Pending};
use super::queue::Queued;
use crate::clock::StoredClock;
use llmwatch_core::model::{Outgoing, Timestamp};

/// Notifications and attempts that are not in the file yet.
#[derive(Debug, Default)]
pub(super) struct WriteBehind {
    /// In the order of the decisions.
    held: Vec<Outgoing>,
    /// Attempts at rows and at held notifications, in order.
    attempts: Vec<AttemptRecord>,
    /// The clock of the stored times; `None` if nothing follows the wall clock.
    clock: Option<StoredClock>,
}

impl WriteBehind {
    /// Keeps the notifications of failed commits, each only once.
    pub(super) fn hold<'a>(&mut self, outgoing: impl Iterator<Item = &'a Outgoing>) {
        for outgoing in outgoing {
            if !self.holds(outgoing.notice.id) {
                self.held.push(outgoing.clone());
            }
        }
    }

    /// Removes the notifications that `commits` have written.
    pub(super) fn written(&mut self, commits: &[Commit]) {
        if !self.held.is_empty() {
            let written: BTreeSet<Uuid> = commits
                .iter()
                .flat_map(|c| &c.outgoing)
                .map(|o| o.notice.id)
                .collect();
            self.held.retain(|o| !written.contains(&o.notice.id));
        }
    }

    pub(super) fn holds(&self, id: Uuid) -> bool {
        self.held.iter().any(|o| o.notice.id == id)
    }

    /// Follows the wall clock by `clock` from now on.
    pub(super) fn follow(&mut self, clock: StoredClock) {
        self.clock = Some(clock);
    }

    /// Returns the current time by the clock of the stored times, which may not follow the wall
    /// clock yet: `now`, if nothing does.
    pub(super) fn stored_now(&mut self, now: Timestamp) -> Timestamp {
        self.clock.as_mut().map_or(now, StoredClock::now)
    }

    /// Reports whether the wall clock was set and the stored times do not follow it yet.
    pub(super) fn is_clock_behind(&mut self) -> bool {
        self.clock.as_mut().is_some_and(StoredClock::is_behind)
    }

    /// Notes that the stored times were shifted by `by_ms`.
    pub(super) fn shifted(&mut self, by_ms: i64) {
        if let Some(clock) = &mut self.clock {
            clock.shift(by_ms);
        }
        for made in &mut self.attempts {
            *made = made.stored(by_ms);
        }
    }

    pub(super) fn keep(&mut self, made: AttemptRecord) {
        self.attempts.push(made);
    }

    /// Makes failed notifications of `channel` due at `now`.
    pub(super) fn release(&mut self, channel: &str, now: Timestamp) {
        let ahead_ms = self.stored_now(now).since_ms(now);
        for made in &mut self.attempts {
            if let DeliveryOutcome::RetryAt(at) = &mut made.attempted
                && made.pending.channel == channel
                && *at > now
            {
                *at = now;
                made.ahead_ms = ahead_ms;
            }
        }
    }

    /// Records every attempt whose row exists, after the stored times were shifted by `shift_ms`.
    /// Returns the recorded IDs.
    pub(super) fn record(
        &self,
        tx: &Transaction<'_>,
        shift_ms: i64,
    ) -> rusqlite::Result<BTreeSet<Uuid>> {
        let mut recorded = BTreeSet::new();
        for made in &self.attempts {
            let made = made.stored(shift_ms);
            if delivery::record(tx, &made)? {
                recorded.insert(made.pending.notice.id);
            }
        }
        Ok(recorded)
    }

    /// Removes the attempts at these, which are recorded.
    pub(super) fn recorded(&mut self, ids: &BTreeSet<Uuid>) {
        self.attempts
            .retain(|made| !ids.contains(&made.pending.notice.id));
    }

    /// Returns `pending`, updated by the unrecorded attempts.
    pub(super) fn updated(&self, pending: Pending) -> Pending {
        match self.last(pending.notice.id) {
            Some(made) => Pending {
                progress: made.progress.clone(),
                attempts: made.pending.attempts + 1,
                ..pending
            },
            None => pending,
        }
    }

    /// Returns the outcome of the last unrecorded attempt at a notification.
    pub(super) fn outcome(&self, id: Uuid) -> Option<DeliveryOutcome> {
        self.last(id).map(|made| made.attempted)
    }

    /// Returns the held notifications of `channel`, in order.
    pub(super) fn queued(&self, channel: &str) -> impl Iterator<Item = Queued> {
        let of_channel = self.held.iter().filter(move |o| o.channel == channel);
        of_channel.map(Queued::held)
    }

    /// Returns the held notification of this ID, ready to send.
    pub(super) fn pending(&self, id: Uuid) -> Option<Pending> {
        let held = self.held.iter().find(|o| o.notice.id == id)?;
        Some(self.updated(Pending {
            // The row number is assigned when it is written; until then the ID identifies it.
            seq: i64::MAX,
            channel: held.channel.clone(),
            notice: held.notice.clone(),
            progress: "{}".to_owned(),
            queued_at: held.not_before.unwrap_or(held.notice.decided_at),
            attempts: 0,
            is_interrupted: false,
        }))
    }

    fn last(&self, id: Uuid) -> Option<&AttemptRecord> {
        self.attempts
            .iter()
            .rev()
            .find(|made| made.pending.notice.id == id)
    }
}
