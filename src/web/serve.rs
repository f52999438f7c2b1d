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
use super::middleware::LocalUser;

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
mod tests {
    use std::convert::Infallible;
    use std::io::{ErrorKind, Read as _, Write as _};
    use std::net::TcpStream;

    use axum::body::Body;
    use axum::response::sse::{Event, Sse};
    use axum::routing::get;
    use futures_util::stream;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
    use tokio::net::TcpSocket;
    use tokio::runtime::Handle;
    use tokio::task::JoinHandle;
    use tokio::time::{sleep, timeout};

    use super::min_throughput::{MIN_RATE, PATIENCE};
    use super::*;

    const PEER: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);
    const PAGE: usize = 200_000;

    fn router() -> Router {
        let endless = || async {
            Sse::new(stream::repeat(Ok::<_, Infallible>(
                Event::default().data("x".repeat(1000)),
            )))
        };
        Router::new()
            .route("/page", get(|| async { Body::from("x".repeat(PAGE)) }))
            .route("/events", get(endless))
    }

    async fn served(stream: DuplexStream) {
        let graceful = GracefulShutdown::new();
        let permit = ConnectionLimit::new(1).take(PEER.ip()).await.unwrap();
        serve(stream, PEER, router(), graceful.watcher(), permit).await;
    }

    /// A client that has asked for `path`, and the connection.
    async fn asked(path: &str) -> (DuplexStream, JoinHandle<()>) {
        let (mut client, other_end) = tokio::io::duplex(4096);
        let connection = tokio::spawn(served(other_end));
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        (client, connection)
    }

    /// Reads so many bytes once a second until the connection ends; gives how many it got in all.
    async fn sip(mut client: DuplexStream, bytes: usize) -> usize {
        let (mut read, mut buffer) = (0, vec![0; bytes]);
        loop {
            sleep(Duration::from_secs(1)).await;
            match client.read(&mut buffer).await {
                Ok(0) | Err(_) => return read,
                Ok(n) => read += n,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_stops_reading_is_cut_off() {
        for path in ["/page", "/events"] {
            let began = Instant::now();
            let (client, served) = asked(path).await;
            let ended = timeout(PATIENCE * 2, served).await;
            ended
                .unwrap_or_else(|_| panic!("{path} waits for ever"))
                .unwrap();
            assert!(began.elapsed() >= PATIENCE, "{path}");
            drop(client);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_next_to_nothing_is_cut_off() {
        for path in ["/page", "/events"] {
            let (client, served) = asked(path).await;
            let sipping = tokio::spawn(sip(client, 64));
            timeout(PATIENCE * 2, served)
                .await
                .unwrap_or_else(|_| panic!("{path} waits for ever"))
                .unwrap();
            assert!(sipping.await.unwrap() < PAGE);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_client_gets_everything() {
        let (client, served) = asked("/page").await;
        let began = Instant::now();
        let read = sip(client, MIN_RATE as usize * 5 / 4).await;
        assert!(read > PAGE && began.elapsed() > PATIENCE, "{read}");
        served.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_finishes_its_request_is_cut_off() {
        let (mut client, other_end) = tokio::io::duplex(4096);
        let connection = tokio::spawn(served(other_end));
        client
            .write_all(b"GET /page HTTP/1.1\r\nhost: localh")
            .await
            .unwrap();
        let dripping = tokio::spawn(async move {
            while client.write_all(b"x").await.is_ok() {
                sleep(HEAD / 10).await;
            }
        });
        let began = Instant::now();
        timeout(HEAD * 2, connection)
            .await
            .expect("a slow head is not waited for")
            .unwrap();
        assert!(began.elapsed() >= HEAD);
        dripping.await.unwrap();
    }

    /// What visitors see who come to `limit` limit: `visits` gets a way to connect from an address. No time passes
    /// meanwhile, since the clock waits for what blocks.
    async fn at_a_standstill(
        limit: usize,
        visits: impl FnOnce(&dyn Fn(&str) -> TcpStream) + Send + 'static,
    ) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(|| async { "here" }));
        let server = tokio::spawn(run_limited(
            listener,
            router,
            CancellationToken::new(),
            limit,
        ));
        let here = Handle::current();
        let visitor = move |from: &str| {
            let socket = TcpSocket::new_v4().unwrap();
            socket
                .bind(SocketAddr::new(from.parse().unwrap(), 0))
                .unwrap();
            let stream = here
                .block_on(socket.connect(address))
                .unwrap()
                .into_std()
                .unwrap();
            stream.set_nonblocking(false).unwrap();
            stream
                .set_read_timeout(Some(Duration::from_mins(2)))
                .unwrap();
            stream
        };
        tokio::task::spawn_blocking(move || visits(&visitor))
            .await
            .unwrap();
        server.abort();
    }

    fn is_answered(stream: &mut TcpStream) -> bool {
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .unwrap();
        let (mut answer, mut part) = (Vec::new(), [0; 512]);
        while !answer.ends_with(b"here") {
            match stream.read(&mut part) {
                Ok(0) | Err(_) => return false,
                Ok(n) => answer.extend_from_slice(&part[..n]),
            }
        }
        true
    }

    /// Whether the other side has closed the connection, or does.
    fn is_closed(stream: &mut TcpStream) -> bool {
        match stream.read(&mut [0; 8]) {
            Ok(n) => n == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_from_one_address_does_not_shut_out_another() {
        at_a_standstill(4, |visitor| {
            let mut visit = visitor("127.0.0.2");
            let mut crowd: Vec<_> = (0..40).map(|_| visitor("127.0.0.3")).collect();
            // All but the last few had to go.
            assert!(crowd[..36].iter_mut().all(is_closed));
            assert!(is_answered(&mut visit));
            assert!(is_answered(&mut crowd[39]));
            assert!(is_answered(&mut visitor("127.0.0.4")));
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_keeps_every_seat_busy_and_wants_more_does_not_shut_out_another() {
        at_a_standstill(2, |visitor| {
            let mut busy = [visitor("127.0.0.3"), visitor("127.0.0.3")];
            assert!(busy.iter_mut().all(is_answered));
            let mut more = visitor("127.0.0.3");
            assert!(is_answered(&mut visitor("127.0.0.2")));
            assert!(is_closed(&mut more));
        })
        .await;
    }
}
