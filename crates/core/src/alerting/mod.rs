//! Decides who is notified of what, and when. Pure: incident changes, acknowledgments, silences and
//! the time go in, notifications come out.
//!
//! Each channel has a [`ChannelState`] for each incident: what was sent, and what is pending.
//! Messages wait for others to join them (`group_wait`) or for their escalation delay (`after`).
//! Silences, maintenance windows and quiet hours hold them back until they end. Reminders repeat on
//! their own interval, and a storm becomes a digest. The stages are in [`dispatch`].
//!
//! Unlike the incidents, this state is not a fold over samples, because it depends on time and on
//! people. It is stored separately, in the transaction that puts the notifications into the outbox.

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

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use self::advice_batch::AdviceBatch;
pub use self::advice_batch::{advice_of, with_advice};
use self::channel_state::ChannelState;
use self::context::TickContext;
use self::delivery_health::DeliveryHealth;
pub use self::drill::DrillConfirmation;
use self::rate_limiter::RateLimiter;
use crate::config::Config;
use crate::incident::{Change, close_as_removed};
use crate::message;
use crate::message::values::Locale;
use crate::model::{
    Acknowledgement, Annotation, Announcement, ChannelName, ChannelStats, Document, DrillMessage,
    Drills, Incident, IncidentState, Note, NoticeKind, Outgoing, ShiftClock, Silence, Snapshot,
    Timestamp,
};

/// Notification state: messages sent and pending, silences, reports and drills.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NotificationScheduler {
    #[serde(rename = "cases")]
    records: BTreeMap<Uuid, IncidentRecord>,
    silences: Vec<Silence>,
    /// Notes that belong to no incident, oldest first.
    annotations: Vec<Annotation>,
    paces: BTreeMap<ChannelName, RateLimiter>,
    /// Advice that waits for more to join it, by channel.
    advice_batches: BTreeMap<ChannelName, AdviceBatch>,
    /// Channels that fail, and since when.
    failing: BTreeMap<ChannelName, Timestamp>,
    /// Time of the last reported dead letter, by channel.
    dead: BTreeMap<ChannelName, Timestamp>,
    /// When rejected recipients were last reported, by channel.
    refused: BTreeMap<ChannelName, Timestamp>,
    /// What the next report about failing channels will say.
    delivery: DeliveryHealth,
    /// Number of messages that are not about an incident; gives each its own id.
    announced: u64,
    /// End of the last reported period.
    reported_until: Option<Timestamp>,
    /// When an unfinished report was started.
    report_tried_at: Option<Timestamp>,
    drills: Drills,
    /// Drills scheduled up to this time have been handled.
    drilled_until: Option<Timestamp>,
    /// Drill messages to send at the next tick.
    #[serde(skip)]
    waiting_drills: Vec<(DrillMessage, Document)>,
    #[serde(skip)]
    announcements: Vec<Announcement>,
    #[serde(skip)]
    changed: bool,
}

/// An incident, as it was last reported, and its state on each channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct IncidentRecord {
    incident: Incident,
    changed_at: Timestamp,
    threads: BTreeMap<ChannelName, ChannelState>,
}

impl NotificationScheduler {
    /// Records a change of an incident at `at`. Returns the incident with its acknowledgment and
    /// notes.
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
        if let Some(known) = self.records.get(&incident.id) {
            incident
                .acknowledged
                .clone_from(&known.incident.acknowledged);
            incident.notes.clone_from(&known.incident.notes);
        }
        let record = self
            .records
            .entry(incident.id)
            .or_insert_with(|| IncidentRecord {
                incident: incident.clone(),
                changed_at,
                threads: BTreeMap::new(),
            });
        record.incident = incident.clone();
        record.changed_at = changed_at;
        let pending = match change {
            Change::Opened => None,
            Change::Updated => Some(NoticeKind::Updated),
            Change::Escalated => Some(NoticeKind::Escalated),
            Change::Resolved => Some(NoticeKind::Resolved),
        };
        if let Some(kind) = pending {
            record
                .threads
                .values_mut()
                .for_each(|t| t.set_pending(kind, at));
        }
        incident
    }

    /// Reports whether the incident with this id was recorded here.
    pub fn knows(&self, id: Uuid) -> bool {
        self.records.contains_key(&id)
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

    /// When an unfinished periodic report was started.
    pub fn report_tried_at(&self) -> Option<Timestamp> {
        self.report_tried_at
    }

    /// Records that a periodic report was started at `at`, so that a report that crashes the
    /// process is not retried at once.
    pub fn try_report(&mut self, at: Timestamp) {
        self.changed = true;
        self.report_tried_at = Some(at);
    }

    /// Starts the report periods at `at`; earlier periods are never reported.
    pub fn report_from(&mut self, at: Timestamp) {
        self.changed = true;
        self.reported_until = Some(at);
    }

    /// Adds the incidents of `other` that are unknown here, with their notification states, its
    /// silences and its annotations.
    pub fn adopt(&mut self, other: &Self) {
        for (id, record) in &other.records {
            if !self.records.contains_key(id) {
                self.records.insert(*id, record.clone());
                self.changed = true;
            }
        }
        for silence in &other.silences {
            if !self.silences.iter().any(|s| s.id == silence.id) {
                self.silences.push(silence.clone());
                self.changed = true;
            }
        }
        for annotation in &other.annotations {
            if !self.annotations.contains(annotation) {
                self.add_annotation(annotation.clone());
            }
        }
    }

    /// The incidents that this daemon notified on its own verdict.
    pub fn alone(&self) -> impl Iterator<Item = Uuid> {
        let records = self.records.values().map(|record| &record.incident);
        records.filter(|i| i.alone).map(|i| i.id)
    }

    /// Drops all incidents and silences because other daemons handle them from now on.
    pub fn drop_incidents(&mut self) {
        self.changed |= !self.records.is_empty() || !self.silences.is_empty();
        self.records.clear();
        self.silences.clear();
    }

    /// Adds a note that belongs to no incident. Of more than [`Annotation::MOST`] the oldest are
    /// dropped.
    pub fn add_annotation(&mut self, annotation: Annotation) {
        self.changed = true;
        self.annotations.push(annotation);
        self.annotations.sort_by_key(|a| a.at);
        let excess = self.annotations.len().saturating_sub(Annotation::MOST);
        self.annotations.drain(..excess);
    }

    /// Begins a silence.
    pub fn silence(&mut self, silence: Silence) {
        self.changed = true;
        self.silences.push(silence);
    }

    /// Ends a silence early; `None` if no silence has this id.
    pub fn unsilence(&mut self, id: Uuid) -> Option<Silence> {
        let place = self.silences.iter().position(|s| s.id == id)?;
        self.changed = true;
        Some(self.silences.remove(place))
    }

    /// Acknowledges the open incident of this number; `None` if there is none.
    pub fn acknowledge(
        &mut self,
        number: u64,
        acknowledgement: Acknowledgement,
    ) -> Option<Incident> {
        let record = self
            .records
            .values_mut()
            .find(|c| c.incident.number == number && c.incident.state == IncidentState::Open)?;
        self.changed = true;
        let at = acknowledgement.at;
        record.incident.acknowledged = Some(acknowledgement);
        record
            .threads
            .values_mut()
            .for_each(|t| t.set_pending(NoticeKind::Updated, at));
        Some(record.incident.clone())
    }

    /// Adds a note to the open incident of this number, for its next message. `None` if there is no
    /// such incident, or if it already has [`Note::MOST`] notes.
    pub fn note(&mut self, number: u64, note: Note) -> Option<Incident> {
        let record = self
            .records
            .values_mut()
            .find(|c| c.incident.number == number && c.incident.state == IncidentState::Open)?;
        if record.incident.notes.len() >= Note::MOST {
            return None;
        }
        self.changed = true;
        let at = note.at;
        record.incident.notes.push(note);
        record
            .threads
            .values_mut()
            .for_each(|t| t.set_pending(NoticeKind::Updated, at));
        Some(record.incident.clone())
    }

    /// Shifts pending messages and reminders by `by_ms` after a clock change, so that they keep
    /// their distance from now. Silences and report periods stay as they are. Returns the open
    /// incidents.
    pub fn follow_clock(&mut self, by_ms: i64) -> Vec<Incident> {
        self.shift_clock(by_ms);
        self.changed = true;
        self.records
            .values()
            .filter(|record| record.incident.state == IncidentState::Open)
            .map(|record| record.incident.clone())
            .collect()
    }

    /// Adds silences, drills, acknowledgments, notes and annotations to `snapshot`.
    pub fn annotate(&self, snapshot: &mut Snapshot) {
        snapshot.annotations.clone_from(&self.annotations);
        snapshot.drills.clone_from(&self.drills);
        self.annotate_incidents(snapshot);
    }

    /// Adds to `snapshot` what all daemons of a store have in common: silences, acknowledgments and
    /// notes, and the annotations that it does not have yet. Each daemon has drills of its own.
    pub fn annotate_shared(&self, snapshot: &mut Snapshot) {
        for annotation in &self.annotations {
            if !snapshot.annotations.contains(annotation) {
                snapshot.annotations.push(annotation.clone());
            }
        }
        snapshot.annotations.sort_by_key(|a| a.at);
        self.annotate_incidents(snapshot);
    }

    fn annotate_incidents(&self, snapshot: &mut Snapshot) {
        snapshot.silences.clone_from(&self.silences);
        for incident in &mut snapshot.incidents {
            if let Some(record) = self.records.get(&incident.id) {
                incident
                    .acknowledged
                    .clone_from(&record.incident.acknowledged);
                incident.notes.clone_from(&record.incident.notes);
            }
        }
    }

    /// Closes incidents that are not open in `snapshot` although no change closed them, after the
    /// detection state had to be rebuilt. If none of its endpoints is monitored any more, an
    /// incident is closed as removed. Returns the closed incidents.
    pub fn reconcile(&mut self, snapshot: &Snapshot, locale: &Locale) -> Vec<Incident> {
        let at = snapshot.at;
        let open: BTreeSet<_> = snapshot.incidents.iter().map(|i| i.id).collect();
        let monitored: BTreeSet<_> = snapshot.endpoints.iter().map(|e| &e.name).collect();
        let mut closed = Vec::new();
        for (id, record) in &mut self.records {
            if record.incident.state != IncidentState::Open || open.contains(id) {
                continue;
            }
            self.changed = true;
            let is_monitored = record
                .incident
                .endpoints
                .iter()
                .any(|name| monitored.contains(name));
            if is_monitored {
                record.incident.state = IncidentState::Resolved;
                record.incident.resolved_at = Some(at);
                record.incident.duration_s =
                    at.since_ms(record.incident.started_at).max(0) as f64 / 1000.0;
            } else {
                close_as_removed(&mut record.incident, at);
                message::incident::narrate(&mut record.incident, locale);
            }
            record
                .threads
                .values_mut()
                .for_each(|t| t.set_pending(NoticeKind::Resolved, at));
            closed.push(record.incident.clone());
        }
        closed
    }

    /// Returns the messages to send as of `now`. `outbox` holds the delivery statistics of the
    /// channels.
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
        let before = self.annotations.len();
        self.annotations.retain(|a| a.at + Annotation::KEPT > now);
        self.changed |= self.annotations.len() != before;
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
        self.advice_batches
            .retain(|name, _| config.has_channel(name));
        self.records.retain(|_, record| {
            record.threads.retain(|name, _| config.has_channel(name));
            record.incident.state == IncidentState::Open || !record.threads.is_empty()
        });
        outgoing
    }

    /// Returns the serialized state, if it has changed since the last call.
    pub fn take_change(&mut self) -> Option<String> {
        // Serializing plain data with string keys cannot fail.
        std::mem::take(&mut self.changed).then(|| serde_json::to_string(self).unwrap_or_default())
    }
}

/// Returns the same id for the same message: a step repeated after a crash cannot notify twice.
fn stable_id(parts: &[&str]) -> Uuid {
    let digest = Sha256::digest(parts.join("\n").as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

impl ShiftClock for NotificationScheduler {
    fn shift_clock(&mut self, by_ms: i64) {
        // Times set by users or the calendar stay: silences, annotations, report periods, the drill
        // schedule and dead letters.
        let Self {
            records,
            paces,
            advice_batches,
            failing,
            delivery,
            drills,
            silences: _,
            annotations: _,
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
        records.shift_clock(by_ms);
        paces.shift_clock(by_ms);
        advice_batches.shift_clock(by_ms);
        failing.shift_clock(by_ms);
        delivery.shift_clock(by_ms);
        drills.shift_clock(by_ms);
    }
}

impl ShiftClock for IncidentRecord {
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
