//! What one channel knows of one incident, and what it is notified about next.

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

/// The record of one channel and one incident. Its stored names are those of the first release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ChannelState {
    /// Since when the incident concerns the channel.
    since: Timestamp,
    /// Whether something suppressed the next message.
    #[serde(rename = "held")]
    was_suppressed: bool,
    /// Whether the channel knows of it: its first message is decided, or it wants no first messages.
    #[serde(rename = "told")]
    is_notified: bool,
    /// The first message; mails thread on it.
    first: Option<Uuid>,
    /// Whether that was a digest.
    #[serde(rename = "gathered")]
    in_digest: bool,
    /// How many messages there were.
    messages: u32,
    /// When the last one was.
    last_at: Timestamp,
    /// How many of them were reminders.
    reminders: u32,
    /// What happened since that the channel does not know yet, and when.
    #[serde(rename = "owed")]
    pending: Option<(NoticeKind, Timestamp)>,
    /// What the last message said of the incident.
    #[serde(default)]
    known: Option<Extent>,
}

/// What is to be done about an incident and a channel now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing has happened that the channel does not know.
    Idle,
    /// The first message waits for other incidents to join it.
    Group,
    /// There is something to send, and something suppresses it.
    Suppress(Suppression),
    /// Send this; it was decided then.
    Notify(NoticeKind, Timestamp),
    /// Nothing will ever be sent again.
    Done,
}

/// Whether others may join the first message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Company {
    /// Other endpoints may fail in the same way: the message waits for them.
    Expected,
    /// Every endpoint that could join is in the incident already.
    Complete,
    /// So many incidents begin at once that their messages are one.
    Storm,
}

/// How a message leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// By itself.
    Single,
    /// Together with others.
    Digest,
    /// Not at all: the channel's `on` does not name it.
    Unwanted,
}

impl ChannelState {
    /// An incident concerns the channel since then.
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

    /// What the channel knows of the incident.
    pub(super) fn known(&self) -> Option<Extent> {
        self.known.clone()
    }

    /// The incident has changed. What is worse or final replaces what is pending already. A channel that knows nothing
    /// yet will be notified of the incident as it is then.
    pub(super) fn set_pending(&mut self, kind: NoticeKind, at: Timestamp) {
        let weight = |kind: NoticeKind| match kind {
            NoticeKind::Resolved => 2,
            NoticeKind::Escalated => 1,
            _ => 0,
        };
        let replaces = self
            .pending
            .is_none_or(|(pending, _)| weight(pending) <= weight(kind));
        if self.is_notified && replaces {
            self.pending = Some((kind, at));
        }
    }

    /// What is next at `now`.
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
            // A channel that was notified of the beginning is notified of the end, even during a silence.
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
        // It was over before anybody had to be notified.
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
        // Somebody has acknowledged it: nobody else has to be woken.
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

    /// Remembers that the next message was suppressed; whether that is new.
    pub(super) fn suppress(&mut self) -> bool {
        !std::mem::replace(&mut self.was_suppressed, true)
    }

    /// The id of the message that is next.
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

    /// Records that message `id` left at `now`.
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

    /// The first message said that it is over as well.
    pub(super) fn skip_resolved(&mut self) {
        self.pending = self
            .pending
            .filter(|(kind, _)| *kind != NoticeKind::Resolved);
    }

    /// It was the only one in its digest and is sent as any message, as `id`; what follows is sent so as well.
    pub(super) fn promote_from_digest(&mut self, id: Uuid) {
        self.in_digest = false;
        self.first.get_or_insert(id);
    }

    /// The first message.
    pub(super) fn first(&self) -> Option<Uuid> {
        self.first
    }

    /// Whether it began in a digest; then what follows is in digests too.
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
