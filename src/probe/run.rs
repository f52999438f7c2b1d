//! A running probe: connect, send, read, each stage within its time limit.

use std::sync::PoisonError;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::json;
use tokio::time::Instant;
use tracing::Level;

use super::Prober;
use super::credentials::{self, Held};
use super::end::{End, explain, message, of_hyper};
use super::pool::HttpConnection;
use super::record::{Recorder, ms};
use super::transport::{self, ConnectionTimes, ProxyRoute};
use crate::log::{Event, emit};
use llmwatch_core::model::{Api, Connection, Endpoint, Fault, Sample, Timestamp};
use llmwatch_core::protocol::dialect::{self, Adaptation, Adaptations, Dialect, ProbeRequest};
use llmwatch_core::protocol::response::ResponseReader;
use llmwatch_core::protocol::response_head::{self, ResponseHead};

/// How long to wait for the rest of a response before its connection is dropped instead of kept.
pub(super) const REST: Duration = Duration::from_millis(250);

/// How much one probe reads before it yields to others.
const SHARE_BYTES: usize = 32 * 1024;
const SHARE_FRAMES: usize = 32;
/// The maximum number of frames of a body: even empty ones cost time.
pub(super) const MAX_FRAMES: usize = 200_000;

pub(super) struct Run<'a> {
    pub(super) prober: &'a Prober,
    pub(super) endpoint: &'a Endpoint,
    pub(super) now: Timestamp,
    pub(super) start: Instant,
    /// When the response ended, if it did.
    pub(super) end: Option<Instant>,
    pub(super) stages: ConnectionTimes,
    /// The size of the request body in bytes.
    pub(super) sent: usize,
}

impl<'a> Run<'a> {
    /// Prepares a probe of `endpoint` at the time `now`.
    pub(super) fn new(prober: &'a Prober, endpoint: &'a Endpoint, now: Timestamp) -> Self {
        Self {
            prober,
            endpoint,
            now,
            start: Instant::now(),
            end: None,
            stages: ConnectionTimes::default(),
            sent: 0,
        }
    }

    /// Runs the probe and fills in `sample`.
    pub(super) async fn probe(mut self, mut sample: Sample) -> Sample {
        let id = sample.id.to_string();
        let (held, took) = credentials::obtain(self.prober, self.endpoint, self.now).await;
        sample.auth_ms = took.map(ms);
        let held = match held {
            Ok(held) => held,
            Err(end) => {
                let total = self.start.elapsed();
                Recorder {
                    endpoint: self.endpoint,
                    held: &Held::Configured,
                    stages: ConnectionTimes::default(),
                    total,
                    sent: 0,
                }
                .record(&mut sample, end);
                return sample;
            }
        };
        let mut adaptations = self.adaptations();
        let mut end;
        loop {
            let request = ProbeRequest {
                endpoint: self.endpoint,
                id: &id,
                adaptations: &adaptations,
                credential: held.credential(),
                now: self.now,
            };
            if self.endpoint.api == Api::Mcp {
                end = self.mcp(&request, &mut sample).await;
                break;
            }
            let request = Dialect::of(self.endpoint).request(&request);
            self.sent = request.body.len();
            end = match self.endpoint.api {
                Api::Realtime => self.websocket(&request, &mut sample).await,
                _ => self.attempt(&request, &mut sample).await,
            };
            let Some(adaptation) = self.suggest(&adaptations, &request, &end) else {
                break;
            };
            adaptations.adopt(&adaptation);
            self.remember(adaptations.clone(), &adaptation);
            // The probe starts over with the adapted request.
            (self.end, self.stages) = (None, ConnectionTimes::default());
        }
        let total = self
            .end
            .unwrap_or_else(Instant::now)
            .saturating_duration_since(self.start);
        Recorder {
            endpoint: self.endpoint,
            held: &held,
            stages: self.stages,
            total,
            sent: self.sent,
        }
        .record(&mut sample, end);
        sample
    }

    async fn attempt(&mut self, request: &dialect::Request, sample: &mut Sample) -> End {
        let keeps = self.endpoint.connection == Connection::Reuse;
        // The probe starts now: fetching a token is reported separately, and building the request
        // does not count.
        self.start = Instant::now();
        if keeps && let Some(line) = self.prober.pool.take(&self.endpoint.name).await {
            (self.stages.remote, self.stages.tls_expires_at) = (line.remote, line.tls_expires_at);
            match self.exchange_and_keep(request, line, sample).await {
                // The server may close an idle connection: only a new one shows whether it works.
                Err(End::Broken(Fault::TcpReset, _)) => self.stages = ConnectionTimes::default(),
                Err(end) | Ok(end) => return end,
            }
        }
        let line = match self.connect(request).await {
            Ok(line) => line,
            Err(end) => return end,
        };
        match self.exchange_and_keep(request, line, sample).await {
            Ok(end) | Err(end) => end,
        }
    }

    /// Makes an exchange, then keeps the connection if the endpoint is configured so and it is
    /// reusable.
    async fn exchange_and_keep(
        &mut self,
        request: &dialect::Request,
        mut line: HttpConnection,
        sample: &mut Sample,
    ) -> Result<End, End> {
        let (end, is_drained) = self
            .exchange(self.endpoint, request, &mut line, sample)
            .await?;
        if is_drained && self.endpoint.connection == Connection::Reuse {
            self.prober.pool.keep(&self.endpoint.name, line);
        }
        Ok(end)
    }

    pub(super) async fn connect(
        &mut self,
        request: &dialect::Request,
    ) -> Result<HttpConnection, End> {
        let limits = self.endpoint.timeouts;
        let deadline = self.start + limits.connect.min(limits.total);
        let proxy = self.prober.proxies.towards(&request.url);
        let route = ProxyRoute {
            proxy,
            proxy_tls: &self.prober.proxy_tls,
            resolve: &self.endpoint.resolve,
            source: self.endpoint.source_address,
        };
        let connected = transport::connect(
            &request.url,
            route,
            &self.prober.tls_of(self.endpoint),
            deadline,
            &mut self.stages,
        )
        .await
        .map_err(|no| End::Broken(no.fault, no.message))?;
        let begin = HttpConnection::begin(
            connected,
            self.stages.remote,
            self.stages.tls_expires_at,
            self.endpoint.api == Api::Realtime,
        );
        match tokio::time::timeout_at(deadline, begin).await {
            Err(_) => Err(End::Broken(Fault::TcpTimeout, String::new())),
            Ok(Err(error)) => Err(End::Broken(
                of_hyper(&error, Fault::TcpReset),
                explain(&error),
            )),
            Ok(Ok(line)) => Ok(line),
        }
    }

    /// Sends the request and reads the response. Returns true if the connection is reusable. An
    /// error is an end before any response.
    pub(super) async fn exchange(
        &mut self,
        endpoint: &Endpoint,
        request: &dialect::Request,
        line: &mut HttpConnection,
        sample: &mut Sample,
    ) -> Result<(End, bool), End> {
        let limits = self.endpoint.timeouts;
        let total = self.start + limits.total;
        let proxy = self.prober.proxies.forwarder(&request.url);
        let message = message(request, line.is_http2(), proxy)
            .map_err(|error| End::Broken(Fault::RequestRejected, error.to_string()))?;
        let began = Instant::now();
        let deadline = total.min(began + limits.headers);
        let response = match tokio::time::timeout_at(deadline, line.send(message)).await {
            Err(_) => return Err(End::Broken(Fault::TimeoutHeaders, String::new())),
            Ok(Err(error)) => {
                return Err(End::Broken(
                    of_hyper(&error, Fault::TcpReset),
                    explain(&error),
                ));
            }
            Ok(Ok(response)) => response,
        };
        // Over HTTP/2 the last write may be our acknowledgement of the server's settings.
        let sent = if line.is_http2() {
            began
        } else {
            line.arrivals.sent().max(began)
        };
        let arrived = line.arrivals.last().max(sent);
        sample.headers_ms = Some(ms(arrived.saturating_duration_since(sent)));
        let (parts, mut body) = response.into_parts();
        let head = response_head::read(
            parts.status.as_u16(),
            parts.version,
            &parts.headers,
            self.now,
        );
        let end = self.read(endpoint, head, &mut body, line, total).await;
        let is_used_again = endpoint.connection == Connection::Reuse || endpoint.api == Api::Mcp;
        let is_drained = is_used_again
            && matches!(end, End::Answered(..))
            && line.drive(is_drained(&mut body)).await;
        Ok((end, is_drained))
    }

    /// Reads the body to its end, or to the first limit that is exceeded.
    pub(super) async fn read(
        &mut self,
        endpoint: &Endpoint,
        head: ResponseHead,
        body: &mut Incoming,
        line: &mut HttpConnection,
        total: Instant,
    ) -> End {
        let mut exchange = ResponseReader::new(endpoint, Dialect::of(endpoint), head.clone());
        if exchange.ignores_body() {
            exchange.end(self.since_start(line.arrivals.last()));
        }
        let mut broken = None;
        let mut share = FairShare::default();
        while !exchange.is_over() {
            let (deadline, fault) = self.deadline(&exchange, total);
            match tokio::time::timeout_at(deadline, line.drive(body.frame())).await {
                Err(_) => {
                    broken = Some((fault, String::new()));
                    break;
                }
                Ok(None) => exchange.end(self.since_start(line.arrivals.last())),
                Ok(Some(Ok(frame))) => {
                    let data = frame.into_data().unwrap_or_default();
                    exchange.take(&data, self.since_start(line.arrivals.last()));
                    if !share.used(data.len()).await {
                        let message = format!("more than {MAX_FRAMES} frames");
                        broken = Some((Fault::BodyTooLarge, message));
                        break;
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
            None => {
                self.end = Some(line.arrivals.last().max(self.start));
                End::Answered(head, times, ended)
            }
            Some((fault, message)) => End::BrokenOff(head, times, ended, fault, message),
        }
    }

    /// Returns the deadline for the next data, and the fault if it passes.
    pub(super) fn deadline(
        &self,
        exchange: &ResponseReader<'_>,
        total: Instant,
    ) -> (Instant, Fault) {
        let limits = self.endpoint.timeouts;
        match exchange.last_content() {
            _ if !exchange.is_stream() => (total, Fault::TimeoutTotal),
            None => earlier(
                (self.start + limits.first_token, Fault::TimeoutFirstToken),
                total,
            ),
            Some(at) => {
                let last = self.start + Duration::from_secs_f64(at / 1000.0);
                earlier((last + limits.token_gap, Fault::TimeoutTokenGap), total)
            }
        }
    }

    pub(super) fn since_start(&self, at: Instant) -> f64 {
        ms(at.saturating_duration_since(self.start))
    }

    fn adaptations(&self) -> Adaptations {
        let known = self
            .prober
            .adaptations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        known.get(&self.endpoint.name).cloned().unwrap_or_default()
    }

    /// Suggests how to change a rejected request. A custom body is never changed.
    fn suggest(
        &self,
        adaptations: &Adaptations,
        request: &dialect::Request,
        end: &End,
    ) -> Option<Adaptation> {
        let End::Answered(head, _, ended) = end else {
            return None;
        };
        if self.endpoint.body.is_some() {
            return None;
        }
        let (_, text) = ended.fault.as_ref()?;
        let text = text.as_deref()?;
        adaptations.suggest(head.status, text, ended.param.as_deref(), &request.body)
    }

    fn remember(&self, adaptations: Adaptations, last: &Adaptation) {
        let name = &self.endpoint.name;
        let (message, parameter) = match last {
            Adaptation::AlternateBudget => (
                format!(
                    "{name} rejected the name of its token budget; using the other from now on"
                ),
                "max_tokens",
            ),
            Adaptation::Omit(parameter) => (
                format!("{name} rejected `{parameter}`; leaving it out from now on"),
                *parameter,
            ),
            Adaptation::Set(parameter, value) => (
                format!("{name} rejected the value of `{parameter}`; using `{value}` from now on"),
                *parameter,
            ),
        };
        let mut known = self
            .prober
            .adaptations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        known.insert(name.clone(), adaptations);
        drop(known);
        let fields = json!({"endpoint": name, "parameter": parameter});
        emit(Event::ProbeAdapted, Level::INFO, &message, &fields);
    }
}

/// Limits how much one probe reads before it yields, so that a flooding server does not delay other
/// probes.
#[derive(Debug, Default)]
pub(super) struct FairShare {
    bytes: usize,
    frames: usize,
    all_frames: usize,
}

impl FairShare {
    /// Counts a frame, and yields when the share is used up. Returns false when the body has too
    /// many frames.
    pub(super) async fn used(&mut self, bytes: usize) -> bool {
        self.bytes = self.bytes.saturating_add(bytes);
        self.frames += 1;
        self.all_frames += 1;
        if self.bytes >= SHARE_BYTES || self.frames >= SHARE_FRAMES {
            (self.bytes, self.frames) = (0, 0);
            tokio::task::yield_now().await;
        }
        self.all_frames <= MAX_FRAMES
    }
}

/// Reads the rest of a body for a short time. Returns true when it has ended.
async fn is_drained(body: &mut Incoming) -> bool {
    let rest = async { while let Some(Ok(_)) = body.frame().await {} };
    tokio::time::timeout(REST, rest).await.is_ok()
}

fn earlier(own: (Instant, Fault), total: Instant) -> (Instant, Fault) {
    if own.0 <= total {
        own
    } else {
        (total, Fault::TimeoutTotal)
    }
}
