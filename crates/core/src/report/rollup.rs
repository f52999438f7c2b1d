//! What many samples say together: counts, sums and mergeable sketches of latency per stretch of time. Pure.
//!
//! A [`Rollup`] of five minutes, an hour or a day is a fold over the samples that began in it, and merging the rollups
//! of two stretches equals the rollup of both. Latencies are kept as [DDSketch]es: every quantile is within 1 % of the
//! true one, however many are merged.
//!
//! [DDSketch]: https://arxiv.org/abs/1908.10693

use std::collections::BTreeMap;
use std::time::Duration;

use sketches_ddsketch::{Config, DDSketch};

use crate::model::{Attribution, Fault, Outcome, Sample, Timestamp};

/// How long a stretch one rollup covers. Stretches begin at multiples of their length since the Unix epoch, so days
/// are those of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resolution {
    /// Five minutes.
    FiveMinutes,
    /// An hour.
    Hour,
    /// A day, in UTC.
    Day,
}

impl Resolution {
    /// Every resolution, finest first.
    pub const ALL: [Self; 3] = [Self::FiveMinutes, Self::Hour, Self::Day];

    /// The length of a stretch.
    pub const fn length(self) -> Duration {
        match self {
            Self::FiveMinutes => Duration::from_mins(5),
            Self::Hour => Duration::from_hours(1),
            Self::Day => Duration::from_hours(24),
        }
    }

    /// The beginning of the stretch that `at` lies in.
    pub fn begin(self, at: Timestamp) -> Timestamp {
        floor(at, self.length())
    }

    /// The coarsest resolution that steps of `step` can be put together from; five minutes for anything shorter.
    pub fn for_step(step: Duration) -> Self {
        let fits = |r: &Self| step.as_millis().is_multiple_of(r.length().as_millis());
        Self::ALL
            .into_iter()
            .rev()
            .find(fits)
            .unwrap_or(Self::FiveMinutes)
    }
}

/// The beginning of the step of length `step` that `at` lies in.
pub fn floor(at: Timestamp, step: Duration) -> Timestamp {
    let step = i64::try_from(step.as_millis()).unwrap_or(i64::MAX).max(1);
    Timestamp(at.0.div_euclid(step) * step)
}

/// A mergeable summary of latencies, in milliseconds.
#[derive(Clone)]
pub struct Sketch(DDSketch);

impl Default for Sketch {
    fn default() -> Self {
        Self(DDSketch::new(Config::defaults()))
    }
}

impl Sketch {
    /// Takes one latency in.
    pub fn add(&mut self, ms: f64) {
        self.0.add(ms);
    }

    /// Takes in everything that `other` holds.
    pub fn merge(&mut self, other: &Self) {
        // All sketches here have the same parameters; only those of different ones cannot be merged.
        let _ = self.0.merge(&other.0);
    }

    /// How many latencies it holds.
    pub fn count(&self) -> u64 {
        self.0.count() as u64
    }

    /// The latency below which the share `q` (0 to 1) lies, to within 1 %; `None` if it holds none.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        self.0
            .quantile(q)
            .ok()
            .flatten()
            .map(|ms| (ms * 1000.0).round() / 1000.0)
    }

    /// The mean; `None` if it holds none.
    pub fn mean(&self) -> Option<f64> {
        self.0
            .sum()
            .filter(|_| self.count() > 0)
            .map(|sum| sum / self.count() as f64)
    }

    /// Its stored form, the portable one of the `DDSketch` libraries; empty if it holds nothing.
    pub fn to_bytes(&self) -> Vec<u8> {
        if self.count() == 0 {
            Vec::new()
        } else {
            self.0.to_java_bytes()
        }
    }

    /// Reads the stored form; `None` if it is none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self::default());
        }
        let read = DDSketch::from_java_bytes(bytes).ok()?;
        let mut sketch = Self::default();
        sketch.0.merge(&read).ok()?;
        Some(sketch)
    }
}

impl std::fmt::Debug for Sketch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Sketch({} latencies, median {:?})",
            self.count(),
            self.quantile(0.5)
        )
    }
}

/// The samples of one endpoint that began in one stretch of time.
#[derive(Debug, Clone, Default)]
pub struct Rollup {
    /// When the stretch begins.
    pub at: Timestamp,
    /// Good probes in the usual time.
    pub ok: u32,
    /// Good probes, but slow.
    pub slow: u32,
    /// Failed by the provider's fault.
    pub failed_provider: u32,
    /// Failed by the account's fault.
    pub failed_account: u32,
    /// Failed by this machine's fault.
    pub failed_local: u32,
    /// The failed ones by fault and attribution.
    pub faults: BTreeMap<(Fault, Attribution), u32>,
    /// Tokens of the prompts.
    pub input_tokens: u64,
    /// Tokens of the answers.
    pub output_tokens: u64,
    /// What the probes cost.
    pub cost_usd: f64,
    /// Time spent in the stages of the good probes.
    pub stages: StageSums,
    /// First tokens of the good probes.
    pub first_token: Sketch,
    /// Totals of the good probes.
    pub total: Sketch,
}

/// Microseconds spent in each stage, summed over the good probes of a rollup. A stage that was not needed (a kept
/// connection) adds nothing, so `sum / good` is what an average probe spends there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StageSums {
    /// Name resolution.
    pub dns_us: u64,
    /// TCP connection.
    pub tcp_us: u64,
    /// TLS handshake.
    pub tls_us: u64,
    /// From the request sent to the response headers.
    pub headers_us: u64,
}

impl Rollup {
    /// An empty one that begins at `at`.
    pub fn beginning(at: Timestamp) -> Self {
        Self {
            at,
            ..Self::default()
        }
    }

    /// Takes one sample in.
    pub fn add(&mut self, sample: &Sample) {
        self.input_tokens += u64::from(sample.input_tokens.unwrap_or(0));
        self.output_tokens += u64::from(sample.output_tokens.unwrap_or(0));
        self.cost_usd += sample.cost_usd.unwrap_or(0.0);
        match sample.outcome {
            Outcome::Ok => self.ok += 1,
            Outcome::Slow => self.slow += 1,
            Outcome::Failed => {
                let attribution = sample.attribution.unwrap_or(Attribution::Provider);
                match attribution {
                    Attribution::Provider => self.failed_provider += 1,
                    Attribution::Account => self.failed_account += 1,
                    Attribution::Local => self.failed_local += 1,
                }
                if let Some(fault) = sample.fault {
                    *self.faults.entry((fault, attribution)).or_default() += 1;
                }
                return;
            }
        }
        let us = |ms: Option<f64>| ms.map_or(0, |ms| (ms * 1000.0).round() as u64);
        self.stages.dns_us += us(sample.dns_ms);
        self.stages.tcp_us += us(sample.tcp_ms);
        self.stages.tls_us += us(sample.tls_ms);
        self.stages.headers_us += us(sample.headers_ms);
        for (sketch, ms) in [
            (&mut self.first_token, sample.first_token_ms),
            (&mut self.total, sample.total_ms),
        ] {
            if let Some(ms) = ms {
                sketch.add(ms);
            }
        }
    }

    /// Takes in everything that `other` holds; keeps the own beginning.
    pub fn merge(&mut self, other: &Self) {
        self.ok += other.ok;
        self.slow += other.slow;
        self.failed_provider += other.failed_provider;
        self.failed_account += other.failed_account;
        self.failed_local += other.failed_local;
        for (key, count) in &other.faults {
            *self.faults.entry(*key).or_default() += count;
        }
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        self.cost_usd += other.cost_usd;
        self.stages.dns_us += other.stages.dns_us;
        self.stages.tcp_us += other.stages.tcp_us;
        self.stages.tls_us += other.stages.tls_us;
        self.stages.headers_us += other.stages.headers_us;
        self.first_token.merge(&other.first_token);
        self.total.merge(&other.total);
    }

    /// Probes that were answered rightly, slow ones included.
    pub fn good(&self) -> u32 {
        self.ok + self.slow
    }

    /// Probes that failed, whoever's fault it was.
    pub fn failed(&self) -> u32 {
        self.failed_provider + self.failed_account + self.failed_local
    }

    /// All probes.
    pub fn probes(&self) -> u32 {
        self.good() + self.failed()
    }

    /// Share of good probes, 0 to 1. Faults of the account and of this machine do not count; `None` if nothing was
    /// measured.
    pub fn availability(&self) -> Option<f64> {
        let measured = self.good() + self.failed_provider;
        (measured > 0).then(|| f64::from(self.good()) / f64::from(measured))
    }
}
