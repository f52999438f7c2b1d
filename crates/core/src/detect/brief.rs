//! Outages of a failure domain that are over within minutes and come back on other days: a weekly
//! deploy, a nightly restart.
//!
//! The domain's failures are cut into outages by quiet time. An outage that concerned several
//! endpoints, or led to an alert, and was brief is remembered. Once there were two on different
//! days, or one at this time of the week, a new one has to outlast the longest of them, unless
//! nothing but failures is seen: a complete outage is reported as early as ever, and an outage in
//! which nearly all requests failed is never remembered.

use serde::{Deserialize, Serialize};

use super::{DAY_MS, Policy};
use crate::model::ShiftClock;

/// Failures further apart than this belong to two outages, unless an alert is open between them.
const QUIET_MS: i64 = 120_000;
/// An outage is brief up to this length, and worth remembering from this one on.
const LONGEST_MS: i64 = 200_000;
const SHORTEST_MS: i64 = 30_000;
/// So much longer than the longest one an outage has to last: its length is known to a probe or so.
const MARGIN_MS: i64 = 60_000;
/// How many are remembered, for how long, and how far apart two have to be, or one from an outage that was not brief.
const MOST: usize = 4;
const REMEMBERED_MS: i64 = 35 * DAY_MS;
const APART_MS: i64 = DAY_MS / 2;
/// How many make a pattern; at the same time of the week a single one does, within two hours.
const PATTERN_FROM: usize = 2;
const WEEK_MS: i64 = 7 * DAY_MS;
const SAME_TIME_MS: i64 = 7_200_000;
/// Failures of one endpoint that make it a part of the outage, and of how many endpoints that is kept.
const CONCERNED_FROM: u32 = 2;
const MOST_ENDPOINTS: usize = 4;
/// No more than this share of the requests has failed in what is remembered.
const MOST_FAILED: f32 = 0.8;
/// So many failures in a row are a complete outage; so many are when they have lasted for `alert_after`.
const COMPLETE_FROM: u32 = 7;
const COMPLETE_FROM_LASTING: u32 = 3;

/// The brief outages of one failure domain.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct BriefOutages {
    current: Option<OngoingOutage>,
    known: Vec<PastOutage>,
    /// When the last outage ended that was not brief.
    long_until: Option<i64>,
}

/// Failures that have not ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct OngoingOutage {
    since: i64,
    /// The start of the last failed probe, and of the last one during an alert.
    last: i64,
    open: i64,
    /// Failures, and probes of the same endpoints: until the last failure, and after it.
    failed: u32,
    probes: u32,
    good: u32,
    /// Failures in a row, when the first of them began, and when the last one ended.
    run: u32,
    run_since: i64,
    run_until: i64,
    endpoints: Vec<(String, u32)>,
    alerted: bool,
}

/// A brief outage of the past.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct PastOutage {
    at: i64,
    length_ms: i64,
}

impl BriefOutages {
    /// Counts one probe of the domain.
    pub(super) fn observe(&mut self, endpoint: &str, (start, end): (i64, i64), failed: bool) {
        let is_over = |s: &OngoingOutage| start - s.last.max(s.open) > QUIET_MS;
        if self.current.as_ref().is_some_and(is_over) {
            self.finish();
        }
        if !failed {
            let concerned =
                |s: &&mut OngoingOutage| s.endpoints.iter().any(|(name, _)| name == endpoint);
            if let Some(outage) = self.current.as_mut().filter(concerned) {
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
            None if concerned.len() < MOST_ENDPOINTS => concerned.push((endpoint.to_owned(), 1)),
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

    /// An alert of failures is open at `start`.
    pub(super) fn alert(&mut self, start: i64) {
        if let Some(outage) = &mut self.current {
            outage.alerted = true;
            outage.open = outage.open.max(start);
        }
    }

    /// Until when the current failures may be an outage that recurs. Settings of the user always bind.
    pub(super) fn explains_until(&self, policy: &Policy) -> Option<i64> {
        let outage = self.current.as_ref().filter(|_| policy.may_hasten)?;
        let longest_ms = self.longest(outage.since)?;
        let lasts = outage.run_until - outage.run_since >= policy.alert_after_ms;
        let is_complete =
            outage.run >= COMPLETE_FROM || (lasts && outage.run >= COMPLETE_FROM_LASTING);
        let may_be_it = !outage.alerted && !is_complete;
        may_be_it.then_some(outage.since + longest_ms + MARGIN_MS)
    }

    /// How long what recurs at `at` has lasted at the most, in milliseconds.
    fn longest(&self, at: i64) -> Option<i64> {
        let age = |k: &&PastOutage| at - k.at;
        let remembered = self.known.iter().filter(|k| age(k) <= REMEMBERED_MS);
        let is_pattern = remembered.clone().count() >= PATTERN_FROM;
        let at_this_time = |k: &&PastOutage| {
            let apart = age(k).rem_euclid(WEEK_MS);
            age(k) >= DAY_MS && apart.min(WEEK_MS - apart) <= SAME_TIME_MS
        };
        remembered
            .filter(|k| is_pattern || at_this_time(k))
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
            // What was brief shortly before it was its beginning.
            self.known.retain(|k| outage.since - k.at >= APART_MS);
            self.long_until = Some(outage.last);
            return;
        }
        let failed_share = outage.failed as f32 / outage.probes.max(1) as f32;
        let is_rest = self
            .long_until
            .is_some_and(|at| outage.since - at < APART_MS);
        if length_ms < SHORTEST_MS || failed_share > MOST_FAILED || is_rest {
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
