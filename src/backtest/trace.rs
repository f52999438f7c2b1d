//! A folder of labelled probe traces: `manifest.json` and one `*.csv.gz` a trace.
//!
//! The columns are `unix_ms,endpoint,slot,outcome,error_kind,ttft_ms,total_ms,net`. Slot `s` is the scheduled cadence; the
//! other rows stand ready for a detector that looks again: one that wants to probe at time T gets the endpoint's first
//! row at or after T, and may act on it only when that probe has ended.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use flate2::read::GzDecoder;
use serde::Deserialize;

use super::{Replay, ReplayError, Tale, Watched};
use crate::detect::{Detector, Observation, Policy, Reading, Result as Probed};
use crate::model::{DetectionPolicy, Timestamp};

#[derive(Debug, Deserialize)]
struct Trace {
    #[serde(rename = "trace")]
    name: String,
    file: String,
    interval_ms: i64,
    days: Option<f64>,
    endpoints: Vec<String>,
    providers: Vec<String>,
}

struct Row {
    at: i64,
    scheduled: bool,
    error: String,
    first_token_ms: f64,
    total_ms: f64,
    sighted: bool,
}

/// Replays every trace of `folder` under each of `policies`.
///
/// # Errors
/// When the manifest or a trace cannot be read.
pub fn replay(folder: &Path, policies: &[&DetectionPolicy]) -> Result<Vec<Replay>, ReplayError> {
    let path = folder.join("manifest.json");
    let text = std::fs::read(&path).map_err(|source| ReplayError::Read { path: path.clone(), source })?;
    let traces: Vec<Trace> = serde_json::from_slice(&text).map_err(|source| ReplayError::Manifest { path, source })?;
    let mut replays: Vec<_> = policies.iter().map(|_| Replay::default()).collect();
    for trace in &traces {
        let rows = load(&folder.join(&trace.file))?;
        for (policy, replay) in policies.iter().zip(&mut replays) {
            replay_one(trace, &rows, policy, replay);
        }
    }
    Ok(replays)
}

fn load(path: &Path) -> Result<BTreeMap<String, Vec<Row>>, ReplayError> {
    let failed = |source| ReplayError::Read { path: path.to_owned(), source };
    let reader = BufReader::new(GzDecoder::new(File::open(path).map_err(failed)?));
    let mut rows: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for (index, line) in reader.lines().enumerate().skip(1) {
        let line = line.map_err(failed)?;
        let bad = |what: &str| ReplayError::Row { path: path.to_owned(), line: index + 1, what: what.to_owned() };
        let cells: Vec<&str> = line.split(',').collect();
        let &[at, endpoint, slot, outcome, kind, first, total, net] = cells.as_slice() else {
            return Err(bad("eight columns are wanted"));
        };
        rows.entry(endpoint.to_owned()).or_default().push(Row {
            at: at.parse().map_err(|_| bad("`unix_ms` is no whole number"))?,
            scheduled: slot == "s",
            error: if outcome == "error" { kind.to_owned() } else { String::new() },
            first_token_ms: first.parse().unwrap_or(-1.0),
            total_ms: total.parse().map_err(|_| bad("`total_ms` is no number"))?,
            sighted: net != "0",
        });
    }
    Ok(rows)
}

fn replay_one(trace: &Trace, rows: &BTreeMap<String, Vec<Row>>, policy: &DetectionPolicy, replay: &mut Replay) {
    let interval = Duration::from_millis(trace.interval_ms.unsigned_abs());
    let roster: BTreeMap<String, Policy> = trace
        .endpoints
        .iter()
        .zip(&trace.providers)
        .map(|(name, provider)| (name.clone(), Policy::new(policy, interval, provider.clone())))
        .collect();
    let mut runs: Vec<Run<'_>> = trace
        .endpoints
        .iter()
        .filter_map(|name| {
            let rows = rows.get(name)?;
            let first = rows.iter().find(|r| r.scheduled)?.at;
            let mut run = Run { name, rows, tick: first, in_flight: None };
            run.launch(first);
            Some(run)
        })
        .collect();
    let all = || rows.values().flatten();
    let (from, to) = (all().map(|r| r.at).min().unwrap_or(0), all().map(|r| r.at).max().unwrap_or(0));
    let mut tale = Tale::new(Watched {
        trace: trace.name.clone(),
        interval_ms: trace.interval_ms,
        days: trace.days.unwrap_or((to - from) as f64 / 86_400_000.0),
        endpoints: trace.endpoints.iter().cloned().zip(trace.providers.iter().cloned()).collect(),
    });
    let mut detector = Detector::default();
    loop {
        let next = runs.iter().enumerate().filter_map(|(i, r)| Some((r.ends()?, i))).min();
        let Some((_, i)) = next else { break };
        let Some(observation) = runs[i].observe(trace.interval_ms) else { break };
        let verdict = detector.observe(&roster, &observation);
        let mut own = observation.next_tick.0;
        for (name, at) in &verdict.look_again {
            if *name == observation.endpoint {
                own = at.0;
            } else if let Some(sibling) = runs.iter_mut().find(|r| r.name == name) {
                sibling.launch(at.0);
            }
        }
        runs[i].launch(own);
        tale.hear(&verdict);
    }
    replay.take(tale);
}

struct Run<'a> {
    name: &'a str,
    rows: &'a [Row],
    tick: i64,
    in_flight: Option<&'a Row>,
}

impl Run<'_> {
    fn launch(&mut self, at: i64) {
        self.in_flight = self.rows.get(self.rows.partition_point(|r| r.at < at));
        if let Some(row) = self.in_flight.filter(|r| r.scheduled) {
            self.tick = row.at;
        }
    }

    /// When the probe in flight ends, exactly: of two in the same millisecond the earlier is first.
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
        let result = if !row.sighted && row.error == "connect" {
            Probed::Offline
        } else if row.error.is_empty() {
            let first_token_ms = row.first_token_ms.max(1.0);
            Probed::Good(Some(Reading { first_token_ms, total_ms: row.total_ms.max(1.0), beyond_limits: None }))
        } else {
            Probed::Failed { rate_limited: row.error == "http_429", retry_after_ms: None }
        };
        Some(Observation {
            endpoint: self.name.to_owned(),
            start: Timestamp(row.at),
            end: Timestamp(end),
            next_tick: Timestamp(self.tick),
            result,
        })
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
