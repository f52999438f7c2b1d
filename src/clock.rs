//! The only module that reads the time.
//!
//! Wall-clock time says when something happened; monotonic time says how long it took and when to
//! wake up. The daemon derives wall-clock time from monotonic time, so that a stepped wall clock
//! neither skips nor repeats a probe. It compares the two to detect that the machine slept or that
//! its clock was set.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use llmwatch_core::model::{Timestamp, is_plausible};

/// Reads the wall clock: the system's ([`now`]) or a simulation's.
pub type WallClock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Reads the machine's uptime, sleep included: the system's ([`uptime`]) or a simulation's.
pub type Uptime = Arc<dyn Fn() -> Duration + Send + Sync>;

/// The longest age that [`age`] accepts. A greater one means that the clock was set, or that the
/// kernel does not use this clock.
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

/// The machine's uptime, sleep included (`CLOCK_BOOTTIME`). Nobody can set it.
pub fn uptime() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}

/// Returns how long ago the wall clock read `since_epoch`. Returns zero for a time in the future,
/// and for one so old that the clock must have been set since.
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

/// A wall clock that jumps by more than this was set.
const SET: Duration = Duration::from_secs(5);

/// Reads the wall clock repeatedly and compares it with the uptime, to detect that the clock was
/// set.
pub struct ClockMonitor {
    wall: WallClock,
    uptime: Uptime,
    last: (Timestamp, Duration, Instant),
}

/// One reading of a [`ClockMonitor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockReading {
    /// What the wall clock reads.
    pub now: Timestamp,
    /// The time since the last reading, sleep of the machine included.
    pub passed: Duration,
    /// How much of it the machine was suspended: the uptime counts that, monotonic time does not.
    pub suspended: Duration,
    /// What the wall clock would read if it had not been set since the last reading. `None` if it
    /// was not set.
    pub set_from: Option<Timestamp>,
}

impl ClockMonitor {
    /// Takes the first reading.
    pub fn new(wall: WallClock, uptime: Uptime) -> Self {
        let last = (wall(), uptime(), Instant::now());
        Self { wall, uptime, last }
    }

    /// Takes the next reading.
    pub fn read(&mut self) -> ClockReading {
        let now = (self.wall)();
        let uptime = (self.uptime)();
        let awake = Instant::now();
        let (then, uptime_then, awake_then) =
            std::mem::replace(&mut self.last, (now, uptime, awake));
        let passed = uptime.saturating_sub(uptime_then);
        let suspended = passed.saturating_sub(awake.saturating_duration_since(awake_then));
        let expected = then + passed;
        let set = now.since_ms(expected).unsigned_abs() > SET.as_millis() as u64;
        ClockReading {
            now,
            passed,
            suspended,
            set_from: set.then_some(expected),
        }
    }
}

/// The clock by which stored times are meant: the wall clock, but set only when the stored times
/// are shifted as well. Until then it tells how far they are apart.
pub struct StoredClock {
    wall: WallClock,
    uptime: Uptime,
    /// When both last agreed.
    last: (Timestamp, Duration),
}

impl StoredClock {
    /// Creates a clock that now reads `now`.
    pub fn starting_at(now: Timestamp, wall: WallClock, uptime: Uptime) -> Self {
        let last = (now, uptime());
        Self { wall, uptime, last }
    }

    /// Reports whether the wall clock was set and the stored times do not follow it yet.
    pub fn is_behind(&mut self) -> bool {
        let now = (self.wall)();
        let uptime = (self.uptime)();
        let (then, uptime_then) = self.last;
        let expected = then + uptime.saturating_sub(uptime_then);
        // Nothing follows a clock that was not set at all yet, or that is set to nonsense.
        let may_follow = is_plausible(expected) && is_plausible(now);
        let is_set = now.since_ms(expected).unsigned_abs() > SET.as_millis() as u64;
        let is_behind = is_set && may_follow;
        if !is_behind {
            self.last = (now, uptime);
        }
        is_behind
    }

    /// Returns the current time by this clock.
    pub fn now(&mut self) -> Timestamp {
        let wall = (self.wall)();
        if !self.is_behind() {
            return wall;
        }
        let (then, uptime_then) = self.last;
        then + (self.uptime)().saturating_sub(uptime_then)
    }

    /// Follows the wall clock: stored times are shifted by `by_ms`.
    pub fn shift(&mut self, by_ms: i64) {
        self.last.0.0 += by_ms;
    }
}

impl std::fmt::Debug for StoredClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredClock")
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

/// A clock that reads the wall clock once and then follows monotonic time, which a test can pause
/// and advance.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    wall: Timestamp,
    mono: Instant,
}

impl Clock {
    /// Creates a clock that reads `wall` now.
    pub fn starting_at(wall: Timestamp) -> Self {
        Self {
            wall,
            mono: Instant::now(),
        }
    }

    /// The current time: the wall clock at the start plus the monotonic time since.
    pub fn now(&self) -> Timestamp {
        self.wall + self.mono.elapsed()
    }

    /// The monotonic instant at which this clock will read `at`; now, if `at` has passed.
    pub fn instant_of(&self, at: Timestamp) -> Instant {
        self.mono + Duration::from_millis(at.since_ms(self.wall).max(0).unsigned_abs())
    }

    /// How far the wall clock is ahead of this clock, in milliseconds: positive after a sleep of
    /// the machine or a step forward, negative after a step back.
    pub fn drift_ms(&self, wall: Timestamp) -> i64 {
        wall.since_ms(self.now())
    }
}
