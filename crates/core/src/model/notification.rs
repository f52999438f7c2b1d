//! What a notification says, before it is put into any receiver's format.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Alternative, Attribution, Cause, ChannelName, EndpointName, Incident, Status, Timestamp,
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
    /// A vendor's own status page says something that the probes do not feel.
    #[serde(rename = "feed.changed")]
    Official,
    /// The monitor has lost its network.
    #[serde(rename = "monitor.offline", alias = "monitor.blind")]
    Offline,
    /// It sees again.
    #[serde(rename = "monitor.online", alias = "monitor.sighted")]
    Online,
    /// The probing budget of the day is spent.
    #[serde(rename = "monitor.budget")]
    Budget,
    /// The store cannot be written; probing and notifying continue.
    #[serde(rename = "monitor.store")]
    Store,
    /// A channel does not deliver, or delivers again: notified through the others.
    #[serde(rename = "monitor.delivery")]
    Delivery,
    /// More at once than anybody can read: one message instead of many.
    #[serde(rename = "monitor.digest")]
    Digest,
    /// Something deserves a word before it becomes a failure.
    #[serde(rename = "advice.given")]
    Advice,
    /// The periodic report.
    #[serde(rename = "report.periodic")]
    Report,
    /// A test, asked for by a person.
    #[serde(rename = "monitor.test")]
    Test,
    /// A rehearsal of the alarm.
    #[serde(rename = "monitor.drill")]
    Drill,
}

impl NoticeKind {
    /// The stable name, for instance `incident.opened`.
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

    /// Why it is sent, in a word: the last part of the name, unless a channel's `on` has a better one.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Official => "official",
            Self::Advice => "advice",
            other => other.as_str().rsplit('.').next().unwrap_or_default(),
        }
    }

    /// Whether it is about an incident rather than the monitor.
    pub fn is_about_incident(self) -> bool {
        self.as_str().starts_with("incident.")
    }

    /// The word that a channel's `on` filter uses: the last part of the name for incidents, `monitor` for the rest.
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

/// One notification to one channel, as the outbox keeps it: everything that rendering needs, so that a retry next day
/// says the same as the first attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// The same on every attempt; the receiver can recognize a repeat by it.
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
    /// The failure domain as people say it ("OpenAI"); the location for the monitor's own notices.
    pub subject: String,
    /// One line, for the monitor's own notices.
    pub title: String,
    /// What works instead, best first.
    pub alternatives: Vec<Alternative>,
    /// Whether another endpoint is monitored that could stand in, healthy or not; `None` in rows of release 0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitors_alternative: Option<bool>,
    /// Vendors of other open outages ("Azure").
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_failing: Vec<String>,
    /// What the channel knew of the incident before this message; `None` for the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Extent>,
    /// The incident's page, if the daemon has a public address.
    pub url: Option<String>,
    /// The notice that opened the incident on this channel: mails thread on it.
    pub thread: Option<Uuid>,
    /// Set when an `opened` is sent only after its incident was over: it says both.
    pub already_over: bool,
    /// The last hour of the endpoints concerned, for a small picture of it.
    #[serde(default)]
    pub recent: Vec<Sparkline>,
    /// Asked for by a person to try the channel: the message says so, whatever else it says.
    #[serde(default)]
    pub test: bool,
    /// Set when this came to its channel only because the channel of this name could not deliver it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead_of: Option<ChannelName>,
    /// What a digest, an advice or a report says, ready to be set into any format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<Document>,
    /// The condition of the monitor that this is about, if it is one that begins and ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
    /// What the alternatives would have saved, of an incident that is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failover: Option<FailoverOutcome>,
}

/// What the group of a failing first choice would have saved during one incident: its samples replayed through the
/// routing of `/api/v1/route`.
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

/// What a message said of an incident, so that the next one can say what has changed.
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
    /// The same at the beginning and at the end, for instance `offline` or `delivery/slack`.
    pub key: String,
    /// Whether this is the end.
    pub over: bool,
}

/// The last hour of an endpoint, minute by minute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sparkline {
    /// The endpoint's name.
    pub endpoint: EndpointName,
    /// One character a minute, oldest first, the worst probe of each: `.` good, `~` slow, `x` failed, a space where
    /// nothing was probed.
    pub minutes: String,
    /// When the last of these minutes was.
    #[serde(default)]
    pub until: Timestamp,
}

/// A message that is a text of its own rather than a change of one incident. Its blocks hold plain words: each format
/// sets and escapes them in its own way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// What it says, from top to bottom.
    #[serde(default)]
    pub blocks: Vec<Block>,
    /// The same as data, for programs.
    pub data: serde_json::Value,
}

/// What a digest says of its incidents: the [`Document::data`] of one. A test notice says less.
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
    /// The status of what it is about.
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
    /// A few words over what follows.
    Heading(String),
    /// A paragraph.
    Text(String),
    /// One entry after another.
    List(Vec<String>),
    /// Names and values.
    Table {
        /// The names of the columns; the first one is the rows' own.
        head: Vec<String>,
        /// As many cells each as there are columns.
        rows: Vec<Vec<String>>,
    },
}

impl Block {
    /// Every block with each of its words as `change` has it.
    #[must_use]
    pub fn map(&self, change: impl Fn(&str) -> String) -> Self {
        let all = |words: &[String]| words.iter().map(|w| change(w)).collect::<Vec<_>>();
        match self {
            Self::Heading(words) => Self::Heading(change(words)),
            Self::Text(words) => Self::Text(change(words)),
            Self::List(entries) => Self::List(all(entries)),
            Self::Table { head, rows } => Self::Table {
                head: all(head),
                rows: rows.iter().map(|r| all(r)).collect(),
            },
        }
    }
}

/// A notification to be kept for one channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outgoing {
    /// The channel's name.
    pub channel: ChannelName,
    /// Not to be sent before this; `None` for at once.
    pub not_before: Option<Timestamp>,
    /// What it says.
    pub notice: Notice,
    /// Whether it says all that there is to say about the [condition](Notice::condition) that it ends: a word of the
    /// beginning that was not delivered by then is not sent any more.
    pub supersedes_opening: bool,
}

/// How the outbox of one channel stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct ChannelStats {
    /// The channel's name.
    pub channel: ChannelName,
    /// Waiting.
    pub pending: u64,
    /// When the oldest waiting one was decided.
    pub oldest: Option<Timestamp>,
    /// Since when a pending one has failed.
    pub failing_since: Option<Timestamp>,
    /// Delivered.
    pub sent: u64,
    /// Refused for good.
    pub failed: u64,
    /// Tried for as long as they are worth.
    pub expired: u64,
    /// When the last of the refused and expired was given up.
    pub last_dead_at: Option<Timestamp>,
    /// When the last one was delivered.
    pub last_sent_at: Option<Timestamp>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When one was last delivered that not everybody took.
    pub last_refused_at: Option<Timestamp>,
    /// Who refused it for good, in their words.
    pub refused: Option<String>,
}

impl ChannelStats {
    /// Counts `count` notifications of `channel` in `state`: the oldest was decided at `oldest`, the last ended at
    /// `ended`, and one that waits has been tried in vain since `failing_since`.
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

    /// Adds what another outbox has for the same channel.
    pub fn add(&mut self, other: &Self) {
        let first = |a: Option<Timestamp>, b: Option<Timestamp>| a.into_iter().chain(b).min();
        self.pending += other.pending;
        self.oldest = first(self.oldest, other.oldest);
        self.failing_since = first(self.failing_since, other.failing_since);
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

    /// Adds, for each channel, what `others` have.
    pub fn join(all: &mut Vec<Self>, others: &[Self]) {
        for other in others {
            match all.iter_mut().find(|own| own.channel == other.channel) {
                Some(own) => own.add(other),
                None => all.push(other.clone()),
            }
        }
    }
}
