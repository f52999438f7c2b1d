//! What detection says: notes about endpoints, and when to look again.

use serde::{Deserialize, Serialize};

use crate::model::{EndpointName, ShiftClock, Timestamp};

/// What follows from one observation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Verdict {
    /// What was noted, in the order in which it was decided.
    pub notes: Vec<DetectorEvent>,
    /// When to look again, before the grid would.
    pub rechecks: Vec<(EndpointName, Timestamp)>,
    /// What was suspicious and has passed without an alert.
    pub blips: Vec<Blip>,
}

/// Something that looked bad for a moment and was not worth an alert: what the settings can be tuned on.
#[derive(Debug, Clone, PartialEq)]
pub struct Blip {
    /// The endpoint's name.
    pub endpoint: EndpointName,
    /// [`DetectedCause::Errors`], [`DetectedCause::Slow`] or [`DetectedCause::Account`].
    pub cause: DetectedCause,
    /// When the first bad probe began.
    pub started_at: Timestamp,
    /// When the last bad probe ended.
    pub ended_at: Timestamp,
    /// Bad probes until the evidence was gone.
    pub k: u32,
    /// Probes until the evidence was gone.
    pub n: u32,
    /// How it ended.
    pub cleared: Cleared,
}

/// How a blip ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleared {
    /// Good probes have used the evidence up.
    Recovered,
    /// Nobody looked for so long that what was seen before means nothing any more.
    Gap,
}

impl Cleared {
    /// The stable lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recovered => "recovered",
            Self::Gap => "gap",
        }
    }
}

/// One thing noted about one endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DetectorEvent {
    /// When it was decided: the end of the probe that decided it.
    pub at: Timestamp,
    /// The endpoint's name.
    pub endpoint: EndpointName,
    /// What happened.
    pub event: DetectorEventKind,
    /// Why.
    pub cause: DetectedCause,
    /// Bad probes since the first bad one.
    pub k: u32,
    /// Probes since the first bad one.
    pub n: u32,
    /// When the first bad probe began.
    pub started_at: Timestamp,
    /// The learned share of failures, 0 to 1, once enough was learned.
    #[serde(default)]
    pub typical_failure_rate: Option<f64>,
    /// The learned first token, in milliseconds, once enough was learned.
    pub typical_first_token_ms: Option<f64>,
    /// The first token of the probe that decided.
    pub first_token_ms: Option<f64>,
    /// The figures of all endpoints that fail or lag together, when that is why it was decided.
    pub shared: Option<Shared>,
    /// What was slow is failing now.
    pub was_slow: bool,
    /// Of a resolution: the start of the first good probe of the recovery.
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
    /// A resolution that is none: the endpoint has been slow for so long that this is its new normal.
    pub new_normal: bool,
}

/// The figures of several endpoints of one failure domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shared {
    /// Bad probes since the first bad one of each.
    pub k: u32,
    /// Probes since then.
    pub n: u32,
    /// How many endpoints that concerns.
    pub endpoints: usize,
    /// Of how many that are watched.
    pub of: usize,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DetectorEventKind {
    /// An alert that was not notified before.
    Open,
    /// An endpoint joins an incident that was notified already.
    Join,
    /// An incident concerns all of the domain, or what was slow is failing now.
    Escalate,
    /// The endpoint has recovered.
    Resolved,
    /// The monitor's own network is gone.
    Offline,
    /// It is back.
    Online,
}

impl DetectorEventKind {
    /// The word in replayed events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Join => "join",
            Self::Escalate => "escalate",
            Self::Resolved => "resolved",
            Self::Offline => "offline",
            Self::Online => "online",
        }
    }
}

/// Why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DetectedCause {
    /// For the monitor's own notes.
    None,
    /// Too many failures for the learned background.
    Errors,
    /// Too slow for the learned level.
    Slow,
    /// Several endpoints of the domain fail together.
    ProviderErrors,
    /// Several endpoints of the domain are slow together.
    ProviderSlow,
    /// Fails while its domain has an incident.
    JoinErrors,
    /// Is slow while its domain has an incident.
    JoinSlow,
    /// A fault of the account, the request or this machine alone.
    Account,
}

impl DetectedCause {
    /// The words in replayed events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Errors => "errors",
            Self::Slow => "slow",
            Self::ProviderErrors => "provider errors",
            Self::ProviderSlow => "provider slow",
            Self::JoinErrors => "join errors",
            Self::JoinSlow => "join slow",
            Self::Account => "account",
        }
    }

    /// Whether it is about latency.
    pub fn is_slow(self) -> bool {
        matches!(self, Self::Slow | Self::ProviderSlow | Self::JoinSlow)
    }
}

/// Bad probes that are not enough for an alert yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// Bad probes since the first bad one.
    pub failed: u32,
    /// Probes since then.
    pub probes: u32,
    /// When the first bad probe began.
    pub since: Timestamp,
    /// No alert comes before this, however the next probes end.
    pub earliest_alert_at: Timestamp,
    /// [`DetectedCause::Errors`], [`DetectedCause::Slow`] or [`DetectedCause::Account`].
    pub cause: DetectedCause,
}

/// What is typical for an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Typical {
    /// The learned share of failures, 0 to 1, once enough was learned.
    pub failure_rate: Option<f64>,
    /// The learned median of the first token, in milliseconds, once enough was learned.
    pub first_token_ms: Option<f64>,
    /// The learned median of the total, in milliseconds, once enough was learned.
    pub total_ms: Option<f64>,
}

impl ShiftClock for DetectorEvent {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self {
            at,
            started_at,
            ended_at,
            endpoint: _,
            event: _,
            cause: _,
            k: _,
            n: _,
            typical_failure_rate: _,
            typical_first_token_ms: _,
            first_token_ms: _,
            shared: _,
            was_slow: _,
            new_normal: _,
        } = self;
        at.shift_clock(by_ms);
        started_at.shift_clock(by_ms);
        ended_at.shift_clock(by_ms);
    }
}
