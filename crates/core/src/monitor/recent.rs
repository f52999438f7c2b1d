//! Recent history of each endpoint's samples.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::model::{
    AlertView, Attribution, AttributionRevision, Endpoint, EndpointView, EvidenceSample, Fault,
    Outcome, Sample, ShiftClock, Status, Timestamp, UsualHours,
};

/// How many latencies the recent median is taken over.
const LATENCIES: usize = 60;
/// How many outcomes the recent error rate is taken over.
const OUTCOMES: usize = 20;
/// How many bad samples are kept as evidence.
const BAD: usize = 10;
/// How many runs of one fault are counted.
const FAULT_RUNS: usize = 100;
const HOUR_MS: i64 = 3_600_000;
const MINUTE_MS: i64 = 60_000;
/// How many minutes a sparkline covers.
const MINUTES: i64 = 60;

/// Recent history of an endpoint's samples; its size is bounded whatever the interval.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Recent {
    /// `(hour, good, bad)` of the last 25 hours.
    hours: VecDeque<(i64, u32, u32)>,
    /// `(minute, worst outcome)` of the last hour.
    minutes: VecDeque<(i64, Outcome)>,
    first_token: Latencies,
    total: Latencies,
    tokens_per_second: Latencies,
    bad: VecDeque<EvidenceSample>,
    /// Runs of consecutive failures with one fault.
    #[serde(default)]
    fault_runs: VecDeque<FaultRun>,
    /// Whether each of the last probes failed.
    failures: VecDeque<bool>,
    last: Option<(Timestamp, Outcome, Option<Fault>)>,
    resolved_at: Option<Timestamp>,
    /// When it last answered correctly with its current configuration.
    good_at: Option<Timestamp>,
    /// When the current run of failures began.
    failing_since: Option<Timestamp>,
    /// Fingerprint of the organization of its key, once an answer has named it.
    #[serde(default)]
    organization: Option<String>,
}

/// The latest latencies in milliseconds (or rates in tokens per second). The median is cached
/// because it is read far more often than it changes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "VecDeque<f64>", into = "VecDeque<f64>")]
struct Latencies {
    last: VecDeque<f64>,
    median: Option<f64>,
}

impl From<VecDeque<f64>> for Latencies {
    fn from(last: VecDeque<f64>) -> Self {
        let median = median(&last);
        Self { last, median }
    }
}

impl From<Latencies> for VecDeque<f64> {
    fn from(latencies: Latencies) -> Self {
        latencies.last
    }
}

impl Latencies {
    fn add(&mut self, ms: Option<f64>) {
        if ms.is_some() {
            keep(&mut self.last, ms, LATENCIES);
            self.median = median(&self.last);
        }
    }
}

/// Consecutive failures with one fault. Local failures form runs of their own, because what follows
/// them is another failure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct FaultRun {
    first: Timestamp,
    fault: Fault,
    is_local: bool,
    count: u32,
}

impl Recent {
    /// Adds a sample.
    pub fn record(&mut self, sample: &Sample) {
        self.last = Some((sample.started_at, sample.outcome, sample.fault));
        if sample.dns_ms.is_some() && sample.fault != Some(Fault::LocalDns) {
            self.resolved_at = Some(sample.started_at);
        }
        if sample.organization.is_some() {
            self.organization.clone_from(&sample.organization);
        }
        let minute = sample.started_at.0.div_euclid(MINUTE_MS);
        // These minutes are in the future since the clock was set back.
        while self.minutes.back().is_some_and(|(last, _)| *last > minute) {
            self.minutes.pop_back();
        }
        match self.minutes.back_mut() {
            Some((last, worst)) if *last >= minute => *worst = (*worst).max(sample.outcome),
            _ => keep(
                &mut self.minutes,
                Some((minute, sample.outcome)),
                MINUTES as usize,
            ),
        }
        let failed = sample.outcome == Outcome::Failed;
        if let Some(fault) = sample.fault {
            self.count_fault(sample, fault);
        }
        if sample.attribution != Some(Attribution::Local) {
            keep(&mut self.failures, Some(failed), OUTCOMES);
        }
        if failed {
            self.failing_since.get_or_insert(sample.started_at);
        } else {
            (self.good_at, self.failing_since) = (Some(sample.started_at), None);
        }
        if !failed || sample.attribution == Some(Attribution::Provider) {
            let hour = sample.started_at.0.div_euclid(HOUR_MS);
            if self.hours.back().is_none_or(|(last, ..)| *last < hour) {
                self.hours.push_back((hour, 0, 0));
                if self.hours.len() > 25 {
                    self.hours.pop_front();
                }
            }
            if let Some((_, good, bad)) = self.hours.back_mut() {
                *(if failed { bad } else { good }) += 1;
            }
        }
        if !failed {
            self.first_token.add(sample.first_token_ms);
            self.total.add(sample.total_ms);
            self.tokens_per_second.add(sample.tokens_per_second());
        }
        if sample.outcome != Outcome::Ok {
            let evidence = EvidenceSample {
                endpoint: sample.endpoint.clone(),
                started_at: sample.started_at,
                fault: sample.fault,
                http_status: sample.http_status,
                first_token_ms: sample.first_token_ms,
                request_id: sample.request_id.clone(),
                error: sample.error.clone(),
                answer: sample.answer.clone(),
            };
            keep(&mut self.bad, Some(evidence), BAD);
        }
    }

    /// Applies a revision of the attribution of some of its failures.
    pub fn revise(&mut self, revision: &AttributionRevision) {
        let was_provider = revision.was == Attribution::Provider;
        let period = revision.from..=revision.until;
        for run in &mut self.fault_runs {
            if run.fault == revision.fault && period.contains(&run.first) {
                run.is_local = was_provider;
            }
        }
        let mut left = revision.count;
        let last_hour = revision.until.0.div_euclid(HOUR_MS);
        let hours = self.hours.iter_mut().rev();
        for (_, _, bad) in hours.filter(|(hour, ..)| *hour <= last_hour) {
            if !was_provider {
                *bad += left;
                break;
            }
            let removed = left.min(*bad);
            *bad -= removed;
            left -= removed;
        }
        for _ in 0..revision.count {
            if !was_provider {
                keep(&mut self.failures, Some(true), OUTCOMES);
            } else if let Some(at) = self.failures.iter().rposition(|failed| *failed) {
                self.failures.remove(at);
            }
        }
    }

    /// Counts a failure. Must be called before `failing_since` is updated.
    fn count_fault(&mut self, sample: &Sample, fault: Fault) {
        let is_local = sample.attribution == Some(Attribution::Local);
        match self.fault_runs.back_mut() {
            Some(run)
                if run.fault == fault
                    && run.is_local == is_local
                    && self.failing_since.is_some() =>
            {
                run.count += 1;
            }
            _ => {
                let run = FaultRun {
                    first: sample.started_at,
                    fault,
                    is_local,
                    count: 1,
                };
                keep(&mut self.fault_runs, Some(run), FAULT_RUNS);
            }
        }
    }

    /// Returns the number of failures by fault since `from`, the start of the first failure in
    /// question.
    pub fn faults_since(&self, from: Timestamp) -> BTreeMap<Fault, u32> {
        let mut faults = BTreeMap::new();
        for run in self.fault_runs.iter().filter(|run| run.first >= from) {
            *faults.entry(run.fault).or_default() += run.count;
        }
        faults
    }

    /// The last bad samples since `from`, oldest first.
    pub fn bad_since(&self, from: Timestamp) -> impl Iterator<Item = &EvidenceSample> {
        self.bad.iter().filter(move |s| s.started_at >= from)
    }

    /// When the last sample began, how it ended, and its fault.
    pub fn last(&self) -> Option<(Timestamp, Outcome, Option<Fault>)> {
        self.last
    }

    /// The medians of its recent good probes: duration in milliseconds, output tokens a second.
    pub fn usual(&self) -> (Option<f64>, Option<f64>) {
        (self.total.median, self.tokens_per_second.median)
    }

    /// When it last answered correctly with its current configuration.
    pub fn good_at(&self) -> Option<Timestamp> {
        self.good_at
    }

    /// When the current run of failures began; `None` when the last probe was good.
    pub fn failing_since(&self) -> Option<Timestamp> {
        self.failing_since
    }

    /// Forgets earlier successes and the organization, after a configuration change.
    pub fn begin_anew(&mut self) {
        self.good_at = None;
        self.organization = None;
    }

    /// A fingerprint of the organization that its key belongs to, once an answer has named it.
    pub fn organization(&self) -> Option<&str> {
        self.organization.as_deref()
    }

    /// When a name was last resolved for this endpoint.
    pub fn resolved_at(&self) -> Option<Timestamp> {
        self.resolved_at
    }

    /// Builds the endpoint's view, with the status and typical latency from detection and
    /// incidents.
    pub fn view(
        &self,
        endpoint: &Endpoint,
        now: Timestamp,
        status: Status,
        reason: Option<String>,
        typical: Option<f64>,
    ) -> EndpointView {
        EndpointView {
            name: endpoint.name.clone(),
            provider: endpoint.provider,
            title: endpoint.domain_title(),
            api: endpoint.api,
            model: endpoint.model.clone(),
            group: endpoint.group.clone(),
            status,
            reason,
            last_probe_at: self.last.map(|l| l.0),
            last_outcome: self.last.map(|l| l.1),
            last_fault: self.last.and_then(|l| l.2),
            first_token_ms_p50: self.first_token.median,
            total_ms_p50: self.total.median,
            typical_first_token_ms: typical,
            usual_hours: UsualHours::default(),
            availability_24h: self.availability_24h(now),
            recent_error_rate: self.failures.iter().filter(|f| **f).count() as f64
                / self.failures.len().max(1) as f64,
            failed_in_a_row: self.failures.iter().rev().take_while(|f| **f).count() as u32,
            last_hour: self.last_hour(now),
            alert: AlertView::default(),
            locations: Vec::new(),
            locations_down: Vec::new(),
        }
    }

    fn last_hour(&self, now: Timestamp) -> String {
        let last = now.0.div_euclid(MINUTE_MS);
        let mut cells = vec![' '; MINUTES as usize];
        for (minute, worst) in &self.minutes {
            let place = MINUTES - 1 - (last - minute);
            if let Some(cell) = usize::try_from(place)
                .ok()
                .and_then(|place| cells.get_mut(place))
            {
                *cell = match worst {
                    Outcome::Ok => '.',
                    Outcome::Slow => '~',
                    Outcome::Failed => 'x',
                };
            }
        }
        cells.into_iter().collect()
    }

    fn availability_24h(&self, now: Timestamp) -> Option<f64> {
        let from = now.0.div_euclid(HOUR_MS) - 24;
        let (good, all) = self
            .hours
            .iter()
            .filter(|(hour, ..)| *hour > from)
            .fold((0, 0), |(good, all), (_, g, b)| {
                (good + u64::from(*g), all + u64::from(g + b))
            });
        (all > 0).then(|| good as f64 / all as f64)
    }
}

fn keep<T>(ring: &mut VecDeque<T>, value: Option<T>, limit: usize) {
    if let Some(value) = value {
        ring.push_back(value);
        if ring.len() > limit {
            ring.pop_front();
        }
    }
}

fn median(values: &VecDeque<f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().collect();
    sorted.sort_by(f64::total_cmp);
    sorted
        .get(sorted.len() / 2)
        .map(|ms| (ms * 1000.0).round() / 1000.0)
}

impl ShiftClock for Recent {
    fn shift_clock(&mut self, by_ms: i64) {
        // Counts by hour and by minute are not shifted.
        let Self {
            hours: _,
            minutes: _,
            first_token: _,
            total: _,
            tokens_per_second: _,
            bad,
            failures: _,
            last,
            resolved_at,
            good_at,
            failing_since,
            fault_runs,
            organization: _,
        } = self;
        if let Some((at, ..)) = last {
            at.shift_clock(by_ms);
        }
        let moments = [resolved_at, good_at, failing_since];
        for moment in moments {
            moment.shift_clock(by_ms);
        }
        bad.make_contiguous().shift_clock(by_ms);
        for run in fault_runs {
            run.first.shift_clock(by_ms);
        }
    }
}
