//! The delays, length and text of an answer.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::quantity::{duration, some_duration};

/// The pace and text of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResponseProfile {
    /// The delay from the request's arrival to the status line and headers.
    #[serde(deserialize_with = "duration")]
    pub headers_after: Duration,
    /// The delay from the request's arrival to the first token; the headers always come first.
    #[serde(deserialize_with = "duration")]
    pub first_token_after: Duration,
    /// The delay between tokens.
    #[serde(deserialize_with = "duration")]
    pub token_gap: Duration,
    /// The maximum random delay added to each of these.
    #[serde(deserialize_with = "duration")]
    pub jitter: Duration,
    /// If set, the bytes after the headers are sent one by one at this interval.
    #[serde(deserialize_with = "some_duration")]
    pub drip: Option<Duration>,
    /// The number of tokens. The text is cut into that many pieces, and repeated if it is too
    /// short.
    #[serde(deserialize_with = "tokens")]
    pub tokens: usize,
    /// The text of the answer.
    pub answer: String,
    /// The finish reason: `stop`, `length`, `content_filter`, …
    pub finish_reason: String,
}

impl Default for ResponseProfile {
    fn default() -> Self {
        Self {
            headers_after: Duration::from_millis(40),
            first_token_after: Duration::from_millis(120),
            token_gap: Duration::from_millis(15),
            jitter: Duration::ZERO,
            drip: None,
            tokens: 2,
            answer: "pong".to_owned(),
            finish_reason: "stop".to_owned(),
        }
    }
}

/// The maximum number of tokens: more than any model sends, but still only a few megabytes.
const TOKENS_LIMIT: usize = 100_000;

/// Parses a token count.
pub(crate) fn tokens<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let count = usize::deserialize(deserializer)?;
    if count <= TOKENS_LIMIT {
        Ok(count)
    } else {
        Err(serde::de::Error::custom(format!(
            "{count} tokens are more than the limit of {TOKENS_LIMIT}"
        )))
    }
}
