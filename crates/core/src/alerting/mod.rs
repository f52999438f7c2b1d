//! Who is notified of what, and when. Pure: changes of incidents, acknowledgements, silences and the time go in,
//! notifications come out.
//!
//! For every channel and every incident there is a [`ChannelState`]: what the channel was notified of, and what is
//! pending. Messages wait for others to join them (`group_wait`), for an escalation's time (`after`), for the end of a
//! silence, of a maintenance window or of quiet hours; reminders have their clock; a storm becomes a digest. The stages
//! stand in [`dispatch`]. Unlike the incidents this is no fold over samples, since it depends on time and on people, so
//! it is a record of its own: it is committed in the same transaction that puts the notifications into the outbox.

mod advice_batch;
mod announcements;
mod channel_state;
mod context;
mod delivery_health;
mod dispatch;
mod drill;
pub mod maintenance;
mod rate_limiter;
mod suppression;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use self::advice_batch::AdviceBatch;
use self::channel_state::ChannelState;
use self::context::TickContext;
pub use self::drill::DrillConfirmation;
use self::rate_limiter::RateLimiter;
use crate::config::Config;
use crate::incident::{Change, close_as_removed};
use crate::message;
use crate::message::values::Locale;
use crate::model::{
    Acknowledgement, Announcement, ChannelName, ChannelStats, Document, DrillMessage, Drills,
    EndpointName, Incident, IncidentState, Note, NoticeKind, Outgoing, ShiftClock, Silence,
    Snapshot, Timestamp,
};

/// What was sent, what is pending, and what people asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NotificationScheduler {
    cases: BTreeMap<Uuid, Case>,
    silences: Vec<Silence>,
    paces: BTreeMap<ChannelName, RateLimiter>,
    /// Advice that waits for more to join it, by channel.
    counsels: BTreeMap<ChannelName, AdviceBatch>,
    /// Channels that do not deliver, as far as the others were notified.
    failing: BTreeMap<ChannelName, Timestamp>,
    /// Until when the dead letters of a channel have been reported.
    dead: BTreeMap<ChannelName, Timestamp>,
    /// When a recipient's refusal was last reported, by channel.
    refused: BTreeMap<ChannelName, Timestamp>,
    /// Counts the messages that are about no incident, so that each has its own id.
    announced: u64,
    /// The last period that was reported ends here.
    reported_until: Option<Timestamp>,
    /// When the making of a report was begun that is not finished.
    report_tried_at: Option<Timestamp>,
    drills: Drills,
    /// The last scheduled drill was considered then.
    drilled_until: Option<Timestamp>,
    /// Messages of drills that leave with the next tick.
    #[serde(skip)]
    waiting_drills: Vec<(DrillMessage, Document)>,
    #[serde(skip)]
    announcements: Vec<Announcement>,
    #[serde(skip)]
    changed: bool,
}

/// An incident, as it was last reported, and the state of each channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Case {
    incident: Incident,
    changed_at: Timestamp,
    threads: BTreeMap<ChannelName, ChannelState>,
}

impl NotificationScheduler {
    /// Takes in a change of an incident at `at`; gives the incident with what people said about it.
    pub fn record_change(
        &mut self,
        change: Change,
        mut incident: Incident,
        at: Timestamp,
    ) -> Incident {
        self.changed = true;
        let changed_at = if change == Change::Opened {
            incident.opened_at
        } else {
            at
        };
        if let Some(known) = self.cases.get(&incident.id) {
            incident
                .acknowledged
                .clone_from(&known.incident.acknowledged);
            incident.notes.clone_from(&known.incident.notes);
        }
        let case = self.cases.entry(incident.id).or_insert_with(|| Case {
            incident: incident.clone(),
            changed_at,
            threads: BTreeMap::new(),
        });
        case.incident = incident.clone();
        case.changed_at = changed_at;
        let pending = match change {
            Change::Opened => None,
            Change::Updated => Some(NoticeKind::Updated),
            Change::Escalated => Some(NoticeKind::Escalated),
            Change::Resolved => Some(NoticeKind::Resolved),
        };
        if let Some(kind) = pending {
            case.threads
                .values_mut()
                .for_each(|t| t.set_pending(kind, at));
        }
        incident
    }

    /// Queues a message about the monitor itself, or a report.
    pub fn announce(&mut self, announcement: Announcement) {
        if announcement.kind == NoticeKind::Report {
            self.reported_until = Some(announcement.at);
            self.report_tried_at = None;
        }
        self.changed = true;
        self.announcements.push(announcement);
    }

    /// When the last periodic report was decided.
    pub fn reported_until(&self) -> Option<Timestamp> {
        self.reported_until
    }

    /// When the making of a periodic report was begun that was not finished.
    pub fn report_tried_at(&self) -> Option<Timestamp> {
        self.report_tried_at
    }

    /// Remembers that the making of a periodic report was begun at `at`, so that one that ends the process is not made
    /// again at once.
    pub fn try_report(&mut self, at: Timestamp) {
        self.changed = true;
        self.report_tried_at = Some(at);
    }

    /// Lets periods begin at `at`: what was before it is never reported.
    pub fn report_from(&mut self, at: Timestamp) {
        self.changed = true;
        self.reported_until = Some(at);
    }

    /// Takes over the incidents of `other` that are not known here, with who was notified of them; its silences as well.
    pub fn adopt(&mut self, other: &Self) {
        for (id, case) in &other.cases {
            if !self.cases.contains_key(id) {
                self.cases.insert(*id, case.clone());
                self.changed = true;
            }
        }
        for silence in &other.silences {
            if !self.silences.iter().any(|s| s.id == silence.id) {
                self.silences.push(silence.clone());
                self.changed = true;
            }
        }
    }

    /// The incidents that were notified by this daemon's own verdict.
    pub fn alone(&self) -> impl Iterator<Item = Uuid> {
        let cases = self.cases.values().map(|case| &case.incident);
        cases.filter(|i| i.alone).map(|i| i.id)
    }

    /// Forgets all incidents and silences: from now on others look after them.
    pub fn drop_incidents(&mut self) {
        self.changed |= !self.cases.is_empty() || !self.silences.is_empty();
        self.cases.clear();
        self.silences.clear();
    }

    /// Begins a silence.
    pub fn silence(&mut self, silence: Silence) {
        self.changed = true;
        self.silences.push(silence);
    }

    /// Ends a silence early; `None` when there is none of this id.
    pub fn unsilence(&mut self, id: Uuid) -> Option<Silence> {
        let place = self.silences.iter().position(|s| s.id == id)?;
        self.changed = true;
        Some(self.silences.remove(place))
    }

    /// Records that somebody works on the incident of this number; `None` when no such incident is open.
    pub fn acknowledge(&mut self, number: u64, word: Acknowledgement) -> Option<Incident> {
        let open =
            |c: &&mut Case| c.incident.number == number && c.incident.state == IncidentState::Open;
        let case = self.cases.values_mut().find(open)?;
        self.changed = true;
        let at = word.at;
        case.incident.acknowledged = Some(word);
        case.threads
            .values_mut()
            .for_each(|t| t.set_pending(NoticeKind::Updated, at));
        Some(case.incident.clone())
    }

    /// Adds a note to the open incident of this number; its next message carries it. `None` when there is none, or when it has
    /// [`Note::MOST`] notes already.
    pub fn note(&mut self, number: u64, note: Note) -> Option<Incident> {
        let open =
            |c: &&mut Case| c.incident.number == number && c.incident.state == IncidentState::Open;
        let case = self.cases.values_mut().find(open)?;
        if case.incident.notes.len() >= Note::MOST {
            return None;
        }
        self.changed = true;
        let at = note.at;
        case.incident.notes.push(note);
        case.threads
            .values_mut()
            .for_each(|t| t.set_pending(NoticeKind::Updated, at));
        Some(case.incident.clone())
    }

    /// Follows a clock that was set by `by_ms`: what waits and what is to be repeated keeps its distance from now. What
    /// people and the calendar said (silences, the periods of reports) stays. Gives the open incidents.
    pub fn follow_clock(&mut self, by_ms: i64) -> Vec<Incident> {
        self.shift_clock(by_ms);
        self.changed = true;
        let open = |case: &&Case| case.incident.state == IncidentState::Open;
        self.cases
            .values()
            .filter(open)
            .map(|case| case.incident.clone())
            .collect()
    }

    /// Adds to `snapshot` what people said.
    pub fn annotate(&self, snapshot: &mut Snapshot) {
        snapshot.silences.clone_from(&self.silences);
        snapshot.drills.clone_from(&self.drills);
        for incident in &mut snapshot.incidents {
            if let Some(case) = self.cases.get(&incident.id) {
                incident
                    .acknowledged
                    .clone_from(&case.incident.acknowledged);
                incident.notes.clone_from(&case.incident.notes);
            }
        }
    }

    /// Closes what is over although no change said so: after the state of detection had to be made anew. What
    /// concerned only endpoints that are not watched any more is closed as removed. Gives what it closed.
    pub fn reconcile(&mut self, snapshot: &Snapshot) -> Vec<Incident> {
        let at = snapshot.at;
        let is_open = |id: &Uuid| snapshot.incidents.iter().any(|i| i.id == *id);
        let is_watched = |name: &EndpointName| snapshot.endpoints.iter().any(|e| e.name == *name);
        let mut closed = Vec::new();
        for (_, case) in self
            .cases
            .iter_mut()
            .filter(|(id, c)| c.incident.state == IncidentState::Open && !is_open(id))
        {
            self.changed = true;
            if case.incident.endpoints.iter().any(is_watched) {
                case.incident.state = IncidentState::Resolved;
                case.incident.resolved_at = Some(at);
                case.incident.duration_s =
                    at.since_ms(case.incident.started_at).max(0) as f64 / 1000.0;
            } else {
                close_as_removed(&mut case.incident, at);
                message::incident::narrate(&mut case.incident, &Locale::default());
            }
            case.threads
                .values_mut()
                .for_each(|t| t.set_pending(NoticeKind::Resolved, at));
            closed.push(case.incident.clone());
        }
        closed
    }

    /// What is to be sent as of `now`. `outbox` says how delivery goes.
    pub fn tick(
        &mut self,
        now: Timestamp,
        config: &Config,
        snapshot: &Snapshot,
        outbox: &[ChannelStats],
    ) -> Vec<Outgoing> {
        let before = self.silences.len();
        self.silences.retain(|s| s.until > now);
        self.changed |= self.silences.len() != before;
        self.watch_channels(now, config, outbox);
        let context = TickContext {
            now,
            config,
            snapshot,
            windows: maintenance::active(config, now),
        };
        let mut outgoing = Vec::new();
        for announcement in std::mem::take(&mut self.announcements) {
            self.announce_to_channels(&announcement, &context, &mut outgoing);
        }
        for channel in &config.channels {
            self.flush_advice(channel, &context, &mut outgoing);
            self.dispatch(channel, &context, &mut outgoing);
        }
        self.send_drills(&context, &mut outgoing);
        let is_channel = |name: &ChannelName| config.channels.iter().any(|c| c.name == *name);
        self.counsels.retain(|name, _| is_channel(name));
        self.cases.retain(|_, case| {
            case.threads.retain(|name, _| is_channel(name));
            case.incident.state == IncidentState::Open || !case.threads.is_empty()
        });
        outgoing
    }

    /// The complete record, if it has changed since the last call.
    pub fn take_change(&mut self) -> Option<String> {
        // Plain data with string keys: serialising cannot fail.
        std::mem::take(&mut self.changed).then(|| serde_json::to_string(self).unwrap_or_default())
    }
}

/// An id that is the same whenever the same message is decided: a step repeated after a crash cannot notify twice.
fn stable_id(parts: &[&str]) -> Uuid {
    let digest = Sha256::digest(parts.join("\n").as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

impl ShiftClock for NotificationScheduler {
    fn shift_clock(&mut self, by_ms: i64) {
        // What people and the calendar said stays: silences, the periods of reports, drills and dead letters.
        let Self {
            cases,
            paces,
            counsels,
            failing,
            drills,
            silences: _,
            dead: _,
            refused: _,
            announced: _,
            reported_until: _,
            report_tried_at: _,
            drilled_until: _,
            waiting_drills: _,
            announcements: _,
            changed: _,
        } = self;
        cases.shift_clock(by_ms);
        paces.shift_clock(by_ms);
        counsels.shift_clock(by_ms);
        failing.shift_clock(by_ms);
        drills.shift_clock(by_ms);
    }
}

impl ShiftClock for Case {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self {
            incident,
            changed_at,
            threads,
        } = self;
        incident.shift_clock(by_ms);
        changed_at.shift_clock(by_ms);
        threads.shift_clock(by_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notification_ids_stay_equal_between_releases() {
        assert_eq!(
            stable_id(&["mail", "advice", "1"]).to_string(),
            "fd3b8857-d1d0-82f9-bc5d-ac0c707f0f3b"
        );
    }
}
