//! What the daemon spends on `/api/v1/route` while applications ask before each of their calls:
//! 5,000 requests a second over kept connections, against the real daemon.
//!
//! `cargo bench --bench route [-- REQUESTS_PER_SECOND]`. The clients run in this process; the
//! daemon's processor time is its own, less what it spends when nobody asks. The promise is 50 µs a
//! request.

mod support;

use std::process::Stdio;
use std::time::{Duration, Instant};

use llmwatch_simulator::{Scenario, Simulator};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use support::{Process, free_address, openai_endpoints, quantile};

const CONNECTIONS: u64 = 20;
const WARM_UP: Duration = Duration::from_secs(5);
const MEASURED: Duration = Duration::from_secs(20);
const PROMISE_US: f64 = 50.0;

fn main() {
    let rate = std::env::args()
        .find_map(|a| a.parse().ok())
        .unwrap_or(5000);
    tokio::runtime::Runtime::new()
        .expect("a runtime")
        .block_on(run(rate));
}

async fn run(rate: u64) {
    let directory = tempfile::tempdir().expect("a directory");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let simulator = Simulator::start(listener, Scenario::healthy()).expect("a simulator");
    let page = free_address().await;
    let config = directory.path().join("monitor.toml");
    let text = format!(
        "[monitor]\nlocation = \"fra1\"\nstate_dir = \"{}\"\nlisten = \"{page}\"\n\
         [defaults]\ninterval = \"10s\"\ngroup = \"chat\"\n{}",
        directory.path().display(),
        openai_endpoints(3, simulator.addr())
    );
    std::fs::write(&config, text).expect("room");
    let daemon = Process::daemon(&config, Stdio::null());
    tokio::time::sleep(WARM_UP).await;
    let (began, cpu) = (Instant::now(), daemon.cpu_s());
    tokio::time::sleep(MEASURED / 2).await;
    let idle = (daemon.cpu_s() - cpu) / began.elapsed().as_secs_f64();

    let (began, cpu) = (Instant::now(), daemon.cpu_s());
    let mut clients = JoinSet::new();
    for n in 0..CONNECTIONS {
        let share = rate / CONNECTIONS;
        clients.spawn(client(page.to_string(), share, began, n));
    }
    let mut times: Vec<f64> = Vec::new();
    while let Some(done) = clients.join_next().await {
        times.extend(done.expect("a client that was answered"));
    }
    let seconds = began.elapsed().as_secs_f64();
    let used = daemon.cpu_s() - cpu - idle * seconds;
    times.sort_by(f64::total_cmp);
    let us = used * 1e6 / times.len() as f64;
    println!(
        "{:.0} requests/s over {CONNECTIONS} connections: {us:.1} µs of CPU a request (promise {PROMISE_US}, {:.0} % used); \
         answered within {:.2} / {:.2} ms (median, 99 %); idle {:.2} % of a core",
        times.len() as f64 / seconds,
        us / PROMISE_US * 100.0,
        quantile(&times, 0.5),
        quantile(&times, 0.99),
        idle * 100.0
    );
}

/// Asks `rate` times a second on one connection; gives how long each answer took, in milliseconds.
async fn client(page: String, rate: u64, began: Instant, place: u64) -> Vec<f64> {
    let mut stream = TcpStream::connect(&page).await.expect("the daemon");
    stream.set_nodelay(true).expect("a socket");
    let request = format!("GET /api/v1/route?group=chat HTTP/1.1\r\nhost: {page}\r\n\r\n");
    let step = Duration::from_secs(1) / u32::try_from(rate.max(1)).unwrap_or(u32::MAX);
    let mut times = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    let mut due = began + step * u32::try_from(place).unwrap_or(0) / 20;
    while began.elapsed() < MEASURED {
        tokio::time::sleep_until(due.into()).await;
        due += step;
        let asked = Instant::now();
        stream
            .write_all(request.as_bytes())
            .await
            .expect("a request");
        read_answer(&mut stream, &mut buffer).await;
        times.push(asked.elapsed().as_secs_f64() * 1000.0);
    }
    times
}

/// Reads one answer of a given length.
async fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) {
    let mut filled = 0;
    loop {
        let n = stream.read(&mut buffer[filled..]).await.expect("an answer");
        assert!(n > 0, "the daemon has closed the connection");
        filled += n;
        let text = String::from_utf8_lossy(&buffer[..filled]);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let length = head
            .lines()
            .find_map(|l| l.strip_prefix("content-length: "))
            .and_then(|l| l.parse::<usize>().ok())
            .expect("a length");
        if body.len() >= length {
            return;
        }
    }
}
