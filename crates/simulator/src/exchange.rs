//! The log of what was really sent and when, to verify the monitor's own measurements.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::act::WriteKind;
use llmwatch_core::model::Timestamp;

/// One connection and its response.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Exchange {
    /// When the connection was accepted.
    pub at: Timestamp,
    /// The label of the listener.
    pub vendor: String,
    /// The request's method; empty if no request could be read.
    pub method: String,
    /// The request's path, without the query.
    pub path: String,
    /// The requested model.
    pub model: Option<String>,
    /// Whether streaming was requested.
    pub streaming: bool,
    /// Whether the request had a key; the key itself is never stored.
    pub authorization_present: bool,
    /// The rule that applied: its name, or else its number from 1.
    pub rule: Option<String>,
    /// From accepting the connection to reading the complete request.
    #[serde(rename = "request_us", serialize_with = "microseconds")]
    pub request_after: Duration,
    /// The bytes that were written.
    pub writes: Vec<Write>,
    /// How the exchange ended.
    pub end: End,
}

/// One group of bytes that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Write {
    /// The kind of bytes.
    pub kind: WriteKind,
    /// The time from the complete request's arrival to passing the first of these bytes to the
    /// system. It is taken just before the call, so that no client can have seen them sooner.
    #[serde(rename = "after_us", serialize_with = "microseconds")]
    pub after: Duration,
    /// The number of bytes.
    pub bytes: u64,
}

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The simulator closed the connection after writing everything.
    Closed,
    /// The simulator reset the connection.
    Reset,
    /// The client hung up first.
    ClientGone,
}

impl Exchange {
    /// Returns when the first write of this kind happened, counted from the request's arrival.
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
