//! Downtime against an objective: what a vendor's commitment allows in a period, and what there was.

use std::time::Duration;

use serde::Serialize;

use crate::model::{Attribution, Incident, Status, Timestamp};

/// A commitment and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sla {
    /// The objective, in percent.
    pub objective: f64,
    /// Share of good probes, from 0 to 1, without those of the account's and this machine's faults; `null` without one.
    pub availability: Option<f64>,
    /// Time in outages of the provider within the period, in seconds.
    pub downtime_s: f64,
    /// What the objective allows in the period, in seconds.
    pub allowed_s: f64,
    /// Whether there was more downtime than allowed, or the availability is below the objective.
    pub missed: bool,
}

impl Sla {
    /// The commitment to `objective`, in percent, over `length`.
    pub fn new(
        objective: f64,
        availability: Option<f64>,
        downtime_s: f64,
        length: Duration,
    ) -> Self {
        let share = objective / 100.0;
        let allowed_s = (1.0 - share) * length.as_secs_f64();
        let missed = downtime_s > allowed_s || availability.is_some_and(|a| a < share);
        Self {
            objective,
            availability,
            downtime_s,
            allowed_s,
            missed,
        }
    }

    /// By how many seconds the downtime exceeds what is allowed.
    pub fn excess_s(&self) -> f64 {
        (self.downtime_s - self.allowed_s).max(0.0)
    }
}

/// How long at least one of the endpoints that `concerns` names was in an outage of its provider between `since` and `until`,
/// in seconds. Each incident counts from its first bad to its first good probe; overlapping ones count once.
pub fn downtime_s(
    incidents: &[Incident],
    (since, until): (Timestamp, Timestamp),
    concerns: impl Fn(&str) -> bool,
) -> f64 {
    let is_downtime = |i: &&Incident| {
        i.attribution == Attribution::Provider
            && i.status == Status::Outage
            && i.endpoints.iter().any(|name| concerns(name))
    };
    let mut spans: Vec<(i64, i64)> = incidents
        .iter()
        .filter(is_downtime)
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
