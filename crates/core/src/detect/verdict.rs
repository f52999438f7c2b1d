//! The result of detection: events about endpoints, and rechecks.

use serde::{Deserialize, Serialize};

use crate::model::{EndpointName, ShiftClock, Timestamp};

/// The consequences of one observation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Verdict {
    /// Events, in the order in which they were decided.
    pub notes: Vec<DetectorEvent>,
    /// Probes before the scheduled ones.
    pub rechecks: Vec<(EndpointName, Timestamp)>,
    /// Suspicious periods that ended without an alert.
    pub blips: Vec<Blip>,
}

impl Verdict {
    /// Adds what follows from a later observation.
    pub fn extend(&mut self, later: Self) {
        self.notes.extend(later.notes);
        self.rechecks.extend(later.rechecks);
        self.blips.extend(later.blips);
    }
}

/// A bad moment that was not worth an alert. It helps to tune the settings.
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
    /// Good probes reduced the evidence to zero.
    Recovered,
    /// Nothing was probed for so long that earlier evidence was discarded.
    Gap,
    /// The failures turned out to be this machine's.
    Reattributed,
    /// The endpoint now fails in another way, which is judged separately.
    Superseded,
}

impl Cleared {
    /// Returns the stable lowercase name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recovered => "recovered",
            Self::Gap => "gap",
            Self::Reattributed => "reattributed",
            Self::Superseded => "superseded",
        }
    }
}

/// An event about one endpoint.
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
    /// The learned share of failures, 0 to 1, once enough is learned.
    #[serde(default)]
    pub typical_failure_rate: Option<f64>,
    /// The learned time to first token, in milliseconds, once enough is learned.
    pub typical_first_token_ms: Option<f64>,
    /// The time to first token of the deciding probe, in milliseconds.
    pub first_token_ms: Option<f64>,
    /// The figures of all endpoints that fail or lag together, if that decided it.
    pub shared: Option<Shared>,
    /// Whether a slow endpoint is failing now.
    pub was_slow: bool,
    /// For a recovery: when its first good probe began.
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
    /// Whether it ended only because the endpoint has been slow for so long that this is its new
    /// baseline.
    pub new_normal: bool,
}

/// The figures of several endpoints of one failure domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shared {
    /// Bad probes since the first bad one of each.
    pub k: u32,
    /// Probes since then.
    pub n: u32,
    /// How many endpoints are affected.
    pub endpoints: usize,
    /// Out of how many monitored ones.
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
    /// Returns the name in replayed events.
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
    /// Returns the name in replayed events.
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
    /// No alert comes before this, whatever confirms the bad probes. Faults of the account that
    /// have not occurred yet are excepted.
    pub earliest_alert_at: Timestamp,
    /// [`DetectedCause::Errors`], [`DetectedCause::Slow`] or [`DetectedCause::Account`].
    pub cause: DetectedCause,
}

/// What is typical for an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Typical {
    /// The learned share of failures, 0 to 1, once enough is learned.
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
