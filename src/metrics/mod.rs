//! What a metrics system gets: counters of this process and the snapshot, as OpenMetrics or Prometheus text, and as OTLP.
//!
//! The pipeline counts every sample once, in [`Counters`]; everything else is read from the snapshot when somebody asks.
//! Labels come from the configuration and from closed sets, so the number of series is bounded by the number of
//! endpoints.

pub mod export;
pub mod otlp;
pub mod process;
pub mod text;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use llmwatch_core::model::Snapshot;
use llmwatch_core::model::{
    Attribution, EndpointName, Fault, Outcome, Provider, Sample, Timestamp,
};

/// Upper bounds of the buckets, in seconds: those of OpenTelemetry's conventions for generative AI, two finer ones for DNS and
/// TCP. Quantiles of a report come from the store and not from these.
pub const BOUNDS: [f64; 16] = [
    0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96,
    81.92,
];
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
        if let Some(id) = sample
            .request_id
            .as_ref()
            .filter(|id| id.len() <= MOST_EXEMPLAR)
        {
            self.exemplar = Some(Exemplar {
                request_id: id.clone(),
                seconds,
                at: sample.started_at,
            });
        }
    }
}

/// The bucket that an observation of `seconds` falls into.
pub fn bucket(seconds: f64) -> usize {
    BOUNDS
        .iter()
        .position(|bound| seconds <= *bound)
        .unwrap_or(BOUNDS.len())
}

/// Upper bounds of the buckets of tokens, as OpenTelemetry's conventions have them.
pub const TOKEN_BOUNDS: [u64; 14] = {
    let mut bounds = [1; 14];
    let mut at = 1;
    while at < bounds.len() {
        bounds[at] = bounds[at - 1] * 4;
        at += 1;
    }
    bounds
};

/// How many tokens operations used.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TokenHistogram {
    /// Operations per bucket, the last one beyond every bound.
    pub buckets: [u64; TOKEN_BOUNDS.len() + 1],
    /// All operations whose tokens are known.
    pub count: u64,
    /// All tokens.
    pub sum: u64,
}

impl TokenHistogram {
    fn observe(&mut self, tokens: Option<u32>) {
        let Some(tokens) = tokens.map(u64::from) else {
            return;
        };
        self.buckets[TOKEN_BOUNDS
            .iter()
            .position(|bound| tokens <= *bound)
            .unwrap_or(TOKEN_BOUNDS.len())] += 1;
        self.count += 1;
        self.sum += tokens;
    }
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
    /// Whether the last probe succeeded.
    pub success: bool,
    /// Probes by how they ended.
    pub probes: BTreeMap<(Outcome, Option<Fault>, Option<Attribution>), u64>,
    /// A distribution per stage; `total` of good probes only, the others wherever the stage was reached.
    pub stages: [Histogram; STAGES.len()],
    /// How long failed probes took, by fault.
    pub failures: BTreeMap<Fault, Histogram>,
    /// Tokens of the prompts.
    pub input: TokenHistogram,
    /// Tokens of the answers.
    pub output: TokenHistogram,
    /// What the probes cost.
    pub cost_usd: f64,
    /// Requests left in the rate limit's window, as the provider said last.
    pub ratelimit_requests: Option<i64>,
    /// Tokens left in it.
    pub ratelimit_tokens: Option<i64>,
    /// When the server's certificate expires.
    pub tls_expires_at: Option<Timestamp>,
    /// When the model is shut down, if its vendor has said so.
    pub model_retires_at: Option<Timestamp>,
}

impl EndpointCounters {
    fn new(provider: Provider) -> Self {
        Self {
            provider,
            model: String::new(),
            success: false,
            probes: BTreeMap::new(),
            stages: std::array::from_fn(|_| Histogram::default()),
            failures: BTreeMap::new(),
            input: TokenHistogram::default(),
            output: TokenHistogram::default(),
            cost_usd: 0.0,
            ratelimit_requests: None,
            ratelimit_tokens: None,
            tls_expires_at: None,
            model_retires_at: None,
        }
    }
}

/// Everything that was counted.
#[derive(Debug, Clone)]
pub struct Counted {
    /// By endpoint; who reads them shares them until they change.
    pub endpoints: BTreeMap<EndpointName, Arc<EndpointCounters>>,
    /// Delay of probes behind their schedule.
    pub schedule_lag: Histogram,
    /// Whether the last reload of the configuration succeeded.
    pub reload_successful: bool,
}

/// The counters of this process. Clones share them.
#[derive(Debug, Clone)]
pub struct Counters(Arc<Mutex<Counted>>);

impl Default for Counters {
    fn default() -> Self {
        let nothing = Counted {
            endpoints: BTreeMap::new(),
            schedule_lag: Histogram::default(),
            reload_successful: true,
        };
        Self(Arc::new(Mutex::new(nothing)))
    }
}

impl Counters {
    /// Counts one completed sample.
    pub fn count(&self, sample: &Sample) {
        let mut counted = self.lock();
        counted.schedule_lag.observe(sample.schedule_lag_ms, sample);
        counted.schedule_lag.exemplar = None;
        let one = counted
            .endpoints
            .entry(sample.endpoint.clone())
            .or_insert_with(|| Arc::new(EndpointCounters::new(sample.provider)));
        let one = Arc::make_mut(one);
        let good = sample.outcome != Outcome::Failed;
        one.provider = sample.provider;
        sample
            .model
            .as_deref()
            .unwrap_or_default()
            .clone_into(&mut one.model);
        one.success = good;
        *one.probes
            .entry((sample.outcome, sample.fault, sample.attribution))
            .or_default() += 1;
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
        one.input.observe(sample.input_tokens);
        one.output.observe(sample.output_tokens);
        one.cost_usd += sample.cost_usd.unwrap_or(0.0);
        one.ratelimit_requests = sample
            .ratelimit_remaining_requests
            .or(one.ratelimit_requests);
        one.ratelimit_tokens = sample.ratelimit_remaining_tokens.or(one.ratelimit_tokens);
        one.tls_expires_at = sample.tls_expires_at.or(one.tls_expires_at);
        one.model_retires_at = sample.model_retires_at.or(one.model_retires_at);
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

/// How many incidents are open, by provider and attribution; every possible pair is there.
fn incidents_open(snapshot: &Snapshot) -> BTreeMap<(&str, &str), u64> {
    let mut open: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for e in &snapshot.endpoints {
        let attributions = [
            Attribution::Provider,
            Attribution::Account,
            Attribution::Local,
        ];
        open.extend(
            attributions
                .iter()
                .map(|a| ((e.provider.as_str(), a.as_str()), 0)),
        );
    }
    for i in &snapshot.incidents {
        *open
            .entry((&i.provider, i.attribution.as_str()))
            .or_default() += 1;
    }
    open
}

/// The age of the oldest waiting notification, in seconds; 0 if none waits.
fn oldest_waiting_s(snapshot: &Snapshot) -> f64 {
    let oldest = snapshot.outbox.iter().filter_map(|t| t.oldest).min();
    oldest.map_or(0.0, |at| snapshot.at.since_ms(at).max(0) as f64 / 1000.0)
}

/// The days from now until `at`; negative when it has passed.
fn days_until(at: Timestamp, snapshot: &Snapshot) -> f64 {
    (at.since_ms(snapshot.at) as f64 / 86_400.0).round() / 1000.0
}
