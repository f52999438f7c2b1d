//! Reasons to suppress a message.

/// A reason to suppress a message, in order of precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Suppression {
    /// Silences cover every endpoint of the incident.
    Silence,
    /// Maintenance windows cover every endpoint of the incident.
    Maintenance,
    /// The channel's `quiet_hours`.
    QuietHours,
}

/// The reasons that currently apply to one incident on one channel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Suppressions {
    pub(super) silence: bool,
    pub(super) maintenance: bool,
    pub(super) quiet_hours: bool,
}

impl Suppressions {
    /// Returns the first reason that applies.
    pub(super) fn first(self) -> Option<Suppression> {
        if self.silence {
            return Some(Suppression::Silence);
        }
        self.beyond_silence()
    }

    /// Returns the first reason other than a silence that applies.
    pub(super) fn beyond_silence(self) -> Option<Suppression> {
        if self.maintenance {
            return Some(Suppression::Maintenance);
        }
        self.quiet_hours.then_some(Suppression::QuietHours)
    }
}
