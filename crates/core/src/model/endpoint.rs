//! Providers, APIs, and the configured endpoint.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use regex::Regex;
use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::ToSchema;

use super::{Aws, EndpointName, Google, ProviderName, Sample, Secret};

/// The provider of an endpoint.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    /// OpenAI's own API.
    #[serde(rename = "openai")]
    OpenAi,
    /// OpenAI's models on Azure.
    #[serde(rename = "azure-openai")]
    AzureOpenAi,
    /// Anthropic's own API.
    Anthropic,
    /// Google's Gemini API.
    Gemini,
    /// Any server with an OpenAI-compatible API.
    #[serde(rename = "openai-compatible")]
    OpenAiCompatible,
    /// Groq's API.
    #[serde(rename = "groq")]
    Groq,
    /// Mistral's La Plateforme.
    #[serde(rename = "mistral")]
    Mistral,
    /// Cohere's OpenAI-compatible API.
    #[serde(rename = "cohere")]
    Cohere,
    /// DeepSeek's API.
    #[serde(rename = "deepseek")]
    DeepSeek,
    /// xAI's API.
    #[serde(rename = "xai")]
    XAi,
    /// Together AI.
    #[serde(rename = "together")]
    Together,
    /// Fireworks AI.
    #[serde(rename = "fireworks")]
    Fireworks,
    /// Cerebras Inference.
    #[serde(rename = "cerebras")]
    Cerebras,
    /// OpenRouter, a router in front of many providers.
    #[serde(rename = "openrouter")]
    OpenRouter,
    /// Perplexity's Sonar API.
    #[serde(rename = "perplexity")]
    Perplexity,
    /// Moonshot AI's Kimi.
    #[serde(rename = "moonshot")]
    Moonshot,
    /// Zhipu AI's GLM (BigModel, Z.ai).
    #[serde(rename = "zhipu")]
    Zhipu,
    /// MiniMax's API.
    #[serde(rename = "minimax")]
    MiniMax,
    /// Alibaba Cloud's DashScope (Qwen).
    #[serde(rename = "dashscope")]
    DashScope,
    /// AWS Bedrock.
    #[serde(rename = "bedrock")]
    Bedrock,
    /// Google Cloud's Vertex AI.
    #[serde(rename = "vertex")]
    Vertex,
    /// A server of the Model Context Protocol.
    #[serde(rename = "mcp")]
    Mcp,
    /// Any web target.
    Http,
}

impl Provider {
    /// Every provider.
    pub const ALL: &[Self] = &[
        Self::OpenAi,
        Self::AzureOpenAi,
        Self::Anthropic,
        Self::Gemini,
        Self::OpenAiCompatible,
        Self::Groq,
        Self::Mistral,
        Self::Cohere,
        Self::DeepSeek,
        Self::XAi,
        Self::Together,
        Self::Fireworks,
        Self::Cerebras,
        Self::OpenRouter,
        Self::Perplexity,
        Self::Moonshot,
        Self::Zhipu,
        Self::MiniMax,
        Self::DashScope,
        Self::Bedrock,
        Self::Vertex,
        Self::Mcp,
        Self::Http,
    ];

    /// Returns the stable name, as in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::AzureOpenAi => "azure-openai",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::OpenAiCompatible => "openai-compatible",
            Self::Groq => "groq",
            Self::Mistral => "mistral",
            Self::Cohere => "cohere",
            Self::DeepSeek => "deepseek",
            Self::XAi => "xai",
            Self::Together => "together",
            Self::Fireworks => "fireworks",
            Self::Cerebras => "cerebras",
            Self::OpenRouter => "openrouter",
            Self::Perplexity => "perplexity",
            Self::Moonshot => "moonshot",
            Self::Zhipu => "zhipu",
            Self::MiniMax => "minimax",
            Self::DashScope => "dashscope",
            Self::Bedrock => "bedrock",
            Self::Vertex => "vertex",
            Self::Mcp => "mcp",
            Self::Http => "http",
        }
    }

    /// Reports whether it has an OpenAI-compatible API at an address of its own: a known vendor, or
    /// any other server.
    pub fn is_compatible(self) -> bool {
        self == Self::OpenAiCompatible || self.is_preset()
    }

    /// Reports whether it is a vendor with an OpenAI-compatible API whose address and default model
    /// are known.
    pub fn is_preset(self) -> bool {
        matches!(
            self,
            Self::Groq
                | Self::Mistral
                | Self::Cohere
                | Self::DeepSeek
                | Self::XAi
                | Self::Together
                | Self::Fireworks
                | Self::Cerebras
                | Self::OpenRouter
                | Self::Perplexity
                | Self::Moonshot
                | Self::Zhipu
                | Self::MiniMax
                | Self::DashScope
        )
    }

    /// Returns the vendor's display name.
    pub fn title(self) -> &'static str {
        match self {
            Self::OpenAi => "OpenAI",
            Self::AzureOpenAi => "Azure",
            Self::Anthropic => "Anthropic",
            Self::Gemini => "Gemini",
            Self::OpenAiCompatible => "OpenAI-compatible",
            Self::Groq => "Groq",
            Self::Mistral => "Mistral",
            Self::Cohere => "Cohere",
            Self::DeepSeek => "DeepSeek",
            Self::XAi => "xAI",
            Self::Together => "Together",
            Self::Fireworks => "Fireworks",
            Self::Cerebras => "Cerebras",
            Self::OpenRouter => "OpenRouter",
            Self::Perplexity => "Perplexity",
            Self::Moonshot => "Moonshot",
            Self::Zhipu => "Zhipu",
            Self::MiniMax => "MiniMax",
            Self::DashScope => "DashScope",
            Self::Bedrock => "Bedrock",
            Self::Vertex => "Vertex AI",
            Self::Mcp => "MCP",
            Self::Http => "HTTP",
        }
    }
}

/// The API of a provider.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Api {
    /// OpenAI chat completions.
    Chat,
    /// OpenAI responses.
    Responses,
    /// OpenAI embeddings.
    Embeddings,
    /// OpenAI moderations.
    Moderations,
    /// The list of models.
    Models,
    /// Anthropic messages.
    Messages,
    /// Gemini `generateContent`.
    Generate,
    /// Ollama's native chat.
    Ollama,
    /// Bedrock's Converse.
    Converse,
    /// OpenAI's Realtime, over WebSocket.
    Realtime,
    /// Text to speech.
    Speech,
    /// Speech to text.
    Transcription,
    /// The Model Context Protocol.
    Mcp,
    /// One plain HTTP request.
    Http,
}

impl Api {
    /// Every API.
    pub const ALL: &[Self] = &[
        Self::Chat,
        Self::Responses,
        Self::Embeddings,
        Self::Moderations,
        Self::Models,
        Self::Messages,
        Self::Generate,
        Self::Ollama,
        Self::Converse,
        Self::Realtime,
        Self::Speech,
        Self::Transcription,
        Self::Mcp,
        Self::Http,
    ];

    /// Returns the stable name, as in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Responses => "responses",
            Self::Embeddings => "embeddings",
            Self::Moderations => "moderations",
            Self::Models => "models",
            Self::Messages => "messages",
            Self::Generate => "generate",
            Self::Ollama => "ollama",
            Self::Converse => "converse",
            Self::Realtime => "realtime",
            Self::Speech => "speech",
            Self::Transcription => "transcription",
            Self::Mcp => "mcp",
            Self::Http => "http",
        }
    }
}

/// The text is not one of the known names.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not one of the known names")]
pub struct UnknownName(String);

macro_rules! by_name {
    ($($t:ty),*) => {$(
        impl fmt::Display for $t {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(self.as_str()) }
        }
        impl FromStr for $t {
            type Err = UnknownName;
            fn from_str(s: &str) -> Result<Self, UnknownName> {
                Self::ALL.iter().copied().find(|x| x.as_str() == s).ok_or_else(|| UnknownName(s.to_owned()))
            }
        }
    )*};
}
by_name!(Provider, Api);

/// Whether each probe opens a connection of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Connection {
    /// A new connection per probe: DNS, TCP and TLS are measured each time.
    Fresh,
    /// The connection is kept open between probes.
    Reuse,
}

/// The limits of each stage of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// DNS, TCP and TLS together.
    pub connect: Duration,
    /// From the request sent to the response headers.
    pub headers: Duration,
    /// From the start to the first token.
    pub first_token: Duration,
    /// Between two content events.
    pub token_gap: Duration,
    /// From the start to the end.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            headers: Duration::from_secs(20),
            first_token: Duration::from_secs(45),
            token_gap: Duration::from_secs(20),
            total: Duration::from_mins(1),
        }
    }
}

/// Absolute limits beyond which a good answer is slow, in addition to the learned baseline.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SlowLimits {
    /// The maximum time to first token.
    pub first_token: Option<Duration>,
    /// The maximum total time.
    pub total: Option<Duration>,
    /// The minimum output tokens per second.
    pub tokens_per_second: Option<f64>,
}

impl SlowLimits {
    /// Reports whether a good sample exceeds one of the limits; `None` if there are none.
    pub fn exceeded_by(&self, sample: &Sample) -> Option<bool> {
        let tokens_per_second = sample.tpot_ms.filter(|ms| *ms > 0.0).map(|ms| 1000.0 / ms);
        let judged = [
            self.first_token
                .map(|limit| exceeds(sample.first_token_ms, limit)),
            self.total.map(|limit| exceeds(sample.total_ms, limit)),
            self.tokens_per_second
                .map(|least| Some(tokens_per_second? < least)),
        ];
        judged
            .iter()
            .any(Option::is_some)
            .then(|| judged.contains(&Some(Some(true))))
    }
}

fn exceeds(ms: Option<f64>, limit: Duration) -> Option<bool> {
    Some(ms? > limit.as_secs_f64() * 1000.0)
}

/// The conditions for a correct answer; all that are set must hold. Without any, every answer that
/// is not empty is correct.
#[derive(Debug, Clone, Default)]
pub struct Expect {
    /// It contains this text, ignoring case.
    pub contains: Option<String>,
    /// It equals this text, ignoring case, surrounding white space and a final period.
    pub equals: Option<String>,
    /// It matches this regular expression.
    pub matches: Option<Regex>,
    /// It is JSON that is valid for this schema.
    pub json_schema: Option<serde_json::Value>,
    /// It has at least this many tokens.
    pub min_tokens: Option<u32>,
    /// It calls the tool of this name, which the request offers.
    pub tool: Option<String>,
}

impl Expect {
    /// Reports whether the text of the answer is needed.
    pub fn checks_text(&self) -> bool {
        self.contains.is_some()
            || self.equals.is_some()
            || self.matches.is_some()
            || self.json_schema.is_some()
    }

    /// Reports whether any condition is set.
    pub fn has_conditions(&self) -> bool {
        self.checks_text() || self.min_tokens.is_some() || self.tool.is_some()
    }
}

/// The price of a million tokens, in US dollars.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Price {
    /// Input tokens.
    pub input: f64,
    /// Output tokens.
    pub output: f64,
}

impl Price {
    /// Returns the cost of one answer, in US dollars.
    pub fn cost(self, input_tokens: u32, output_tokens: u32) -> f64 {
        (self.input * f64::from(input_tokens) + self.output * f64::from(output_tokens)) / 1e6
    }
}

/// An application's credentials at Microsoft Entra ID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entra {
    /// The application.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
    /// The scope of the token.
    pub scope: String,
    /// The address that issues tokens.
    pub token_url: Url,
}

/// A client certificate for mutual TLS.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientIdentity {
    /// The file of the certificate and its chain, PEM.
    pub certificate: PathBuf,
    /// The file of its key, PEM.
    pub key: PathBuf,
}

/// How much evidence an alert needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sensitivity {
    /// Alerts sooner, at more false alarms.
    High,
    /// The default.
    Normal,
    /// Alerts later.
    Low,
}

/// When an endpoint's samples open and resolve an incident.
#[derive(Debug, Clone, PartialEq)]
pub struct DetectionPolicy {
    /// Shorter outages are not reported. `None`: not set, see [`alert_after`](Self::alert_after).
    pub alert_after: Option<Duration>,
    /// How long several endpoints of one provider must have failed together before the provider's
    /// incident opens. `None`: not set, see [`provider_alert_after`](Self::provider_alert_after).
    pub provider_alert_after: Option<Duration>,
    /// Shorter periods of slow answers are not reported.
    pub degraded_after: Duration,
    /// How long all probes must be good before an incident is resolved.
    pub resolve_after: Duration,
    /// A probe is slow from this many times the typical latency.
    pub slow_factor: f64,
    /// How much evidence an alert needs.
    pub sensitivity: Sensitivity,
    /// Whether to recheck soon after something suspicious.
    pub recheck: bool,
    /// Whether endpoints of one provider confirm each other.
    pub siblings: bool,
    /// The usual time to first token; replaces the first 50 probes of learning.
    pub expected_first_token: Option<Duration>,
    /// Whether the server is known to load its model on demand: slow or timed-out first answers
    /// after an idle period are cold starts from the first probe on.
    pub expect_cold_start: bool,
    /// Consecutive failures that open an alert, instead of the evidence rule.
    pub failure_threshold: Option<u32>,
    /// Consecutive successes that resolve an alert, instead of the evidence rule.
    pub success_threshold: Option<u32>,
}

impl Default for DetectionPolicy {
    fn default() -> Self {
        Self {
            alert_after: None,
            provider_alert_after: None,
            degraded_after: Duration::from_mins(3),
            resolve_after: Duration::from_mins(3),
            slow_factor: 2.0,
            sensitivity: Sensitivity::Normal,
            recheck: true,
            siblings: true,
            expected_first_token: None,
            expect_cold_start: false,
            failure_threshold: None,
            success_threshold: None,
        }
    }
}

impl DetectionPolicy {
    /// Returns how long an outage must last to be reported: 90 s unless set.
    pub fn alert_after(&self) -> Duration {
        self.alert_after.unwrap_or(Duration::from_secs(90))
    }

    /// Returns how long several endpoints of one provider must have failed together: 30 s while
    /// neither this nor `alert_after` is set, otherwise `alert_after`.
    pub fn provider_alert_after(&self) -> Duration {
        self.provider_alert_after
            .or(self.alert_after)
            .unwrap_or(Duration::from_secs(30))
    }
}

/// One configured target: provider, base URL, API and model, with its own schedule, objectives and
/// credentials. All defaults are filled in.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The name; unique.
    pub name: EndpointName,
    /// The provider.
    pub provider: Provider,
    /// The API.
    pub api: Api,
    /// The base URL in the form of the provider's official clients, without a trailing slash.
    pub base_url: Url,
    /// The requested model.
    pub model: Option<String>,
    /// Azure's deployment; on Azure's v1 API it is sent as the model.
    pub deployment: Option<String>,
    /// Azure's `api-version`, Anthropic's `anthropic-version`.
    pub api_version: Option<String>,
    /// The key.
    pub api_key: Option<Secret>,
    /// Where a token that replaces the key comes from (Azure).
    pub entra: Option<Entra>,
    /// Region and credentials (Bedrock).
    pub aws: Option<Aws>,
    /// Project, location and credentials (Vertex AI).
    pub google: Option<Google>,
    /// Extra request headers; the values may be secret.
    pub headers: Vec<(String, Secret)>,
    /// Endpoints of one group are alternatives for each other.
    pub group: Option<String>,
    /// The time between two scheduled probes.
    pub interval: Duration,
    /// Whether the answer is streamed.
    pub stream: bool,
    /// The prompt.
    pub prompt: String,
    /// The token budget of the answer.
    pub max_tokens: u32,
    /// Sent unchanged, if set.
    pub reasoning_effort: Option<String>,
    /// The requested service tier; the provider's default if not set.
    pub service_tier: Option<String>,
    /// The conditions for a correct answer.
    pub expect: Expect,
    /// A complete request body instead of the built one.
    pub body: Option<String>,
    /// For `http`: the method.
    pub method: String,
    /// For `http`: the path, appended to the base URL.
    pub path: String,
    /// For `http`: the expected statuses.
    pub expect_status: Vec<u16>,
    /// The client certificate (mutual TLS).
    pub client: Option<ClientIdentity>,
    /// Addresses to connect to instead of those that the name resolves to.
    pub resolve: Vec<IpAddr>,
    /// The address of this machine to connect from.
    pub source_address: Option<IpAddr>,
    /// Fresh or kept connections.
    pub connection: Connection,
    /// The limits of each stage.
    pub timeouts: Timeouts,
    /// Absolute latency limits.
    pub slow: SlowLimits,
    /// The objective for availability, in percent.
    pub slo: f64,
    /// The price of tokens; `None` if unknown.
    pub price: Option<Price>,
    /// Tokens that one probe is expected to use: input and output.
    pub expected_tokens: (u32, u32),
    /// Names of endpoints or providers that this one depends on.
    pub depends_on: Vec<String>,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// When samples open and resolve an incident.
    pub detection: DetectionPolicy,
}

impl ProviderName {
    /// Returns the vendor's display name; a host is its own.
    pub fn title(&self) -> &str {
        let vendor = Provider::ALL.iter().find(|p| *self == p.as_str());
        vendor.map_or(self.as_str(), |p| p.title())
    }
}

impl Endpoint {
    /// Reports whether it uses the same key as `other`; without a key, whether both send the same
    /// headers.
    pub fn shares_key(&self, other: &Self) -> bool {
        match (&self.api_key, &other.api_key) {
            (None, None) => self.headers == other.headers,
            (one, other) => one == other,
        }
    }

    /// Returns the failure domain: endpoints of one domain fail together. For the vendors' own APIs
    /// it is the provider; for compatible servers and web targets it is the authority of the base
    /// URL, because two of those have nothing in common.
    pub fn domain(&self) -> ProviderName {
        let name = match self.provider {
            Provider::OpenAiCompatible | Provider::Mcp | Provider::Http => {
                let authority = self.base_url.authority();
                authority.rsplit('@').next().unwrap_or_default()
            }
            vendor => vendor.as_str(),
        };
        name.into()
    }

    /// Returns the display name of the failure domain.
    pub fn domain_title(&self) -> String {
        match self.provider {
            Provider::OpenAiCompatible | Provider::Mcp | Provider::Http => self.domain().into(),
            vendor => vendor.title().to_owned(),
        }
    }
}
