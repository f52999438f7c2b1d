//! What a probe costs beside a bare client that does only the same requests (the floor), at the
//! same time on the same machine: processor time, memory, bytes written, bytes kept.
//!
//! `cargo bench --bench cost [-- [ENDPOINTS [SECONDS [INTERVAL_S]]] [WORK…] [all]]`: 1,000
//! endpoints every 10 s, measured for 40 s unless it says otherwise. WORK is `kept`, `fresh`,
//! `https` or `streamed`; all four by default. `all` logs every sample, otherwise only failures are
//! logged. The server is in this process and not counted; daemon and floor are processes of their
//! own that run side by side, so other work on the machine slows both alike.

mod support;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use self::support::Process;
use self::support::floor::{Work, be_floor, set_up, start_floor};

/// Every endpoint has been probed twice after so many intervals, and what is done once is done.
const WARM_UP: f64 = 2.2;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        be_floor(&arguments).await;
        run(&arguments).await;
    });
}

async fn run(arguments: &[String]) {
    let mut numbers = arguments.iter().filter_map(|a| a.parse().ok());
    let count: usize = numbers.next().unwrap_or(1000);
    let measured = Duration::from_secs(numbers.next().unwrap_or(40) as u64);
    let interval = Duration::from_secs(numbers.next().unwrap_or(10) as u64);
    let log = if arguments.iter().any(|a| a == "all") {
        "all"
    } else {
        "failures"
    };
    let mut works: Vec<Work> = arguments.iter().filter_map(|a| Work::parse(a)).collect();
    if works.is_empty() {
        works.extend(Work::ALL);
    }
    println!(
        "{count} endpoints, each every {} s, [log] samples = \"{log}\"",
        interval.as_secs()
    );
    println!(
        "{:10} {:>8} {:>12} {:>9} {:>9} {:>12} {:>14}",
        "", "x floor", "ms a probe", "peak MiB", "floor MiB", "kB a probe", "bytes a sample"
    );
    for work in works {
        measure(work, count, interval, measured, log).await;
    }
}

async fn measure(work: Work, count: usize, interval: Duration, measured: Duration, log: &str) {
    let directory = tempfile::tempdir().expect("a directory");
    let (server, config) = set_up(directory.path(), work, count, interval, log).await;
    let floor = start_floor(&server, work, count, interval);
    // What is logged has to go somewhere: a file, as under a service manager.
    let log = std::fs::File::create(directory.path().join("log")).expect("room");
    let daemon = Process::daemon(&config, Stdio::from(log));
    tokio::time::sleep(interval.mul_f64(WARM_UP)).await;
    let recorded = samples(directory.path());
    let read = |process: &Process| (process.cpu_s(), process.written());
    let (bare, ours) = (read(&floor), read(&daemon));
    tokio::time::sleep(measured).await;
    let bare_s = floor.cpu_s() - bare.0;
    let (used, written) = (daemon.cpu_s() - ours.0, daemon.written() - ours.1);
    let probes = (samples(directory.path()) - recorded) as f64;
    println!(
        "{:10} {:>8.1} {:>12.3} {:>9} {:>9} {:>12.2} {:>14}",
        work.as_str(),
        used / bare_s,
        used / probes * 1000.0,
        daemon.peak_mib(),
        floor.peak_mib(),
        written as f64 / probes / 1000.0,
        bytes_a_sample(directory.path())
    );
}

fn open(directory: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(directory.join("llmwatch.db")).expect("a store")
}

fn samples(directory: &Path) -> i64 {
    let count = "SELECT count(*) FROM sample WHERE outcome < 2";
    let samples = open(directory).query_row(count, [], |r| r.get(0));
    samples.expect("samples")
}

/// The tables of samples with their indices, for each sample.
fn bytes_a_sample(directory: &Path) -> i64 {
    let reader = open(directory);
    let bytes = reader.query_row(
        "SELECT sum(pgsize) FROM dbstat WHERE name IN ('sample', 'series_block', 'block')",
        [],
        |r| r.get(0),
    );
    // Without the virtual table the size of the file has to do.
    let file = std::fs::metadata(directory.join("llmwatch.db")).map_or(0, |m| m.len() as i64);
    bytes.unwrap_or(file) / samples(directory).max(1)
}
