//! Connections: one is made for every probe, or kept between the probes of an endpoint that says `reuse`.
//!
//! What moves the bytes runs within the probe's own task. With a task of its own a request would wait for a turn among all
//! others between being made and being sent, and many probes that start together would measure each other.

use std::collections::HashMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::task::Poll;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Fuse};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio_util::task::AbortOnDropHandle;

use super::timestamped_stream::Arrivals;
use super::transport::Connected;
use llmwatch_core::model::Timestamp;

/// All headers of an answer together. OpenAI's take about two kilobytes.
const MOST_HEADER_BYTES: usize = 64 * 1024;
/// How many headers an answer may have.
const MOST_HEADERS: usize = 128;

/// A connection that speaks HTTP. Dropping it closes it.
pub(super) struct Line {
    sender: Sender,
    driver: Driver,
    pub(super) arrivals: Arrivals,
    pub(super) remote: Option<SocketAddr>,
    pub(super) tls_expires_at: Option<Timestamp>,
}

/// What moves the bytes between the socket and the request.
enum Driver {
    /// Runs while something is waited for.
    Here(Fuse<BoxFuture<'static, ()>>),
    /// Runs in a task of its own: an idle connection has to notice that the other side closes it.
    Apart(
        #[expect(dead_code, reason = "held so that the task ends with the connection")]
        AbortOnDropHandle<()>,
    ),
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Line {
    /// Begins to speak HTTP on `connected`.
    pub(super) async fn begin(
        connected: Connected,
        remote: Option<SocketAddr>,
        tls_expires_at: Option<Timestamp>,
    ) -> hyper::Result<Self> {
        let io = TokioIo::new(connected.io);
        let (sender, driver) = if connected.http2 {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.max_header_list_size(MOST_HEADER_BYTES as u32);
            let (sender, driver) = builder.handshake(io).await?;
            // How it ends shows in the answer.
            (Sender::Http2(sender), driver.map(drop).boxed())
        } else {
            let mut builder = http1::Builder::new();
            builder
                .max_buf_size(MOST_HEADER_BYTES)
                .max_headers(MOST_HEADERS);
            let (sender, driver) = builder.handshake(io).await?;
            // For a WebSocket; nothing else asks for an upgrade.
            let driver = driver.with_upgrades();
            (Sender::Http1(sender), driver.map(drop).boxed())
        };
        Ok(Self {
            sender,
            driver: Driver::Here(driver.fuse()),
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
            Sender::Http1(sender) => sender.send_request(message).left_future(),
            Sender::Http2(sender) => sender.send_request(message).right_future(),
        };
        self.drive(answer).await
    }

    /// Waits for `wanted`, which comes over this connection.
    pub(super) async fn drive<F: Future>(&mut self, wanted: F) -> F::Output {
        let mut wanted = pin!(wanted);
        let Driver::Here(driver) = &mut self.driver else {
            return wanted.await;
        };
        poll_fn(|context| {
            if let Poll::Ready(output) = wanted.as_mut().poll(context) {
                return Poll::Ready(output);
            }
            // When it has ended, the pending request fails with the error.
            let _ = driver.poll_unpin(context);
            wanted.as_mut().poll(context)
        })
        .await
    }

    pub(super) fn is_http2(&self) -> bool {
        matches!(self.sender, Sender::Http2(_))
    }

    /// Whether another request can be sent on it.
    pub(super) fn is_ready(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => sender.is_ready(),
            Sender::Http2(sender) => sender.is_ready(),
        }
    }
}

/// The kept connections, at most one an endpoint.
#[derive(Default)]
pub(super) struct Pool(Mutex<HashMap<String, Line>>);

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.lines().keys()).finish()
    }
}

impl Pool {
    /// The kept connection of an endpoint, if it is still good.
    pub(super) fn take(&self, endpoint: &str) -> Option<Line> {
        self.lines().remove(endpoint).filter(Line::is_ready)
    }

    /// Keeps a connection for the next probe of an endpoint.
    pub(super) fn keep(&self, endpoint: &str, mut line: Line) {
        if let Driver::Here(driver) = line.driver {
            line.driver = Driver::Apart(AbortOnDropHandle::new(tokio::spawn(driver)));
        }
        self.lines().insert(endpoint.to_owned(), line);
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, HashMap<String, Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
