//! Summarizes a replay: the incidents, detection delays, noise, and how other settings would
//! differ.

use std::collections::BTreeMap;
use std::fmt;

use super::{Replay, ReplayEvent, ReplayedTrace};
use crate::detect::DetectedCause;
use crate::model::Timestamp;

/// Two events of an endpoint further apart than this are separate events, not the same event moved.
const SAME_WITHIN_MS: i64 = 3_600_000;
const DAY_MS: f64 = 86_400_000.0;

/// The incidents of a replay, trace by trace.
#[derive(Debug)]
pub struct Summary<'a> {
    replay: &'a Replay,
}

/// One incident as it would have been notified.
struct AlertRow<'a> {
    domain: &'a str,
    opened: &'a ReplayEvent,
    /// The affected endpoints, in the order in which they joined.
    endpoints: Vec<&'a str>,
    still: Vec<&'a str>,
    started_ms: i64,
    alerts: usize,
    resolved_ms: Option<i64>,
}

impl<'a> Summary<'a> {
    /// Summarizes all events of `replay`.
    pub fn new(replay: &'a Replay) -> Self {
        Self { replay }
    }

    fn incidents(&self, trace: &'a ReplayedTrace) -> Vec<AlertRow<'a>> {
        let domains: BTreeMap<&str, &str> = trace
            .endpoints
            .iter()
            .map(|(e, d)| (e.as_str(), d.as_str()))
            .collect();
        let mut rows: Vec<AlertRow<'a>> = Vec::new();
        // Process `join` events after the other events of the same instant.
        let mut all: Vec<_> = self
            .replay
            .events
            .iter()
            .filter(|s| s.trace == trace.trace)
            .collect();
        all.sort_by_key(|s| (s.t_ms, s.event == "join"));
        for event in all {
            let domain = domains
                .get(event.endpoint.as_str())
                .copied()
                .unwrap_or_default();
            let account = event.cause == DetectedCause::Account.as_str();
            let ongoing = rows.iter_mut().rev().find(|row| {
                row.resolved_ms.is_none()
                    && row.domain == domain
                    && (row.opened.cause == DetectedCause::Account.as_str()) == account
                    && (event.event != "resolved" || row.still.contains(&event.endpoint.as_str()))
            });
            match event.event.as_str() {
                "open" => rows.push(AlertRow {
                    domain,
                    opened: event,
                    endpoints: vec![&event.endpoint],
                    still: vec![&event.endpoint],
                    started_ms: event.started_ms,
                    alerts: 1,
                    resolved_ms: None,
                }),
                "join" | "escalate" => {
                    let Some(incident) = ongoing else {
                        continue;
                    };
                    incident.alerts += usize::from(event.notify);
                    incident.started_ms = incident.started_ms.min(event.started_ms);
                    if !incident.endpoints.contains(&event.endpoint.as_str()) {
                        incident.endpoints.push(&event.endpoint);
                    }
                    incident.still.push(&event.endpoint);
                }
                "resolved" => {
                    if let Some(incident) = ongoing {
                        incident.still.retain(|e| event.endpoint != *e);
                        if incident.still.is_empty() {
                            incident.resolved_ms = Some(event.t_ms);
                        }
                    }
                }
                _ => {}
            }
        }
        rows
    }

    fn write_trace(&self, f: &mut fmt::Formatter<'_>, trace: &'a ReplayedTrace) -> fmt::Result {
        let incidents = self.incidents(trace);
        let mut domains: Vec<_> = trace.endpoints.iter().map(|(_, d)| d).collect();
        domains.sort();
        domains.dedup();
        writeln!(
            f,
            "{}: {} of {}, {:.1} days, probed every {}",
            trace.trace,
            count(trace.endpoints.len(), "endpoint"),
            count(domains.len(), "provider"),
            trace.days,
            lasted(trace.interval_ms)
        )?;
        if incidents.is_empty() {
            writeln!(f, "  no incident")?;
        } else {
            writeln!(
                f,
                "  {:24}  {:>7}  {:>9}  {:24}  why",
                "opened", "delay", "lasted", "endpoints"
            )?;
        }
        for i in &incidents {
            let more = match i.endpoints.len() {
                1 => String::new(),
                n => format!(" +{}", n - 1),
            };
            writeln!(
                f,
                "  {:24}  {:>7}  {:>9}  {:24}  {}: {}",
                Timestamp(i.opened.t_ms).to_string(),
                lasted(i.opened.t_ms - i.started_ms),
                i.resolved_ms
                    .map_or_else(|| "open".to_owned(), |t| lasted(t - i.started_ms)),
                format!("{}{more}", i.opened.endpoint),
                i.opened.cause,
                i.opened.text
            )?;
        }
        let months = trace.days / 30.0 * trace.endpoints.len() as f64;
        let alerts: usize = incidents.iter().map(|i| i.alerts).sum();
        let mut delays: Vec<_> = incidents
            .iter()
            .map(|i| i.opened.t_ms - i.started_ms)
            .collect();
        delays.sort_unstable();

        write!(
            f,
            "  {}, {}",
            count(incidents.len(), "incident"),
            count(alerts, "alert")
        )?;
        // A rate over less than a day is not meaningful.
        if trace.days >= 1.0 {
            write!(f, ", {:.2} per endpoint-month", alerts as f64 / months)?;
        }
        if !delays.is_empty() {
            let median = quantile(&delays, 0.5);
            let p95 = quantile(&delays, 0.95);
            write!(
                f,
                "; from the first bad probe to the decision {median} (median), {p95} (p95)"
            )?;
        }
        writeln!(f)?;
        for (cause, noun) in [
            (DetectedCause::Errors, "burst of errors"),
            (DetectedCause::Slow, "burst of slowness"),
        ] {
            let found = self
                .replay
                .blips
                .iter()
                .filter(|b| b.0 == trace.trace && b.1.cause == cause);
            let mut lengths: Vec<_> = found
                .map(|(_, b)| b.ended_at.since_ms(b.started_at))
                .collect();
            lengths.sort_unstable();
            if let Some(longest) = lengths.last() {
                let median = quantile(&lengths, 0.5);
                let p95 = quantile(&lengths, 0.95);
                let many = count(lengths.len(), noun);
                writeln!(
                    f,
                    "  {many} without an alert: median {median}, p95 {p95}, longest {}",
                    lasted(*longest)
                )?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, trace) in self.replay.traces.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            self.write_trace(f, trace)?;
        }
        Ok(())
    }
}

/// The totals of a replay.
#[derive(Debug)]
struct Totals {
    incidents: usize,
    alerts: usize,
}

impl Totals {
    fn of(replay: &Replay) -> Self {
        let opened = replay.events.iter().filter(|s| s.event == "open");
        let alerts = replay
            .events
            .iter()
            .filter(|s| s.notify && s.event != "resolved");
        Self {
            incidents: opened.count(),
            alerts: alerts.count(),
        }
    }
}

/// The differences between two replays of the same measurements.
#[derive(Debug)]
pub struct Difference<'a> {
    before: Totals,
    after: Totals,
    same: usize,
    /// Events that occur in both at different times: (before, after).
    moved: Vec<(&'a ReplayEvent, &'a ReplayEvent)>,
    gone: Vec<&'a ReplayEvent>,
    new: Vec<&'a ReplayEvent>,
}

impl<'a> Difference<'a> {
    /// Compares the events of `before` with those of `after`.
    pub fn new(before: &'a Replay, after: &'a Replay) -> Self {
        type EventKey<'a> = (&'a str, &'a str, &'a str);
        let mut keyed: BTreeMap<EventKey<'a>, (Vec<&'a ReplayEvent>, Vec<&'a ReplayEvent>)> =
            BTreeMap::new();
        for event in before.events.iter().filter(|s| is_incident(s)) {
            keyed
                .entry((&event.trace, &event.endpoint, &event.event))
                .or_default()
                .0
                .push(event);
        }
        for event in after.events.iter().filter(|s| is_incident(s)) {
            keyed
                .entry((&event.trace, &event.endpoint, &event.event))
                .or_default()
                .1
                .push(event);
        }
        let mut found = Self {
            before: Totals::of(before),
            after: Totals::of(after),
            same: 0,
            moved: Vec::new(),
            gone: Vec::new(),
            new: Vec::new(),
        };
        for (before, after) in keyed.into_values() {
            let mut before = before.into_iter().peekable();
            let mut after = after.into_iter().peekable();
            loop {
                match (before.peek(), after.peek()) {
                    (Some(b), Some(a)) if (a.t_ms - b.t_ms).abs() <= SAME_WITHIN_MS => {
                        if a.t_ms == b.t_ms {
                            found.same += 1;
                        } else {
                            found.moved.push((b, a));
                        }
                        before.next();
                        after.next();
                    }
                    (Some(b), Some(a)) if b.t_ms < a.t_ms => found.gone.extend(before.next()),
                    (_, Some(_)) => found.new.extend(after.next()),
                    (Some(_), None) => found.gone.extend(before.next()),
                    (None, None) => break,
                }
            }
        }
        found
    }
}

impl fmt::Display for Difference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "current rules: {}, {}; these rules: {}, {}; alerts by endpoint: {} the same, {} at another time, {} new, {} missing",
            count(self.before.incidents, "incident"),
            count(self.before.alerts, "alert"),
            count(self.after.incidents, "incident"),
            count(self.after.alerts, "alert"),
            self.same,
            self.moved.len(),
            self.new.len(),
            self.gone.len()
        )?;
        let moved = self.moved.iter().map(|(b, a)| {
            let by = a.t_ms - b.t_ms;
            let how = format!(
                "{} {}",
                lasted(by.abs()),
                if by < 0 { "earlier" } else { "later" }
            );
            (*a, '~', how)
        });
        let new = self.new.iter().map(|s| (*s, '+', s.text.clone()));
        let gone = self.gone.iter().map(|s| (*s, '-', s.text.clone()));
        let mut lines: Vec<_> = moved.chain(new).chain(gone).collect();
        lines.sort_by_key(|(event, ..)| (&event.trace, event.t_ms));
        for (event, sign, how) in lines {
            let at = Timestamp(event.t_ms);
            writeln!(
                f,
                "{sign} {at}  {:12}  {:24}  {:9}  {how}",
                event.trace, event.endpoint, event.event
            )?;
        }
        Ok(())
    }
}

/// Reports whether an event opens an incident or adds an endpoint to one.
fn is_incident(event: &ReplayEvent) -> bool {
    matches!(event.event.as_str(), "open" | "join" | "escalate")
}

fn count(n: usize, noun: &str) -> String {
    let (first, rest) = noun
        .split_once(' ')
        .map_or((noun, String::new()), |(a, b)| (a, format!(" {b}")));
    format!("{n} {first}{}{rest}", if n == 1 { "" } else { "s" })
}

/// Formats a duration compactly: `42 s`, `14 min`, `3.2 h`.
fn lasted(ms: i64) -> String {
    let s = ms as f64 / 1000.0;
    match s.abs() {
        a if a < 120.0 => format!("{s:.0} s"),
        a if a < 7200.0 => format!("{:.0} min", s / 60.0),
        a if a < 172_800.0 => format!("{:.1} h", s / 3600.0),
        _ => format!("{:.1} d", ms as f64 / DAY_MS),
    }
}

/// Returns a quantile of sorted lengths, as words. `sorted` is not empty.
fn quantile(sorted: &[i64], p: f64) -> String {
    let place = (p * (sorted.len() - 1) as f64).ceil() as usize;
    lasted(sorted[place])
}
