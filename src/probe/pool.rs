//! Connections: one is made for every probe, or kept between the probes of an endpoint that says `reuse`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio_util::task::AbortOnDropHandle;

use super::stamped::Arrivals;
use super::transport::Connected;
use crate::model::Timestamp;

/// All headers of an answer together. OpenAI's take about two kilobytes.
const MOST_HEADER_BYTES: usize = 64 * 1024;
/// How many headers an answer may have.
const MOST_HEADERS: usize = 128;

/// A connection that speaks HTTP. Dropping it closes it.
#[derive(Debug)]
pub(super) struct Line {
    sender: Sender,
    pub(super) arrivals: Arrivals,
    pub(super) remote: Option<SocketAddr>,
    pub(super) tls_expires_at: Option<Timestamp>,
    _driver: AbortOnDropHandle<()>,
}

#[derive(Debug)]
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
            (Sender::Http2(sender), tokio::spawn(async move { drop(driver.await) }))
        } else {
            let mut builder = http1::Builder::new();
            builder.max_buf_size(MOST_HEADER_BYTES).max_headers(MOST_HEADERS);
            let (sender, driver) = builder.handshake(io).await?;
            (Sender::Http1(sender), tokio::spawn(async move { drop(driver.await) }))
        };
        let driver = AbortOnDropHandle::new(driver);
        Ok(Self { sender, arrivals: connected.arrivals, remote, tls_expires_at, _driver: driver })
    }

    pub(super) async fn send(&mut self, message: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        match &mut self.sender {
            Sender::Http1(sender) => sender.send_request(message).await,
            Sender::Http2(sender) => sender.send_request(message).await,
        }
    }

    pub(super) fn is_http2(&self) -> bool {
        matches!(self.sender, Sender::Http2(_))
    }

    /// Whether another request can be sent on it.
    fn is_ready(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => sender.is_ready(),
            Sender::Http2(sender) => sender.is_ready(),
        }
    }
}

/// The kept connections, at most one an endpoint.
#[derive(Debug, Default)]
pub(super) struct Pool(Mutex<HashMap<String, Line>>);

impl Pool {
    /// The kept connection of an endpoint, if it is still good.
    pub(super) fn take(&self, endpoint: &str) -> Option<Line> {
        self.lines().remove(endpoint).filter(Line::is_ready)
    }

    /// Keeps a connection for the next probe of an endpoint.
    pub(super) fn keep(&self, endpoint: &str, line: Line) {
        self.lines().insert(endpoint.to_owned(), line);
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, HashMap<String, Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
