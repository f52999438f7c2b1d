//! How serious an incident is: one scale for tags, colors, counts and digests.

use crate::model::{Attribution, Incident, Status};

/// How serious an incident is, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// This machine's own trouble.
    Local,
    /// The account's or the configuration's trouble.
    Account,
    /// The provider is slow, or fails intermittently.
    Degraded,
    /// The provider fails.
    Outage,
}

impl Severity {
    /// The severity of what has this attribution and status.
    pub fn new(attribution: Attribution, status: Status) -> Self {
        match (attribution, status) {
            (Attribution::Local, _) => Self::Local,
            (Attribution::Account, _) => Self::Account,
            (Attribution::Provider, Status::Degraded) => Self::Degraded,
            (Attribution::Provider, _) => Self::Outage,
        }
    }

    /// The severity of an incident.
    pub fn of(incident: &Incident) -> Self {
        Self::new(incident.attribution, incident.status)
    }

    /// The tag of a subject. It is the same in every language, so that mail filters keep working.
    pub fn tag(self) -> &'static str {
        match self {
            Self::Local => "MONITOR",
            Self::Account => "YOUR ACCOUNT",
            Self::Degraded => "DEGRADED",
            Self::Outage => "OUTAGE",
        }
    }

    /// The tag of a subject for the public, which does not learn whose fault it is.
    pub fn public_tag(self) -> &'static str {
        match self {
            Self::Local | Self::Account => "INCIDENT",
            Self::Degraded => "DEGRADED",
            Self::Outage => "OUTAGE",
        }
    }

    /// What people call one incident of this severity.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Local => "local fault",
            Self::Account => "account fault",
            Self::Degraded => "degradation",
            Self::Outage => "outage",
        }
    }

    /// What people call several of them.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Local => "local faults",
            Self::Account => "account faults",
            Self::Degraded => "degradations",
            Self::Outage => "outages",
        }
    }
}
