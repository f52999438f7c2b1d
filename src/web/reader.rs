//! What a visitor may see.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

/// A visitor, by the token that the request has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// Without the token where `[web] public = "summary"`: states, availability, incidents and maintenance.
    Public,
    /// Where no token is set, or `[web] public = "all"`: everything but recipients and receivers' answers.
    Open,
    /// With the token: everything.
    Token,
}

impl Reader {
    /// Whether the visitor sees more than the summary.
    pub(crate) fn sees_all(self) -> bool {
        self != Self::Public
    }

    /// Whether the visitor sees recipients' addresses and what receivers answered.
    pub(crate) fn sees_recipients(self) -> bool {
        self == Self::Token
    }
}

impl<S: Sync> FromRequestParts<S> for Reader {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        // The middleware puts it there; without it nobody sees more than anybody may.
        Ok(parts.extensions.get().copied().unwrap_or(Self::Public))
    }
}
