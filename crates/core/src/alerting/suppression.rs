//! Why a message is not sent now although there is something to send.

/// A reason, in the order in which they are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Suppression {
    /// Somebody silenced every endpoint of the incident.
    Silence,
    /// Every endpoint of the incident is in a maintenance window.
    Maintenance,
    /// The channel's `quiet_hours`.
    QuietHours,
}

/// The reasons that hold for one incident and one channel at one time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Suppressions {
    pub(super) silence: bool,
    pub(super) maintenance: bool,
    pub(super) quiet_hours: bool,
}

impl Suppressions {
    /// The first reason that holds.
    pub(super) fn first(self) -> Option<Suppression> {
        if self.silence {
            return Some(Suppression::Silence);
        }
        self.beyond_silence()
    }

    /// The first reason that holds for what a silence does not suppress.
    pub(super) fn beyond_silence(self) -> Option<Suppression> {
        if self.maintenance {
            return Some(Suppression::Maintenance);
        }
        self.quiet_hours.then_some(Suppression::QuietHours)
    }
}
