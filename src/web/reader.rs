//! What a visitor may see.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

/// A visitor's access level, determined by the token in the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// No token, with `[web] public = "summary"`: states, availability, incidents and maintenance.
    Public,
    /// No token is configured, or `[web] public = "all"`: everything except recipients and
    /// receivers' answers.
    Open,
    /// A valid token: everything.
    Token,
}

impl Reader {
    /// Reports whether the visitor sees more than the summary.
    pub(crate) fn sees_all(self) -> bool {
        self != Self::Public
    }

    /// Reports whether the visitor sees recipients' addresses and receivers' answers.
    pub(crate) fn sees_recipients(self) -> bool {
        self == Self::Token
    }
}

impl<S: Sync> FromRequestParts<S> for Reader {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        // Set by the middleware; without it, the visitor gets the lowest level.
        Ok(parts.extensions.get().copied().unwrap_or(Self::Public))
    }
}
