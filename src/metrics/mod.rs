//! Metrics: the counters of this process and the snapshot, as OpenMetrics or Prometheus text, and
//! as OTLP.
//!
//! The pipeline counts every sample once, in [`Counters`]; everything else is read from the
//! snapshot on request. Labels come from the configuration and from closed sets, so the number of
//! series is bounded by the number of endpoints.

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

/// Upper bounds of the buckets, in seconds: those of OpenTelemetry's conventions for generative AI,
/// and two finer ones for DNS and TCP. Reports compute quantiles from the store, not from these.
pub const BOUNDS: [f64; 16] = [
    0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96,
    81.92,
];
/// The most characters of a request id in an exemplar: OpenMetrics allows 128 characters of labels.
const MAX_EXEMPLAR: usize = 100;

/// A histogram with fixed buckets.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Histogram {
    /// Observations per bucket; the last bucket has those beyond every bound.
    pub buckets: [u64; BOUNDS.len() + 1],
    /// The number of observations.
    pub count: u64,
    /// Their sum, in seconds.
    pub sum: f64,
    /// The last one that has a request id.
    pub exemplar: Option<Exemplar>,
}

/// One observation that can be looked up with the vendor.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    /// The vendor's request id.
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
            .filter(|id| id.len() <= MAX_EXEMPLAR)
        {
            self.exemplar = Some(Exemplar {
                request_id: id.clone(),
                seconds,
                at: sample.started_at,
            });
        }
    }
}

/// Returns the index of the bucket for an observation of `seconds`.
pub fn bucket(seconds: f64) -> usize {
    BOUNDS
        .iter()
        .position(|bound| seconds <= *bound)
        .unwrap_or(BOUNDS.len())
}

/// Upper bounds of the token buckets, from OpenTelemetry's conventions.
pub const TOKEN_BOUNDS: [u64; 14] = {
    let mut bounds = [1; 14];
    let mut at = 1;
    while at < bounds.len() {
        bounds[at] = bounds[at - 1] * 4;
        at += 1;
    }
    bounds
};

/// A histogram of tokens per operation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TokenHistogram {
    /// Operations per bucket; the last bucket has those beyond every bound.
    pub buckets: [u64; TOKEN_BOUNDS.len() + 1],
    /// The number of operations with known token counts.
    pub count: u64,
    /// The total number of tokens.
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

/// The counters of one endpoint since this process started.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointCounters {
    /// Its provider.
    pub provider: Provider,
    /// Its model; empty if it has none.
    pub model: String,
    /// Whether the last probe succeeded.
    pub success: bool,
    /// Probes by result.
    pub probes: BTreeMap<(Outcome, Option<Fault>, Option<Attribution>), u64>,
    /// A histogram per stage. `total` counts only good probes; the others count every probe that
    /// reached the stage.
    pub stages: [Histogram; STAGES.len()],
    /// How long failed probes took, by fault.
    pub failures: BTreeMap<Fault, Histogram>,
    /// Tokens of the prompts.
    pub input: TokenHistogram,
    /// Tokens of the answers.
    pub output: TokenHistogram,
    /// The cost of the probes, in US dollars.
    pub cost_usd: f64,
    /// Requests left in the rate limit window, as last reported by the provider.
    pub ratelimit_requests: Option<i64>,
    /// Tokens left in the rate limit window.
    pub ratelimit_tokens: Option<i64>,
    /// When the server's certificate expires.
    pub tls_expires_at: Option<Timestamp>,
    /// The announced shutdown date of the model, if there is one.
    pub model_retires_at: Option<Timestamp>,
    /// The account's prepaid credit that is left, and its currency.
    pub credit: Option<(f64, String)>,
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
            credit: None,
        }
    }
}

/// All counters.
#[derive(Debug, Clone)]
pub struct Counted {
    /// By endpoint. Readers share the entries until they change.
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
        if let (Some(left), Some(currency)) = (sample.credit_left, &sample.credit_currency) {
            one.credit = Some((left, currency.clone()));
        }
    }

    /// Removes endpoints that are no longer configured.
    pub fn retain(&self, known: impl Fn(&str) -> bool) {
        self.lock().endpoints.retain(|name, _| known(name));
    }

    /// Records whether a configuration reload succeeded.
    pub fn reloaded(&self, successful: bool) {
        self.lock().reload_successful = successful;
    }

    /// Returns the current counters.
    pub fn read(&self) -> Counted {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts open incidents by provider and attribution, with an entry for every possible pair.
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
        // The incident names the failure domain, which may be a host; the label is the provider.
        let endpoint = snapshot.endpoint_of(i);
        let provider = endpoint.map_or(i.provider.as_str(), |e| e.provider.as_str());
        *open.entry((provider, i.attribution.as_str())).or_default() += 1;
    }
    open
}

/// Returns the age of the oldest waiting notification, in seconds; 0 if none waits.
fn oldest_waiting_s(snapshot: &Snapshot) -> f64 {
    let oldest = snapshot.outbox.iter().filter_map(|t| t.oldest).min();
    oldest.map_or(0.0, |at| snapshot.at.since_ms(at).max(0) as f64 / 1000.0)
}

/// Returns the days from now until `at`; negative if it has passed.
fn days_until(at: Timestamp, snapshot: &Snapshot) -> f64 {
    (at.since_ms(snapshot.at) as f64 / 86_400.0).round() / 1000.0
}
