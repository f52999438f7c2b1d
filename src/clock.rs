//! The only place that asks the time.
//!
//! Wall-clock time says when something happened; monotonic time says how long it took and when to wake up. A daemon
//! derives the one from the other so that a stepped wall clock neither skips nor repeats a probe, and compares the two
//! to notice a machine that slept or whose clock was set.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use llmwatch_core::model::Timestamp;

/// Something that reads the wall clock: the system's ([`now`]), or a simulation's.
pub type WallClock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Something that reads how long the machine is up, its sleep included ([`uptime`]), or a simulation's.
pub type Uptime = Arc<dyn Fn() -> Duration + Send + Sync>;

/// The longest that [`age`] believes: more is a clock that was set, or one that the kernel does not go by.
const OLDEST: Duration = Duration::from_secs(10);

/// The system's wall clock.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that may ask"
)]
pub fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// How long the machine is up, sleep included: what nobody can set (`CLOCK_BOOTTIME`).
pub fn uptime() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}

/// How long ago the wall clock read `since_epoch`; nothing for a moment that is still to come, or that lies so far back
/// that the clock must have been set since.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that may ask"
)]
pub fn age(since_epoch: Duration) -> Duration {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    let age = now.saturating_sub(since_epoch);
    if age > OLDEST { Duration::ZERO } else { age }
}

/// A wall clock that goes wrong by more than this at once was set.
const SET: Duration = Duration::from_secs(5);

/// Looks at the wall clock again and again, and notices when it was set: it then disagrees with the time that the machine
/// is up.
pub struct ClockMonitor {
    wall: WallClock,
    uptime: Uptime,
    last: (Timestamp, Duration),
}

/// What a look shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockReading {
    /// What the wall clock reads.
    pub now: Timestamp,
    /// How much time has passed since the last look, a sleep of the machine included.
    pub passed: Duration,
    /// What the wall clock would read, had it not been set since the last look.
    pub set_from: Option<Timestamp>,
}

impl ClockMonitor {
    /// Looks for the first time.
    pub fn new(wall: WallClock, uptime: Uptime) -> Self {
        let last = (wall(), uptime());
        Self { wall, uptime, last }
    }

    /// Looks again.
    pub fn look(&mut self) -> ClockReading {
        let (now, uptime) = ((self.wall)(), (self.uptime)());
        let (then, uptime_then) = std::mem::replace(&mut self.last, (now, uptime));
        let passed = uptime.saturating_sub(uptime_then);
        let expected = then + passed;
        let set = now.since_ms(expected).unsigned_abs() > SET.as_millis() as u64;
        ClockReading {
            now,
            passed,
            set_from: set.then_some(expected),
        }
    }
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
        Self {
            wall,
            mono: Instant::now(),
        }
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
