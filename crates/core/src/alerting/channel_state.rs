//! State of one incident on one channel: what was sent, and what is sent next.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::stable_id;
use super::suppression::{Suppression, Suppressions};
use crate::config::Filters;
use crate::config::matchers::wants_type;
use crate::model::{Extent, Incident, NoticeKind, ShiftClock, Timestamp};

/// The longest interval between two reminders.
const MAX_REMINDER: Duration = Duration::from_hours(24);

/// State of one incident on one channel. The serialized names are those of the first release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ChannelState {
    /// When the incident began to concern the channel.
    since: Timestamp,
    /// Whether something suppressed the next message.
    #[serde(rename = "held")]
    was_suppressed: bool,
    /// Whether the first message has been decided, or the channel wants no first messages.
    #[serde(rename = "told")]
    is_notified: bool,
    /// Id of the first message; emails thread on it.
    first: Option<Uuid>,
    /// Whether the first message was in a digest.
    #[serde(rename = "gathered")]
    in_digest: bool,
    /// Number of messages so far.
    messages: u32,
    /// When the last message was sent.
    last_at: Timestamp,
    /// Number of reminders among them.
    reminders: u32,
    /// The change to notify next, and when it happened.
    #[serde(rename = "owed")]
    pending: Option<(NoticeKind, Timestamp)>,
    /// The extent of the incident as of the last message.
    #[serde(default)]
    known: Option<Extent>,
}

/// What to do now about an incident on a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing to send.
    Idle,
    /// The first message waits for other incidents to join it.
    Group,
    /// A message is due, but something suppresses it.
    Suppress(Suppression),
    /// Send this message, which was decided at this time.
    Notify(NoticeKind, Timestamp),
    /// No message about the incident will follow.
    Done,
}

/// Whether other endpoints or incidents may join the first message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Company {
    /// Other endpoints may still join the incident; the message waits for them.
    Expected,
    /// Every endpoint that could join is in the incident already.
    Complete,
    /// So many incidents begin at once that their messages become one.
    Storm,
}

/// How a message is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// As a message of its own.
    Single,
    /// In a digest.
    Digest,
    /// Not sent: the channel's `on` does not include it.
    Unwanted,
}

impl ChannelState {
    /// Creates the state of an incident that has concerned the channel since `since`.
    pub(super) fn new(since: Timestamp) -> Self {
        Self {
            since,
            was_suppressed: false,
            is_notified: false,
            first: None,
            in_digest: false,
            messages: 0,
            last_at: since,
            reminders: 0,
            pending: None,
            known: None,
        }
    }

    /// Reports whether nothing that a message says has changed since the last one.
    pub(super) fn knows_all_of(&self, incident: &Incident) -> bool {
        let acknowledged_at = incident.acknowledged.as_ref().map(|a| a.at);
        acknowledged_at.is_none_or(|at| at <= self.last_at)
            && self.known.as_ref() == Some(&Extent::from(incident))
    }

    /// The extent of the incident as of the last message.
    pub(super) fn known(&self) -> Option<Extent> {
        self.known.clone()
    }

    /// Records a change to notify. A worse or final change replaces a pending one. A channel that
    /// was not notified yet gets the incident's latest state in its first message.
    pub(super) fn set_pending(&mut self, kind: NoticeKind, at: Timestamp) {
        let replaces = self
            .pending
            .is_none_or(|(pending, _)| weight(pending) <= weight(kind));
        if self.is_notified && replaces {
            self.pending = Some((kind, at));
        }
    }

    /// Decides what to do at `now`.
    pub(super) fn decide(
        &self,
        now: Timestamp,
        incident: &Incident,
        filters: &Filters,
        suppressions: Suppressions,
        company: Company,
    ) -> Decision {
        if !self.is_notified {
            return self.decide_first(now, incident, filters, suppressions, company);
        }
        if let Some((kind, at)) = self.pending {
            // A channel that was notified of the opening is notified of the recovery, even during a
            // silence.
            let suppression = match kind {
                NoticeKind::Resolved => suppressions.beyond_silence(),
                _ => suppressions.first(),
            };
            return match suppression {
                Some(suppression) => Decision::Suppress(suppression),
                None => Decision::Notify(kind, if self.was_suppressed { now } else { at }),
            };
        }
        if incident.resolved_at.is_some() {
            return Decision::Done;
        }
        if self.is_reminder_due(now, incident, filters) && suppressions.first().is_none() {
            return Decision::Notify(NoticeKind::Reminder, now);
        }
        Decision::Idle
    }

    fn decide_first(
        &self,
        now: Timestamp,
        incident: &Incident,
        filters: &Filters,
        suppressions: Suppressions,
        company: Company,
    ) -> Decision {
        let is_over = incident.resolved_at.is_some();
        let is_delayed = filters.after > Duration::ZERO;
        // The incident resolved before anyone had to be notified.
        if is_over && (is_delayed || suppressions.silence || suppressions.maintenance) {
            return Decision::Done;
        }
        if let Some(suppression) = suppressions.first() {
            return Decision::Suppress(suppression);
        }
        let wait = match company {
            Company::Expected => filters.group_wait,
            Company::Complete | Company::Storm => Duration::ZERO,
        };
        let due = self.since + wait.max(filters.after);
        if !is_over && now < due {
            return if is_delayed {
                Decision::Idle
            } else {
                Decision::Group
            };
        }
        // Somebody has acknowledged it, so it does not escalate to this channel.
        if is_delayed && incident.acknowledged.is_some() {
            return Decision::Idle;
        }
        let decided_at = if self.was_suppressed || is_delayed {
            now
        } else {
            self.since
        };
        Decision::Notify(NoticeKind::Opened, decided_at)
    }

    fn is_reminder_due(&self, now: Timestamp, incident: &Incident, filters: &Filters) -> bool {
        let Some(first) = filters.remind_every else {
            return false;
        };
        let interval = first
            .saturating_mul(1 << self.reminders.min(20))
            .min(first.max(MAX_REMINDER));
        incident.acknowledged.is_none()
            && wants_type(filters, NoticeKind::Reminder)
            && now >= self.last_at + interval
    }

    /// Records that the next message was suppressed. Returns whether that is new.
    pub(super) fn suppress(&mut self) -> bool {
        !std::mem::replace(&mut self.was_suppressed, true)
    }

    /// Returns the id of the next message.
    pub(super) fn next_id(
        &self,
        channel: &str,
        incident: &Incident,
        kind: NoticeKind,
        at: Timestamp,
    ) -> Uuid {
        let incident = incident.id.to_string();
        let count = self.messages.to_string();
        stable_id(&[&incident, channel, kind.as_str(), &at.to_string(), &count])
    }

    /// Records at `now` that message `id` was sent, added to a digest or left out.
    pub(super) fn record_sent(
        &mut self,
        kind: NoticeKind,
        id: Uuid,
        now: Timestamp,
        incident: &Incident,
        delivery: Delivery,
    ) {
        let is_sent = delivery != Delivery::Unwanted;
        let is_first = !self.is_notified;
        if is_sent || is_first {
            self.last_at = now;
            self.known = Some(Extent::from(incident));
        }
        self.messages += u32::from(is_sent);
        self.was_suppressed = false;
        self.pending = None;
        self.reminders += u32::from(kind == NoticeKind::Reminder);
        if is_first {
            self.is_notified = true;
            self.first = (delivery == Delivery::Single).then_some(id);
            self.in_digest = delivery == Delivery::Digest;
            self.pending = incident.resolved_at.map(|at| (NoticeKind::Resolved, at));
        }
    }

    /// Drops a pending recovery because the first message reported it as well.
    pub(super) fn skip_resolved(&mut self) {
        self.pending = self
            .pending
            .filter(|(kind, _)| *kind != NoticeKind::Resolved);
    }

    /// Takes the incident out of its digest, where it was the only one. It is sent as message `id`,
    /// and later messages are sent singly as well.
    pub(super) fn promote_from_digest(&mut self, id: Uuid) {
        self.in_digest = false;
        self.first.get_or_insert(id);
    }

    /// Id of the first message.
    pub(super) fn first(&self) -> Option<Uuid> {
        self.first
    }

    /// Reports whether the first message was in a digest; later ones are then in digests too.
    pub(super) fn in_digest(&self) -> bool {
        self.in_digest
    }
}

impl ShiftClock for ChannelState {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self {
            since,
            was_suppressed: _,
            is_notified: _,
            first: _,
            in_digest: _,
            messages: _,
            last_at,
            reminders: _,
            pending,
            known: _,
        } = self;
        since.shift_clock(by_ms);
        last_at.shift_clock(by_ms);
        if let Some((_, at)) = pending {
            at.shift_clock(by_ms);
        }
    }
}

/// Returns which of two pending kinds survives: the one with the greater weight, else the later.
fn weight(kind: NoticeKind) -> u8 {
    match kind {
        NoticeKind::Resolved => 2,
        NoticeKind::Escalated => 1,
        _ => 0,
    }
}
