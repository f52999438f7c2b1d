//! The ordering of pending notifications of a channel.

use std::collections::BTreeSet;
use std::time::Duration;

use uuid::Uuid;

use llmwatch_core::model::{NoticeKind, Outgoing, Timestamp};

/// A drill waits while a real notification is due within this time.
const REAL_FIRST: Duration = Duration::from_secs(30);

/// The fields of a pending notification that determine its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Queued {
    /// The number of its row; `None` while it is not in the file.
    pub(super) seq: Option<i64>,
    pub(super) id: Uuid,
    /// The incident that it is about; `None` for a notice about the monitor itself.
    pub(super) incident: Option<Uuid>,
    /// Whether it is about many incidents.
    pub(super) digest: bool,
    /// The earliest time to send it.
    pub(super) queued_at: Timestamp,
    /// When it is tried next.
    pub(super) due: Timestamp,
    /// The condition of the monitor that it opens or closes.
    pub(super) condition: Option<String>,
    /// Whether it is a drill.
    pub(super) is_drill: bool,
}

impl Queued {
    pub(super) fn held(outgoing: &Outgoing) -> Self {
        let notice = &outgoing.notice;
        let queued_at = outgoing.not_before.unwrap_or(notice.decided_at);
        Self {
            seq: None,
            id: notice.id,
            incident: notice.incident.as_ref().map(|i| i.id),
            digest: notice.kind == NoticeKind::Digest,
            queued_at,
            due: queued_at,
            condition: notice.condition.as_ref().map(|c| c.key.clone()),
            is_drill: notice.kind == NoticeKind::Drill,
        }
    }
}

/// The pending notifications of one channel, in the order of the decisions.
///
/// An earlier notification of the same incident holds a later one back, so that a `resolved` never
/// overtakes its `opened`. Notices about the monitor itself are ordered among themselves, and a
/// digest, which covers many incidents, is ordered with everything. A notice deferred to the end of
/// quiet hours holds back only notices deferred as long, and the end of the condition that it
/// opens. A drill holds nothing back, and is sent only when nothing real is about to be sent.
#[derive(Debug, Default)]
pub(super) struct Queue(Vec<Queued>);

impl Queue {
    pub(super) fn push(&mut self, queued: Queued) {
        self.0.push(queued);
    }

    /// Returns those that no earlier one holds back at `now`, in order, drills last.
    pub(super) fn free(&self, now: Timestamp) -> impl Iterator<Item = &Queued> {
        let soon = now + REAL_FIRST;
        let waits = self.0.iter().any(|q| !q.is_drill && q.due <= soon);
        let drills = Self::in_order(self.0.iter().filter(move |q| q.is_drill && !waits));
        Self::in_order(self.0.iter().filter(|q| !q.is_drill)).chain(drills)
    }

    fn in_order<'a>(all: impl Iterator<Item = &'a Queued>) -> impl Iterator<Item = &'a Queued> {
        let mut passed = Passed::default();
        all.filter(move |queued| {
            let free = !passed.hold_back(queued);
            passed.add(queued);
            free
        })
    }
}

/// The notifications seen so far while walking the queue.
#[derive(Default)]
struct Passed<'a> {
    incidents: BTreeSet<Uuid>,
    any_digest: bool,
    /// The notices about the monitor itself, and the digests.
    monitor: Notices<'a>,
    all: Notices<'a>,
}

#[derive(Default)]
struct Notices<'a> {
    first_queued_at: Option<Timestamp>,
    conditions: BTreeSet<&'a str>,
}

impl<'a> Passed<'a> {
    fn hold_back(&self, queued: &Queued) -> bool {
        if let Some(incident) = queued.incident {
            let digest_first = queued.digest && self.all.first_queued_at.is_some();
            return self.any_digest || digest_first || self.incidents.contains(&incident);
        }
        let earlier = if queued.digest {
            &self.all
        } else {
            &self.monitor
        };
        let condition = queued.condition.as_deref();
        earlier
            .first_queued_at
            .is_some_and(|at| at <= queued.queued_at)
            || condition.is_some_and(|key| earlier.conditions.contains(key))
    }

    fn add(&mut self, queued: &'a Queued) {
        self.any_digest |= queued.digest;
        self.incidents.extend(queued.incident);
        self.all.add(queued);
        if queued.incident.is_none() || queued.digest {
            self.monitor.add(queued);
        }
    }
}

impl<'a> Notices<'a> {
    fn add(&mut self, queued: &'a Queued) {
        let first = self.first_queued_at.unwrap_or(queued.queued_at);
        self.first_queued_at = Some(first.min(queued.queued_at));
        self.conditions.extend(queued.condition.as_deref());
    }
}
