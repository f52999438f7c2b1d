//! Scores a replay against labels: what was detected, how fast, and how many false alerts.
//!
//! An incident counts as detected when one of its endpoints opens, joins or escalates between its
//! start and its end. A notification outside every incident of its endpoint (plus ten minutes) is a
//! false alert. While the monitor itself is offline, every alert is false. An incident that begins
//! while an alert is still open is skipped. Quantiles are nearest-rank, rounded up.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Replay, ReplayEvent, ReplayedTrace};
use crate::model::EndpointName;

/// An alert within this time after the end of an incident is late, not false.
const GRACE_MS: i64 = 600_000;
/// The label kind for the monitor's own network.
const LOCAL: &str = "local_net";
/// Kinds that are scored together.
const GROUPS: [(&str, &[&str]); 4] = [
    ("outage", &["hard_5xx", "hard_hang"]),
    (
        "errors",
        &[
            "partial_20",
            "partial_40",
            "partial_60",
            "truncated",
            "storm_429",
            "ramp_errors",
        ],
    ),
    (
        "slow",
        &["latency_x3", "latency_x5", "latency_x10", "slow_drip"],
    ),
    ("flapping", &["flapping"]),
];

/// A labelled incident.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Label {
    /// The trace; empty means any.
    #[serde(default)]
    pub trace: String,
    /// The start, in milliseconds since the Unix epoch.
    pub start_ms: i64,
    /// The end, in milliseconds since the Unix epoch.
    pub end_ms: i64,
    /// The kind, for instance `hard_5xx`.
    pub kind: String,
    /// `endpoint`, `provider` or `monitor`.
    #[serde(default)]
    pub scope: String,
    /// The affected endpoints.
    pub endpoints: Vec<EndpointName>,
}

/// The result of comparing a replay with labels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Score {
    /// One row per kind and scope.
    pub kinds: Vec<KindScore>,
    /// Kinds that are scored together, by interval.
    pub groups: Vec<GroupScore>,
    /// False alerts, one row per trace.
    pub false_alerts: Vec<Noise>,
    /// Over all traces.
    pub overall: Noise,
}

/// The score of one kind of incident.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KindScore {
    /// The kind.
    pub kind: String,
    /// Its scope.
    pub scope: String,
    /// The figures.
    #[serde(flatten)]
    pub figures: ScoreFigures,
}

/// The score of one group of kinds at one interval.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupScore {
    /// The interval of the probes.
    pub interval_ms: i64,
    /// `outage`, `errors`, `slow` or `flapping`.
    pub group: &'static str,
    /// The scope.
    pub scope: String,
    /// The figures.
    #[serde(flatten)]
    pub figures: ScoreFigures,
}

/// Delays and notification counts of some incidents. A value is `None` when there is no data, or
/// when so many incidents were missed that the quantile is infinite.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScoreFigures {
    /// The number of incidents.
    pub n: usize,
    /// The share that was detected, 0 to 1.
    pub caught: f64,
    /// Median seconds from the start of the incident to the alert.
    pub median_s: Option<f64>,
    /// 95th percentile of the same delay, in seconds.
    pub p95_s: Option<f64>,
    /// Notifications per incident.
    pub notes: f64,
    /// Seconds from the end of the incident to its resolution.
    pub resolve_s: Option<f64>,
}

/// The number of false alerts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Noise {
    /// The trace, or `overall`.
    pub trace: String,
    /// The number of false alerts.
    pub alerts: usize,
    /// The endpoint-months that were monitored.
    pub endpoint_months: f64,
}

struct Met {
    delay_s: f64,
    notes: usize,
    resolve_s: Option<f64>,
    interval_ms: i64,
}

impl Score {
    /// Scores `replay` against `labels`.
    pub fn new(replay: &Replay, labels: &[Label]) -> Self {
        let mut events: Vec<&ReplayEvent> = replay.events.iter().collect();
        events.sort_by_key(|s| s.t_ms);
        let mut explained = BTreeSet::new();
        let mut met: BTreeMap<(String, String), Vec<Met>> = BTreeMap::new();
        for trace in &replay.traces {
            for label in labels {
                if label.trace != trace.trace && !label.trace.is_empty() {
                    continue;
                }
                let row = meet(&events, trace, label, &mut explained);
                met.entry((label.kind.clone(), label.scope.clone()))
                    .or_default()
                    .extend(row);
            }
        }
        let false_alerts: Vec<_> = replay
            .traces
            .iter()
            .map(|w| noise(&events, w, &explained))
            .collect();
        let alerts = false_alerts.iter().map(|n| n.alerts).sum();
        let endpoint_months = false_alerts
            .iter()
            .fold(0.0, |sum, n| sum + n.endpoint_months);
        let overall = Noise {
            trace: "overall".to_owned(),
            alerts,
            endpoint_months,
        };
        let groups = groups(replay, &met);
        let kinds = met.iter().filter_map(|((kind, scope), rows)| {
            let figures = figures(rows.iter())?;
            Some(KindScore {
                kind: kind.clone(),
                scope: scope.clone(),
                figures,
            })
        });
        Self {
            kinds: kinds.collect(),
            groups,
            false_alerts,
            overall,
        }
    }
}

/// Scores one incident; `None` if an alert was already open before it began.
fn meet(
    events: &[&ReplayEvent],
    trace: &ReplayedTrace,
    label: &Label,
    explained: &mut BTreeSet<usize>,
) -> Option<Met> {
    let about: Vec<_> = events
        .iter()
        .enumerate()
        .filter(|(_, s)| s.trace == trace.trace && label.endpoints.contains(&s.endpoint))
        .collect();
    let within: Vec<_> = about
        .iter()
        .filter(|(_, s)| {
            is_alarm(s) && (label.start_ms..=label.end_ms + GRACE_MS).contains(&s.t_ms)
        })
        .collect();
    if label.kind != LOCAL {
        explained.extend(within.iter().map(|(k, _)| *k));
    }
    let mut before: BTreeMap<&str, bool> = BTreeMap::new();
    for (_, s) in about.iter().filter(|(_, s)| s.t_ms < label.start_ms) {
        before.insert(&s.endpoint, is_alarm(s));
    }
    if before.values().any(|open| *open) {
        return None;
    }
    let caught = within
        .iter()
        .map(|(_, s)| s.t_ms)
        .filter(|t| *t <= label.end_ms)
        .min();
    let resolved = label.endpoints.iter().filter_map(|endpoint| {
        let mut own = about
            .iter()
            .map(|(_, s)| *s)
            .filter(|s| s.endpoint == *endpoint);
        let mut during = own.clone().filter(|s| {
            s.t_ms <= label.end_ms && !matches!(s.event.as_str(), "offline" | "online")
        });
        let open = during.next_back().is_some_and(|s| is_alarm(s));
        let over = own
            .find(|s| s.t_ms > label.end_ms && s.event == "resolved")
            .filter(|_| open)?;
        Some(over.t_ms - label.end_ms)
    });
    Some(Met {
        delay_s: caught.map_or(f64::INFINITY, |t| (t - label.start_ms) as f64 / 1000.0),
        notes: within.iter().filter(|(_, s)| s.notify).count(),
        resolve_s: resolved.max().map(|ms| ms as f64 / 1000.0),
        interval_ms: trace.interval_ms,
    })
}

fn is_alarm(event: &ReplayEvent) -> bool {
    matches!(event.event.as_str(), "open" | "join" | "escalate")
}

fn noise(events: &[&ReplayEvent], trace: &ReplayedTrace, explained: &BTreeSet<usize>) -> Noise {
    let alerts = events
        .iter()
        .enumerate()
        .filter(|(k, s)| s.trace == trace.trace && !explained.contains(k) && s.notify)
        .filter(|(_, s)| matches!(s.event.as_str(), "open" | "escalate"))
        .count();
    let endpoint_months = trace.days / 30.0 * trace.endpoints.len() as f64;
    Noise {
        trace: trace.trace.clone(),
        alerts,
        endpoint_months,
    }
}

fn groups(replay: &Replay, met: &BTreeMap<(String, String), Vec<Met>>) -> Vec<GroupScore> {
    let intervals: BTreeSet<_> = replay.traces.iter().map(|w| w.interval_ms).collect();
    let mut groups = Vec::new();
    for interval_ms in intervals {
        for (group, kinds) in GROUPS {
            for scope in ["endpoint", "provider"] {
                let rows = met
                    .iter()
                    .filter(|((kind, s), _)| kinds.contains(&kind.as_str()) && s == scope)
                    .flat_map(|(_, rows)| rows)
                    .filter(|m| m.interval_ms == interval_ms);
                let scope = scope.to_owned();
                groups.extend(figures(rows).map(|figures| GroupScore {
                    interval_ms,
                    group,
                    scope,
                    figures,
                }));
            }
        }
    }
    groups
}

fn figures<'a>(rows: impl Iterator<Item = &'a Met>) -> Option<ScoreFigures> {
    let rows: Vec<_> = rows.collect();
    let n = rows.len();
    let delays: Vec<_> = rows.iter().map(|m| m.delay_s).collect();
    let resolved: Vec<_> = rows.iter().filter_map(|m| m.resolve_s).collect();
    let caught = delays.iter().filter(|d| d.is_finite()).count();
    let notes: usize = rows.iter().map(|m| m.notes).sum();
    (n > 0).then(|| ScoreFigures {
        n,
        caught: caught as f64 / n as f64,
        median_s: quantile(&delays, 0.5),
        p95_s: quantile(&delays, 0.95),
        notes: notes as f64 / n as f64,
        resolve_s: quantile(&resolved, 0.5),
    })
}

fn quantile(values: &[f64], p: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (p * sorted.len().saturating_sub(1) as f64).ceil() as usize;
    sorted
        .get(rank.min(sorted.len().saturating_sub(1)))
        .copied()
        .filter(|v| v.is_finite())
}

/// Prints the table in the format of the reference scorer.
impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:16}{:10}{:>4}{:>8}{:>10}{:>8}{:>7}{:>10}",
            "kind", "scope", "n", "caught", "median s", "p95 s", "notes", "resolve s"
        )?;
        for KindScore {
            kind,
            scope,
            figures: k,
        } in &self.kinds
        {
            let median = seconds(k.median_s, "inf");
            let p95 = seconds(k.p95_s, "inf");
            let caught = 100.0 * k.caught;
            let resolve = seconds(k.resolve_s, "nan");
            writeln!(
                f,
                "{kind:16}{scope:10}{:4}{caught:7.0}%{median:>10}{p95:>8}{:7.2}{resolve:>10}",
                k.n, k.notes
            )?;
        }
        for n in &self.false_alerts {
            writeln!(
                f,
                "false alerts {}: {} in {:.1} endpoint-months",
                n.trace, n.alerts, n.endpoint_months
            )?;
        }
        let Noise {
            alerts,
            endpoint_months,
            ..
        } = self.overall;
        let rate = if endpoint_months > 0.0 {
            alerts as f64 / endpoint_months
        } else {
            0.0
        };
        write!(
            f,
            "false alerts overall: {alerts} in {endpoint_months:.1} endpoint-months = {rate:.2} per endpoint-month"
        )?;
        let mut interval = None;
        for GroupScore {
            interval_ms,
            group,
            scope,
            figures: g,
        } in &self.groups
        {
            if interval.replace(*interval_ms) != Some(*interval_ms) {
                write!(f, "\n-- traces probed every {} s", interval_ms / 1000)?;
            }
            let median = seconds(g.median_s, "inf");
            let p95 = seconds(g.p95_s, "inf");
            write!(
                f,
                "\n   {group:9} {scope:9} n {:3} caught {:5.1}% median {median:>6} s p95 {p95:>6} s \
                 notes/incident {:.2}",
                g.n,
                100.0 * g.caught,
                g.notes
            )?;
        }
        Ok(())
    }
}

fn seconds(value: Option<f64>, none: &str) -> String {
    value.map_or_else(|| none.to_owned(), |s| format!("{s:.0}"))
}
