//! What a daemon knows about the other daemons that share its store.

use std::sync::Arc;

use llmwatch_core::alerting::NotificationScheduler;
use llmwatch_core::locations::{LocationVerdict, SharedIncident};
use llmwatch_core::model::{ChannelStats, Sample, Timestamp};

/// Whether the joint verdict of all locations is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// The store has not been reached for a while; the last known state is shown.
    #[default]
    Unreachable,
    /// The store is reached.
    Joined,
    /// The store has not been reached for `alone_after`: this daemon notifies on its own verdict.
    Alone,
}

/// What is known of the other locations.
#[derive(Debug, Clone, Default)]
pub struct SharedView {
    /// Whether it is up to date.
    pub mode: Mode,
    /// Since when it has been outdated.
    pub since: Timestamp,
    /// How far the store's clock is ahead of this machine's, in milliseconds.
    pub offset_ms: i64,
    /// The verdicts of every location.
    pub verdicts: Vec<LocationVerdict>,
    /// The open incidents of all locations.
    pub open: Vec<SharedIncident>,
    /// The state of alerting.
    pub notifications: NotificationScheduler,
    /// Other machines that probe from the same location.
    pub partners: Vec<String>,
    /// Differences between the daemons' configurations.
    pub warnings: Vec<String>,
    /// The locations whose daemons reported recently.
    pub locations: Vec<String>,
    /// What all daemons have spent today: US dollars and tokens.
    pub spent: (f64, u64),
    /// The highest incident number.
    pub last_number: u64,
    /// The state of the shared outbox, per channel.
    pub outbox: Vec<ChannelStats>,
    /// The number of samples spooled on this machine until the store is reachable.
    pub spooled: i64,
}

/// An update from the coordinator.
#[derive(Debug)]
pub struct Update {
    /// The current view.
    pub view: Arc<SharedView>,
    /// Incidents that may have changed.
    pub incidents: Vec<SharedIncident>,
    /// Samples of other daemons.
    pub samples: Vec<Sample>,
    /// Samples whose attribution was revised where they were recorded.
    pub revised: Vec<Sample>,
}
