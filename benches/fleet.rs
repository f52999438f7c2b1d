//! A large fleet in the real daemon against the simulator: processor time per probe, memory, and how true the schedule stays,
//! first left alone, then while people look and clients stall.
//!
//! `cargo bench --bench fleet [-- ENDPOINTS]`. The simulator runs in this process and takes its share of the machine; the
//! daemon's processor time is its own.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use llmwatch::clock;
use llmwatch::store::{SampleQuery, Store, StoreError};
use llmwatch_core::model::Timestamp;
use llmwatch_simulator::{Scenario, Simulator};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

const WARM_UP: Duration = Duration::from_secs(15);
const MEASURED: Duration = Duration::from_secs(40);
const INTERVAL_S: usize = 10;
const SCENARIO: &str = "[healthy]\nheaders_after = \"10ms\"\nfirst_token_after = \"30ms\"\ntoken_gap = \"5ms\"\ntokens = 3\n";

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

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
    let page = TcpListener::bind("127.0.0.1:0")
        .await
        .and_then(|l| l.local_addr())
        .expect("a free port");
    for connection in ["reuse", "fresh"] {
        let state = directory.path().join(connection);
        let config = directory.path().join(format!("{connection}.toml"));
        let mut file = std::fs::File::create(&config).expect("a file");
        let top = format!(
            "[monitor]\nlocation = \"fra1\"\nstate_dir = \"{}\"\nlisten = \"{page}\"\nmax_concurrent_probes = 1000\n\
             [defaults]\ninterval = \"{INTERVAL_S}s\"\nconnection = \"{connection}\"\ngroup = \"chat\"\nprice = {{ input = 0.0, output = 0.0 }}\n",
            state.display()
        );
        file.write_all(top.as_bytes()).expect("room");
        for n in 0..count {
            let one = format!(
                "[[endpoint]]\nname = \"e{n}\"\nprovider = \"openai\"\nmodel = \"m{n}\"\napi_key = \"none\"\nbase_url = \"http://{}/v1\"\n",
                simulator.addr()
            );
            file.write_all(one.as_bytes()).expect("room");
        }
        let daemon = Daemon(
            Command::new(env!("CARGO_BIN_EXE_llmwatch"))
                .args([
                    "-c".as_ref(),
                    config.as_os_str(),
                    "--log-format".as_ref(),
                    "json".as_ref(),
                    "run".as_ref(),
                ])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("the daemon"),
        );
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

async fn measure(what: &str, daemon: &Daemon, state: &Path) {
    let (from, cpu) = (clock::now(), cpu_s(&daemon.0));
    let began = Instant::now();
    tokio::time::sleep(MEASURED).await;
    let (used, seconds) = (cpu_s(&daemon.0) - cpu, began.elapsed().as_secs_f64());
    let mut lags = lags(state, from);
    assert!(!lags.is_empty(), "nothing was probed");
    lags.sort_by(f64::total_cmp);
    let at = |share: f64| lags[((lags.len() - 1) as f64 * share) as usize];
    let per_thousand = used / lags.len() as f64 * 1000.0;
    println!(
        "  {what}: {:.1} probes/s, {per_thousand:.2} CPU s per 1,000 probes ({:.0} % of a core), {} MiB resident, began late by {:.1} / {:.1} / {:.1} ms (median, 99 %, most)",
        lags.len() as f64 / seconds,
        used / seconds * 100.0,
        resident_mib(&daemon.0),
        at(0.5),
        at(0.99),
        at(1.0)
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

fn cpu_s(child: &Child) -> f64 {
    let stat =
        std::fs::read_to_string(format!("/proc/{}/stat", child.id())).expect("a running daemon");
    let fields: Vec<f64> = stat
        .rsplit_once(')')
        .map_or("", |s| s.1)
        .split_whitespace()
        .filter_map(|f| f.parse().ok())
        .collect();
    // The state, a letter, was left out: user and system time are the eleventh and twelfth of the numbers.
    (fields[10] + fields[11]) / 100.0
}

fn resident_mib(child: &Child) -> u64 {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let line = status
        .lines()
        .find_map(|l| l.strip_prefix("VmRSS:"))
        .unwrap_or_default();
    line.split_whitespace()
        .next()
        .and_then(|kib| kib.parse::<u64>().ok())
        .unwrap_or(0)
        / 1024
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
