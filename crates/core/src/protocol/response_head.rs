//! Parses a response head: request IDs for a support ticket, rate limits, the edge. Pure.

use std::time::Duration;

use http::HeaderMap;
use sha2::{Digest as _, Sha256};

use super::error::ErrorContext;
use super::ratelimit_reset;
use crate::model::Timestamp;

/// What is limited: requests and tokens; Anthropic also limits input and output tokens separately.
const KINDS: [&str; 4] = ["requests", "tokens", "input-tokens", "output-tokens"];

/// Headers that name the organization of the key.
const ORGANIZATION: &[&str] = &[
    "openai-organization",
    "anthropic-organization-id",
    "x-organization-id",
    "x-groq-organization",
];

/// The fields read from the status line and the headers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ResponseHead {
    /// The status code.
    pub status: u16,
    /// `HTTP/1.1` or `HTTP/2`.
    pub http_version: String,
    /// The compression of the body, in lower case.
    pub encoding: Option<String>,
    /// The content type, in lower case and without parameters.
    pub content_type: Option<String>,
    /// The character set of the content type, in lower case.
    pub charset: Option<String>,
    /// Whether a proxy, not the target, sent the response.
    pub from_proxy: bool,
    /// The error type from AWS's header.
    pub error_type: Option<String>,
    /// The vendor whose bot challenge this is, according to the headers.
    pub challenger: Option<&'static str>,
    /// The provider's request ID.
    pub request_id: Option<String>,
    /// The server's own processing time, in milliseconds.
    pub server_ms: Option<f64>,
    /// The edge location that answered.
    pub edge: Option<String>,
    /// The remaining requests of the rate limit.
    pub remaining_requests: Option<i64>,
    /// The remaining tokens of the rate limit.
    pub remaining_tokens: Option<i64>,
    /// The smallest remaining share of the rate limits.
    pub headroom: Option<f64>,
    /// A fingerprint of the organization of the key.
    pub organization: Option<String>,
    /// How long to wait before the next request.
    pub retry_after: Option<Duration>,
    /// The MCP session ID.
    pub session: Option<String>,
    /// The target of a redirect, without its query and other parts that may be secret.
    pub location: Option<String>,
}

impl ResponseHead {
    /// Returns the context for classifying an error with these headers.
    pub fn error_context(&self) -> ErrorContext<'_> {
        ErrorContext {
            challenger: self.challenger,
            from_proxy: self.from_proxy,
            has_request_id: self.request_id.is_some(),
            has_limit: self.retry_after.is_some()
                || [self.remaining_requests, self.remaining_tokens].contains(&Some(0)),
            error_type: self.error_type.as_deref(),
        }
    }
}

/// Parses a head. `now` is needed for a `Retry-After` that is a date.
pub fn read(
    status: u16,
    version: http::Version,
    headers: &HeaderMap,
    now: Timestamp,
) -> ResponseHead {
    let head = Headers(headers);
    ResponseHead {
        status,
        http_version: if version == http::Version::HTTP_2 {
            "HTTP/2"
        } else {
            "HTTP/1.1"
        }
        .to_owned(),
        encoding: head
            .text("content-encoding")
            .map(str::to_ascii_lowercase)
            .filter(|e| e != "identity")
            .map(|e| bounded(&e)),
        content_type: head.text("content-type").map(|t| bounded(&essence(t))),
        charset: head
            .text("content-type")
            .and_then(charset)
            .map(|c| bounded(&c)),
        from_proxy: head.text("x-squid-error").is_some()
            || head
                .text("server")
                .is_some_and(|name| name.to_ascii_lowercase().starts_with("zscaler")),
        error_type: head.text("x-amzn-errortype").map(bounded),
        session: head.text("mcp-session-id").map(str::to_owned),
        challenger: challenger(status, headers),
        request_id: head
            .first(&[
                "x-request-id",
                "request-id",
                "apim-request-id",
                "x-generation-id",
                "x-litellm-call-id",
                "x-amzn-requestid",
            ])
            .map(bounded),
        server_ms: head
            .first(&["openai-processing-ms", "x-envoy-upstream-service-time"])
            .and_then(|s| s.parse().ok()),
        edge: head
            .text("cf-ray")
            .and_then(|ray| ray.rsplit_once('-'))
            .map(|(_, airport)| airport)
            .or(head.text("x-ms-region"))
            .map(bounded),
        remaining_requests: head.number(&[
            "x-ratelimit-remaining-requests",
            "anthropic-ratelimit-requests-remaining",
        ]),
        remaining_tokens: head.number(&[
            "x-ratelimit-remaining-tokens",
            "anthropic-ratelimit-tokens-remaining",
        ]),
        headroom: headroom(headers),
        organization: head.first(ORGANIZATION).map(fingerprint),
        retry_after: head
            .retry_after_s(status, now)
            .filter(|s| s.is_finite() && (0.0..=86_400.0).contains(s))
            .map(Duration::from_secs_f64),
        location: head.text("location").map(bare),
    }
}

/// The headers of a response, read by name.
struct Headers<'a>(&'a HeaderMap);

impl<'a> Headers<'a> {
    /// Returns a header that is not blank.
    fn text(&self, name: &str) -> Option<&'a str> {
        let text = self.0.get(name)?.to_str().ok()?.trim();
        (!text.is_empty()).then_some(text)
    }

    /// Returns the first header of these names that is set.
    fn first(&self, names: &[&str]) -> Option<&'a str> {
        names.iter().find_map(|name| self.text(name))
    }

    /// Returns the first header of these names as a count.
    fn number(&self, names: &[&str]) -> Option<i64> {
        let number = self.first(names)?.parse::<i64>().ok()?;
        (number >= 0).then_some(number)
    }

    /// Returns the seconds until a retry makes sense. Without a `Retry-After`, that is the reset
    /// time of an exhausted limit of the account.
    fn retry_after_s(&self, status: u16, now: Timestamp) -> Option<f64> {
        let millis = self
            .text("retry-after-ms")
            .and_then(|s| s.parse::<f64>().ok());
        if let Some(millis) = millis {
            return Some(millis / 1000.0);
        }
        if let Some(retry_after) = self.text("retry-after") {
            if let Ok(seconds) = retry_after.parse::<f64>() {
                return Some(seconds);
            }
            if let Ok(at) = chrono::DateTime::parse_from_rfc2822(retry_after) {
                return Some((at.timestamp_millis() - now.0).max(0) as f64 / 1000.0);
            }
        }
        if status != 429 {
            return None;
        }
        KINDS
            .iter()
            .filter_map(|kind| self.reset_s(kind, now))
            .reduce(f64::max)
    }

    /// Returns the seconds until an exhausted limit of this kind is reset.
    fn reset_s(&self, kind: &str, now: Timestamp) -> Option<f64> {
        let [standard, anthropic] = ratelimit_names(kind, "remaining");
        if self.number(&[&standard, &anthropic]) != Some(0) {
            return None;
        }
        ratelimit_names(kind, "reset")
            .iter()
            .find_map(|name| ratelimit_reset::read(self.text(name)?, now))
    }

    /// Reports whether the header has one of these values.
    fn is(&self, name: &str, values: &[&str]) -> bool {
        self.text(name)
            .is_some_and(|text| values.iter().any(|value| text.eq_ignore_ascii_case(value)))
    }
}

fn ratelimit_names(kind: &str, what: &str) -> [String; 2] {
    [
        format!("x-ratelimit-{what}-{kind}"),
        format!("anthropic-ratelimit-{kind}-{what}"),
    ]
}

/// Returns the front end that sent a bot challenge, judged by its headers.
fn challenger(status: u16, headers: &HeaderMap) -> Option<&'static str> {
    let head = Headers(headers);
    if head.is("cf-mitigated", &["challenge"]) {
        Some("Cloudflare")
    } else if head.is("x-vercel-mitigated", &["challenge", "deny"]) {
        Some("Vercel")
    } else if head.is("x-amzn-waf-action", &["challenge", "captcha"]) {
        Some("AWS WAF")
    } else if matches!(status, 401 | 403 | 429) && headers.contains_key("x-dd-b") {
        Some("DataDome")
    } else {
        None
    }
}

/// Returns the smallest remaining share of the rate limits in the headers, whatever their names.
fn headroom(headers: &HeaderMap) -> Option<f64> {
    headers
        .iter()
        .filter_map(|(name, value)| share_left(headers, name.as_str(), value))
        .reduce(f64::min)
}

/// Returns the share of a limit that is left, 0 to 1, if this header is about one.
fn share_left(headers: &HeaderMap, name: &str, value: &http::HeaderValue) -> Option<f64> {
    if !name.contains("ratelimit") || !name.contains("remaining") {
        return None;
    }
    let remaining = leading_number(value)?;
    let limit = headers
        .get(name.replace("remaining", "limit"))
        .and_then(leading_number)
        .filter(|limit| *limit > 0);
    match limit {
        Some(limit) => Some(remaining as f64 / limit as f64),
        None => (remaining == 0).then_some(0.0),
    }
}

fn leading_number(value: &http::HeaderValue) -> Option<u64> {
    let text = value.to_str().ok()?.trim();
    let end = text.find(|c: char| !c.is_ascii_digit());
    text[..end.unwrap_or(text.len())].parse::<u64>().ok()
}

/// Returns the first eight bytes of the SHA-256 of `text`, in hexadecimal.
fn fingerprint(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(8).map(|b| format!("{b:02x}")).collect()
}

/// Strips the login, query and fragment from a URL, absolute or relative: they may contain sessions
/// and keys.
fn bare(address: &str) -> String {
    let address = address.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = address.split_once("//") else {
        return address.to_owned();
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}//{host}{path}")
}

/// Returns a content type without its parameters.
fn essence(content_type: &str) -> String {
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().to_ascii_lowercase()
}

fn charset(content_type: &str) -> Option<String> {
    let mut parameters = content_type.split(';').skip(1);
    parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let value = value.trim().trim_matches('"').to_ascii_lowercase();
        name.trim().eq_ignore_ascii_case("charset").then_some(value)
    })
}

/// Removes control characters and limits an ID to 128 characters.
fn bounded(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(128).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16, headers: &[(&'static str, &'static str)]) -> ResponseHead {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        read(
            status,
            http::Version::HTTP_11,
            &headers,
            Timestamp::parse("2026-11-23T12:00:00Z").unwrap(),
        )
    }

    #[test]
    fn when_to_come_back() {
        let wait = |status, headers: &[_]| head(status, headers).retry_after.map(|d| d.as_millis());
        assert_eq!(wait(503, &[("retry-after", "20")]), Some(20_000));
        assert_eq!(
            wait(429, &[("retry-after", "20"), ("retry-after-ms", "1500")]),
            Some(1500)
        );
        assert_eq!(
            wait(429, &[("retry-after", "Mon, 23 Nov 2026 12:01:00 GMT")]),
            Some(60_000)
        );
        assert_eq!(wait(429, &[("retry-after", "soon")]), None);
        let used_up = [
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "6m0s"),
        ];
        assert_eq!(wait(429, &used_up), Some(360_000));
        assert_eq!(
            wait(200, &used_up),
            None,
            "a good answer asks nobody to wait"
        );
        let left = [
            ("x-ratelimit-remaining-requests", "3"),
            ("x-ratelimit-reset-requests", "6m0s"),
        ];
        assert_eq!(wait(429, &left), None);
        let anthropic = [
            ("anthropic-ratelimit-output-tokens-remaining", "0"),
            (
                "anthropic-ratelimit-output-tokens-reset",
                "2026-11-23T12:00:30Z",
            ),
        ];
        assert_eq!(wait(429, &anthropic), Some(30_000));
    }

    #[test]
    fn where_a_redirect_leads() {
        for (location, shown) in [
            (
                "https://login.example.com/a/b?session=s#f",
                "https://login.example.com/a/b",
            ),
            (
                "https://me:secret@login.example.com",
                "https://login.example.com",
            ),
            ("//me@login.example.com/x?k=s", "//login.example.com/x"),
            ("/v2/chat?key=s", "/v2/chat"),
            ("?key=s", ""),
        ] {
            assert_eq!(
                head(302, &[("location", location)]).location.as_deref(),
                Some(shown)
            );
        }
    }

    #[test]
    fn the_smallest_share_of_any_limit_is_the_headroom() {
        let headers = [
            ("anthropic-ratelimit-requests-limit", "100"),
            ("anthropic-ratelimit-requests-remaining", "90"),
            ("anthropic-ratelimit-output-tokens-limit", "1000"),
            ("anthropic-ratelimit-output-tokens-remaining", "50"),
        ];
        assert_eq!(head(200, &headers).headroom, Some(0.05));
        // Azure's Responses API.
        assert_eq!(
            head(200, &[("x-ratelimit-remaining-requests", "-1")]).remaining_requests,
            None
        );
    }
}
