//! A scripted reply, and when a connection is reset.

/// A scripted reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
    /// Headers beside the vendor's usual ones.
    pub headers: Vec<(String, String)>,
    /// Whether the front end answers in the vendor's place: no request id, no vendor headers.
    pub from_edge: bool,
}

/// When a connection is reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetAt {
    /// As soon as it is accepted.
    Accept,
    /// After the request, instead of headers.
    Headers,
    /// After this many tokens.
    Token(usize),
}
