//! What all worlds have in common: what a probe shows, and when one takes place.

pub(crate) const MINUTE: i64 = 60_000;
pub(crate) const HOUR: i64 = 3_600_000;
pub(crate) const DAY: i64 = 86_400_000;
/// How many endpoints each provider has.
pub(crate) const PER_PROVIDER: usize = 3;

/// A world of either family.
pub(crate) trait Scene: Sync {
    /// How many endpoints it has, three of each provider.
    fn endpoints(&self) -> usize;
    /// How long it is, in milliseconds.
    fn length(&self) -> i64;
    /// What a probe shows that begins at `t`.
    fn probe(&self, endpoint: usize, t: i64, scheduled: bool) -> Probe;
    /// Whether a scheduled probe does not take place.
    fn is_missing(&self, endpoint: usize, t: i64) -> bool;
    /// The usual total: what a person would write a limit against.
    fn usual_total_ms(&self, endpoint: usize) -> f64;

    /// When the scheduled probe at `t`, or the next one that takes place, begins.
    fn scheduled(&self, endpoint: usize, mut t: i64, interval: i64) -> i64 {
        while t < self.length() && self.is_missing(endpoint, t) {
            t += interval;
        }
        t
    }
}

/// How one probe ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Outcome {
    Good,
    Failed,
    Throttled,
    /// Nothing came in time.
    TimedOut,
    /// The monitor's own network is gone, and its connectivity checks say so.
    Offline,
}

/// What one probe showed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probe {
    pub(crate) outcome: Outcome,
    pub(crate) first_token_ms: f64,
    pub(crate) total_ms: f64,
}
