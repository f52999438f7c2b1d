//! Exports the metrics to an OpenTelemetry collector, by OTLP over HTTP. If the collector fails,
//! that is logged once; the next export makes up for the lost one.

use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Level;

use super::Counters;
use super::otlp::{self, ExportSource};
use super::process::ProcessStats;
use crate::clock::WallClock;
use crate::config::{Otlp, Settings};
use crate::http_client;
use crate::log::{Event, emit};
use crate::redact::LazyRedactor;
use llmwatch_core::model::Snapshot;
use llmwatch_core::model::Timestamp;

/// The timeout of one export, as in OpenTelemetry's own exporters.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The timeout of the last export, at shutdown.
const FAREWELL: Duration = Duration::from_secs(2);
/// How often to check whether `[otlp]` has been configured.
const LOOK: Duration = Duration::from_secs(1);
/// The most bytes read of a response, and the most characters shown of it.
const MAX_ANSWER: usize = 64 * 1024;
const MAX_SHOWN: usize = 200;

/// The inputs of the exporter.
pub struct Export {
    /// The current configuration.
    pub config: watch::Receiver<Arc<Settings>>,
    /// The current snapshot.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// The counters.
    pub counters: Counters,
    /// The wall clock.
    pub wall: WallClock,
    /// When the daemon started.
    pub started_at: Timestamp,
    /// Cancelled when the daemon stops.
    pub stop: CancellationToken,
}

/// Exports as configured in `[otlp]`, until `stop` is cancelled.
pub async fn run(mut export: Export) {
    let mut ready: Option<(Arc<Settings>, Client)> = None;
    let mut redactor = LazyRedactor::default();
    let mut failing = false;
    let mut next = Instant::now();
    loop {
        let over = tokio::select! {
            () = export.stop.cancelled() => true,
            () = tokio::time::sleep_until(next) => false,
        };
        let config = export.config.borrow_and_update().clone();
        let Some(otlp) = &config.otlp else {
            if over {
                return;
            }
            next = Instant::now() + LOOK;
            continue;
        };
        next += otlp.interval;
        // Does not catch up on exports missed during sleep or because of a slow collector.
        next = next.max(Instant::now());
        if ready
            .as_ref()
            .is_none_or(|(of, _)| !Arc::ptr_eq(of, &config))
        {
            ready = http_client::without_redirects(TIMEOUT, &config)
                .ok()
                .map(|client| (config.clone(), client));
        }
        let sent = match &ready {
            None => Err("`ca_file` or `proxy` cannot be used".to_owned()),
            Some((_, client)) => {
                let body = body(&export, &config).await;
                let limit = if over { FAREWELL } else { TIMEOUT };
                let sent = tokio::select! {
                    sent = tokio::time::timeout(limit, send(client, otlp, body)) => sent,
                    // A hanging collector does not delay shutdown: the last export has its own,
                    // shorter timeout.
                    () = export.stop.cancelled(), if !over => continue,
                };
                sent.unwrap_or_else(|_| Err("the collector did not answer in time".to_owned()))
            }
        };
        let sent = sent.map_err(|error| redactor.clean(&config, &error));
        match &sent {
            Ok(()) if failing => {
                emit(
                    Event::OtlpRecovered,
                    Level::INFO,
                    "the collector accepts metrics again",
                    &json!({}),
                );
            }
            Err(error) if !failing => {
                let message = format!(
                    "the collector does not accept metrics, retrying at each interval: {error}"
                );
                emit(
                    Event::OtlpFailed,
                    Level::WARN,
                    &message,
                    &json!({"error": error}),
                );
            }
            _ => {}
        }
        failing = sent.is_err();
        if over {
            return;
        }
    }
}

/// Builds the compressed request body. It runs on its own thread, because that of a large fleet
/// takes a while.
async fn body(export: &Export, config: &Arc<Settings>) -> Vec<u8> {
    let snapshot = export.snapshot.borrow().clone();
    let counted = export.counters.read();
    let now = (export.wall)();
    let started_at = export.started_at;
    let config = config.clone();
    let work = move || {
        let process = ProcessStats::read(started_at);
        let source = ExportSource {
            snapshot: &snapshot,
            counted: &counted,
            process: &process,
            endpoints: &config.endpoints,
            version: env!("LLMWATCH_VERSION"),
            started_at,
            now,
        };
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        // Writing to memory cannot fail.
        let written = otlp::write(&source, &mut packed);
        written.and_then(|()| packed.finish()).unwrap_or_default()
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_default()
}

async fn send(client: &Client, otlp: &Otlp, body: Vec<u8>) -> Result<(), String> {
    let mut request = client
        .post(otlp.endpoint.clone())
        .header("content-type", "application/json");
    request = request.header("content-encoding", "gzip");
    for (name, value) in &otlp.headers {
        request = request.header(name, value.expose());
    }
    let mut response = request
        .body(body)
        .send()
        .await
        .map_err(|e| http_client::error_text(&e, "the collector"))?;
    let status = response.status();
    let mut answer = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        answer.extend_from_slice(&chunk);
        if answer.len() > MAX_ANSWER {
            break;
        }
    }
    if !status.is_success() {
        return Err(format!("HTTP {}", status.as_u16()));
    }
    // The collector may accept only a part and say why.
    let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
    let rejected = &answer["partialSuccess"]["rejectedDataPoints"];
    let rejected = rejected
        .as_str()
        .and_then(|n| n.parse().ok())
        .or(rejected.as_u64())
        .unwrap_or(0);
    if rejected == 0 {
        return Ok(());
    }
    let why: String = answer["partialSuccess"]["errorMessage"]
        .as_str()
        .unwrap_or_default()
        .chars()
        .take(MAX_SHOWN)
        .collect();
    Err(format!("it rejects {rejected} data points: {why}"))
}
