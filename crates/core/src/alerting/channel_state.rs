//! One channel and one incident: what was said, what is owed, what comes next.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::stable_id;
use crate::config::Filters;
use crate::config::matchers::wants_type;
use crate::model::{Incident, NoticeType, Timestamp};

/// The longest that reminders grow apart.
const LONGEST_REMINDER: Duration = Duration::from_hours(24);

/// What a channel knows of an incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Thread {
    /// Since when the incident concerns the channel.
    since: Timestamp,
    /// Whether something kept the next message back.
    held: bool,
    /// Whether the channel knows of it: its first message is decided, or it wants no first messages.
    told: bool,
    /// The first message; mails thread on it.
    first: Option<Uuid>,
    /// Whether that was a digest.
    gathered: bool,
    /// How many messages there were.
    messages: u32,
    /// When the last one was.
    last_at: Timestamp,
    /// How many of them were reminders.
    reminders: u32,
    /// What happened since that the channel does not know yet, and when.
    owed: Option<(NoticeType, Timestamp)>,
}

/// What holds messages about this incident back at this moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Circumstances {
    pub(super) now: Timestamp,
    pub(super) silenced: bool,
    pub(super) maintenance: bool,
    pub(super) quiet: bool,
}

/// What is to be done about a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing.
    Nothing,
    /// The first message waits for others to join it.
    Wait,
    /// There is something to say, but not now.
    Hold,
    /// Say this; it was decided then.
    Say(NoticeType, Timestamp),
    /// Nothing will ever be said again.
    Forget,
}

impl Thread {
    pub(super) fn since(since: Timestamp) -> Self {
        Self {
            since,
            held: false,
            told: false,
            first: None,
            gathered: false,
            messages: 0,
            last_at: since,
            reminders: 0,
            owed: None,
        }
    }

    /// The incident has changed. What is worse or final replaces what is owed already. A channel that knows nothing yet
    /// will hear of the incident as it is then.
    pub(super) fn owe(&mut self, r#type: NoticeType, at: Timestamp) {
        let weight = |t: NoticeType| match t {
            NoticeType::Resolved => 2,
            NoticeType::Escalated => 1,
            _ => 0,
        };
        if self.told
            && self
                .owed
                .is_none_or(|(owed, _)| weight(owed) <= weight(r#type))
        {
            self.owed = Some((r#type, at));
        }
    }

    /// What comes next. `hurry` ends the wait for others.
    pub(super) fn next(
        &self,
        incident: &Incident,
        filters: &Filters,
        around: &Circumstances,
        hurry: bool,
    ) -> Next {
        let over = incident.resolved_at.is_some();
        if !self.told {
            // It was over before anybody had to hear of it.
            if over && (filters.after > Duration::ZERO || around.silenced || around.maintenance) {
                return Next::Forget;
            }
            if around.silenced || around.maintenance || around.quiet {
                return Next::Hold;
            }
            let after = filters.after > Duration::ZERO;
            let due = self.since + filters.group_wait.max(filters.after);
            if !over && around.now < due && (after || !hurry) {
                return if after { Next::Nothing } else { Next::Wait };
            }
            // Somebody is on it: nobody else has to be woken.
            if after && incident.acknowledged.is_some() {
                return Next::Nothing;
            }
            return Next::Say(
                NoticeType::Opened,
                if self.held || after {
                    around.now
                } else {
                    self.since
                },
            );
        }
        if let Some((owed, at)) = self.owed {
            // Whoever was told that it began hears that it is over, silence or not.
            let silenced = around.silenced && owed != NoticeType::Resolved;
            if silenced || around.maintenance || around.quiet {
                return Next::Hold;
            }
            return Next::Say(owed, if self.held { around.now } else { at });
        }
        if over {
            return Next::Forget;
        }
        let due = filters.remind_every.map(|first| {
            let longest = first.max(LONGEST_REMINDER);
            self.last_at
                + first
                    .saturating_mul(1 << self.reminders.min(20))
                    .min(longest)
        });
        let wanted = incident.acknowledged.is_none() && wants_type(filters, NoticeType::Reminder);
        let held = around.silenced || around.maintenance || around.quiet;
        match due {
            Some(due) if wanted && !held && around.now >= due => {
                Next::Say(NoticeType::Reminder, around.now)
            }
            _ => Next::Nothing,
        }
    }

    /// Remembers that something was kept back; whether that is new.
    pub(super) fn hold(&mut self) -> bool {
        !std::mem::replace(&mut self.held, true)
    }

    /// The id of the message that is next.
    pub(super) fn id_of_next(
        &self,
        channel: &str,
        incident: &Incident,
        r#type: NoticeType,
        at: Timestamp,
    ) -> Uuid {
        let (about, count) = (incident.id.to_string(), self.messages.to_string());
        stable_id(&[&about, channel, r#type.as_str(), &at.to_string(), &count])
    }

    /// Records that it was said as `id`, or that the channel does not care for this type.
    pub(super) fn said(
        &mut self,
        r#type: NoticeType,
        id: Option<Uuid>,
        now: Timestamp,
        incident: &Incident,
        gathered: bool,
    ) {
        if id.is_some() || !self.told {
            self.last_at = now;
        }
        self.messages += u32::from(id.is_some());
        self.held = false;
        self.owed = None;
        self.reminders += u32::from(r#type == NoticeType::Reminder);
        if !self.told {
            self.told = true;
            self.first = id.filter(|_| !gathered);
            self.gathered = gathered;
            self.owed = incident.resolved_at.map(|at| (NoticeType::Resolved, at));
        }
    }

    /// The message that began it said that it is over.
    pub(super) fn owes_no_end(&mut self) {
        self.owed = self.owed.filter(|(owed, _)| *owed != NoticeType::Resolved);
    }

    /// It stood alone in its digest and is told as any message, `id`: what follows is told so as well.
    pub(super) fn alone(&mut self, id: Uuid) {
        self.gathered = false;
        self.first.get_or_insert(id);
    }

    /// The message that began it.
    pub(super) fn first(&self) -> Option<Uuid> {
        self.first
    }

    /// Whether it began in a digest; then it goes on in digests.
    pub(super) fn gathered(&self) -> bool {
        self.gathered
    }
}
