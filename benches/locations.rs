//! How much one database has to do for many locations: 50 of them with 200 endpoints each exchange
//! with a real PostgreSQL as daemons do, without the probes. Then what the history of all of them
//! weighs on a daemon that only serves.
//!
//! `cargo bench --bench locations [-- LOCATIONS [ENDPOINTS [SECONDS]]]`. The server is an installed
//! one that the benchmark starts, with `fsync` off; both sides share the machine.

mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono_tz::Tz;
use llmwatch::clock;
use llmwatch::config::{self, Environment, PostgresUrl};
use llmwatch::store::Store;
use llmwatch::store::postgres::{DaemonRow, Push, SharedStore};
use llmwatch_core::config::Config;
use llmwatch_core::locations::{LocationReport, LocationVerdict};
use llmwatch_core::model::{Api, Outcome, Provider, Sample, Timestamp, Trigger};
use llmwatch_core::monitor::MonitorState;
use llmwatch_core::report::rollup::{Resolution, Sketch};

use self::server::postgres::Postgres;
use self::support::{Process, quantile};

/// The server that the tests start.
#[path = "../tests/it/support"]
mod server {
    #![allow(dead_code, reason = "the tests use the rest")]
    #![allow(
        clippy::unwrap_used,
        reason = "a benchmark that cannot continue should stop"
    )]

    use std::time::Duration;

    pub(crate) mod postgres;

    pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

    pub(crate) fn free_port() -> u16 {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address").port()
    }

    pub(crate) fn skipped(what: &str, why: &str) {
        println!("skipped: {what}: {why}");
    }
}

const INTERVAL: Duration = Duration::from_mins(1);
/// What a daemon of many waits from one exchange to the next.
const PULSE: Duration = Duration::from_secs(3);
/// As in the daemon: up to this many verdicts the others read each after every probe.
const FEW_VERDICTS: usize = 500;
/// As in the daemon: how often everything is reread, and how many verdicts a second that may be.
const REREAD: Duration = Duration::from_mins(1);
const REREAD_PER_SECOND: usize = 40;
const DAYS: i64 = 90;
const ROUNDS: usize = 20;

fn main() {
    // Plain HTTP, but the client wants to know.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut numbers = std::env::args().filter_map(|a| a.parse::<usize>().ok());
    let locations = numbers.next().unwrap_or(50);
    let endpoints = numbers.next().unwrap_or(200);
    let seconds = numbers.next().unwrap_or(90) as u64;
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(exchanges(
        locations,
        endpoints,
        Duration::from_secs(seconds),
    ));
    runtime.block_on(serving(locations, endpoints));
}

fn configuration(endpoints: usize) -> Arc<Config> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("monitor.toml");
    let mut text =
        "[monitor]\nlocation = \"fra1\"\nlisten = \"off\"\n[budget]\ndaily_usd = 1000.0\n"
            .to_owned();
    for n in 0..endpoints {
        let _ = writeln!(
            text,
            "[[endpoint]]\nname = \"e{n}\"\nprovider = \"openai\"\nmodel = \"m\"\napi_key = \"k\""
        );
    }
    std::fs::write(&path, text).expect("room");
    let settings = config::load(&path, &Environment::default()).expect("a good configuration");
    settings.config
}

/// A good sample with what samples usually have.
fn sample(endpoint: &str, location: &str, at: Timestamp) -> Sample {
    let text = serde_json::json!({
        "id": uuid::Uuid::now_v7(), "endpoint": endpoint, "provider": Provider::OpenAi, "api": Api::Chat,
        "model": "gpt-6-luna", "location": location, "scheduled_at": at, "started_at": at,
        "trigger": Trigger::Schedule, "outcome": Outcome::Ok, "http_status": 200, "dns_ms": 1.25, "tcp_ms": 8.5,
        "tls_ms": 17.003, "headers_ms": 180.0, "first_event_ms": 200.0, "first_token_ms": 412.345,
        "first_any_token_ms": 412.345, "max_gap_ms": 20.0, "tpot_ms": 9.9, "total_ms": 450.0, "schedule_lag_ms": 0.2,
        "events": 5, "input_tokens": 14, "output_tokens": 3, "cost_usd": 0.000_002_9, "finish_reason": "stop",
        "response_model": "gpt-6-luna", "request_id": "req_0123456789abcdef", "server_ms": 81.0, "edge": "FRA",
        "ratelimit_remaining_requests": 9999, "remote_addr": "198.51.100.7:443", "http_version": "HTTP/2",
        "tls_expires_at": Timestamp(1_900_000_000_000), "ratelimit_headroom": 0.5,
    });
    serde_json::from_value(text).expect("a sample")
}

/// One location: exchanges as a daemon does; gives how long the exchanges took, in milliseconds.
async fn location(
    place: (usize, usize),
    url: Arc<PostgresUrl>,
    config: Arc<Config>,
    length: Duration,
) -> Vec<f64> {
    let (n, locations) = place;
    let endpoints = config.endpoints.len();
    let store = SharedStore::new(url, None).expect("a store");
    let mut session = store.open().await.expect("a connection");
    let mut state = MonitorState::new(config, 1.0);
    let name = format!("loc{n}");
    let daemon = DaemonRow {
        id: store.me(),
        location: name.clone(),
        host: name.clone(),
        version: "0".to_owned(),
        probes: true,
        endpoints: "{}".to_owned(),
        samples_per_hour: 60 * endpoints as u64,
        started_at: clock::now(),
        seen_at: clock::now(),
    };
    // Not all at once.
    tokio::time::sleep(PULSE * n as u32 / locations as u32).await;
    let began = Instant::now();
    let mut probed = 0;
    let mut lengths = Vec::new();
    let mut known = BTreeSet::new();
    let is_small = locations * endpoints <= FEW_VERDICTS;
    // Each daemon rereads everything at another time.
    let reread_every = REREAD.max(Duration::from_secs(
        (locations * endpoints / REREAD_PER_SECOND) as u64,
    ));
    let mut reread_at = began + reread_every * n as u32 / locations as u32;
    let mut seen = Some(clock::now());
    let mut pulled = clock::now();
    while began.elapsed() < length {
        let due =
            (began.elapsed().as_secs_f64() / INTERVAL.as_secs_f64() * endpoints as f64) as usize;
        let samples: Vec<Sample> = (probed..due)
            .map(|i| sample(&format!("e{}", i % endpoints), &name, clock::now()))
            .collect();
        probed = due;
        for sample in &samples {
            state.step(sample.clone());
        }
        let snapshot = state.snapshot(clock::now());
        let start = Instant::now();
        session.identity().await.expect("an answer");
        let offset_ms = session.now().await.expect("an answer").0 - clock::now().0;
        let is_new =
            |v: &LocationVerdict| samples.iter().any(|s: &Sample| s.endpoint == v.endpoint);
        let verdicts: Vec<_> = LocationVerdict::of_snapshot(&snapshot, offset_ms, |_| 180_000)
            .into_iter()
            .filter(is_new)
            .map(|v| {
                let location = name.clone();
                let is_changed = is_small || known.insert(v.endpoint.clone());
                (LocationVerdict { location, ..v }, is_changed)
            })
            .collect();
        let report = LocationReport {
            location: name.clone(),
            offset_ms,
            incidents: Vec::new(),
        };
        let push = Push {
            daemon: &daemon,
            samples: &samples,
            revised: &[],
            zone: Tz::UTC,
            verdicts: &verdicts,
            report: lengths.is_empty().then_some(&report),
        };
        session.push(&push).await.expect("room");
        let decision = session.lock(false, Duration::from_secs(1)).await;
        if let Some(decision) = decision.expect("an answer") {
            decision
                .record(&[], &[], &[], offset_ms)
                .await
                .expect("room");
        }
        if Instant::now() >= reread_at {
            reread_at += reread_every;
            seen = None;
        }
        let with_daemons = lengths.len() % 2 == 0;
        let updates = session
            .updates(seen, seen, with_daemons, "2026-01-01")
            .await
            .expect("an answer");
        seen = Some(updates.now);
        let own = session
            .samples_since(pulled, Some(&name), 2000)
            .await
            .expect("an answer");
        pulled = own
            .last()
            .map_or(pulled, |(at, _)| *at)
            .max(Timestamp(updates.now.0 - 60_000));
        lengths.push(start.elapsed().as_secs_f64() * 1000.0);
        tokio::time::sleep(PULSE.saturating_sub(start.elapsed())).await;
    }
    lengths
}

/// The fields of `/proc/PID/stat` after the name, as numbers; letters count as 0.
fn stat(pid: &str) -> Option<Vec<u64>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split(' ').map(|f| f.parse().unwrap_or(0)).collect())
}

/// The processor time of the server's processes so far, in seconds; `parent` is the first of them.
fn server_cpu_s(parent: &str) -> f64 {
    let number = parent.parse::<u64>().unwrap_or(0);
    // User and system time, of the first also those of processes that have ended, in hundredths of
    // a second.
    let mut ticks: u64 = stat(parent).map_or(0, |fields| fields[11..15].iter().sum());
    for entry in std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
    {
        let child = entry.file_name().to_str().and_then(stat);
        let child = child.filter(|fields| fields.get(1) == Some(&number));
        ticks += child.map_or(0, |fields| fields[11] + fields[12]);
    }
    ticks as f64 / 100.0
}

/// The processor time of this process so far, in seconds.
fn own_cpu_s() -> f64 {
    stat("self").map_or(0.0, |fields| (fields[11] + fields[12]) as f64 / 100.0)
}

async fn exchanges(locations: usize, endpoints: usize, length: Duration) {
    let Some(server) = Postgres::start_with(&[], &["max_connections = 300"]) else {
        server::skipped("many locations", "no PostgreSQL server is installed");
        return;
    };
    let number = |sql: &str| -> f64 { server.query("monitor", sql).parse().expect("a number") };
    let url = PostgresUrl::parse(&server.database("monitor")).expect("a URL");
    let url = Arc::new(url);
    let first = SharedStore::new(url.clone(), None).expect("a store");
    drop(first.open().await.expect("tables"));
    let folder = server.query("monitor", "SHOW data_directory");
    let pid = std::fs::read_to_string(Path::new(&folder).join("postmaster.pid"));
    let pid = pid.expect("a server").lines().next().map(str::to_owned);
    let pid = pid.expect("a number");
    let config = configuration(endpoints);
    let commits = "SELECT xact_commit FROM pg_stat_database WHERE datname = 'monitor'";
    let rows = "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_user_tables WHERE relname = 'llmwatch_verdict'";
    let tasks: Vec<_> = (0..locations)
        .map(|n| {
            tokio::spawn(location(
                (n, locations),
                url.clone(),
                config.clone(),
                INTERVAL + length,
            ))
        })
        .collect();
    // In the first interval every verdict is new, and read by all.
    tokio::time::sleep(INTERVAL).await;
    let before = (
        server_cpu_s(&pid),
        own_cpu_s(),
        number(commits),
        number(rows),
    );
    let earlier = number("SELECT count(*) FROM llmwatch_sample");
    let began = Instant::now();
    // While the connections are open, with figures that the server collects now and then.
    tokio::time::sleep(length.saturating_sub(Duration::from_secs(2))).await;
    let took = began.elapsed().as_secs_f64();
    let samples = number("SELECT count(*) FROM llmwatch_sample") - earlier;
    let server_s = server_cpu_s(&pid) - before.0;
    let own_s = own_cpu_s() - before.1;
    let transactions = number(commits) - before.2;
    let read = number(rows) - before.3;
    let mut lengths = Vec::new();
    for task in tasks {
        lengths.extend(task.await.expect("a location"));
    }
    lengths.sort_by(f64::total_cmp);
    let size = number("SELECT pg_total_relation_size('llmwatch_sample')");
    let all = number("SELECT count(*) FROM llmwatch_sample");
    println!(
        "{locations} locations, {endpoints} endpoints every {} s, {took:.0} s: {:.0} samples/s",
        INTERVAL.as_secs(),
        samples / took
    );
    println!(
        "CPU of the server: {:.0}% of a core, {:.2} ms per sample",
        server_s / took * 100.0,
        server_s / samples * 1000.0
    );
    println!(
        "CPU of all daemons, probes left out: {:.0}% of a core, {:.2} ms per sample",
        own_s / took * 100.0,
        own_s / samples * 1000.0
    );
    println!(
        "{:.0} transactions/s; {:.0} verdicts/s read",
        transactions / took,
        read / took
    );
    println!(
        "{:.2} GB per million samples, with indexes",
        size / all / 1000.0
    );
    println!(
        "an exchange takes {:.0} ms (median), {:.0} ms (99%)",
        quantile(&lengths, 0.5),
        quantile(&lengths, 0.99)
    );
}

/// Gives each endpoint of each location a rollup for each of the last days, and for each of the
/// last hours.
fn history(path: &Path, locations: usize, endpoints: usize) {
    drop(Store::open(path).expect("a store"));
    let mut connection = rusqlite::Connection::open(path).expect("a store");
    let sketches: Vec<_> = (0..50)
        .map(|seed| {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut sketch = Sketch::default();
            for _ in 0..1440 {
                let spread: f64 = (0..4).map(|_| rng.f64()).sum::<f64>() - 2.0;
                sketch.add(400.0 * (0.6 * spread).exp());
            }
            sketch.to_bytes()
        })
        .collect();
    let tx = connection.transaction().expect("room");
    for place in 0..locations {
        for n in 0..endpoints {
            tx.execute(
                "INSERT INTO series (endpoint, provider, api, model, location) VALUES (?1, 'openai', 'chat', 'm', ?2)",
                rusqlite::params![format!("e{n}"), format!("loc{place}")],
            )
            .expect("room");
            let series = tx.last_insert_rowid();
            let mut insert = tx
                .prepare_cached(
                    "INSERT INTO rollup VALUES (?1, ?2, ?3, ?4, 0, 1, 0, 0, 100, 100, 0.01, 1, 1, 1, 1, ?5, ?6)",
                )
                .expect("the table");
            for (resolution, count) in [(Resolution::Day, DAYS), (Resolution::Hour, 24)] {
                let step = resolution.length().as_millis() as i64;
                let end = resolution.begin(clock::now()).0;
                for back in 0..count {
                    let at = (n * 31 + back as usize * 7) % sketches.len();
                    let (first, total) = (&sketches[at], &sketches[(at + 1) % sketches.len()]);
                    insert
                        .execute(rusqlite::params![
                            step / 1000,
                            series,
                            end - back * step,
                            step / 60_000,
                            first,
                            total
                        ])
                        .expect("room");
                }
            }
        }
    }
    tx.commit().expect("room");
}

/// Page and report of a daemon that does not probe and has the history of all locations.
async fn serving(locations: usize, endpoints: usize) {
    let directory = tempfile::tempdir().expect("a directory");
    let config = directory.path().join("monitor.toml");
    let address = support::free_address().await;
    let mut text = format!(
        "[monitor]\nlocation = \"front\"\nprobe = false\nstate_dir = \"{}\"\nlisten = \"{address}\"\n\
         [budget]\ndaily_usd = 1000.0\n",
        directory.path().display()
    );
    for n in 0..endpoints {
        let _ = writeln!(
            text,
            "[[endpoint]]\nname = \"e{n}\"\nprovider = \"openai\"\nmodel = \"m\"\napi_key = \"k\""
        );
    }
    std::fs::write(&config, text).expect("room");
    let store = directory.path().join("llmwatch.db");
    history(&store, locations, endpoints);
    let mib = std::fs::metadata(&store).map_or(0, |m| m.len()) >> 20;
    println!("history of {DAYS} days of all locations: {mib} MiB");
    let daemon = Process::daemon(&config, Stdio::null());
    let client = reqwest::Client::builder().no_proxy().build();
    let client = client.expect("a client");
    let get = async |path: &str| {
        let answer = client.get(format!("http://{address}{path}")).send().await?;
        answer.error_for_status()?.bytes().await
    };
    let began = Instant::now();
    while get("/healthz").await.is_err() {
        assert!(began.elapsed() < server::PATIENCE, "the daemon answers");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for path in [
        "/",
        "/?location=loc1",
        "/endpoints/e0?range=90d",
        "/api/v1/status",
    ] {
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let began = Instant::now();
            get(path).await.expect("an answer");
            times.push(began.elapsed().as_secs_f64() * 1000.0);
        }
        let first = times[0];
        times.sort_by(f64::total_cmp);
        println!(
            "{path}: {:.1} ms (median of {ROUNDS}), the first {first:.0} ms",
            quantile(&times, 0.5)
        );
    }
    for more in [&[][..], &["--location", "loc1"]] {
        let began = Instant::now();
        let done = Command::new(env!("CARGO_BIN_EXE_llmwatch"))
            .arg("-c")
            .arg(&config)
            .args(["report", "--since", "90d"])
            .args(more)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let is_good = done.is_ok_and(|status| status.success());
        println!(
            "report --since 90d {}: {:.1} s{}",
            more.join(" "),
            began.elapsed().as_secs_f64(),
            if is_good { "" } else { " (failed)" }
        );
    }
    println!("the daemon took {} MiB at most", daemon.peak_mib());
}
