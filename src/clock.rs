//! The only place that asks the time.
//!
//! Wall-clock time says when something happened; monotonic time says how long it took and when to wake up. A daemon
//! derives the one from the other so that a stepped wall clock neither skips nor repeats a probe, and compares the two
//! to notice a machine that slept.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::model::Timestamp;

/// Something that reads the wall clock: the system's ([`now`]), or a simulation's.
pub type Wall = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The system's wall clock.
#[expect(clippy::disallowed_methods, reason = "this is the one place that may ask")]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// How long ago the wall clock read `since_epoch`; nothing for a moment that is still to come. Only for moments just
/// past: a clock that was set meanwhile makes it wrong.
#[expect(clippy::disallowed_methods, reason = "this is the one place that may ask")]
pub fn age(since_epoch: Duration) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    now.saturating_sub(since_epoch)
}

/// A clock that reads the wall once and then follows monotonic time (which a test can pause and advance).
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    wall: Timestamp,
    mono: Instant,
}

impl Clock {
    /// A clock that reads `wall` now.
    pub fn starting_at(wall: Timestamp) -> Self {
        Self { wall, mono: Instant::now() }
    }

    /// The time, as the wall clock at the start plus the monotonic time since.
    pub fn now(&self) -> Timestamp {
        self.wall + self.mono.elapsed()
    }

    /// The monotonic instant at which this clock will read `at`; now, if that has passed.
    pub fn instant_of(&self, at: Timestamp) -> Instant {
        self.mono + Duration::from_millis(at.since_ms(self.wall).max(0).unsigned_abs())
    }

    /// How far the wall clock has run away from this one, in milliseconds: positive after a sleep of the machine or a
    /// step forward, negative after a step back.
    pub fn drift_ms(&self, wall: Timestamp) -> i64 {
        wall.since_ms(self.now())
    }
}
