//! The steps of a response: bytes with the time they are due, and ways to break off.

use std::time::Duration;

use serde::Serialize;

/// One step of a response. After the last one the connection is closed normally.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Write these bytes.
    Write {
        /// The earliest time, counted from the request's arrival.
        due: Duration,
        /// The kind of bytes.
        kind: WriteKind,
        /// The bytes as sent, chunk framing included.
        bytes: Vec<u8>,
    },
    /// Write the same bytes repeatedly.
    Repeat {
        /// The block. It is small, because it is all that is held in memory of an endless body.
        bytes: Vec<u8>,
        /// How many times.
        times: u64,
        /// The pause after each block.
        every: Duration,
    },
    /// Send nothing more until the client hangs up.
    Stall,
    /// Break the connection with a TCP reset.
    Reset {
        /// The earliest time, counted from the request's arrival.
        due: Duration,
    },
}

/// The kind of a group of bytes, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WriteKind {
    /// Status line and headers.
    Headers,
    /// Azure's chunk of prompt filter results.
    Preamble,
    /// The chunk that names the role and has no text.
    Role,
    /// A chunk with text.
    Token,
    /// The chunk with the finish reason.
    Finish,
    /// The chunk with the token counts.
    Usage,
    /// `data: [DONE]` and the end of the HTTP body.
    Done,
    /// An error: in a stream, or as a complete body.
    Error,
    /// Any other complete body.
    Body,
    /// Bytes that no healthy server sends: endless comments, bombs, garbage.
    Hostile,
}
