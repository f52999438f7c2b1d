//! The meter of failures: a Bernoulli CUSUM against a learned background rate.
//!
//! Each failure adds `ln(p1/p0)`, each success `ln((1−p1)/(1−p0))`, never below zero; `p0` is the background rate, `p1`
//! the rate that is worth an alert. Failures close together are one *blip*: until it has lasted `alert_after` it is
//! worth two failures at the most, so that a short burst cannot pass for an outage however often one looks at it.

use serde::{Deserialize, Serialize};

use super::{Excursion, Policy};

/// Before anything was learned: one failure in a hundred, worth this many probes.
const PRIOR_RATE: f64 = 0.01;
const PRIOR_PROBES: f64 = 300.0;
/// The background rate is never believed to be outside of this.
const RATE_FLOOR: f64 = 0.002;
const RATE_CEILING: f64 = 0.05;
/// The lowest failure rate that is worth an alert.
const BAD_RATE: f64 = 0.25;
/// How fast the background rate forgets.
const HALF_LIFE_DAYS: f64 = 7.0;
/// How many failures a blip is worth.
const BLIP_WORTH: f64 = 2.0;

/// The state of the meter.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ErrorMeter {
    /// The evidence, in nats.
    s: f64,
    /// The start of the first failed probe of this excursion above zero.
    since: Option<i64>,
    /// Failures and probes in this excursion.
    k: u32,
    n: u32,
    /// The current blip: failures, start, last failure, and the meter before it.
    blip_k: u32,
    blip_since: i64,
    blip_last: i64,
    blip_s: f64,
    /// The end of the last failed probe.
    last_failed: Option<i64>,
    /// Failures and probes not yet known to be background.
    pending: (f64, f64),
    /// Decayed failures and probes of normal times.
    learned: (f64, f64),
    /// Consecutive failures, for a policy of thresholds.
    run: u32,
}

impl ErrorMeter {
    /// The learned share of failures in normal times.
    pub(super) fn background(&self) -> f64 {
        let (failures, probes) = self.learned;
        ((failures + PRIOR_RATE * PRIOR_PROBES) / (probes + PRIOR_PROBES)).clamp(RATE_FLOOR, RATE_CEILING)
    }

    pub(super) fn evidence(&self) -> f64 {
        self.s
    }

    pub(super) fn failures(&self) -> u32 {
        self.k
    }

    pub(super) fn probes(&self) -> u32 {
        self.n
    }

    pub(super) fn since(&self) -> Option<i64> {
        self.since
    }

    pub(super) fn last_failed(&self) -> Option<i64> {
        self.last_failed
    }

    /// When the current blip began.
    pub(super) fn blip_since(&self) -> i64 {
        self.blip_since
    }

    /// What has been going on since the meter left zero.
    pub(super) fn excursion(&self) -> Option<Excursion> {
        let (since, until) = (self.since?, self.last_failed?);
        Some(Excursion { since, until, k: self.k, n: self.n })
    }

    /// Takes one probe in. Says whether an alert is due, and what has passed without one. `in_incident` keeps the
    /// learned background clean.
    pub(super) fn observe(
        &mut self,
        policy: &Policy,
        start: i64,
        end: i64,
        failed: bool,
        in_incident: bool,
    ) -> (bool, Option<Excursion>) {
        let p0 = self.background();
        let p1 = BAD_RATE.max((5.0 * p0).min(0.8));
        let (up, down) = ((p1 / p0).ln(), ((1.0 - p1) / (1.0 - p0)).ln());
        self.run = if failed { self.run + 1 } else { 0 };
        if failed {
            if self.s <= 0.0 {
                self.since = Some(start);
                (self.k, self.n, self.blip_k) = (0, 0, 0);
            }
            if self.blip_k == 0 || start - self.blip_last > policy.alert_after_ms {
                self.end_blip(policy, up);
                (self.blip_s, self.blip_since, self.blip_k) = (self.s, start, 0);
            }
            self.blip_k += 1;
            self.blip_last = start;
            self.s = (self.s + up).min(policy.evidence + up);
        } else {
            if self.blip_k > 0 && start - self.blip_last > policy.alert_after_ms {
                self.end_blip(policy, up);
                self.blip_k = 0;
            }
            if self.s > 0.0 {
                self.s += down;
            }
        }
        let counted = f64::from(u8::from(failed));
        let mut passed = None;
        if self.s > 0.0 {
            self.n += 1;
            self.k += u32::from(failed);
            if !in_incident {
                self.pending.0 += counted;
                self.pending.1 += 1.0;
            }
        } else {
            passed = self.excursion();
            self.s = 0.0;
            self.since = None;
            if !in_incident {
                // The excursion has passed: it was background after all.
                self.learned.0 += self.pending.0;
                self.learned.1 += self.pending.1 + 1.0;
                self.pending = (0.0, 0.0);
            }
        }
        if !failed {
            return (false, passed);
        }
        self.last_failed = Some(end);
        if let Some((failures, _)) = policy.thresholds {
            return (self.run >= failures, None);
        }
        let mut effective = self.s;
        if end - self.blip_since < policy.alert_after_ms {
            effective = effective.min(self.blip_s + BLIP_WORTH * up);
        }
        let lasts = self.since.is_some_and(|since| end - since >= policy.alert_after_ms);
        (effective >= policy.evidence && lasts, None)
    }

    /// Forgets a little; called once a day.
    pub(super) fn forget(&mut self) {
        let factor = 0.5_f64.powf(1.0 / HALF_LIFE_DAYS);
        self.learned.0 *= factor;
        self.learned.1 *= factor;
    }

    /// What was pending belongs to an incident: it is not background.
    pub(super) fn forget_pending(&mut self) {
        self.pending = (0.0, 0.0);
    }

    /// Back to zero; what was learned stays.
    pub(super) fn empty(&mut self) {
        (self.s, self.since, self.run) = (0.0, None, 0);
        self.forget_pending();
    }

    /// The meter alone back to zero, in the middle of an incident.
    pub(super) fn drain(&mut self) {
        (self.s, self.since) = (0.0, None);
    }

    fn end_blip(&mut self, policy: &Policy, up: f64) {
        if self.blip_k >= 2 && self.blip_last - self.blip_since < policy.alert_after_ms {
            self.s = self.s.min(self.blip_s + BLIP_WORTH * up);
        }
    }
}
