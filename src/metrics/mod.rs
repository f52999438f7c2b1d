//! What a metrics system gets: counters of this process and the snapshot, as OpenMetrics or Prometheus text, and as OTLP.
//!
//! The pipeline counts every sample once, in [`Counters`]; everything else is read from the snapshot when somebody asks.
//! Labels come from the configuration and from closed sets, so the number of series is bounded by the number of
//! endpoints.

pub mod text;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::{Attribution, Fault, Outcome, Provider, Sample, Timestamp};

/// Upper bounds of the buckets, in seconds: those of OpenTelemetry's conventions for generative AI, two finer ones for DNS and
/// TCP. Quantiles of a report come from the store and not from these.
pub const BOUNDS: [f64; 16] =
    [0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
/// A longer request id is no exemplar: OpenMetrics allows 128 characters of labels.
const MOST_EXEMPLAR: usize = 100;

/// A distribution in fixed buckets.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Histogram {
    /// Observations per bucket, the last one beyond every bound.
    pub buckets: [u64; BOUNDS.len() + 1],
    /// All observations.
    pub count: u64,
    /// Their sum, in seconds.
    pub sum: f64,
    /// The last one that has a request id.
    pub exemplar: Option<Exemplar>,
}

/// One observation that can be looked up at the vendor.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    /// The vendor's id of the request.
    pub request_id: String,
    /// The observation, in seconds.
    pub seconds: f64,
    /// When it was made.
    pub at: Timestamp,
}

impl Histogram {
    fn observe(&mut self, ms: f64, sample: &Sample) {
        let seconds = ms / 1000.0;
        self.buckets[bucket(seconds)] += 1;
        self.count += 1;
        self.sum += seconds;
        if let Some(id) = sample.request_id.as_ref().filter(|id| id.len() <= MOST_EXEMPLAR) {
            self.exemplar = Some(Exemplar { request_id: id.clone(), seconds, at: sample.started_at });
        }
    }
}

/// The bucket that an observation of `seconds` falls into.
pub fn bucket(seconds: f64) -> usize {
    BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len())
}

/// The names of the stages, in the order of [`EndpointCounters::stages`].
pub const STAGES: [&str; 6] = ["dns", "tcp", "tls", "headers", "first_token", "total"];

/// What was counted of one endpoint since this process began.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointCounters {
    /// Its dialect.
    pub provider: Provider,
    /// Its model; empty if it has none.
    pub model: String,
    /// Whether the last probe was good.
    pub success: bool,
    /// Probes by how they ended.
    pub probes: BTreeMap<(Outcome, Option<Fault>, Option<Attribution>), u64>,
    /// A distribution per stage; `total` of good probes only, the others wherever the stage was reached.
    pub stages: [Histogram; STAGES.len()],
    /// How long failed probes took, by fault.
    pub failures: BTreeMap<Fault, Histogram>,
    /// Tokens of the prompts.
    pub input_tokens: u64,
    /// Tokens of the answers.
    pub output_tokens: u64,
    /// What the probes cost.
    pub cost_usd: f64,
    /// Requests left in the rate limit's window, as the provider said last.
    pub ratelimit_requests: Option<i64>,
    /// Tokens left in it.
    pub ratelimit_tokens: Option<i64>,
}

/// Everything that was counted.
#[derive(Debug, Clone)]
pub struct Counted {
    /// By endpoint.
    pub endpoints: BTreeMap<String, EndpointCounters>,
    /// How late probes began.
    pub schedule_lag: Histogram,
    /// Whether the last reload of the configuration succeeded.
    pub reload_successful: bool,
}

/// The counters of this process. Clones share them.
#[derive(Debug, Clone)]
pub struct Counters(Arc<Mutex<Counted>>);

impl Default for Counters {
    fn default() -> Self {
        let nothing =
            Counted { endpoints: BTreeMap::new(), schedule_lag: Histogram::default(), reload_successful: true };
        Self(Arc::new(Mutex::new(nothing)))
    }
}

impl Counters {
    /// Counts one completed sample.
    pub fn count(&self, sample: &Sample) {
        let mut counted = self.lock();
        counted.schedule_lag.observe(sample.schedule_lag_ms, sample);
        counted.schedule_lag.exemplar = None;
        let one = counted.endpoints.entry(sample.endpoint.clone()).or_insert_with(|| EndpointCounters {
            provider: sample.provider,
            model: String::new(),
            success: false,
            probes: BTreeMap::new(),
            stages: std::array::from_fn(|_| Histogram::default()),
            failures: BTreeMap::new(),
            input_tokens: 0,
            output_tokens: 0,
            cost_usd: 0.0,
            ratelimit_requests: None,
            ratelimit_tokens: None,
        });
        let good = sample.outcome != Outcome::Failed;
        one.provider = sample.provider;
        sample.model.as_deref().unwrap_or_default().clone_into(&mut one.model);
        one.success = good;
        *one.probes.entry((sample.outcome, sample.fault, sample.attribution)).or_default() += 1;
        let reached = [
            sample.dns_ms,
            sample.tcp_ms,
            sample.tls_ms,
            sample.headers_ms,
            sample.first_token_ms,
            sample.total_ms.filter(|_| good),
        ];
        for (stage, ms) in one.stages.iter_mut().zip(reached) {
            if let Some(ms) = ms {
                stage.observe(ms, sample);
            }
        }
        if let (Some(fault), Some(ms)) = (sample.fault, sample.total_ms) {
            one.failures.entry(fault).or_default().observe(ms, sample);
        }
        one.input_tokens += u64::from(sample.input_tokens.unwrap_or(0));
        one.output_tokens += u64::from(sample.output_tokens.unwrap_or(0));
        one.cost_usd += sample.cost_usd.unwrap_or(0.0);
        one.ratelimit_requests = sample.ratelimit_remaining_requests.or(one.ratelimit_requests);
        one.ratelimit_tokens = sample.ratelimit_remaining_tokens.or(one.ratelimit_tokens);
    }

    /// Forgets the endpoints that are not configured any more.
    pub fn retain(&self, known: impl Fn(&str) -> bool) {
        self.lock().endpoints.retain(|name, _| known(name));
    }

    /// Records how a reload of the configuration went.
    pub fn reloaded(&self, successful: bool) {
        self.lock().reload_successful = successful;
    }

    /// Everything as it is now.
    pub fn read(&self) -> Counted {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the operating system says about this process.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Process {
    /// Processor time used, in seconds.
    pub cpu_seconds: f64,
    /// Memory in use, in bytes.
    pub resident_bytes: u64,
    /// Address space, in bytes.
    pub virtual_bytes: u64,
    /// Open files and sockets.
    pub open_fds: u64,
    /// The most it may open.
    pub max_fds: u64,
    /// When it began, in seconds since the Unix epoch.
    pub started_s: f64,
}
