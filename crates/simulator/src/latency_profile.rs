//! How an answer is given: its delays, its length and its text.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::quantity::{duration, some_duration};

/// How an answer is given: its pace and its text.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Manner {
    /// From the request's arrival to status line and headers.
    #[serde(deserialize_with = "duration")]
    pub headers_after: Duration,
    /// From the request's arrival to the first token; the headers come first in any case.
    #[serde(deserialize_with = "duration")]
    pub first_token_after: Duration,
    /// From one token to the next.
    #[serde(deserialize_with = "duration")]
    pub token_gap: Duration,
    /// Each of these waits is longer by a random share of this.
    #[serde(deserialize_with = "duration")]
    pub jitter: Duration,
    /// If set, the bytes after the headers trickle out one by one, this far apart.
    #[serde(deserialize_with = "some_duration")]
    pub drip: Option<Duration>,
    /// How many tokens the answer has. Its text is cut into as many pieces and repeated if it is too short for that.
    #[serde(deserialize_with = "tokens")]
    pub tokens: usize,
    /// What the model says.
    pub answer: String,
    /// Why it stops: `stop`, `length`, `content_filter`, …
    pub finish_reason: String,
}

impl Default for Manner {
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

/// Most tokens of an answer: more than any model gives, and still only some megabytes.
const TOKENS_LIMIT: usize = 100_000;

/// Reads a count of tokens.
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
