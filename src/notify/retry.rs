//! When an attempt that failed is repeated: soon while it costs little, and never in step with other clients.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use llmwatch_core::model::{ChannelName, Timestamp};

/// The bound of the wait after the first attempt; it doubles with each further one.
const FIRST: Duration = Duration::from_secs(1);
/// After failures for this long the receiver is tried more rarely.
const LONG_OUTAGE: Duration = Duration::from_hours(1);
/// The longest that a receiver may ask us to wait.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);
/// From one log line about a channel's failures to the next.
const LOG_EVERY: Duration = Duration::from_mins(1);

/// What stood in the way of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// The connection was refused: nothing listens there, and asking again costs nothing.
    Refused,
    /// A timeout, an error of the receiver or of the network.
    Other,
}

impl Obstacle {
    /// The longest wait between two attempts.
    fn longest(self, failing_for: Duration) -> Duration {
        match (self, failing_for < LONG_OUTAGE) {
            (Self::Refused, true) => Duration::from_secs(2),
            (Self::Other, true) => Duration::from_secs(15),
            (Self::Refused, false) => Duration::from_secs(30),
            (Self::Other, false) => Duration::from_mins(5),
        }
    }
}

/// How long to wait before the attempt after number `attempt` (from 1) of a channel that has been failing for
/// `failing_for`: full jitter over a bound that doubles from one second to the longest wait, but at least as long as the
/// receiver asks. `random` is evenly spread over 0 to 1.
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

/// Limits the log lines about failing channels. One for all channels.
#[derive(Debug, Clone, Default)]
pub(super) struct RetryLog(Arc<Mutex<BTreeMap<ChannelName, Logged>>>);

#[derive(Debug, Clone, Copy)]
struct Logged {
    at: Timestamp,
    /// Failures since then that were not logged.
    suppressed: u64,
}

impl RetryLog {
    /// Counts a failure of `channel` at `now`: how many were not logged before it, if it is to be logged.
    pub(super) fn is_due(&self, channel: &str, now: Timestamp) -> Option<u64> {
        let mut logged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = logged.get_mut(channel);
        // A clock that was set back must not silence the log.
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

    /// The channel delivers again: its next failure is reported anew.
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
