//! The listener: connections with limits, so that no client, however slow, takes more than its share.
//!
//! The server runs on the same threads as the probes, but shares no lock and no queue with them.

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
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutWriter;
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;

/// Open connections, live pages included. Further ones wait in the kernel's queue.
const CONNECTIONS: usize = 512;
/// How long a client may take to send the head of a request, and how long an idle connection is kept.
const HEAD: Duration = Duration::from_secs(10);
/// The largest head of a request; a larger one is refused with 431.
const HEAD_BYTES: usize = 16 * 1024;
/// The most header lines.
const HEADERS: usize = 64;
/// How long a client may read nothing while there is something for it, a page or an event. More than a phone loses the
/// network for in a tunnel would keep slots from others.
const STALLED: Duration = Duration::from_secs(20);
/// How long open requests may go on after the daemon is told to stop.
const DRAIN: Duration = Duration::from_secs(2);
/// After an error of `accept` (no file descriptors left): a short wait instead of a busy loop.
const BREATH: Duration = Duration::from_millis(100);

/// Serves `router` on `listener` until `stop`.
pub(super) async fn run(listener: TcpListener, router: Router, stop: CancellationToken) {
    run_limited(listener, router, stop, CONNECTIONS).await;
}

async fn run_limited(listener: TcpListener, router: Router, stop: CancellationToken, connections: usize) {
    let room = Arc::new(Semaphore::new(connections));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = async {
                // Never closed, so never an error.
                let permit = room.clone().acquire_owned().await;
                (permit, listener.accept().await)
            } => accepted,
        };
        let (permit, Ok((stream, peer))) = accepted else {
            tokio::time::sleep(BREATH).await;
            continue;
        };
        // A live page gets each event at once.
        let _ = stream.set_nodelay(true);
        let connection = serve(stream, peer, router.clone(), graceful.watcher());
        tokio::spawn(async move {
            connection.await;
            drop(permit);
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(DRAIN, graceful.shutdown()).await;
}

/// One connection, until its client closes it or breaks a limit.
async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    peer: SocketAddr,
    router: Router,
    watcher: Watcher,
) {
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().call(request)
    });
    let mut stream = TimeoutWriter::new(stream);
    stream.set_timeout(Some(STALLED));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    // What goes wrong with one connection is the client's to notice.
    let _ = watcher.watch(connection).await;
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::body::Body;
    use axum::response::sse::{Event, Sse};
    use axum::routing::get;
    use futures_util::stream;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::net::TcpStream;
    use tokio::task::JoinHandle;
    use tokio::time::{Instant, sleep, timeout};

    use super::*;

    const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);
    const PAGE: usize = 200_000;

    fn router() -> Router {
        let endless =
            || async { Sse::new(stream::repeat(Ok::<_, Infallible>(Event::default().data("x".repeat(1000))))) };
        Router::new().route("/page", get(|| async { Body::from("x".repeat(PAGE)) })).route("/events", get(endless))
    }

    async fn served(stream: DuplexStream) {
        let graceful = GracefulShutdown::new();
        serve(stream, PEER, router(), graceful.watcher()).await;
    }

    /// A client that has asked for `path`, and the connection.
    async fn asked(path: &str) -> (DuplexStream, JoinHandle<()>) {
        let (mut client, other_end) = tokio::io::duplex(4096);
        let connection = tokio::spawn(served(other_end));
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        (client, connection)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_stops_reading_is_cut_off() {
        for path in ["/page", "/events"] {
            let began = Instant::now();
            let (client, served) = asked(path).await;
            let ended = timeout(STALLED * 2, served).await;
            ended.unwrap_or_else(|_| panic!("{path} waits for ever")).unwrap();
            assert!(began.elapsed() >= STALLED, "{path}");
            drop(client);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_client_gets_everything() {
        let (mut client, served) = asked("/page").await;
        let (mut read, mut buffer) = (0, [0; 4096]);
        loop {
            sleep(STALLED / 2).await;
            match client.read(&mut buffer).await.unwrap() {
                0 => break,
                n => read += n,
            }
        }
        assert!(read > PAGE, "{read}");
        served.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_finishes_its_request_is_cut_off() {
        let (mut client, other_end) = tokio::io::duplex(4096);
        let connection = tokio::spawn(served(other_end));
        client.write_all(b"GET /page HTTP/1.1\r\nhost: localh").await.unwrap();
        let dripping = tokio::spawn(async move {
            while client.write_all(b"x").await.is_ok() {
                sleep(HEAD / 10).await;
            }
        });
        let began = Instant::now();
        timeout(HEAD * 2, connection).await.expect("a slow head is not waited for").unwrap();
        assert!(began.elapsed() >= HEAD);
        dripping.await.unwrap();
    }

    #[tokio::test]
    async fn beyond_the_cap_connections_wait_their_turn() {
        let answered = Arc::new(AtomicUsize::new(0));
        let count = answered.clone();
        let router =
            Router::new().route("/", get(move || async move { count.fetch_add(1, Ordering::SeqCst).to_string() }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(run_limited(listener, router, CancellationToken::new(), 1));
        let (mut first, mut second) =
            (TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap());
        let (request, mut buffer) = (b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n", [0; 1024]);
        first.write_all(request).await.unwrap();
        assert!(first.read(&mut buffer).await.unwrap() > 0);
        second.write_all(request).await.unwrap();
        first.write_all(request).await.unwrap();
        assert!(first.read(&mut buffer).await.unwrap() > 0);
        assert_eq!(answered.load(Ordering::SeqCst), 2, "the second connection has to wait");
        drop(first);
        assert!(second.read(&mut buffer).await.unwrap() > 0);
        assert_eq!(answered.load(Ordering::SeqCst), 3);
        server.abort();
    }
}
