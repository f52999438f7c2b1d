//! Outages of a failure domain that are over within minutes and come back on other days: a weekly
//! deploy, a nightly restart.
//!
//! The domain's failures are cut into stretches by quiet time. A stretch that concerned several
//! endpoints, or led to an alert, and was brief is remembered. Once there were two on different
//! days, or one at this time of the week, a new one has to outlast the longest of them, unless it
//! is clearly worse than they were: where half of the requests failed, nine failures in a row are
//! something else. An outage in which nearly all requests failed is never remembered: the next
//! complete outage is reported as early as the first.

use serde::{Deserialize, Serialize};

use super::{DAY_MS, Policy};

/// Failures further apart than this belong to two stretches, unless an alert is open between them.
const QUIET_MS: i64 = 120_000;
/// A stretch is brief up to this length, and worth remembering from this one on.
const LONGEST_MS: i64 = 200_000;
const SHORTEST_MS: i64 = 30_000;
/// So much longer than the longest one a stretch has to last: its length is known to a probe or so.
const MARGIN_MS: i64 = 60_000;
/// How many are remembered, for how long, and how far apart two have to be.
const MOST: usize = 4;
const REMEMBERED_MS: i64 = 35 * DAY_MS;
const APART_MS: i64 = DAY_MS / 2;
/// How many make a pattern; at the same time of the week a single one does, within two hours.
const PATTERN_FROM: usize = 2;
const WEEK_MS: i64 = 7 * DAY_MS;
const SAME_TIME_MS: i64 = 7_200_000;
/// Failures of one endpoint that make it a part of the stretch, and of how many endpoints that is kept.
const CONCERNED_FROM: u32 = 2;
const MOST_ENDPOINTS: usize = 4;
/// No more than this share of the requests has failed in what is remembered.
const MOST_FAILED: f32 = 0.8;
/// The share of failures of an outage that is worse, and the evidence that it is one, in nats.
const WORSE_SHARE: f64 = 0.95;
const WORSE_FROM: f64 = 4.6;

/// The brief outages of one failure domain.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct BriefOutages {
    current: Option<Stretch>,
    known: Vec<Known>,
}

/// Failures that go on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Stretch {
    since: i64,
    /// The start of the last failed probe, and of the last one during an alert.
    last: i64,
    open: i64,
    /// Failures, and probes of the same endpoints: until the last failure, and after it.
    failed: u32,
    probes: u32,
    good: u32,
    /// The evidence that it is worse than those before it.
    worse: f64,
    endpoints: Vec<(String, u32)>,
    alerted: bool,
}

/// A brief outage of the past.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Known {
    at: i64,
    length_ms: i64,
    failed_share: f32,
}

impl BriefOutages {
    /// Counts one probe of the domain.
    pub(super) fn observe(&mut self, endpoint: &str, start: i64, failed: bool) {
        let is_over = |s: &Stretch| start - s.last.max(s.open) > QUIET_MS;
        if self.current.as_ref().is_some_and(is_over) {
            self.finish();
        }
        let share = self.known.iter().map(|k| k.failed_share);
        let share = f64::from(share.fold(0.0, f32::max)).clamp(0.05, WORSE_SHARE);
        if !failed {
            let concerned = |s: &&mut Stretch| s.endpoints.iter().any(|(name, _)| name == endpoint);
            if let Some(stretch) = self.current.as_mut().filter(concerned) {
                stretch.good += 1;
                let step = ((1.0 - WORSE_SHARE) / (1.0 - share)).ln();
                stretch.worse = (stretch.worse + step).max(0.0);
            }
            return;
        }
        let stretch = self.current.get_or_insert_with(|| Stretch {
            since: start,
            last: start,
            ..Stretch::default()
        });
        stretch.last = stretch.last.max(start);
        let concerned = &mut stretch.endpoints;
        match concerned.iter().position(|(name, _)| name == endpoint) {
            Some(place) => concerned[place].1 += 1,
            None if concerned.len() < MOST_ENDPOINTS => concerned.push((endpoint.to_owned(), 1)),
            None => return,
        }
        stretch.failed += 1;
        stretch.probes += 1 + std::mem::take(&mut stretch.good);
        stretch.worse += (WORSE_SHARE / share).ln();
    }

    /// An alert of failures is open at `start`.
    pub(super) fn alert(&mut self, start: i64) {
        if let Some(stretch) = &mut self.current {
            stretch.alerted = true;
            stretch.open = stretch.open.max(start);
        }
    }

    /// Until when the failures that go on may be what recurs. Settings of the user always bind.
    pub(super) fn explains_until(&self, policy: &Policy) -> Option<i64> {
        let stretch = self.current.as_ref().filter(|_| policy.may_hasten)?;
        let longest_ms = self.longest(stretch.since)?;
        let is_same = !stretch.alerted && stretch.worse < WORSE_FROM;
        is_same.then_some(stretch.since + longest_ms + MARGIN_MS)
    }

    /// How long what recurs at `at` has lasted at the most, in milliseconds.
    fn longest(&self, at: i64) -> Option<i64> {
        let age = |k: &&Known| at - k.at;
        let remembered = self.known.iter().filter(|k| age(k) <= REMEMBERED_MS);
        let is_pattern = remembered.clone().count() >= PATTERN_FROM;
        let at_this_time = |k: &&Known| {
            let apart = age(k).rem_euclid(WEEK_MS);
            age(k) >= DAY_MS && apart.min(WEEK_MS - apart) <= SAME_TIME_MS
        };
        remembered
            .filter(|k| is_pattern || at_this_time(k))
            .map(|k| k.length_ms)
            .max()
    }

    fn finish(&mut self) {
        let Some(stretch) = self.current.take() else {
            return;
        };
        let length_ms = stretch.last - stretch.since;
        let concerned = stretch.endpoints.iter();
        let is_shared = concerned.filter(|(_, n)| *n >= CONCERNED_FROM).count() >= 2;
        let is_brief = (SHORTEST_MS..=LONGEST_MS).contains(&length_ms);
        let failed_share = stretch.failed as f32 / stretch.probes.max(1) as f32;
        if !is_brief || failed_share > MOST_FAILED || !(is_shared || stretch.alerted) {
            return;
        }
        match self.known.last_mut() {
            Some(last) if stretch.since - last.at < APART_MS => {
                last.length_ms = last.length_ms.max(length_ms);
                last.failed_share = last.failed_share.max(failed_share);
            }
            _ => self.known.push(Known {
                at: stretch.since,
                length_ms,
                failed_share,
            }),
        }
        if self.known.len() > MOST {
            self.known.remove(0);
        }
    }
}
