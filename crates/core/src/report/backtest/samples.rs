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

/// How many rows wait to be put in order while samples are replayed as they are read. The samples
/// of one turn of the daemon are recorded together, at most a few thousand.
const REORDERED: usize = 8192;

/// The endpoints of a replay, and how to read their samples.
#[derive(Debug)]
struct Roster {
    trace: String,
    configured: BTreeMap<EndpointName, Arc<Endpoint>>,
    has_connectivity_checks: bool,
    /// The endpoints in order of first appearance, and the index of each.
    seen: Vec<Seen>,
    places: BTreeMap<EndpointName, usize>,
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

impl Roster {
    fn new(trace: &str, configured: &[Arc<Endpoint>], has_connectivity_checks: bool) -> Self {
        Self {
            trace: trace.to_owned(),
            configured: configured
                .iter()
                .map(|e| (e.name.clone(), e.clone()))
                .collect(),
            has_connectivity_checks,
            seen: Vec::new(),
            places: BTreeMap::new(),
        }
    }

    /// Notes the endpoint of `sample`, and the distance from its scheduled probe before.
    fn note(&mut self, sample: &Sample) -> usize {
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
        place
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

    /// Returns what matters of `sample`, whose endpoint has this place.
    fn row(&self, place: usize, sample: &Sample) -> SampleRow {
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
        SampleRow {
            place,
            start,
            end,
            result,
            is_own: sample.attribution == Some(Attribution::Account),
            network: NetworkProbe::of(sample),
        }
    }

    fn sort(&self, rows: &mut [SampleRow]) {
        rows.sort_by(|a, b| {
            canonical_order(a.end, &self.seen[a.place].name)
                .cmp(&canonical_order(b.end, &self.seen[b.place].name))
        });
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

/// The replay of samples in canonical order under one set of rules.
struct Run {
    policies: BTreeMap<EndpointName, Policy>,
    intervals: Vec<Duration>,
    peers: BTreeMap<EndpointName, Peer>,
    detector: Detector,
    network: NetworkHistory,
    /// Failures in a row because of the account, by place.
    refusals: Vec<u32>,
    replayed: TraceReplay,
}

impl Run {
    /// Begins under `rules`, or under each endpoint's own settings.
    fn new(roster: &Roster, rules: Option<&DetectionPolicy>) -> Self {
        let intervals: Vec<_> = roster.seen.iter().map(|s| roster.interval(s)).collect();
        let standard = DetectionPolicy::default();
        let mut policies = BTreeMap::new();
        for (seen, interval) in roster.seen.iter().zip(&intervals) {
            let own = roster.configured.get(&seen.name).map(|e| &e.detection);
            let policy = rules.or(own).unwrap_or(&standard);
            policies.insert(
                seen.name.clone(),
                Policy::new(policy, *interval, seen.domain.clone()),
            );
        }
        let mut endpoints: Vec<_> = roster
            .seen
            .iter()
            .map(|s| (s.name.clone(), s.domain.clone()))
            .collect();
        endpoints.sort();
        let replayed = TraceReplay::new(ReplayedTrace {
            trace: roster.trace.clone(),
            interval_ms: intervals.iter().min().map_or(0, |i| i.as_millis() as i64),
            days: 0.0,
            endpoints,
        });
        Self {
            peers: roster.peers(&intervals),
            refusals: vec![0; roster.seen.len()],
            policies,
            intervals,
            detector: Detector::default(),
            network: NetworkHistory::default(),
            replayed,
        }
    }

    fn step(&mut self, roster: &Roster, row: &SampleRow) {
        let name = &roster.seen[row.place].name;
        let revisions = self.network.record(&self.peers, name, "", &row.network);
        let mut verdict = self.detector.observe_restored(&self.policies, &revisions);
        let seen = Observation {
            endpoint: name.clone(),
            start: row.start,
            end: row.end,
            next_tick: row.end + self.intervals[row.place],
            result: row.result.clone(),
        };
        verdict.extend(self.detector.observe(&self.policies, &seen));
        let withdrawn = self.detector.take_back_revised(&revisions, &mut verdict);
        self.replayed.record(&verdict);
        for revision in withdrawn {
            self.withdraw(
                row,
                revision.endpoint.clone(),
                "it was this machine's fault",
            );
        }
        // As in the daemon: enough account failures in a row reattribute the provider's incident to
        // the account.
        let refused = &mut self.refusals[row.place];
        *refused = if row.is_own { *refused + 1 } else { 0 };
        if *refused >= REFUSALS_OF_ITS_OWN
            && self.detector.is_failing(&seen.endpoint)
            && self.detector.withdraw(&seen.endpoint)
        {
            self.withdraw(row, seen.endpoint, "it was the account's fault");
        }
    }

    /// Ends an alert of `endpoint` that `row` shows not to be the provider's.
    fn withdraw(&mut self, row: &SampleRow, endpoint: EndpointName, text: &str) {
        self.replayed.events.push(ReplayEvent {
            trace: self.replayed.trace.trace.clone(),
            t_ms: row.end.0,
            endpoint,
            event: DetectorEventKind::Resolved.as_str().to_owned(),
            notify: true,
            cause: String::new(),
            text: text.to_owned(),
            started_ms: row.start.0,
        });
    }

    /// Ends the replay of samples that `span` covers.
    fn finish(mut self, span: &Span) -> Replay {
        self.replayed.trace.days = span.days();
        let mut replay = Replay::default();
        replay.take(self.replayed);
        replay
    }
}

/// From the beginning of the first probe to the end of the last.
#[derive(Debug, Default)]
struct Span(Option<(Timestamp, Timestamp)>);

impl Span {
    fn include(&mut self, row: &SampleRow) {
        let span = self.0.get_or_insert((row.start, row.end));
        span.0 = span.0.min(row.start);
        span.1 = span.1.max(row.end);
    }

    fn days(&self) -> f64 {
        self.0.map_or(0.0, |(first, last)| {
            last.since_ms(first) as f64 / 86_400_000.0
        })
    }
}

/// Samples in any order, held in memory: about 100 bytes each.
#[derive(Debug)]
pub struct Samples {
    roster: Roster,
    rows: Vec<SampleRow>,
}

impl Samples {
    /// Returns an empty set. Endpoints in `configured` use their interval, limits, failure domain
    /// and settings; those of others are inferred from their samples. `has_connectivity_checks`
    /// says whether the monitor could detect that it was offline.
    pub fn new(trace: &str, configured: &[Arc<Endpoint>], has_connectivity_checks: bool) -> Self {
        Self {
            roster: Roster::new(trace, configured, has_connectivity_checks),
            rows: Vec::new(),
        }
    }

    /// Returns the number of samples.
    pub fn count(&self) -> usize {
        self.rows.len()
    }

    /// Adds a sample, in any order.
    pub fn push(&mut self, sample: &Sample) {
        let place = self.roster.note(sample);
        self.rows.push(self.roster.row(place, sample));
    }

    /// Replays the samples under `rules`, or under each endpoint's own settings.
    pub fn replay(&mut self, rules: Option<&DetectionPolicy>) -> Replay {
        self.roster.sort(&mut self.rows);
        let mut run = Run::new(&self.roster, rules);
        let mut span = Span::default();
        for row in &self.rows {
            span.include(row);
            run.step(&self.roster, row);
        }
        run.finish(&span)
    }
}

/// The endpoints of samples that are replayed as they are read.
pub struct Survey(Roster);

impl Survey {
    /// Begins with no endpoint; the arguments are those of [`Samples::new`].
    pub fn new(trace: &str, configured: &[Arc<Endpoint>], has_connectivity_checks: bool) -> Self {
        Self(Roster::new(trace, configured, has_connectivity_checks))
    }

    /// The number of samples of an endpoint that are enough to infer what is not configured.
    pub fn enough(&self, endpoint: &str) -> u32 {
        if self.0.configured.contains_key(endpoint) {
            1
        } else {
            DISTANCES as u32 + 1
        }
    }

    /// Notes the endpoint of a sample. Those of one endpoint come in order of time.
    pub fn note(&mut self, sample: &Sample) {
        self.0.note(sample);
    }

    /// Begins to replay the samples of these endpoints under each of `rules`; `None` stands for
    /// each endpoint's own settings.
    pub fn replay(self, rules: &[Option<&DetectionPolicy>]) -> OngoingReplay {
        OngoingReplay {
            runs: rules.iter().map(|r| Run::new(&self.0, *r)).collect(),
            roster: self.0,
            waiting: Vec::with_capacity(REORDERED),
            span: Span::default(),
            count: 0,
        }
    }
}

/// A replay of samples in the order of recording, under several sets of rules at once. What it
/// holds in memory does not depend on their number.
pub struct OngoingReplay {
    roster: Roster,
    runs: Vec<Run>,
    /// Samples that one read later may precede.
    waiting: Vec<SampleRow>,
    span: Span,
    count: u64,
}

impl OngoingReplay {
    /// Returns the number of samples so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Replays a sample, unless its endpoint was not surveyed.
    pub fn push(&mut self, sample: &Sample) {
        let Some(place) = self.roster.places.get(&sample.endpoint).copied() else {
            return;
        };
        if self.waiting.len() == REORDERED {
            self.step(REORDERED / 2);
        }
        let row = self.roster.row(place, sample);
        self.span.include(&row);
        self.waiting.push(row);
        self.count += 1;
    }

    /// Replays the first `count` of the waiting samples.
    fn step(&mut self, count: usize) {
        self.roster.sort(&mut self.waiting);
        for row in self.waiting.drain(..count) {
            for run in &mut self.runs {
                run.step(&self.roster, &row);
            }
        }
    }

    /// Ends the replay. Returns what happened under each set of rules.
    pub fn finish(mut self) -> Vec<Replay> {
        self.step(self.waiting.len());
        let span = &self.span;
        self.runs.into_iter().map(|run| run.finish(span)).collect()
    }
}
