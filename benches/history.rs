//! What a long history costs: the commands that read it, and the pages of a daemon that has just
//! started on it.
//!
//! `cargo bench --bench history [-- [ENDPOINTS [DAYS]]]`: 200 endpoints with samples of 30 days and
//! rollups of 90 unless it says otherwise. Making the store takes a minute or two. The floor is one
//! pass over all samples with the same library, in processor time; the times of the pages are from
//! the request to the last byte.

mod support;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use self::support::floor::{Work, set_up};
use self::support::{Process, history, quantile};

/// Rollups are kept for so long.
const ROLLUP_DAYS: i64 = 90;
/// More endpoints than this have rollups of hours for one day only, so that the store is made in
/// time.
const FEW: usize = 1000;
/// No probe disturbs the measurement.
const INTERVAL: Duration = Duration::from_hours(1);
const ROUNDS: usize = 20;
/// One probe in so many failed.
const FAILING: u32 = 500;
/// The daemon has read ahead what the front page shows.
const SETTLED_AFTER: Duration = Duration::from_secs(10);

fn main() {
    let mut numbers = std::env::args().filter_map(|a| a.parse::<usize>().ok());
    let count = numbers.next().unwrap_or(200);
    let days = numbers.next().unwrap_or(30) as i64;
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(run(count, days));
}

async fn run(count: usize, days: i64) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("llmwatch.db");
    let began = Instant::now();
    let earlier = ROLLUP_DAYS - days;
    let hours = if count > FEW { 24 } else { earlier * 24 };
    history::rollups(&file, count, earlier, days, hours);
    history::samples(&file, count, days, FAILING);
    let mib = std::fs::metadata(&file).map_or(0, |m| m.len()) >> 20;
    println!(
        "{count} endpoints, samples of {days} days, rollups of {ROLLUP_DAYS}: {mib} MiB, made in {:.0} s",
        began.elapsed().as_secs_f64()
    );
    let (_, config) = set_up(directory.path(), Work::Kept, count, INTERVAL, "failures").await;
    if days > 0 {
        commands(&config, &file);
    }
    pages(&config).await;
}

fn commands(config: &Path, file: &Path) {
    let floor_s = one_pass(file);
    println!("floor: one pass over all samples takes {floor_s:.2} s of processor time\n");
    println!(
        "{:24} {:>8} {:>8} {:>9} {:>9}",
        "", "s", "cpu s", "x floor", "peak MiB"
    );
    for command in [
        "export --since 1h",
        "export --since 1d",
        "report --since 30d",
        "report --since 90d",
        "backtest --since 1d",
        "backtest --since 30d",
    ] {
        let mut program = Command::new(env!("CARGO_BIN_EXE_llmwatch"));
        program
            .arg("-c")
            .arg(config)
            .args(command.split(' '))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let began = Instant::now();
        let (cpu_s, peak_mib) = Process::run_to_end(program);
        println!(
            "{command:24} {:8.2} {cpu_s:8.2} {:9.2} {peak_mib:9}",
            began.elapsed().as_secs_f64(),
            cpu_s / floor_s
        );
    }
}

/// Reads one column of each sample: processor time in seconds.
fn one_pass(file: &Path) -> f64 {
    let cpu_s = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    };
    let store = rusqlite::Connection::open(file).expect("a store");
    let began_s = cpu_s();
    let sum: i64 = store
        .query_row("SELECT sum(total_us) FROM sample", [], |r| r.get(0))
        .expect("samples");
    std::hint::black_box(sum);
    cpu_s() - began_s
}

async fn pages(config: &Path) {
    let mut daemon = Process::daemon(config, Stdio::piped());
    let mut log = BufReader::new(daemon.0.stderr.take().expect("a log")).lines();
    let listening = log
        .by_ref()
        .map_while(Result::ok)
        .find(|line| line.contains("\"event\":\"web.listening\""));
    let listening: serde_json::Value =
        serde_json::from_str(&listening.expect("a page")).expect("a record");
    let address = listening["address"].as_str().expect("an address");
    // The daemon must never wait for a reader of its log.
    std::thread::spawn(move || log.map_while(Result::ok).for_each(drop));
    tokio::time::sleep(SETTLED_AFTER).await;
    let idle_mib = daemon.resident_mib();
    // Plain HTTP, but the client wants to know.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build();
    let client = client.expect("a client");
    println!(
        "\n{:44} {:>9} {:>9} {:>9}",
        "", "first ms", "p50 ms", "bytes"
    );
    for path in [
        "/",
        "/?q=e",
        "/endpoints/e7?range=1h",
        "/endpoints/e7?range=24h",
        "/endpoints/e7?range=90d",
        "/api/v1/endpoints/e7/samples",
        "/api/v1/endpoints/e7/samples?outcome=failed",
        "/api/v1/status",
        "/metrics",
    ] {
        let mut times = Vec::with_capacity(ROUNDS);
        let mut bytes = 0;
        for _ in 0..ROUNDS {
            let began = Instant::now();
            let answer = client.get(format!("http://{address}{path}")).send();
            let answer = answer.await.expect("an answer");
            assert!(answer.status().is_success(), "{path}: {}", answer.status());
            bytes = answer.bytes().await.expect("a body").len();
            times.push(began.elapsed().as_secs_f64() * 1000.0);
        }
        let first = times[0];
        times.sort_by(f64::total_cmp);
        println!(
            "{path:44} {first:9.1} {:9.1} {bytes:9}",
            quantile(&times, 0.5)
        );
    }
    println!(
        "memory: {idle_mib} MiB before the first look, {} MiB at most",
        daemon.peak_mib()
    );
}
