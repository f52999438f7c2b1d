//! Replays the same measurements with several values of one setting, to show its trade-offs.

use std::fmt;

use super::{Label, Replay, Score};

const DAYS_A_MONTH: f64 = 30.0;

/// A table with one row per value.
#[derive(Debug)]
pub struct Sweep {
    key: String,
    rows: Vec<SweepRow>,
}

#[derive(Debug)]
struct SweepRow {
    value: String,
    opened: usize,
    alerts: usize,
    endpoint_months: f64,
    /// Median seconds from the first bad probe to the alert.
    delay_s: Option<f64>,
    against_labels: Option<AgainstLabels>,
}

#[derive(Debug)]
struct AgainstLabels {
    caught: f64,
    false_alerts: f64,
}

impl Sweep {
    /// Returns an empty sweep of the setting `key`.
    pub fn new(key: &str) -> Self {
        Self {
            key: key.to_owned(),
            rows: Vec::new(),
        }
    }

    /// Adds the result for `value`.
    pub fn add(&mut self, value: &str, replay: &Replay, labels: Option<&[Label]>) {
        let opened: Vec<_> = replay.events.iter().filter(|s| s.event == "open").collect();
        let alerts = replay
            .events
            .iter()
            .filter(|s| s.notify && s.event != "resolved");
        let mut delays: Vec<i64> = opened.iter().map(|s| s.t_ms - s.started_ms).collect();
        delays.sort_unstable();
        let months = replay
            .traces
            .iter()
            .map(|w| w.days / DAYS_A_MONTH * w.endpoints.len() as f64);
        self.rows.push(SweepRow {
            value: value.to_owned(),
            opened: opened.len(),
            alerts: alerts.count(),
            endpoint_months: months.sum(),
            delay_s: delays.get(delays.len() / 2).map(|ms| *ms as f64 / 1000.0),
            against_labels: labels.map(|labels| AgainstLabels::new(&Score::new(replay, labels))),
        });
    }
}

impl AgainstLabels {
    fn new(score: &Score) -> Self {
        let kinds = score.kinds.iter().filter(|k| k.scope != "monitor");
        let all: usize = kinds.clone().map(|k| k.figures.n).sum();
        let caught: f64 = kinds.map(|k| k.figures.caught * k.figures.n as f64).sum();
        let noise = &score.overall;
        Self {
            caught: caught / all.max(1) as f64,
            false_alerts: noise.alerts as f64 / noise.endpoint_months.max(1e-9),
        }
    }
}

impl fmt::Display for Sweep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with_labels = self.rows.iter().any(|r| r.against_labels.is_some());
        write!(
            f,
            "{:24}  {:>9}  {:>6}  {:>14}  {:>12}",
            self.key, "incidents", "alerts", "per ep-month", "median delay"
        )?;
        if with_labels {
            write!(f, "  {:>6}  {:>18}", "caught", "false per ep-month")?;
        }
        writeln!(f)?;
        for row in &self.rows {
            let delay = row
                .delay_s
                .map_or_else(|| "-".to_owned(), |s| format!("{s:.0} s"));
            write!(
                f,
                "{:24}  {:>9}  {:>6}  {:>14.2}  {:>12}",
                row.value,
                row.opened,
                row.alerts,
                row.alerts as f64 / row.endpoint_months.max(1e-9),
                delay
            )?;
            if let Some(labels) = &row.against_labels {
                write!(
                    f,
                    "  {:>5.1}%  {:>18.2}",
                    100.0 * labels.caught,
                    labels.false_alerts
                )?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
