//! Replays recorded measurements through the detector to show when it would have alerted, with the
//! current settings or others.
//!
//! There are two kinds of input. Recorded samples are fixed, rechecks included: [`Samples`] holds
//! those of a file in memory, and an [`OngoingReplay`] takes those of a store as they are read. In
//! a labelled [`trace`], the detector schedules its own rechecks. Both use the daemon's detector.
//! [`score`](Score) compares its events with labels, and [`summary`](Summary) formats them.

mod samples;
mod score;
mod summary;
mod sweep;
mod trace;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use samples::{OngoingReplay, Samples, Survey};
pub use score::{Label, Score, ScoreFigures};
pub use summary::{Difference, Summary};
pub use sweep::Sweep;
pub use trace::{Rows, Trace, describe, parse_manifest, read_rows, replay_one};

use crate::detect::{Blip, DetectedCause, DetectorEvent, DetectorEventKind, Verdict};
use crate::message::values::Locale;
use crate::model::{EndpointName, ProviderName};

/// Why measurements could not be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A file cannot be read.
    #[error("cannot read `{path}`", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The manifest is invalid.
    #[error("`{path}` is not a manifest of traces", path = path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
    /// A row is invalid.
    #[error("`{path}`, line {line}: {what}", path = path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
}

/// One event of the detector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplayEvent {
    /// The trace.
    pub trace: String,
    /// When, in milliseconds since the Unix epoch.
    pub t_ms: i64,
    /// The endpoint.
    pub endpoint: EndpointName,
    /// open, join, escalate, resolved, offline or online.
    pub event: String,
    /// Whether a notification would be sent.
    pub notify: bool,
    /// The cause.
    pub cause: String,
    /// The figures, as text.
    pub text: String,
    /// When the first bad probe began, in milliseconds since the Unix epoch.
    #[serde(skip)]
    pub started_ms: i64,
}

/// The endpoints that one trace monitors.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplayedTrace {
    /// The trace's name.
    pub trace: String,
    /// The interval of its probes.
    pub interval_ms: i64,
    /// The length of the trace, in days.
    pub days: f64,
    /// Its endpoints, each with its failure domain.
    pub endpoints: Vec<(EndpointName, ProviderName)>,
}

/// All events of a replay.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Replay {
    /// The monitored endpoints, per trace.
    pub traces: Vec<ReplayedTrace>,
    /// The events, by trace and then by time.
    pub events: Vec<ReplayEvent>,
    /// Blips that raised no alert, each with its trace.
    pub blips: Vec<(String, Blip)>,
}

impl Replay {
    fn take(&mut self, trace_replay: TraceReplay) {
        self.traces.push(trace_replay.trace);
        self.events.extend(trace_replay.events);
        self.blips.extend(trace_replay.blips);
    }
}

/// The replay of one trace.
struct TraceReplay {
    trace: ReplayedTrace,
    events: Vec<ReplayEvent>,
    blips: Vec<(String, Blip)>,
}

impl TraceReplay {
    fn new(trace: ReplayedTrace) -> Self {
        Self {
            trace,
            events: Vec::new(),
            blips: Vec::new(),
        }
    }

    fn record(&mut self, verdict: &Verdict) {
        let trace = &self.trace.trace;
        self.events
            .extend(verdict.notes.iter().map(|note| say(trace, note)));
        self.blips.extend(
            verdict
                .blips
                .iter()
                .map(|blip| (trace.clone(), blip.clone())),
        );
    }
}

fn say(trace: &str, note: &DetectorEvent) -> ReplayEvent {
    let (k, n) = note.shared.map_or((note.k, note.n), |all| (all.k, all.n));
    let on = note
        .shared
        .map(|all| format!(" on {} of {} endpoints", all.endpoints, all.of))
        .unwrap_or_default();
    let text = match (note.event, note.cause) {
        (DetectorEventKind::Resolved, _) if note.new_normal => {
            "slow for a day; this is the new baseline".to_owned()
        }
        (
            DetectorEventKind::Resolved | DetectorEventKind::Offline | DetectorEventKind::Online,
            _,
        ) => String::new(),
        (_, DetectedCause::Account) => format!("the account was rejected {k} times"),
        (_, cause) if cause.is_slow() => {
            let mut text = format!("{k} of the last {n} probes slow{on}");
            if let Some(typical) = note.typical_first_token_ms {
                text += &format!("; typical first token {typical:.0} ms");
            }
            if let Some(now) = note.first_token_ms {
                text += &format!(", now {now:.0} ms");
            }
            text
        }
        _ if note.was_slow => format!("was slow, now failing: {k} of the last {n} probes"),
        _ => format!(
            "{k} of the last {n} probes failed{on}{}",
            note.typical_failure_rate.map_or(String::new(), |rate| {
                format!("; typically {}", Locale::default().failure_rate(rate))
            })
        ),
    };
    // A resolution carries no cause, except for account incidents, which resolve independently of
    // the provider's.
    let cause = if note.event == DetectorEventKind::Resolved && note.cause != DetectedCause::Account
    {
        DetectedCause::None
    } else {
        note.cause
    };
    ReplayEvent {
        trace: trace.to_owned(),
        t_ms: note.at.0,
        endpoint: note.endpoint.clone(),
        event: note.event.as_str().to_owned(),
        notify: matches!(
            note.event,
            DetectorEventKind::Open | DetectorEventKind::Escalate | DetectorEventKind::Resolved
        ),
        cause: cause.as_str().to_owned(),
        text,
        started_ms: note.started_at.0,
    }
}
