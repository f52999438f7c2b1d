//! The rate limit of a channel (a token bucket), and the digest of messages that exceed it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::message::monitor_notice::{self, MonitorNotice};
use crate::message::severity::Severity;
use crate::message::values::Locale;
use crate::model::{
    Attribution, Block, DigestData, DigestIncident, Document, EndpointName, Incident, NoticeKind,
    ShiftClock, Status, Timestamp,
};
use crate::text;

/// Capacity of the bucket: messages that may be sent in a row.
const BURST: f64 = 12.0;
/// Time after which the bucket gains one message.
const REFILL: Duration = Duration::from_secs(15);
/// Maximum number of incidents that a digest lists.
const NAMED: usize = 200;

/// The token bucket of one channel, and the entries of its next digest. The serialized names are
/// those of the first release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct RateLimiter {
    room: f64,
    at: Timestamp,
    since: Option<Timestamp>,
    entries: Vec<DigestEntry>,
}

/// One incident in a digest, in its latest state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct DigestEntry {
    id: Uuid,
    number: u64,
    reason: NoticeKind,
    status: Status,
    attribution: Attribution,
    title: String,
    endpoints: Vec<EndpointName>,
    started_at: Timestamp,
    resolved_at: Option<Timestamp>,
    duration_s: f64,
}

impl Default for RateLimiter {
    fn default() -> Self {
        Self {
            room: BURST,
            at: Timestamp(0),
            since: None,
            entries: Vec::new(),
        }
    }
}

impl RateLimiter {
    /// Refills the bucket up to `now`. Returns whether it changed.
    pub(super) fn pass(&mut self, now: Timestamp) -> bool {
        let gained = now.since_ms(self.at).max(0) as f64 / REFILL.as_millis() as f64;
        if gained < 1.0 || self.is_fresh() {
            return false;
        }
        self.room = (self.room + gained).min(BURST);
        self.at = now;
        true
    }

    /// Reports whether the limiter is in its initial state.
    pub(super) fn is_fresh(&self) -> bool {
        self.room >= BURST && self.entries.is_empty()
    }

    /// Reports whether another message may be sent on its own.
    pub(super) fn has_room(&self) -> bool {
        self.room >= 1.0 && self.entries.is_empty()
    }

    pub(super) fn take_one(&mut self, now: Timestamp) {
        if self.room >= BURST {
            self.at = now;
        }
        self.room = (self.room - 1.0).max(0.0);
    }

    /// Reports whether the digest has an entry for this incident.
    pub(super) fn holds(&self, id: Uuid) -> bool {
        self.entries.iter().any(|e| e.id == id)
    }

    /// Adds an incident to the digest. A newer entry replaces the older one of the same incident,
    /// but an opening stays an opening.
    pub(super) fn enqueue(&mut self, now: Timestamp, reason: NoticeKind, incident: &Incident) {
        self.since.get_or_insert(now);
        let end = incident.end().unwrap_or(now);
        let entry = DigestEntry {
            id: incident.id,
            number: incident.number,
            reason,
            status: incident.status,
            attribution: incident.attribution,
            title: incident.title.clone(),
            endpoints: incident.endpoints.clone(),
            started_at: incident.started_at,
            resolved_at: incident.resolved_at,
            duration_s: end.since_ms(incident.started_at).max(0) as f64 / 1000.0,
        };
        match self.entries.iter_mut().find(|e| e.id == entry.id) {
            Some(known) if known.reason == NoticeKind::Opened => {
                *known = DigestEntry {
                    reason: known.reason,
                    ..entry
                }
            }
            Some(known) => *known = entry,
            None => self.entries.push(entry),
        }
    }

    /// Returns the digest if it has entries and is due. It waits for others to join, as any message
    /// does, except in a storm.
    pub(super) fn flush(
        &mut self,
        now: Timestamp,
        wait: Duration,
        is_storm: bool,
        locale: &Locale,
    ) -> Option<Digest> {
        let since = self.since?;
        if self.room < 1.0 || !(is_storm || now >= since + wait) {
            return None;
        }
        self.take_one(now);
        self.since = None;
        let entries = std::mem::take(&mut self.entries);
        let over = entries.iter().filter(|e| e.resolved_at.is_some()).count();
        let going_on = entries.len() - over;
        let notice = MonitorNotice::Digest {
            open: going_on,
            ended: over,
        };
        let title = monitor_notice::title(&notice, "", locale);
        let mut blocks = Vec::new();
        let heads = [(locale.say("Open"), false), (locale.say("Ended"), true)];
        for (head, shown_over) in heads {
            let chosen: Vec<_> = entries
                .iter()
                .filter(|e| e.resolved_at.is_some() == shown_over)
                .collect();
            if chosen.is_empty() {
                continue;
            }
            let more = chosen.len().saturating_sub(NAMED);
            let mut lines: Vec<_> = chosen.iter().take(NAMED).map(|e| e.line(locale)).collect();
            lines.extend((more > 0).then(|| text!(locale, "… and {more} more", more)));
            blocks.extend([
                Block::Heading(format!("{head} ({})", chosen.len())),
                Block::List(lines),
            ]);
        }
        let data = json!(DigestData {
            incidents: entries.iter().take(NAMED).map(DigestEntry::data).collect(),
            going_on,
            over,
        });
        let only = if let [one] = entries.as_slice() {
            Some((one.id, one.reason))
        } else {
            None
        };
        Some(Digest {
            title,
            document: Document { blocks, data },
            only,
        })
    }
}

/// One message about several incidents.
#[derive(Debug)]
pub(super) struct Digest {
    pub(super) title: String,
    pub(super) document: Document,
    /// The incident and the reason to notify, if there is only one: then no digest is needed.
    pub(super) only: Option<(Uuid, NoticeKind)>,
}

impl DigestEntry {
    fn line(&self, locale: &Locale) -> String {
        let tag = match (self.resolved_at, self.attribution) {
            (Some(_), _) => {
                let lasted = locale.duration(self.duration_s);
                text!(locale, "after {lasted}", lasted)
            }
            (None, attribution) => locale
                .say(Severity::new(attribution, self.status).noun())
                .to_owned(),
        };
        format!(
            "#{} {tag}: {} [{}]",
            self.number,
            self.title,
            self.endpoints.join(", ")
        )
    }

    fn data(&self) -> DigestIncident {
        DigestIncident {
            id: self.id,
            number: self.number,
            reason: self.reason.filter_word().to_owned(),
            status: self.status,
            attribution: self.attribution,
            title: self.title.clone(),
            endpoints: self.endpoints.clone(),
            started_at: self.started_at,
            resolved_at: self.resolved_at,
            duration_s: self.duration_s,
        }
    }
}

impl ShiftClock for RateLimiter {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self {
            at,
            since,
            entries,
            room: _,
        } = self;
        at.shift_clock(by_ms);
        since.shift_clock(by_ms);
        entries.shift_clock(by_ms);
    }
}

impl ShiftClock for DigestEntry {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self {
            started_at,
            resolved_at,
            id: _,
            number: _,
            reason: _,
            status: _,
            attribution: _,
            title: _,
            endpoints: _,
            duration_s: _,
        } = self;
        started_at.shift_clock(by_ms);
        resolved_at.shift_clock(by_ms);
    }
}
