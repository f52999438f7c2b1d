//! The meter of failures: a Bernoulli CUSUM against a learned background rate.
//!
//! Each failure adds `ln(p1/p0)`, each success `ln((1−p1)/(1−p0))`, never below zero; `p0` is the background rate, `p1`
//! the rate that is worth an alert. Failures close together are one *blip*: until it has lasted `alert_after` it is
//! worth two failures at the most, so that a short burst cannot pass for an outage however often one looks at it. A
//! blip in which all failed and after which all is well has been a burst and is over: one more failure alone, which is
//! what every API has, does not make an alert of it; two do.

use serde::{Deserialize, Serialize};

use super::hours::Hours;
use super::minutes::Minutes;
use super::patterns::FailingMinutes;
use super::{Episode, FailureReason, Policy};
use crate::model::ShiftClock;

/// Before anything was learned: one failure in a hundred, worth this many probes.
const PRIOR_RATE: f64 = 0.01;
const PRIOR_PROBES: f64 = 300.0;
/// Good and failed probes of normal times after which a rate is called typical.
const TYPICAL_AFTER: f64 = 100.0;
/// The background rate is never believed to be outside of this.
const RATE_FLOOR: f64 = 0.002;
const RATE_CEILING: f64 = 0.05;
/// The lowest failure rate that is worth an alert.
const BAD_RATE: f64 = 0.25;
/// How fast the background rate forgets.
const HALF_LIFE_DAYS: f64 = 7.0;
/// How many failures a blip is worth.
const BLIP_WORTH: f64 = 2.0;
/// Days of which the share of failures is remembered by hour, in units of 2 %.
const DAYS: usize = 8;
const HOUR_SCALE: f64 = 2.5;
/// Of the share of failures that an hour of the week usually has, so much is chance, and so much is believed.
const HOUR_SLACK: f64 = 0.03;
const HOUR_CEILING: f64 = 0.3;
/// Failures of a blip times good probes since that distinguish a burst from continuing trouble: eight good ones after two
/// failures (once in sixty times while two probes in five fail), four after four.
const OVER: u32 = 15;
/// All have failed in a blip of which no more than one in so many was good.
const MIXED: u32 = 4;

/// Confirmed failures, and no others, before an alert may come earlier.
const CONFIRMED_FROM: u32 = 2;

/// The state of the meter.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
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
    /// Good probes between the failures of the current blip, and since the last of them.
    blip_mixed: u32,
    blip_good: u32,
    /// The end of the last failed probe, how long it took, and until when the failures are known to have lasted.
    last_failed: Option<i64>,
    took: Option<i64>,
    until: i64,
    /// Failures and probes not yet known to be background.
    pending: (f64, f64),
    /// Decayed failures and probes of normal times.
    learned: (f64, f64),
    /// What failures are usual at this minute of the hour, and in this hour of the week.
    minutes: Minutes,
    hours: Hours<DAYS>,
    /// Failures since the evidence was last zero, and those that a second source confirms.
    failed: u32,
    confirmed: u32,
    /// Consecutive failures, for a policy of thresholds.
    run: u32,
}

impl ErrorMeter {
    /// The learned share of failures in normal times.
    pub(super) fn background(&self) -> f64 {
        let (failures, probes) = self.learned;
        ((failures + PRIOR_RATE * PRIOR_PROBES) / (probes + PRIOR_PROBES))
            .clamp(RATE_FLOOR, RATE_CEILING)
    }

    /// The same, once enough was learned to call it typical.
    pub(super) fn typical(&self) -> Option<f64> {
        (self.learned.1 >= TYPICAL_AFTER).then(|| self.background())
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

    /// The minutes of the hour at which failures are usual.
    pub(super) fn failing_minutes(&self) -> Option<FailingMinutes> {
        self.minutes.pattern()
    }

    /// How many more failures in a row a policy of thresholds wants after the next one.
    pub(super) fn missing(&self, failures: u32) -> i64 {
        i64::from(failures.saturating_sub(self.run.saturating_add(1)))
    }

    /// Whether a second source confirms the failures.
    pub(super) fn is_confirmed(&self) -> bool {
        self.confirmed >= CONFIRMED_FROM && self.confirmed == self.failed
    }

    /// When the current blip began.
    pub(super) fn blip_since(&self) -> i64 {
        self.blip_since
    }

    /// Until when the failures are known to have lasted.
    pub(super) fn until(&self) -> i64 {
        self.until
    }

    /// What has happened since the meter left zero.
    pub(super) fn excursion(&self) -> Option<Episode> {
        let (since, until) = (self.since?, self.last_failed?);
        Some(Episode {
            since,
            until,
            k: self.k,
            n: self.n,
        })
    }

    /// Takes one probe in; `reason` says in what way it failed. Says whether an alert is due, and what has passed without
    /// one. `in_incident` keeps the learned background clean.
    pub(super) fn observe(
        &mut self,
        policy: &Policy,
        start: i64,
        end: i64,
        reason: Option<FailureReason>,
        in_incident: bool,
    ) -> (bool, Option<Episode>) {
        let failed = reason.is_some();
        self.hours.advance(start);
        let usual = self.minutes.usual(start);
        let hour = (self.hours.usual(start) / HOUR_SCALE - HOUR_SLACK).clamp(0.0, HOUR_CEILING);
        let p0 = self.background().max(usual).max(hour);
        self.minutes.add(start, failed);
        self.hours.add(HOUR_SCALE * f64::from(u8::from(failed)));
        let p1 = BAD_RATE.max((5.0 * p0).min(0.8));
        let (up, down) = ((p1 / p0).ln(), ((1.0 - p1) / (1.0 - p0)).ln());
        self.run = if failed { self.run + 1 } else { 0 };
        if failed {
            if self.s <= 0.0 {
                self.since = Some(start);
                (self.k, self.n, self.blip_k) = (0, 0, 0);
                (self.failed, self.confirmed) = (0, 0);
                self.took = None;
            }
            if self.blip_k == 0 || start - self.blip_last > policy.alert_after_ms {
                self.end_blip(policy, up);
                (self.blip_s, self.blip_since, self.blip_k) = (self.s, start, 0);
                (self.blip_mixed, self.blip_good) = (0, 0);
            }
            self.blip_k += 1;
            self.failed += 1;
            match reason {
                Some(FailureReason::Confirmed) => self.confirmed += 1,
                Some(FailureReason::Admitted) => self.confirmed = self.failed,
                _ => {}
            }
            self.blip_mixed += std::mem::take(&mut self.blip_good);
            self.blip_last = start;
            // A timeout in the midst of quick failures says nothing about the time it has waited.
            self.until = start + (end - start).min(self.took.unwrap_or(i64::MAX));
            self.took = Some(end - start);
            self.s = (self.s + up).min(policy.evidence + up);
        } else {
            if self.blip_k > 0 && start - self.blip_last > policy.alert_after_ms {
                self.end_blip(policy, up);
                self.blip_k = 0;
            } else if self.blip_k > 0 {
                self.blip_good += 1;
                self.end_burst(policy, up);
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
            if !in_incident && usual <= 0.0 {
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
        let alert_after = policy.alert_after(self.is_confirmed());
        let mut effective = self.s;
        if self.until - self.blip_since < alert_after {
            effective = effective.min(self.blip_s + BLIP_WORTH * up);
        }
        let lasts = self
            .since
            .is_some_and(|since| self.until - since >= alert_after);
        (effective >= policy.evidence && lasts, None)
    }

    /// Forgets a little; called once a day.
    pub(super) fn forget(&mut self) {
        let factor = 0.5_f64.powf(1.0 / HALF_LIFE_DAYS);
        self.minutes.forget();
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

    /// The outage has lasted longer than the ones that recur: two more failures make an alert of it.
    pub(super) fn hold_back(&mut self, policy: &Policy) {
        let p0 = self.background();
        let up = (BAD_RATE.max(5.0 * p0) / p0).ln();
        self.s = self.s.min((policy.evidence - 1.5 * up).max(0.0));
    }

    fn end_blip(&mut self, policy: &Policy, up: f64) {
        if self.is_short(policy) {
            self.s = self.s.min(self.blip_s + BLIP_WORTH * up);
        }
    }

    /// After a burst that is over one failure more is not enough.
    fn end_burst(&mut self, policy: &Policy, up: f64) {
        let all_failed = self.blip_mixed.saturating_mul(MIXED) <= self.blip_k;
        if all_failed && self.is_short(policy) && self.blip_k.saturating_mul(self.blip_good) >= OVER
        {
            self.end_blip(policy, up);
            self.s = self.s.min(self.blip_s.max(policy.evidence - up));
            self.blip_k = 0;
        }
    }

    /// Whether the blip is more than one failure and yet shorter than what is worth an alert.
    fn is_short(&self, policy: &Policy) -> bool {
        self.blip_k >= 2 && self.blip_last - self.blip_since < policy.alert_after_ms
    }
}

impl ShiftClock for ErrorMeter {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self {
            blip_since,
            blip_last,
            until,
            since,
            last_failed,
            s: _,
            k: _,
            n: _,
            blip_k: _,
            blip_s: _,
            blip_mixed: _,
            blip_good: _,
            took: _,
            pending: _,
            learned: _,
            minutes: _,
            hours: _,
            failed: _,
            confirmed: _,
            run: _,
        } = self;
        blip_since.shift_clock(by_ms);
        blip_last.shift_clock(by_ms);
        until.shift_clock(by_ms);
        since.shift_clock(by_ms);
        last_failed.shift_clock(by_ms);
    }
}
