//! The rules that are compared: llmwatch's detector, and what other monitors do, re-made from their
//! documentation and fed with the same probes.

use std::collections::BTreeMap;
use std::time::Duration;

use llmwatch_core::detect::{
    Detector, FailureReason, LatencyReading, Observation, Policy, ProbeResult,
};
use llmwatch_core::model::{DetectionPolicy, EndpointName, Timestamp};
use llmwatch_core::report::backtest::ReplayEvent;

use crate::scene::{Outcome, PER_PROVIDER, Probe, Scene};

/// Who decides.
pub(crate) enum Rule {
    Meter(DetectionPolicy),
    Consecutive(Consecutive),
}

impl Rule {
    /// Returns the same with another `alert_after`, where it has one.
    pub(crate) fn with_alert_after(&self, alert_after: Duration) -> Self {
        match self {
            Self::Meter(policy) => Self::Meter(DetectionPolicy {
                alert_after: Some(alert_after),
                ..policy.clone()
            }),
            Self::Consecutive(rule) => Self::Consecutive(*rule),
        }
    }
}

/// So many failures in a row open, so many successes close.
#[derive(Clone, Copy)]
pub(crate) struct Consecutive {
    pub(crate) failures: u32,
    pub(crate) successes: u32,
    /// While failing, look again after this; 0: with the grid.
    pub(crate) retry_ms: i64,
    /// While recovering, look again after this; 0: with the grid.
    pub(crate) recover_ms: i64,
    /// A probe that takes this much longer than usual has failed; 0: never.
    pub(crate) slow: f64,
}

/// What a rule said to a world, and how many probes it took.
pub(crate) struct Run {
    pub(crate) said: Vec<ReplayEvent>,
    pub(crate) probes: u64,
}

pub(crate) fn name(endpoint: usize) -> String {
    format!("p{}/m{}", endpoint / PER_PROVIDER, endpoint % PER_PROVIDER)
}

/// The first probe of an endpoint: a monitor spreads them over the interval.
fn first(world: &dyn Scene, endpoint: usize, interval: i64) -> i64 {
    (world.length() / 7 + endpoint as i64 * interval / world.endpoints() as i64) % interval
}

impl Rule {
    /// Lets the rule watch `world`.
    pub(crate) fn watch(&self, world: &dyn Scene, trace: &str, interval: i64) -> Run {
        match self {
            Self::Meter(policy) => meter(world, trace, interval, policy),
            Self::Consecutive(rule) => {
                let mut run = Run {
                    said: Vec::new(),
                    probes: 0,
                };
                (0..world.endpoints())
                    .for_each(|e| rule.watch(world, trace, interval, e, &mut run));
                run
            }
        }
    }
}

struct Flight {
    tick: i64,
    start: i64,
    probe: Probe,
}

impl Flight {
    fn launch(&mut self, world: &dyn Scene, endpoint: usize, at: i64, scheduled: bool) {
        (self.start, self.probe) = (at, world.probe(endpoint, at, scheduled));
    }

    fn end(&self) -> i64 {
        self.start + self.probe.total_ms as i64
    }
}

fn meter(world: &dyn Scene, trace: &str, interval: i64, policy: &DetectionPolicy) -> Run {
    let every = Duration::from_millis(interval.unsigned_abs());
    let count = world.endpoints();
    let names: Vec<EndpointName> = (0..count).map(|e| name(e).into()).collect();
    let policies = policies(count, policy, every);
    let mut flights: Vec<_> = (0..count)
        .map(|e| {
            let at = world.scheduled(e, first(world, e, interval), interval);
            Flight {
                tick: at,
                start: at,
                probe: world.probe(e, at, true),
            }
        })
        .collect();
    let mut detector = Detector::default();
    let mut run = Run {
        said: Vec::new(),
        probes: 0,
    };
    while let Some(e) = (0..count).min_by_key(|e| flights[*e].end()) {
        let flight = &mut flights[e];
        let (start, end) = (flight.start, flight.end());
        if start >= world.length() {
            break;
        }
        run.probes += 1;
        while flight.tick <= end {
            flight.tick += interval;
        }
        let tick = flight.tick;
        let seen = Observation {
            endpoint: names[e].clone(),
            start: Timestamp(start),
            end: Timestamp(end),
            next_tick: Timestamp(tick),
            result: result(&flight.probe),
        };
        let verdict = detector.observe(&policies, &seen);
        let mut next = tick;
        for (name, at) in &verdict.rechecks {
            if *name == names[e] {
                next = at.0;
            } else if let Some(other) = names.iter().position(|n| n == name) {
                flights[other].launch(world, other, at.0, false);
            }
        }
        if next < tick {
            flights[e].launch(world, e, next, false);
        } else {
            let at = world.scheduled(e, tick, interval);
            flights[e].launch(world, e, at, true);
            flights[e].tick = at;
        }
        run.said.extend(verdict.notes.iter().map(|n| ReplayEvent {
            cause: n.cause.as_str().to_owned(),
            ..said(trace, n.at.0, &n.endpoint, n.event.as_str())
        }));
    }
    run
}

/// The policies of the first `count` endpoints.
pub(crate) fn policies(
    count: usize,
    policy: &DetectionPolicy,
    every: Duration,
) -> BTreeMap<EndpointName, Policy> {
    let of = |e: usize| Policy::new(policy, every, format!("p{}", e / PER_PROVIDER).into());
    (0..count).map(|e| (name(e).into(), of(e))).collect()
}

/// A probe as the detector sees it.
pub(crate) fn result(probe: &Probe) -> ProbeResult {
    let reason = match probe.outcome {
        Outcome::Offline => return ProbeResult::Offline,
        Outcome::Good => {
            return ProbeResult::Good(Some(LatencyReading {
                first_token_ms: probe.first_token_ms,
                total_ms: probe.total_ms,
                per_token_ms: per_token(probe),
                beyond_limits: None,
            }));
        }
        Outcome::Throttled => FailureReason::RateLimited,
        Outcome::TimedOut => FailureReason::TimedOut,
        Outcome::Failed => FailureReason::Other,
    };
    ProbeResult::Failed {
        reason,
        retry_after_ms: None,
    }
}

fn per_token(probe: &Probe) -> Option<f64> {
    let rest = probe.total_ms - probe.first_token_ms;
    (rest > 0.0).then_some(rest / 20.0)
}

impl Consecutive {
    fn watch(&self, world: &dyn Scene, trace: &str, interval: i64, endpoint: usize, run: &mut Run) {
        let name = name(endpoint);
        let limit = if self.slow > 0.0 {
            self.slow * world.usual_total_ms(endpoint)
        } else {
            f64::INFINITY
        };
        let (mut bad, mut good, mut open) = (0, 0, false);
        let mut t = first(world, endpoint, interval);
        while t < world.length() {
            if world.is_missing(endpoint, t) {
                t += interval;
                continue;
            }
            let probe = world.probe(endpoint, t, true);
            let end = t + probe.total_ms as i64;
            run.probes += 1;
            let mut next = t + interval;
            if probe.outcome != Outcome::Good || probe.total_ms > limit {
                (bad, good) = (bad + 1, 0);
                if !open && bad >= self.failures {
                    open = true;
                    run.said.push(said(trace, end, &name, "open"));
                } else if !open && self.retry_ms > 0 {
                    next = end + self.retry_ms;
                }
            } else {
                (bad, good) = (0, good + 1);
                if open && good >= self.successes {
                    open = false;
                    run.said.push(said(trace, end, &name, "resolved"));
                } else if open && self.recover_ms > 0 {
                    next = t + self.recover_ms;
                }
            }
            t = next.max(end + 1);
        }
    }
}

fn said(trace: &str, t_ms: i64, endpoint: &str, event: &str) -> ReplayEvent {
    ReplayEvent {
        trace: trace.to_owned(),
        t_ms,
        endpoint: endpoint.into(),
        event: event.to_owned(),
        notify: matches!(event, "open" | "escalate" | "resolved"),
        cause: String::new(),
        text: String::new(),
        started_ms: t_ms,
    }
}
