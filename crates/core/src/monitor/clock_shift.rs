//! Handles clock changes: what began before one and is still open keeps its duration.
//!
//! The daemon detects a clock change while it runs, shifts the state and records it as a
//! checkpoint. A clock that was set back also shows in the samples, which then end before earlier
//! ones. So a replay, or a start after the clock was corrected, reaches the same state. A clock
//! that was set forward while the daemon was stopped looks like a gap in probing, and is treated as
//! one.

use std::time::Duration;

use super::{Effects, Fact, MonitorState, Record};
use crate::model::{ShiftClock as _, Timestamp, is_plausible};

/// Results arrive in the order in which they end, within a few seconds. A larger step back is a
/// clock that was set back.
const SET_BACK: Duration = Duration::from_mins(1);
impl MonitorState {
    /// Returns the times before and after the clock was set back, if `now` shows that it was since
    /// the last sample.
    pub fn set_back(&self, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        set_back(self.state.latest, now)
    }

    /// Shifts the state after a clock that would read `from` was set to `to`.
    pub fn follow_clock(&mut self, from: Timestamp, to: Timestamp) -> Effects {
        let by_ms = to.since_ms(from);
        self.state.shift_clock(by_ms);
        self.recents
            .values_mut()
            .for_each(|recent| recent.shift_clock(by_ms));
        self.remembered = self.remembered.map(|at| Timestamp(at.0 + by_ms));
        let mut step = Effects::default();
        step.record(Record::Checkpoint(self.checkpoint()));
        step.record(Record::ClockSet { from, to });
        step.log(Fact::ClockSet { from, to });
        step
    }

    /// Shifts the state if a sample that ends at `at` shows that the clock was set back.
    pub(super) fn follow_back(&mut self, at: Timestamp) {
        if let Some((from, to)) = self.set_back(at) {
            self.state.shift_clock(to.since_ms(from));
        }
        self.state.latest = self.state.latest.max(Some(at));
    }

    /// Does the same for the recent samples.
    pub(super) fn follow_recents(&mut self, at: Timestamp) {
        if let Some((from, to)) = set_back(self.remembered, at) {
            self.recents
                .values_mut()
                .for_each(|recent| recent.shift_clock(to.since_ms(from)));
            self.remembered = None;
        }
        self.remembered = self.remembered.max(Some(at));
    }
}

/// Returns the times before and after the clock was set back, if it reads `now` but something ended
/// at `latest`.
fn set_back(latest: Option<Timestamp>, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
    latest
        .filter(|latest| is_plausible(now) && *latest > now + SET_BACK)
        .map(|latest| (latest, now))
}
