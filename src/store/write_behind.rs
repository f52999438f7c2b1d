//! What the outbox knows and the file does not, while the file cannot be written: alerts go out all the same.
//!
//! A commit that fails for want of room (or because another process holds the file, or the disk is broken) leaves its
//! notifications here, from where the workers take them as if they were rows. What comes of an attempt that cannot be
//! recorded is kept here too, so that a delivered notification is not sent again and again. The next commit that
//! succeeds writes both. What is here does not survive the process.

use std::collections::BTreeSet;

use rusqlite::Transaction;
use uuid::Uuid;

use super::Commit;
use super::delivery::{self, AttemptRecord, DeliveryOutcome, Pending};
use super::queue::Queued;
use llmwatch_core::model::{Outgoing, Timestamp};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct WriteBehind {
    /// In the order in which they were decided.
    held: Vec<Outgoing>,
    /// Attempts at rows and at held ones, in the order in which they were made.
    attempts: Vec<AttemptRecord>,
}

impl WriteBehind {
    /// Keeps the notifications of commits that failed; each once, however often it fails.
    pub(super) fn hold<'a>(&mut self, outgoing: impl Iterator<Item = &'a Outgoing>) {
        for outgoing in outgoing {
            if !self.holds(outgoing.notice.id) {
                self.held.push(outgoing.clone());
            }
        }
    }

    /// Forgets what `commits` have written by now.
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

    pub(super) fn keep(&mut self, made: AttemptRecord) {
        self.attempts.push(made);
    }

    /// What failed on `channel` is due at `now`.
    pub(super) fn release(&mut self, channel: &str, now: Timestamp) {
        for made in &mut self.attempts {
            if let DeliveryOutcome::RetryAt(at) = &mut made.attempted
                && made.pending.channel == channel
            {
                *at = (*at).min(now);
            }
        }
    }

    /// Records every attempt whose row is there.
    pub(super) fn record(&self, tx: &Transaction<'_>) -> rusqlite::Result<BTreeSet<Uuid>> {
        let mut recorded = BTreeSet::new();
        for made in &self.attempts {
            if delivery::record(tx, made)? {
                recorded.insert(made.pending.notice.id);
            }
        }
        Ok(recorded)
    }

    /// Forgets the attempts at these: they are recorded.
    pub(super) fn recorded(&mut self, ids: &BTreeSet<Uuid>) {
        self.attempts
            .retain(|made| !ids.contains(&made.pending.notice.id));
    }

    /// `pending` as the attempts since have left it.
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

    /// What came of the last attempt at a notification that the file does not know of.
    pub(super) fn outcome(&self, id: Uuid) -> Option<DeliveryOutcome> {
        self.last(id).map(|made| made.attempted)
    }

    /// What is held for `channel`, in order.
    pub(super) fn queued(&self, channel: &str) -> impl Iterator<Item = Queued> {
        let of_channel = self.held.iter().filter(move |o| o.channel == channel);
        of_channel.map(Queued::held)
    }

    /// The held notification of this id, as it is to be sent.
    pub(super) fn pending(&self, id: Uuid) -> Option<Pending> {
        let held = self.held.iter().find(|o| o.notice.id == id)?;
        Some(self.updated(Pending {
            // Its place is given to it when it is written; it is known by its id.
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
