//! Detects faults of the account. A rejected key or an empty account is certain after two probes
//! and has nothing to do with the provider's health, so a small state machine replaces the meter.

use serde::{Deserialize, Serialize};

use super::{Episode, Policy};
use crate::model::ShiftClock;

/// Consecutive faults that open an alert. As many probes without one resolve it.
const OPEN_AFTER: u32 = 2;
/// Consecutive faults that open an alert about the account's own rate limit. It often passes by
/// itself, so it must also last for `alert_after`. The other faults must if the user has set that.
const OPEN_AFTER_THROTTLED: u32 = 3;
const CLEAR_AFTER: u32 = 2;
const FIRST_RECHECK_MS: i64 = 5_000;
const THROTTLED_GAP_MS: i64 = 20_000;

/// The state of one endpoint's account.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Account {
    run: u32,
    since: i64,
    until: i64,
    open: bool,
    clear: u32,
    /// When the first probe without such a fault since the last faulty one began, in milliseconds.
    clear_since: i64,
    /// Whether the last fault was the account's own rate limit.
    rate_limited: bool,
}

impl Account {
    /// Counts a fault. If it opens an alert, returns when the first fault began and how many there
    /// were.
    pub(super) fn fault(
        &mut self,
        policy: &Policy,
        start: i64,
        end: i64,
        rate_limited: bool,
    ) -> Option<(i64, u32)> {
        if self.run == 0 && !self.open {
            self.since = start;
        }
        self.run += 1;
        self.until = end;
        self.clear = 0;
        self.rate_limited = rate_limited;
        let due = self.is_certain() && end >= self.earliest(policy);
        if self.open || !due {
            return None;
        }
        self.open = true;
        Some((self.since, self.run))
    }

    /// Returns the faults that a good probe ends, if they were too few for an alert.
    pub(super) fn passed(&self) -> Option<Episode> {
        let Self {
            run,
            since,
            until,
            open,
            ..
        } = *self;
        (run > 0 && !open).then_some(Episode {
            since,
            until,
            k: run,
            n: run,
        })
    }

    /// Reports whether an alert is open.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Returns the earliest time at which the faults open an alert, in milliseconds.
    pub(super) fn earliest(&self, policy: &Policy) -> i64 {
        if self.rate_limited || !policy.may_hasten {
            self.since + policy.alert_after_ms
        } else {
            self.since
        }
    }

    /// Reports whether there were enough faults for an alert.
    fn is_certain(&self) -> bool {
        let needed = if self.rate_limited {
            OPEN_AFTER_THROTTLED
        } else {
            OPEN_AFTER
        };
        self.run >= needed
    }

    /// Counts a probe without such a fault, which began at `start`. If it resolves the alert,
    /// returns when the first such probe began.
    pub(super) fn clear(&mut self, start: i64) -> Option<i64> {
        self.run = 0;
        if self.clear == 0 {
            self.clear_since = start;
        }
        self.clear = self.clear.saturating_add(1);
        let over = self.open && self.clear >= CLEAR_AFTER;
        self.open &= !over;
        over.then_some(self.clear_since)
    }

    /// Returns when to recheck after a fault: soon until it is certain, then when it has lasted for
    /// long enough, then on schedule.
    pub(super) fn recheck(
        &self,
        policy: &Policy,
        end: i64,
        tick: i64,
        rate_limited: bool,
        retry_after_ms: Option<i64>,
    ) -> i64 {
        if self.open || !policy.recheck {
            return tick;
        }
        let gap = if rate_limited {
            THROTTLED_GAP_MS
        } else {
            FIRST_RECHECK_MS
        };
        let mut want = end + gap.max(retry_after_ms.unwrap_or(0));
        if self.is_certain() {
            want = want.max(self.earliest(policy));
        }
        tick.min(want)
    }
}

impl ShiftClock for Account {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self {
            since,
            until,
            clear_since,
            run: _,
            open: _,
            clear: _,
            rate_limited: _,
        } = self;
        since.shift_clock(by_ms);
        until.shift_clock(by_ms);
        clear_since.shift_clock(by_ms);
    }
}
