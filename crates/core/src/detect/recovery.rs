//! Decides when an alert is over. The milder the incident was, the more good probes that takes.

use serde::{Deserialize, Serialize};

use super::errors::ErrorMeter;
use super::slowness::LatencyStep;
use super::{AlertKind, DAY_MS, EndpointState, LatencyReading, Policy};
use crate::model::{ProviderName, ShiftClock};

/// An alert that reopens within this time is the same problem.
pub(super) const REOPEN_WINDOW_MS: i64 = 1_800_000;
/// The hold time doubles each time an alert reopens, at most this often.
pub(super) const MAX_FLAPS: u32 = 3;
/// The accepted chance of resolving an incident that continues.
const ALPHA: f64 = 0.01;
/// The minimum number of consecutive good probes.
const LEAST_GOOD: u32 = 3;
/// The decay of the incident's failure share per probe, and the limits of that share.
const MEMORY: f64 = 0.97;
const SHARE_FLOOR: f64 = 0.08;
const SHARE_CEILING: f64 = 0.95;
/// The evidence of recovery from slowness that a failure removes.
const FAILURE_COST: f64 = 3.0;
/// Slowness that lasts this long becomes the new baseline.
const ACCEPT_AFTER_MS: i64 = DAY_MS;

/// An open alert of one endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Alert {
    pub(super) why: AlertKind,
    /// Whether it opened because of slowness and then began to fail.
    was_slow: bool,
    /// Failures and probes of the incident, with decay, and its failure share at the last failure.
    bad: f64,
    probes: f64,
    share: f64,
    /// The evidence that it is over, in nats.
    r: f64,
    good_run: u32,
    /// When the first good probe since the last bad one began.
    #[serde(default)]
    good_since: Option<i64>,
    last_bad: i64,
    pub(super) opened: i64,
    /// The start of the first failure, for an alert of failures.
    #[serde(default)]
    pub(super) failing_since: Option<i64>,
    hold_ms: i64,
    /// The failure domain, if the alert is part of the domain's common incident.
    pub(super) grouped: Option<ProviderName>,
}

impl Alert {
    pub(super) fn new(
        why: AlertKind,
        k: u32,
        n: u32,
        end: i64,
        hold_ms: i64,
        grouped: Option<ProviderName>,
    ) -> Self {
        let bad = f64::from(k);
        let probes = f64::from(n.max(1));
        Self {
            why,
            was_slow: false,
            bad,
            probes,
            share: (bad / probes).clamp(SHARE_FLOOR, SHARE_CEILING),
            r: 0.0,
            good_run: 0,
            good_since: None,
            last_bad: end,
            opened: end,
            failing_since: None,
            hold_ms,
            grouped,
        }
    }

    /// Turns an alert about slowness into one about errors, which must recover first.
    pub(super) fn turn_to_errors(&mut self, meter: &ErrorMeter, end: i64) {
        let k = meter.failures();
        let n = meter.probes();
        let fresh = Self::new(
            AlertKind::Errors,
            k,
            n,
            self.opened,
            self.hold_ms,
            self.grouped.take(),
        );
        *self = Self {
            was_slow: true,
            last_bad: end,
            ..fresh
        };
    }

    /// Starts the recovery over, for instance after a gap.
    pub(super) fn begin_again(&mut self, end: i64) {
        (self.r, self.good_run, self.last_bad) = (0.0, 0, end);
    }

    /// Returns when the first good probe of the recovery began.
    pub(super) fn good_since(&self) -> Option<i64> {
        self.good_since
    }
}

impl EndpointState {
    /// Evaluates one probe during an open alert. Once the endpoint has recovered, returns from
    /// what, and whether that is only because lasting slowness is the new baseline.
    pub(super) fn recover(
        &mut self,
        policy: &Policy,
        (start, end): (i64, i64),
        failed: bool,
        step: Option<LatencyStep>,
        reading: Option<LatencyReading>,
    ) -> Option<(AlertKind, bool)> {
        let background = self.errors.background();
        let first_open = self.first_open;
        let alert = self.alert.as_mut()?;
        let (is_bad, needed) = match alert.why {
            // The meter of slowness in reverse: it must rise from zero to half the evidence that
            // opens.
            AlertKind::Slow => {
                if failed {
                    alert.r = (alert.r - FAILURE_COST).max(0.0);
                } else if let Some(step) = step {
                    alert.r = (alert.r + step.neutral - step.z).max(0.0);
                }
                (alert.r <= 0.0, 0.5 * policy.evidence)
            }
            // The log-likelihood ratio of "background again" and "still failing as before".
            AlertKind::Errors => {
                alert.bad = MEMORY * alert.bad + f64::from(u8::from(failed));
                alert.probes = MEMORY * alert.probes + 1.0;
                if failed {
                    alert.share = (alert.bad / alert.probes).clamp(SHARE_FLOOR, SHARE_CEILING);
                }
                let share = alert.share.max(2.0 * background);
                if failed {
                    alert.r = (alert.r + (background / share).ln()).max(0.0);
                } else {
                    alert.r += ((1.0 - background) / (1.0 - share)).ln();
                }
                (failed, -ALPHA.ln())
            }
        };
        if is_bad {
            (alert.last_bad, alert.good_run, alert.good_since) = (end, 0, None);
        } else {
            alert.good_run += 1;
            alert.good_since.get_or_insert(start);
        }
        if let (AlertKind::Slow, Some(reading)) = (alert.why, &reading) {
            self.slow.collect(end, reading);
        }
        let over = match (policy.thresholds, alert.why) {
            (Some((_, successes)), AlertKind::Errors) => alert.good_run >= successes,
            _ => {
                !is_bad
                    && alert.r >= needed
                    && alert.good_run >= LEAST_GOOD
                    && end - alert.last_bad >= alert.hold_ms
            }
        };
        if over && alert.why == AlertKind::Errors && alert.was_slow {
            // The errors are over. The alert stays open until the slowness is over too.
            (alert.was_slow, alert.why) = (false, AlertKind::Slow);
            alert.begin_again(end);
            self.errors.drain();
            return None;
        }
        if !over && alert.why == AlertKind::Slow && end - first_open >= ACCEPT_AFTER_MS {
            self.slow.accept_incident();
            return Some((AlertKind::Slow, true));
        }
        over.then_some((alert.why, false))
    }

    /// Learns the normal latency, never from an incident.
    pub(super) fn learn(
        &mut self,
        policy: &Policy,
        end: i64,
        reading: Option<LatencyReading>,
        failed: bool,
    ) {
        match reading {
            Some(reading) if self.alert.is_none() => self.slow.learn(policy, end, &reading),
            _ if !failed => {
                let in_incident = self.alert.is_some();
                self.slow.relax(policy, end, reading.as_ref(), in_incident);
            }
            _ => {}
        }
    }
}

impl ShiftClock for Alert {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self {
            last_bad,
            opened,
            good_since,
            failing_since,
            why: _,
            was_slow: _,
            bad: _,
            probes: _,
            share: _,
            r: _,
            good_run: _,
            hold_ms: _,
            grouped: _,
        } = self;
        last_bad.shift_clock(by_ms);
        opened.shift_clock(by_ms);
        good_since.shift_clock(by_ms);
        failing_since.shift_clock(by_ms);
    }
}
