//! The scenario file as parsed, and the validation of its rules.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error};
use toml::Spanned;

use crate::latency_profile::{ResponseProfile, tokens};
use crate::preset::Preset;
use crate::quantity::{some_duration, some_size};
use crate::reply::{Reply, ResetAt};
use crate::rule::{Fault, MannerChanges, Ramp, Rule, RuleMatch};
use crate::status_page::Notice;

/// A complete scenario file.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WrittenScenario {
    pub(crate) seed: u64,
    pub(crate) api_key: Option<String>,
    pub(crate) healthy: ResponseProfile,
    pub(crate) rule: Vec<Spanned<WrittenRule>>,
    pub(crate) status_page: Vec<Notice>,
}

/// A rule as written. It is flat, because serde's `flatten` would lose the line numbers of errors.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WrittenRule {
    pub(crate) name: Option<String>,
    path: Option<String>,
    model: Option<String>,
    vendor: Option<String>,
    #[serde(deserialize_with = "some_duration")]
    from: Option<Duration>,
    #[serde(deserialize_with = "some_duration")]
    to: Option<Duration>,
    #[serde(deserialize_with = "some_probability")]
    probability: Option<f64>,
    ramp: Option<Ramp>,

    #[serde(deserialize_with = "some_duration")]
    headers_after: Option<Duration>,
    #[serde(deserialize_with = "some_duration")]
    first_token_after: Option<Duration>,
    #[serde(deserialize_with = "some_duration")]
    token_gap: Option<Duration>,
    #[serde(deserialize_with = "some_duration")]
    jitter: Option<Duration>,
    #[serde(deserialize_with = "some_duration")]
    drip: Option<Duration>,
    #[serde(deserialize_with = "some_tokens")]
    tokens: Option<usize>,
    answer: Option<String>,
    finish_reason: Option<String>,
    #[serde(deserialize_with = "headers")]
    response_headers: Vec<(String, String)>,

    #[serde(deserialize_with = "some_status")]
    status: Option<u16>,
    body: Option<String>,
    fault: Option<Preset>,
    stream_error: Option<WrittenStreamError>,
    truncate_after_tokens: Option<usize>,
    close_after_tokens: Option<usize>,
    stall_after_tokens: Option<usize>,
    reset_at: Option<ResetAt>,
    refuse_tls: bool,
    endless_comments: bool,
    #[serde(deserialize_with = "some_size")]
    huge_body: Option<u64>,
    #[serde(deserialize_with = "some_size")]
    header_bomb: Option<u64>,
    #[serde(deserialize_with = "some_size")]
    gzip_bomb: Option<u64>,
    invalid_utf8: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenStreamError {
    #[serde(default)]
    after_tokens: usize,
    body: Option<String>,
}

impl Rule {
    /// Validates `written`, or returns what is wrong with it.
    pub(crate) fn new(name: String, mut written: WrittenRule) -> Result<Self, String> {
        let fault = the_one_fault(&mut written)?;
        let when = RuleMatch {
            path: written.path,
            model: written.model,
            vendor: written.vendor,
            from: written.from.unwrap_or(Duration::ZERO),
            to: written.to,
            probability: written.probability.unwrap_or(1.0),
        };
        if when.to.is_some_and(|to| to <= when.from) {
            return Err("`to` must be later than `from`".to_owned());
        }
        if written.ramp.is_some() && when.to.is_none() {
            return Err("`ramp` needs a `to`: it grows over the window".to_owned());
        }
        if fault.precedes_request() && (when.path.is_some() || when.model.is_some()) {
            return Err(
                "`path` and `model` cannot choose what happens before the request is read"
                    .to_owned(),
            );
        }
        let profile = MannerChanges {
            headers_after: written.headers_after,
            first_token_after: written.first_token_after,
            token_gap: written.token_gap,
            jitter: written.jitter,
            drip: written.drip,
            tokens: written.tokens,
            answer: written.answer,
            finish_reason: written.finish_reason,
        };
        Ok(Self {
            name,
            when,
            ramp: written.ramp,
            fault,
            headers: written.response_headers,
            profile,
        })
    }
}

/// Returns the fault of a rule, or an error that names the keys that contradict each other.
fn the_one_fault(written: &mut WrittenRule) -> Result<Fault, String> {
    let reply_key = if written.status.is_some() {
        "status"
    } else {
        "body"
    };
    let reply = (written.status.is_some() || written.body.is_some())
        .then(|| Reply::scripted(written.status.unwrap_or(200), written.body.take()));
    let asked = [
        (reply_key, reply.map(Fault::Reply)),
        ("fault", written.fault.map(Fault::Preset)),
        (
            "stream_error",
            written.stream_error.take().map(|error| Fault::StreamError {
                after_tokens: error.after_tokens,
                body: error.body,
            }),
        ),
        (
            "truncate_after_tokens",
            written
                .truncate_after_tokens
                .map(|after_tokens| Fault::Truncate { after_tokens }),
        ),
        (
            "close_after_tokens",
            written
                .close_after_tokens
                .map(|after_tokens| Fault::Close { after_tokens }),
        ),
        (
            "stall_after_tokens",
            written
                .stall_after_tokens
                .map(|after_tokens| Fault::Stall { after_tokens }),
        ),
        ("reset_at", written.reset_at.map(Fault::Reset)),
        ("refuse_tls", written.refuse_tls.then_some(Fault::RefuseTls)),
        (
            "endless_comments",
            written.endless_comments.then_some(Fault::EndlessComments),
        ),
        (
            "huge_body",
            written.huge_body.map(|bytes| Fault::HugeBody { bytes }),
        ),
        (
            "header_bomb",
            written.header_bomb.map(|bytes| Fault::HeaderBomb { bytes }),
        ),
        (
            "gzip_bomb",
            written.gzip_bomb.map(|bytes| Fault::GzipBomb { bytes }),
        ),
        (
            "invalid_utf8",
            written.invalid_utf8.then_some(Fault::InvalidUtf8),
        ),
    ];
    let mut given = asked
        .into_iter()
        .filter_map(|(key, fault)| fault.map(|fault| (key, fault)));
    match (given.next(), given.next()) {
        (None, _) => Ok(Fault::None),
        (Some((_, fault)), None) => Ok(fault),
        (Some((one, _)), Some((other, _))) => Err(format!(
            "`{one}` and `{other}` contradict each other: one rule, one fault"
        )),
    }
}

impl Reply {
    /// Builds a reply with this body. Without a body, errors get an OpenAI-style envelope.
    fn scripted(status: u16, body: Option<String>) -> Self {
        let body = body.unwrap_or_else(|| match status {
            400.. => format!(
                r#"{{"error":{{"message":"Simulated status {status}.","type":"server_error","param":null,"code":null}}}}"#
            ),
            _ => String::new(),
        });
        Self {
            status,
            body,
            headers: Vec::new(),
            from_edge: false,
        }
    }
}

impl<'de> Deserialize<'de> for ResetAt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "accept" => Some(Self::Accept),
            "headers" => Some(Self::Headers),
            _ => text
                .strip_prefix("token:")
                .and_then(|count| count.parse().ok())
                .map(Self::Token),
        }
        .ok_or_else(|| {
            D::Error::custom(format!(
                "`{text}` is not \"accept\", \"headers\" or \"token:N\""
            ))
        })
    }
}

fn some_probability<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let value = f64::deserialize(deserializer)?;
    if (0.0..=1.0).contains(&value) {
        Ok(Some(value))
    } else {
        Err(D::Error::custom(format!(
            "the probability {value} is not between 0 and 1"
        )))
    }
}

fn some_tokens<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    tokens(deserializer).map(Some)
}

fn some_status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    let value = u16::deserialize(deserializer)?;
    if (200..=599).contains(&value) {
        Ok(Some(value))
    } else {
        Err(D::Error::custom(format!(
            "the status {value} is not between 200 and 599"
        )))
    }
}

/// Reads a table of headers and rejects values that could break out of their line.
fn headers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, String)>, D::Error> {
    let table = BTreeMap::<String, String>::deserialize(deserializer)?;
    for (name, value) in &table {
        let named = !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        if !named || value.bytes().any(|b| b.is_ascii_control()) {
            return Err(D::Error::custom(format!(
                "`{name}` is not a header that can be sent"
            )));
        }
    }
    Ok(table
        .into_iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect())
}
