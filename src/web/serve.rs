//! The listener. Its connections have limits, so that no client, however slow, takes more than its
//! share.
//!
//! The server runs on the same threads as the probes, but shares no lock or queue with them.

mod connection_limit;
mod min_throughput;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustix::net::sockopt::set_socket_send_buffer_size;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;

pub(super) use self::connection_limit::client_prefix;
use self::connection_limit::{ConnectionLimit, Permit};
use self::min_throughput::MinThroughput;

/// The most open connections, live pages included. Beyond that, a new connection evicts another.
const CONNECTIONS: usize = 512;
/// The most open connections over the control socket.
const LOCAL_CONNECTIONS: usize = 32;
/// How long a client may take to send a request head, and how long an idle connection is kept open.
const HEAD: Duration = Duration::from_secs(10);
/// The size limit of a request head, in bytes; larger ones are refused with 431.
const HEAD_BYTES: usize = 16 * 1024;
/// The most header lines.
const HEADERS: usize = 64;
/// The kernel's send buffer per connection, in bytes. The default would buffer megabytes, and
/// report free space only after a third of them was read.
const SEND_BUFFER: usize = 64 * 1024;
/// How long open requests may continue after shutdown begins.
const DRAIN: Duration = Duration::from_secs(2);
/// The delay after an error of `accept` (such as no file descriptors left), to avoid a busy loop.
const BREATH: Duration = Duration::from_millis(100);

/// A connection over the control socket, whose file permissions have authenticated the user.
#[derive(Debug, Clone, Copy)]
pub(super) struct LocalUser;

/// Serves `router` on `listener` until `stop`.
pub(super) async fn run(listener: TcpListener, router: Router, stop: CancellationToken) {
    run_limited(listener, router, stop, CONNECTIONS).await;
}

async fn run_limited(
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
    connections: usize,
) {
    // Connections inherit this from the listener. If it fails, they only use more memory.
    let _ = set_socket_send_buffer_size(&listener, SEND_BUFFER);
    let limit = ConnectionLimit::new(connections);
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(BREATH).await;
            continue;
        };
        let permit = tokio::select! {
            () = stop.cancelled() => break,
            permit = limit.take(peer.ip()) => permit,
        };
        let Some(permit) = permit else { continue };
        // Live pages get each event without delay.
        let _ = stream.set_nodelay(true);
        tokio::spawn(serve(
            stream,
            peer,
            router.clone(),
            graceful.watcher(),
            permit,
        ));
    }
    drop(listener);
    let _ = tokio::time::timeout(DRAIN, graceful.shutdown()).await;
}

/// Serves `router` on the control socket until `stop`. The socket's permissions admit only the
/// daemon's own user and root.
pub(super) async fn run_local(listener: UnixListener, router: Router, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(LOCAL_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(BREATH).await;
            continue;
        };
        let Ok(slot) = slots.clone().acquire_owned().await else {
            return;
        };
        let router = router.clone();
        let stop = stop.clone();
        tokio::spawn(async move {
            let service = service_fn(move |mut request: hyper::Request<Incoming>| {
                request.extensions_mut().insert(LocalUser);
                router.clone().call(request)
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .max_buf_size(HEAD_BYTES)
                .max_headers(HEADERS)
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                _ = connection => {}
                () = stop.cancelled() => {}
            }
            drop(slot);
        });
    }
}

/// Serves one connection until the client closes it, it exceeds a limit, or it is evicted.
async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    peer: SocketAddr,
    router: Router,
    watcher: Watcher,
    permit: Permit,
) {
    let permit = Arc::new(permit);
    let asking = permit.clone();
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        asking.ask(Instant::now());
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(MinThroughput::new(stream)), service);
    tokio::select! {
        // Errors of one connection concern only its client.
        _ = watcher.watch(connection) => {}
        () = permit.evicted() => {}
    }
}

#[cfg(test)]
mod tests;
