//! A stage for the tests in a browser: the real pages, served from a store full of invented history
//! and a snapshot that the tests change by lines on stdin. `cargo run --example stage -- STATE
//! [COUNT] [es] [public]`, with STATE one of `well`, `degraded`, `incident`, `account`, `pending`,
//! `offline`, `budget`, `announced`, `fresh`, `names`, `token`; COUNT endpoints (6); `es` for pages
//! in Spanish, `public` for those that a visitor sees with `[web] public = "summary"`. Prints the
//! address, then the paths of an acknowledgement link and of an expired one.

#![allow(
    clippy::unwrap_used,
    reason = "a stage that cannot continue should stop"
)]

use std::sync::Arc;

use llmwatch::clock;
use llmwatch::config::{self, Environment};
use llmwatch::links::{self, Action, Links};
use llmwatch::log::Event;
use llmwatch::log::broadcast::Broadcast;
use llmwatch::store::{Commit, IncidentRow, Store};
use llmwatch::web::{self, View};
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::{AlertState, AlertView, EndpointName, EndpointView, Snapshot};
use llmwatch_core::model::{
    Annotation, Attribution, Endpoint, Fault, Incident, Note, Outcome, Sample, Status, Timestamp,
    Trigger,
};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const HOSTILE: &str = "<script>alert(1)</script> \"'&amp; ]]> <img src=x onerror=alert(2)>";

#[tokio::main]
async fn main() {
    let scene = Scene::from_args();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("monitor.toml");
    std::fs::write(&path, config_of(&scene, directory.path())).unwrap();
    let config = Arc::new(config::load(&path, &Environment::from_process()).unwrap());
    let store = Store::open(&config.store.path).unwrap();
    let now = clock::now();
    let snapshot = Arc::new(snapshot_of(&scene.state, &config.endpoints, now));
    if scene.state != "fresh" {
        fill(&store, &config.endpoints, &snapshot, now);
    }
    let (publish, snapshot) = watch::channel(snapshot);
    let (_keep, config) = watch::channel(config);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("http://{}", listener.local_addr().unwrap());
    let links = Links::new(&[7; 32].into());
    let open = snapshot
        .borrow()
        .incidents
        .first()
        .map_or(Uuid::nil(), |i| i.id);
    for end in [now + links::VALID, now] {
        println!("/a/{}", links.token(Action::Acknowledge, open, end));
    }
    let stop = CancellationToken::new();
    let broadcast = Broadcast::new(now);
    let view = View {
        commands: llmwatch::command::Commands::channel().0,
        subscriptions: llmwatch::subscriptions::Subscriptions::channel().0,
        snapshot,
        config,
        wall: Arc::new(clock::now),
        started_at: now,
        store_id: store.identity().ok(),
        store: store.clone(),
        stop: stop.clone(),
        history: web::pages::HistoryCache::default(),
        replays: web::pages::ReplayCache::default(),
        traffic: web::traffic::Traffic::default(),
        links,
        reload: web::Reload::default(),
        broadcast: broadcast.clone(),
        counters: llmwatch::metrics::Counters::default(),
    };
    let server = tokio::spawn(web::run(listener, view));
    let mut commands = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = commands.next_line().await {
        if line == "fail" {
            let mut next = Snapshot::clone(&publish.borrow());
            next.at = clock::now();
            let name = next.endpoints[0].name.clone();
            let incident = incident(1000, &[name], next.at, None, Attribution::Provider);
            next.endpoints[0].status = Status::Outage;
            next.endpoints[0].reason = Some(incident.title.clone());
            record(&store, &incident);
            next.incidents.push(incident);
            publish.send_replace(Arc::new(next));
            broadcast.publish(
                Event::StatusChanged,
                "it changed",
                &json!({"status": "outage"}),
            );
        }
    }
    stop.cancel();
    server.await.unwrap();
}

/// What the arguments ask for.
struct Scene {
    state: String,
    count: usize,
    language: &'static str,
    is_public: bool,
}

impl Scene {
    fn from_args() -> Self {
        let mut scene = Self {
            state: "well".to_owned(),
            count: 6,
            language: "en",
            is_public: false,
        };
        for arg in std::env::args().skip(1) {
            match (arg.as_str(), arg.parse()) {
                (_, Ok(count)) => scene.count = count,
                ("es", _) => scene.language = "es",
                ("public", _) => scene.is_public = true,
                _ => scene.state = arg,
            }
        }
        scene
    }
}

fn config_of(scene: &Scene, directory: &std::path::Path) -> String {
    let Scene {
        state,
        count,
        language,
        is_public,
    } = scene;
    let count = *count;
    let long = if state == "names" {
        "-a-name-as-long-as-names-may-be-0123456789-abcdefgh"
    } else {
        ""
    };
    let vendors = ["openai", "azure-openai", "anthropic", "gemini"];
    let models = [
        "gpt-6-luna",
        "gpt-6-luna",
        "claude-sonnet-5",
        "gemini-4-flash",
    ];
    let mut text = format!(
        "[monitor]\nlocation = \"fra1\"\nlanguage = \"{language}\"\nstate_dir = \"{}\"\n",
        directory.display()
    );
    for n in 0..count {
        // The vendors one after the other, as a person would write them.
        let vendor = n * vendors.len() / count.max(1);
        let azure = if vendors[vendor] == "azure-openai" {
            "base_url = \"https://example.openai.azure.com\"\ndeployment = \"luna\"\n"
        } else {
            ""
        };
        text += &format!(
            "[[endpoint]]\nname = \"{}-{n}{long}\"\nprovider = \"{}\"\nmodel = \"{}\"\napi_key = \"none\"\ngroup = \"chat\"\n\
             interval = \"1h\"\n{azure}",
            ["openai-chat", "azure-chat", "claude", "gemini"][vendor],
            vendors[vendor],
            models[vendor],
        );
    }
    if state == "token" {
        text += "[web]\ntoken = \"sesame\"\n";
    }
    if *is_public {
        text += "[web]\ntoken = \"sesame\"\npublic = \"summary\"\nsubscribe = true\ntitle = \"Example AI\"\n\
                 [[email]]\nto = [\"ops@example.com\"]\nfrom = \"llmwatch@example.com\"\nsmtp = \"smtp://127.0.0.1:25\"\n";
    }
    if count == 0 {
        text
    } else {
        text + "[budget]\ndaily_usd = 5.0\n"
    }
}

fn snapshot_of(state: &str, endpoints: &[Arc<Endpoint>], now: Timestamp) -> Snapshot {
    let fresh = state == "fresh";
    let known = |ms: f64| (!fresh).then_some(ms);
    let views = endpoints.iter().enumerate().map(|(n, e)| {
        json!({
            "name": e.name, "provider": e.provider, "title": e.domain_title(), "api": e.api, "model": e.model,
            "group": e.group, "status": if fresh { "unknown" } else { "operational" },
            "reason": fresh.then_some("not probed yet"),
            "last_probe_at": (!fresh).then_some(Timestamp(now.0 - 3000 - n as i64 * 10)),
            "last_outcome": (!fresh).then_some("ok"), "last_fault": null,
            "first_token_ms_p50": known(380.0 + n as f64), "total_ms_p50": known(700.0),
            "typical_first_token_ms": known(400.0), "availability_24h": known(0.9993), "last_hour": ".".repeat(60),
        })
    });
    // Through its serialised form, so that a field that it gains has its default here.
    let mut snapshot: Snapshot = serde_json::from_value(json!({
        "at": now, "location": "fra1", "offline_since": null, "budget_spent": false, "spent_today_usd": 0.4213,
        "last_recorded_at": (!fresh).then_some(now), "store_error": null, "endpoints": views.collect::<Vec<_>>(),
        "incidents": [],
    }))
    .unwrap();
    let mut fail = |first: usize, incident: Incident, status: Status| {
        for view in snapshot
            .endpoints
            .iter_mut()
            .skip(first)
            .take(incident.endpoints.len())
        {
            view.status = status;
            view.reason = Some(incident.title.clone());
        }
        snapshot.incidents.push(incident);
    };
    let names = |range: std::ops::Range<usize>| {
        endpoints[range]
            .iter()
            .map(|e| e.name.clone())
            .collect::<Vec<_>>()
    };
    match state {
        "incident" | "names" => {
            fail(
                0,
                incident(
                    900,
                    &names(0..2),
                    Timestamp(now.0 - 34 * MINUTE),
                    None,
                    Attribution::Provider,
                ),
                Status::Outage,
            );
            if endpoints.len() > 3 {
                fail(3, slow(&names(3..4), now), Status::Degraded);
            }
            snapshot.annotations = vec![Annotation {
                at: Timestamp(now.0 - 3 * HOUR),
                by: "kim".to_owned(),
                text: "deployed the gateway 2.3".to_owned(),
                endpoints: Vec::new(),
                providers: Vec::new(),
                groups: vec!["chat".to_owned()],
            }];
            snapshot.incidents[0].notes = vec![Note {
                at: Timestamp(now.0 - 20 * MINUTE),
                by: "kim".to_owned(),
                text: "the vendor has confirmed it".to_owned(),
            }];
        }
        "degraded" => fail(0, slow(&names(0..1), now), Status::Degraded),
        "account" => {
            fail(
                0,
                incident(
                    900,
                    &names(0..2),
                    Timestamp(now.0 - 26 * HOUR),
                    None,
                    Attribution::Account,
                ),
                Status::Unknown,
            );
        }
        "pending" => {
            for view in &mut snapshot.endpoints[..2] {
                view.failed_in_a_row = 4;
                view.alert = AlertView {
                    state: AlertState::Pending,
                    failed: 4,
                    probes: 4,
                    since: Some(Timestamp(now.0 - 3 * MINUTE)),
                    ..AlertView::default()
                };
                view.last_fault = Some(Fault::Http5xx);
            }
        }
        "offline" => {
            snapshot.offline_since = Some(Timestamp(now.0 - 5 * MINUTE));
            snapshot
                .endpoints
                .iter_mut()
                .for_each(|e| unknown(e, "this machine has no network"));
        }
        "announced" => {
            let advice = endpoints[..4].iter().map(|e| {
                let text = "the model gpt-6-luna is shut down in 13 days, on 8 December";
                json!({"endpoint": e.name, "kind": "model_retires", "since": now, "step": 1,
                    "text": format!("{}: {text}", e.name)})
            });
            snapshot.advice = serde_json::from_value(advice.collect::<Vec<_>>().into()).unwrap();
            let silence = json!({
                "id": Uuid::now_v7(), "created_at": now, "until": Timestamp(now.0 + 2 * HOUR), "by": "kim",
                "note": format!("new region, {HOSTILE}"), "endpoints": names(0..5), "providers": [], "groups": [],
            });
            snapshot.silences = vec![serde_json::from_value(silence).unwrap()];
            let window = json!({
                "name": "upgrade of the proxy", "since": now, "until": Timestamp(now.0 + HOUR), "endpoints": names(2..4),
            });
            snapshot.maintenance = vec![serde_json::from_value(window).unwrap()];
            for view in &mut snapshot.endpoints[2..4] {
                view.status = Status::Maintenance;
                view.reason = Some("upgrade of the proxy".to_owned());
            }
        }
        "budget" => {
            snapshot.budget_spent = true;
            snapshot.spent_today_usd = 5.002;
            snapshot
                .endpoints
                .iter_mut()
                .for_each(|e| unknown(e, "the day's probing budget is spent"));
        }
        _ => {}
    }
    snapshot
}

fn slow(endpoints: &[EndpointName], now: Timestamp) -> Incident {
    let start = Timestamp(now.0 - 7 * MINUTE);
    Incident {
        status: Status::Degraded,
        cause: llmwatch_core::model::Cause::Slow,
        title: "Anthropic: 9 of the last 12 probes were slow".to_owned(),
        ..incident(901, endpoints, start, None, Attribution::Provider)
    }
}

fn unknown(view: &mut EndpointView, why: &str) {
    view.status = Status::Unknown;
    view.reason = Some(why.to_owned());
}

/// 90 days: a probe each two hours, each ten minutes of the last day, each minute of the last hour.
fn fill(store: &Store, endpoints: &[Arc<Endpoint>], snapshot: &Snapshot, now: Timestamp) {
    let mut rng = fastrand::Rng::with_seed(7);
    for (n, endpoint) in endpoints.iter().enumerate() {
        let mut commits = Vec::new();
        let mut at = now.0 - 90 * DAY + n as i64 * 1000;
        // The youngest endpoint has not been there for all of the time.
        if n == 5 {
            at += 40 * DAY;
        }
        while at < now.0 {
            let ago = now.0 - at;
            let open = snapshot
                .incidents
                .iter()
                .find(|i| i.endpoints.contains(&endpoint.name) && i.started_at.0 <= at);
            commits.push(Commit {
                sample: Some(invented(endpoint, Timestamp(at), ago, open, n, &mut rng)),
                ..Commit::default()
            });
            at += if ago > DAY {
                2 * HOUR
            } else if ago > HOUR {
                10 * MINUTE
            } else {
                MINUTE
            };
        }
        store.commit(&commits).unwrap();
    }
    if endpoints.is_empty() {
        return;
    }
    for (number, days) in [(1, 71), (2, 30), (3, 12), (4, 3)] {
        let start = Timestamp(now.0 - days * DAY);
        let names = [endpoints[number % endpoints.len()].name.clone()];
        let attribution = if number == 3 {
            Attribution::Account
        } else {
            Attribution::Provider
        };
        record(
            store,
            &incident(
                number as u64,
                &names,
                start,
                Some(Timestamp(start.0 + 47 * MINUTE)),
                attribution,
            ),
        );
    }
    for incident in &snapshot.incidents {
        record(store, incident);
    }
}

fn record(store: &Store, incident: &Incident) {
    let row = IncidentRow {
        id: incident.id,
        number: incident.number,
        open: incident.resolved_at.is_none(),
        started_at: incident.started_at,
        data: serde_json::to_string(incident).unwrap(),
    };
    store
        .commit(&[Commit {
            incidents: vec![row],
            ..Commit::default()
        }])
        .unwrap();
}

fn invented(
    endpoint: &Endpoint,
    at: Timestamp,
    ago: i64,
    open: Option<&Incident>,
    n: usize,
    rng: &mut fastrand::Rng,
) -> Sample {
    let days = ago / DAY;
    let outage =
        (days == 30 && n < 4) || (days == 71 && n.is_multiple_of(3)) || (days == 3 && n == 1);
    let odds = if outage { 0.45 } else { 0.0006 };
    let slow = open.is_some_and(|i| i.cause.is_slow());
    let failed = (open.is_some() && !slow) || rng.f64() < odds;
    let faults = [
        Fault::Http5xx,
        Fault::TimeoutFirstToken,
        Fault::Overloaded,
        Fault::Http5xx,
        Fault::TcpReset,
    ];
    let fault = match open {
        Some(i) if i.attribution == Attribution::Account => Fault::AccountQuota,
        _ => faults[rng.usize(0..faults.len())],
    };
    let daily = (at.0 as f64 / DAY as f64 * std::f64::consts::TAU).sin() * 60.0;
    let first =
        (380.0 + n as f64 * 7.0 + daily) * (0.85 + rng.f64() * 0.4) * if slow { 4.0 } else { 1.0 };
    let measured = |ms: f64| (!failed).then_some(ms);
    Sample {
        id: Uuid::now_v7(),
        model: endpoint.model.clone(),
        outcome: if failed {
            Outcome::Failed
        } else if slow {
            Outcome::Slow
        } else {
            Outcome::Ok
        },
        fault: failed.then_some(fault),
        attribution: failed.then(|| fault.attribution()),
        http_status: Some(if failed { 503 } else { 200 }),
        dns_ms: Some(2.0 + rng.f64() * 3.0),
        tcp_ms: Some(9.0 + rng.f64() * 4.0),
        tls_ms: Some(18.0 + rng.f64() * 6.0),
        headers_ms: Some(first * 0.55),
        first_event_ms: measured(first * 0.9),
        first_token_ms: measured(first),
        first_any_token_ms: measured(first),
        max_gap_ms: measured(40.0),
        tpot_ms: measured(12.0),
        total_ms: Some(if failed {
            812.0
        } else {
            first + 180.0 + rng.f64() * 90.0
        }),
        schedule_lag_ms: 0.3,
        events: measured(5.0).map(|e| e as u32),
        input_tokens: Some(14),
        output_tokens: Some(3),
        cost_usd: Some(0.000_021),
        finish_reason: (!failed).then(|| "stop".to_owned()),
        response_model: endpoint.model.as_ref().map(|m| format!("{m}-2026-10-01")),
        system_fingerprint: Some("fp_9a1c7".to_owned()),
        request_id: Some(format!("req_{:016x}", rng.u64(..))),
        server_ms: Some(210.0),
        edge: Some("FRA".to_owned()),
        ratelimit_remaining_requests: Some(9_988),
        ratelimit_remaining_tokens: Some(1_999_700),
        remote_addr: Some("192.0.2.17:443".to_owned()),
        http_version: Some("HTTP/2".to_owned()),
        error: failed.then(|| {
            format!("{{\"error\": {{\"message\": \"The server had an error. {HOSTILE}\"}}}}")
        }),
        ..Sample::unmeasured(
            &endpoint.name,
            endpoint.provider,
            endpoint.api,
            "fra1",
            at,
            Trigger::Schedule,
        )
    }
}

fn incident(
    number: u64,
    endpoints: &[EndpointName],
    started_at: Timestamp,
    resolved_at: Option<Timestamp>,
    attribution: Attribution,
) -> Incident {
    let cause = if attribution == Attribution::Account {
        Fault::AccountQuota
    } else {
        Fault::Http5xx
    };
    let account = attribution == Attribution::Account;
    let sample = |n: i64| {
        json!({
            "endpoint": endpoints[0], "started_at": Timestamp(started_at.0 + n * 20_000), "fault": cause,
            "http_status": if account { 429 } else { 503 }, "first_token_ms": null, "request_id": format!("req_{n:04}<b>"),
            "error": format!("The server had an error. {HOSTILE}"),
        })
    };
    let until = resolved_at.unwrap_or_else(clock::now);
    let explanation = format!(
        "{} failing since {}: 9 of the last 10 probes failed (9 × {cause}, {}), usually 0.3%. This machine’s network is not \
         the cause: azure-chat answers from here.",
        Locale::default().list(endpoints),
        Locale::default().time(started_at),
        cause.describe()
    );
    serde_json::from_value(json!({
        "id": Uuid::now_v7(), "number": number, "state": if resolved_at.is_some() { "resolved" } else { "open" },
        "status": "outage", "attribution": attribution, "cause": cause,
        "title": format!("OpenAI: 9 of the last 10 probes failed ({cause})"), "provider": "openai",
        "endpoints": endpoints, "started_at": started_at, "opened_at": Timestamp(started_at.0 + 93_000),
        "resolved_at": resolved_at, "duration_s": until.since_ms(started_at) as f64 / 1000.0,
        "explanation": explanation,
        "evidence": {
            "probes": 10, "failed": 9, "typical_failure_rate": 0.003, "first_token_ms": {"typical": 420.0, "now": null},
            "samples": (0..5).map(sample).collect::<Vec<_>>(), "faults": {cause.as_str(): 9},
            "worst_total_ms": 20_412.0, "request_ids": (0..9).map(|n| format!("req_{n:04}")).collect::<Vec<_>>(),
        },
    }))
    .unwrap()
}
