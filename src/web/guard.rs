//! What stands before every route: who may ask, how much and how often, and the headers that keep a browser safe.

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

use super::View;
use super::problem::{self, Problem};
use super::serve::neighbourhood;
use crate::config::Settings;
use crate::log::{Event, emit};
use crate::model::Secret;

/// The largest body of a request.
const BODY_BYTES: usize = 64 * 1024;
/// How long a client may take to send it.
const BODY_TIME: Duration = Duration::from_secs(10);
/// Requests a second that one address may go on making; generous, since an application may ask `/api/v1/route` before
/// each of its calls.
const RATE: f64 = 1000.0;
/// Requests that it may make at once.
const BURST: f64 = 2000.0;
/// Addresses that are remembered for this.
const ADDRESSES: usize = 4096;
/// Answers up to this size get an `ETag`.
const TAGGED_BYTES: u64 = 4 * 1024 * 1024;

/// Nothing from elsewhere, no inline code, no frame around us. A route may set its own.
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

/// Asked by service managers and load balancers, which know neither our names nor our token; they tell nothing.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];

/// What the guard knows.
#[derive(Clone)]
pub(super) struct Guard {
    view: View,
    rates: Arc<Mutex<HashMap<IpAddr, Bucket>>>,
}

impl Guard {
    pub(super) fn new(view: View) -> Self {
        Self {
            view,
            rates: Arc::default(),
        }
    }
}

/// The middleware around every route.
pub(super) async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let if_none_match = request.headers().get(header::IF_NONE_MATCH).cloned();
    let response = match admit(&guard, request).await {
        Ok(request) => next.run(request).await,
        Err(refused) => refused.into_response(),
    };
    let response = problem::worded(response, &method, &path).await;
    let mut response = if method == Method::GET || method == Method::HEAD {
        tagged(response, if_none_match.as_ref()).await
    } else {
        response
    };
    for (name, value) in SECURITY_HEADERS {
        response
            .headers_mut()
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    let status = response.status().as_u16();
    let ms = began.elapsed().as_secs_f64() * 1000.0;
    let fields = serde_json::json!({"method": method.as_str(), "path": path, "http_status": status, "duration_ms": ms});
    emit(
        Event::WebRequest,
        tracing::Level::DEBUG,
        &format!("{method} {path}: {status}"),
        &fields,
    );
    response
}

/// Lets a request in, with its body read, or says why not.
async fn admit(guard: &Guard, request: Request) -> Result<Request, Refused> {
    let config = guard.view.config.borrow().clone();
    if let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>() {
        let mut rates = guard.rates.lock().unwrap_or_else(PoisonError::into_inner);
        if !take(&mut rates, neighbourhood(peer.ip()), Instant::now()) {
            let problem = Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too many requests from your address; wait a second",
            );
            return Err(Refused {
                problem,
                headers: vec![(header::RETRY_AFTER, "1")],
            });
        }
    }
    if !OPEN.contains(&request.uri().path()) {
        check_host(&request, &config)?;
        check_token(
            request.method(),
            request.headers(),
            config.web.token.as_ref(),
        )?;
    }
    let (mut parts, body) = request.into_parts();
    if config.web.token.is_some() && !OPEN.contains(&parts.uri.path()) {
        parts.extensions.insert(TokenSeen);
    }
    let whole = tokio::time::timeout(BODY_TIME, Limited::new(body, BODY_BYTES).collect()).await;
    let body = match whole {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let detail = format!("a body has at most {BODY_BYTES} bytes");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).into());
        }
        Ok(Err(_)) => return Err(Problem::bad_request("the body did not arrive whole").into()),
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

/// A web page elsewhere can point a name of its own at this address (DNS rebinding) and have a browser inside the
/// network ask us; the browser then says that name. So only names that are ours are answered.
fn check_host(request: &Request, config: &Settings) -> Result<(), Problem> {
    let mut named = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (named.next().and_then(|h| h.to_str().ok()), named.next()) else {
        return Err(Problem::bad_request("a request needs one `Host` header"));
    };
    // Where the request line names a host as well, that is the one that counts.
    if is_trusted(host, config)
        && request
            .uri()
            .authority()
            .is_none_or(|a| is_trusted(a.as_str(), config))
    {
        return Ok(());
    }
    let detail = "this name is not ours; add it to `trusted_hosts` in `[web]`, or set `public_url` in `[monitor]`";
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
    // An address cannot be rebound. One that is not loopback is asked for only where we listen beyond it.
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

/// The request has shown the token that was configured when it came.
#[derive(Debug, Clone, Copy)]
struct TokenSeen;

/// What every writing handler asks for: that there is a token, and that the client has sent it.
pub(super) struct MayWrite;

impl FromRequestParts<View> for MayWrite {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &View) -> Result<Self, Problem> {
        if parts.extensions.get::<TokenSeen>().is_some() {
            return Ok(Self);
        }
        let detail = "writing needs a token and none is configured; set `token` in `[web]` and send it as \
                      `Authorization: Bearer …`";
        Err(Problem::new(StatusCode::FORBIDDEN, detail))
    }
}

/// Where a token is configured, nothing is read or written without it.
fn check_token(
    method: &Method,
    headers: &HeaderMap,
    token: Option<&Secret>,
) -> Result<(), Refused> {
    let Some(token) = token else { return Ok(()) };
    let reading = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|h| h.to_str().ok())
        .and_then(|h| h.split_once(' '));
    let given = match given {
        Some((scheme, given)) if scheme.eq_ignore_ascii_case("bearer") => {
            Some(given.trim().as_bytes().to_vec())
        }
        // What a browser asks its user for; the name does not matter. A browser repeats it by itself, also for a form of
        // another site, so it does not suffice for writing.
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

/// Compares digests, so that the time it takes says nothing about where two tokens differ.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    let (a, b) = (
        digest::digest(&digest::SHA256, a),
        digest::digest(&digest::SHA256, b),
    );
    a.as_ref()
        .iter()
        .zip(b.as_ref())
        .fold(0, |differ, (a, b)| differ | (a ^ b))
        == 0
}

/// What an address may still ask for.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

fn take(rates: &mut HashMap<IpAddr, Bucket>, ip: IpAddr, now: Instant) -> bool {
    if rates.len() >= ADDRESSES && !rates.contains_key(&ip) {
        // Who has not asked for a while has a full bucket anyway.
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

/// Gives a whole JSON answer its `ETag`, or 304 if the client has it already.
async fn tagged(response: Response, if_none_match: Option<&HeaderValue>) -> Response {
    let is_json = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|t| t.as_bytes().starts_with(b"application/json"));
    let size = axum::body::HttpBody::size_hint(response.body()).exact();
    if response.status() != StatusCode::OK || !is_json || size.is_none_or(|s| s > TAGGED_BYTES) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    // A body of known size stands in memory already.
    let body: Bytes = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let tag = format!(
        "\"{}\"",
        URL_SAFE_NO_PAD.encode(&digest::digest(&digest::SHA256, &body).as_ref()[..12])
    );
    let has_it = if_none_match
        .and_then(|h| h.to_str().ok())
        .is_some_and(|has| {
            has.split(',')
                .map(|t| t.trim().trim_start_matches("W/"))
                .any(|t| t == tag || t == "*")
        });
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

/// A refusal with the headers that it calls for.
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
