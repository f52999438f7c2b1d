//! A clock that is set: what began before it and is still open keeps its length.
//!
//! The daemon notices a clock that is set while it runs, and moves the state along, which is recorded as a checkpoint. A
//! clock that was set back shows in the samples themselves, which then end before those that came before them; so a
//! replay, and a start after the clock was put right, come to the same. One that was set forwards while nobody looked
//! cannot be distinguished from a time in which nothing was probed, and is treated as that.

use std::time::Duration;

use super::{Effects, Fact, MonitorState, Record};
use crate::model::{ShiftClock as _, Timestamp, is_plausible};

/// Results come in the order in which they end but for a few seconds. More is a clock that was set back.
const SET_BACK: Duration = Duration::from_mins(1);
impl MonitorState {
    /// By how much the clock was set back since the last sample, if `now` shows that it was.
    pub fn set_back(&self, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        set_back(self.state.latest, now)
    }

    /// Follows a clock that would read `from` and reads `to`.
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

    /// Notices in a sample that ends at `at` that the clock was set back before it.
    pub(super) fn follow_back(&mut self, at: Timestamp) {
        if let Some((from, to)) = self.set_back(at) {
            self.state.shift_clock(to.since_ms(from));
        }
        self.state.latest = self.state.latest.max(Some(at));
    }

    /// The same for what is at hand of the last samples, which no checkpoint holds.
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

/// From when to when the clock was set, if it reads `now` and something ended at `latest` before.
fn set_back(latest: Option<Timestamp>, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
    latest
        .filter(|latest| is_plausible(now) && *latest > now + SET_BACK)
        .map(|latest| (latest, now))
}
