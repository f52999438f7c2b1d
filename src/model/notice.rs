//! What a notification says, before it is put into any receiver's format.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Alternative, Incident, Timestamp};

/// The kind of a notification; its name is the `type` of the generic webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NoticeType {
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
    /// It still goes on.
    #[serde(rename = "incident.reminder")]
    Reminder,
    /// The monitor has lost its network.
    #[serde(rename = "monitor.blind")]
    Blind,
    /// It sees again.
    #[serde(rename = "monitor.sighted")]
    Sighted,
    /// The probing budget of the day is spent.
    #[serde(rename = "monitor.budget")]
    Budget,
    /// A test, asked for by a person.
    #[serde(rename = "monitor.test")]
    Test,
}

impl NoticeType {
    /// The stable name, for instance `incident.opened`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "incident.opened",
            Self::Updated => "incident.updated",
            Self::Escalated => "incident.escalated",
            Self::Resolved => "incident.resolved",
            Self::Reminder => "incident.reminder",
            Self::Blind => "monitor.blind",
            Self::Sighted => "monitor.sighted",
            Self::Budget => "monitor.budget",
            Self::Test => "monitor.test",
        }
    }

    /// The word that a channel's `on` filter uses: the last part of the name for incidents, `monitor` for the rest.
    pub fn filter_word(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Updated => "updated",
            Self::Escalated => "escalated",
            Self::Resolved => "resolved",
            Self::Reminder => "reminder",
            Self::Blind | Self::Sighted | Self::Budget | Self::Test => "monitor",
        }
    }
}

/// One notification to one channel, as the outbox keeps it: everything that rendering needs, so that a retry next day
/// says the same as the first attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// The same on every attempt; the receiver can tell a repeat by it.
    pub id: Uuid,
    /// What kind.
    pub r#type: NoticeType,
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
    /// The incident's page, if the daemon has a public address.
    pub url: Option<String>,
    /// The notice that opened the incident on this channel: mails thread on it.
    pub thread: Option<Uuid>,
    /// Set when an `opened` is sent only after its incident was over: it says both.
    pub already_over: bool,
    /// The last hour of the endpoints concerned, for a small picture of it.
    #[serde(default)]
    pub recent: Vec<Strip>,
    /// Asked for by a person to try the channel: the message says so, whatever else it says.
    #[serde(default)]
    pub test: bool,
}

/// The last hour of an endpoint, minute by minute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strip {
    /// The endpoint's name.
    pub endpoint: String,
    /// One character a minute, oldest first, the worst probe of each: `.` good, `~` slow, `x` failed, a space where
    /// nothing was probed.
    pub minutes: String,
}
