//! Outages of a failure domain that are over within minutes and come back on other days: a weekly
//! deploy, a nightly restart.
//!
//! Quiet time divides the domain's failures into outages. A brief outage that affected several
//! endpoints, or led to an alert, is remembered. After two of them on different days, or one at
//! this time of the week, a new outage must outlast the longest of them before it is reported. A
//! complete outage is the exception: it is reported as early as ever, and an outage in which nearly
//! all requests failed is never remembered.

use serde::{Deserialize, Serialize};

use super::{DAY_MS, Policy};
use crate::model::ShiftClock;

/// Failures farther apart than this belong to two outages, unless an alert is open between them.
const QUIET_MS: i64 = 120_000;
/// The longest brief outage, and the shortest that is remembered.
const LONGEST_MS: i64 = 200_000;
const SHORTEST_MS: i64 = 30_000;
/// How much longer than the longest remembered one an outage must last. A length is known only to
/// within about one probe.
const MARGIN_MS: i64 = 60_000;
/// How many outages are remembered, for how long, and the minimum time between two of them or
/// between one and an outage that was not brief.
const MOST: usize = 4;
const REMEMBERED_MS: i64 = 35 * DAY_MS;
const APART_MS: i64 = DAY_MS / 2;
/// How many outages make a pattern. At the same time of the week, within two hours, one is enough.
const PATTERN_FROM: usize = 2;
const WEEK_MS: i64 = 7 * DAY_MS;
const SAME_TIME_MS: i64 = 7_200_000;
/// Failures that make an endpoint part of an outage, and the maximum number of endpoints that are
/// kept.
const CONCERNED_FROM: u32 = 2;
const MAX_ENDPOINTS: usize = 4;
/// The maximum share of failed requests, 0 to 1, in an outage that is remembered.
const MAX_FAILED: f32 = 0.8;
/// Consecutive failures that are a complete outage; and how many are enough once they have lasted
/// for `alert_after`.
const COMPLETE_FROM: u32 = 7;
const COMPLETE_FROM_LASTING: u32 = 3;

/// The brief outages of one failure domain.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct BriefOutages {
    current: Option<OngoingOutage>,
    known: Vec<PastOutage>,
    /// When the last outage that was not brief ended.
    long_until: Option<i64>,
}

/// An outage that has not ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct OngoingOutage {
    since: i64,
    /// When the last failed probe began, and the last one during an alert.
    last: i64,
    open: i64,
    /// Failures; probes of the same endpoints until the last failure; and good probes after it.
    failed: u32,
    probes: u32,
    good: u32,
    /// Consecutive failures, when the first of them began, and when the last one ended.
    run: u32,
    run_since: i64,
    run_until: i64,
    endpoints: Vec<(String, u32)>,
    alerted: bool,
}

/// A brief outage that is over.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct PastOutage {
    at: i64,
    length_ms: i64,
}

impl OngoingOutage {
    /// Reports whether no probe has failed for so long before `start` that the outage is over.
    fn is_over(&self, start: i64) -> bool {
        start - self.last.max(self.open) > QUIET_MS
    }

    fn concerns(&self, endpoint: &str) -> bool {
        self.endpoints.iter().any(|(name, _)| name == endpoint)
    }
}

impl PastOutage {
    /// Reports whether it was at about the same time of an earlier week.
    fn was_at_this_time_of_week(&self, at: i64) -> bool {
        let age = at - self.at;
        let apart = age.rem_euclid(WEEK_MS);
        age >= DAY_MS && apart.min(WEEK_MS - apart) <= SAME_TIME_MS
    }
}

impl BriefOutages {
    /// Counts one probe of the domain.
    pub(super) fn observe(&mut self, endpoint: &str, (start, end): (i64, i64), failed: bool) {
        if self.current.as_ref().is_some_and(|o| o.is_over(start)) {
            self.finish();
        }
        if !failed {
            if let Some(outage) = self.current.as_mut().filter(|o| o.concerns(endpoint)) {
                outage.good += 1;
                outage.run = 0;
            }
            return;
        }
        let outage = self.current.get_or_insert_with(|| OngoingOutage {
            since: start,
            last: start,
            ..OngoingOutage::default()
        });
        outage.last = outage.last.max(start);
        let concerned = &mut outage.endpoints;
        match concerned.iter().position(|(name, _)| name == endpoint) {
            Some(place) => concerned[place].1 += 1,
            None if concerned.len() < MAX_ENDPOINTS => concerned.push((endpoint.to_owned(), 1)),
            None => return,
        }
        outage.failed += 1;
        outage.probes += 1 + std::mem::take(&mut outage.good);
        if outage.run == 0 {
            outage.run_since = start;
        }
        outage.run += 1;
        outage.run_until = end;
    }

    /// Notes that an alert about failures is open at `start`.
    pub(super) fn alert(&mut self, start: i64) {
        if let Some(outage) = &mut self.current {
            outage.alerted = true;
            outage.open = outage.open.max(start);
        }
    }

    /// Returns until when the current failures may be a recurring brief outage. An `alert_after`
    /// that the user set always binds.
    pub(super) fn explains_until(&self, policy: &Policy) -> Option<i64> {
        let outage = self.current.as_ref().filter(|_| policy.may_hasten)?;
        let longest_ms = self.longest(outage.since)?;
        let lasts = outage.run_until - outage.run_since >= policy.alert_after_ms;
        let is_complete =
            outage.run >= COMPLETE_FROM || (lasts && outage.run >= COMPLETE_FROM_LASTING);
        let may_be_it = !outage.alerted && !is_complete;
        may_be_it.then_some(outage.since + longest_ms + MARGIN_MS)
    }

    /// Returns the length of the longest remembered outage that may recur at `at`, in milliseconds.
    fn longest(&self, at: i64) -> Option<i64> {
        let remembered = self.known.iter().filter(|k| at - k.at <= REMEMBERED_MS);
        let is_pattern = remembered.clone().count() >= PATTERN_FROM;
        remembered
            .filter(|k| is_pattern || k.was_at_this_time_of_week(at))
            .map(|k| k.length_ms)
            .max()
    }

    fn finish(&mut self) {
        let Some(outage) = self.current.take() else {
            return;
        };
        let length_ms = outage.last - outage.since;
        let concerned = outage.endpoints.iter();
        let is_shared = concerned.filter(|(_, n)| *n >= CONCERNED_FROM).count() >= 2;
        if !(is_shared || outage.alerted) {
            return;
        }
        if length_ms > LONGEST_MS {
            // A brief outage shortly before a long one was its beginning.
            self.known.retain(|k| outage.since - k.at >= APART_MS);
            self.long_until = Some(outage.last);
            return;
        }
        let failed_share = outage.failed as f32 / outage.probes.max(1) as f32;
        let is_rest = self
            .long_until
            .is_some_and(|at| outage.since - at < APART_MS);
        if length_ms < SHORTEST_MS || failed_share > MAX_FAILED || is_rest {
            return;
        }
        match self.known.last_mut() {
            Some(last) if outage.since - last.at < APART_MS => {
                last.length_ms = last.length_ms.max(length_ms);
            }
            _ => self.known.push(PastOutage {
                at: outage.since,
                length_ms,
            }),
        }
        if self.known.len() > MOST {
            self.known.remove(0);
        }
    }
}

impl ShiftClock for BriefOutages {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self {
            current,
            known,
            long_until,
        } = self;
        current.shift_clock(by_ms);
        known.shift_clock(by_ms);
        long_until.shift_clock(by_ms);
    }
}

impl ShiftClock for OngoingOutage {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self {
            since,
            last,
            open,
            failed: _,
            probes: _,
            good: _,
            run: _,
            run_since,
            run_until,
            endpoints: _,
            alerted: _,
        } = self;
        since.shift_clock(by_ms);
        last.shift_clock(by_ms);
        open.shift_clock(by_ms);
        run_since.shift_clock(by_ms);
        run_until.shift_clock(by_ms);
    }
}

impl ShiftClock for PastOutage {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self { at, length_ms: _ } = self;
        at.shift_clock(by_ms);
    }
}
