//! Whether the daemon stays as it is: 500 probes a second for half an hour, memory, processor time,
//! files and lateness minute by minute.
//!
//! `just soak`, or `cargo bench --bench soak [-- MINUTES]`. Memory after the first minutes must
//! stay flat. The server runs in this process.

mod support;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use llmwatch::clock;
use llmwatch::store::{SampleQuery, Store, StoreError};
use llmwatch_core::model::Timestamp;

use self::support::Process;
use self::support::floor::{Work, be_floor, set_up, start_floor};

const ENDPOINTS: usize = 500;
const INTERVAL: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        be_floor(&arguments).await;
        let minutes = arguments.iter().find_map(|a| a.parse().ok()).unwrap_or(30);
        run(minutes).await;
    });
}

async fn run(minutes: u32) {
    let directory = tempfile::tempdir().expect("a directory");
    let (server, config) = set_up(
        directory.path(),
        Work::Kept,
        ENDPOINTS,
        INTERVAL,
        "failures",
    )
    .await;
    let floor = start_floor(&server, Work::Kept, ENDPOINTS, INTERVAL);
    let daemon = Process::daemon(&config, Stdio::null());
    println!("{ENDPOINTS} probes a second for {minutes} minutes, http on kept connections");
    println!(
        "{:>6} {:>9} {:>9} {:>8} {:>12} {:>9} {:>8} {:>9} {:>22}",
        "minute",
        "probes",
        "x floor",
        "ms each",
        "RSS MiB",
        "peak MiB",
        "open",
        "file MiB",
        "late ms, p50/p99/most"
    );
    for minute in 1..=minutes {
        let (from, cpu, bare) = (clock::now(), daemon.cpu_s(), floor.cpu_s());
        tokio::time::sleep(MINUTE).await;
        let (used, bare) = (daemon.cpu_s() - cpu, floor.cpu_s() - bare);
        let lag = lateness(directory.path(), from);
        let at = |share: f64| lag[((lag.len() - 1) as f64 * share) as usize];
        let open =
            std::fs::read_dir(format!("/proc/{}/fd", daemon.0.id())).map_or(0, Iterator::count);
        println!(
            "{minute:>6} {:>9} {:>9.1} {:>8.3} {:>12} {:>9} {open:>8} {:>9} {:>10.1}/{:.1}/{:.1}",
            lag.len(),
            used / bare,
            used / lag.len() as f64 * 1000.0,
            daemon.resident_mib(),
            daemon.peak_mib(),
            files_mib(directory.path()),
            at(0.5),
            at(0.99),
            at(1.0)
        );
    }
}

/// How late the probes since `from` began, in order.
fn lateness(directory: &Path, from: Timestamp) -> Vec<f64> {
    let store = Store::open_read_only(&directory.join("llmwatch.db")).expect("a store");
    let query = SampleQuery {
        since: Some(from),
        ..SampleQuery::default()
    };
    let mut lag = Vec::new();
    let each = store.each_sample(query, |_, sample| {
        lag.push(sample.schedule_lag_ms);
        Ok::<_, StoreError>(())
    });
    each.expect("samples");
    lag.sort_by(f64::total_cmp);
    lag
}

/// The database and its log.
fn files_mib(directory: &Path) -> u64 {
    let size = |name: &str| std::fs::metadata(directory.join(name)).map_or(0, |m| m.len());
    (size("llmwatch.db") + size("llmwatch.db-wal")) >> 20
}
