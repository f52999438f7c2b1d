//! What an answer is made of: bytes with the moment they are due, and the ways to break off.

use std::time::Duration;

use serde::Serialize;

/// One step of an answer. After the last one the connection is closed in an orderly way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Write these bytes.
    Write {
        /// Not before this much after the request's arrival.
        due: Duration,
        /// What they are.
        kind: WriteKind,
        /// Exactly as on the wire, chunk framing included.
        bytes: Vec<u8>,
    },
    /// Write the same bytes again and again.
    Repeat {
        /// The block; small, for it is all that is ever held of an endless body.
        bytes: Vec<u8>,
        /// How many times.
        times: u64,
        /// The pause after each.
        every: Duration,
    },
    /// Say nothing more until the client hangs up.
    Stall,
    /// Break the connection with a TCP reset.
    Reset {
        /// Not before this much after the request's arrival.
        due: Duration,
    },
}

/// What a group of bytes is, for the log.
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
    /// What no healthy server sends: comments without end, bombs, garbage.
    Hostile,
}
