//! Builds the request of each API and parses its response. Pure: one file per API, and this enum.

mod adaptation;
mod audio;
mod chat;
mod converse;
mod embeddings;
mod generate;
mod http;
pub mod mcp;
mod messages;
mod models;
mod moderations;
mod ollama;
mod realtime;
mod responses;
mod thoughts;

use serde_json::{Value, json};
use url::Url;

pub use self::adaptation::{Adaptation, Adaptations};
use self::thoughts::Thoughts;
use crate::model::{Api, AwsKeys, Endpoint, Google, Provider, Timestamp};
pub use crate::protocol::request::Request;
use crate::protocol::{catalog, sigv4};

const AGENT: &str = concat!("llmwatch/", env!("CARGO_PKG_VERSION"));
/// The placeholder in a prompt or body for a word that is unique per probe, so that no cache
/// answers in place of the model.
const NONCE: &str = "{nonce}";

/// The inputs for one request of an endpoint.
#[derive(Debug, Clone, Copy)]
pub struct ProbeRequest<'a> {
    /// The endpoint that is probed.
    pub endpoint: &'a Endpoint,
    /// The sample's ID.
    pub id: &'a str,
    /// The adaptations to what the server rejected before.
    pub adaptations: &'a Adaptations,
    /// The credential in place of the configured key.
    pub credential: Credential<'a>,
    /// The time of the request.
    pub now: Timestamp,
}

/// The credential of one request.
#[derive(Debug, Clone, Copy)]
pub enum Credential<'a> {
    /// The configured key, if there is one.
    Configured,
    /// A token that was obtained separately.
    Token(&'a str),
    /// AWS keys to sign the request with.
    Aws(&'a AwsKeys),
}

/// What one event of a stream contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamEvent {
    /// Nothing that a user sees or waits for.
    Nothing,
    /// A part of the model's reasoning.
    Reasoning,
    /// A part of the answer.
    Text,
    /// The end of the stream.
    End,
    /// Unreadable data.
    Garbage,
}

/// What is known of an answer once it has ended.
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own; they come in every combination"
)]
pub struct Answer {
    /// The entire answer of the model, reasoning in tags included.
    pub text: String,
    /// Where reasoning in tags ends and the answer begins.
    pub(super) thoughts: Thoughts,
    /// The text with which the model refuses.
    pub refusal: String,
    /// Whether the model calls a tool, which is output without text.
    pub calls_tool: bool,
    /// The names of the tools that are called.
    pub tools: Vec<String>,
    /// Whether the API marked the answer as complete.
    pub complete: bool,
    /// The API's error object, or whatever was in its place.
    pub error: Option<Value>,
    /// Whether the answer is not in the API's format.
    pub malformed: bool,
    /// The event that could not be parsed.
    pub garbage: String,
    /// The finish reason, as the API names it.
    pub finish_reason: Option<String>,
    /// Whether the answer ended without a finish reason in an API that sends one.
    pub lacks_finish_reason: bool,
    /// Whether a content filter stopped the answer.
    pub filtered: bool,
    /// Whether the model refused, whatever text came before.
    pub refused: bool,
    /// Whether the token budget was used up.
    pub cut_by_length: bool,
    /// Tokens of the prompt.
    pub input_tokens: Option<u32>,
    /// Tokens of the answer.
    pub output_tokens: Option<u32>,
    /// Tokens of reasoning.
    pub reasoning_tokens: Option<u32>,
    /// Whether reasoning tokens are billed as output but not included in the output tokens.
    pub reasoning_apart: bool,
    /// The model that answered.
    pub model: Option<String>,
    /// The fingerprint of the backend.
    pub fingerprint: Option<String>,
    /// How long the server took to load the model, in milliseconds.
    pub load_ms: Option<f64>,
    /// What an MCP server reported about itself.
    pub server: Option<mcp::Server>,
    /// Models of a list whose end is announced.
    pub retiring: Vec<Retirement>,
    /// The account's prepaid credit.
    pub credit: Option<Credit>,
}

/// The announced end of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retirement {
    /// The model's name.
    pub model: String,
    /// The date as the provider writes it.
    pub date: String,
    /// The model that the provider names as the successor.
    pub successor: Option<String>,
}

/// The prepaid credit of an account.
#[derive(Debug, Clone, PartialEq)]
pub struct Credit {
    /// What is left.
    pub left: f64,
    /// The currency as the provider names it.
    pub currency: String,
}

/// The description of the tool that a probe offers.
const TOOL_DESCRIPTION: &str = "Does nothing. Takes no arguments.";
/// The maximum number of tool calls to record.
const MAX_TOOLS: usize = 16;

/// Parts of the finish reasons of an answer that reached its token limit.
const CUT_REASONS: &[&str] = &["length", "max_tokens", "token_limit", "max_output"];
/// Parts of the finish reasons of a content filter.
const FILTER_REASONS: &[&str] = &[
    "filter",
    "safety",
    "sensitive",
    "moderation",
    "block",
    "policy",
    "guardrail",
    "prohibited",
    "recitation",
    "risk",
    "toxic",
    "violat",
];
/// Parts of the finish reasons of a server that failed in the middle of an answer.
const FAILURE_REASONS: &[&str] = &[
    "error",
    "abort",
    "fail",
    "cancel",
    "timeout",
    "insufficient",
    "overload",
    "rate_limit",
    "load_shed",
    "unavailable",
    "interrupt",
    "disconnect",
    "crash",
    "exception",
];

impl Answer {
    /// Records a tool call if `name` is a tool's name.
    fn note_tool(&mut self, name: &Value) {
        let Some(name) = name.as_str().filter(|name| !name.is_empty()) else {
            return;
        };
        self.calls_tool = true;
        if self.tools.len() < MAX_TOOLS {
            self.tools.push(name.to_owned());
        }
    }

    /// Returns whether the text that was appended last belongs to the answer or to reasoning in
    /// tags.
    fn appended(&mut self) -> StreamEvent {
        if self.thoughts.read(&self.text) {
            StreamEvent::Text
        } else {
            StreamEvent::Reasoning
        }
    }

    /// Returns the answer without reasoning in tags before it.
    pub fn visible_text(&self) -> &str {
        let mut thoughts = self.thoughts;
        thoughts.read(&self.text);
        thoughts.visible(&self.text)
    }

    /// Records the finish reason. There are a few common ones, and vendors and servers add their
    /// own.
    fn finish(&mut self, reason: &str) {
        let lower = reason.to_ascii_lowercase();
        if CUT_REASONS.iter().any(|part| lower.contains(part)) {
            self.cut_by_length = true;
        } else if FILTER_REASONS.iter().any(|part| lower.contains(part)) {
            self.filtered = true;
        } else if lower == "refusal" {
            self.refused = true;
        } else if FAILURE_REASONS.iter().any(|part| lower.contains(part)) && self.error.is_none() {
            // The server gave up: OpenRouter, vLLM, DeepSeek and Zhipu each have their own reason
            // for that.
            self.error = Some(json!({"message": format!("finish_reason is {reason}")}));
        }
        self.finish_reason = Some(reason.to_owned());
    }
}

/// How a body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// As one document.
    Document,
    /// As server-sent events.
    Events,
    /// As newline-delimited JSON.
    Lines,
    /// As messages of AWS's event stream format.
    Messages,
    /// As WebSocket messages.
    Frames,
    /// As audio.
    Audio,
}

/// The API of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `/chat/completions`, of OpenAI and compatible servers.
    Chat,
    /// `/responses`.
    Responses,
    /// `/embeddings`.
    Embeddings,
    /// `/moderations`.
    Moderations,
    /// The list of models.
    Models,
    /// Anthropic's `/messages`.
    Messages,
    /// Gemini's `generateContent`.
    Generate,
    /// Ollama's own `/api/chat`.
    Ollama,
    /// Bedrock's Converse.
    Converse,
    /// OpenAI's Realtime.
    Realtime,
    /// `/audio/speech`.
    Speech,
    /// `/audio/transcriptions`.
    Transcription,
    /// The Model Context Protocol.
    Mcp,
    /// A plain HTTP request.
    Http,
}

impl Dialect {
    /// Returns the dialect of an endpoint.
    pub fn of(endpoint: &Endpoint) -> Self {
        match endpoint.api {
            Api::Chat => Self::Chat,
            Api::Responses => Self::Responses,
            Api::Embeddings => Self::Embeddings,
            Api::Moderations => Self::Moderations,
            Api::Models => Self::Models,
            Api::Messages => Self::Messages,
            Api::Generate => Self::Generate,
            Api::Ollama => Self::Ollama,
            Api::Converse => Self::Converse,
            Api::Realtime => Self::Realtime,
            Api::Speech => Self::Speech,
            Api::Transcription => Self::Transcription,
            Api::Mcp => Self::Mcp,
            Api::Http => Self::Http,
        }
    }

    /// Returns the framing of the response that the request asks for.
    pub fn framing(self, endpoint: &Endpoint) -> Framing {
        match self {
            Self::Chat | Self::Responses | Self::Messages | Self::Generate if endpoint.stream => {
                Framing::Events
            }
            Self::Ollama if endpoint.stream => Framing::Lines,
            Self::Converse if endpoint.stream => Framing::Messages,
            Self::Realtime => Framing::Frames,
            Self::Speech => Framing::Audio,
            Self::Mcp => Framing::Events,
            _ => Framing::Document,
        }
    }

    /// Builds the request of a probe.
    pub fn request(self, ask: &ProbeRequest<'_>) -> Request {
        let request = match self {
            Self::Chat => chat::request(ask),
            Self::Responses => responses::request(ask),
            Self::Embeddings => embeddings::request(ask),
            Self::Moderations => moderations::request(ask),
            Self::Models => models::request(ask),
            Self::Messages => messages::request(ask),
            Self::Generate => generate::request(ask),
            Self::Ollama => ollama::request(ask),
            Self::Converse => converse::request(ask),
            Self::Realtime => realtime::request(ask),
            Self::Speech => audio::speech(ask),
            Self::Transcription => audio::transcription(ask),
            Self::Mcp => return mcp::Session::default().request(ask),
            Self::Http => http::request(ask),
        };
        self.complete(ask, request)
    }

    /// Adds the headers that all requests of the API need.
    fn complete(self, ask: &ProbeRequest<'_>, mut request: Request) -> Request {
        let endpoint = ask.endpoint;
        let mut headers = vec![
            ("user-agent".to_owned(), AGENT.to_owned()),
            // Compression makes some proxies buffer the stream.
            ("accept-encoding".to_owned(), "identity".to_owned()),
        ];
        match self {
            Self::Http | Self::Realtime | Self::Speech => {
                headers.push(("accept".to_owned(), "*/*".to_owned()));
            }
            Self::Mcp => headers.push((
                "accept".to_owned(),
                "application/json, text/event-stream".to_owned(),
            )),
            _ if self.framing(endpoint) == Framing::Events => {
                headers.push(("accept".to_owned(), "text/event-stream".to_owned()));
            }
            _ if self.framing(endpoint) == Framing::Messages => headers.push((
                "accept".to_owned(),
                "application/vnd.amazon.eventstream".to_owned(),
            )),
            _ => headers.push(("accept".to_owned(), "application/json".to_owned())),
        }
        let has_type = request
            .headers
            .iter()
            .any(|(name, _)| name == "content-type");
        if !request.body.is_empty() && !has_type && self != Self::Realtime {
            headers.push(("content-type".to_owned(), "application/json".to_owned()));
        }
        if endpoint.provider == Provider::OpenAi && self != Self::Http {
            headers.push(("x-client-request-id".to_owned(), ask.id.to_owned()));
        }
        headers.append(&mut request.headers);
        for (name, value) in &endpoint.headers {
            headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
            headers.push((name.to_ascii_lowercase(), value.expose().to_owned()));
        }
        let mut request = Request { headers, ..request };
        if let (Credential::Aws(keys), Some(aws)) = (ask.credential, &endpoint.aws) {
            let scope = sigv4::SigningScope {
                region: &aws.region,
                service: "bedrock",
            };
            let signature = sigv4::headers(&request, keys, scope, ask.now);
            request.headers.extend(signature);
        }
        request
    }

    /// Applies one event of a stream to the answer.
    pub fn event(self, answer: &mut Answer, data: &str) -> StreamEvent {
        // OpenAI's sentinel; several compatible servers end every kind of stream with it.
        if data.starts_with("[DONE]") {
            if self == Self::Chat {
                answer.complete = true;
                answer.lacks_finish_reason = answer.finish_reason.is_none();
            }
            return StreamEvent::End;
        }
        let Some(event) = parse_json(data) else {
            answer.malformed = true;
            data.clone_into(&mut answer.garbage);
            return StreamEvent::Garbage;
        };
        match self {
            Self::Chat => chat::event(answer, &event),
            Self::Responses => responses::event(answer, &event),
            Self::Messages => messages::event(answer, &event),
            Self::Generate => generate::event(answer, &event),
            Self::Ollama => ollama::event(answer, &event),
            Self::Converse => converse::event(answer, &event),
            Self::Realtime => realtime::event(answer, &event),
            Self::Mcp => mcp::event(answer, &event),
            Self::Embeddings
            | Self::Moderations
            | Self::Models
            | Self::Speech
            | Self::Transcription
            | Self::Http => StreamEvent::Nothing,
        }
    }

    /// Applies a stream event whose name is `error`. Its data may be in the API's error format,
    /// another, or none.
    pub fn error(answer: &mut Answer, data: &str) -> StreamEvent {
        answer.error = match parse_json(data) {
            Some(event) => error_in(&event).or(Some(event)),
            None => Some(json!({"message": data})),
        };
        StreamEvent::End
    }

    /// Parses a complete body into the answer.
    pub fn body(self, answer: &mut Answer, body: &str) {
        // Some servers send blank lines while a request is queued.
        let Some(document) = parse_json(body.trim_start_matches('\u{feff}').trim()) else {
            answer.malformed = true;
            return;
        };
        if let Some(error) = error_in(&document) {
            answer.error = Some(error);
            return;
        }
        match self {
            Self::Chat => chat::body(answer, &document),
            Self::Responses => responses::body(answer, &document),
            Self::Embeddings => embeddings::body(answer, &document),
            Self::Moderations => moderations::body(answer, &document),
            Self::Models => models::body(answer, &document),
            Self::Messages => messages::body(answer, &document),
            Self::Generate => generate::body(answer, &document),
            Self::Ollama => ollama::body(answer, &document),
            Self::Converse => converse::body(answer, &document),
            Self::Transcription => audio::transcript(answer, &document),
            Self::Mcp => mcp::body(answer, &document),
            // Neither API answers with a document.
            Self::Realtime | Self::Speech => answer.malformed = true,
            Self::Http => {}
        }
    }
}

impl ProbeRequest<'_> {
    /// Returns the prompt: the built-in one plus a unique word, or the user's own with `{nonce}`
    /// replaced by one.
    fn prompt(&self) -> String {
        let prompt = &self.endpoint.prompt;
        if *prompt == catalog::prompt(self.endpoint.api) {
            format!("{prompt} (probe {})", self.nonce())
        } else {
            prompt.replace(NONCE, self.nonce())
        }
    }

    /// Returns the preferred name of a chat's token budget, then the alternative. Reasoning models
    /// reject `max_tokens`; many compatible servers accept nothing else.
    pub(super) fn budget_names(&self) -> [&'static str; 2] {
        let provider = self.endpoint.provider;
        let compatible = provider.is_compatible() || provider == Provider::Vertex;
        let names = ["max_completion_tokens", "max_tokens"];
        if compatible == self.adaptations.uses_alternate_budget {
            names
        } else {
            [names[1], names[0]]
        }
    }

    /// Returns the configured body.
    fn own_body(&self) -> Option<Vec<u8>> {
        self.endpoint
            .body
            .as_ref()
            .map(|body| body.replace(NONCE, self.nonce()).into_bytes())
    }

    /// Returns the random end of the sample's ID.
    fn nonce(&self) -> &str {
        self.id
            .get(self.id.len().saturating_sub(6)..)
            .unwrap_or_default()
    }

    /// Builds a POST with the configured body, or `body` if there is none.
    fn post(
        &self,
        url: Url,
        headers: Vec<(String, String)>,
        body: impl FnOnce() -> Value,
    ) -> Request {
        let body = self.own_body().unwrap_or_else(|| {
            let mut body = body();
            self.adaptations.apply(&mut body);
            body.to_string().into_bytes()
        });
        Request {
            method: "POST".to_owned(),
            url,
            headers,
            body,
        }
    }

    /// Builds a request to the path `tail` of an OpenAI-style API, including Azure's two variants.
    /// `by_deployment` says whether Azure's classic API has the path below a deployment.
    fn openai(&self, tail: &str, by_deployment: bool, body: impl FnOnce() -> Value) -> Request {
        let endpoint = self.endpoint;
        let url = match endpoint.provider {
            Provider::AzureOpenAi if !self.is_v1() => {
                let mut path = endpoint.base_url.clone();
                path.set_path("/openai");
                if let Ok(mut path) = path.path_segments_mut() {
                    if let Some(deployment) = endpoint.deployment.as_ref().filter(|_| by_deployment)
                    {
                        path.extend(["deployments", deployment.as_str()]);
                    }
                    path.extend(tail.split('/'));
                }
                let mut url = below(&endpoint.base_url, path.path());
                url.query_pairs_mut().append_pair(
                    "api-version",
                    endpoint.api_version.as_deref().unwrap_or_default(),
                );
                url
            }
            _ => below(&endpoint.base_url, &format!("/{tail}")),
        };
        self.post(url, self.openai_key(), body)
    }

    /// Returns the URL of `path` below a project and location of Vertex AI.
    fn of_project(&self, google: &Google, path: &str) -> Url {
        let version = self.endpoint.api_version.as_deref().unwrap_or("v1");
        let Google {
            project, location, ..
        } = google;
        let path = format!("/{version}/projects/{project}/locations/{location}{path}");
        below(&self.endpoint.base_url, &path)
    }

    /// Returns the URL of a model of another vendor on Vertex AI, which takes the vendor's own
    /// body.
    fn of_partner(&self, google: &Google, publisher: &str, model: &str) -> Url {
        let verb = if self.endpoint.stream {
            "streamRawPredict"
        } else {
            "rawPredict"
        };
        let path = format!("/publishers/{publisher}/models/{model}:{verb}");
        self.of_project(google, &path)
    }

    /// Returns the authentication header for OpenAI-style APIs.
    fn openai_key(&self) -> Vec<(String, String)> {
        let key = self
            .endpoint
            .api_key
            .as_ref()
            .map(crate::model::Secret::expose);
        match (self.token(), key) {
            (Some(token), _) => vec![("authorization".to_owned(), format!("Bearer {token}"))],
            (None, Some(key))
                if self.endpoint.provider == Provider::AzureOpenAi && !self.is_v1() =>
            {
                vec![("api-key".to_owned(), key.to_owned())]
            }
            (None, Some(key)) => vec![("authorization".to_owned(), format!("Bearer {key}"))],
            (None, None) => Vec::new(),
        }
    }

    /// Returns the token that replaces the key, if any.
    fn token(&self) -> Option<&str> {
        match self.credential {
            Credential::Token(token) => Some(token),
            Credential::Configured | Credential::Aws(_) => None,
        }
    }

    /// Reports whether this is Azure's v1 API, which has OpenAI's paths.
    fn is_v1(&self) -> bool {
        self.endpoint.base_url.path().ends_with("/openai/v1")
    }

    /// Returns the model name for the body; on Azure, the deployment's.
    fn model(&self) -> Option<&str> {
        let endpoint = self.endpoint;
        let deployment = endpoint
            .deployment
            .as_deref()
            .filter(|_| endpoint.provider == Provider::AzureOpenAi);
        deployment.or(endpoint.model.as_deref())
    }

    /// Returns the answer's schema, for APIs that accept one.
    fn schema(&self) -> Option<&Value> {
        self.endpoint.expect.json_schema.as_ref()
    }

    /// Wraps the schema as OpenAI expects. `strict` restricts which schemas are allowed, so it is
    /// set only if they are met.
    fn named_schema(&self) -> Option<Value> {
        let schema = self.schema()?;
        let strict = schema["additionalProperties"] == json!(false);
        Some(json!({"name": "answer", "schema": schema, "strict": strict}))
    }
}

/// Appends `path` to the path of `base`.
fn joined(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}

/// Appends an API path to `base`, without repeating the part where they overlap. People paste a
/// `base_url` with the version, or even the full path, from a vendor's example.
fn below(base: &Url, path: &str) -> Url {
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path, None),
    };
    let own = base.path().trim_end_matches('/');
    let wanted = path.trim_start_matches('/');
    let starts = std::iter::once(0)
        .chain(wanted.match_indices('/').map(|(at, _)| at))
        .chain(std::iter::once(wanted.len()));
    let common = starts
        .filter(|end| *end > 0)
        .rfind(|end| {
            let head = &wanted[..*end];
            own.strip_suffix(head)
                .is_some_and(|before| before.ends_with('/'))
        })
        .unwrap_or(0);
    let rest = wanted[common..].trim_start_matches('/');
    let mut url = base.clone();
    if rest.is_empty() && common > 0 {
        url.set_path(own);
    } else {
        url.set_path(&format!("{own}/{rest}"));
    }
    if query.is_some() {
        url.set_query(query);
    }
    url
}

/// The maximum number of values and keys in a document or event: each takes a hundred bytes of
/// memory or more.
const MAX_JSON_NODES: usize = 50_000;

/// Parses a document or event as JSON; `None` if it is invalid or too large for a probe's answer.
fn parse_json(text: &str) -> Option<Value> {
    // These characters open or separate values. Those inside strings count too, which does no harm.
    let nodes = text
        .bytes()
        .filter(|b| matches!(b, b',' | b'[' | b'{'))
        .take(MAX_JSON_NODES)
        .count();
    if nodes == MAX_JSON_NODES {
        return None;
    }
    serde_json::from_str(text).ok()
}

/// Returns the error in a body or event, whatever its shape. An object with only empty values is
/// not an error: some gateways send one with every good answer.
fn error_in(value: &Value) -> Option<Value> {
    let value = value.get(0).unwrap_or(value);
    let is_error_itself = value["type"] == "error" || value["object"] == "error";
    let inner = &value["error"];
    if is_something(inner) && !says_success(inner) {
        // Anthropic's wrapper holds nothing else; OpenRouter's error has its details inside.
        return Some(inner.clone());
    }
    let is_minimax = value["base_resp"]["status_code"]
        .as_i64()
        .is_some_and(|code| code != 0);
    if is_minimax {
        return Some(json!({"base_resp": value["base_resp"]}));
    }
    (is_error_itself || is_bare_error(value)).then(|| value.clone())
}

/// Keys of which every answer, and every event, has at least one.
const ANSWER_KEYS: [&str; 14] = [
    "choices",
    "candidates",
    "content",
    "data",
    "delta",
    "embedding",
    "embeddings",
    "message",
    "output",
    "response",
    "result",
    "results",
    "type",
    "usage",
];

/// Reports whether an event is an error in another format: a list of errors, a code with a text, or
/// a detail.
fn is_bare_error(value: &Value) -> bool {
    let message = &value["message"];
    let holds_answer = ANSWER_KEYS
        .iter()
        .filter(|key| **key != "message" || !message.is_string())
        .any(|key| is_something(&value[*key]));
    if !value.is_object() || holds_answer {
        return false;
    }
    let has_text = ["message", "msg"]
        .iter()
        .any(|key| value[key].as_str().is_some_and(|text| !text.is_empty()));
    let is_code = match &value["code"] {
        Value::Number(code) => !matches!(code.as_i64(), Some(0 | 200)),
        Value::String(code) => !matches!(
            code.to_ascii_lowercase().as_str(),
            "" | "0" | "200" | "ok" | "success"
        ),
        _ => false,
    };
    is_something(&value["errors"])
        || is_something(&value["error_code"])
        || is_something(&value["error_message"])
        || is_something(&value["detail"])
        || value["success"] == false
        || is_code && has_text
}

/// Reports whether a value is non-empty: not null, false, zero, an empty text, or a list or object
/// of such values.
fn is_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) => true,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !matches!(text.trim(), "" | "None" | "null"),
        Value::Array(items) => items.iter().any(is_something),
        Value::Object(map) => map.values().any(is_something),
    }
}

/// Reports whether an error object means success: a success code, and a text that is empty or says
/// the same.
fn says_success(error: &Value) -> bool {
    error.as_object().is_some_and(|map| {
        map.values()
            .all(|value| !is_something(value) || is_success(value))
    })
}

fn is_success(value: &Value) -> bool {
    match value {
        Value::String(text) => {
            let text = text.trim().to_ascii_lowercase();
            matches!(
                text.as_str(),
                "0" | "200" | "ok" | "success" | "succeeded" | "no error"
            )
        }
        Value::Number(number) => matches!(number.as_i64(), Some(0 | 200)),
        _ => false,
    }
}

fn bearer(key: &crate::model::Secret) -> (String, String) {
    (
        "authorization".to_owned(),
        format!("Bearer {}", key.expose()),
    )
}

/// Appends a text, or the texts of a list of parts without reasoning; returns whether there was
/// any.
fn append(text: &mut String, value: &Value) -> bool {
    let before = text.len();
    match value {
        Value::String(s) => text.push_str(s),
        Value::Array(parts) => parts
            .iter()
            .filter(|part| !is_thought(part))
            .filter_map(|part| part.as_str().or_else(|| part["text"].as_str()))
            .for_each(|s| text.push_str(s)),
        _ => {}
    }
    text.len() > before
}

/// Reports whether a content part is reasoning rather than answer.
fn is_thought(part: &Value) -> bool {
    part["type"]
        .as_str()
        .is_some_and(|kind| kind.contains("thinking") || kind.contains("reasoning"))
        || part["thought"] == json!(true)
}

/// Reports whether a content list contains reasoning.
fn has_thoughts(content: &Value) -> bool {
    content.as_array().is_some_and(|parts| {
        parts
            .iter()
            .any(|part| is_thought(part) && is_something(part))
    })
}

fn is_text(value: &Value) -> bool {
    value.as_str().is_some_and(|s| !s.is_empty())
}

fn text_of(value: &Value) -> Option<String> {
    value.as_str().filter(|s| !s.is_empty()).map(str::to_owned)
}

fn count(value: &Value) -> Option<u32> {
    value.as_u64().map(|n| u32::try_from(n).unwrap_or(u32::MAX))
}
