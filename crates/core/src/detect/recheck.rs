//! Schedules rechecks between two scheduled probes.
//!
//! The first recheck follows 5 s after a failure, then one every 15 s until enough good probes
//! settle the question. A recheck after a failure is free. One on weak evidence costs a token of a
//! bucket that fills at a tenth of the scheduled rate. Rechecks are correlated with each other, so
//! they sharpen the evidence but never shorten the minimum times such as `alert_after`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::judged::Judged;
use super::{Detector, EndpointState, FailureReason, Policy, ProbeResult, Verdict};
use crate::model::{EndpointName, ShiftClock, Timestamp};

/// The delay of the first recheck after a failure.
pub(super) const FIRST_RECHECK_MS: i64 = 5_000;
/// The minimum of the gap that is left after a probe that failed late, whose wait counts as part of
/// the gap.
const LEAST_GAP_MS: i64 = 1_000;
/// The time between two rechecks.
const FAST_GAP_MS: i64 = 15_000;
/// The minimum delay after a throttled request.
const THROTTLED_GAP_MS: i64 = 20_000;
/// The time between two probes while an alert is open, and for how long after its opening.
const OPEN_GAP_MS: i64 = 30_000;
const OPEN_GAP_FOR_MS: i64 = 7_200_000;
/// A recheck that would come less than this before the scheduled probe is skipped.
const TICK_SLACK_MS: i64 = 2_000;
/// Consecutive good rechecks that settle the question: after one failure, and after several.
const CONFIRMATIONS_AFTER_ONE: u32 = 3;
const CONFIRMATIONS_AFTER_MORE: u32 = 12;
/// The share of the evidence of slowness from which rechecks are made, and from which as many good
/// ones are needed as after a failure.
const SLOW_RECHECK: f64 = 0.3;
const SLOW_SURE: f64 = 0.5;
/// The size of the token bucket, and the tokens that each scheduled probe adds.
const BUCKET: f64 = 40.0;
const BUCKET_SHARE: f64 = 0.10;
/// From this interval on, probes are so rare that slowness is rechecked earlier and with a larger
/// budget.
const SPARSE_MS: i64 = 120_000;
const BUCKET_SHARE_SPARSE: f64 = 0.30;
const SLOW_RECHECK_SPARSE: f64 = 0.08;
const CONFIRMATIONS_SPARSE: u32 = 3;
/// The time between the rechecks of two siblings.
const SIBLING_GAP_MS: i64 = 300;

/// When the endpoint is probed next, and the budget for rechecks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct RecheckState {
    pub(super) next_start: i64,
    suspicious: bool,
    #[serde(rename = "goods")]
    successes: u32,
    needed: u32,
    tokens: f64,
    tokens_at: i64,
}

impl RecheckState {
    /// Fills the bucket.
    pub(super) fn fill(&mut self, at: i64) {
        (self.tokens, self.tokens_at) = (BUCKET, at);
    }

    /// Adds the tokens for the time since the last refill.
    pub(super) fn refill(&mut self, policy: &Policy, at: i64) {
        let intervals = (at - self.tokens_at) as f64 / policy.interval_ms as f64;
        let gained = intervals * policy.bucket_share();
        self.tokens = (self.tokens + gained).min(BUCKET);
        self.tokens_at = at;
    }

    /// Ends the rechecks: nothing is suspicious any more.
    pub(super) fn rest(&mut self) {
        (self.suspicious, self.successes) = (false, 0);
    }
}

impl Policy {
    pub(super) fn fast_gap(&self) -> i64 {
        FAST_GAP_MS.min(self.interval_ms)
    }

    pub(super) fn is_sparse(&self) -> bool {
        self.interval_ms >= SPARSE_MS
    }

    /// Returns the share of the evidence of slowness from which rechecks are made.
    fn slow_recheck(&self) -> f64 {
        if self.is_sparse() {
            SLOW_RECHECK_SPARSE
        } else {
            SLOW_RECHECK
        }
    }

    /// Returns the tokens that a scheduled probe adds.
    fn bucket_share(&self) -> f64 {
        if self.is_sparse() {
            BUCKET_SHARE_SPARSE
        } else {
            BUCKET_SHARE
        }
    }
}

impl Detector {
    /// Decides when `own` is probed next, and rechecks its siblings at its second failure.
    pub(super) fn schedule_recheck(
        &mut self,
        judged: Judged<'_>,
        own: &mut EndpointState,
        lagging: bool,
        verdict: &mut Verdict,
    ) {
        let Judged {
            policies,
            policy,
            seen,
        } = judged;
        let end = seen.end.0;
        let tick = seen.next_tick.0;
        let mut next = tick;
        if let (Some(alert), true) = (&own.alert, policy.recheck) {
            if end - alert.opened < OPEN_GAP_FOR_MS {
                next = next.min(end + OPEN_GAP_MS);
            }
        } else if policy.recheck {
            next = own.next_recheck(judged, lagging);
        }
        if judged.failed()
            && own.alert.is_none()
            && policy.siblings
            && own.errors.failures() == 2
            && own.rechecks.tokens >= 1.0
        {
            self.recheck_siblings(policies, policy, own, end, verdict);
        }
        own.rechecks.next_start = next.max(end + 1);
    }

    fn recheck_siblings(
        &mut self,
        policies: &BTreeMap<EndpointName, Policy>,
        policy: &Policy,
        own: &mut EndpointState,
        end: i64,
        verdict: &mut Verdict,
    ) {
        // The policy of each sibling decides whether it may be rechecked.
        let siblings: Vec<_> = self
            .siblings(policies, &policy.domain)
            .map(|(name, _)| name)
            .filter(|name| policies.get(*name).is_some_and(|p| p.recheck))
            .cloned()
            .collect();
        let mut started = 0;
        for name in siblings {
            let Some(sibling) = self.endpoints.get_mut(&name) else {
                continue;
            };
            let idle = sibling.alert.is_none() && !sibling.rechecks.suspicious;
            if idle && sibling.rechecks.next_start > end + TICK_SLACK_MS {
                started += 1;
                sibling.rechecks.next_start = end + SIBLING_GAP_MS * started;
                verdict
                    .rechecks
                    .push((name, Timestamp(sibling.rechecks.next_start)));
                own.rechecks.tokens -= 1.0;
            }
        }
    }
}

impl EndpointState {
    fn next_recheck(&mut self, judged: Judged<'_>, lagging: bool) -> i64 {
        let Judged {
            policies: _,
            policy,
            seen,
        } = judged;
        let (end, tick, result) = (seen.end.0, seen.next_tick.0, &seen.result);
        let fast = policy.fast_gap();
        let h = policy.evidence;
        let failed = matches!(result, ProbeResult::Failed { .. });
        let rechecks = &mut self.rechecks;
        if failed || (lagging && self.slow.evidence() >= policy.slow_recheck() * h) {
            let mut needed = if failed || self.slow.evidence() >= SLOW_SURE * h {
                CONFIRMATIONS_AFTER_ONE
            } else if policy.is_sparse() {
                CONFIRMATIONS_SPARSE
            } else {
                1
            };
            if self.errors.evidence() > 0.0 && self.errors.failures() >= 2 {
                needed = CONFIRMATIONS_AFTER_MORE;
            }
            let mut gap = if failed && !rechecks.suspicious {
                FIRST_RECHECK_MS
            } else {
                fast
            };
            if let ProbeResult::Failed {
                reason,
                retry_after_ms,
            } = result
            {
                let waited = end - seen.start.0;
                if waited >= FIRST_RECHECK_MS {
                    gap = (gap - waited).max(LEAST_GAP_MS);
                }
                if *reason == FailureReason::RateLimited {
                    gap = gap.max(THROTTLED_GAP_MS);
                }
                gap = gap.max(retry_after_ms.unwrap_or(0));
            }
            (rechecks.suspicious, rechecks.needed, rechecks.successes) = (true, needed, 0);
            let mut want = end + gap;
            let blip = self.errors.blip_since();
            let floor = blip + policy.alert_after(self.errors.is_confirmed());
            if failed && floor > self.errors.until() {
                // Recheck exactly when the blip is old enough to count.
                want = want.min(floor.max(end + 1000));
            }
            if want < tick - TICK_SLACK_MS && (failed || rechecks.tokens >= 1.0) {
                if !failed {
                    rechecks.tokens -= 1.0;
                }
                return want;
            }
        } else if rechecks.suspicious {
            rechecks.successes += 1;
            if rechecks.successes >= rechecks.needed {
                rechecks.suspicious = false;
            } else if end + fast < tick - TICK_SLACK_MS && rechecks.tokens >= 1.0 {
                rechecks.tokens -= 1.0;
                return end + fast;
            }
        }
        tick
    }
}

impl ShiftClock for RecheckState {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self {
            next_start,
            tokens_at,
            suspicious: _,
            successes: _,
            needed: _,
            tokens: _,
        } = self;
        next_start.shift_clock(by_ms);
        tokens_at.shift_clock(by_ms);
    }
}
