//! Connections: opened for every probe, or kept between the probes of an endpoint with `reuse`.
//!
//! The connection driver runs within the probe's own task. In a separate task, a built request
//! would wait for its turn before it is sent, and probes that start together would delay each
//! other.
//!
//! Only the socket (and its TLS state) of an HTTP/1.1 connection is kept. Buffers and channels, 25
//! KiB for each endpoint, are recreated for each probe.

use std::collections::HashMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Fuse};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio_util::task::AbortOnDropHandle;

use super::timestamped_stream::Arrivals;
use super::transport::{Connected, Io};
use llmwatch_core::model::{EndpointName, Timestamp};

/// The maximum size of all response headers. OpenAI's take about two kilobytes.
const MAX_HEADER_BYTES: usize = 64 * 1024;
/// The maximum number of response headers.
const MAX_HEADERS: usize = 128;

/// A connection that speaks HTTP. Dropping it closes it.
pub(super) struct HttpConnection {
    sender: HttpSender,
    driver: Driver,
    pub(super) arrivals: Arrivals,
    pub(super) remote: Option<SocketAddr>,
    pub(super) tls_expires_at: Option<Timestamp>,
}

/// Moves the bytes between the socket and the request.
enum Driver {
    /// HTTP/1.1: polled while something is awaited, and can be taken apart; `None` after it has
    /// ended.
    Http1(Option<Box<http1::Connection<TokioIo<Io>, Full<Bytes>>>>),
    /// Polled while something is awaited.
    Here(Fuse<BoxFuture<'static, ()>>),
    /// Runs in its own task: an idle HTTP/2 connection has to answer pings and detect a close.
    Apart(
        #[expect(dead_code, reason = "held so that the task ends with the connection")]
        AbortOnDropHandle<()>,
    ),
}

impl Driver {
    fn poll(&mut self, context: &mut Context<'_>) {
        match self {
            Self::Http1(connection) => {
                let ended = connection
                    .as_mut()
                    .is_some_and(|c| Pin::new(&mut **c).poll(context).is_ready());
                if ended {
                    *connection = None;
                }
            }
            Self::Here(driver) => drop(driver.poll_unpin(context)),
            Self::Apart(_) => {}
        }
    }

    /// Awaits `wanted` while driving this connection.
    async fn drive<F: Future>(&mut self, wanted: F) -> F::Output {
        let mut wanted = pin!(wanted);
        poll_fn(|context| {
            if let Poll::Ready(output) = wanted.as_mut().poll(context) {
                return Poll::Ready(output);
            }
            if matches!(self, Self::Apart(_)) {
                return Poll::Pending;
            }
            // Once it has ended, the pending request fails with the error.
            self.poll(context);
            wanted.as_mut().poll(context)
        })
        .await
    }
}

enum HttpSender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl HttpConnection {
    /// Starts HTTP on `connected`; `upgrades` says whether it may become a WebSocket.
    pub(super) async fn begin(
        connected: Connected,
        remote: Option<SocketAddr>,
        tls_expires_at: Option<Timestamp>,
        upgrades: bool,
    ) -> hyper::Result<Self> {
        let io = TokioIo::new(connected.io);
        let (sender, driver) = if connected.http2 {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.max_header_list_size(MAX_HEADER_BYTES as u32);
            let (sender, driver) = builder.handshake(io).await?;
            // Its error shows in the response.
            let driver = Driver::Here(driver.map(drop).boxed().fuse());
            (HttpSender::Http2(sender), driver)
        } else {
            let mut builder = http1::Builder::new();
            builder
                .max_buf_size(MAX_HEADER_BYTES)
                .max_headers(MAX_HEADERS);
            let (sender, driver) = builder.handshake(io).await?;
            let driver = if upgrades {
                Driver::Here(driver.with_upgrades().map(drop).boxed().fuse())
            } else {
                Driver::Http1(Some(Box::new(driver)))
            };
            (HttpSender::Http1(sender), driver)
        };
        Ok(Self {
            sender,
            driver,
            arrivals: connected.arrivals,
            remote,
            tls_expires_at,
        })
    }

    pub(super) async fn send(
        &mut self,
        message: Request<Full<Bytes>>,
    ) -> hyper::Result<Response<Incoming>> {
        let answer = match &mut self.sender {
            HttpSender::Http1(sender) => sender.send_request(message).left_future(),
            HttpSender::Http2(sender) => sender.send_request(message).right_future(),
        };
        self.drive(answer).await
    }

    /// Awaits `wanted` while driving this connection.
    pub(super) async fn drive<F: Future>(&mut self, wanted: F) -> F::Output {
        self.driver.drive(wanted).await
    }

    pub(super) fn is_http2(&self) -> bool {
        matches!(self.sender, HttpSender::Http2(_))
    }

    /// Reports whether another request can be sent on it.
    pub(super) fn is_ready(&self) -> bool {
        match &self.sender {
            HttpSender::Http1(sender) => sender.is_ready(),
            HttpSender::Http2(sender) => sender.is_ready(),
        }
    }
}

impl HttpConnection {
    /// Returns the part of the connection to keep for the next probe; `None` if it is not reusable.
    fn rest(mut self) -> Option<Kept> {
        let sender = match &mut self.sender {
            HttpSender::Http2(_) => {
                if let Driver::Here(driver) = self.driver {
                    self.driver = Driver::Apart(AbortOnDropHandle::new(tokio::spawn(driver)));
                }
                return Some(Kept::Http2(self));
            }
            HttpSender::Http1(sender) => sender,
        };
        // Poll once more, so that the connection registers the end of the response.
        let is_ready = self.driver.drive(sender.ready()).now_or_never();
        let Driver::Http1(Some(connection)) = self.driver else {
            return None;
        };
        let parts = connection.into_parts();
        let mut io = parts.io.into_inner();
        // This also clears the socket's waker, which would keep the probe's task in memory.
        let is_quiet = io.is_quiet();
        let is_idle = matches!(is_ready, Some(Ok(()))) && parts.read_buf.is_empty() && is_quiet;
        is_idle.then(|| {
            Kept::Http1(Box::new(IdleSocket {
                io,
                arrivals: self.arrivals,
                remote: self.remote,
                tls_expires_at: self.tls_expires_at,
            }))
        })
    }
}

/// A connection between two probes.
enum Kept {
    Http1(Box<IdleSocket>),
    Http2(HttpConnection),
}

/// An HTTP/1.1 connection without the parts that only an exchange needs.
struct IdleSocket {
    io: Io,
    arrivals: Arrivals,
    remote: Option<SocketAddr>,
    tls_expires_at: Option<Timestamp>,
}

/// The kept connections, at most one per endpoint.
#[derive(Default)]
pub(super) struct Pool(Mutex<HashMap<EndpointName, Kept>>);

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.lines().keys()).finish()
    }
}

impl Pool {
    /// Takes the kept connection of an endpoint, if it is still usable.
    pub(super) async fn take(&self, endpoint: &str) -> Option<HttpConnection> {
        let kept = self.lines().remove(endpoint)?;
        match kept {
            Kept::Http2(line) => Some(line).filter(HttpConnection::is_ready),
            Kept::Http1(mut idle) => {
                if !idle.io.is_quiet() {
                    return None;
                }
                let connected = Connected {
                    io: idle.io,
                    arrivals: idle.arrivals,
                    http2: false,
                };
                let line =
                    HttpConnection::begin(connected, idle.remote, idle.tls_expires_at, false);
                line.await.ok()
            }
        }
    }

    /// Keeps a connection for the next probe of an endpoint.
    pub(super) fn keep(&self, endpoint: &str, line: HttpConnection) {
        if let Some(kept) = line.rest() {
            self.lines().insert(endpoint.into(), kept);
        }
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, HashMap<EndpointName, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
