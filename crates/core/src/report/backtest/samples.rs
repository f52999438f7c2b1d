//! Replays stored or exported samples. The samples are fixed; only the verdicts can change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Replay, ReplayEvent, ReplayedTrace, TraceReplay};
use crate::config::is_local;
use crate::detect::{Detector, DetectorEventKind, Observation, Policy, ProbeResult, Reader};
use crate::incident::REFUSALS_OF_ITS_OWN;
use crate::incident::network::{NetworkHistory, NetworkProbe, Peer};
use crate::model::{
    Attribution, DetectionPolicy, Endpoint, EndpointName, Provider, ProviderName, Sample,
    SlowLimits, Timestamp, Trigger, canonical_order,
};

/// How many gaps between scheduled probes are collected to infer the interval of an endpoint that
/// is not configured.
const DISTANCES: usize = 1001;
/// The interval when it cannot be inferred.
const USUAL_INTERVAL: Duration = Duration::from_mins(1);

/// The samples to replay, about 100 bytes each.
#[derive(Debug)]
pub struct Samples {
    trace: String,
    configured: BTreeMap<EndpointName, Arc<Endpoint>>,
    has_connectivity_checks: bool,
    /// The endpoints in order of first appearance, and the index of each.
    seen: Vec<Seen>,
    places: BTreeMap<EndpointName, usize>,
    rows: Vec<SampleRow>,
}

#[derive(Debug)]
struct Seen {
    name: EndpointName,
    domain: ProviderName,
    scheduled_at: Option<Timestamp>,
    distances: Vec<i64>,
}

#[derive(Debug)]
struct SampleRow {
    place: usize,
    start: Timestamp,
    end: Timestamp,
    result: ProbeResult,
    /// Whether the sample failed because of the account.
    is_own: bool,
    /// What it says about this machine's network.
    network: NetworkProbe,
}

impl Samples {
    /// Returns an empty set. Endpoints in `configured` use their interval, limits, failure domain
    /// and settings; those of others are inferred from their samples. `has_connectivity_checks`
    /// says whether the monitor could detect that it was offline.
    pub fn new(trace: &str, configured: &[Arc<Endpoint>], has_connectivity_checks: bool) -> Self {
        Self {
            trace: trace.to_owned(),
            configured: configured
                .iter()
                .map(|e| (e.name.clone(), e.clone()))
                .collect(),
            has_connectivity_checks,
            seen: Vec::new(),
            places: BTreeMap::new(),
            rows: Vec::new(),
        }
    }

    /// Returns the number of samples.
    pub fn count(&self) -> usize {
        self.rows.len()
    }

    /// Adds a sample, in any order.
    pub fn push(&mut self, sample: &Sample) {
        let place = match self.places.get(&sample.endpoint) {
            Some(place) => *place,
            None => self.meet(sample),
        };
        let seen = &mut self.seen[place];
        if sample.trigger == Trigger::Schedule {
            let before = seen.scheduled_at.replace(sample.scheduled_at);
            let distance = before
                .map(|b| sample.scheduled_at.since_ms(b))
                .filter(|ms| *ms > 0);
            seen.distances
                .extend(distance.filter(|_| seen.distances.len() < DISTANCES));
        }
        let none = SlowLimits::default();
        let limits = self
            .configured
            .get(&sample.endpoint)
            .map_or(&none, |e| &e.slow);
        // The interval does not matter here, because a replay schedules no rechecks.
        let reader = Reader {
            interval: USUAL_INTERVAL,
            limits,
            has_connectivity_checks: self.has_connectivity_checks,
        };
        // As in the daemon: what revised the attribution later shows in later samples.
        let recorded;
        let sample = if sample.attributed_first.is_some() {
            recorded = sample.clone().as_recorded();
            &recorded
        } else {
            sample
        };
        let Observation {
            start, end, result, ..
        } = reader.observe(sample);
        self.rows.push(SampleRow {
            place,
            start,
            end,
            result,
            is_own: sample.attribution == Some(Attribution::Account),
            network: NetworkProbe::of(sample),
        });
    }

    fn meet(&mut self, sample: &Sample) -> usize {
        let domain = match (self.configured.get(&sample.endpoint), sample.provider) {
            (Some(endpoint), _) => endpoint.domain(),
            // Two such endpoints share no failure domain.
            (None, Provider::OpenAiCompatible | Provider::Http) => sample.endpoint.as_str().into(),
            (None, vendor) => vendor.as_str().into(),
        };
        let place = self.seen.len();
        self.seen.push(Seen {
            name: sample.endpoint.clone(),
            domain,
            scheduled_at: None,
            distances: Vec::new(),
        });
        self.places.insert(sample.endpoint.clone(), place);
        place
    }

    /// Replays the samples under `rules`, or under each endpoint's own settings.
    pub fn replay(&mut self, rules: Option<&DetectionPolicy>) -> Replay {
        let seen = &self.seen;
        self.rows.sort_by(|a, b| {
            canonical_order(a.end, &seen[a.place].name)
                .cmp(&canonical_order(b.end, &seen[b.place].name))
        });
        let intervals: Vec<_> = self.seen.iter().map(|s| self.interval(s)).collect();
        let standard = DetectionPolicy::default();
        let mut policies = BTreeMap::new();
        for (seen, interval) in self.seen.iter().zip(&intervals) {
            let own = self.configured.get(&seen.name).map(|e| &e.detection);
            let policy = rules.or(own).unwrap_or(&standard);
            policies.insert(
                seen.name.clone(),
                Policy::new(policy, *interval, seen.domain.clone()),
            );
        }
        let first = self.rows.iter().map(|r| r.start.0).min();
        let last = self.rows.iter().map(|r| r.end.0).max();
        let mut endpoints: Vec<_> = self
            .seen
            .iter()
            .map(|s| (s.name.clone(), s.domain.clone()))
            .collect();
        endpoints.sort();
        let mut trace_replay = TraceReplay::new(ReplayedTrace {
            trace: self.trace.clone(),
            interval_ms: intervals.iter().min().map_or(0, |i| i.as_millis() as i64),
            days: (last.unwrap_or(0) - first.unwrap_or(0)) as f64 / 86_400_000.0,
            endpoints,
        });
        let mut detector = Detector::default();
        let mut network = NetworkHistory::default();
        let peers = self.peers(&intervals);
        let mut refusals = vec![0_u32; self.seen.len()];
        for row in &self.rows {
            let name = &self.seen[row.place].name;
            let revisions = network.record(&peers, name, "", &row.network);
            let mut verdict = detector.observe_restored(&policies, &revisions);
            let seen = Observation {
                endpoint: self.seen[row.place].name.clone(),
                start: row.start,
                end: row.end,
                next_tick: row.end + intervals[row.place],
                result: row.result.clone(),
            };
            verdict.extend(detector.observe(&policies, &seen));
            let withdrawn = detector.take_back_revised(&revisions, &mut verdict);
            trace_replay.record(&verdict);
            for revision in withdrawn {
                let text = "it was this machine's fault";
                let event = self.withdrawal(row, revision.endpoint.clone(), text);
                trace_replay.events.push(event);
            }
            // As in the daemon: enough account failures in a row reattribute the provider's
            // incident to the account.
            let refused = &mut refusals[row.place];
            *refused = if row.is_own { *refused + 1 } else { 0 };
            if *refused >= REFUSALS_OF_ITS_OWN
                && detector.is_failing(&seen.endpoint)
                && detector.withdraw(&seen.endpoint)
            {
                let text = "it was the account's fault";
                let event = self.withdrawal(row, seen.endpoint, text);
                trace_replay.events.push(event);
            }
        }
        let mut replay = Replay::default();
        replay.take(trace_replay);
        replay
    }

    /// The end of an alert of `endpoint` that `row` shows not to be the provider's.
    fn withdrawal(&self, row: &SampleRow, endpoint: EndpointName, text: &str) -> ReplayEvent {
        ReplayEvent {
            trace: self.trace.clone(),
            t_ms: row.end.0,
            endpoint,
            event: DetectorEventKind::Resolved.as_str().to_owned(),
            notify: true,
            cause: String::new(),
            text: text.to_owned(),
            started_ms: row.start.0,
        }
    }

    /// The endpoints whose failures a network problem of the machine can explain. An endpoint that
    /// is not configured any more counts as one.
    fn peers(&self, intervals: &[Duration]) -> BTreeMap<EndpointName, Peer> {
        let all = self.seen.iter().zip(intervals);
        let is_outside = |seen: &Seen| {
            let endpoint = self.configured.get(&seen.name);
            self.has_connectivity_checks || endpoint.is_none_or(|e| !is_local(&e.base_url))
        };
        all.filter(|(seen, _)| is_outside(seen))
            .map(|(seen, interval)| {
                let peer = Peer {
                    domain: seen.domain.clone(),
                    interval_ms: interval.as_millis() as i64,
                };
                (seen.name.clone(), peer)
            })
            .collect()
    }

    fn interval(&self, seen: &Seen) -> Duration {
        if let Some(endpoint) = self.configured.get(&seen.name) {
            return endpoint.interval;
        }
        let mut distances = seen.distances.clone();
        distances.sort_unstable();
        distances
            .get(distances.len() / 2)
            .map_or(USUAL_INTERVAL, |ms| {
                Duration::from_millis(ms.unsigned_abs())
            })
    }
}
