//! Retry backoff: short while retries are cheap, and jittered so that clients do not synchronize.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::store::MAX_RETRY_AFTER;
use llmwatch_core::model::{ChannelName, Timestamp};

/// The base of the backoff, which doubles with each attempt.
const FIRST: Duration = Duration::from_secs(1);
/// After failing for this long, a receiver is retried less often.
const LONG_OUTAGE: Duration = Duration::from_hours(1);
/// Minimum time between two log lines about a channel's failures.
const LOG_EVERY: Duration = Duration::from_mins(1);

/// The kind of a delivery failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// The connection was refused: nothing listens there, and a retry costs nothing.
    Refused,
    /// A timeout, or an error of the receiver or the network.
    Other,
}

impl Obstacle {
    /// Returns the longest wait between two attempts.
    fn longest(self, failing_for: Duration) -> Duration {
        match (self, failing_for < LONG_OUTAGE) {
            (Self::Refused, true) => Duration::from_secs(2),
            (Self::Other, true) => Duration::from_secs(15),
            (Self::Refused, false) => Duration::from_secs(30),
            (Self::Other, false) => Duration::from_mins(5),
        }
    }
}

/// Returns how long to wait after attempt number `attempt` (from 1) of a channel that has been
/// failing for `failing_for`. The wait is full jitter over a bound that doubles up to the longest
/// wait, but at least as long as the receiver asks. `random` is uniform over 0 to 1.
pub fn backoff(
    attempt: u32,
    obstacle: Obstacle,
    failing_for: Duration,
    retry_after: Option<Duration>,
    random: f64,
) -> Duration {
    let bound = FIRST
        .saturating_mul(1 << attempt.min(10))
        .min(obstacle.longest(failing_for));
    let wait = bound.mul_f64(random.clamp(0.0, 1.0));
    retry_after.map_or(wait, |asked| wait.max(asked.min(MAX_RETRY_AFTER)))
}

/// Rate-limits the log lines about failing channels. All channels share it.
#[derive(Debug, Clone, Default)]
pub(super) struct RetryLog(Arc<Mutex<BTreeMap<ChannelName, Logged>>>);

#[derive(Debug, Clone, Copy)]
struct Logged {
    at: Timestamp,
    /// Failures since then that were not logged.
    suppressed: u64,
}

impl RetryLog {
    /// Counts a failure of `channel` at `now`. If it is to be logged, returns how many were
    /// suppressed before it.
    pub(super) fn is_due(&self, channel: &str, now: Timestamp) -> Option<u64> {
        let mut logged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = logged.get_mut(channel);
        // A clock that was set back must not suppress the log.
        let wait = |entry: &Logged| now >= entry.at && now < entry.at + LOG_EVERY;
        match entry {
            Some(entry) if wait(entry) => {
                entry.suppressed += 1;
                None
            }
            entry => {
                let suppressed = entry.map_or(0, |entry| entry.suppressed);
                let fresh = Logged {
                    at: now,
                    suppressed: 0,
                };
                logged.insert(channel.into(), fresh);
                Some(suppressed)
            }
        }
    }

    /// Resets the count of suppressed failures once the channel delivers again.
    pub(super) fn forget(&self, channel: &str) {
        let mut logged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = logged.get_mut(channel) {
            entry.suppressed = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn waits_grow_to_the_bound_of_their_obstacle() {
        use Obstacle::{Other, Refused};
        let wait =
            |attempt, obstacle, failing_for| backoff(attempt, obstacle, failing_for, None, 1.0);
        assert_eq!(wait(1, Other, SECOND), 2 * SECOND);
        assert_eq!(wait(30, Other, SECOND), 15 * SECOND);
        assert_eq!(wait(30, Refused, SECOND), 2 * SECOND);
        assert_eq!(wait(30, Refused, LONG_OUTAGE), 30 * SECOND);
        assert_eq!(wait(30, Other, LONG_OUTAGE), 300 * SECOND);
        assert_eq!(backoff(5, Other, SECOND, None, 0.0), Duration::ZERO);
    }

    #[test]
    fn a_receiver_may_ask_for_up_to_an_hour() {
        let wait = |asked| backoff(1, Obstacle::Other, SECOND, Some(asked), 0.3);
        assert_eq!(wait(40 * SECOND), 40 * SECOND);
        assert_eq!(wait(Duration::from_hours(24)), MAX_RETRY_AFTER);
    }

    #[test]
    fn failures_of_a_channel_are_logged_once_a_minute() {
        let log = RetryLog::default();
        let at = |seconds: i64| Timestamp(seconds * 1000);
        assert_eq!(log.is_due("a", at(0)), Some(0));
        assert_eq!(log.is_due("a", at(1)), None);
        assert_eq!(log.is_due("b", at(1)), Some(0));
        assert_eq!(log.is_due("a", at(59)), None);
        assert_eq!(log.is_due("a", at(60)), Some(2));
        assert_eq!(log.is_due("a", at(5)), Some(0), "the clock was set back");
    }
}
