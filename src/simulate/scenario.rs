//! A scenario: how the provider answers when it is well, and the rules by which it fails.
//!
//! `docs/simulate.md` is the reference of the file format.

use std::time::Duration;

use fastrand::Rng;
use serde::{Deserialize, Deserializer};

use super::quantity::{duration, some_duration};
use super::rule::Rule;
use super::status_page::Notice;
use crate::model::Secret;

/// Everything a simulator does, from one TOML file. Nothing in it has an effect of its own: the same scenario, seed
/// and order of requests give the same answers.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scenario {
    /// Seeds every draw: probabilities, jitter, request ids.
    pub seed: u64,
    /// The key that callers must show, as `Authorization: Bearer` or `api-key`; any or none will do when this is `None`.
    #[serde(deserialize_with = "some_secret")]
    pub api_key: Option<Secret>,
    /// How requests are answered that no rule changes.
    pub healthy: Manner,
    /// The first that matches is applied.
    #[serde(rename = "rule")]
    pub rules: Vec<Rule>,
    /// What the status page says, and when.
    pub status_page: Vec<Notice>,
}

/// A scenario file that cannot be used. Its `Display` shows the line with a caret and says what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct ScenarioError(#[from] toml::de::Error);

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

/// What has just reached the simulator, as far as rules look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival<'a> {
    /// A connection; nothing has been read from it.
    Connection {
        /// The label of the listener.
        vendor: &'a str,
    },
    /// A whole request.
    Request {
        /// The label of the listener.
        vendor: &'a str,
        /// Without the query.
        path: &'a str,
        /// The `model` of the body, else the deployment in the path.
        model: Option<&'a str>,
    },
}

impl Scenario {
    /// A provider without a fault.
    pub fn healthy() -> Self {
        Self::default()
    }

    /// Reads a scenario file.
    ///
    /// # Errors
    /// When it isn't TOML, has a key that no scenario has, or a rule that makes no sense.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let mut scenario: Self = toml::from_str(text)?;
        for (n, rule) in (1..).zip(&mut scenario.rules) {
            if rule.name.is_empty() {
                rule.name = format!("rule {n}");
            }
        }
        Ok(scenario)
    }

    /// The rule for what arrives when the scenario has been in force for `elapsed`: the first that matches, if any.
    ///
    /// A rule with a probability costs one draw when everything else about it matches, so that a seed repeats its run.
    pub fn rule_at(&self, elapsed: Duration, arrival: &Arrival<'_>, rng: &mut Rng) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.applies(elapsed, arrival, rng))
    }
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
pub(super) fn tokens<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let count = usize::deserialize(deserializer)?;
    if count <= TOKENS_LIMIT {
        Ok(count)
    } else {
        Err(serde::de::Error::custom(format!("{count} tokens are more than the limit of {TOKENS_LIMIT}")))
    }
}

fn some_secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    String::deserialize(deserializer).map(|key| Some(Secret::new(key)))
}
