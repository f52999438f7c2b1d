//! Tests of the module `serve`.

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

const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);
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

/// Sends a request for `path`; returns the client and the connection's task.
async fn asked(path: &str) -> (DuplexStream, JoinHandle<()>) {
    let (mut client, other_end) = tokio::io::duplex(4096);
    let connection = tokio::spawn(served(other_end));
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    (client, connection)
}

/// Reads that many bytes once a second until the connection ends. Returns the total.
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

/// Runs `visits` against a server with `limit` connections; it gets a function that connects from
/// an address. No time passes meanwhile, because the paused clock waits for blocking tasks.
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

/// Reports whether the server has closed the connection; waits for it.
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
        // All but the last few were evicted.
        assert!(crowd[..36].iter_mut().all(is_closed));
        assert!(is_answered(&mut visit));
        assert!(is_answered(&mut crowd[39]));
        assert!(is_answered(&mut visitor("127.0.0.4")));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn one_address_cannot_use_up_all_connections() {
    at_a_standstill(2, |visitor| {
        let mut busy = [visitor("127.0.0.3"), visitor("127.0.0.3")];
        assert!(busy.iter_mut().all(is_answered));
        let mut more = visitor("127.0.0.3");
        assert!(is_answered(&mut visitor("127.0.0.2")));
        assert!(is_closed(&mut more));
    })
    .await;
}
