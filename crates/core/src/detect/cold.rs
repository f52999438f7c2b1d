//! Detects cold starts. A server that loads its model on demand answers late, or not at all, after
//! an idle period, and at once when it is asked again.
//!
//! A scheduled probe that timed out or was very late, followed by a good recheck, is a pair. Where
//! pairs are frequent and a recheck never times out, the first probe of a pair is held back until
//! the recheck shows what it was: a cold start does not count, anything else counts in full.

use serde::{Deserialize, Serialize};

use super::Policy;
use crate::model::ShiftClock;

/// Pairs among about the last 200 scheduled probes from which cold starts are expected, and below
/// which they are not expected any more.
const KNOWN_FROM: f64 = 4.0;
const KNOWN_UNTIL: f64 = 0.5;
const MEMORY: f64 = 1.0 - 1.0 / 200.0;
/// Pairs from which advice is given.
const FREQUENT_FROM: f64 = 6.0;
/// The factor on the pairs after a recheck timed out: a cold server would be warm by then.
const DOUBT: f64 = 0.3;
/// An answer, or a timeout, is very late from this many milliseconds, and from this many times the
/// typical value.
const LATE_MS: f64 = 5_000.0;
const LATE_FACTOR: f64 = 12.0;
/// A recheck that comes later than this says nothing about an idle server.
const RECHECK_WITHIN_MS: i64 = 60_000;

/// The cold starts of one endpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct ColdStarts {
    /// Number of pairs, with decay.
    pairs: f64,
    known: bool,
    /// The first of a pair whose recheck is outstanding.
    first: Option<First>,
}

/// A probe that may have met a cold server.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct First {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) failed: bool,
    /// Whether it has not been counted yet.
    pub(super) held: bool,
}

/// What the first probe of a pair turned out to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Pair {
    /// There was none.
    None,
    /// It was a cold start. `new` if cold starts are expected from now on.
    Cold { new: bool },
    /// It was something else. If it was held back, it counts now.
    Other(Option<First>),
}

/// What matters about one probe for cold starts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Probe {
    pub(super) start: i64,
    pub(super) end: i64,
    /// Whether it was scheduled, or came after a pause.
    pub(super) after_pause: bool,
    pub(super) failed: bool,
    pub(super) timed_out: bool,
    pub(super) first_token_ms: Option<f64>,
    pub(super) typical_ms: Option<f64>,
}

impl Probe {
    fn is_late(&self) -> bool {
        let waited_ms = if self.timed_out {
            Some((self.end - self.start) as f64)
        } else {
            self.first_token_ms
        };
        let least = LATE_MS.max(LATE_FACTOR * self.typical_ms.unwrap_or(0.0));
        waited_ms.is_some_and(|ms| ms >= least)
    }
}

impl ColdStarts {
    /// Returns what the probe shows about the one before it.
    pub(super) fn judge_first(&mut self, policy: &Policy, probe: &Probe) -> Pair {
        let late = probe.is_late();
        let Some(first) = self.first.take() else {
            if late && !probe.after_pause {
                self.doubt();
            }
            return Pair::None;
        };
        if probe.failed
            || late
            || probe.start - first.end > RECHECK_WITHIN_MS.max(policy.interval_ms)
        {
            if late {
                self.doubt();
            }
            return Pair::Other(Some(first).filter(|f| f.held));
        }
        self.pairs += 1.0;
        let new = !self.known && self.pairs >= KNOWN_FROM;
        self.known |= new;
        Pair::Cold { new }
    }

    /// Reports whether the probe is held back until its recheck.
    pub(super) fn holds(&mut self, policy: &Policy, probe: &Probe) -> bool {
        if probe.after_pause {
            self.pairs *= MEMORY;
            self.known &= self.pairs >= KNOWN_UNTIL;
        }
        if !(probe.after_pause && probe.is_late()) {
            return false;
        }
        let held = policy.recheck && (self.known || policy.expect_cold_start);
        self.first = Some(First {
            start: probe.start,
            end: probe.end,
            failed: probe.failed,
            held,
        });
        held
    }

    /// Reports whether cold starts are frequent enough for advice.
    pub(super) fn is_frequent(&self) -> bool {
        self.known && self.pairs >= FREQUENT_FROM
    }

    fn doubt(&mut self) {
        self.pairs *= DOUBT;
        self.known &= self.pairs >= KNOWN_UNTIL;
    }
}

impl ShiftClock for ColdStarts {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self {
            first,
            pairs: _,
            known: _,
        } = self;
        first.shift_clock(by_ms);
    }
}

impl ShiftClock for First {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self {
            start,
            end,
            failed: _,
            held: _,
        } = self;
        start.shift_clock(by_ms);
        end.shift_clock(by_ms);
    }
}
