//! What each API wants to be asked and how its answer reads. Pure: one file an API, and this enum.

mod chat;
mod http;

use serde_json::Value;
use url::Url;

use crate::model::{Api, Endpoint, Provider};

const AGENT: &str = concat!("llmwatch/", env!("CARGO_PKG_VERSION"));

/// A request as it goes on the wire.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) url: Url,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

/// What one event of a stream brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Brought {
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
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own; they come in every combination")]
pub(super) struct Answer {
    pub(super) text: String,
    pub(super) refusal: String,
    /// The API's own sign that the answer is complete was seen.
    pub(super) complete: bool,
    /// The API's error object, or whatever stood in its place.
    pub(super) error: Option<Value>,
    /// It is not in the API's form.
    pub(super) malformed: bool,
    pub(super) finish_reason: Option<String>,
    pub(super) filtered: bool,
    /// The budget of tokens was used up.
    pub(super) cut_by_length: bool,
    pub(super) input_tokens: Option<u32>,
    pub(super) output_tokens: Option<u32>,
    pub(super) reasoning_tokens: Option<u32>,
    pub(super) model: Option<String>,
    pub(super) fingerprint: Option<String>,
}

/// The API of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Chat,
    Http,
}

impl Dialect {
    /// The dialect of an endpoint, if it can be spoken.
    pub(super) fn of(endpoint: &Endpoint) -> Option<Self> {
        match endpoint.api {
            Api::Chat => Some(Self::Chat),
            Api::Http => Some(Self::Http),
            Api::Responses
            | Api::Embeddings
            | Api::Moderations
            | Api::Models
            | Api::Messages
            | Api::Generate
            | Api::Ollama => None,
        }
    }

    /// Whether the answer is asked for as a stream.
    pub(super) fn streams(self, endpoint: &Endpoint) -> bool {
        self == Self::Chat && endpoint.stream
    }

    /// The request of a probe; `id` is the sample's.
    pub(super) fn request(self, endpoint: &Endpoint, id: &str) -> Request {
        let mut request = match self {
            Self::Chat => chat::request(endpoint),
            Self::Http => http::request(endpoint),
        };
        let mut headers = vec![
            ("user-agent".to_owned(), AGENT.to_owned()),
            // Compression makes some proxies hold the stream back.
            ("accept-encoding".to_owned(), "identity".to_owned()),
        ];
        if endpoint.provider == Provider::OpenAi && self != Self::Http {
            headers.push(("x-client-request-id".to_owned(), id.to_owned()));
        }
        headers.append(&mut request.headers);
        for (name, value) in &endpoint.headers {
            headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
            headers.push((name.to_ascii_lowercase(), value.expose().to_owned()));
        }
        Request { headers, ..request }
    }

    /// Takes one event of a stream into the answer.
    pub(super) fn event(self, answer: &mut Answer, data: &str) -> Brought {
        match self {
            Self::Chat => chat::event(answer, data),
            Self::Http => Brought::Nothing,
        }
    }

    /// Takes a whole body into the answer.
    pub(super) fn body(self, answer: &mut Answer, body: &str) {
        match self {
            Self::Chat => chat::body(answer, body),
            Self::Http => http::body(answer, body),
        }
    }
}

/// `base` with `path` appended to its own path.
fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}
