//! A scripted reply, and when a connection is reset.

/// A scripted reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
    /// Headers in addition to the vendor's usual ones.
    pub headers: Vec<(String, String)>,
    /// Whether the front end answers instead of the vendor: no request ID, no vendor headers.
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
