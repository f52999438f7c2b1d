//! The listener: connections with limits, so that no client, however slow, takes more than its share.
//!
//! The server runs on the same threads as the probes, but shares no lock and no queue with them.

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

/// Open connections, live pages included. For a further one the one that is missed least has to go.
const CONNECTIONS: usize = 512;
/// Open connections over the control socket.
const LOCAL_CONNECTIONS: usize = 32;
/// How long a client may take to send the head of a request, and how long an idle connection is kept.
const HEAD: Duration = Duration::from_secs(10);
/// The largest head of a request; a larger one is refused with 431.
const HEAD_BYTES: usize = 16 * 1024;
/// The most header lines.
const HEADERS: usize = 64;
/// Bytes of an answer that the kernel may keep for a client who does not read them; it would take megabytes, and say only
/// after a third of them was read that there is room again.
const SEND_BUFFER: usize = 64 * 1024;
/// How long open requests may continue after the shutdown begins.
const DRAIN: Duration = Duration::from_secs(2);
/// After an error of `accept` (no file descriptors left): a short wait instead of a busy loop.
const BREATH: Duration = Duration::from_millis(100);

/// A connection over the control socket: file permissions have checked the user.
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
    // Connections have it from their listener. Without it all is as well, only with more memory.
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
        // A live page gets each event at once.
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

/// Serves `router` on the control socket until `stop`, to this daemon's own user and root: the permissions of the socket have
/// let nobody else in.
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
        let (router, stop) = (router.clone(), stop.clone());
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

/// One connection, until its client closes it or breaks a limit, or it has to make room.
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
        // What goes wrong with one connection is the client's to notice.
        _ = watcher.watch(connection) => {}
        () = permit.evicted() => {}
    }
}

#[cfg(test)]
mod tests;
