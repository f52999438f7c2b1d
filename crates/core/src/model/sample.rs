//! The record of one probe.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Api, Attribution, EndpointName, Fault, Provider, Timestamp};

/// How a probe ended, from the best to the worst.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Correct, in the usual time.
    Ok,
    /// Correct, but slower than typical or than a configured limit.
    Slow,
    /// Not correct; the sample has a fault.
    Failed,
}

impl Outcome {
    /// Returns the stable lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Slow => "slow",
            Self::Failed => "failed",
        }
    }
}

/// Why a probe was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Trigger {
    /// The endpoint's schedule.
    Schedule,
    /// The daemon has just started, or the endpoint is new.
    Startup,
    /// A recheck soon after something suspicious.
    Recheck,
    /// A person requested it (`llmwatch probe`).
    Manual,
}

impl Trigger {
    /// Returns the stable lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Startup => "startup",
            Self::Recheck => "recheck",
            Self::Manual => "manual",
        }
    }
}

/// An oddity of an answer, good or bad: a closed set of short codes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
pub enum Warning {
    /// The stream ended with its terminal event but had no finish reason.
    #[serde(rename = "finish_reason.missing")]
    FinishReasonMissing,
    /// The body was compressed although that was not requested.
    #[serde(rename = "encoding.unasked")]
    EncodingUnasked,
    /// The provider reports more tokens than the bytes sent and received allow; the cost is
    /// limited.
    #[serde(rename = "usage.implausible")]
    UsageImplausible,
    /// The provider does not say how much credit the account has left: the key may not read it and
    /// has no limit of its own.
    #[serde(rename = "credit.hidden")]
    CreditHidden,
}

impl Warning {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::FinishReasonMissing,
        Self::EncodingUnasked,
        Self::UsageImplausible,
        Self::CreditHidden,
    ];

    /// Returns the stable code.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FinishReasonMissing => "finish_reason.missing",
            Self::EncodingUnasked => "encoding.unasked",
            Self::UsageImplausible => "usage.implausible",
            Self::CreditHidden => "credit.hidden",
        }
    }
}

/// The record of one probe. Durations are in milliseconds with microsecond resolution, and `None`
/// if the stage was not reached: a failed stage never has a latency.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Sample {
    /// The ID; ordered by time and unique (UUIDv7).
    pub id: Uuid,
    /// The endpoint's name.
    pub endpoint: EndpointName,
    /// The endpoint's provider.
    pub provider: Provider,
    /// The API probed.
    pub api: Api,
    /// The requested model.
    pub model: Option<String>,
    /// Where the daemon probes from.
    pub location: String,
    /// When it was due.
    pub scheduled_at: Timestamp,
    /// When it began.
    pub started_at: Timestamp,
    /// Why it was made.
    pub trigger: Trigger,
    /// How it ended.
    pub outcome: Outcome,
    /// What went wrong, if it failed.
    pub fault: Option<Fault>,
    /// Whose fault, if it failed.
    pub attribution: Option<Attribution>,
    /// The attribution that it had when it was recorded, if later samples revised it.
    #[serde(default)]
    pub attributed_first: Option<Attribution>,
    /// The HTTP status, if headers arrived; the proxy's own when it opened no tunnel.
    pub http_status: Option<u16>,
    /// The time to fetch an access token, if one was fetched; not part of any other time.
    #[serde(default)]
    pub auth_ms: Option<f64>,
    /// Name resolution.
    pub dns_ms: Option<f64>,
    /// From the start until the proxy has opened the tunnel; `None` without a proxy.
    #[serde(default)]
    pub proxy_ms: Option<f64>,
    /// TCP connection.
    pub tcp_ms: Option<f64>,
    /// TLS handshake.
    pub tls_ms: Option<f64>,
    /// From the request sent to the response headers.
    pub headers_ms: Option<f64>,
    /// From the start to the first event with data.
    pub first_event_ms: Option<f64>,
    /// From the start (connection included) to the first visible token.
    pub first_token_ms: Option<f64>,
    /// From the start to the first token of any kind, reasoning included.
    pub first_any_token_ms: Option<f64>,
    /// The longest wait between two content events.
    pub max_gap_ms: Option<f64>,
    /// Time per output token after the first: (last token − first token) / (output tokens − 1).
    pub tpot_ms: Option<f64>,
    /// From the start to the end of the answer, or to the failure.
    pub total_ms: Option<f64>,
    /// How late the probe began.
    pub schedule_lag_ms: f64,
    /// Events with data in the stream.
    pub events: Option<u32>,
    /// Tokens of the prompt, as counted by the provider.
    pub input_tokens: Option<u32>,
    /// Tokens of the answer, including reasoning, as counted by the provider.
    pub output_tokens: Option<u32>,
    /// How many of these were spent on reasoning.
    pub reasoning_tokens: Option<u32>,
    /// What the probe cost, in USD.
    pub cost_usd: Option<f64>,
    /// The provider's finish reason.
    pub finish_reason: Option<String>,
    /// The model that answered.
    pub response_model: Option<String>,
    /// The provider's fingerprint of the serving configuration.
    pub system_fingerprint: Option<String>,
    /// The vendor's ID of the request, for a support ticket.
    pub request_id: Option<String>,
    /// The provider's own processing time (`openai-processing-ms` and similar headers).
    pub server_ms: Option<f64>,
    /// The region that served the request (the airport code of `cf-ray`, or `x-ms-region`).
    pub edge: Option<String>,
    /// Requests left in the rate limit's window.
    pub ratelimit_remaining_requests: Option<i64>,
    /// Tokens left in the rate limit's window.
    pub ratelimit_remaining_tokens: Option<i64>,
    /// How long the provider asks us to wait.
    pub retry_after_ms: Option<f64>,
    /// The address connected to.
    pub remote_addr: Option<String>,
    /// `HTTP/1.1` or `HTTP/2`.
    pub http_version: Option<String>,
    /// When the server's certificate expires.
    #[serde(default)]
    pub tls_expires_at: Option<Timestamp>,
    /// When the model will be shut down, if this probe looked that up.
    #[serde(default)]
    pub model_retires_at: Option<Timestamp>,
    /// The successor that the vendor names, if this probe looked that up.
    #[serde(default)]
    pub model_successor: Option<String>,
    /// The account's remaining prepaid credit in `credit_currency`, if this probe looked that up.
    #[serde(default)]
    pub credit_left: Option<f64>,
    /// The currency of `credit_left`, as the provider names it (`USD`, `CNY`).
    #[serde(default)]
    pub credit_currency: Option<String>,
    /// The smallest share of the account's own rate limits that is left, from 0 to 1.
    #[serde(default)]
    pub ratelimit_headroom: Option<f64>,
    /// A fingerprint of the organization of the key, as the provider reports it; the name is not
    /// stored.
    #[serde(default)]
    pub organization: Option<String>,
    /// How long the server took to load the model before it began (Ollama).
    #[serde(default)]
    pub load_ms: Option<f64>,
    /// Oddities of the answer.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// The error message, redacted, at most 500 bytes.
    pub error: Option<String>,
    /// The answer, at most 200 bytes; only if it was wrong.
    pub answer: Option<String>,
}

impl Sample {
    /// Creates a sample of `endpoint` at `at` without measurements: outcome `ok`, no model, no ID,
    /// no times.
    pub fn unmeasured(
        endpoint: &str,
        provider: Provider,
        api: Api,
        location: &str,
        at: Timestamp,
        trigger: Trigger,
    ) -> Self {
        Self {
            id: Uuid::nil(),
            endpoint: endpoint.into(),
            provider,
            api,
            model: None,
            location: location.to_owned(),
            scheduled_at: at,
            started_at: at,
            trigger,
            outcome: Outcome::Ok,
            fault: None,
            attribution: None,
            attributed_first: None,
            http_status: None,
            auth_ms: None,
            dns_ms: None,
            tcp_ms: None,
            tls_ms: None,
            headers_ms: None,
            first_event_ms: None,
            first_token_ms: None,
            first_any_token_ms: None,
            max_gap_ms: None,
            tpot_ms: None,
            total_ms: None,
            schedule_lag_ms: 0.0,
            events: None,
            input_tokens: None,
            output_tokens: None,
            reasoning_tokens: None,
            cost_usd: None,
            finish_reason: None,
            response_model: None,
            system_fingerprint: None,
            request_id: None,
            organization: None,
            server_ms: None,
            edge: None,
            ratelimit_remaining_requests: None,
            ratelimit_remaining_tokens: None,
            retry_after_ms: None,
            remote_addr: None,
            http_version: None,
            tls_expires_at: None,
            model_retires_at: None,
            model_successor: None,
            credit_left: None,
            credit_currency: None,
            ratelimit_headroom: None,
            load_ms: None,
            proxy_ms: None,
            warnings: Vec::new(),
            error: None,
            answer: None,
        }
    }

    /// When the probe ended.
    pub fn ended_at(&self) -> Timestamp {
        Timestamp(self.started_at.0 + self.total_ms.unwrap_or(0.0).round() as i64)
    }

    /// The sample as it was recorded, before any revision of its attribution. The fold sees samples
    /// in this form and derives the revisions itself.
    #[must_use]
    pub fn as_recorded(mut self) -> Self {
        if let Some(first) = self.attributed_first.take() {
            self.attribution = Some(first);
        }
        self
    }

    /// Returns the output tokens per second after the first.
    pub fn tokens_per_second(&self) -> Option<f64> {
        self.tpot_ms.filter(|ms| *ms > 0.0).map(|ms| 1000.0 / ms)
    }
}

/// A later finding about the failures of one endpoint in a period: they are not the fault of whom
/// they were attributed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributionRevision {
    /// The endpoint's name.
    pub endpoint: EndpointName,
    /// Where its samples were recorded.
    pub location: String,
    /// The start of the first of these samples.
    pub from: Timestamp,
    /// The start of the last of them.
    pub until: Timestamp,
    /// The fault of all of them.
    pub fault: Fault,
    /// The attribution until now.
    pub was: Attribution,
    /// The attribution from now on.
    pub now: Attribution,
    /// How many samples it concerns.
    pub count: u32,
}

impl AttributionRevision {
    /// Returns the revisions that give the stored copy of the failed `sample` the attribution that
    /// the sample has, whatever the copy's is.
    pub fn to_match(sample: &Sample) -> Vec<Self> {
        let Some((fault, now)) = sample.fault.zip(sample.attribution) else {
            return Vec::new();
        };
        let others = Attribution::ALL.into_iter().filter(|was| *was != now);
        others
            .map(|was| Self {
                endpoint: sample.endpoint.clone(),
                location: sample.location.clone(),
                from: sample.started_at,
                until: sample.started_at,
                fault,
                was,
                now,
                count: 1,
            })
            .collect()
    }

    /// Whether it concerns `sample`.
    pub fn covers(&self, sample: &Sample) -> bool {
        sample.endpoint == self.endpoint
            && sample.location == self.location
            && (self.from..=self.until).contains(&sample.started_at)
            && sample.fault == Some(self.fault)
            && sample.attribution == Some(self.was)
    }

    /// Returns `sample` with the revised attribution.
    pub fn revise(&self, sample: &Sample) -> Sample {
        let first = sample.attributed_first.unwrap_or(self.was);
        Sample {
            attribution: Some(self.now),
            attributed_first: (first != self.now).then_some(first),
            ..sample.clone()
        }
    }
}

/// The result of the connectivity checks, which run when a probe fails below HTTP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectivityCheckResult {
    /// Whether any of them answered.
    pub any: bool,
    /// Whether host names resolve here. After a DNS failure: whether unrelated names resolved after
    /// it while the failing name still did not.
    pub by_name: bool,
}

/// Returns the sort key of the order in which results are folded: the end of the probe, then the
/// endpoint's name. So it does not matter which of two simultaneous results arrives first.
pub fn canonical_order(end: Timestamp, endpoint: &str) -> (Timestamp, &str) {
    (end, endpoint)
}
