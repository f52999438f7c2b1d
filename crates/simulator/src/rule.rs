//! A rule of a scenario: when it applies and what it does.

use std::time::Duration;

use fastrand::Rng;
use serde::Deserialize;

use crate::latency_profile::ResponseProfile;
use crate::preset::Preset;
use crate::reply::{Reply, ResetAt};

/// One `[[rule]]`, validated.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// The name in the log; defaults to `rule N`, counted from 1.
    pub name: String,
    /// When the rule applies.
    pub when: RuleMatch,
    /// What increases over the window.
    pub ramp: Option<Ramp>,
    /// The fault.
    pub fault: Fault,
    /// Response headers to set; an empty value removes the header.
    pub headers: Vec<(String, String)>,
    pub(crate) profile: MannerChanges,
}

/// The conditions of a rule; `None` always matches.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleMatch {
    /// A prefix of the path, or a pattern for the entire path if it contains a `*`.
    pub path: Option<String>,
    /// The model, or a pattern if it contains a `*`.
    pub model: Option<String>,
    /// The label of the listener.
    pub vendor: Option<String>,
    /// The start, relative to when the scenario was activated.
    pub from: Duration,
    /// The end, exclusive.
    pub to: Option<Duration>,
    /// The probability that a match applies, 0 to 1.
    pub probability: f64,
}

/// What increases linearly over a rule's window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ramp {
    /// The probability, from 0 to the configured value.
    Probability,
    /// The delays, from the healthy ones to the configured ones.
    Delays,
}

/// The fault of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// No fault: the rule only changes pace, text or headers.
    None,
    /// Send this reply instead of an answer.
    Reply(Reply),
    /// Send the preset reply of this name instead of an answer.
    Preset(Preset),
    /// An error object in the stream, then a normal end. Without streaming, the error is the body,
    /// with status 200.
    StreamError {
        /// Complete tokens before it.
        after_tokens: usize,
        /// The `data:` of the error event; `None` for OpenAI's `server_error`.
        body: Option<String>,
    },
    /// The HTTP body ends normally, but the answer in it is incomplete.
    Truncate {
        /// Complete tokens before the end.
        after_tokens: usize,
    },
    /// The connection is closed before the HTTP body has ended.
    Close {
        /// Complete tokens before the end.
        after_tokens: usize,
    },
    /// No more data, with the connection left open.
    Stall {
        /// Complete tokens before the stall.
        after_tokens: usize,
    },
    /// A TCP reset.
    Reset(ResetAt),
    /// Garbage in response to a TLS `ClientHello`, or to whatever the client sends first.
    RefuseTls,
    /// Comments instead of events, one per `token_gap`, forever.
    EndlessComments,
    /// A body of spaces.
    HugeBody {
        /// The length of the body.
        bytes: u64,
    },
    /// Endless response headers.
    HeaderBomb {
        /// Their approximate length.
        bytes: u64,
    },
    /// A gzip body that decompresses to a huge number of spaces.
    GzipBomb {
        /// The approximate decompressed length.
        bytes: u64,
    },
    /// The first token contains bytes that are not UTF-8.
    InvalidUtf8,
}

/// A connection or request that has just arrived, as rules match it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival<'a> {
    /// A connection from which nothing has been read.
    Connection {
        /// The label of the listener.
        vendor: &'a str,
    },
    /// A complete request.
    Request {
        /// The label of the listener.
        vendor: &'a str,
        /// The path, without the query.
        path: &'a str,
        /// The `model` of the body, or else the deployment in the path.
        model: Option<&'a str>,
    },
}

impl Rule {
    /// Reports whether this rule applies. Draws from `rng` only if everything else matches.
    pub(crate) fn applies(&self, elapsed: Duration, arrival: &Arrival<'_>, rng: &mut Rng) -> bool {
        let when = &self.when;
        let of_this_stage = match *arrival {
            Arrival::Connection { vendor } => {
                self.fault.precedes_request() && when.is_vendor(vendor)
            }
            Arrival::Request {
                vendor,
                path,
                model,
            } => {
                !self.fault.precedes_request()
                    && when.is_vendor(vendor)
                    && when
                        .path
                        .as_deref()
                        .is_none_or(|pattern| path_matches(pattern, path))
                    && when
                        .model
                        .as_deref()
                        .is_none_or(|pattern| model.is_some_and(|m| glob_matches(pattern, m)))
            }
        };
        let in_window = when.from <= elapsed && when.to.is_none_or(|to| elapsed < to);
        if !(of_this_stage && in_window) {
            return false;
        }
        let probability = match self.ramp {
            Some(Ramp::Probability) => when.probability * self.progress(elapsed),
            Some(Ramp::Delays) | None => when.probability,
        };
        probability >= 1.0 || rng.f64() < probability
    }

    /// Returns how requests are answered under this rule.
    pub fn profile(&self, healthy: &ResponseProfile, elapsed: Duration) -> ResponseProfile {
        let share = match self.ramp {
            Some(Ramp::Delays) => self.progress(elapsed),
            Some(Ramp::Probability) | None => 1.0,
        };

        let changes = &self.profile;
        ResponseProfile {
            headers_after: mixed(share, healthy.headers_after, changes.headers_after),
            first_token_after: mixed(share, healthy.first_token_after, changes.first_token_after),
            token_gap: mixed(share, healthy.token_gap, changes.token_gap),
            jitter: mixed(share, healthy.jitter, changes.jitter),
            drip: changes.drip.or(healthy.drip),
            tokens: changes.tokens.unwrap_or(healthy.tokens),
            answer: changes
                .answer
                .clone()
                .unwrap_or_else(|| healthy.answer.clone()),
            finish_reason: changes
                .finish_reason
                .clone()
                .unwrap_or_else(|| healthy.finish_reason.clone()),
        }
    }

    /// Returns how much of the window has passed, 0 to 1. A ramp always has an end.
    fn progress(&self, elapsed: Duration) -> f64 {
        let Some(to) = self.when.to else { return 1.0 };
        let length = to.saturating_sub(self.when.from).as_secs_f64();
        (elapsed.saturating_sub(self.when.from).as_secs_f64() / length).clamp(0.0, 1.0)
    }
}

/// Returns a delay between the healthy one (`share` 0) and the changed one (`share` 1).
fn mixed(share: f64, healthy: Duration, changed: Option<Duration>) -> Duration {
    match changed {
        Some(changed) => healthy.mul_f64(1.0 - share) + changed.mul_f64(share),
        None => healthy,
    }
}

impl RuleMatch {
    fn is_vendor(&self, vendor: &str) -> bool {
        self.vendor.as_deref().is_none_or(|wanted| wanted == vendor)
    }
}

impl Fault {
    /// Reports whether the fault happens before a request is read, so that path and model do not
    /// matter.
    pub(crate) fn precedes_request(&self) -> bool {
        matches!(self, Self::RefuseTls | Self::Reset(ResetAt::Accept))
    }
}

fn path_matches(pattern: &str, path: &str) -> bool {
    if pattern.contains('*') {
        glob_matches(pattern, path)
    } else {
        path.starts_with(pattern)
    }
}

/// Reports whether `pattern` matches all of `text`. Each `*` matches any number of characters.
fn glob_matches(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(first) else {
        return false;
    };
    let mut pieces = rest.split('*').peekable();
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return text.ends_with(piece);
        }
        match text.find(piece) {
            Some(at) => text = &text[at + piece.len()..],
            None => return false,
        }
    }
    true
}

/// A rule's changes to pace and text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MannerChanges {
    pub(crate) headers_after: Option<Duration>,
    pub(crate) first_token_after: Option<Duration>,
    pub(crate) token_gap: Option<Duration>,
    pub(crate) jitter: Option<Duration>,
    pub(crate) drip: Option<Duration>,
    pub(crate) tokens: Option<usize>,
    pub(crate) answer: Option<String>,
    pub(crate) finish_reason: Option<String>,
}
