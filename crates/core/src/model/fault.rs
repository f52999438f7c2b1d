//! The closed set of faults a failed sample can have, and whose fault each is by default.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

/// Whose fault a failure is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Attribution {
    /// The vendor: its API, its edge, its network.
    Provider,
    /// The account: key, quota, billing, wrong model name.
    Account,
    /// This machine: its network, resolver, clock or resources.
    Local,
}

impl Attribution {
    /// Every attribution.
    pub const ALL: [Self; 3] = [Self::Provider, Self::Account, Self::Local];

    /// Returns the stable lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Account => "account",
            Self::Local => "local",
        }
    }
}

impl fmt::Display for Attribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! faults {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $attribution:ident, $short:literal;)*) => {
        /// What went wrong in a failed sample: a closed set of stable codes, used alike in the
        /// store, the metrics, the API, the logs and the mails. Dots group: the first word suffices
        /// for a chart.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Fault { $($(#[$doc])* $variant,)* }

        impl Fault {
            /// Every fault, in the order of the reference table.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Returns the stable code, for instance `timeout.first_token`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// Whose fault it is unless the context says otherwise (contracts, section 3).
            pub fn attribution(self) -> Attribution {
                match self { $(Self::$variant => Attribution::$attribution,)* }
            }

            /// A few words for people, for instance "no first token in time".
            pub fn describe(self) -> &'static str {
                match self { $(Self::$variant => $short,)* }
            }
        }
    };
}

faults! {
    /// The port refused the connection.
    TcpRefused = "tcp.refused", Provider, "connection refused";
    /// No TCP connection within `timeout.connect`.
    TcpTimeout = "tcp.timeout", Provider, "no connection in time";
    /// The connection was reset or closed before an answer.
    TcpReset = "tcp.reset", Provider, "connection reset";
    /// The TLS handshake failed.
    TlsHandshake = "tls.handshake", Provider, "TLS handshake failed";
    /// The certificate is expired, untrusted or for another name.
    TlsCertificate = "tls.certificate", Provider, "invalid certificate";
    /// No response headers within `timeout.headers`.
    TimeoutHeaders = "timeout.headers", Provider, "no response headers in time";
    /// No first token within `timeout.first_token`.
    TimeoutFirstToken = "timeout.first_token", Provider, "no first token in time";
    /// A gap between two tokens longer than `timeout.token_gap`.
    TimeoutTokenGap = "timeout.token_gap", Provider, "the stream stalled";
    /// The probe did not finish within `timeout.total`.
    TimeoutTotal = "timeout.total", Provider, "total timeout";
    /// A 5xx from the API itself.
    Http5xx = "http.5xx", Provider, "server error";
    /// An error page of Cloudflare or another front end: the edge could not reach the API.
    HttpEdge = "http.edge", Provider, "the edge cannot reach the API";
    /// A redirect, which probes do not follow.
    HttpRedirect = "http.redirect", Provider, "redirected";
    /// A status that the API should not give here.
    HttpUnexpected = "http.unexpected", Provider, "unexpected HTTP status";
    /// The provider says that it has no capacity.
    Overloaded = "overloaded", Provider, "provider at capacity";
    /// An error event inside a stream that began with 200.
    StreamError = "stream.error", Provider, "error inside the stream";
    /// The stream ended without its terminal event.
    StreamTruncated = "stream.truncated", Provider, "stream ended early";
    /// The stream could not be parsed.
    StreamMalformed = "stream.malformed", Provider, "unreadable stream";
    /// A complete answer without any text.
    AnswerEmpty = "answer.empty", Provider, "empty answer";
    /// An answer that fails the check.
    AnswerWrong = "answer.wrong", Provider, "wrong answer";
    /// A body that is not what the API promises.
    BodyMalformed = "body.malformed", Provider, "unreadable response body";
    /// A body beyond the limit.
    BodyTooLarge = "body.too_large", Provider, "body too large";
    /// The API key was rejected.
    AccountAuth = "account.auth", Account, "API key rejected";
    /// The API key lacks permission.
    AccountPermission = "account.permission", Account, "not permitted";
    /// Quota, credit or spending limit used up.
    AccountQuota = "account.quota", Account, "quota exhausted";
    /// The account's own rate limit was reached.
    AccountRateLimit = "account.rate_limit", Account, "own rate limit reached";
    /// This address or region may not use the API.
    AccountRegion = "account.region", Account, "region or address blocked";
    /// No such model or deployment for this account.
    RequestModelNotFound = "request.model_not_found", Account, "model not found";
    /// The request itself was rejected.
    RequestRejected = "request.rejected", Account, "request rejected";
    /// Reasoning used up the token budget of the probe.
    RequestTooFewTokens = "request.too_few_tokens", Account, "token budget too small for this model";
    /// A content filter removed the answer.
    AnswerFiltered = "answer.filtered", Account, "answer filtered";
    /// The model refused to answer.
    AnswerRefused = "answer.refused", Account, "answer refused";
    /// The name could not be resolved here.
    LocalDns = "local.dns", Local, "host name not resolved";
    /// No route from here.
    LocalUnreachable = "local.unreachable", Local, "network unreachable";
    /// This machine ran out of sockets, files or memory.
    LocalResources = "local.resources", Local, "out of local resources";
    /// This machine's clock is wrong.
    LocalClock = "local.clock", Local, "local clock wrong";
    /// The configured proxy failed.
    LocalProxy = "local.proxy", Local, "proxy failed";
}

impl Fault {
    /// Reports whether the failure is below HTTP, where this machine's own network may be the
    /// cause. Only then do the connectivity checks run.
    pub fn is_transport(self) -> bool {
        matches!(
            self,
            Self::TcpRefused
                | Self::TcpTimeout
                | Self::TcpReset
                | Self::TlsHandshake
                | Self::LocalDns
                | Self::LocalUnreachable
        )
    }
}

impl Fault {
    /// Reports whether a network that loses packets or queries can cause it.
    pub fn is_loss(self) -> bool {
        matches!(self, Self::TcpTimeout | Self::TlsHandshake | Self::LocalDns)
    }

    /// Reports whether a network that fails during a probe can cause it: every
    /// [transport fault](Self::is_transport) and every timeout.
    pub fn is_network(self) -> bool {
        self.is_transport()
            || matches!(
                self,
                Self::TimeoutHeaders
                    | Self::TimeoutFirstToken
                    | Self::TimeoutTokenGap
                    | Self::TimeoutTotal
                    | Self::StreamTruncated
            )
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not a fault code.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a fault code")]
pub struct UnknownFault(String);

impl FromStr for Fault {
    type Err = UnknownFault;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|f| f.as_str() == s)
            .ok_or_else(|| UnknownFault(s.to_owned()))
    }
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}

impl PartialSchema for Fault {
    fn schema() -> RefOr<Schema> {
        let codes = Self::ALL.iter().map(|fault| fault.as_str());
        ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::String))
            .description(Some("What went wrong: a closed set of stable codes."))
            .enum_values(Some(codes))
            .into()
    }
}

impl ToSchema for Fault {}
