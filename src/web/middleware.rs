//! Runs before every route: access control, rate limits, and security headers.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use ring::digest;
use tokio::time::Instant;
use url::Host;

use super::problem::{self, Problem};
use super::reader::Reader;
use super::serve::{LocalUser, client_prefix};
use super::{View, assets};
use crate::config::{Public, Settings};
use crate::log::{Event, emit};
use llmwatch_core::model::Secret;

/// The size limit of a request body, in bytes.
const BODY_BYTES: usize = 64 * 1024;
/// How long a client may take to send the body.
const BODY_TIME: Duration = Duration::from_secs(10);
/// The requests per second that one address may make. `/api/v1/route` is exempt, because an
/// application may call it before each LLM request.
const RATE: f64 = 1000.0;
/// The largest burst of requests from one address.
const BURST: f64 = 2000.0;
/// The number of addresses whose rates are tracked.
const ADDRESSES: usize = 4096;
/// The largest response, in bytes, that gets an `ETag`.
const TAGGED_BYTES: u64 = 4 * 1024 * 1024;

/// Allows no external resources, no inline code and no framing. A route may set its own policy.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const SECURITY_HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// Open to service managers and load balancers, which send neither our host name nor a token. They
/// reveal nothing.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];
/// Exempt from the rate limit per address.
const ROUTE: &str = "/api/v1/route";
const HEALTH: &str = "/api/v1/health";
/// The banner for an iframe.
const EMBED: &str = "/embed";
/// The paths that visitors without the token may request with `public = "summary"`.
const SUMMARY: [&str; 12] = [
    "/",
    "/incidents",
    "/api/v1/status",
    "/api/v1/endpoints",
    "/api/v1/incidents",
    ROUTE,
    HEALTH,
    EMBED,
    "/feed.atom",
    "/favicon.ico",
    "/api/v1/openapi.json",
    "/subscribe",
];
/// All paths below these are allowed as well.
const SUMMARY_BELOW: [&str; 6] = [
    "/endpoints/",
    "/incidents/",
    "/api/v1/incidents/",
    "/api/v2/",
    "/badge/",
    "/assets/",
];
/// Links that contain a token of their own, the style sheet of their pages, and the subscription
/// form.
const WITHOUT_TOKEN: [&str; 4] = ["/a/", "/unsubscribe/", "/confirm/", "/assets/"];
/// Smaller responses are not worth compressing.
const WORTH_COMPRESSING: u64 = 2048;
/// Larger responses are compressed off the async workers.
const LARGE: usize = 64 * 1024;

/// The state of the middleware.
#[derive(Clone)]
pub(super) struct Middleware {
    view: View,
    rates: Arc<Mutex<HashMap<IpAddr, Bucket>>>,
}

impl Middleware {
    pub(super) fn new(view: View) -> Self {
        Self {
            view,
            rates: Arc::default(),
        }
    }
}

/// Runs around every route.
pub(super) async fn check(
    State(middleware): State<Middleware>,
    request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let if_none_match = request.headers().get(header::IF_NONE_MATCH).cloned();
    let takes_gzip = assets::takes_gzip(request.headers());
    let origin = allowed_origin(&middleware.view, &path, request.headers());
    let response = match admit(&middleware, request).await {
        Ok(_) if method == Method::OPTIONS && path == HEALTH => {
            StatusCode::NO_CONTENT.into_response()
        }
        Ok(request) => next.run(request).await,
        Err(refused) => refused.into_response(),
    };
    let response = problem::worded(response, &method, &path).await;
    let mut response = if method == Method::GET || method == Method::HEAD {
        compressed(tagged(response, if_none_match.as_ref()).await, takes_gzip).await
    } else {
        response
    };
    if path == HEALTH {
        allow_origin(&mut response, origin);
    }
    for (name, value) in SECURITY_HEADERS {
        if path == EMBED && name == header::X_FRAME_OPTIONS {
            // The route's own policy says who may frame it, which this header cannot express.
            continue;
        }
        response
            .headers_mut()
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    let status = response.status().as_u16();
    let ms = began.elapsed().as_secs_f64() * 1000.0;
    let path = logged_path(&path);
    let fields = serde_json::json!({"method": method.as_str(), "path": path, "http_status": status, "duration_ms": ms});
    emit(
        Event::WebRequest,
        tracing::Level::DEBUG,
        &format!("{method} {path}: {status}"),
        &fields,
    );
    response
}

/// Returns the path for the log, without the secret token of a link.
fn logged_path(path: &str) -> &str {
    let secret = WITHOUT_TOKEN.into_iter().filter(|p| *p != "/assets/");
    secret
        .into_iter()
        .find(|prefix| path.starts_with(prefix))
        .unwrap_or(path)
}

/// Returns the request's origin if its pages may read this path.
fn allowed_origin(view: &View, path: &str, headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN).filter(|_| path == HEALTH)?;
    let text = origin.to_str().ok()?;
    let config = view.config.borrow();
    let is_allowed = config.web.cors_origins.iter().any(|o| o == text);
    is_allowed.then(|| origin.clone())
}

fn allow_origin(response: &mut Response, origin: Option<HeaderValue>) {
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    let Some(origin) = origin else { return };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    let more = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization"),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "cross-origin",
        ),
    ];
    for (name, value) in more {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// Admits a request after reading its body, or returns the reason for refusing it.
async fn admit(middleware: &Middleware, request: Request) -> Result<Request, Refused> {
    let config = middleware.view.config.borrow().clone();
    let path = request.uri().path();
    if let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>()
        && path != ROUTE
    {
        let mut rates = middleware
            .rates
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !take(&mut rates, client_prefix(peer.ip()), Instant::now()) {
            let problem = Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too many requests from your IP address; wait a second",
            );
            return Err(Refused {
                problem,
                headers: vec![(header::RETRY_AFTER, "1")],
            });
        }
    }
    let is_local = request.extensions().get::<LocalUser>().is_some();
    let reader = if is_local {
        Reader::Token
    } else if OPEN.contains(&path) {
        Reader::Public
    } else {
        check_host(&request, &config)?;
        reader_of(request.method(), path, request.headers(), &config)?
    };
    let (mut parts, body) = request.into_parts();
    parts.extensions.insert(reader);
    let all = tokio::time::timeout(BODY_TIME, Limited::new(body, BODY_BYTES).collect()).await;
    let body = match all {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let detail = format!("the body must have at most {BODY_BYTES} bytes");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).into());
        }
        Ok(Err(_)) => return Err(Problem::bad_request("the body is incomplete").into()),
        Err(_) => {
            return Err(Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                "the body took too long to arrive",
            )
            .into());
        }
    };
    Ok(Request::from_parts(parts, Body::from(body)))
}

/// Prevents DNS rebinding: a web page elsewhere can point its own name at this address, and a
/// browser inside the network would then request it under that name. So only requests for our own
/// names are answered.
fn check_host(request: &Request, config: &Settings) -> Result<(), Problem> {
    let mut named = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (named.next().and_then(|h| h.to_str().ok()), named.next()) else {
        return Err(Problem::bad_request("a request needs one `Host` header"));
    };
    // If the request line also names a host, that one takes precedence.
    if is_trusted(host, config)
        && request
            .uri()
            .authority()
            .is_none_or(|a| is_trusted(a.as_str(), config))
    {
        return Ok(());
    }
    let detail = "unknown host name; add it to `trusted_hosts` in `[web]`, or set `public_url` in `[monitor]`";
    Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail))
}

fn is_trusted(host: &str, config: &Settings) -> bool {
    let Ok(url) = url::Url::parse(&format!("http://{host}/")) else {
        return false;
    };
    let public = config
        .monitor
        .public_url
        .as_deref()
        .and_then(|u| url::Url::parse(u).ok());
    // IP addresses cannot be rebound. Addresses other than loopback are valid only if we listen
    // beyond loopback.
    let beyond_loopback = config.process.listen.is_some_and(|l| !l.ip().is_loopback());
    let by_address = |ip: IpAddr| ip.is_loopback() || beyond_loopback;
    let by_itself = match url.host() {
        Some(Host::Ipv4(ip)) => by_address(ip.into()),
        Some(Host::Ipv6(ip)) => by_address(ip.into()),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    };
    let name = url.host_str().unwrap_or_default();
    let named = |trusted: &String| {
        let trusted = trusted.to_ascii_lowercase();
        trusted == name || trusted == host.to_ascii_lowercase()
    };
    by_itself
        || public.is_some_and(|p| p.host_str() == Some(name))
        || config.web.trusted_hosts.iter().any(named)
}

/// Extractor of every writing handler: a token is configured, and the client has sent it.
pub(super) struct MayWrite;

impl FromRequestParts<View> for MayWrite {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &View) -> Result<Self, Problem> {
        if parts.extensions.get() == Some(&Reader::Token) {
            return Ok(Self);
        }
        let detail = "writing needs a token and none is configured; set `token` in `[web]` and send it as \
                      `Authorization: Bearer …`";
        Err(Problem::new(StatusCode::FORBIDDEN, detail))
    }
}

/// Extractor of handlers for the control socket only; other clients get 404.
pub(super) struct LocalOnly;

impl FromRequestParts<View> for LocalOnly {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &View) -> Result<Self, StatusCode> {
        let is_local = parts.extensions.get::<LocalUser>().is_some();
        is_local.then_some(Self).ok_or(StatusCode::NOT_FOUND)
    }
}

/// Determines what the request may see. If a token is configured, requests without it see only what
/// `public` allows.
fn reader_of(
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    config: &Settings,
) -> Result<Reader, Refused> {
    let Some(token) = &config.web.token else {
        return Ok(Reader::Open);
    };
    let reading = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    let has_own_token = WITHOUT_TOKEN.iter().any(|prefix| path.starts_with(prefix));
    if has_own_token || (path == "/subscribe" && config.web.subscribe) {
        return Ok(Reader::Public);
    }
    if *method == Method::OPTIONS && path == HEALTH {
        return Ok(Reader::Public);
    }
    if !headers.contains_key(header::AUTHORIZATION) && reading {
        match config.web.public {
            Public::All => return Ok(Reader::Open),
            Public::Summary if in_summary(path) => return Ok(Reader::Public),
            Public::Summary | Public::Off => {}
        }
    }
    check_token(reading, headers, token).map(|()| Reader::Token)
}

fn in_summary(path: &str) -> bool {
    let one_endpoint = path.strip_prefix("/api/v1/endpoints/");
    SUMMARY.contains(&path)
        || SUMMARY_BELOW.iter().any(|prefix| path.starts_with(prefix))
        || one_endpoint.is_some_and(|name| !name.contains('/'))
}

fn check_token(reading: bool, headers: &HeaderMap, token: &Secret) -> Result<(), Refused> {
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|h| h.to_str().ok())
        .and_then(|h| h.split_once(' '));
    let given = match given {
        Some((scheme, given)) if scheme.eq_ignore_ascii_case("bearer") => {
            Some(given.trim().as_bytes().to_vec())
        }
        // Browsers ask the user for these credentials; the name is ignored. A browser also sends
        // them with forms of other sites, so they do not permit writing.
        Some((scheme, given)) if scheme.eq_ignore_ascii_case("basic") && reading => {
            let text = STANDARD.decode(given.trim()).ok();
            text.and_then(|t| {
                Some(
                    t.split_at_checked(t.iter().position(|b| *b == b':')? + 1)?
                        .1
                        .to_vec(),
                )
            })
        }
        _ => None,
    };
    if given.is_some_and(|given| is_same(&given, token.expose().as_bytes())) {
        return Ok(());
    }
    let problem = Problem::new(
        StatusCode::UNAUTHORIZED,
        "send the token of `[web]` as `Authorization: Bearer …`",
    );
    let mut headers = vec![(header::WWW_AUTHENTICATE, "Bearer realm=\"llmwatch\"")];
    if reading {
        headers.push((
            header::WWW_AUTHENTICATE,
            "Basic realm=\"llmwatch: any name, the token as password\"",
        ));
    }
    Err(Refused { problem, headers })
}

/// Compares digests, so that the timing does not reveal where two tokens differ.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    let a = digest::digest(&digest::SHA256, a);
    let b = digest::digest(&digest::SHA256, b);
    a.as_ref()
        .iter()
        .zip(b.as_ref())
        .fold(0, |differ, (a, b)| differ | (a ^ b))
        == 0
}

/// The token bucket of an address.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

fn take(rates: &mut HashMap<IpAddr, Bucket>, ip: IpAddr, now: Instant) -> bool {
    if rates.len() >= ADDRESSES && !rates.contains_key(&ip) {
        // Addresses idle for a while have full buckets anyway.
        rates.retain(|_, b| now.duration_since(b.at).as_secs_f64() * RATE < BURST);
        if rates.len() >= ADDRESSES {
            rates.clear();
        }
    }
    let bucket = rates.entry(ip).or_insert(Bucket {
        left: BURST,
        at: now,
    });
    bucket.left = (bucket.left + now.duration_since(bucket.at).as_secs_f64() * RATE).min(BURST);
    bucket.at = now;
    let admitted = bucket.left >= 1.0;
    if admitted {
        bucket.left -= 1.0;
    }
    admitted
}

/// Adds an `ETag` to a complete JSON response, or replaces it with 304 if the client already has
/// it.
async fn tagged(response: Response, if_none_match: Option<&HeaderValue>) -> Response {
    let is_json = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|t| t.as_bytes().starts_with(b"application/json"));
    let size = axum::body::HttpBody::size_hint(response.body()).exact();
    let has_tag_already = response.headers().contains_key(header::ETAG);
    if response.status() != StatusCode::OK
        || !is_json
        || has_tag_already
        || size.is_none_or(|s| s > TAGGED_BYTES)
    {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    // A body of known size is already in memory.
    let body: Bytes = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let tag = format!(
        "\"{}\"",
        URL_SAFE_NO_PAD.encode(&digest::digest(&digest::SHA256, &body).as_ref()[..12])
    );
    let has_it = self::has_tag(if_none_match, &tag);
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        parts.headers.insert(header::ETAG, tag);
    }
    parts
        .headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-cache"));
    if has_it {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(header::CONTENT_LENGTH);
        parts.headers.remove(header::CONTENT_TYPE);
        return Response::from_parts(parts, Body::empty());
    }
    Response::from_parts(parts, Body::from(body))
}

/// Reports whether the client already has the response with this tag.
pub(super) fn has_tag(if_none_match: Option<&HeaderValue>, tag: &str) -> bool {
    if_none_match
        .and_then(|h| h.to_str().ok())
        .is_some_and(|has| {
            has.split(',')
                .map(|t| t.trim().trim_start_matches("W/"))
                .any(|t| t == tag || t == "*")
        })
}

/// Compresses a JSON response of known size if the client accepts it and it is worthwhile.
async fn compressed(response: Response, takes_gzip: bool) -> Response {
    let is_json = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|t| t.as_bytes().starts_with(b"application/json"));
    let size = axum::body::HttpBody::size_hint(response.body()).exact();
    if !is_json || size.is_none_or(|s| s < WORTH_COMPRESSING) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    parts
        .headers
        .append(header::VARY, HeaderValue::from_static("accept-encoding"));
    if !takes_gzip {
        return Response::from_parts(parts, body);
    }
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let zipped = if body.len() > LARGE {
        let plain = body.clone();
        tokio::task::spawn_blocking(move || assets::gzip(&plain))
            .await
            .ok()
    } else {
        Some(assets::gzip(&body))
    };
    parts.headers.remove(header::CONTENT_LENGTH);
    match zipped {
        Some(zipped) => {
            parts
                .headers
                .insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            Response::from_parts(parts, Body::from(zipped))
        }
        None => Response::from_parts(parts, Body::from(body)),
    }
}

/// A refusal with its headers.
struct Refused {
    problem: Problem,
    headers: Vec<(HeaderName, &'static str)>,
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self {
            problem,
            headers: Vec::new(),
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = self.problem.into_response();
        for (name, value) in self.headers {
            response
                .headers_mut()
                .append(name, HeaderValue::from_static(value));
        }
        response
    }
}
