//! The meters of slowness: a CUSUM of clipped log-latency against a learned level, for the first
//! token, the total and the time per output token each.
//!
//! The level is the median of a histogram with decay. It is corrected by the [usual](super::hours)
//! value of the same hour of the week, and raised when the last 40 minutes are slower. A probe
//! moves the meter by its distance from the level in standard deviations, minus the neutral
//! distance; one spike counts as three at most. The neutral distance is `slow_factor` to the power
//! 0.6 (1.5 × typical by default), and more where the endpoint's own spread or changing load makes
//! such latencies usual.

use serde::{Deserialize, Serialize, Serializer};

use super::histogram::Histogram;
use super::hours::Hours;
use super::patterns::Rush;
use super::verdict::Typical;
use super::{Episode, LatencyReading, Policy};
use crate::model::{ShiftClock, UsualHours};

/// The half-life of the level, in days. With a longer one, a model update that makes everything a
/// third slower would use up for days what the last 40 minutes may raise.
const HALF_LIFE_DAYS: f64 = 1.0;
/// The time constant of the recent level: 40 minutes.
const RECENT_TAU_MS: f64 = 2_400_000.0;
/// The maximum step of the recent level by one probe, as a natural logarithm.
const INNOVATION: f64 = 0.7;
/// The neutral latency is `slow_factor` to this power times typical.
const NEUTRAL: f64 = 0.6;
/// How far a single probe may move the meter.
const CLIP_DOWN: f64 = 2.0;
const CLIP_UP: f64 = 3.0;
/// The minimum step by a slow probe. Without it, an endpoint with a very small spread would hardly
/// move the meter, because its steps are clipped at three of its deviations.
const LEAST_STEP: f64 = 1.0;
/// The additional step for a probe far beyond slow, from another half slower, and its maximum.
const STEP_BEYOND: f64 = 0.4;
const STEP_SLOPE: f64 = 1.5;
const MAX_STEP: f64 = 2.0;
/// How much the last 40 minutes can raise the level, as a natural logarithm: by half.
const LIFT_CAP: f64 = 0.405;
/// The minimum neutral distance, in standard deviations, and the share of the changing level's
/// spread that is added to it. With less drift the meter would rise by chance.
const NOISE: f64 = 0.6;
const NOISE_WANDER: f64 = 0.5;
/// The minimum neutral distance, in spreads of the changing level.
const WANDER: f64 = 3.8;
/// The assumed spread of the changing level before it is known, and how much time that is worth.
const WANDER_PRIOR: f64 = 0.15;
const WANDER_PRIOR_MS: f64 = 21_600_000.0;
/// The minimum spread.
const LEAST_SIGMA: f64 = 0.15;
/// The assumed spread of a time to first token of which only the usual value is configured.
const EXPECTED_SIGMA: f64 = 0.35;
/// A slow period that never reached this share of the evidence was an ordinary spike and is not
/// logged.
const BLIP_FROM: f32 = 0.3;
/// From this many times the mean chance excursion on, nothing is learned, so that the level does
/// not follow slow probes; fewer where probes are rare, because each of them moves the recent level
/// more.
const EXCURSIONS: f64 = 4.5;
const EXCURSIONS_SPARSE: f64 = 2.25;
/// The share of the evidence from which the recent level returns to the long-term one. Between the
/// two it stays, as during an evening rush.
const RELAX_FROM: f64 = 0.6;
/// The quantiles are recomputed after this many probes.
const STALE: f32 = 32.0;
/// How many times slower than usual an hour must be to be part of a rush.
const RUSH_FACTOR: f64 = 1.5;
/// The range of a measurement in its hour, as natural logarithms relative to the level.
const HOUR_CLIP: (f64, f64) = (-1.2, 2.0);

/// How one good probe compares with the learned level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LatencyStep {
    /// The clipped distance, in standard deviations.
    pub(super) z: f64,
    /// The distance at which the meter does not move.
    pub(super) neutral: f64,
}

/// One step for each measure.
pub(super) type Steps = [Option<LatencyStep>; MEASURES];
const MEASURES: usize = 3;
type Values = [Option<f64>; MEASURES];

/// The meters of one endpoint: first token, total, time per token.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "StoredSlowness")]
pub(super) struct Slowness {
    meters: [SlowMeter; MEASURES],
    /// The usual time to first token and per token in each hour of the week; the total consists of
    /// both.
    hours: [Hours<WEEKS>; 2],
}

/// The form in a checkpoint: that of this release, or that of 0.1, which had one meter.
#[derive(Default, Deserialize)]
#[serde(default)]
struct StoredSlowness {
    meters: Option<[SlowMeter; MEASURES]>,
    hours: [Hours<WEEKS>; 2],
    level: [Histogram; 2],
    learned: u32,
    sigma: f64,
    median: [f64; 2],
    recent: [f64; 2],
    recent_at: i64,
}

impl From<StoredSlowness> for Slowness {
    fn from(stored: StoredSlowness) -> Self {
        let learned = stored.learned;
        let sigma = stored.sigma as f32;
        let recent_at = stored.recent_at;
        let meters = stored.meters.unwrap_or_else(|| {
            let [first, total] = stored.level;
            // Both meters had these in common.
            let shared = SlowMeter {
                learned,
                stale: STALE,
                sigma,
                recent_at,
                ..SlowMeter::default()
            };
            let first = SlowMeter {
                level: first,
                median: stored.median[0] as f32,
                recent: stored.recent[0] as f32,
                ..shared.clone()
            };
            let total = SlowMeter {
                level: total,
                median: stored.median[1] as f32,
                recent: stored.recent[1] as f32,
                ..shared
            };
            [first, total, SlowMeter::default()]
        });
        Self {
            meters,
            hours: stored.hours,
        }
    }
}

/// Days of stored hours: two weeks and a day.
const WEEKS: usize = 15;

/// How much the level changes within an hour, from the part of one probe's deviation that is left
/// in the next. A checkpoint has the fields without their names, as those of the meter.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Wander {
    last: f32,
    last_at: i64,
    sum: f32,
    weight: f32,
    /// The values of an excursion that has not ended. An alert discards them.
    pending: (f32, f32),
}

impl Serialize for Wander {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let Self {
            last,
            last_at,
            sum,
            weight,
            pending,
        } = self;
        (last, last_at, sum, weight, pending).serialize(s)
    }
}

/// The state of the meter of one measure.
///
/// A checkpoint has the fields in this order and without their names, which would be a fifth of it.
/// Fields with names, as earlier releases wrote them, are read too.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct SlowMeter {
    /// The evidence.
    l: f32,
    /// The start of the first slow probe of this excursion above zero.
    since: Option<i64>,
    k: u32,
    n: u32,
    last_slow: Option<i64>,
    /// The most evidence of this excursion, as a share of what an alert needs.
    peak: f32,
    level: Histogram,
    learned: u32,
    stale: f32,
    median: f32,
    sigma: f32,
    /// The recent level, as a mean of logarithms, and when it was last touched.
    recent: f32,
    recent_at: i64,
    wander: Wander,
    /// How much slower the open incident is, as a mean of natural logarithms, and of how many
    /// probes.
    incident: f32,
    incident_n: u32,
}

impl Serialize for SlowMeter {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let Self {
            l,
            since,
            k,
            n,
            last_slow,
            peak,
            level,
            learned,
            stale,
            median,
            sigma,
            recent,
            recent_at,
            wander,
            incident,
            incident_n,
        } = self;
        let row = (
            l, since, k, n, last_slow, peak, level, learned, stale, median, sigma, recent,
            recent_at, wander, incident, incident_n,
        );
        row.serialize(s)
    }
}

impl Slowness {
    /// Returns the meter with the most evidence.
    fn leading(&self) -> &SlowMeter {
        let [first, total, token] = &self.meters;
        let mut best = first;
        for other in [total, token] {
            if other.l > best.l {
                best = other;
            }
        }
        best
    }

    pub(super) fn evidence(&self) -> f64 {
        f64::from(self.leading().l)
    }

    pub(super) fn since(&self) -> Option<i64> {
        self.leading().since
    }

    /// Returns the start of the first slow probe of all measures.
    pub(super) fn earliest_since(&self) -> Option<i64> {
        self.meters.iter().filter_map(|m| m.since).min()
    }

    pub(super) fn last_slow(&self) -> Option<i64> {
        self.leading().last_slow
    }

    /// Returns the slow probes and all probes of this excursion.
    pub(super) fn counts(&self) -> (u32, u32) {
        (self.leading().k, self.leading().n)
    }

    /// Returns the episode since the evidence was last zero, if it is more than a spike.
    pub(super) fn excursion(&self) -> Option<Episode> {
        self.leading().excursion()
    }

    pub(super) fn typical(&self, policy: &Policy, failure_rate: Option<f64>) -> Typical {
        let [first, total, _] = &self.meters;
        let known = |m: &SlowMeter| {
            (m.learned >= policy.warm && m.median > 0.0).then_some(f64::from(m.median))
        };
        let first_token_ms = known(first);
        Typical {
            failure_rate,
            first_token_ms: first_token_ms.or(policy.expected_first_token_ms),
            total_ms: total.known_median(policy).or(first_token_ms),
        }
    }

    /// Compares a good probe with the level. `None` for any other probe, or if no level is known.
    pub(super) fn compare(
        &mut self,
        policy: &Policy,
        end: i64,
        reading: Option<&LatencyReading>,
    ) -> Steps {
        let Some(reading) = reading else {
            return [None; MEASURES];
        };
        for hours in &mut self.hours {
            hours.advance(end);
        }
        let usual = self.usual(end);
        let values = measures(reading);
        let mut steps = [None; MEASURES];
        for (i, meter) in self.meters.iter_mut().enumerate() {
            if let Some(value) = values[i] {
                steps[i] = meter.compare(policy, usual[i], value);
            }
        }
        if reading.beyond_limits == Some(true) {
            // A limit set by the user counts in full, whatever was learned.
            let neutral = steps[0].map_or(policy.neutral / EXPECTED_SIGMA, |s| s.neutral);
            steps[0] = Some(LatencyStep {
                z: neutral + CLIP_UP,
                neutral,
            });
        } else if steps[0].is_none() {
            let neutral = policy.neutral / EXPECTED_SIGMA;
            if let Some(expected) = policy.expected_first_token_ms {
                let z = (floor(reading.first_token_ms) / floor(expected)).ln() / EXPECTED_SIGMA;
                let beyond = z * EXPECTED_SIGMA - policy.neutral / NEUTRAL;
                steps[0] = Some(LatencyStep::clipped(z, neutral, beyond));
            } else if reading.beyond_limits.is_some() {
                // Within the limits, and no level is known: an ordinary probe.
                steps[0] = Some(LatencyStep { z: 0.0, neutral });
            }
        }
        steps
    }

    /// Evaluates one probe. Returns whether it was slow, and the episode that ended without an
    /// alert. Not called while an alert is open.
    pub(super) fn observe(
        &mut self,
        start: i64,
        end: i64,
        steps: Steps,
        evidence: f64,
    ) -> (bool, Option<Episode>) {
        let was = self.excursion();
        let mut lagging = false;
        for (meter, step) in self.meters.iter_mut().zip(steps) {
            if let Some(step) = step {
                lagging |= meter.observe(start, end, step, evidence);
            }
        }
        let passed = was.filter(|_| self.evidence() <= 0.0);
        (lagging, passed)
    }

    /// Reports whether the evidence is enough for an alert, after a slow probe.
    pub(super) fn is_due(&self, policy: &Policy, end: i64) -> bool {
        self.meters.iter().any(|m| {
            f64::from(m.l) >= policy.evidence
                && m.last_slow == Some(end)
                && m.since
                    .is_some_and(|since| end - since >= policy.degraded_after_ms)
        })
    }

    /// Learns from a good probe while no alert is open.
    pub(super) fn learn(&mut self, policy: &Policy, end: i64, reading: &LatencyReading) {
        let values = measures(reading);
        self.remember(policy, end, values);
        let usual = self.usual(end);
        for (i, meter) in self.meters.iter_mut().enumerate() {
            let Some(value) = values[i] else { continue };
            if meter.may_learn(policy) {
                meter.learn(policy, end, usual[i], value);
            } else {
                meter.relax(
                    policy,
                    end,
                    f64::from(meter.l) >= RELAX_FROM * policy.evidence,
                );
            }
        }
    }

    /// Handles a good probe whose latency does not count, or one during an incident.
    pub(super) fn relax(
        &mut self,
        policy: &Policy,
        end: i64,
        reading: Option<&LatencyReading>,
        in_incident: bool,
    ) {
        let values = reading.map(measures).unwrap_or_default();
        self.remember(policy, end, values);
        for meter in &mut self.meters {
            let fall = in_incident || f64::from(meter.l) >= RELAX_FROM * policy.evidence;
            meter.relax(policy, end, fall);
        }
    }

    /// Returns the usual value of each measure in this hour of the week, as a difference of natural
    /// logarithms.
    fn usual(&self, at: i64) -> [f64; MEASURES] {
        let [first, token] = [0, 1].map(|i| self.hours[i].usual(at));
        let share =
            f64::from(self.meters[0].median / self.meters[1].median.max(1.0)).clamp(0.0, 1.0);
        [first, share * first + (1.0 - share) * token, token]
    }

    /// Stores the measurements of this hour, during an incident too.
    fn remember(&mut self, policy: &Policy, end: i64, values: Values) {
        let usual = self.usual(end);
        for (i, meter) in self.meters.iter_mut().enumerate() {
            if let Some(difference) =
                values[i].and_then(|v| meter.remember(policy, end, usual[i], v))
            {
                match i {
                    0 => self.hours[0].add(difference),
                    2 => self.hours[1].add(difference),
                    _ => {}
                }
            }
        }
    }

    /// Returns how much slower than typical the first token usually is in each hour of the week.
    pub(super) fn usual_hours(&self) -> UsualHours {
        self.hours[0].week()
    }

    /// Returns the hours of weekdays in which the first token is slower than usual.
    pub(super) fn rush(&self) -> Option<Rush> {
        self.hours[0].rush(RUSH_FACTOR)
    }

    /// Starts to collect the latencies of this incident, in case they become the new baseline.
    pub(super) fn begin_incident(&mut self) {
        for meter in &mut self.meters {
            (meter.incident, meter.incident_n) = (0.0, 0);
            meter.wander.pending = (0.0, 0.0);
        }
    }

    /// Collects a probe of the incident.
    pub(super) fn collect(&mut self, end: i64, reading: &LatencyReading) {
        let values = measures(reading);
        let usual = self.usual(end);
        for (i, meter) in self.meters.iter_mut().enumerate() {
            if let Some(value) = values[i].filter(|_| meter.median > 0.0) {
                let by = meter.without_usual(usual[i], value) - meter.typical_ln();
                meter.incident_n = meter.incident_n.saturating_add(1);
                let share = (1.0 / meter.incident_n as f32).max(0.01);
                meter.incident += share * (by as f32 - meter.incident);
            }
        }
    }

    /// Makes the latencies of the incident the new baseline.
    pub(super) fn accept_incident(&mut self) {
        for meter in &mut self.meters {
            // Slowness never makes the level faster.
            let by = f64::from(meter.incident).max(0.0);
            meter.level.shift(by);
            meter.recent += by as f32;
            meter.stale = STALE;
            (meter.incident, meter.incident_n) = (0.0, 0);
        }
    }

    /// Applies the decay of one day.
    pub(super) fn forget(&mut self) {
        let factor = 0.5_f64.powf(1.0 / HALF_LIFE_DAYS);
        for meter in &mut self.meters {
            meter.level.scale(factor);
            if meter.level.is_empty() {
                // After a long pause nothing is left, and the level is learned again.
                meter.learned = 0;
            }
            meter.stale = STALE;
            meter.wander.sum *= factor as f32;
            meter.wander.weight *= factor as f32;
        }
    }

    /// Resets the evidence; the learned level stays.
    pub(super) fn empty(&mut self) {
        for meter in &mut self.meters {
            (meter.l, meter.since) = (0.0, None);
        }
    }
}

/// Returns the worst step: the one farthest beyond its neutral distance.
pub(super) fn worst(steps: Steps) -> Option<LatencyStep> {
    steps
        .into_iter()
        .flatten()
        .max_by(|a, b| (a.z - a.neutral).total_cmp(&(b.z - b.neutral)))
}

/// Returns the values to compare, where known. The time per token is that of 100 tokens.
fn measures(reading: &LatencyReading) -> Values {
    let first = floor(reading.first_token_ms);
    let total = floor(reading.total_ms);
    [
        Some(first),
        (total > first).then_some(total),
        reading.per_token_ms.map(|ms| 100.0 * floor(ms)),
    ]
}

impl LatencyStep {
    /// Creates a step. `beyond` is how much slower than slow the probe was, as a natural logarithm.
    fn clipped(z: f64, neutral: f64, beyond: f64) -> Self {
        let most = LEAST_STEP + STEP_SLOPE * (beyond - STEP_BEYOND);
        let most = most.clamp(LEAST_STEP, MAX_STEP);
        Self {
            z: z.clamp(-CLIP_DOWN, CLIP_UP.max(neutral + most)),
            neutral,
        }
    }
}

impl SlowMeter {
    /// Returns the median in milliseconds, once enough probes have been learned.
    fn known_median(&self, policy: &Policy) -> Option<f64> {
        (self.learned >= policy.warm && self.median > 0.0).then_some(f64::from(self.median))
    }

    fn excursion(&self) -> Option<Episode> {
        let since = self.since?;
        let until = self.last_slow?;
        (self.peak >= BLIP_FROM).then_some(Episode {
            since,
            until,
            k: self.k,
            n: self.n,
        })
    }

    fn compare(&mut self, policy: &Policy, usual: f64, value: f64) -> Option<LatencyStep> {
        if self.stale >= STALE && self.learned >= 10 {
            let median = self.level.quantile(0.5);
            let sigma = (self.level.quantile(0.84) / median).ln();
            (self.median, self.sigma) = (median as f32, sigma.max(LEAST_SIGMA) as f32);
            self.stale = 0.0;
        }
        if self.learned < policy.warm || self.median <= 0.0 {
            return None;
        }
        let sigma = f64::from(self.sigma);
        let lift = (f64::from(self.recent) - self.typical_ln()).clamp(0.0, LIFT_CAP);
        let z = (value.ln() - self.typical_ln() - usual - lift) / sigma;
        let neutral = self.neutral(policy);
        let beyond = z * sigma - policy.neutral / NEUTRAL;
        Some(LatencyStep::clipped(z, neutral, beyond))
    }

    /// The logarithm of the level.
    fn typical_ln(&self) -> f64 {
        f64::from(self.median).ln()
    }

    /// The distance at which the meter stands still, in standard deviations.
    fn neutral(&self, policy: &Policy) -> f64 {
        let sigma = f64::from(self.sigma);
        let wander = self.wander.spread(policy) / sigma;
        (policy.neutral / sigma)
            .max(NOISE + NOISE_WANDER * wander)
            .max(WANDER * wander)
    }

    /// Whether the evidence is no more than what chance alone makes of the learned spread.
    fn may_learn(&self, policy: &Policy) -> bool {
        if self.sigma <= 0.0 {
            return true;
        }
        let excursions = if policy.is_sparse() {
            EXCURSIONS_SPARSE
        } else {
            EXCURSIONS
        };
        // A walk with a drift of `-neutral` has a mean excursion of `1 / (2 neutral)`.
        f64::from(self.l) < excursions / (2.0 * self.neutral(policy))
    }

    fn observe(&mut self, start: i64, end: i64, step: LatencyStep, evidence: f64) -> bool {
        let x = step.z - step.neutral;
        let lagging = x > 0.0;
        if lagging {
            if self.l <= 0.0 {
                self.since = Some(start);
                (self.k, self.n, self.peak) = (0, 0, 0.0);
            }
            self.l = (f64::from(self.l) + x).min(evidence + 3.0) as f32;
            self.peak = self.peak.max(self.l / evidence as f32);
            self.last_slow = Some(end);
        } else if self.l > 0.0 {
            self.l += x as f32;
        }
        if self.l > 0.0 {
            self.n += 1;
            self.k += u32::from(lagging);
        } else {
            (self.l, self.since) = (0.0, None);
        }
        lagging
    }

    /// Updates how much the level changes. Returns the difference from the level of all hours.
    fn remember(&mut self, policy: &Policy, end: i64, usual: f64, value: f64) -> Option<f64> {
        if self.learned < policy.warm || self.median <= 0.0 {
            return None;
        }
        let most = 2.0 * f64::from(self.sigma);
        let deviation = (value.ln() - usual - f64::from(self.recent)).clamp(-most, most);
        let at_zero = self.l <= 0.0;
        self.wander.add(policy, end, deviation, at_zero);
        let (low, high) = HOUR_CLIP;
        Some((value.ln() - self.typical_ln()).clamp(low, high))
    }

    fn learn(&mut self, policy: &Policy, end: i64, usual: f64, value: f64) {
        let now = self.without_usual(usual, value);
        self.level.add(now.exp());
        self.learned = self.learned.saturating_add(1);
        self.stale += 1.0;
        if self.learned <= 1 {
            self.recent = now as f32;
        } else {
            let a = (1.0 / f64::from(self.learned)).max(self.share(policy, end));
            let innovation = (now - f64::from(self.recent)).clamp(-INNOVATION, INNOVATION);
            self.recent += (a * innovation) as f32;
        }
        self.recent_at = end;
    }

    /// Returns the natural logarithm of what the value would be in an ordinary hour.
    ///
    /// The correction never makes a value faster than both itself and the level. So the level is
    /// never below the fastest value measured, even when a rush has ended and its hours are still
    /// remembered, and a probe that is as fast as ever is never slow.
    fn without_usual(&self, usual: f64, value: f64) -> f64 {
        let plain = value.ln();
        let corrected = plain - usual;
        if self.median > 0.0 {
            corrected.max(plain.min(self.typical_ln()))
        } else {
            corrected
        }
    }

    /// Keeps the recent level while nothing may be learned, or returns it to the long-term one.
    fn relax(&mut self, policy: &Policy, end: i64, fall: bool) {
        if self.median <= 0.0 {
            return;
        }
        if fall {
            let a = self.share(policy, end);
            self.recent += (a * (self.typical_ln() - f64::from(self.recent))) as f32;
        }
        self.recent_at = end;
    }

    /// Returns the weight of the time since the recent level was last updated, 0 to 1.
    fn share(&self, policy: &Policy, end: i64) -> f64 {
        1.0 - (-(policy.interval_ms.min(end - self.recent_at) as f64) / RECENT_TAU_MS).exp()
    }
}

impl Wander {
    fn add(&mut self, policy: &Policy, end: i64, deviation: f64, at_zero: bool) {
        let since = end - self.last_at;
        if since < policy.interval_ms / 2 {
            return;
        }
        if since < 3 * policy.interval_ms {
            self.pending.0 += self.last * deviation as f32;
            self.pending.1 += 1.0;
        }
        (self.last, self.last_at) = (deviation as f32, end);
        if at_zero {
            self.sum += self.pending.0;
            self.weight += self.pending.1;
            self.pending = (0.0, 0.0);
        }
    }

    /// Returns the spread of the changing level, as a natural logarithm.
    fn spread(&self, policy: &Policy) -> f64 {
        let prior = WANDER_PRIOR_MS / policy.interval_ms as f64;
        let variance = f64::from(self.sum) + prior * WANDER_PRIOR * WANDER_PRIOR;
        (variance / (f64::from(self.weight) + prior))
            .max(0.0)
            .sqrt()
    }
}

/// Avoids the logarithm of zero.
fn floor(ms: f64) -> f64 {
    ms.max(1.0)
}

impl ShiftClock for Slowness {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self { meters, hours: _ } = self;
        meters.shift_clock(by_ms);
    }
}

impl ShiftClock for Wander {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self {
            last_at,
            last: _,
            sum: _,
            weight: _,
            pending: _,
        } = self;
        last_at.shift_clock(by_ms);
    }
}

impl ShiftClock for SlowMeter {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self {
            wander,
            recent_at,
            since,
            last_slow,
            l: _,
            k: _,
            n: _,
            peak: _,
            level: _,
            learned: _,
            stale: _,
            median: _,
            sigma: _,
            recent: _,
            incident: _,
            incident_n: _,
        } = self;
        wander.shift_clock(by_ms);
        recent_at.shift_clock(by_ms);
        since.shift_clock(by_ms);
        last_slow.shift_clock(by_ms);
    }
}
