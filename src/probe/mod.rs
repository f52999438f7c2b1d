//! One probe: a real request on a connection of its own, with a limit for every stage, and the sample that records it.
//!
//! A failed probe is data: nothing here returns an error for what the world does. Nothing is retried, redirected or
//! taken from a cache; a monitor wants the first attempt.

mod classify;
mod control;
mod dialect;
mod exchange;
mod head;
mod judge;
mod lines;
mod sse;
mod transport;

#[cfg(test)]
mod fixtures;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

pub use control::Controls;

use self::dialect::{Ask, Dialect};
use self::exchange::{Exchange, Outcome as Ended, Times};
use self::head::Head;
use self::transport::{Connected, Stages};
use crate::config::Monitor;
use crate::model::{Endpoint, Fault, Outcome, Sample, Secret, SlowLimits, Timestamp, Trigger};

/// All headers of an answer together. OpenAI's take about two kilobytes.
const MOST_HEADER_BYTES: usize = 64 * 1024;
/// How many headers an answer may have.
const MOST_HEADERS: usize = 128;
/// How much of the provider's own words is kept, and of a wrong answer.
const MOST_WORDS: usize = 500;
const MOST_ANSWER: usize = 200;

/// Why nothing can be probed.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The extra roots cannot be read.
    #[error("cannot use `ca_file` `{path}`: {why}", path = path.display())]
    Roots {
        /// The file.
        path: PathBuf,
        /// The cause.
        why: String,
    },
    /// TLS cannot be set up at all.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// When and why a probe is made.
#[derive(Debug, Clone, Copy)]
pub struct Due {
    /// When it should begin.
    pub scheduled_at: Timestamp,
    /// When it does.
    pub started_at: Timestamp,
    /// Why.
    pub trigger: Trigger,
}

/// What all probes share.
#[derive(Debug, Clone)]
pub struct Prober {
    tls: Arc<ClientConfig>,
    location: String,
}

impl Prober {
    /// A prober with the system's trusted roots and those of `ca_file`.
    ///
    /// # Errors
    /// When `ca_file` cannot be read or TLS cannot be set up.
    pub fn new(monitor: &Monitor) -> Result<Self, SetupError> {
        Ok(Self { tls: Arc::new(tls_config(monitor)?), location: monitor.location.clone() })
    }

    /// Probes `endpoint` once.
    pub async fn probe(&self, endpoint: &Endpoint, due: Due) -> Sample {
        let mut sample = blank(endpoint, due, &self.location);
        let mut run =
            Run { endpoint, tls: &self.tls, start: Instant::now(), now: due.started_at, stages: Stages::default() };
        let ended = run.probe(&mut sample).await;
        let total = run.start.elapsed();
        run.record(&mut sample, total, ended);
        sample
    }
}

/// The TLS of everything that goes out: the system's roots and those of `ca_file`, HTTP/2 where it is offered.
fn tls_config(monitor: &Monitor) -> Result<ClientConfig, SetupError> {
    let mut roots = RootCertStore::empty();
    // A system without roots still reaches plain HTTP and whatever `ca_file` vouches for.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = &monitor.ca_file {
        let failed = |why: String| SetupError::Roots { path: path.clone(), why };
        let certificates: Result<Vec<_>, _> =
            CertificateDer::pem_file_iter(path).map_err(|e| failed(e.to_string()))?.collect();
        let certificates = certificates.map_err(|e| failed(e.to_string()))?;
        if certificates.is_empty() {
            return Err(failed("it holds no certificate in PEM form".to_owned()));
        }
        for certificate in certificates {
            roots.add(certificate).map_err(|e| failed(e.to_string()))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // A resumed session would hide what a fresh connection costs.
    config.resumption = rustls::client::Resumption::disabled();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// How a probe came to its end.
enum End {
    /// With an answer, right or wrong.
    Answered(Head, Times, Ended),
    /// Before there was one.
    Broken(Fault, String),
    /// With a part of one.
    BrokenOff(Head, Times, Ended, Fault, String),
}

struct Run<'a> {
    endpoint: &'a Endpoint,
    tls: &'a Arc<ClientConfig>,
    start: Instant,
    now: Timestamp,
    stages: Stages,
}

impl Run<'_> {
    async fn probe(&mut self, sample: &mut Sample) -> End {
        let dialect = Dialect::of(self.endpoint);
        let limits = self.endpoint.timeouts;
        let total = self.start + limits.total;
        let id = sample.id.to_string();
        let request = dialect.request(&Ask { endpoint: self.endpoint, id: &id, other_budget: false, token: None });
        let deadline = total.min(self.start + limits.connect);
        let connected = match transport::connect(&request.url, self.tls, deadline, &mut self.stages).await {
            Ok(connected) => connected,
            Err(no) => return End::Broken(no.fault, no.words),
        };
        let arrivals = connected.arrivals.clone();
        let message = match message(&request, connected.http2) {
            Ok(message) => message,
            Err(error) => return End::Broken(Fault::RequestRejected, error.to_string()),
        };
        // Dropped with the probe, and the connection with it.
        let mut connection = JoinSet::new();
        let sent = Instant::now();
        let deadline = total.min(sent + limits.headers);
        let response = match tokio::time::timeout_at(deadline, send(connected, message, &mut connection)).await {
            Err(_) => return End::Broken(Fault::TimeoutHeaders, String::new()),
            Ok(Err(error)) => {
                let fault = of_hyper(&error, Fault::TcpReset);
                return End::Broken(fault, explain(&error));
            }
            Ok(Ok(response)) => response,
        };
        let arrived = arrivals.last().max(sent);
        sample.headers_ms = Some(ms(arrived.saturating_duration_since(sent)));
        let (parts, body) = response.into_parts();
        let head = head::read(parts.status.as_u16(), parts.version, &parts.headers, self.now);
        self.read(dialect, head, body, &arrivals, total).await
    }

    /// Reads the body to its end, or to the first limit that it meets.
    async fn read(
        &self,
        dialect: Dialect,
        head: Head,
        mut body: Incoming,
        arrivals: &transport::Arrivals,
        total: Instant,
    ) -> End {
        let limits = self.endpoint.timeouts;
        let mut exchange = Exchange::new(self.endpoint, dialect, head.clone());
        let mut broken = None;
        while !exchange.is_over() {
            let (deadline, fault) = match exchange.last_content() {
                _ if !exchange.is_stream() => (total, Fault::TimeoutTotal),
                None => earlier((self.start + limits.first_token, Fault::TimeoutFirstToken), total),
                Some(at) => {
                    let last = self.start + Duration::from_secs_f64(at / 1000.0);
                    earlier((last + limits.token_gap, Fault::TimeoutTokenGap), total)
                }
            };
            match tokio::time::timeout_at(deadline, body.frame()).await {
                Err(_) => {
                    broken = Some((fault, String::new()));
                    break;
                }
                Ok(None) => exchange.end(self.since_start(arrivals.last())),
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        exchange.take(&data, self.since_start(arrivals.last()));
                    }
                }
                Ok(Some(Err(error))) => {
                    broken = Some((of_hyper(&error, Fault::StreamTruncated), explain(&error)));
                    break;
                }
            }
        }
        let times = exchange.times;
        let ended = exchange.outcome();
        match broken {
            None => End::Answered(head, times, ended),
            Some((fault, words)) => End::BrokenOff(head, times, ended, fault, words),
        }
    }

    fn since_start(&self, at: Instant) -> f64 {
        ms(at.saturating_duration_since(self.start))
    }

    fn record(&self, sample: &mut Sample, total: Duration, end: End) {
        let Stages { dns, tcp, tls, remote } = self.stages;
        sample.dns_ms = dns.map(ms);
        sample.tcp_ms = tcp.map(ms);
        sample.tls_ms = tls.map(ms);
        sample.remote_addr = remote.map(|a| a.to_string());
        sample.total_ms = Some(ms(total));
        let fault = match end {
            End::Broken(fault, words) => Some((fault, Some(words).filter(|w| !w.is_empty()))),
            End::Answered(head, times, ended) => {
                self.record_answer(sample, head, times, &ended);
                ended.fault
            }
            End::BrokenOff(head, times, ended, fault, words) => {
                self.record_answer(sample, head, times, &ended);
                // An answer that said what is wrong before it broke off is believed; a half one says nothing.
                let said = ended.fault.filter(|(fault, words)| {
                    words.is_some() && !matches!(fault, Fault::BodyMalformed | Fault::HttpUnexpected)
                });
                Some(said.unwrap_or((fault, Some(words).filter(|w| !w.is_empty()))))
            }
        };
        let Some((fault, words)) = fault else {
            if is_beyond(self.endpoint.slow, sample) {
                sample.outcome = Outcome::Slow;
            }
            return;
        };
        sample.outcome = Outcome::Failed;
        sample.fault = Some(fault);
        sample.attribution = Some(fault.attribution());
        sample.error = words.map(|w| self.presentable(&w, MOST_WORDS));
    }

    fn record_answer(&self, sample: &mut Sample, head: Head, times: Times, ended: &Ended) {
        sample.http_status = Some(head.status);
        sample.http_version = Some(head.http_version);
        sample.request_id = head.request_id.map(|id| self.presentable(&id, 128));
        sample.server_ms = head.server_ms;
        sample.edge = head.edge;
        sample.ratelimit_remaining_requests = head.remaining_requests;
        sample.ratelimit_remaining_tokens = head.remaining_tokens;
        sample.retry_after_ms = head.retry_after.map(ms);
        sample.first_event_ms = times.first_event;
        sample.first_token_ms = times.first_token;
        sample.first_any_token_ms = times.first_any_token;
        sample.max_gap_ms = times.max_gap.map(round);
        sample.events = (times.events > 0).then_some(times.events);
        let answer = &ended.answer;
        sample.input_tokens = answer.input_tokens;
        sample.output_tokens = answer.output_tokens;
        sample.reasoning_tokens = answer.reasoning_tokens;
        sample.finish_reason = answer.finish_reason.as_deref().map(|r| self.presentable(r, 64));
        sample.response_model = answer.model.as_deref().map(|m| self.presentable(m, 128));
        sample.system_fingerprint = answer.fingerprint.as_deref().map(|f| self.presentable(f, 128));
        let after_first = answer.output_tokens.filter(|n| *n > 1).map(|n| f64::from(n - 1));
        sample.tpot_ms = times
            .first_token
            .zip(times.last_token)
            .zip(after_first)
            .map(|((first, last), n)| round((last - first) / n));
        if let (Some(price), Some(input)) = (self.endpoint.price, answer.input_tokens) {
            let apart = answer.reasoning_tokens.filter(|_| answer.reasoning_apart).unwrap_or(0);
            sample.cost_usd = Some(price.cost(input, answer.output_tokens.unwrap_or(0).saturating_add(apart)));
        }
        if matches!(ended.fault, Some((Fault::AnswerWrong, _))) {
            sample.answer = Some(self.presentable(&answer.text, MOST_ANSWER));
        }
    }

    /// Words from outside, without secrets and control characters, and not too long.
    fn presentable(&self, text: &str, most: usize) -> String {
        let secrets = self.endpoint.api_key.iter().chain(self.endpoint.headers.iter().map(|(_, v)| v));
        let redacted = secrets.fold(text.to_owned(), |t, secret: &Secret| secret.redact(&t));
        let clean: String = redacted.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let clean = hide_keys(&clean);
        clean[..clean.floor_char_boundary(most)].trim().to_owned()
    }
}

/// Words that look like somebody's live key are not repeated, whoever's they are.
fn hide_keys(text: &str) -> String {
    let is_key = |word: &str| {
        let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        bare.len() >= 12 && ["sk-", "sk_", "AIza", "whsec_"].iter().any(|p| bare.starts_with(p))
    };
    text.split_inclusive(char::is_whitespace)
        .map(|word| if is_key(word) { "*** ".to_owned() } else { word.to_owned() })
        .collect()
}

fn earlier(own: (Instant, Fault), total: Instant) -> (Instant, Fault) {
    if own.0 <= total { own } else { (total, Fault::TimeoutTotal) }
}

fn is_beyond(limits: SlowLimits, sample: &Sample) -> bool {
    let over = |ms: Option<f64>, limit: Option<Duration>| {
        ms.zip(limit).is_some_and(|(ms, limit)| ms > limit.as_secs_f64() * 1000.0)
    };
    let tokens_per_second = sample.tpot_ms.filter(|ms| *ms > 0.0).map(|ms| 1000.0 / ms);
    over(sample.first_token_ms, limits.first_token)
        || over(sample.total_ms, limits.total)
        || tokens_per_second.zip(limits.tokens_per_second).is_some_and(|(now, least)| now < least)
}

fn message(request: &dialect::Request, http2: bool) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let url = &request.url;
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
    let mut message = Request::builder().method(request.method.as_str());
    // HTTP/2 carries the authority in the target, HTTP/1.1 in a header.
    message = if http2 {
        message.uri(format!("{}://{authority}{target}", url.scheme()))
    } else {
        message.uri(target).header("host", authority)
    };
    for (name, value) in &request.headers {
        message = message.header(name, value);
    }
    message.body(Full::new(Bytes::from(request.body.clone())))
}

async fn send(
    connected: Connected,
    message: Request<Full<Bytes>>,
    connection: &mut JoinSet<()>,
) -> hyper::Result<Response<Incoming>> {
    let io = TokioIo::new(connected.io);
    if connected.http2 {
        let (mut sender, driver) = http2::Builder::new(TokioExecutor::new())
            .max_header_list_size(MOST_HEADER_BYTES as u32)
            .handshake(io)
            .await?;
        connection.spawn(async move { drop(driver.await) });
        sender.send_request(message).await
    } else {
        let (mut sender, driver) =
            http1::Builder::new().max_buf_size(MOST_HEADER_BYTES).max_headers(MOST_HEADERS).handshake(io).await?;
        connection.spawn(async move { drop(driver.await) });
        sender.send_request(message).await
    }
}

/// What went wrong below the answer; `cut` when the connection was simply closed.
fn of_hyper(error: &hyper::Error, cut: Fault) -> Fault {
    let io = std::error::Error::source(error).and_then(|e| e.downcast_ref::<io::Error>());
    if let Some(fault) = io.and_then(transport::of_errno) {
        return fault;
    }
    if error.is_parse_too_large() {
        Fault::BodyTooLarge
    } else if error.is_parse() {
        Fault::BodyMalformed
    } else {
        cut
    }
}

fn explain(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

fn round(ms: f64) -> f64 {
    (ms * 1000.0).round() / 1000.0
}

fn blank(endpoint: &Endpoint, due: Due, location: &str) -> Sample {
    Sample {
        id: Uuid::now_v7(),
        endpoint: endpoint.name.clone(),
        provider: endpoint.provider,
        api: endpoint.api,
        model: endpoint.model.clone(),
        location: location.to_owned(),
        scheduled_at: due.scheduled_at,
        started_at: due.started_at,
        trigger: due.trigger,
        outcome: Outcome::Ok,
        fault: None,
        attribution: None,
        http_status: None,
        dns_ms: None,
        tcp_ms: None,
        tls_ms: None,
        headers_ms: None,
        first_event_ms: None,
        first_token_ms: None,
        first_any_token_ms: None,
        max_gap_ms: None,
        tpot_ms: None,
        total_ms: None,
        schedule_lag_ms: 0.0,
        events: None,
        input_tokens: None,
        output_tokens: None,
        reasoning_tokens: None,
        cost_usd: None,
        finish_reason: None,
        response_model: None,
        system_fingerprint: None,
        request_id: None,
        server_ms: None,
        edge: None,
        ratelimit_remaining_requests: None,
        ratelimit_remaining_tokens: None,
        retry_after_ms: None,
        remote_addr: None,
        http_version: None,
        error: None,
        answer: None,
    }
}
