//! Compares downtime with what an SLA allows in a period.

use std::time::Duration;

use serde::Serialize;

use super::rounded;
use crate::model::{Attribution, Incident, Status, Timestamp};

/// An SLA and whether it was met.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sla {
    /// The objective, in percent.
    pub objective: f64,
    /// The share of good probes, from 0 to 1; `null` without probes. Faults of the account and of
    /// this machine are excluded.
    pub availability: Option<f64>,
    /// Time in outages of the provider within the period, in seconds.
    pub downtime_s: f64,
    /// The downtime that the objective allows in the period, in seconds.
    pub allowed_s: f64,
    /// Whether the downtime exceeds the allowance or the availability is below the objective.
    pub missed: bool,
}

impl Sla {
    /// Evaluates an SLA of `objective` percent over a period of `length`.
    pub fn new(
        objective: f64,
        availability: Option<f64>,
        downtime_s: f64,
        length: Duration,
    ) -> Self {
        let share = objective / 100.0;
        let allowed_s = rounded((1.0 - share) * length.as_secs_f64(), 1e3);
        let missed = downtime_s > allowed_s || availability.is_some_and(|a| a < share);
        Self {
            objective,
            availability,
            downtime_s,
            allowed_s,
            missed,
        }
    }

    /// Returns by how many seconds the downtime exceeds the allowance.
    pub fn excess_s(&self) -> f64 {
        (self.downtime_s - self.allowed_s).max(0.0)
    }
}

/// Returns the downtime between `since` and `until`, in seconds: the time in which at least one
/// endpoint selected by `concerns` was in an outage of its provider. Each incident counts from its
/// first bad probe to its first good probe. Overlapping incidents count once.
pub fn downtime_s(
    incidents: &[Incident],
    (since, until): (Timestamp, Timestamp),
    concerns: impl Fn(&str) -> bool,
) -> f64 {
    let mut spans: Vec<(i64, i64)> = incidents
        .iter()
        .filter(|i| {
            i.attribution == Attribution::Provider
                && i.status == Status::Outage
                && i.endpoints.iter().any(|name| concerns(name))
        })
        .map(|i| {
            let end = i.end().unwrap_or(until);
            (i.started_at.max(since).0, end.min(until).0)
        })
        .filter(|(from, to)| from < to)
        .collect();
    spans.sort_unstable();
    let mut total_ms = 0;
    let mut reached = i64::MIN;
    for (from, to) in spans {
        total_ms += (to - from.max(reached)).max(0);
        reached = reached.max(to);
    }
    total_ms as f64 / 1000.0
}
