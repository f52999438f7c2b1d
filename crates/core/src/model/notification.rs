//! The content of a notification, before it is put into a receiver's format.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Alternative, Attribution, Cause, ChannelName, EndpointName, Fault, Incident, Status, Timestamp,
};

/// The kind of a notification; its name is the `type` of the generic webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NoticeKind {
    /// An incident began.
    #[serde(rename = "incident.opened")]
    Opened,
    /// Its cause or extent changed.
    #[serde(rename = "incident.updated")]
    Updated,
    /// It became worse.
    #[serde(rename = "incident.escalated")]
    Escalated,
    /// It is over.
    #[serde(rename = "incident.resolved")]
    Resolved,
    /// It is still open.
    #[serde(rename = "incident.reminder")]
    Reminder,
    /// A vendor's status page reports something that does not affect the probes.
    #[serde(rename = "feed.changed")]
    Official,
    /// This machine is offline.
    #[serde(rename = "monitor.offline", alias = "monitor.blind")]
    Offline,
    /// This machine is online again.
    #[serde(rename = "monitor.online", alias = "monitor.sighted")]
    Online,
    /// The daily probing budget is exhausted.
    #[serde(rename = "monitor.budget")]
    Budget,
    /// The database cannot be written; probing and notifying continue.
    #[serde(rename = "monitor.store")]
    Store,
    /// A channel fails, or has recovered; sent through the others.
    #[serde(rename = "monitor.delivery")]
    Delivery,
    /// Many incidents at once: one message instead of many.
    #[serde(rename = "monitor.digest")]
    Digest,
    /// An early warning.
    #[serde(rename = "advice.given")]
    Advice,
    /// The periodic report.
    #[serde(rename = "report.periodic")]
    Report,
    /// A test that a person requested.
    #[serde(rename = "monitor.test")]
    Test,
    /// A rehearsal of an alert.
    #[serde(rename = "monitor.drill")]
    Drill,
}

impl NoticeKind {
    /// Returns the stable name, for instance `incident.opened`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "incident.opened",
            Self::Updated => "incident.updated",
            Self::Escalated => "incident.escalated",
            Self::Resolved => "incident.resolved",
            Self::Reminder => "incident.reminder",
            Self::Official => "feed.changed",
            Self::Offline => "monitor.offline",
            Self::Online => "monitor.online",
            Self::Budget => "monitor.budget",
            Self::Store => "monitor.store",
            Self::Delivery => "monitor.delivery",
            Self::Digest => "monitor.digest",
            Self::Advice => "advice.given",
            Self::Report => "report.periodic",
            Self::Test => "monitor.test",
            Self::Drill => "monitor.drill",
        }
    }

    /// Every kind.
    pub const ALL: &[Self] = &[
        Self::Opened,
        Self::Updated,
        Self::Escalated,
        Self::Resolved,
        Self::Reminder,
        Self::Official,
        Self::Offline,
        Self::Online,
        Self::Budget,
        Self::Store,
        Self::Delivery,
        Self::Digest,
        Self::Advice,
        Self::Report,
        Self::Test,
        Self::Drill,
    ];

    /// Returns the reason for sending it in one word: the last part of the name, or the word of a
    /// channel's `on`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Official => "official",
            Self::Advice => "advice",
            other => other.as_str().rsplit('.').next().unwrap_or_default(),
        }
    }

    /// Reports whether it is about an incident rather than the monitor.
    pub fn is_about_incident(self) -> bool {
        self.as_str().starts_with("incident.")
    }

    /// Returns its value in a channel's `on`: the last part of the name for incidents, usually
    /// `monitor` for the rest.
    pub fn filter_word(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Updated => "updated",
            Self::Escalated => "escalated",
            Self::Resolved => "resolved",
            Self::Reminder => "reminder",
            Self::Report => "report",
            Self::Advice => "advice",
            Self::Offline
            | Self::Online
            | Self::Budget
            | Self::Store
            | Self::Delivery
            | Self::Digest
            | Self::Test
            | Self::Drill => "monitor",
            Self::Official => "official",
        }
    }
}

/// One notification to one channel, as the outbox stores it. It has everything that rendering
/// needs, so that a retry on the next day sends the same as the first attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// The ID; the same on every attempt, so that the receiver can recognize a repeat.
    pub id: Uuid,
    /// What kind.
    #[serde(rename = "type")]
    pub kind: NoticeKind,
    /// When it was decided.
    pub decided_at: Timestamp,
    /// Where the daemon probes from.
    pub location: String,
    /// The incident it is about; `None` for the monitor's own notices.
    pub incident: Option<Incident>,
    /// The display name of the failure domain ("OpenAI"); the location for the monitor's own
    /// notices.
    pub subject: String,
    /// One line, for the monitor's own notices.
    pub title: String,
    /// Working alternatives, best first.
    pub alternatives: Vec<Alternative>,
    /// Whether another endpoint is monitored that could stand in, healthy or not; `None` in rows of
    /// release 0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitors_alternative: Option<bool>,
    /// Vendors of other open outages ("Azure").
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_failing: Vec<String>,
    /// Endpoints that do not fail in the incident's way any more, but in another way now.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failing_otherwise: BTreeMap<EndpointName, Fault>,
    /// What the previous message to the channel said; `None` for the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Extent>,
    /// The incident's page, if the daemon has a public address.
    pub url: Option<String>,
    /// The notice that opened the incident on this channel; emails are threaded on it.
    pub thread: Option<Uuid>,
    /// Whether an `opened` is sent only after its incident was over: it covers both.
    pub already_over: bool,
    /// The last hour of the affected endpoints, for sparklines.
    #[serde(default)]
    pub recent: Vec<Sparkline>,
    /// Whether a person requested it to test the channel; the message says so.
    #[serde(default)]
    pub test: bool,
    /// The channel that could not deliver it, if this channel is its fallback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead_of: Option<ChannelName>,
    /// The text of a digest, an advice or a report, independent of the format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<Document>,
    /// The condition of the monitor that begins or ends, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
    /// What the alternatives would have saved; only for a resolved incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failover: Option<FailoverOutcome>,
}

/// What the group of a failing first choice would have saved during one incident: its samples
/// replayed through the routing of `/api/v1/route`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FailoverOutcome {
    /// The group.
    pub group: String,
    /// Its first choice, which failed.
    pub first: EndpointName,
    /// The endpoint that the routing moved to, and when; `None` if no other was better.
    pub moved: Option<(EndpointName, Timestamp)>,
    /// Share of good samples of the first choice during the incident, 0 to 1.
    pub alone: f64,
    /// Share of good samples of the endpoint that was chosen, 0 to 1.
    pub with_group: f64,
}

/// What a message said about an incident, so that the next one can say what has changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Extent {
    /// The affected endpoints.
    pub endpoints: Vec<EndpointName>,
    /// Endpoints that fail because of them.
    pub explains: Vec<EndpointName>,
    /// How bad it was.
    pub status: Status,
    /// Whose fault it was.
    pub attribution: Attribution,
    /// Why.
    pub cause: Cause,
    /// Whether somebody had acknowledged it.
    pub is_acknowledged: bool,
    /// How many notes there were.
    pub notes: usize,
    /// The title of the vendor's own incident.
    pub published: Option<String>,
}

impl From<&Incident> for Extent {
    fn from(incident: &Incident) -> Self {
        Self {
            endpoints: incident.endpoints.clone(),
            explains: incident.explains.clone(),
            status: incident.status,
            attribution: incident.attribution,
            cause: incident.cause,
            is_acknowledged: incident.acknowledged.is_some(),
            notes: incident.notes.len(),
            published: incident.official.incident.clone(),
        }
    }
}

/// A condition of the monitor itself, for receivers that keep an alert open until it is resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// The key, the same at the beginning and at the end, for instance `offline` or `delivery`.
    pub key: String,
    /// Whether this is the end.
    pub over: bool,
}

/// The last hour of an endpoint, minute by minute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sparkline {
    /// The endpoint's name.
    pub endpoint: EndpointName,
    /// One character a minute, oldest first, the worst probe of each: `.` good, `~` slow, `x`
    /// failed, a space where nothing was probed.
    pub minutes: String,
    /// When the last of these minutes was.
    #[serde(default)]
    pub until: Timestamp,
}

/// The text of a message that is not about a change of one incident. Its blocks hold plain text;
/// each format lays it out and escapes it in its own way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// The text, from top to bottom.
    #[serde(default)]
    pub blocks: Vec<Block>,
    /// The same as data, for programs.
    pub data: serde_json::Value,
}

/// The [`Document::data`] of a digest. A test notice has fewer fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DigestData {
    /// The first incidents of the digest.
    pub incidents: Vec<DigestIncident>,
    /// How many incidents of the digest are open.
    #[serde(default)]
    pub going_on: usize,
    /// How many of them have ended.
    #[serde(default)]
    pub over: usize,
}

/// One incident of a digest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DigestIncident {
    /// The incident's id.
    #[serde(default)]
    pub id: Uuid,
    /// Its number.
    #[serde(default)]
    pub number: u64,
    /// Why it is in the digest, as in `on` of a channel.
    #[serde(default)]
    pub reason: String,
    /// Its status.
    pub status: Status,
    /// Whose fault it is.
    pub attribution: Attribution,
    /// Its title.
    #[serde(default)]
    pub title: String,
    /// The names of its endpoints.
    #[serde(default)]
    pub endpoints: Vec<EndpointName>,
    /// When the first failed probe began.
    #[serde(default)]
    pub started_at: Timestamp,
    /// When it was resolved; `None` while it is open.
    #[serde(default)]
    pub resolved_at: Option<Timestamp>,
    /// How long it has lasted, in seconds.
    #[serde(default)]
    pub duration_s: f64,
}

/// A part of a [`Document`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Block {
    /// A heading.
    Heading(String),
    /// A paragraph.
    Text(String),
    /// A list of entries.
    List(Vec<String>),
    /// A table.
    Table {
        /// The names of the columns; the first column names the rows.
        head: Vec<String>,
        /// The rows, each with one cell per column.
        rows: Vec<Vec<String>>,
    },
}

impl Block {
    /// Returns the block with every text replaced by `change`.
    #[must_use]
    pub fn map(&self, change: impl Fn(&str) -> String) -> Self {
        match self {
            Self::Heading(text) => Self::Heading(change(text)),
            Self::Text(text) => Self::Text(change(text)),
            Self::List(entries) => Self::List(entries.iter().map(|e| change(e)).collect()),
            Self::Table { head, rows } => Self::Table {
                head: head.iter().map(|cell| change(cell)).collect(),
                rows: rows
                    .iter()
                    .map(|row| row.iter().map(|cell| change(cell)).collect())
                    .collect(),
            },
        }
    }
}

/// A notification for the outbox of one channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outgoing {
    /// The channel's name.
    pub channel: ChannelName,
    /// The earliest time to send it; `None` for at once.
    pub not_before: Option<Timestamp>,
    /// The notification.
    pub notice: Notice,
    /// Whether it replaces pending messages about its [condition](Notice::condition), which are
    /// then not sent any more: an end replaces openings, a newer opening replaces everything.
    pub supersedes_pending: bool,
}

/// The state of the outbox of one channel.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct ChannelStats {
    /// The channel's name.
    pub channel: ChannelName,
    /// Pending notifications.
    pub pending: u64,
    /// When the oldest pending one was decided.
    pub oldest: Option<Timestamp>,
    /// Since when a pending one has failed.
    pub failing_since: Option<Timestamp>,
    /// Delivered notifications.
    pub sent: u64,
    /// Permanently rejected notifications.
    pub failed: u64,
    /// Notifications that were not delivered within `give_up_after`.
    pub expired: u64,
    /// When the last rejected or expired one ended.
    pub last_dead_at: Option<Timestamp>,
    /// When the last one was delivered.
    pub last_sent_at: Option<Timestamp>,
    /// The last error.
    pub last_error: Option<String>,
    /// When one was last delivered that some recipients rejected.
    pub last_refused_at: Option<Timestamp>,
    /// The recipients that rejected it, with their servers' replies.
    pub refused: Option<String>,
}

impl ChannelStats {
    /// Adds `count` notifications in `state`: the oldest was decided at `oldest`, the last ended at
    /// `ended`, and a pending one has failed since `failing_since`.
    pub fn count(
        &mut self,
        state: &str,
        count: u64,
        (oldest, ended, failing_since): (Option<Timestamp>, Option<Timestamp>, Option<Timestamp>),
    ) {
        match state {
            "pending" => {
                (self.pending, self.oldest, self.failing_since) = (count, oldest, failing_since);
            }
            "sent" => {
                self.sent += count;
                self.last_sent_at = self.last_sent_at.max(ended);
            }
            "failed" => {
                self.failed += count;
                self.last_dead_at = self.last_dead_at.max(ended);
            }
            "expired" => {
                self.expired += count;
                self.last_dead_at = self.last_dead_at.max(ended);
            }
            _ => {}
        }
    }

    /// Adds the figures of another outbox for the same channel.
    pub fn add(&mut self, other: &Self) {
        self.pending += other.pending;
        self.oldest = earlier(self.oldest, other.oldest);
        self.failing_since = earlier(self.failing_since, other.failing_since);
        self.sent += other.sent;
        self.failed += other.failed;
        self.expired += other.expired;
        self.last_sent_at = self.last_sent_at.max(other.last_sent_at);
        if other.last_error.is_some() {
            self.last_error.clone_from(&other.last_error);
        }
        self.last_dead_at = self.last_dead_at.max(other.last_dead_at);
        if other.last_refused_at > self.last_refused_at {
            self.last_refused_at = other.last_refused_at;
            self.refused.clone_from(&other.refused);
        }
    }

    /// Adds the figures of `others` by channel.
    pub fn join(all: &mut Vec<Self>, others: &[Self]) {
        for other in others {
            match all.iter_mut().find(|own| own.channel == other.channel) {
                Some(own) => own.add(other),
                None => all.push(other.clone()),
            }
        }
    }
}

fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    a.into_iter().chain(b).min()
}
