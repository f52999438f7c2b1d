//! How soon a killed daemon probes again: when the first probe begins, when its result is recorded,
//! and when every endpoint was probed, after `kill -9`, with the checkpoint and without it, on a
//! store with history. Good results are recorded before the history is read.
//!
//! `cargo bench --bench restart [-- ENDPOINTS [DAYS [INTERVAL_S]]]`: 200 endpoints with 30 days of
//! a probe every two minutes unless it says otherwise; 0 days for a store that the daemon has just
//! made. Making the history takes a minute.

mod support;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use llmwatch::clock;
use llmwatch_core::model::Timestamp;

use self::support::floor::{Work, set_up};
use self::support::{Process, history};

const ROUNDS: usize = 5;
/// The daemon runs for so long before it is killed: at least one checkpoint is written.
const RUNS_FOR: Duration = Duration::from_secs(65);
const AT_MOST: Duration = Duration::from_mins(1);

fn main() {
    let mut numbers = std::env::args().filter_map(|a| a.parse::<usize>().ok());
    let count = numbers.next().unwrap_or(200);
    let days = numbers.next().unwrap_or(30);
    let interval = numbers.next().unwrap_or(10);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(run(count, days, Duration::from_secs(interval as u64)));
}

async fn run(count: usize, days: usize, interval: Duration) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("llmwatch.db");
    let began = Instant::now();
    history::samples(&file, count, days as i64, 0);
    let mib = std::fs::metadata(&file).map_or(0, |m| m.len()) >> 20;
    println!(
        "{count} endpoints each {} s, {days} days of history: {mib} MiB, made in {:.0} s",
        interval.as_secs(),
        began.elapsed().as_secs_f64()
    );
    let (_, config) = set_up(directory.path(), Work::Kept, count, interval, "all").await;
    let log = std::fs::File::create(directory.path().join("log")).expect("room");
    let daemon = Process::daemon(&config, Stdio::from(log));
    tokio::time::sleep(RUNS_FOR).await;
    drop(daemon);
    for what in ["with the checkpoint", "without a checkpoint"] {
        let mut rounds: [Vec<f64>; 3] = Default::default();
        for _ in 0..ROUNDS {
            if what.starts_with("without") {
                let store = rusqlite::Connection::open(&file).expect("a store");
                store.execute("DELETE FROM checkpoint", []).expect("room");
            }
            for (all, one) in rounds.iter_mut().zip(restart(&config, count)) {
                all.push(one);
            }
        }
        let [first, recorded, all] = rounds.map(|mut seconds| {
            seconds.sort_by(f64::total_cmp);
            format!(
                "{:.2} s (least {:.2}, most {:.2})",
                seconds[ROUNDS / 2],
                seconds[0],
                seconds[ROUNDS - 1]
            )
        });
        println!(
            "{what}: first probe begun after {first}, recorded after {recorded}, every endpoint after {all}"
        );
    }
}

/// Starts on what the killed daemon left, and kills it: seconds until the first probe began, until
/// one was recorded, and until every endpoint was probed.
fn restart(config: &Path, count: usize) -> [f64; 3] {
    let (began, launched_at) = (Instant::now(), clock::now());
    let mut daemon = Process::daemon(config, Stdio::piped());
    let log = BufReader::new(daemon.0.stderr.take().expect("a log"));
    let mut seen = BTreeSet::new();
    let (mut earliest, mut first) = (f64::INFINITY, f64::NAN);
    for line in log.lines().map_while(Result::ok) {
        if !line.contains("\"event\":\"probe.completed\"") {
            continue;
        }
        if seen.is_empty() {
            first = began.elapsed().as_secs_f64();
        }
        let line: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        if let Some(at) = line["started_at"]
            .as_str()
            .and_then(|at| Timestamp::parse(at).ok())
        {
            earliest = earliest.min(at.since_ms(launched_at) as f64 / 1000.0);
        }
        seen.insert(line["endpoint"].as_str().unwrap_or_default().to_owned());
        if seen.len() == count || began.elapsed() > AT_MOST {
            break;
        }
    }
    [earliest, first, began.elapsed().as_secs_f64()]
}
