//! Responses of a healthy provider, as JSON and headers: OpenAI's chat completions and other
//! vendors' variants.

use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};

use crate::act::WriteKind;
use crate::clouds;
use crate::latency_profile::ResponseProfile;
use crate::request::Request;
use crate::websocket;
use llmwatch_core::model::Timestamp;

/// The API to imitate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    OpenAi,
    Azure,
    Bedrock,
    Google,
    Realtime,
}

impl Dialect {
    /// Detects the API from the path. Azure's paths begin with `/openai/`, on the classic and on
    /// the v1 API, and Bedrock's with `/model/`. Google's end in the method.
    pub(crate) fn of(path: &str) -> Self {
        if path.ends_with("/realtime") {
            Self::Realtime
        } else if path.starts_with("/openai/") {
            Self::Azure
        } else if path.starts_with("/model/") {
            Self::Bedrock
        } else if path.contains(":generateContent") || path.contains(":streamGenerateContent") {
            Self::Google
        } else {
            Self::OpenAi
        }
    }

    /// Returns the vendor's headers of any response: request IDs, limits, location.
    pub(crate) fn headers(self, processing: Duration, rng: &mut Rng) -> Vec<(String, String)> {
        let processing_ms = processing.as_millis().to_string();
        let headers = match self {
            Self::OpenAi | Self::Realtime => vec![
                ("openai-organization", "org-simulated".to_owned()),
                ("openai-processing-ms", processing_ms),
                ("openai-version", "2020-10-01".to_owned()),
                ("x-request-id", format!("req_{}", hex(rng, 32))),
                ("x-ratelimit-limit-requests", "500".to_owned()),
                ("x-ratelimit-limit-tokens", "200000".to_owned()),
                ("x-ratelimit-remaining-requests", "499".to_owned()),
                ("x-ratelimit-remaining-tokens", "199922".to_owned()),
                ("x-ratelimit-reset-requests", "120ms".to_owned()),
                ("x-ratelimit-reset-tokens", "23ms".to_owned()),
            ]
            .into_iter()
            .chain(edge_headers(rng))
            .collect(),
            Self::Azure => vec![
                ("apim-request-id", uuid(rng)),
                ("x-request-id", uuid(rng)),
                ("x-ms-region", "Sweden Central".to_owned()),
                ("x-ms-rai-invoked", "true".to_owned()),
                ("azureml-model-session", format!("d{}", hex(rng, 8))),
                ("x-envoy-upstream-service-time", processing_ms),
                ("x-ratelimit-limit-requests", "250".to_owned()),
                ("x-ratelimit-limit-tokens", "250000".to_owned()),
                ("x-ratelimit-remaining-requests", "249".to_owned()),
                ("x-ratelimit-remaining-tokens", "249936".to_owned()),
                (
                    "strict-transport-security",
                    "max-age=31536000; includeSubDomains; preload".to_owned(),
                ),
            ],
            Self::Bedrock => vec![("x-amzn-requestid", uuid(rng))],
            Self::Google => vec![
                ("server", "scaffolding on HTTPServer2".to_owned()),
                ("vary", "Origin, X-Origin, Referer".to_owned()),
            ],
        };
        owned(headers)
    }

    /// Returns the content type of a stream.
    pub(crate) fn stream_type(self) -> &'static str {
        match self {
            Self::Bedrock => "application/vnd.amazon.eventstream",
            Self::OpenAi | Self::Azure | Self::Google | Self::Realtime => {
                "text/event-stream; charset=utf-8"
            }
        }
    }

    /// Returns a stream event as sent.
    pub(crate) fn framed(self, event: &Value) -> Vec<u8> {
        match (self, event.as_object().and_then(|e| e.iter().next())) {
            (Self::Bedrock, Some((name, payload))) => clouds::message(name, payload, false),
            (Self::Realtime, _) => websocket::text(&event.to_string()),
            _ => format!("data: {event}\n\n").into_bytes(),
        }
    }

    /// Returns a stream error as sent; `None` means the vendor's usual error.
    pub(crate) fn framed_error(self, data: Option<&str>) -> Vec<u8> {
        match self {
            Self::Bedrock => {
                let usual = json!({"message": "The system encountered an unexpected error during processing. Try your request again."});
                let payload = data
                    .and_then(|d| serde_json::from_str(d).ok())
                    .unwrap_or(usual);
                clouds::message("internalServerException", &payload, true)
            }
            Self::Google => {
                let usual = r#"{"error":{"code":500,"message":"An internal error has occurred.","status":"INTERNAL"}}"#;
                format!("data: {}\n\n", data.unwrap_or(usual)).into_bytes()
            }
            Self::Realtime => {
                let usual = r#"{"type":"error","event_id":"event_e","error":{"type":"server_error","code":null,"message":"The server had an error while processing your request. Sorry about that!","param":null,"event_id":null}}"#;
                websocket::text(data.unwrap_or(usual))
            }
            Self::OpenAi | Self::Azure => {
                format!("data: {}\n\n", data.unwrap_or(SERVER_ERROR)).into_bytes()
            }
        }
    }

    /// Returns the sentinel that ends every stream, if the API has one.
    pub(crate) fn done(self) -> &'static [u8] {
        match self {
            Self::OpenAi | Self::Azure => b"data: [DONE]\n\n",
            Self::Bedrock | Self::Google | Self::Realtime => b"",
        }
    }

    /// Returns a part of a stream as sent.
    pub(crate) fn piece(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Realtime => bytes.to_vec(),
            _ => chunk(bytes),
        }
    }

    /// Returns what ends a stream normally.
    pub(crate) fn last(self) -> &'static [u8] {
        match self {
            Self::Realtime => websocket::CLOSE,
            _ => LAST_CHUNK,
        }
    }
}

/// The end of a chunked body.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Encodes `data` as one chunk of HTTP's chunked transfer coding (RFC 9112 §7.1).
pub(crate) fn chunk(data: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{:x}\r\n", data.len()).into_bytes();
    bytes.extend_from_slice(data);
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// OpenAI's internal server error.
pub(crate) const SERVER_ERROR: &str = r#"{"error":{"message":"The server had an error while processing your request. Sorry about that!","type":"server_error","param":null,"code":null}}"#;

/// Returns the headers that Cloudflare adds, and the only ones when it answers by itself.
pub(crate) fn edge_headers(rng: &mut Rng) -> Vec<(&'static str, String)> {
    vec![
        ("cf-cache-status", "DYNAMIC".to_owned()),
        ("cf-ray", format!("{}-FRA", hex(rng, 16))),
        ("server", "cloudflare".to_owned()),
    ]
}

/// Converts the header names to owned strings.
pub(crate) fn owned(headers: Vec<(&str, String)>) -> Vec<(String, String)> {
    headers
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// One response to a chat request.
#[derive(Debug, Clone)]
pub(crate) struct Completion {
    dialect: Dialect,
    id: String,
    created: i64,
    model: String,
    pieces: Vec<String>,
    finish_reason: String,
    /// Whether streaming was requested.
    pub(crate) streaming: bool,
    /// Whether a stream ends with the token counts.
    wants_usage: bool,
}

impl Completion {
    /// Builds the response to `request`, whose body is `asked`.
    pub(crate) fn new(
        request: &Request,
        asked: &Value,
        profile: &ResponseProfile,
        now: Timestamp,
        rng: &mut Rng,
    ) -> Self {
        Self {
            dialect: Dialect::of(&request.path),
            id: format!("chatcmpl-{}", hex(rng, 24)),
            created: now.0 / 1000,
            model: model(&request.path, asked)
                .unwrap_or("gpt-simulated")
                .to_owned(),
            pieces: pieces(&profile.answer, profile.tokens),
            finish_reason: profile.finish_reason.clone(),
            streaming: asked["stream"] == true
                || request.path.ends_with("/converse-stream")
                || request.path.ends_with(":streamGenerateContent")
                || Dialect::of(&request.path) == Dialect::Realtime,
            wants_usage: asked["stream_options"]["include_usage"] == true,
        }
    }

    /// Returns the number of tokens in the answer.
    pub(crate) fn tokens(&self) -> usize {
        self.pieces.len()
    }

    /// Returns the complete answer as one body.
    pub(crate) fn body(&self) -> Value {
        let text = self.pieces.concat();
        match self.dialect {
            Dialect::Bedrock => {
                clouds::converse(&text, &self.finish_reason, &self.usage_of_bedrock())
            }
            Dialect::Google => clouds::generate(
                &self.model,
                &text,
                Some(&self.finish_reason),
                &self.usage_of_google(),
            ),
            Dialect::OpenAi | Dialect::Azure | Dialect::Realtime => self.body_of_openai(&text),
        }
    }

    fn body_of_openai(&self, text: &str) -> Value {
        let mut choice = json!({
            "index": 0,
            "message": {
                "role": "assistant", "content": text, "refusal": null, "annotations": [],
            },
            "logprobs": null,
            "finish_reason": self.finish_reason,
        });
        let mut body = self.envelope("chat.completion");
        if self.dialect == Dialect::Azure {
            choice["content_filter_results"] = filter_results();
            body["prompt_filter_results"] = prompt_filter_results();
        }
        body["choices"] = json!([choice]);
        body["usage"] = self.usage();
        body
    }

    /// Returns the API.
    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Returns the chunks before the text.
    pub(crate) fn opening(&self) -> Vec<(WriteKind, Value)> {
        match self.dialect {
            Dialect::Bedrock => vec![(WriteKind::Role, clouds::converse_start())],
            Dialect::Google => Vec::new(),
            Dialect::Realtime => vec![
                (
                    WriteKind::Preamble,
                    json!({
                        "type": "session.created", "event_id": "event_1",
                        "session": {"type": "realtime", "object": "realtime.session", "id": "sess_simulated", "model": self.model},
                    }),
                ),
                (
                    WriteKind::Role,
                    json!({
                        "type": "response.created", "event_id": "event_2",
                        "response": {"object": "realtime.response", "id": "resp_simulated", "status": "in_progress", "output": []},
                    }),
                ),
            ],
            Dialect::OpenAi => vec![(WriteKind::Role, self.role_chunk())],
            // Azure's first chunk has no choices.
            Dialect::Azure => vec![
                (
                    WriteKind::Preamble,
                    json!({
                        "choices": [], "created": 0, "id": "", "model": "", "object": "",
                        "prompt_filter_results": prompt_filter_results(),
                    }),
                ),
                (WriteKind::Role, self.role_chunk()),
            ],
        }
    }

    /// Returns the chunk that names the role.
    fn role_chunk(&self) -> Value {
        self.chunk(
            &json!({"role": "assistant", "content": "", "refusal": null}),
            None,
            false,
        )
    }

    /// Returns the chunk of token `n`, which must be below [`Self::tokens`].
    pub(crate) fn token_chunk(&self, n: usize) -> Value {
        let text = &self.pieces[n];
        match self.dialect {
            Dialect::Bedrock => clouds::converse_delta(text),
            Dialect::Google => clouds::generate(&self.model, text, None, &Value::Null),
            Dialect::Realtime => json!({
                "type": "response.output_text.delta", "event_id": format!("event_{}", n + 3),
                "response_id": "resp_simulated", "item_id": "item_1", "output_index": 0, "content_index": 0,
                "delta": text,
            }),
            Dialect::OpenAi | Dialect::Azure => self.chunk(&json!({"content": text}), None, true),
        }
    }

    /// Returns the chunks after the text.
    pub(crate) fn closing(&self) -> Vec<(WriteKind, Value)> {
        let reason = &self.finish_reason;
        match self.dialect {
            Dialect::Bedrock => vec![
                (WriteKind::Finish, clouds::converse_stop(reason)),
                (
                    WriteKind::Usage,
                    clouds::converse_metadata(&self.usage_of_bedrock()),
                ),
            ],
            Dialect::Google => {
                let usage = self.usage_of_google();
                let last = clouds::generate(&self.model, "", Some(reason), &usage);
                vec![(WriteKind::Finish, last)]
            }
            Dialect::Realtime => {
                let output = self.tokens();
                let status = match reason.as_str() {
                    "length" | "content_filter" => "incomplete",
                    _ => "completed",
                };
                let details = match reason.as_str() {
                    "length" => json!({"type": "incomplete", "reason": "max_output_tokens"}),
                    "content_filter" => json!({"type": "incomplete", "reason": "content_filter"}),
                    _ => Value::Null,
                };
                let response = json!({
                    "object": "realtime.response", "id": "resp_simulated", "status": status, "status_details": details,
                    "output": [],
                    "usage": {"total_tokens": PROMPT_TOKENS + output, "input_tokens": PROMPT_TOKENS, "output_tokens": output},
                });
                let done =
                    json!({"type": "response.done", "event_id": "event_0", "response": response});
                vec![(WriteKind::Finish, done)]
            }
            Dialect::OpenAi | Dialect::Azure => {
                let finish = self.chunk(&json!({}), Some(reason), false);
                let mut closing = vec![(WriteKind::Finish, finish)];
                if self.wants_usage {
                    let mut chunk = self.envelope("chat.completion.chunk");
                    chunk["choices"] = json!([]);
                    chunk["usage"] = self.usage();
                    closing.push((WriteKind::Usage, chunk));
                }
                closing
            }
        }
    }

    fn usage_of_bedrock(&self) -> Value {
        let output = self.tokens();
        json!({"inputTokens": PROMPT_TOKENS, "outputTokens": output, "totalTokens": PROMPT_TOKENS + output})
    }

    fn usage_of_google(&self) -> Value {
        let output = self.tokens();
        json!({
            "promptTokenCount": PROMPT_TOKENS,
            "candidatesTokenCount": output,
            "totalTokenCount": PROMPT_TOKENS + output,
        })
    }

    fn chunk(&self, delta: &Value, finish_reason: Option<&str>, filtered: bool) -> Value {
        let mut choice =
            json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason});
        if self.dialect == Dialect::Azure {
            choice["content_filter_results"] = if filtered {
                filter_results()
            } else {
                json!({})
            };
        }
        let mut chunk = self.envelope("chat.completion.chunk");
        chunk["choices"] = json!([choice]);
        if self.wants_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }

    fn envelope(&self, object: &str) -> Value {
        let mut envelope =
            json!({"id": self.id, "object": object, "created": self.created, "model": self.model});
        if self.dialect == Dialect::OpenAi {
            envelope["service_tier"] = json!("default");
        }
        envelope["system_fingerprint"] = json!("fp_simulated");
        envelope
    }

    fn usage(&self) -> Value {
        let output = self.tokens();
        json!({
            "prompt_tokens": PROMPT_TOKENS,
            "completion_tokens": output,
            "total_tokens": PROMPT_TOKENS + output,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0, "audio_tokens": 0,
                "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
            },
        })
    }
}

/// The token count of every prompt, close to that of the monitor's own.
const PROMPT_TOKENS: usize = 14;

/// Returns the requested model: from the body, or from the path on Azure's classic API, Bedrock and
/// Google.
pub(crate) fn model<'a>(path: &'a str, asked: &'a Value) -> Option<&'a str> {
    asked["model"]
        .as_str()
        .or_else(|| path.split_once("/deployments/")?.1.split('/').next())
        .or_else(|| path.strip_prefix("/model/")?.split('/').next())
        .or_else(|| path.rsplit_once("/models/")?.1.split(':').next())
}

/// Returns the list of models.
pub(crate) fn models(now: Timestamp) -> Value {
    let created = now.0 / 1000;
    let models = ["gpt-6-luna", "gpt-5.6-luna", "gpt-simulated"].map(|id| {
        json!({"id": id, "object": "model", "created": created, "owned_by": "system", "shutdown_date": null})
    });
    json!({"object": "list", "data": models})
}

/// Splits `text` into `count` pieces of nearly equal length. A text that is too short is repeated,
/// one word per piece.
fn pieces(text: &str, count: usize) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let cut = count.min(characters.len());
    let mut pieces: Vec<String> = (0..cut)
        .map(|n| {
            characters[n * characters.len() / cut..(n + 1) * characters.len() / cut]
                .iter()
                .collect()
        })
        .collect();
    pieces.resize_with(count, || format!(" {text}"));
    pieces
}

fn filter_results() -> Value {
    let safe = json!({"filtered": false, "severity": "safe"});
    json!({"hate": safe, "self_harm": safe, "sexual": safe, "violence": safe})
}

fn prompt_filter_results() -> Value {
    let mut results = filter_results();
    results["jailbreak"] = json!({"filtered": false, "detected": false});
    json!([{"prompt_index": 0, "content_filter_results": results}])
}

fn hex(rng: &mut Rng, digits: usize) -> String {
    (0..digits).map(|_| rng.digit(16)).collect()
}

fn uuid(rng: &mut Rng) -> String {
    uuid::Builder::from_random_bytes(rng.u128(..).to_be_bytes())
        .into_uuid()
        .to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_answer_is_cut_into_as_many_tokens_as_asked() {
        assert_eq!(pieces("pong", 2), ["po", "ng"]);
        assert_eq!(pieces("pong", 1), ["pong"]);
        assert_eq!(pieces("hi", 4), ["h", "i", " hi", " hi"]);
        assert!(pieces("pong", 0).is_empty());
    }

    proptest! {
        #[test]
        fn pieces_begin_with_the_full_text(text in ".{0,30}", count in 1_usize..40) {
            let pieces = pieces(&text, count);
            prop_assert_eq!(pieces.len(), count);
            prop_assert!(pieces.concat().starts_with(&text));
        }
    }
}
