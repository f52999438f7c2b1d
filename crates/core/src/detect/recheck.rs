//! When to look again, between two ticks of the grid.
//!
//! After a failure at once (a second look that follows a failure is free), then every quarter of a minute until it is
//! settle the question; a recheck on weak evidence costs a token of a bucket that fills with a tenth of the
//! scheduled rate. Quick looks are correlated with each other, so they only ever sharpen what the time floors decide.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::judged::Judged;
use super::{Detector, EndpointState, FailureReason, Policy, ProbeResult, Verdict};
use crate::model::{EndpointName, ShiftClock, Timestamp};

/// After the first failure.
pub(super) const FIRST_LOOK_MS: i64 = 5_000;
/// From one look to the next.
const FAST_GAP_MS: i64 = 15_000;
/// After a throttled request, at least.
const THROTTLED_GAP_MS: i64 = 20_000;
/// While an alert is open, for as long as that.
const OPEN_GAP_MS: i64 = 30_000;
const OPEN_GAP_FOR_MS: i64 = 7_200_000;
/// A look that comes this shortly before the tick is left to the tick.
const TICK_SLACK_MS: i64 = 2_000;
/// Good looks in a row that calm down: after one failure, and after more.
const CALM_AFTER_ONE: u32 = 3;
const CALM_AFTER_MORE: u32 = 12;
/// From which share of the evidence of slowness on looks are taken, and three good ones are wanted.
const SLOW_LOOK: f64 = 0.3;
const SLOW_SURE: f64 = 0.5;
/// The bucket of looks.
const BUCKET: f64 = 40.0;
const BUCKET_SHARE: f64 = 0.10;
/// From this interval on probes are so rare that slowness is looked into sooner, under a larger share.
const SPARSE_MS: i64 = 120_000;
const BUCKET_SHARE_SPARSE: f64 = 0.30;
const SLOW_LOOK_SPARSE: f64 = 0.08;
const CALM_AFTER_SPARSE: u32 = 3;
/// Siblings are woken one after the other.
const SIBLING_GAP_MS: i64 = 300;

/// The state of looking.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct RecheckState {
    pub(super) next_start: i64,
    suspicious: bool,
    goods: u32,
    needed: u32,
    tokens: f64,
    tokens_at: i64,
}

impl RecheckState {
    /// A full bucket.
    pub(super) fn fill(&mut self, at: i64) {
        (self.tokens, self.tokens_at) = (BUCKET, at);
    }

    /// The bucket fills with time.
    pub(super) fn refill(&mut self, policy: &Policy, at: i64) {
        let intervals = (at - self.tokens_at) as f64 / policy.interval_ms as f64;
        let gained = intervals * policy.bucket_share();
        self.tokens = (self.tokens + gained).min(BUCKET);
        self.tokens_at = at;
    }

    /// Nothing is suspicious any more.
    pub(super) fn rest(&mut self) {
        (self.suspicious, self.goods) = (false, 0);
    }
}

impl Policy {
    pub(super) fn fast_gap(&self) -> i64 {
        FAST_GAP_MS.min(self.interval_ms)
    }

    pub(super) fn is_sparse(&self) -> bool {
        self.interval_ms >= SPARSE_MS
    }

    /// The share of the evidence of slowness from which on rechecks are taken.
    fn slow_look(&self) -> f64 {
        if self.is_sparse() {
            SLOW_LOOK_SPARSE
        } else {
            SLOW_LOOK
        }
    }

    /// How many rechecks a scheduled probe pays for.
    fn bucket_share(&self) -> f64 {
        if self.is_sparse() {
            BUCKET_SHARE_SPARSE
        } else {
            BUCKET_SHARE
        }
    }
}

impl Detector {
    /// Decides when `own` is looked at again, and wakes its siblings at its second failure.
    pub(super) fn look(
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
        let (end, tick) = (seen.end.0, seen.next_tick.0);
        let mut next = tick;
        if let (Some(alert), true) = (&own.alert, policy.recheck) {
            if end - alert.opened < OPEN_GAP_FOR_MS {
                next = next.min(end + OPEN_GAP_MS);
            }
        } else if policy.recheck {
            next = own.next_look(policy, end, tick, &seen.result, lagging);
        }
        if judged.failed()
            && own.alert.is_none()
            && policy.siblings
            && own.errors.failures() == 2
            && own.looking.tokens >= 1.0
        {
            self.wake_siblings(policies, policy, own, end, verdict);
        }
        own.looking.next_start = next.max(end + 1);
    }

    fn wake_siblings(
        &mut self,
        policies: &BTreeMap<EndpointName, Policy>,
        policy: &Policy,
        own: &mut EndpointState,
        end: i64,
        verdict: &mut Verdict,
    ) {
        // Each decides for itself whether it is probed before its time.
        let wakes = |name: &&EndpointName| policies.get(*name).is_some_and(|p| p.recheck);
        let siblings = self
            .siblings(policies, &policy.domain)
            .map(|(name, _)| name)
            .filter(wakes);
        let siblings: Vec<_> = siblings.cloned().collect();
        let mut woken = 0;
        for name in siblings {
            let Some(mate) = self.endpoints.get_mut(&name) else {
                continue;
            };
            let idle = mate.alert.is_none() && !mate.looking.suspicious;
            if idle && mate.looking.next_start > end + TICK_SLACK_MS {
                woken += 1;
                mate.looking.next_start = end + SIBLING_GAP_MS * woken;
                verdict
                    .rechecks
                    .push((name, Timestamp(mate.looking.next_start)));
                own.looking.tokens -= 1.0;
            }
        }
    }
}

impl EndpointState {
    fn next_look(
        &mut self,
        policy: &Policy,
        end: i64,
        tick: i64,
        result: &ProbeResult,
        lagging: bool,
    ) -> i64 {
        let fast = policy.fast_gap();
        let h = policy.evidence;
        let failed = matches!(result, ProbeResult::Failed { .. });
        let look = &mut self.looking;
        if failed || (lagging && self.slow.evidence() >= policy.slow_look() * h) {
            let mut needed = if failed || self.slow.evidence() >= SLOW_SURE * h {
                CALM_AFTER_ONE
            } else if policy.is_sparse() {
                CALM_AFTER_SPARSE
            } else {
                1
            };
            if self.errors.evidence() > 0.0 && self.errors.failures() >= 2 {
                needed = CALM_AFTER_MORE;
            }
            let mut gap = if failed && !look.suspicious {
                FIRST_LOOK_MS
            } else {
                fast
            };
            if let ProbeResult::Failed {
                reason,
                retry_after_ms,
            } = result
            {
                if *reason == FailureReason::RateLimited {
                    gap = gap.max(THROTTLED_GAP_MS);
                }
                gap = gap.max(retry_after_ms.unwrap_or(0));
            }
            (look.suspicious, look.needed, look.goods) = (true, needed, 0);
            let mut want = end + gap;
            let blip = self.errors.blip_since();
            let floor = blip + policy.alert_after(self.errors.is_confirmed());
            if failed && floor > self.errors.until() {
                // One look exactly when the blip is old enough to count.
                want = want.min(floor.max(end + 1000));
            }
            if want < tick - TICK_SLACK_MS && (failed || look.tokens >= 1.0) {
                if !failed {
                    look.tokens -= 1.0;
                }
                return want;
            }
        } else if look.suspicious {
            look.goods += 1;
            if look.goods >= look.needed {
                look.suspicious = false;
            } else if end + fast < tick - TICK_SLACK_MS && look.tokens >= 1.0 {
                look.tokens -= 1.0;
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
            goods: _,
            needed: _,
            tokens: _,
        } = self;
        next_start.shift_clock(by_ms);
        tokens_at.shift_clock(by_ms);
    }
}
