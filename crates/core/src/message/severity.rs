//! The severity of an incident: one scale for tags, colors, counts and digests.

use crate::model::{Attribution, Incident, Status};

/// The severity of an incident, lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// A fault of this machine.
    Local,
    /// A fault of the account or the configuration.
    Account,
    /// The provider is slow, or fails intermittently.
    Degraded,
    /// The provider is failing.
    Outage,
}

impl Severity {
    /// Returns the severity for an attribution and a status.
    pub fn new(attribution: Attribution, status: Status) -> Self {
        match (attribution, status) {
            (Attribution::Local, _) => Self::Local,
            (Attribution::Account, _) => Self::Account,
            (Attribution::Provider, Status::Degraded) => Self::Degraded,
            (Attribution::Provider, _) => Self::Outage,
        }
    }

    /// Returns the severity of an incident.
    pub fn of(incident: &Incident) -> Self {
        Self::new(incident.attribution, incident.status)
    }

    /// Returns the tag for the subject. It is the same in every language, so that mail filters keep
    /// working.
    pub fn tag(self) -> &'static str {
        match self {
            Self::Local => "MONITOR",
            Self::Account => "YOUR ACCOUNT",
            Self::Degraded => "DEGRADED",
            Self::Outage => "OUTAGE",
        }
    }

    /// Returns the public tag for the subject, which does not reveal the attribution.
    pub fn public_tag(self) -> &'static str {
        match self {
            Self::Local | Self::Account => "INCIDENT",
            Self::Degraded => "DEGRADED",
            Self::Outage => "OUTAGE",
        }
    }

    /// Returns the singular noun for this severity.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Local => "local fault",
            Self::Account => "account fault",
            Self::Degraded => "degradation",
            Self::Outage => "outage",
        }
    }

    /// Returns the plural noun for this severity.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Local => "local faults",
            Self::Account => "account faults",
            Self::Degraded => "degradations",
            Self::Outage => "outages",
        }
    }
}
