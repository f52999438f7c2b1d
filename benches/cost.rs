//! What a probe costs beside a bare client that does only the same requests (the floor), in the same run: processor time,
//! memory, bytes written; then how long a restart after `kill -9` takes.
//!
//! `cargo bench --bench cost [-- ENDPOINTS [SECONDS]]`. The server is in this process; daemon and floor are processes of
//! their own, one after the other, so a machine that is busy with other work slows both.

mod support;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use support::Process;

const INTERVAL: Duration = Duration::from_secs(10);
const WARM_UP: Duration = Duration::from_secs(15);
/// Makes this program the floor: the address, how many endpoints, and whether connections are kept.
const FLOOR: &str = "--floor";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if let Some(at) = arguments.iter().position(|a| a == FLOOR) {
        let count = arguments[at + 2].parse().expect("a number");
        runtime.block_on(floor(
            &arguments[at + 1],
            count,
            arguments[at + 3] == "reuse",
        ));
        return;
    }
    let mut numbers = arguments.iter().filter_map(|a| a.parse().ok());
    let count = numbers.next().unwrap_or(1000);
    let seconds = numbers.next().unwrap_or(40);
    runtime.block_on(run(count, Duration::from_secs(seconds as u64)));
}

async fn run(count: usize, measured: Duration) {
    let address = serve().await;
    println!("{count} endpoints, each every 10 s, http, samples logged when they failed");
    println!(
        "{:24} {:>8} {:>12} {:>9} {:>9} {:>12} {:>14}",
        "", "x floor", "ms a probe", "peak MiB", "floor MiB", "kB a probe", "bytes a sample"
    );
    for connection in ["reuse", "fresh"] {
        let floor = start_floor(&address, count, connection);
        let bare = measure(&floor, measured).await;
        drop(floor);
        let directory = tempfile::tempdir().expect("a directory");
        let config = configure(directory.path(), &address, count, connection);
        let daemon = Process::daemon(&config, Stdio::null());
        let ours = measure(&daemon, measured).await;
        let probes = count as f64 * measured.as_secs_f64() / INTERVAL.as_secs_f64();
        println!(
            "{:24} {:>8.1} {:>12.3} {:>9} {:>9} {:>12.2} {:>14}",
            format!("connection = \"{connection}\""),
            ours.cpu_s / bare.cpu_s,
            ours.cpu_s / probes * 1000.0,
            ours.peak_mib,
            bare.peak_mib,
            ours.written as f64 / probes / 1000.0,
            bytes_a_sample(directory.path())
        );
        drop(daemon);
        restart(&config, count);
    }
}

/// Answers everything with the same few bytes.
async fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let answer = |_: Request<Incoming>| async {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"pong\n"))))
    };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let connection = hyper::server::conn::http1::Builder::new();
            let connection = connection.serve_connection(TokioIo::new(stream), service_fn(answer));
            tokio::spawn(connection);
        }
    });
    address
}

/// Does the requests and nothing else.
async fn floor(address: &str, count: usize, keep: bool) {
    for n in 0..count {
        let address = address.to_owned();
        tokio::spawn(async move {
            tokio::time::sleep(INTERVAL.mul_f64(n as f64 / count as f64)).await;
            let mut ticks = tokio::time::interval(INTERVAL);
            let mut kept = None;
            loop {
                ticks.tick().await;
                let mut sender = match kept.take() {
                    Some(sender) => sender,
                    None => connect(&address).await,
                };
                let request = Request::get("/")
                    .header("host", &address)
                    .body(Full::<Bytes>::default())
                    .expect("a request");
                let answer = sender.send_request(request).await.expect("an answer");
                answer.into_body().collect().await.expect("a body");
                kept = keep.then_some(sender);
            }
        });
    }
    std::future::pending::<()>().await;
}

async fn connect(address: &str) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.expect("a connection");
    let (sender, connection) = handshake(TokioIo::new(stream)).await.expect("a handshake");
    tokio::spawn(connection);
    sender
}

fn start_floor(address: &str, count: usize, connection: &str) -> Process {
    let program = std::env::current_exe().expect("this program");
    let floor = Command::new(program)
        .args([FLOOR, address, &count.to_string(), connection])
        .spawn();
    Process(floor.expect("the floor"))
}

fn configure(
    directory: &Path,
    address: &str,
    count: usize,
    connection: &str,
) -> std::path::PathBuf {
    let mut text = format!(
        "[monitor]\nlocation = \"fra1\"\nstate_dir = \"{}\"\nlisten = \"127.0.0.1:0\"\n\
         max_concurrent_probes = 1000\n[log]\nsamples = \"failures\"\n\
         [defaults]\ninterval = \"10s\"\nconnection = \"{connection}\"\n",
        directory.display()
    );
    for n in 0..count {
        text += &format!(
            "[[endpoint]]\nname = \"e{n}\"\nprovider = \"http\"\nbase_url = \"http://{address}\"\n"
        );
    }
    let path = directory.join("monitor.toml");
    std::fs::write(&path, text).expect("room");
    path
}

struct Cost {
    cpu_s: f64,
    peak_mib: u64,
    written: u64,
}

async fn measure(process: &Process, measured: Duration) -> Cost {
    tokio::time::sleep(WARM_UP).await;
    let (cpu, written) = (process.cpu_s(), process.proc_number("io", "write_bytes:"));
    tokio::time::sleep(measured).await;
    Cost {
        cpu_s: process.cpu_s() - cpu,
        peak_mib: process.proc_number("status", "VmHWM:") / 1024,
        written: process.proc_number("io", "write_bytes:") - written,
    }
}

/// The file with everything in it, for each sample.
fn bytes_a_sample(directory: &Path) -> u64 {
    let path = directory.join("llmwatch.db");
    let reader = rusqlite::Connection::open(&path).expect("a store");
    let samples: i64 = reader
        .query_row("SELECT count(*) FROM sample", [], |r| r.get(0))
        .expect("samples");
    let of_samples: i64 = reader
        .query_row(
            "SELECT sum(pgsize) FROM dbstat WHERE name IN ('sample', 'series_block', 'block')",
            [],
            |r| r.get(0),
        )
        .unwrap_or_else(|_| std::fs::metadata(&path).map_or(0, |m| m.len() as i64));
    (of_samples / samples.max(1)).unsigned_abs()
}

/// Starts on what the killed daemon left: when the first probe has ended, and when every endpoint was probed.
fn restart(config: &Path, count: usize) {
    let began = Instant::now();
    let text = std::fs::read_to_string(config).expect("a configuration");
    std::fs::write(config, text.replace("\"failures\"", "\"all\"")).expect("room");
    let mut daemon = Process::daemon(config, Stdio::piped());
    let log = BufReader::new(daemon.0.stderr.take().expect("a log"));
    let mut seen = BTreeSet::new();
    let mut first = None;
    for line in log.lines().map_while(Result::ok) {
        if !line.contains("\"event\":\"probe.completed\"") {
            continue;
        }
        let line: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        let started_at = line["started_at"].as_str().unwrap_or_default().to_owned();
        first.get_or_insert((began.elapsed(), started_at));
        seen.insert(line["endpoint"].as_str().unwrap_or_default().to_owned());
        if seen.len() == count || began.elapsed() > Duration::from_mins(1) {
            break;
        }
    }
    let first = first.map_or(f64::NAN, |(after, _)| after.as_secs_f64());
    println!(
        "  restart after kill -9: first probe recorded after {first:.2} s, {} of {count} endpoints after {:.1} s",
        seen.len(),
        began.elapsed().as_secs_f64()
    );
}
