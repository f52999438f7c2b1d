//! The meter of slowness: a CUSUM of clipped log-latency against a learned level.
//!
//! The level is the median of a decaying histogram, lifted by up to half when the last 40 minutes are slower (day and
//! night). A probe's distance from it in standard deviations, less 0.6 of the distance that counts as slow, moves the
//! meter: it rises above about 1.5 × typical and falls below; one spike is worth three at most. First token and total
//! are both compared, and the worse counts: a stream that only drips shows in the total.

use serde::{Deserialize, Serialize};

use super::histogram::Histogram;
use super::verdict::Typical;
use super::{Excursion, Policy, Reading};

/// Good probes before anything is called slow.
const WARM: u32 = 50;
/// How fast the level forgets.
const HALF_LIFE_DAYS: f64 = 3.0;
/// The time constant of the recent level, and how far it may lift the reference.
const RECENT_TAU_MS: f64 = 2_400_000.0;
const RECENT_CAP: f64 = 1.5;
/// A single innovation of the recent level is worth no more than this.
const INNOVATION: f64 = 0.7;
/// The meter stands still at `slow_factor` to this power times typical.
const NEUTRAL: f64 = 0.6;
/// How far a single probe may move the meter.
const CLIP_DOWN: f64 = 2.0;
const CLIP_UP: f64 = 3.0;
/// A slow probe of an endpoint that is very regular may move it by so much all the same: three of its small deviations
/// lie hardly above the point where the meter stands still, and ten times as slow would count for next to nothing.
const LEAST_STEP: f64 = 1.0;
/// The spread is never believed to be smaller.
const LEAST_SIGMA: f64 = 0.15;
/// The spread of a first token of which only the usual value is known.
const EXPECTED_SIGMA: f64 = 0.35;
/// A stretch that never held this share of the evidence was an ordinary spike, not worth a word.
const BLIP_FROM: f64 = 0.3;
/// From this share of the evidence on nothing is learned, lest the level climbs after what is slow; and from this one on
/// the recent level falls back to the long-term one. Between them it stands: that is where an evening rush ends up too.
const LEARN_BELOW: f64 = 0.4;
const RELAX_FROM: f64 = 0.6;
/// The quantiles are computed anew after so many probes.
const STALE: f64 = 32.0;

/// How one good probe compares with the learned level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Step {
    /// The clipped distance, in standard deviations.
    pub(super) z: f64,
    /// The distance at which the meter stands still.
    pub(super) neutral: f64,
}

/// The state of the meter.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct SlowMeter {
    /// The evidence.
    l: f64,
    /// The start of the first slow probe of this excursion above zero.
    since: Option<i64>,
    k: u32,
    n: u32,
    last_slow: Option<i64>,
    /// The most evidence of this excursion, as a share of what an alert needs.
    peak: f64,
    /// First token and total of normal times, and those of the open incident.
    level: [Histogram; 2],
    incident: [Histogram; 2],
    learned: u32,
    stale: f64,
    median: [f64; 2],
    sigma: f64,
    /// The recent level, as a mean of logarithms, and when it was last touched.
    recent: [f64; 2],
    recent_at: i64,
}

impl SlowMeter {
    pub(super) fn evidence(&self) -> f64 {
        self.l
    }

    pub(super) fn since(&self) -> Option<i64> {
        self.since
    }

    pub(super) fn last_slow(&self) -> Option<i64> {
        self.last_slow
    }

    /// Slow probes and probes in this excursion.
    pub(super) fn counts(&self) -> (u32, u32) {
        (self.k, self.n)
    }

    /// What has been going on since the meter left zero, if it was more than a spike.
    pub(super) fn excursion(&self) -> Option<Excursion> {
        let (since, until) = (self.since?, self.last_slow?);
        (self.peak >= BLIP_FROM).then_some(Excursion {
            since,
            until,
            k: self.k,
            n: self.n,
        })
    }

    pub(super) fn typical(&self, policy: &Policy, failure_rate: Option<f64>) -> Typical {
        let known = self.learned >= WARM && self.median[0] > 0.0;
        Typical {
            failure_rate,
            first_token_ms: if known {
                Some(self.median[0])
            } else {
                policy.expected_first_token_ms
            },
            total_ms: known.then_some(self.median[1]),
        }
    }

    /// How a good probe compares with the level; `None` for any other, or when there is nothing to compare it with.
    pub(super) fn compare(&mut self, policy: &Policy, reading: Option<&Reading>) -> Option<Step> {
        if self.stale >= STALE && self.learned >= 10 {
            self.median = [self.level[0].quantile(0.5), self.level[1].quantile(0.5)];
            self.sigma = (self.level[0].quantile(0.84) / self.median[0])
                .ln()
                .max(LEAST_SIGMA);
            self.stale = 0.0;
        }
        let reading = reading?;
        let warm = self.learned >= WARM;
        let sigma = if warm { self.sigma } else { EXPECTED_SIGMA };
        let neutral = NEUTRAL * policy.slow_factor.ln() / sigma;
        let first_token = floor(reading.first_token_ms);
        let z = if reading.beyond_limits == Some(true) {
            // The user's own limit needs no comparison: it counts in full, whatever was learned.
            return Some(Step {
                z: neutral + CLIP_UP,
                neutral,
            });
        } else if warm {
            let [first, total] = [0, 1].map(|m| {
                let lift = (self.recent[m].exp() / self.median[m]).clamp(1.0, RECENT_CAP);
                self.median[m] * lift
            });
            (first_token / first)
                .ln()
                .max((floor(reading.total_ms) / total).ln())
                / sigma
        } else if let Some(expected) = policy.expected_first_token_ms {
            (first_token / floor(expected)).ln() / sigma
        } else if reading.beyond_limits.is_some() {
            // Within the limits, and nothing else is known: an ordinary probe.
            0.0
        } else {
            return None;
        };
        Some(Step {
            z: z.clamp(-CLIP_DOWN, CLIP_UP.max(neutral + LEAST_STEP)),
            neutral,
        })
    }

    /// Takes one probe in. Says whether it was slow, and what has passed without an alert. Not called while an alert is
    /// open.
    pub(super) fn observe(
        &mut self,
        start: i64,
        end: i64,
        step: Option<Step>,
        evidence: f64,
    ) -> (bool, Option<Excursion>) {
        let Some(step) = step else {
            return (false, None);
        };
        let x = step.z - step.neutral;
        let lagging = x > 0.0;
        let mut passed = None;
        if lagging {
            if self.l <= 0.0 {
                self.since = Some(start);
                (self.k, self.n, self.peak) = (0, 0, 0.0);
            }
            self.l = (self.l + x).min(evidence + 3.0);
            self.peak = self.peak.max(self.l / evidence);
            self.last_slow = Some(end);
        } else if self.l > 0.0 {
            self.l += x;
        }
        if self.l > 0.0 {
            self.n += 1;
            self.k += u32::from(lagging);
        } else {
            passed = self.excursion();
            (self.l, self.since) = (0.0, None);
        }
        (lagging, passed)
    }

    /// Whether the evidence is enough for an alert, after a slow probe.
    pub(super) fn is_due(&self, policy: &Policy, end: i64) -> bool {
        self.l >= policy.evidence
            && self
                .since
                .is_some_and(|since| end - since >= policy.degraded_after_ms)
    }

    /// Whether this endpoint is healthy enough to be learned from.
    pub(super) fn may_learn(&self, policy: &Policy) -> bool {
        self.l < LEARN_BELOW * policy.evidence
    }

    /// Learns from a probe of normal times.
    pub(super) fn learn(&mut self, policy: &Policy, end: i64, reading: &Reading) {
        let now = [floor(reading.first_token_ms), floor(reading.total_ms)];
        self.level[0].add(now[0]);
        self.level[1].add(now[1]);
        self.learned = self.learned.saturating_add(1);
        self.stale += 1.0;
        if self.learned <= 1 {
            self.recent = now.map(f64::ln);
        } else {
            let a = (1.0 / f64::from(self.learned)).max(self.share(policy, end));
            for (recent, now) in self.recent.iter_mut().zip(now) {
                *recent += a * (now.ln() - *recent).clamp(-INNOVATION, INNOVATION);
            }
        }
        self.recent_at = end;
    }

    /// While nothing may be learned the recent level stands, and falls back to the long-term one when it is clear that
    /// this is no rush, or in an incident.
    pub(super) fn relax(&mut self, policy: &Policy, end: i64, in_incident: bool) {
        if self.median[0] <= 0.0 {
            return;
        }
        if in_incident || self.l >= RELAX_FROM * policy.evidence {
            let a = self.share(policy, end);
            for (recent, median) in self.recent.iter_mut().zip(self.median) {
                *recent += a * (median.ln() - *recent);
            }
        }
        self.recent_at = end;
    }

    /// Begins to collect what this incident is like, in case it is the new normal.
    pub(super) fn begin_incident(&mut self) {
        self.incident = Default::default();
    }

    /// Collects a probe of the incident.
    pub(super) fn collect(&mut self, reading: &Reading) {
        self.incident[0].add(floor(reading.first_token_ms));
        self.incident[1].add(floor(reading.total_ms));
    }

    /// The incident has lasted so long that it is the new normal.
    pub(super) fn accept_incident(&mut self) {
        self.level.clone_from(&self.incident);
        self.stale = STALE;
    }

    /// Forgets a little; called once a day.
    pub(super) fn forget(&mut self) {
        let factor = 0.5_f64.powf(1.0 / HALF_LIFE_DAYS);
        self.level.iter_mut().for_each(|h| h.scale(factor));
        self.stale = STALE;
    }

    /// Back to zero; what was learned stays.
    pub(super) fn empty(&mut self) {
        (self.l, self.since) = (0.0, None);
    }

    /// The weight of the time that has passed since the recent level was last touched.
    fn share(&self, policy: &Policy, end: i64) -> f64 {
        1.0 - (-(policy.interval_ms.min(end - self.recent_at) as f64) / RECENT_TAU_MS).exp()
    }
}

/// A latency of nothing has no logarithm.
fn floor(ms: f64) -> f64 {
    ms.max(1.0)
}
