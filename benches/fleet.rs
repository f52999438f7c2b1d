//! A large fleet in the real daemon against the simulator: processor time per probe, memory, and
//! how true the schedule stays, first left alone, then while people look and clients stall.
//!
//! `cargo bench --bench fleet [-- ENDPOINTS]`. The simulator runs in this process and takes its
//! share of the machine; the daemon's processor time is its own.

mod support;

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use llmwatch::clock;
use llmwatch::store::{SampleQuery, Store, StoreError};
use llmwatch_core::model::Timestamp;
use llmwatch_simulator::{Scenario, Simulator};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use support::{Process, free_address, openai_endpoints, quantile};

const WARM_UP: Duration = Duration::from_secs(15);
const MEASURED: Duration = Duration::from_secs(40);
const INTERVAL_S: usize = 10;
const SCENARIO: &str = "[healthy]\nheaders_after = \"10ms\"\nfirst_token_after = \"30ms\"\ntoken_gap = \"5ms\"\ntokens = 3\n";

fn main() {
    // Plain HTTP, but the client wants to know.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let count = std::env::args()
        .find_map(|a| a.parse().ok())
        .unwrap_or(1000);
    tokio::runtime::Runtime::new()
        .expect("a runtime")
        .block_on(run(count));
}

async fn run(count: usize) {
    let directory = tempfile::tempdir().expect("a directory");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let simulator = Simulator::start(listener, Scenario::parse(SCENARIO).expect("a scenario"))
        .expect("a simulator");
    let page = free_address().await;
    for connection in ["reuse", "fresh"] {
        let state = directory.path().join(connection);
        let config = directory.path().join(format!("{connection}.toml"));
        let text = format!(
            "[monitor]\nlocation = \"fra1\"\nstate_dir = \"{}\"\nlisten = \"{page}\"\nmax_concurrent_probes = 1000\n\
             [defaults]\ninterval = \"{INTERVAL_S}s\"\nconnection = \"{connection}\"\ngroup = \"chat\"\n\
             price = {{ input = 0.0, output = 0.0 }}\n{}",
            state.display(),
            openai_endpoints(count, simulator.addr())
        );
        std::fs::write(&config, text).expect("room");
        let daemon = Process::daemon(&config, Stdio::null());
        tokio::time::sleep(WARM_UP).await;
        println!("{count} endpoints, each every {INTERVAL_S} s, connection = \"{connection}\"");
        measure("left alone", &daemon, &state).await;
        if connection == "reuse" {
            let site = page.to_string();
            let mut crowd = tokio::task::JoinSet::new();
            for _ in 0..50 {
                crowd.spawn(reader(site.clone()));
                crowd.spawn(staller(site.clone()));
            }
            for path in [
                "/",
                "/api/v1/status",
                "/metrics",
                "/api/v1/route?group=chat",
            ] {
                crowd.spawn(looker(format!("http://{site}{path}")));
            }
            measure("looked at", &daemon, &state).await;
        }
    }
}

async fn measure(what: &str, daemon: &Process, state: &Path) {
    let (from, cpu) = (clock::now(), daemon.cpu_s());
    let began = Instant::now();
    tokio::time::sleep(MEASURED).await;
    let (used, seconds) = (daemon.cpu_s() - cpu, began.elapsed().as_secs_f64());
    let mut lags = lags(state, from);
    assert!(!lags.is_empty(), "nothing was probed");
    lags.sort_by(f64::total_cmp);
    let per_thousand = used / lags.len() as f64 * 1000.0;
    println!(
        "  {what}: {:.1} probes/s, {per_thousand:.2} CPU s per 1,000 probes ({:.0} % of a core), {} MiB resident, began late by {:.1} / {:.1} / {:.1} ms (median, 99 %, most)",
        lags.len() as f64 / seconds,
        used / seconds * 100.0,
        daemon.resident_mib(),
        quantile(&lags, 0.5),
        quantile(&lags, 0.99),
        quantile(&lags, 1.0)
    );
}

fn lags(state: &Path, from: Timestamp) -> Vec<f64> {
    let store = Store::open_read_only(&state.join("llmwatch.db")).expect("a store");
    let mut lags = Vec::new();
    let query = SampleQuery {
        since: Some(from),
        ..SampleQuery::default()
    };
    let each = store.each_sample(query, |_, sample| {
        lags.push(sample.schedule_lag_ms);
        Ok::<_, StoreError>(())
    });
    each.expect("samples");
    lags
}

/// Follows the events.
async fn reader(site: String) {
    let Ok(mut answer) = reqwest::get(format!("http://{site}/api/v1/events")).await else {
        return;
    };
    while let Ok(Some(_)) = answer.chunk().await {}
}

/// Follows the events and reads none, or never ends its request.
async fn staller(site: String) {
    let Ok(mut stream) = TcpStream::connect(&site).await else {
        return;
    };
    let _ = stream
        .write_all(format!("GET /api/v1/events HTTP/1.1\r\nhost: {site}\r\n\r\n").as_bytes())
        .await;
    std::future::pending::<()>().await;
}

/// Asks again and again, ten times a second.
async fn looker(url: String) {
    loop {
        if let Ok(answer) = reqwest::get(&url).await {
            let _ = answer.bytes().await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
