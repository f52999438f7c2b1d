//! What it costs to be looked at: 200 endpoints with 90 days of history, asked over HTTP; then what
//! a sample weighs on the disk, and whether forgetting holds up the writer.
//!
//! `cargo bench --bench serving [-- ENDPOINTS]`. Times are from the sent request to the last byte,
//! on a kept connection to a server in the same process, so they include a client's share. Each
//! line ends in its promise and how much of it is used.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use llmwatch::clock;
use llmwatch::config::{self, Environment, Settings};
use llmwatch::log::broadcast::Broadcast;
use llmwatch::metrics::Counters;
use llmwatch::store::{Commit, Horizon, Store};
use llmwatch::web::{self, View};
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::Snapshot;
use llmwatch_core::model::{Sample, Timestamp};
use llmwatch_core::report::routing;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const ROUNDS: usize = 100;

fn main() {
    // Plain HTTP, but the client wants to know.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let count = std::env::args().find_map(|a| a.parse().ok()).unwrap_or(200);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(run(count));
}

async fn run(count: usize) {
    let directory = tempfile::tempdir().expect("a directory");
    let config = Arc::new(configured(directory.path(), count));
    let began = Instant::now();
    let now = clock::now();
    {
        let (config, path) = (config.clone(), config.store.path.clone());
        tokio::task::spawn_blocking(move || {
            history(&Store::open(&path).expect("a store"), &config, now);
        })
        .await
        .expect("a history");
    }
    let bytes = std::fs::metadata(&config.store.path).map_or(0, |m| m.len());
    println!(
        "{count} endpoints, 90 days: {:.0} MiB, made in {:.0} s",
        bytes as f64 / 1_048_576.0,
        began.elapsed().as_secs_f64()
    );

    let snapshot = snapshot(&config, now);
    let ranked = Instant::now();
    for _ in 0..1000 {
        std::hint::black_box(routing::rank(&snapshot, Some("chat"), &Locale::default()));
    }
    let rank_ms = ranked.elapsed().as_secs_f64();
    // Each look at the front page comes when what was read before is too old.
    let ahead = Arc::new(AtomicI64::new(0));
    let site = serve(config.clone(), snapshot, now, ahead.clone()).await;
    let client = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client");
    println!(
        "\n{:44} {:>9} {:>9} {:>10} {:>10}",
        "", "p50 ms", "p99 ms", "bytes", "sent"
    );
    let name = &config.endpoints[count / 2].name;
    for (what, path, step_ms, promise_ms) in [
        ("front page, the first look", "/".to_owned(), 200_000, 20.0),
        (
            "front page, each look read anew",
            "/".to_owned(),
            20_000,
            20.0,
        ),
        ("front page", "/".to_owned(), 0, 20.0),
        (
            "endpoint, 1 h",
            format!("/endpoints/{name}?range=1h"),
            0,
            50.0,
        ),
        (
            "endpoint, 24 h",
            format!("/endpoints/{name}?range=24h"),
            0,
            50.0,
        ),
        (
            "endpoint, 90 d",
            format!("/endpoints/{name}?range=90d"),
            0,
            50.0,
        ),
        (
            "series, 90 d",
            format!("/api/v1/endpoints/{name}/series?range=90d"),
            0,
            50.0,
        ),
        (
            "samples",
            format!("/api/v1/endpoints/{name}/samples"),
            0,
            50.0,
        ),
        ("status", "/api/v1/status".to_owned(), 0, 50.0),
        ("incidents", "/incidents".to_owned(), 0, 50.0),
        (
            "badge, 90 d",
            format!("/badge/{name}.svg?range=90d"),
            0,
            50.0,
        ),
        (
            "route",
            "/api/v1/route?group=small&format=text".to_owned(),
            0,
            1.0,
        ),
        (
            "route, a group of all",
            "/api/v1/route?group=chat&format=text".to_owned(),
            0,
            5.0,
        ),
        ("metrics", "/metrics".to_owned(), 0, 50.0),
    ] {
        let mut times = Vec::new();
        let (mut unpacked_len, mut sent) = (0, 0);
        for _ in 0..ROUNDS {
            ahead.fetch_add(step_ms, Ordering::Relaxed);
            let began = Instant::now();
            let request = client
                .get(format!("{site}{path}"))
                .header("accept-encoding", "gzip");
            let answer = request.send().await.expect("an answer");
            assert!(answer.status().is_success(), "{path}: {}", answer.status());
            let packed = answer.headers().contains_key("content-encoding");
            let body = answer.bytes().await.expect("a body");
            times.push(began.elapsed().as_secs_f64() * 1000.0);
            sent = body.len();
            unpacked_len = if packed { unpacked(&body) } else { sent };
        }
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        let (p50, p99) = (at(0.5), at(0.99));
        println!(
            "{what:44} {p50:9.2} {p99:9.2} {unpacked_len:10} {sent:10}   promised {promise_ms} ms, used {:.0} %",
            p50 / promise_ms * 100.0
        );
    }
    println!("{:44} {rank_ms:9.4}", "ranking alone, a group of all");
    weigh(&client, &site).await;
    tokio::task::spawn_blocking(|| (a_samples_weight(), forgetting()))
        .await
        .expect("the end");
}

/// The front page with everything that it loads.
async fn weigh(client: &reqwest::Client, site: &str) {
    let get = async |path: &str| {
        let answer = client
            .get(format!("{site}{path}"))
            .header("accept-encoding", "gzip")
            .send()
            .await
            .expect("an answer");
        answer.bytes().await.expect("a body")
    };
    let page = client
        .get(format!("{site}/"))
        .send()
        .await
        .expect("a page")
        .text()
        .await
        .expect("text");
    let mut sum = get("/").await.len();
    let assets: std::collections::BTreeSet<_> = page
        .split('"')
        .filter(|w| w.starts_with("/assets/"))
        .collect();
    for path in &assets {
        sum += get(path).await.len();
    }
    println!(
        "\nfront page with its {} assets: {:.1} KiB sent; promised 60, used {:.0} %",
        assets.len(),
        sum as f64 / 1024.0,
        sum as f64 / 61_440.0 * 100.0
    );
}

fn unpacked(body: &[u8]) -> usize {
    let mut unpacked = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(body), &mut unpacked).unwrap_or(0)
}

fn configured(directory: &Path, count: usize) -> Settings {
    let mut text = format!(
        "[monitor]\nlocation = \"fra1\"\nstate_dir = \"{}\"\n",
        directory.display()
    );
    for n in 0..count {
        let group = if n < 4 { "small" } else { "chat" };
        text += &format!(
            "[[endpoint]]\nname = \"openai-chat-{n}\"\nprovider = \"openai\"\nmodel = \"gpt-6-luna\"\napi_key = \"none\"\ngroup = \"{group}\"\n"
        );
    }
    let path = directory.join("monitor.toml");
    std::fs::write(&path, text).expect("a file");
    config::load(&path, &Environment::default()).expect("a configuration")
}

/// A probe each hour for 90 days, each minute of the last day: every rollup that a page reads is
/// there.
fn history(store: &Store, config: &Settings, now: Timestamp) {
    let mut rng = fastrand::Rng::with_seed(7);
    for endpoint in &config.endpoints {
        let mut commits = Vec::new();
        let mut at = now.0 - 90 * DAY;
        while at < now.0 {
            commits.push(recorded(sample(&endpoint.name, Timestamp(at), &mut rng)));
            at += if now.0 - at > DAY { HOUR } else { MINUTE };
        }
        store.commit(&commits).expect("room");
    }
    // As after a clean stop: every rollup is in the file.
    store.checkpoint_wal();
}

fn recorded(sample: Sample) -> Commit {
    Commit {
        sample: Some(sample),
        ..Commit::default()
    }
}

fn sample(endpoint: &str, at: Timestamp, rng: &mut fastrand::Rng) -> Sample {
    let failed = rng.f64() < 0.002;
    let first = 300.0 + rng.f64() * 200.0;
    let measured = |ms: f64| (!failed).then_some((ms * 1000.0).round() / 1000.0);
    let sample = json!({
        "id": uuid::Uuid::now_v7(), "endpoint": endpoint, "provider": "openai", "api": "chat", "model": "gpt-6-luna",
        "location": "fra1", "scheduled_at": at, "started_at": at, "trigger": "schedule",
        "outcome": if failed { "failed" } else { "ok" }, "fault": failed.then_some("http.5xx"),
        "attribution": failed.then_some("provider"), "http_status": if failed { 503 } else { 200 },
        "dns_ms": 1.25, "tcp_ms": 8.5, "tls_ms": 17.003, "headers_ms": 180.0, "first_event_ms": measured(first * 0.9),
        "first_token_ms": measured(first), "first_any_token_ms": measured(first), "max_gap_ms": measured(20.0),
        "tpot_ms": measured(9.9), "total_ms": first + 120.0, "schedule_lag_ms": 0.2, "events": 5, "input_tokens": 14,
        "output_tokens": 3, "cost_usd": 0.000_002_9, "finish_reason": "stop", "response_model": "gpt-6-luna-2026-08-01",
        "request_id": format!("req_{:016x}", rng.u64(..)), "server_ms": 81.0, "edge": "FRA",
        "ratelimit_remaining_requests": 9999, "remote_addr": "104.18.7.192:443", "http_version": "HTTP/2",
    });
    serde_json::from_value(sample).expect("a sample")
}

fn snapshot(config: &Settings, now: Timestamp) -> Snapshot {
    let views = config.endpoints.iter().enumerate().map(|(n, e)| {
        json!({
            "name": e.name, "provider": e.provider, "title": e.domain_title(), "api": e.api, "model": e.model,
            "group": e.group, "status": "operational", "last_probe_at": now, "last_outcome": "ok",
            "first_token_ms_p50": 380.0 + n as f64, "total_ms_p50": 700.0, "typical_first_token_ms": 400.0,
            "availability_24h": 0.9993, "last_hour": ".".repeat(60),
        })
    });
    let snapshot = json!({
        "at": now, "location": "fra1", "budget_spent": false, "endpoints": views.collect::<Vec<_>>(), "incidents": [],
        "leaders": BTreeMap::from([("chat", &config.endpoints[4].name), ("small", &config.endpoints[0].name)]),
    });
    serde_json::from_value(snapshot).expect("a snapshot")
}

async fn serve(
    config: Arc<Settings>,
    snapshot: Snapshot,
    now: Timestamp,
    ahead: Arc<AtomicI64>,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let store = Store::open_read_only(&config.store.path).expect("a store");
    let (snapshot_out, snapshot) = watch::channel(Arc::new(snapshot));
    let (config_out, config) = watch::channel(config);
    let counters = Counters::default();
    for e in &snapshot_out.borrow().endpoints {
        counters.count(&sample(&e.name, now, &mut fastrand::Rng::with_seed(1)));
    }
    let view = View {
        subscriptions: llmwatch::subscriptions::Subscriptions::channel().0,
        commands: llmwatch::command::Commands::channel().0,
        snapshot,
        config,
        wall: Arc::new(move || now + Duration::from_millis(ahead.load(Ordering::Relaxed) as u64)),
        started_at: now,
        store_id: None,
        store,
        stop: CancellationToken::new(),
        broadcast: Broadcast::new(now),
        counters,
        history: web::pages::HistoryCache::default(),
        replays: web::pages::ReplayCache::default(),
        traffic: web::traffic::Traffic::default(),
        links: llmwatch::links::Links::new(&[7; 32].into()),
        reload: web::Reload::default(),
    };
    tokio::spawn(async move {
        web::run(listener, view).await;
        drop((snapshot_out, config_out));
    });
    format!("http://{address}")
}

/// A week of one probe a minute, with its rollups.
fn a_samples_weight() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(&directory.path().join("llmwatch.db")).expect("a store");
    let size = || {
        store.checkpoint_wal();
        std::fs::metadata(directory.path().join("llmwatch.db")).map_or(0, |m| m.len())
    };
    let (before, mut rng, count) = (size(), fastrand::Rng::with_seed(3), 7 * 24 * 60);
    let commits: Vec<_> = (0..count)
        .map(|n| recorded(sample("a", Timestamp(n * MINUTE), &mut rng)))
        .collect();
    let began = Instant::now();
    for few in commits.chunks(64) {
        store.commit(few).expect("room");
    }
    let each = (size() - before) as f64 / count as f64;
    let us = began.elapsed().as_secs_f64() * 1e6 / count as f64;
    println!(
        "\na sample with its rollups: {each:.0} bytes on the disk, {us:.0} us to write (64 at a time); promised 600 bytes, used {:.0} %",
        each / 6.0
    );
}

/// Thirty days are forgotten in steps while samples are still being written.
fn forgetting() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("llmwatch.db");
    let store = Store::open(&path).expect("a store");
    let mut rng = fastrand::Rng::with_seed(3);
    for n in 0..30 {
        let day: Vec<_> = (0..1440)
            .map(|m| recorded(sample("a", Timestamp(n * DAY + m * MINUTE), &mut rng)))
            .collect();
        store.commit(&day).expect("room");
    }
    // What is folded into a checkpoint may be forgotten.
    store
        .commit(&[Commit {
            checkpoint: Some("{}".to_owned()),
            ..Commit::default()
        }])
        .expect("room");
    store.checkpoint_wal();
    let before = std::fs::metadata(&path).map_or(0, |m| m.len());
    let end = Timestamp(30 * DAY);
    let horizon = Horizon {
        samples: end,
        fine_rollups: end,
        rollups: end,
        incidents: None,
    };
    let (mut steps, mut writes): (Vec<f64>, Vec<f64>) = (Vec::new(), Vec::new());
    loop {
        let began = Instant::now();
        let forgotten = store.forget(horizon, 1000).expect("room");
        steps.push(began.elapsed().as_secs_f64() * 1000.0);
        let began = Instant::now();
        let at = Timestamp(31 * DAY + steps.len() as i64 * MINUTE);
        store
            .commit(&[recorded(sample("a", at, &mut rng))])
            .expect("room");
        writes.push(began.elapsed().as_secs_f64() * 1000.0);
        if forgotten < 1000 {
            break;
        }
    }
    store.checkpoint_wal();
    let after = std::fs::metadata(&path).map_or(0, |m| m.len());
    let longest = |of: &[f64]| of.iter().copied().fold(0.0, f64::max);
    let mib = |bytes: u64| bytes as f64 / 1_048_576.0;
    println!(
        "forgetting 30 days: {} steps, the longest {:.1} ms; a write between them at most {:.1} ms; the file shrinks from {:.1} to {:.1} MiB",
        steps.len(),
        longest(&steps),
        longest(&writes),
        mib(before),
        mib(after)
    );
}
