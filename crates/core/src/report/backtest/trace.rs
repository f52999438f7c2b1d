//! Labelled probe traces: a folder with `manifest.json` and one `*.csv.gz` per trace, or one such
//! file.
//!
//! The columns are `unix_ms,endpoint,slot,outcome,error_kind,ttft_ms,total_ms,net`. Slot `s` marks
//! scheduled probes. The other rows are available for rechecks: a detector that wants to probe at
//! time T gets the endpoint's first row at or after T. It sees the result only when that probe has
//! ended.
//!
//! The manifest beside a file describes it. Without a manifest, the interval is inferred from the
//! scheduled rows, and the provider is the part of the endpoint name before the slash.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::{Replay, ReplayError, ReplayedTrace, TraceReplay};
use crate::detect::{Detector, FailureReason, LatencyReading, Observation, Policy, ProbeResult};
use crate::model::{DetectionPolicy, EndpointName, ProviderName, Timestamp};

/// A connection that fails within this time was refused, not timed out.
const REFUSED_WITHIN_MS: f64 = 1000.0;
/// The header line of a trace.
const COLUMNS: &str = "unix_ms,endpoint,slot,outcome,error_kind,ttft_ms,total_ms,net";

/// The manifest entry of one trace.
#[derive(Debug, Deserialize)]
pub struct Trace {
    #[serde(rename = "trace")]
    name: String,
    /// The file name, relative to the manifest's folder.
    pub file: String,
    interval_ms: i64,
    days: Option<f64>,
    endpoints: Vec<EndpointName>,
    providers: Vec<ProviderName>,
}

#[derive(Debug)]
struct TraceRow {
    at: i64,
    scheduled: bool,
    error: String,
    first_token_ms: f64,
    total_ms: f64,
    is_online: bool,
}

/// Parses the manifest of a folder of traces.
///
/// # Errors
/// When the manifest is invalid.
pub fn parse_manifest(path: &Path, text: &[u8]) -> Result<Vec<Trace>, ReplayError> {
    serde_json::from_slice(text).map_err(|source| ReplayError::Manifest {
        path: path.to_owned(),
        source,
    })
}

/// Infers the manifest entry of a trace that has none.
pub fn describe(path: &Path, rows: &Rows) -> Trace {
    let file = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let mut distances = Vec::new();
    for rows in rows.0.values() {
        let scheduled: Vec<_> = rows.iter().filter(|r| r.scheduled).map(|r| r.at).collect();
        distances.extend(scheduled.windows(2).map(|w| w[1] - w[0]));
    }
    distances.retain(|distance| *distance > 0);
    distances.sort_unstable();
    let endpoints: Vec<_> = rows.0.keys().cloned().collect();

    Trace {
        name: file.split('.').next().unwrap_or_default().to_owned(),
        interval_ms: distances
            .get(distances.len() / 2)
            .copied()
            .unwrap_or(60_000),
        days: None,
        providers: endpoints.iter().map(provider_of).collect(),
        endpoints,
        file,
    }
}

/// An endpoint of a trace is named `provider/endpoint`.
fn provider_of(endpoint: &EndpointName) -> ProviderName {
    let name = endpoint.as_str();
    name.split_once('/')
        .map_or(name, |(provider, _)| provider)
        .into()
}

fn bad_row(path: &Path, index: usize, what: &str) -> ReplayError {
    ReplayError::Row {
        path: path.to_owned(),
        line: index + 1,
        what: what.to_owned(),
    }
}

/// The rows of a trace, by endpoint.
#[derive(Debug, Default)]
pub struct Rows(BTreeMap<EndpointName, Vec<TraceRow>>);

/// Reads the rows of a trace; `path` is for error messages.
///
/// # Errors
/// When the text cannot be read or a row is invalid.
pub fn read_rows(path: &Path, text: impl BufRead) -> Result<Rows, ReplayError> {
    let mut rows = BTreeMap::<EndpointName, Vec<TraceRow>>::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.map_err(|source| ReplayError::Read {
            path: path.to_owned(),
            source,
        })?;
        let line = line.trim_end();
        if index == 0 {
            if line != COLUMNS {
                let what = format!("expected the columns of a trace: `{COLUMNS}`");
                return Err(bad_row(path, index, &what));
            }
            continue;
        }
        let cells: Vec<&str> = line.split(',').collect();
        let &[at, endpoint, slot, outcome, kind, first, total, net] = cells.as_slice() else {
            return Err(bad_row(path, index, "expected eight columns"));
        };
        rows.entry(endpoint.into()).or_default().push(TraceRow {
            at: at
                .parse()
                .map_err(|_| bad_row(path, index, "`unix_ms` is not an integer"))?,
            scheduled: slot == "s",
            error: if outcome == "error" {
                kind.to_owned()
            } else {
                String::new()
            },
            first_token_ms: first.parse().unwrap_or(-1.0),
            total_ms: total
                .parse()
                .map_err(|_| bad_row(path, index, "`total_ms` is not a number"))?,
            is_online: net != "0",
        });
    }
    for rows in rows.values_mut() {
        rows.sort_by_key(|row| row.at);
    }
    Ok(Rows(rows))
}

/// Replays one trace under `policy`, into `replay`.
pub fn replay_one(trace: &Trace, rows: &Rows, policy: &DetectionPolicy, replay: &mut Replay) {
    let interval = Duration::from_millis(trace.interval_ms.unsigned_abs());
    let policies: BTreeMap<EndpointName, Policy> = trace
        .endpoints
        .iter()
        .zip(&trace.providers)
        .map(|(name, provider)| {
            (
                name.clone(),
                Policy::new(policy, interval, provider.clone()),
            )
        })
        .collect();
    let mut runs: Vec<TraceRun<'_>> = trace
        .endpoints
        .iter()
        .filter_map(|name| {
            let rows = rows.0.get(name)?;
            let first = rows.iter().find(|r| r.scheduled)?.at;
            let mut run = TraceRun {
                name,
                rows,
                tick: first,
                in_flight: None,
            };
            run.launch(first);
            Some(run)
        })
        .collect();
    let times = rows.0.values().flatten().map(|r| r.at);
    let from = times.clone().min().unwrap_or(0);
    let to = times.max().unwrap_or(0);
    let mut trace_replay = TraceReplay::new(ReplayedTrace {
        trace: trace.name.clone(),
        interval_ms: trace.interval_ms,
        days: trace.days.unwrap_or((to - from) as f64 / 86_400_000.0),
        endpoints: trace
            .endpoints
            .iter()
            .cloned()
            .zip(trace.providers.iter().cloned())
            .collect(),
    });
    let mut detector = Detector::default();
    loop {
        let next = runs
            .iter()
            .enumerate()
            .filter_map(|(i, r)| Some((r.ends()?, i)))
            .min();
        let Some((_, i)) = next else { break };
        let Some(observation) = runs[i].observe(trace.interval_ms.max(1)) else {
            break;
        };
        let verdict = detector.observe(&policies, &observation);
        let mut own = observation.next_tick.0;
        for (name, at) in &verdict.rechecks {
            if *name == observation.endpoint {
                own = at.0;
            } else if let Some(sibling) = runs.iter_mut().find(|r| *name == r.name) {
                sibling.launch(at.0);
            }
        }
        runs[i].launch(own);
        trace_replay.record(&verdict);
    }
    replay.take(trace_replay);
}

struct TraceRun<'a> {
    name: &'a str,
    rows: &'a [TraceRow],
    tick: i64,
    in_flight: Option<&'a TraceRow>,
}

impl TraceRun<'_> {
    fn launch(&mut self, at: i64) {
        self.in_flight = self.rows.get(self.rows.partition_point(|r| r.at < at));
        if let Some(row) = self.in_flight.filter(|r| r.scheduled) {
            self.tick = row.at;
        }
    }

    /// Returns when the probe in flight ends, with sub-millisecond precision so that ties are
    /// ordered.
    fn ends(&self) -> Option<OrderedMs> {
        self.in_flight.map(|r| OrderedMs(r.at as f64 + r.total_ms))
    }

    fn observe(&mut self, interval: i64) -> Option<Observation> {
        let row = self.in_flight.take()?;
        let end = row.at + row.total_ms as i64;
        if row.at == self.tick {
            self.tick += interval;
        }
        while self.tick <= end {
            self.tick += interval;
        }
        let result = if !row.is_online && row.error == "connect" {
            ProbeResult::Offline
        } else if row.error.is_empty() {
            let first_token_ms = row.first_token_ms.max(1.0);
            ProbeResult::Good(Some(LatencyReading {
                first_token_ms,
                total_ms: row.total_ms.max(1.0),
                per_token_ms: per_token(row),
                beyond_limits: None,
            }))
        } else {
            ProbeResult::Failed {
                reason: reason(row),
                retry_after_ms: None,
            }
        };
        Some(Observation {
            endpoint: self.name.into(),
            start: Timestamp(row.at),
            end: Timestamp(end),
            next_tick: Timestamp(self.tick),
            result,
        })
    }
}

/// Estimates the time per token. Traces have no token counts, so twenty tokens are assumed; only
/// changes matter.
fn per_token(row: &TraceRow) -> Option<f64> {
    let rest = row.total_ms - row.first_token_ms;
    (rest > 0.0).then_some(rest / 20.0)
}

fn reason(row: &TraceRow) -> FailureReason {
    match row.error.as_str() {
        "http_429" => FailureReason::RateLimited,
        "timeout_first_token" | "timeout_total" => FailureReason::TimedOut,
        "connect" if row.total_ms < REFUSED_WITHIN_MS => FailureReason::Confirmed,
        _ => FailureReason::Other,
    }
}

#[derive(Clone, Copy, PartialEq)]
struct OrderedMs(f64);

impl Eq for OrderedMs {}

impl PartialOrd for OrderedMs {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for OrderedMs {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}
