//! What is true now: one value that the pages, the API, the metrics, the service status and the alerts all read.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::advice::Advice;
use crate::maintenance::MaintenanceView;
use crate::message::severity::Severity;
use crate::message::values::Locale;
use crate::model::{
    Alternative, Api, Attribution, Endpoint, EvidenceSample, Fault, Incident, Outcome, Provider,
    Sample, Status, Strip, Tally, Timestamp, VendorPage,
};
use crate::silence::Silence;

/// How many latencies the recent median is taken over.
const LATENCIES: usize = 60;
/// How many outcomes the recent error rate is taken over.
const OUTCOMES: usize = 20;
/// How many bad samples are kept at hand as evidence.
const BAD: usize = 10;
const HOUR_MS: i64 = 3_600_000;
const MINUTE_MS: i64 = 60_000;
/// The minutes of a strip.
const MINUTES: i64 = 60;
/// How many strips a notice shows at most: a mail stays small.
const STRIPS: usize = 4;
/// How many alternatives a notice names: whoever is woken needs a few good ones.
const ALTERNATIVES: usize = 5;

/// The state of everything that is watched.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Snapshot {
    /// When this was true.
    pub at: Timestamp,
    /// Where the daemon probes from.
    pub location: String,
    /// Since when the monitor's own network is gone.
    pub blind_since: Option<Timestamp>,
    /// Whether the probing budget of the day is spent.
    pub budget_spent: bool,
    /// What was spent on probes today, in US dollars.
    #[serde(default)]
    pub spent_today_usd: f64,
    /// When a sample was last recorded.
    pub last_recorded_at: Option<Timestamp>,
    /// Why the store does not take samples at the moment.
    pub store_error: Option<String>,
    /// Every endpoint, in the order of the configuration.
    pub endpoints: Vec<EndpointView>,
    /// The incidents that go on, oldest first.
    pub incidents: Vec<Incident>,
    /// What deserves a word before it becomes a failure.
    #[serde(default)]
    pub advice: Vec<Advice>,
    /// The silences that hold.
    #[serde(default)]
    pub silences: Vec<Silence>,
    /// The maintenance windows that are open.
    #[serde(default)]
    pub maintenance: Vec<MaintenanceView>,
    /// How delivery goes, per channel that was ever told something.
    #[serde(default)]
    pub outbox: Vec<Tally>,
    /// What the vendors' own status pages say.
    #[serde(default)]
    pub official: Vec<VendorView>,
    /// The endpoint to use in each group (see the module `route`).
    #[serde(default)]
    pub leaders: BTreeMap<String, String>,
}

/// One vendor's own status page as it was read last.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct VendorView {
    /// Whose.
    pub provider: Provider,
    /// The vendor as people say it.
    pub title: String,
    /// What it says.
    #[serde(flatten)]
    pub page: VendorPage,
}

/// One endpoint as it is now.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EndpointView {
    /// Its name.
    pub name: String,
    /// Its dialect.
    pub provider: Provider,
    /// Its failure domain as people say it.
    pub title: String,
    /// Its API.
    pub api: Api,
    /// Its model.
    pub model: Option<String>,
    /// Its group.
    pub group: Option<String>,
    /// How it is.
    pub status: Status,
    /// Why it is not operational, in a few words.
    pub reason: Option<String>,
    /// When it was last probed.
    pub last_probe_at: Option<Timestamp>,
    /// How that probe ended.
    pub last_outcome: Option<Outcome>,
    /// What went wrong in it.
    pub last_fault: Option<Fault>,
    /// Median first token of the recent good probes, in milliseconds.
    pub first_token_ms_p50: Option<f64>,
    /// Median total of the recent good probes, in milliseconds.
    pub total_ms_p50: Option<f64>,
    /// The learned first token, in milliseconds.
    pub typical_first_token_ms: Option<f64>,
    /// Share of good probes in the last 24 hours, 0 to 1; faults of the account or of this machine do not count.
    pub availability_24h: Option<f64>,
    /// Share of its last 20 probes that failed, 0 to 1; faults of this machine do not count.
    #[serde(default)]
    pub recent_error_rate: f64,
    /// How many of its last probes failed one after the other, up to now.
    #[serde(default)]
    pub failed_in_a_row: u32,
    /// The last hour, minute by minute, as in [`Strip::minutes`].
    #[serde(default)]
    pub last_hour: String,
}

impl Snapshot {
    /// The [worst](Status::worse) status of all. What is in maintenance says nothing while there is something else.
    pub fn overall(&self) -> Status {
        let all = || self.endpoints.iter().map(|e| e.status);
        let in_service = all()
            .filter(|s| *s != Status::Maintenance)
            .reduce(Status::worse);
        in_service
            .or_else(|| all().next())
            .unwrap_or(Status::Unknown)
    }

    /// One line: `12 endpoints, 1 outage: OpenAI; last probe 3 s ago`.
    pub fn headline(&self, now: Timestamp) -> String {
        let locale = Locale::default();
        let n = self.endpoints.len() as u64;
        let mut line = locale.count(n, "endpoint", "endpoints");
        if self.endpoints.is_empty() {
            line = "no endpoint is configured".to_owned();
        } else if let Some(since) = self.blind_since {
            line += &format!(", offline since {}", locale.time(since));
        } else if self.incidents.is_empty() {
            line += ", no incident";
        } else {
            for severity in [
                Severity::Outage,
                Severity::Degraded,
                Severity::Account,
                Severity::Local,
            ] {
                let of_it = self
                    .incidents
                    .iter()
                    .filter(|i| Severity::of(i) == severity);
                let providers: Vec<_> = of_it.map(|i| i.provider.as_str()).collect();
                if providers.is_empty() {
                    continue;
                }
                let n = providers.len() as u64;
                line += &format!(", {}", locale.count(n, severity.noun(), severity.plural()));
                // This machine's trouble is no vendor's.
                if severity != Severity::Local {
                    let distinct: BTreeSet<_> = providers.into_iter().collect();
                    let distinct: Vec<_> = distinct.into_iter().collect();
                    line += &format!(": {}", distinct.join(", "));
                }
            }
        }
        if let Some(error) = &self.store_error {
            line += &format!(", NOT RECORDING ({error})");
        }
        match self.endpoints.iter().filter_map(|e| e.last_probe_at).max() {
            Some(last) => {
                let ago = now.since_ms(last).max(0) as f64 / 1000.0;
                line + &format!("; last probe {} ago", locale.duration(ago.floor()))
            }
            None => line + "; no probe yet",
        }
    }

    /// The last hour of the first few of these endpoints.
    pub fn strips(&self, names: &[String]) -> Vec<Strip> {
        let view = |name: &String| self.endpoints.iter().find(|e| e.name == *name);
        let strip = |e: &EndpointView| Strip {
            endpoint: e.name.clone(),
            minutes: e.last_hour.clone(),
            until: self.at,
        };
        names
            .iter()
            .filter_map(view)
            .take(STRIPS)
            .map(strip)
            .collect()
    }

    /// What works while `affected` does not, best first: operational endpoints of the same group if there is one, else
    /// of the same kind of API; the quickest first token first. One whose last probe failed is no alternative.
    pub fn alternatives(&self, affected: &[String]) -> Vec<Alternative> {
        let works = |e: &&EndpointView| e.status == Status::Operational && e.failed_in_a_row == 0;
        let mut found: Vec<_> = self
            .candidates(affected)
            .filter(works)
            .map(|e| Alternative {
                endpoint: e.name.clone(),
                provider: e.provider,
                title: e.title.clone(),
                status: e.status,
                first_token_ms_p50: e.first_token_ms_p50,
                availability_24h: e.availability_24h,
            })
            .collect();
        let speed = |a: &Alternative| a.first_token_ms_p50.unwrap_or(f64::INFINITY);
        found.sort_by(|a, b| speed(a).total_cmp(&speed(b)));
        found.truncate(ALTERNATIVES);
        found
    }

    /// Whether another endpoint could stand in for `affected`, healthy or not.
    pub fn monitors_alternative(&self, affected: &[String]) -> bool {
        self.candidates(affected).next().is_some()
    }

    /// The vendors of the other open incidents in which a provider is at fault.
    pub fn also_failing(&self, incident: &Incident) -> Vec<String> {
        let others = self
            .incidents
            .iter()
            .filter(|i| i.id != incident.id && i.provider != incident.provider)
            .filter(|i| i.attribution == Attribution::Provider);
        let titles: BTreeSet<_> = others
            .map(|i| {
                let endpoint = self
                    .endpoints
                    .iter()
                    .find(|e| i.endpoints.contains(&e.name));
                endpoint.map_or_else(|| i.provider.clone(), |e| e.title.clone())
            })
            .collect();
        titles.into_iter().collect()
    }

    fn candidates<'a>(&'a self, affected: &'a [String]) -> impl Iterator<Item = &'a EndpointView> {
        let is_affected = |e: &&EndpointView| affected.contains(&e.name);
        let of_affected = || self.endpoints.iter().filter(is_affected);
        let groups: Vec<_> = of_affected().filter_map(|e| e.group.as_deref()).collect();
        let kinds: Vec<_> = of_affected().map(|e| e.api == Api::Http).collect();
        self.endpoints.iter().filter(move |e| {
            let fits = match e.group.as_deref() {
                Some(group) if !groups.is_empty() => groups.contains(&group),
                _ => groups.is_empty() && kinds.contains(&(e.api == Api::Http)),
            };
            fits && !affected.contains(&e.name)
        })
    }
}

/// What is kept at hand of an endpoint's last samples: bounded, whatever the interval.
#[derive(Debug, Clone, Default)]
pub struct Recent {
    /// `(hour, good, bad)` of the last 25 hours.
    hours: VecDeque<(i64, u32, u32)>,
    /// `(minute, worst outcome)` of the last hour.
    minutes: VecDeque<(i64, Outcome)>,
    first_token: Latencies,
    total: Latencies,
    tokens_per_second: Latencies,
    bad: VecDeque<EvidenceSample>,
    /// Whether each of the last probes failed.
    failures: VecDeque<bool>,
    last: Option<(Timestamp, Outcome, Option<Fault>)>,
    resolved_at: Option<Timestamp>,
    /// When it last answered rightly, as it is configured now.
    good_at: Option<Timestamp>,
    /// When the failures in a row that go on began.
    failing_since: Option<Timestamp>,
}

/// The last latencies in milliseconds, with their median: it is asked for far more often than it changes.
#[derive(Debug, Clone, Default)]
struct Latencies {
    last: VecDeque<f64>,
    median: Option<f64>,
}

impl Latencies {
    fn add(&mut self, ms: Option<f64>) {
        if ms.is_some() {
            keep(&mut self.last, ms, LATENCIES);
            self.median = median(&self.last);
        }
    }
}

impl Recent {
    /// Takes a sample in.
    pub fn record(&mut self, sample: &Sample) {
        self.last = Some((sample.started_at, sample.outcome, sample.fault));
        if sample.dns_ms.is_some() && sample.fault != Some(Fault::LocalDns) {
            self.resolved_at = Some(sample.started_at);
        }
        let minute = sample.started_at.0.div_euclid(MINUTE_MS);
        // What a clock called later that has been set back since.
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

    /// Follows a clock that was set by `by_ms`; what was counted by the hour and the minute stays where it was.
    pub fn move_along(&mut self, by_ms: i64) {
        let moved = |at: &mut Timestamp| at.0 += by_ms;
        self.last.iter_mut().for_each(|(at, ..)| moved(at));
        let moments = [
            &mut self.resolved_at,
            &mut self.good_at,
            &mut self.failing_since,
        ];
        moments.into_iter().flatten().for_each(moved);
        self.bad
            .iter_mut()
            .for_each(|bad| moved(&mut bad.started_at));
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

    /// When it last answered rightly, as it is configured now.
    pub fn good_at(&self) -> Option<Timestamp> {
        self.good_at
    }

    /// When the failures in a row that go on began; `None` when the last probe was good.
    pub fn failing_since(&self) -> Option<Timestamp> {
        self.failing_since
    }

    /// It is configured otherwise now: that it worked before says nothing.
    pub fn begin_anew(&mut self) {
        self.good_at = None;
    }

    /// When a name was last resolved for this endpoint.
    pub fn resolved_at(&self) -> Option<Timestamp> {
        self.resolved_at
    }

    /// The endpoint's view, given what detection and the incidents say about it.
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
            availability_24h: self.availability_24h(now),
            recent_error_rate: self.failures.iter().filter(|f| **f).count() as f64
                / self.failures.len().max(1) as f64,
            failed_in_a_row: self.failures.iter().rev().take_while(|f| **f).count() as u32,
            last_hour: self.last_hour(now),
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
