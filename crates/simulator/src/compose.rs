//! Decides the response to a request. Pure: from the request and the rule's instructions to a list
//! of acts.

use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};

use crate::act::{Act, WriteKind};
use crate::clouds;
use crate::hostile;
use crate::latency_profile::ResponseProfile;
use crate::mcp;
use crate::preset::Preset;
use crate::reply::{Reply, ResetAt};
use crate::request::{Request, write_head};
use crate::rule::Fault;
use crate::speech::{Completion, Dialect, SERVER_ERROR, chunk, edge_headers, model, models, owned};
use crate::status_page::StatusPage;
use crate::websocket;
use llmwatch_core::model::Secret;

/// What `OpenRouter` says of an account's credit.
const OPENROUTER_CREDITS: &str = r#"{"data":{"total_credits":25.0,"total_usage":4.5}}"#;
/// What `DeepSeek` says of it.
const DEEPSEEK_BALANCE: &str = r#"{"is_available":true,"balance_infos":[{"currency":"USD","total_balance":"20.50","granted_balance":"0.00","topped_up_balance":"20.50"}]}"#;

/// A request and everything that decides its answer.
pub(crate) struct Order<'a> {
    pub(crate) request: &'a Request,
    /// The request's body; null if it isn't JSON.
    pub(crate) asked: &'a Value,
    /// The required key.
    pub(crate) api_key: Option<&'a Secret>,
    pub(crate) profile: &'a ResponseProfile,
    pub(crate) fault: &'a Fault,
    /// The rule's own headers, which override all others.
    pub(crate) headers: &'a [(String, String)],
    /// The status page, which also holds the time.
    pub(crate) page: StatusPage<'a>,
}

/// The resource at the requested path.
enum Resource {
    Chat(Box<Completion>),
    Reply(Reply),
}

const SSE: &str = "text/event-stream; charset=utf-8";
const JSON: &str = "application/json";

impl Order<'_> {
    /// Returns the response, step by step.
    pub(crate) fn compose(&self, rng: &mut Rng) -> Vec<Act> {
        let mut acts = match self.fault {
            Fault::Reply(reply) => self.complete(reply, rng),
            Fault::Preset(preset) => self.complete(&preset.reply(self.model()), rng),
            Fault::Reset(ResetAt::Headers | ResetAt::Accept) => vec![Act::Reset {
                due: self.profile.headers_after,
            }],
            Fault::RefuseTls => vec![hostile::not_tls()],
            Fault::EndlessComments => self.endless_comments(rng),
            Fault::HeaderBomb { bytes } => self.header_bomb(*bytes, rng),
            Fault::HugeBody { bytes } => {
                let length = ("content-length".to_owned(), bytes.to_string());
                self.after_head(&[typed(JSON), length], hostile::spaces(*bytes), rng)
            }
            Fault::GzipBomb { bytes } => {
                let encoding = ("content-encoding".to_owned(), "gzip".to_owned());
                self.after_head(&[typed(JSON), encoding], hostile::gzip_bomb(*bytes), rng)
            }
            Fault::None
            | Fault::StreamError { .. }
            | Fault::Truncate { .. }
            | Fault::Close { .. }
            | Fault::Stall { .. }
            | Fault::Reset(ResetAt::Token(_))
            | Fault::InvalidUtf8 => match self.resource(rng) {
                Resource::Chat(completion) if completion.streaming => self.stream(&completion, rng),
                Resource::Chat(completion) => self.at_once(&completion, rng),
                Resource::Reply(reply) => self.complete(&reply, rng),
            },
        };
        if self.request.method == "HEAD" {
            acts.truncate(1);
        }
        acts
    }

    fn resource(&self, rng: &mut Rng) -> Resource {
        let Request { method, path, .. } = self.request;
        if let Some(document) = self.page.document(path) {
            return Resource::Reply(reply(200, document.to_string()));
        }
        if method == "POST" && path == "/token" {
            return Resource::Reply(reply(200, clouds::token(self.api_key).to_string()));
        }
        let is_api = ["/models", "/credits", "/user/balance"]
            .iter()
            .any(|end| path.ends_with(end))
            || Dialect::of(path) == Dialect::Realtime;
        if matches!(method.as_str(), "GET" | "HEAD") && !is_api {
            return Resource::Reply(reply(200, WEB_PAGE.to_owned()));
        }
        if let Some(refusal) = self.refusal() {
            return Resource::Reply(refusal.reply(self.model()));
        }
        match (method.as_str(), path) {
            ("POST", path)
                if path.ends_with("/chat/completions")
                    || Dialect::of(path) == Dialect::Bedrock
                    || Dialect::of(path) == Dialect::Google =>
            {
                match self.asked["messages"]
                    .as_array()
                    .or(self.asked["contents"].as_array())
                {
                    Some(_) => {
                        let now = self.page.now;
                        Resource::Chat(Box::new(Completion::new(
                            self.request,
                            self.asked,
                            self.profile,
                            now,
                            rng,
                        )))
                    }
                    None => Resource::Reply(invalid_request(
                        400,
                        "We could not parse the JSON body of your request.",
                    )),
                }
            }
            ("GET", path) if Dialect::of(path) == Dialect::Realtime => {
                if websocket::accept(self.request).is_none() {
                    return Resource::Reply(invalid_request(426, "A WebSocket is expected here."));
                }
                let now = self.page.now;
                let asked = &json!({"model": self.request.query_value("model")});
                Resource::Chat(Box::new(Completion::new(
                    self.request,
                    asked,
                    self.profile,
                    now,
                    rng,
                )))
            }
            ("POST", path) if path.ends_with("/mcp") => {
                Resource::Reply(mcp::reply(self.asked, &self.profile.answer))
            }
            ("DELETE", path) if path.ends_with("/mcp") => {
                Resource::Reply(reply(204, String::new()))
            }
            ("POST", path) if path.ends_with("/audio/speech") => {
                let mut sound = reply(200, format!("ID3{}", "\u{4}".repeat(2000)));
                sound
                    .headers
                    .push(("content-type".to_owned(), "audio/mpeg".to_owned()));
                Resource::Reply(sound)
            }
            ("POST", path) if path.ends_with("/audio/transcriptions") => {
                let usage = json!({"type": "tokens", "input_tokens": 5, "output_tokens": 2, "total_tokens": 7});
                let body = json!({"text": self.profile.answer, "usage": usage});
                Resource::Reply(reply(200, body.to_string()))
            }
            ("POST", path) if path.ends_with("/embeddings") => {
                Resource::Reply(reply(200, embeddings(self.asked).to_string()))
            }
            ("GET", path) if path.ends_with("/credits") => {
                Resource::Reply(reply(200, OPENROUTER_CREDITS.to_owned()))
            }
            ("GET", path) if path.ends_with("/user/balance") => {
                Resource::Reply(reply(200, DEEPSEEK_BALANCE.to_owned()))
            }
            ("GET", path) if path.ends_with("/models") => {
                Resource::Reply(reply(200, models(self.page.now).to_string()))
            }
            _ => Resource::Reply(invalid_request(
                404,
                &format!("Invalid URL ({method} {path})"),
            )),
        }
    }

    /// Returns the rejection of a missing or wrong key.
    fn refusal(&self) -> Option<Preset> {
        let wanted = self.api_key?.expose();
        let shown = self.request.shown_key();
        match (Dialect::of(&self.request.path), shown) {
            (_, Some(shown)) if shown == wanted => None,
            (Dialect::Bedrock, _) => {
                let is_signed = self
                    .api_key
                    .is_some_and(|key| clouds::is_signed_with(self.request, key));
                (!is_signed).then_some(Preset::Bedrock403Signature)
            }
            (Dialect::Google, _) => Some(Preset::Vertex401),
            (Dialect::Azure, _) => Some(Preset::Azure401),
            (Dialect::OpenAi | Dialect::Realtime, None) => Some(Preset::OpenAi401MissingKey),
            (Dialect::OpenAi | Dialect::Realtime, Some(_)) => Some(Preset::OpenAi401),
        }
    }

    fn model(&self) -> &str {
        model(&self.request.path, self.asked).unwrap_or("gpt-simulated")
    }

    /// Builds a streamed response, event by event, and breaks off as the fault says.
    fn stream(&self, completion: &Completion, rng: &mut Rng) -> Vec<Act> {
        let mut headers_due = self.profile.headers_after + self.jitter(rng);
        let dialect = completion.dialect();
        let head = match websocket::accept(self.request) {
            Some(agreed) if dialect == Dialect::Realtime => self.head(101, &agreed, false, rng),
            _ => self.head(200, &[typed(dialect.stream_type()), chunked()], false, rng),
        };
        let mut acts = vec![Act::Write {
            due: headers_due,
            kind: WriteKind::Headers,
            bytes: head,
        }];
        for (kind, data) in completion.opening() {
            acts.push(stream_event(dialect, headers_due, kind, &data));
        }
        for n in 0..completion.tokens() {
            // An event is never due before its predecessor, whatever the jitter.
            headers_due = headers_due.max(self.token_due(n) + self.jitter(rng));
            let token = completion.token_chunk(n);
            acts.push(stream_event(dialect, headers_due, WriteKind::Token, &token));
        }
        let last = headers_due.max(self.token_due(0));
        for (kind, data) in completion.closing() {
            acts.push(stream_event(dialect, last, kind, &data));
        }
        let mut done = match dialect.done() {
            b"" => Vec::new(),
            sign => chunk(sign),
        };
        done.extend_from_slice(dialect.last());
        acts.push(Act::Write {
            due: last,
            kind: WriteKind::Done,
            bytes: done,
        });
        self.break_stream(&mut acts);
        acts
    }

    fn break_stream(&self, acts: &mut Vec<Act>) {
        match self.fault {
            Fault::StreamError { body, .. } => {
                let due = self.cut(acts);
                let dialect = Dialect::of(&self.request.path);
                let mut bytes = dialect.piece(&dialect.framed_error(body.as_deref()));
                bytes.extend_from_slice(dialect.last());
                acts.push(Act::Write {
                    due,
                    kind: WriteKind::Error,
                    bytes,
                });
            }
            Fault::Truncate { .. } => {
                let due = self.cut(acts);
                acts.push(Act::Write {
                    due,
                    kind: WriteKind::Hostile,
                    bytes: Dialect::of(&self.request.path).last().to_vec(),
                });
            }
            Fault::Close { .. } => drop(self.cut(acts)),
            Fault::Stall { .. } => {
                self.cut(acts);
                acts.push(Act::Stall);
            }
            Fault::Reset(_) => {
                self.cut(acts);
                acts.push(Act::Reset {
                    due: Duration::ZERO,
                });
            }
            Fault::InvalidUtf8 => {
                let tokens = acts.iter_mut().filter_map(|act| match act {
                    Act::Write {
                        kind: WriteKind::Token,
                        bytes,
                        ..
                    } => Some(bytes),
                    _ => None,
                });
                // The length must not change, because chunk framing counts it.
                tokens.take(1).for_each(|bytes| spoil(bytes));
            }
            _ => {}
        }
    }

    /// Removes everything after the tokens that the fault allows, and returns when the next one was
    /// due.
    fn cut(&self, acts: &mut Vec<Act>) -> Duration {
        let passing = self.passing_tokens();
        let mut tokens = 0;
        let next = acts.iter().position(|act| match act {
            Act::Write {
                kind: WriteKind::Token,
                ..
            } => {
                tokens += 1;
                tokens > passing
            }
            Act::Write {
                kind: WriteKind::Finish,
                ..
            } => true,
            _ => false,
        });
        let rest = acts.split_off(next.unwrap_or(acts.len()));
        match rest.first() {
            Some(Act::Write { due, .. }) => *due,
            _ => Duration::ZERO,
        }
    }

    /// Builds a response without streaming, sent at once when its last token would be due.
    fn at_once(&self, completion: &Completion, rng: &mut Rng) -> Vec<Act> {
        let last = completion.tokens().saturating_sub(1);
        let due = self.profile.headers_after.max(self.token_due(last)) + self.jitter(rng);
        let body = completion.body().to_string();
        self.body_at(due, &reply(200, body), completion.tokens(), rng)
    }

    /// Builds any other reply.
    fn complete(&self, reply: &Reply, rng: &mut Rng) -> Vec<Act> {
        self.body_at(self.profile.headers_after + self.jitter(rng), reply, 1, rng)
    }

    /// Builds a reply with a plain body that counts as `tokens` tokens, and breaks off as the fault
    /// says.
    fn body_at(&self, due: Duration, reply: &Reply, tokens: usize, rng: &mut Rng) -> Vec<Act> {
        let mut body = reply.body.clone().into_bytes();
        let kind = if reply.status >= 400 {
            WriteKind::Error
        } else {
            WriteKind::Body
        };
        // Send a part of the body in proportion to the tokens, but never the entire body.
        let part = (body.len().saturating_mul(self.passing_tokens()) / tokens.max(1))
            .min(body.len().saturating_sub(1));
        let mut promised = body.len();
        let mut ending = None;
        match self.fault {
            Fault::StreamError { body: error, .. } => {
                body = error.as_deref().unwrap_or(SERVER_ERROR).as_bytes().to_vec();
                promised = body.len();
            }
            Fault::Truncate { .. } => {
                body.truncate(part);
                promised = part;
            }
            Fault::Close { .. } => body.truncate(part),
            Fault::Stall { .. } => {
                body.truncate(part);
                ending = Some(Act::Stall);
            }
            Fault::Reset(_) => {
                body.truncate(part);
                ending = Some(Act::Reset {
                    due: Duration::ZERO,
                });
            }
            Fault::InvalidUtf8 => spoil(&mut body),
            _ => {}
        }
        let mut headers = vec![
            typed(content_type(&reply.body)),
            ("content-length".to_owned(), promised.to_string()),
        ];
        headers.extend(reply.headers.iter().cloned());
        let head = self.head(reply.status, &headers, reply.from_edge, rng);
        let mut acts = vec![
            Act::Write {
                due,
                kind: WriteKind::Headers,
                bytes: head,
            },
            Act::Write {
                due,
                kind,
                bytes: body,
            },
        ];
        acts.extend(ending);
        acts
    }

    fn endless_comments(&self, rng: &mut Rng) -> Vec<Act> {
        let comment = chunk(b": still working on it\n\n");
        let comments = Act::Repeat {
            bytes: comment,
            times: u64::MAX,
            every: self.profile.token_gap,
        };
        self.after_head(&[typed(SSE), chunked()], vec![comments], rng)
    }

    fn header_bomb(&self, bytes: u64, rng: &mut Rng) -> Vec<Act> {
        let acts = self.after_head(&[typed(JSON)], hostile::header_lines(bytes), rng);
        acts.into_iter().map(without_head_end).collect()
    }

    fn after_head(&self, headers: &[(String, String)], acts: Vec<Act>, rng: &mut Rng) -> Vec<Act> {
        let due = self.profile.headers_after + self.jitter(rng);
        let head = Act::Write {
            due,
            kind: WriteKind::Headers,
            bytes: self.head(200, headers, false, rng),
        };
        std::iter::once(head).chain(acts).collect()
    }

    /// Builds the status line and headers: ours, the vendor's (or the front end's, from the edge),
    /// then the rule's.
    fn head(
        &self,
        status: u16,
        own: &[(String, String)],
        from_edge: bool,
        rng: &mut Rng,
    ) -> Vec<u8> {
        let date = self
            .page
            .now
            .to_datetime()
            .format("%a, %d %b %Y %H:%M:%S GMT")
            .to_string();
        let vendors = if from_edge {
            owned(edge_headers(rng))
        } else {
            Dialect::of(&self.request.path).headers(self.profile.headers_after, rng)
        };
        let mut headers = vec![
            ("date".to_owned(), date),
            ("connection".to_owned(), "close".to_owned()),
        ];
        for (name, value) in vendors.iter().chain(own).chain(self.headers) {
            headers.retain(|(known, _)| known != name);
            if !value.is_empty() {
                headers.push((name.clone(), value.clone()));
            }
        }
        write_head(status, &headers)
    }

    fn token_due(&self, n: usize) -> Duration {
        self.profile.first_token_after
            + self.profile.token_gap * u32::try_from(n).unwrap_or(u32::MAX)
    }

    fn jitter(&self, rng: &mut Rng) -> Duration {
        self.profile.jitter.mul_f64(rng.f64())
    }

    /// Returns the number of tokens before the fault.
    fn passing_tokens(&self) -> usize {
        match *self.fault {
            Fault::StreamError { after_tokens, .. }
            | Fault::Truncate { after_tokens }
            | Fault::Close { after_tokens }
            | Fault::Stall { after_tokens }
            | Fault::Reset(ResetAt::Token(after_tokens)) => after_tokens,
            _ => usize::MAX,
        }
    }
}

fn stream_event(dialect: Dialect, due: Duration, kind: WriteKind, data: &Value) -> Act {
    Act::Write {
        due,
        kind,
        bytes: dialect.piece(&dialect.framed(data)),
    }
}

const WEB_PAGE: &str = "<!DOCTYPE html>\n<html lang=\"en\">\n<head><title>Simulated provider</title></head>\n\
                        <body><h1>It works</h1></body>\n</html>\n";

fn reply(status: u16, body: String) -> Reply {
    Reply {
        status,
        body,
        headers: Vec::new(),
        from_edge: false,
    }
}

fn invalid_request(status: u16, message: &str) -> Reply {
    let error =
        json!({"message": message, "type": "invalid_request_error", "param": null, "code": null});
    reply(status, json!({"error": error}).to_string())
}

fn typed(content_type: &str) -> (String, String) {
    ("content-type".to_owned(), content_type.to_owned())
}

fn chunked() -> (String, String) {
    ("transfer-encoding".to_owned(), "chunked".to_owned())
}

/// Returns one embedding per input.
fn embeddings(asked: &Value) -> Value {
    let inputs = asked["input"].as_array().map_or(1, Vec::len).clamp(1, 100);
    let data: Vec<Value> = (0..inputs)
        .map(|n| json!({"object": "embedding", "index": n, "embedding": [0.1, -0.2, 0.3, 0.4, -0.5, 0.6, 0.7, -0.8]}))
        .collect();
    json!({
        "object": "list", "data": data, "model": asked["model"],
        "usage": {"prompt_tokens": 4 * inputs, "total_tokens": 4 * inputs},
    })
}

/// Guesses the content type of a scripted body.
fn content_type(body: &str) -> &'static str {
    match body.trim_start().chars().next() {
        Some('{' | '[') => JSON,
        Some('<') => "text/html; charset=utf-8",
        _ => "text/plain; charset=utf-8",
    }
}

/// Replaces one byte of the model's text (or the middle byte, if there is none) with one that is
/// invalid in UTF-8.
fn spoil(bytes: &mut [u8]) {
    const TEXT: &[u8] = br#""content":""#;
    let at = bytes
        .windows(TEXT.len())
        .position(|window| window == TEXT)
        .map_or(bytes.len() / 2, |at| at + TEXT.len());
    if let Some(byte) = bytes.get_mut(at) {
        *byte = 0xff;
    }
}

/// Removes the empty line that ends a head.
fn without_head_end(act: Act) -> Act {
    match act {
        Act::Write {
            due,
            kind: WriteKind::Headers,
            mut bytes,
        } => {
            bytes.truncate(bytes.len() - 2);
            Act::Write {
                due,
                kind: WriteKind::Headers,
                bytes,
            }
        }
        other => other,
    }
}
