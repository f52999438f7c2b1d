//! What each API wants to be asked and how its answer reads. Pure: one file an API, and this enum.

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
use crate::model::{Api, AwsKeys, Endpoint, Provider, Timestamp};
pub use crate::protocol::request::Request;
use crate::protocol::{catalog, sigv4};

const AGENT: &str = concat!("llmwatch/", env!("CARGO_PKG_VERSION"));
/// Where it stands in a prompt or body, every probe puts another word, so that no cache answers for the model.
const NONCE: &str = "{nonce}";

/// What sets one probe of an endpoint apart from the next.
#[derive(Debug, Clone, Copy)]
pub struct ProbeRequest<'a> {
    /// The endpoint that is probed.
    pub endpoint: &'a Endpoint,
    /// The sample's id.
    pub id: &'a str,
    /// What the server has refused of earlier requests.
    pub adaptations: &'a Adaptations,
    /// What stands for the key.
    pub credential: Credential<'a>,
    /// The time of the request.
    pub now: Timestamp,
}

/// What stands for an endpoint's key in one request.
#[derive(Debug, Clone, Copy)]
pub enum Credential<'a> {
    /// Nothing: the key of the configuration is used, if there is one.
    Configured,
    /// A token that was fetched.
    Token(&'a str),
    /// AWS keys, which sign the request.
    Aws(&'a AwsKeys),
}

/// What one event of a stream brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamEvent {
    /// Nothing that a user would see or wait for.
    Nothing,
    /// A part of the model's reasoning.
    Reasoning,
    /// A part of the answer.
    Text,
    /// The end of the stream.
    End,
    /// Not readable.
    Garbage,
}

/// What is known of an answer when it has ended.
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own; they come in every combination"
)]
pub struct Answer {
    /// Everything that the model wrote as its answer, thoughts in tags included.
    pub text: String,
    /// Where thoughts in tags end and the answer begins.
    pub(super) thoughts: Thoughts,
    /// The text with which the model declines.
    pub refusal: String,
    /// The model calls a tool: output, though no text.
    pub calls_tool: bool,
    /// The names of the tools that it calls.
    pub tools: Vec<String>,
    /// The API's own sign that the answer is complete was seen.
    pub complete: bool,
    /// The API's error object, or whatever stood in its place.
    pub error: Option<Value>,
    /// It is not in the API's form.
    pub malformed: bool,
    /// The event that could not be read.
    pub garbage: String,
    /// Why the model stopped, as the API names it.
    pub finish_reason: Option<String>,
    /// The API gives a reason and this answer came to its end without one.
    pub lacks_finish_reason: bool,
    /// A content filter stopped it.
    pub filtered: bool,
    /// The model declined, whatever text came before.
    pub refused: bool,
    /// The budget of tokens was used up.
    pub cut_by_length: bool,
    /// Tokens of the prompt.
    pub input_tokens: Option<u32>,
    /// Tokens of the answer.
    pub output_tokens: Option<u32>,
    /// Tokens of reasoning.
    pub reasoning_tokens: Option<u32>,
    /// The reasoning tokens are not among the output tokens, though they are billed as such.
    pub reasoning_apart: bool,
    /// The model that answered.
    pub model: Option<String>,
    /// The fingerprint of the backend.
    pub fingerprint: Option<String>,
    /// How long the server took to load the model before it began, in milliseconds.
    pub load_ms: Option<f64>,
    /// What an MCP server has said of itself.
    pub server: Option<mcp::Server>,
    /// Models of a list whose end is announced, with the date as it was written.
    pub retiring: Vec<(String, String)>,
}

/// What the tool that a probe offers is for.
const TOOL_DESCRIPTION: &str = "Does nothing. Takes no arguments.";
/// How many calls of tools are remembered.
const MAX_TOOLS: usize = 16;

impl Answer {
    /// Takes in the name of a tool that is called, if `name` is one.
    fn note_tool(&mut self, name: &Value) {
        let Some(name) = name.as_str().filter(|name| !name.is_empty()) else {
            return;
        };
        self.calls_tool = true;
        if self.tools.len() < MAX_TOOLS {
            self.tools.push(name.to_owned());
        }
    }

    /// Whether the text that was appended last is a part of the answer or of a thought that stands in tags before it.
    fn appended(&mut self) -> StreamEvent {
        if self.thoughts.read(&self.text) {
            StreamEvent::Text
        } else {
            StreamEvent::Reasoning
        }
    }

    /// The answer without thoughts that stand in tags before it.
    pub fn visible_text(&self) -> &str {
        let mut thoughts = self.thoughts;
        thoughts.read(&self.text);
        thoughts.visible(&self.text)
    }

    /// Takes in the API's reason for the end: each vendor and server adds its own to a few common ones.
    fn finish(&mut self, reason: &str) {
        let lower = reason.to_ascii_lowercase();
        let says = |parts: &[&str]| parts.iter().any(|part| lower.contains(part));
        if says(&["length", "max_tokens", "token_limit", "max_output"]) {
            self.cut_by_length = true;
        } else if says(&[
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
        ]) {
            self.filtered = true;
        } else if lower == "refusal" {
            self.refused = true;
        } else if says(&[
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
        ]) && self.error.is_none()
        {
            // The server gave up: OpenRouter, vLLM, DeepSeek and Zhipu each have a reason of their own for that.
            self.error = Some(json!({"message": format!("finish_reason is {reason}")}));
        }
        self.finish_reason = Some(reason.to_owned());
    }
}

/// How a body arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// At once.
    Document,
    /// As server-sent events.
    Events,
    /// As one JSON object a line.
    Lines,
    /// As messages of AWS's event stream.
    Messages,
    /// As messages of a WebSocket.
    Frames,
    /// As sound.
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
    /// The dialect of an endpoint.
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

    /// How the answer is asked for.
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

    /// The request of a probe.
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

    /// Adds what all requests of the API have.
    fn complete(self, ask: &ProbeRequest<'_>, mut request: Request) -> Request {
        let endpoint = ask.endpoint;
        let mut headers = vec![
            ("user-agent".to_owned(), AGENT.to_owned()),
            // Compression makes some proxies hold the stream back.
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

    /// Takes one event of a stream into the answer.
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

    /// Takes an event of a stream that its name calls an error. Its data may have the API's form of one, another, or none.
    pub fn error(answer: &mut Answer, data: &str) -> StreamEvent {
        answer.error = match parse_json(data) {
            Some(event) => error_in(&event).or(Some(event)),
            None => Some(json!({"message": data})),
        };
        StreamEvent::End
    }

    /// Takes a complete body into the answer.
    pub fn body(self, answer: &mut Answer, body: &str) {
        // Some servers send blank lines while a request waits in their queue.
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
            // Neither is answered with a document.
            Self::Realtime | Self::Speech => answer.malformed = true,
            Self::Http => {}
        }
    }
}

impl ProbeRequest<'_> {
    /// What the model is asked: the built-in prompt with a word that no probe before it had, or the user's own, where
    /// `{nonce}` stands for such a word.
    fn prompt(&self) -> String {
        let prompt = &self.endpoint.prompt;
        if *prompt == catalog::prompt(self.endpoint.api) {
            format!("{prompt} (probe {})", self.nonce())
        } else {
            prompt.replace(NONCE, self.nonce())
        }
    }

    /// The name that the token budget of a chat goes by, then its other name. Reasoning models refuse `max_tokens`; many
    /// compatible servers know nothing else.
    pub(super) fn budget_names(&self) -> [&'static str; 2] {
        let compatible = self.endpoint.provider.is_compatible();
        let names = ["max_completion_tokens", "max_tokens"];
        if compatible == self.adaptations.uses_alternate_budget {
            names
        } else {
            [names[1], names[0]]
        }
    }

    /// The body that the configuration gives.
    fn own_body(&self) -> Option<Vec<u8>> {
        self.endpoint
            .body
            .as_ref()
            .map(|body| body.replace(NONCE, self.nonce()).into_bytes())
    }

    /// The random end of the sample's id.
    fn nonce(&self) -> &str {
        self.id
            .get(self.id.len().saturating_sub(6)..)
            .unwrap_or_default()
    }

    /// A POST of the configuration's body, else of `body`.
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

    /// A request to `tail` of an API in OpenAI's manner, Azure's two variants among them. `by_deployment` says whether
    /// Azure's classic API has it below a deployment.
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

    /// The key as APIs in OpenAI's manner take it.
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

    /// A token that stands for the key.
    fn token(&self) -> Option<&str> {
        match self.credential {
            Credential::Token(token) => Some(token),
            Credential::Configured | Credential::Aws(_) => None,
        }
    }

    /// Whether this is Azure's v1 API, which has OpenAI's own paths.
    fn is_v1(&self) -> bool {
        self.endpoint.base_url.path().ends_with("/openai/v1")
    }

    /// The model's name as the body has it: on Azure the deployment's.
    fn model(&self) -> Option<&str> {
        let endpoint = self.endpoint;
        let deployment = endpoint
            .deployment
            .as_deref()
            .filter(|_| endpoint.provider == Provider::AzureOpenAi);
        deployment.or(endpoint.model.as_deref())
    }

    /// The schema of the answer, for APIs that accept one.
    fn schema(&self) -> Option<&Value> {
        self.endpoint.expect.json_schema.as_ref()
    }

    /// A schema in OpenAI's wrapping. `strict` makes demands of its own on a schema, so it is asked for only where they
    /// are met.
    fn named_schema(&self) -> Option<Value> {
        let schema = self.schema()?;
        let strict = schema["additionalProperties"] == json!(false);
        Some(json!({"name": "answer", "schema": schema, "strict": strict}))
    }
}

/// `base` with `path` appended to its own path.
fn joined(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}

/// The same for the path of an API. What both have in common where they meet stands once: people paste a
/// `base_url` with the version, or with the full path, from a vendor's example.
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

/// How many values and keys a document or an event may hold: each takes a hundred bytes of memory or more.
const MAX_JSON_NODES: usize = 50_000;

/// A document or an event as JSON; `None` when it is none, or holds more than any answer to a probe.
fn parse_json(text: &str) -> Option<Value> {
    // Each of these begins or ends one; those inside of texts count too, which does not matter.
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

/// The error that a body or an event holds, whatever its shape. One whose values are all empty is none: some gateways send
/// such an object beside every good answer.
fn error_in(value: &Value) -> Option<Value> {
    let value = value.get(0).unwrap_or(value);
    let is_error_itself = value["type"] == "error" || value["object"] == "error";
    let inner = &value["error"];
    if is_something(inner) && !says_success(inner) {
        // Anthropic's wrapping holds nothing more; OpenRouter's error has its details inside.
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

/// Keys of which every answer, and every event of one, has at least one.
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

/// Whether an event says that something is wrong in a form of its own: a list of errors, a code with a text, a detail.
fn is_bare_error(value: &Value) -> bool {
    let message = &value["message"];
    let holds_answer = ANSWER_KEYS
        .iter()
        .filter(|key| **key != "message" || !message.is_string())
        .any(|key| is_something(&value[*key]));
    if !value.is_object() || holds_answer {
        return false;
    }
    let says = |key: &str| value[key].as_str().is_some_and(|text| !text.is_empty());
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
        || is_something(&value["detail"])
        || value["success"] == false
        || is_code && (says("message") || says("msg"))
}

/// Whether a value says anything: no null, no false, no zero, no empty text, and no list or object of such.
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

/// Whether an error object says that there was none: a code of success, and no text or one that says the same.
fn says_success(error: &Value) -> bool {
    let is_success = |value: &Value| match value {
        Value::String(text) => {
            let text = text.trim().to_ascii_lowercase();
            matches!(
                text.as_str(),
                "0" | "200" | "ok" | "success" | "succeeded" | "no error"
            )
        }
        Value::Number(number) => matches!(number.as_i64(), Some(0 | 200)),
        _ => false,
    };
    error.as_object().is_some_and(|map| {
        map.values()
            .all(|value| !is_something(value) || is_success(value))
    })
}

/// Appends a text, or the texts of a list of parts without the model's thoughts; true if there was any.
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

/// Whether a part of list-shaped content is a thought and not a part of the answer.
fn is_thought(part: &Value) -> bool {
    part["type"]
        .as_str()
        .is_some_and(|kind| kind.contains("thinking") || kind.contains("reasoning"))
        || part["thought"] == json!(true)
}

/// Whether list-shaped content holds thoughts.
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
