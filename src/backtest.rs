//! Replays labelled probe traces through the detector: what would it have said, and when?
//!
//! A folder holds `manifest.json` and one `*.csv.gz` a trace (`unix_ms,endpoint,slot,outcome,error_kind,ttft_ms,total_ms,
//! net`). Slot `s` is the scheduled cadence; the other rows stand ready for a detector that looks again: one that wants
//! to probe at time T gets the endpoint's first row at or after T, and may act on it only when that probe has ended.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::read::GzDecoder;
use serde::{Deserialize, Serialize};

use crate::detect::{Cause, Detector, Event, Note, Observation, Policy, Reading, Result as Probed};
use crate::model::{DetectionPolicy, Timestamp};

/// Why a trace could not be replayed.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// A file cannot be read.
    #[error("cannot read `{path}`: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The manifest is not as it should be.
    #[error("`{path}` is no manifest of traces: {source}", path = path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
    /// A row is not as it should be.
    #[error("`{path}`, line {line}: {what}", path = path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// One thing that the detector said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Said {
    /// The trace.
    pub trace: String,
    /// When, in milliseconds since the epoch.
    pub t_ms: i64,
    /// About which endpoint.
    pub endpoint: String,
    /// open, join, escalate, resolved, offline or online.
    pub event: String,
    /// Whether a mail would go out.
    pub notify: bool,
    /// Why.
    pub cause: String,
    /// The figures, for people.
    pub text: String,
}

#[derive(Debug, Deserialize)]
struct Trace {
    #[serde(rename = "trace")]
    name: String,
    file: String,
    interval_ms: i64,
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

/// Replays every trace of `folder` under `policy`.
///
/// # Errors
/// When the manifest or a trace cannot be read.
pub fn replay(folder: &Path, policy: &DetectionPolicy) -> Result<Vec<Said>, TraceError> {
    let path = folder.join("manifest.json");
    let text = std::fs::read(&path).map_err(|source| TraceError::Read { path: path.clone(), source })?;
    let traces: Vec<Trace> = serde_json::from_slice(&text).map_err(|source| TraceError::Manifest { path, source })?;
    let mut said = Vec::new();
    for trace in &traces {
        let rows = load(&folder.join(&trace.file))?;
        said.extend(replay_one(trace, &rows, policy));
    }
    Ok(said)
}

fn load(path: &Path) -> Result<BTreeMap<String, Vec<Row>>, TraceError> {
    let failed = |source| TraceError::Read { path: path.to_owned(), source };
    let reader = BufReader::new(GzDecoder::new(File::open(path).map_err(failed)?));
    let mut rows: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for (index, line) in reader.lines().enumerate().skip(1) {
        let line = line.map_err(failed)?;
        let bad = |what| TraceError::Row { path: path.to_owned(), line: index + 1, what };
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

fn replay_one(trace: &Trace, rows: &BTreeMap<String, Vec<Row>>, policy: &DetectionPolicy) -> Vec<Said> {
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
    let mut detector = Detector::default();
    let mut said = Vec::new();
    loop {
        let next = runs.iter().enumerate().filter_map(|(i, r)| Some((r.ends()?, i))).min();
        let Some((_, i)) = next else { return said };
        let Some(observation) = runs[i].observe(trace.interval_ms) else { return said };
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
        said.extend(verdict.notes.iter().map(|note| say(&trace.name, note)));
    }
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

fn say(trace: &str, note: &Note) -> Said {
    let text = match (note.event, note.cause.is_slow()) {
        (Event::Resolved | Event::Offline | Event::Online, _) => String::new(),
        (_, true) => format!(
            "{} of the last {} probes slow; typical first token {:.0} ms, now {:.0} ms",
            note.k,
            note.n,
            note.typical_first_token_ms.unwrap_or(0.0),
            note.first_token_ms.unwrap_or(0.0)
        ),
        (_, false) => format!(
            "errors {} of the last {} probes; typical {:.1} %",
            note.k,
            note.n,
            100.0 * note.typical_failure_rate
        ),
    };
    let cause = if note.event == Event::Resolved { Cause::None } else { note.cause };
    Said {
        trace: trace.to_owned(),
        t_ms: note.at.0,
        endpoint: note.endpoint.clone(),
        event: note.event.as_str().to_owned(),
        notify: matches!(note.event, Event::Open | Event::Escalate | Event::Resolved),
        cause: cause.as_str().to_owned(),
        text,
    }
}
