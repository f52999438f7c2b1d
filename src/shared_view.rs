//! What a daemon knows of the others that share its store.

use std::sync::Arc;

use llmwatch_core::alerting::NotificationScheduler;
use llmwatch_core::locations::{LocationVerdict, SharedIncident};
use llmwatch_core::model::{ChannelStats, Sample, Timestamp};

/// Whether the verdict of all is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// The store was not reached for a while; what was known last is shown.
    #[default]
    Unreachable,
    /// The store is reached.
    Joined,
    /// The store was not reached for `alone_after`: this daemon notifies by its own verdict.
    Alone,
}

/// What is known of the other locations.
#[derive(Debug, Clone, Default)]
pub struct SharedView {
    /// Whether it is up to date.
    pub mode: Mode,
    /// Since when it is not.
    pub since: Timestamp,
    /// How far the store's clock is ahead of this machine's, in milliseconds.
    pub offset_ms: i64,
    /// Every location's verdicts.
    pub verdicts: Vec<LocationVerdict>,
    /// The open incidents of all.
    pub open: Vec<SharedIncident>,
    /// What alerting has decided.
    pub notifications: NotificationScheduler,
    /// Machines that probe from the same location.
    pub partners: Vec<String>,
    /// What the configurations of the daemons differ in.
    pub warnings: Vec<String>,
    /// The locations whose daemons have reported lately.
    pub locations: Vec<String>,
    /// What all daemons spent today: US dollars and tokens.
    pub spent: (f64, u64),
    /// The greatest number of an incident.
    pub last_number: u64,
    /// How the outbox of all stands.
    pub outbox: Vec<ChannelStats>,
    /// Samples that wait on this machine for the store.
    pub spooled: i64,
}

/// What the coordinator brings.
#[derive(Debug)]
pub struct Update {
    /// What is known now.
    pub view: Arc<SharedView>,
    /// Incidents that may have changed.
    pub incidents: Vec<SharedIncident>,
    /// Samples of other daemons.
    pub samples: Vec<Sample>,
}
