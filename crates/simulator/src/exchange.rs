//! The record of what was really answered, and when: the yardstick for the monitor's own measurements.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::act::WriteKind;
use llmwatch_core::model::Timestamp;

/// One connection and what was done to it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Exchange {
    /// When the connection was accepted.
    pub at: Timestamp,
    /// The label of the listener.
    pub vendor: String,
    /// The request's method; empty if none could be read.
    pub method: String,
    /// Its path, without the query.
    pub path: String,
    /// The model that was asked.
    pub model: Option<String>,
    /// Whether an answer in pieces was asked for.
    pub streaming: bool,
    /// Whether a key was shown; the key itself is never kept.
    pub authorization_present: bool,
    /// The rule that applied: its name, else its number from 1.
    pub rule: Option<String>,
    /// From accepting the connection to having read the complete request.
    #[serde(rename = "request_us", serialize_with = "microseconds")]
    pub request_after: Duration,
    /// What was written.
    pub writes: Vec<Write>,
    /// How it ended.
    pub end: End,
}

/// One group of bytes that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Write {
    /// What they are.
    pub kind: WriteKind,
    /// From the request's arrival (all of it) to handing the first of these bytes to the system, taken just
    /// before the call, so that no client can have seen them sooner.
    #[serde(rename = "after_us", serialize_with = "microseconds")]
    pub after: Duration,
    /// How many.
    pub bytes: u64,
}

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// We closed the connection, having written all that we meant to.
    Closed,
    /// We reset the connection.
    Reset,
    /// The client hung up first.
    ClientGone,
}

impl Exchange {
    /// When the first write of this kind happened, counted from the request's arrival.
    pub fn first(&self, kind: WriteKind) -> Option<Duration> {
        self.writes
            .iter()
            .find(|write| write.kind == kind)
            .map(|write| write.after)
    }
}

fn microseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}
