//! What happens to a sample after its probe: steps of the detector a second, microseconds to store
//! a sample with an empty history and after ten million samples, and how soon a message arrives
//! after it was decided.
//!
//! `cargo bench --bench record [-- SAMPLES]`. The first two have no network and run on one thread.

mod support;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use llmwatch::clock;
use llmwatch::config::{self, Environment, Settings};
use llmwatch::store::{Commit, Store};
use llmwatch_core::model::{Api, Outcome, Provider, Sample, Timestamp, Trigger};
use llmwatch_core::monitor::MonitorState;
use llmwatch_simulator::{Scenario, Simulator, WebhookSink};
use tokio::net::TcpListener;

use self::support::Process;

const ENDPOINTS: usize = 200;
const STEPS: usize = 400_000;
/// One transaction of the growing store: what a second brings at 500 probes a second.
const BATCH: usize = 500;
/// So many samples are timed at the beginning and at the end of the growth.
const TIMED: usize = 100_000;
const OUTAGES: usize = 5;
const OUTAGE: &str = "[[rule]]\nstatus = 503\n";

fn main() {
    let samples = std::env::args().find_map(|a| a.parse().ok());
    steps();
    growth(samples.unwrap_or(10_000_000));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(delivery());
}

/// The detector and all that it feeds, with samples of a steady fleet.
fn steps() {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = fleet(directory.path());
    let mut state = MonitorState::new(settings.config.clone(), 1.0);
    let mut rng = fastrand::Rng::with_seed(11);
    let samples: Vec<Sample> = (0..STEPS).map(|n| sample(n, 0, &mut rng)).collect();
    let began = Instant::now();
    for sample in samples {
        std::hint::black_box(state.step(sample));
    }
    let us = began.elapsed().as_secs_f64() * 1e6 / STEPS as f64;
    println!(
        "a step of the detector: {us:.1} µs, {:.0} steps/s",
        1e6 / us
    );
}

/// A store to which samples are added in transactions of a second.
fn growth(count: usize) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("llmwatch.db");
    let store = Store::open(&file).expect("a store");
    let mut rng = fastrand::Rng::with_seed(13);
    let from = clock::now().0 - count as i64 * 2;
    let mut add = |from_n: usize, until: usize| {
        let began = Instant::now();
        for first in (from_n..until).step_by(BATCH) {
            let commits: Vec<_> = (first..first + BATCH)
                .map(|n| Commit {
                    sample: Some(sample(n, from, &mut rng)),
                    ..Commit::default()
                })
                .collect();
            store.commit(&commits).expect("room");
            while store.sums_are_due() && store.write_sums(false).expect("room") {}
        }
        began.elapsed().as_secs_f64() * 1e6 / (until - from_n) as f64
    };
    let first = add(0, TIMED);
    let most = add(TIMED, count.saturating_sub(TIMED).max(2 * TIMED));
    let last = add(count.max(3 * TIMED) - TIMED, count.max(3 * TIMED));
    store.checkpoint_wal();
    let bytes = std::fs::metadata(&file).map_or(0, |m| m.len());
    println!(
        "storing a sample: {first:.1} µs into an empty store, {last:.1} µs after {count} samples ({most:.1} µs between); \
         {} MiB, {} bytes a sample with its rollups",
        bytes >> 20,
        bytes / count as u64
    );
}

/// From the moment a message was decided to its arrival at a webhook, for outages and their ends.
async fn delivery() {
    // Plain HTTP, but the client wants to know.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let bind = async || TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let simulator = Simulator::start(bind().await, Scenario::healthy()).expect("a simulator");
    let mut hook = WebhookSink::start(bind().await).expect("a sink");
    let directory = tempfile::tempdir().expect("a directory");
    let config = watched(directory.path(), &simulator, &hook);
    let _daemon = Process::daemon(&config, Stdio::null());
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut delays: Vec<f64> = Vec::new();
    for _ in 0..OUTAGES {
        for scenario in [
            Scenario::parse(OUTAGE).expect("a scenario"),
            Scenario::healthy(),
        ] {
            simulator.set_scenario(scenario);
            let request = hook.next().await;
            let arrived = clock::now();
            let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap_or_default();
            let decided = body["timestamp"]
                .as_str()
                .and_then(|t| Timestamp::parse(t).ok());
            delays.extend(decided.map(|at| arrived.since_ms(at) as f64));
        }
    }
    delays.sort_by(f64::total_cmp);
    println!(
        "delivery of {} messages after they were decided: {:.0} ms (median), {:.0} ms at most",
        delays.len(),
        delays[delays.len() / 2],
        delays[delays.len() - 1]
    );
}

fn watched(directory: &Path, simulator: &Simulator, hook: &WebhookSink) -> PathBuf {
    let text = format!(
        "[monitor]\nlocation = \"fra1\"\nstate_dir = \"{}\"\nlisten = \"off\"\n\
         [detection]\nalert_after = \"2s\"\nresolve_after = \"2s\"\n\
         [[webhook]]\nname = \"hook\"\nurl = \"http://{}/\"\ngroup_wait = \"0s\"\n\
         [[endpoint]]\nname = \"chat\"\nprovider = \"openai\"\nmodel = \"m\"\napi_key = \"none\"\ninterval = \"1s\"\n\
         base_url = \"http://{}/v1\"\nprice = {{ input = 0.0, output = 0.0 }}\n",
        directory.display(),
        hook.addr(),
        simulator.addr()
    );
    let path = directory.join("monitor.toml");
    std::fs::write(&path, text).expect("room");
    path
}

fn fleet(directory: &Path) -> Settings {
    let mut text = format!(
        "[monitor]\nlocation = \"fra1\"\nstate_dir = \"{}\"\n",
        directory.display()
    );
    for n in 0..ENDPOINTS {
        let _ = writeln!(
            text,
            "[[endpoint]]\nname = \"e{n}\"\nprovider = \"openai\"\nmodel = \"m\"\napi_key = \"none\""
        );
    }
    let path = directory.join("monitor.toml");
    std::fs::write(&path, text).expect("room");
    config::load(&path, &Environment::default()).expect("a configuration")
}

/// The sample number `n` of a fleet that is probed round and round, a sample every two milliseconds
/// from `from` on.
fn sample(n: usize, from: i64, rng: &mut fastrand::Rng) -> Sample {
    let at = Timestamp(from + n as i64 * 2);
    let endpoint = format!("e{}", n % ENDPOINTS);
    let first = 300.0 + rng.f64() * 200.0;
    Sample {
        id: uuid::Uuid::now_v7(),
        model: Some("m".to_owned()),
        outcome: Outcome::Ok,
        http_status: Some(200),
        headers_ms: Some(180.0),
        first_token_ms: Some(first),
        first_any_token_ms: Some(first),
        total_ms: Some(first + 120.0),
        input_tokens: Some(14),
        output_tokens: Some(3),
        ..Sample::unmeasured(
            &endpoint,
            Provider::OpenAi,
            Api::Chat,
            "fra1",
            at,
            Trigger::Schedule,
        )
    }
}
