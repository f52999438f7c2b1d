//! The meter of failures: a Bernoulli CUSUM (E. S. Page, 1954) against a learned background rate.
//!
//! Each failure adds `ln(p1/p0)`, each success adds the negative `ln((1−p1)/(1−p0))`, and the sum
//! never falls below zero. `p0` is the background rate, `p1` the rate that is worth an alert.
//! Failures close together are one *blip*. Until it has lasted `alert_after`, it counts as two
//! failures at most, so that rechecks cannot turn a short burst into an outage. A blip in which
//! every probe failed and after which all is well was a burst and is over: one more failure does
//! not open an alert, two do.

use serde::{Deserialize, Serialize};

use super::hours::Hours;
use super::minutes::Minutes;
use super::patterns::FailingMinutes;
use super::{Episode, FailureReason, Policy};
use crate::model::ShiftClock;

/// The rate before anything is learned, and how many probes it is worth.
const PRIOR_RATE: f64 = 0.01;
const PRIOR_PROBES: f64 = 300.0;
/// Probes of normal times after which a rate is called typical.
const TYPICAL_AFTER: f64 = 100.0;
/// The limits of the background rate.
const RATE_FLOOR: f64 = 0.002;
const RATE_CEILING: f64 = 0.05;
/// The lowest failure rate that is worth an alert.
const BAD_RATE: f64 = 0.25;
/// The half-life of the background rate.
const HALF_LIFE_DAYS: f64 = 7.0;
/// The maximum weight of a blip, in failures.
const BLIP_WORTH: f64 = 2.0;
/// Days for which the share of failures is remembered by hour, in units of 2%.
const DAYS: usize = 8;
const HOUR_SCALE: f64 = 2.5;
/// The part of the usual share of failures of an hour that is chance, and the maximum that is
/// believed.
const HOUR_SLACK: f64 = 0.03;
const HOUR_CEILING: f64 = 0.3;
/// The product of a blip's failures and the good probes since, from which it is a burst rather than
/// continuing trouble: eight good probes after two failures (one chance in sixty while two probes
/// in five fail), four after four.
const OVER: u32 = 15;
/// A blip counts as all failed if at most one probe in this many was good.
const MIXED: u32 = 4;

/// Confirmed failures, with no others, from which an alert may come earlier.
const CONFIRMED_FROM: u32 = 2;

/// The state of the meter.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct ErrorMeter {
    /// The evidence, in nats.
    s: f64,
    /// When the first failed probe of this excursion above zero began.
    since: Option<i64>,
    /// Failures and probes in this excursion.
    k: u32,
    n: u32,
    /// The current blip: failures, start, last failure, and the evidence before it.
    blip_k: u32,
    blip_since: i64,
    blip_last: i64,
    blip_s: f64,
    /// Good probes between the failures of the current blip, and since the last failure.
    blip_mixed: u32,
    blip_good: u32,
    /// When the last failed probe ended, how long it took, and until when the failures are known to
    /// have lasted, in milliseconds.
    last_failed: Option<i64>,
    took: Option<i64>,
    until: i64,
    /// Failures and probes that may turn out to be background.
    pending: (f64, f64),
    /// Failures and probes of normal times, with decay.
    learned: (f64, f64),
    /// The usual failures at each minute of the hour, and in each hour of the week.
    minutes: Minutes,
    hours: Hours<DAYS>,
    /// Failures since the evidence was last zero, and how many of them a second source confirms.
    failed: u32,
    confirmed: u32,
    /// Consecutive failures, for a policy with thresholds.
    run: u32,
}

/// What a probe adds to the evidence, in nats.
#[derive(Clone, Copy)]
struct ErrorSteps {
    /// For a failure.
    up: f64,
    /// For a success; negative.
    down: f64,
}

impl ErrorMeter {
    /// Returns the learned share of failures in normal times, 0 to 1.
    pub(super) fn background(&self) -> f64 {
        let (failures, probes) = self.learned;
        ((failures + PRIOR_RATE * PRIOR_PROBES) / (probes + PRIOR_PROBES))
            .clamp(RATE_FLOOR, RATE_CEILING)
    }

    /// As [`background`](Self::background), once enough is learned to call it typical.
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

    /// Returns the minutes of the hour at which failures are usual.
    pub(super) fn failing_minutes(&self) -> Option<FailingMinutes> {
        self.minutes.pattern()
    }

    /// Returns how many more consecutive failures a policy with thresholds needs after the next
    /// one.
    pub(super) fn missing(&self, failures: u32) -> i64 {
        i64::from(failures.saturating_sub(self.run.saturating_add(1)))
    }

    /// Reports whether a second source confirms the failures.
    pub(super) fn is_confirmed(&self) -> bool {
        self.confirmed >= CONFIRMED_FROM && self.confirmed == self.failed
    }

    /// Returns when the current blip began.
    pub(super) fn blip_since(&self) -> i64 {
        self.blip_since
    }

    /// Returns until when the failures are known to have lasted.
    pub(super) fn until(&self) -> i64 {
        self.until
    }

    /// Returns the episode since the evidence was last zero.
    pub(super) fn excursion(&self) -> Option<Episode> {
        let since = self.since?;
        let until = self.last_failed?;
        Some(Episode {
            since,
            until,
            k: self.k,
            n: self.n,
        })
    }

    /// Evaluates one probe; `reason` is how it failed. Returns whether an alert is due, and the
    /// episode that ended without one. With `in_incident`, the background rate is not learned.
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
        let steps = self.steps(start, usual);
        self.minutes.add(start, failed);
        self.hours.add(HOUR_SCALE * f64::from(u8::from(failed)));
        match reason {
            Some(reason) => self.add_failure(policy, (start, end), reason, steps),
            None => self.add_success(policy, start, steps),
        }
        let passed = if self.s > 0.0 {
            self.n += 1;
            self.k += u32::from(failed);
            if !in_incident && usual <= 0.0 {
                self.pending.0 += f64::from(u8::from(failed));
                self.pending.1 += 1.0;
            }
            None
        } else {
            self.end_excursion(in_incident)
        };
        let Some(reason) = reason else {
            return (false, passed);
        };
        self.last_failed = Some(end);
        let is_due = match policy.thresholds {
            Some((failures, _)) => self.run >= failures,
            None => self.is_due(policy, reason, steps.up),
        };
        (is_due, None)
    }

    /// Returns what a probe that began at `start` changes, with the usual failures of that minute.
    fn steps(&self, start: i64, usual: f64) -> ErrorSteps {
        let hour = (self.hours.usual(start) / HOUR_SCALE - HOUR_SLACK).clamp(0.0, HOUR_CEILING);
        let p0 = self.background().max(usual).max(hour);
        let p1 = BAD_RATE.max((5.0 * p0).min(0.8));
        ErrorSteps {
            up: (p1 / p0).ln(),
            down: ((1.0 - p1) / (1.0 - p0)).ln(),
        }
    }

    fn add_failure(
        &mut self,
        policy: &Policy,
        (start, end): (i64, i64),
        reason: FailureReason,
        ErrorSteps { up, .. }: ErrorSteps,
    ) {
        self.run += 1;
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
            FailureReason::Confirmed => self.confirmed += 1,
            FailureReason::Admitted => self.confirmed = self.failed,
            _ => {}
        }
        self.blip_mixed += std::mem::take(&mut self.blip_good);
        self.blip_last = start;
        // A timeout among quick failures says nothing about the time that it waited.
        self.until = start + (end - start).min(self.took.unwrap_or(i64::MAX));
        self.took = Some(end - start);
        self.s = (self.s + up).min(policy.evidence + up);
    }

    fn add_success(&mut self, policy: &Policy, start: i64, ErrorSteps { up, down }: ErrorSteps) {
        self.run = 0;
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

    /// Ends the excursion, which was background unless there is an alert. Returns it.
    fn end_excursion(&mut self, in_incident: bool) -> Option<Episode> {
        let passed = self.excursion();
        self.s = 0.0;
        self.since = None;
        if !in_incident {
            self.learned.0 += self.pending.0;
            self.learned.1 += self.pending.1 + 1.0;
            self.pending = (0.0, 0.0);
        }
        passed
    }

    /// Reports whether the failures, of which `reason` is the last, are enough for an alert.
    fn is_due(&self, policy: &Policy, reason: FailureReason, up: f64) -> bool {
        let alert_after = policy.alert_after(self.is_confirmed());
        let mut effective = self.s;
        if self.until - self.blip_since < alert_after {
            effective = effective.min(self.blip_s + BLIP_WORTH * up);
        }
        let lasts = self
            .since
            .is_some_and(|since| self.until - since >= alert_after);
        // With an incident on the vendor's page two failures in a row are enough: timeouts take
        // long, so there are few of them.
        let needed = if reason == FailureReason::Admitted && policy.may_hasten {
            policy.evidence.min(BLIP_WORTH * up)
        } else {
            policy.evidence
        };
        effective >= needed && lasts
    }

    /// Applies the decay of one day.
    pub(super) fn forget(&mut self) {
        let factor = 0.5_f64.powf(1.0 / HALF_LIFE_DAYS);
        self.minutes.forget();
        self.learned.0 *= factor;
        self.learned.1 *= factor;
    }

    /// Discards the pending probes: they belong to an incident and are not background.
    pub(super) fn forget_pending(&mut self) {
        self.pending = (0.0, 0.0);
    }

    /// Resets the evidence; the learned rate stays.
    pub(super) fn empty(&mut self) {
        (self.s, self.since, self.run) = (0.0, None, 0);
        self.forget_pending();
    }

    /// Resets only the evidence, during an incident.
    pub(super) fn drain(&mut self) {
        (self.s, self.since) = (0.0, None);
    }

    /// Lowers the evidence of an outage that has outlasted the recurring ones: two more failures
    /// open an alert.
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

    /// After a burst that is over, one more failure is not enough for an alert.
    fn end_burst(&mut self, policy: &Policy, up: f64) {
        let all_failed = self.blip_mixed.saturating_mul(MIXED) <= self.blip_k;
        if all_failed && self.is_short(policy) && self.blip_k.saturating_mul(self.blip_good) >= OVER
        {
            self.end_blip(policy, up);
            self.s = self.s.min(self.blip_s.max(policy.evidence - up));
            self.blip_k = 0;
        }
    }

    /// Reports whether the blip has more than one failure but is too short for an alert.
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
