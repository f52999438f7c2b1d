//! What a group of alternatives would have saved: the samples of a period replayed through the routing of `/api/v1/route`. Pure.
//!
//! A decision counts from the end of the sample that caused it, so the delay of detection is in every figure. Samples with faults
//! of the account or of this machine say nothing about a provider and are left out.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use llmwatch_core::model::{
    Attribution, Endpoint, EndpointView, Incident, Outcome, Sample, Snapshot, Status, Timestamp,
};
use llmwatch_core::monitor::Recent;
use llmwatch_core::report::routing::{leaders, rank};

/// Decisions older than this cannot matter to a sample that ends now.
const LONGEST_PROBE: Duration = Duration::from_hours(1);
/// Switchovers that are listed at most.
const SWITCHOVERS: usize = 1000;
/// Minutes that must have been measured at every endpoint before anything is said about independence.
const MINUTES: u64 = 1000;
/// Bad minutes of each endpoint that are needed for it.
const BAD_MINUTES: u64 = 5;
const MINUTE_MS: i64 = 60_000;

/// What the group would have saved.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Failover {
    /// The group.
    pub group: String,
    /// Its first endpoint in the order of the file.
    pub first: String,
    /// The samples that the figures rest on.
    pub samples: u64,
    /// Each endpoint alone.
    pub alone: Vec<Alone>,
    /// The endpoint that the routing had chosen strictly before each sample began.
    pub with_group: Share,
    /// How long no endpoint of the group worked, in seconds.
    pub down_together_s: f64,
    /// How often all were bad in the same minute, as a multiple of what chance would give; `null` with too little data.
    pub independence_ratio: Option<f64>,
    /// What the samples of the alternatives cost more than the first choice's, in US dollars; `null` without prices.
    pub extra_cost_usd: Option<f64>,
    /// The changes of the choice.
    pub switchovers: Vec<Switchover>,
}

/// The availability of one endpoint.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Alone {
    /// Its name.
    pub name: String,
    /// Share of good samples, 0 to 1; `null` without one that counts.
    pub availability: Option<f64>,
}

/// A share of good samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Share {
    /// From 0 to 1; `null` without a sample that counts.
    pub availability: Option<f64>,
}

/// A change of the choice.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Switchover {
    /// When it was decided.
    pub at: Timestamp,
    /// The endpoint used before.
    pub from: String,
    /// The endpoint used from then on.
    pub to: String,
}

#[derive(Debug, Default, Clone, Copy)]
struct AvailabilityCount {
    good: u64,
    all: u64,
    cost_usd: f64,
    priced: u64,
}

impl AvailabilityCount {
    fn add(&mut self, sample: &Sample) {
        self.all += 1;
        self.good += u64::from(sample.outcome != Outcome::Failed);
        if let Some(usd) = sample.cost_usd {
            self.cost_usd += usd;
            self.priced += 1;
        }
    }

    fn availability(&self) -> Option<f64> {
        (self.all > 0).then(|| self.good as f64 / self.all as f64)
    }

    fn mean_cost(&self) -> Option<f64> {
        (self.priced > 0).then(|| self.cost_usd / self.priced as f64)
    }
}

/// One endpoint of the group during the replay.
struct Member {
    endpoint: Arc<Endpoint>,
    recent: Recent,
    /// Its incidents: from their opening to their end.
    incidents: Vec<(Timestamp, Timestamp, Status)>,
    alone: AvailabilityCount,
    chosen: AvailabilityCount,
    /// Whether its last sample that counts had failed.
    is_bad: Option<bool>,
    /// Its minutes, by whether one of their samples failed.
    minutes: BTreeMap<i64, bool>,
}

impl Member {
    fn status_at(&self, at: Timestamp) -> Status {
        let open = self.incidents.iter();
        open.filter(|(from, to, _)| (*from..*to).contains(&at))
            .map(|(_, _, status)| *status)
            .fold(Status::Operational, Status::worse)
    }

    fn view(&self, now: Timestamp) -> EndpointView {
        let status = self.status_at(now);
        self.recent.view(&self.endpoint, now, status, None, None)
    }
}

/// Replays the samples of one group.
pub struct Replay {
    group: String,
    members: Vec<Member>,
    /// When something was chosen, oldest first; the last one holds.
    decisions: VecDeque<(Timestamp, usize)>,
    leaders: BTreeMap<String, String>,
    switchovers: Vec<Switchover>,
    down_since: Option<Timestamp>,
    down_ms: i64,
    samples: u64,
    last: Timestamp,
}

impl Replay {
    /// For the endpoints of `group` in the order of the file; `None` unless there are two.
    pub fn new(group: &str, endpoints: &[Arc<Endpoint>], incidents: &[Incident]) -> Option<Self> {
        let members: Vec<_> = endpoints
            .iter()
            .filter(|e| e.group.as_deref() == Some(group))
            .map(|endpoint| Member {
                incidents: incidents
                    .iter()
                    .filter(|i| i.affected().any(|name| *name == endpoint.name))
                    .map(|i| {
                        let end = i.resolved_at.unwrap_or(Timestamp(i64::MAX));
                        (i.opened_at, end, i.status)
                    })
                    .collect(),
                endpoint: endpoint.clone(),
                recent: Recent::default(),
                alone: AvailabilityCount::default(),
                chosen: AvailabilityCount::default(),
                is_bad: None,
                minutes: BTreeMap::new(),
            })
            .collect();
        (members.len() > 1).then(|| Self {
            group: group.to_owned(),
            members,
            decisions: VecDeque::from([(Timestamp(i64::MIN), 0)]),
            leaders: BTreeMap::new(),
            switchovers: Vec::new(),
            down_since: None,
            down_ms: 0,
            samples: 0,
            last: Timestamp(i64::MIN),
        })
    }

    /// Takes the next sample in, in the order of recording.
    pub fn add(&mut self, sample: &Sample) {
        let Some(place) = self.place_of(&sample.endpoint) else {
            return;
        };
        let length = sample.total_ms.unwrap_or(0.0).max(0.0) as u64;
        let end = sample.started_at + Duration::from_millis(length);
        self.last = self.last.max(end);
        let counts =
            sample.outcome != Outcome::Failed || sample.attribution == Some(Attribution::Provider);
        if counts {
            self.samples += 1;
            let is_chosen = self.choice_before(sample.started_at) == place;
            let is_bad = sample.outcome == Outcome::Failed;
            let member = &mut self.members[place];
            member.alone.add(sample);
            if is_chosen {
                member.chosen.add(sample);
            }
            let minute = sample.started_at.0.div_euclid(MINUTE_MS);
            *member.minutes.entry(minute).or_default() |= is_bad;
            member.is_bad = Some(is_bad);
            self.note_downtime(sample.started_at);
        }
        self.members[place].recent.record(sample);
        self.decide(end);
    }

    fn place_of(&self, name: &str) -> Option<usize> {
        self.members.iter().position(|m| m.endpoint.name == name)
    }

    fn choice_before(&self, at: Timestamp) -> usize {
        let before = self.decisions.iter().rev().find(|(since, _)| *since < at);
        before.map_or(0, |(_, place)| *place)
    }

    fn note_downtime(&mut self, at: Timestamp) {
        let all_bad = self.members.iter().all(|m| m.is_bad == Some(true));
        match (self.down_since, all_bad) {
            (None, true) => self.down_since = Some(at),
            (Some(since), false) => {
                self.down_ms += at.since_ms(since).max(0);
                self.down_since = None;
            }
            (None, false) | (Some(_), true) => {}
        }
    }

    /// Chooses as `/api/v1/route` would at `now`; where nothing is healthy the choice stays.
    fn decide(&mut self, now: Timestamp) {
        let mut snapshot = Snapshot {
            endpoints: self.members.iter().map(|m| m.view(now)).collect(),
            leaders: std::mem::take(&mut self.leaders),
            ..Snapshot::empty(now)
        };
        snapshot.leaders = leaders(&snapshot);
        let chosen = rank(&snapshot, Some(&self.group)).and_then(|r| r.endpoint);
        self.leaders = snapshot.leaders;
        let Some(place) = chosen.and_then(|name| self.place_of(&name)) else {
            return;
        };
        let current = self.decisions.back().map_or(0, |(_, place)| *place);
        if place != current {
            self.decisions.push_back((now, place));
            if self.switchovers.len() < SWITCHOVERS {
                self.switchovers.push(Switchover {
                    at: now,
                    from: self.members[current].endpoint.name.clone(),
                    to: self.members[place].endpoint.name.clone(),
                });
            }
        }
        let horizon = now - LONGEST_PROBE;
        while self
            .decisions
            .get(1)
            .is_some_and(|(since, _)| *since < horizon)
        {
            self.decisions.pop_front();
        }
    }

    /// The figures.
    pub fn finish(mut self) -> Failover {
        if let Some(since) = self.down_since.take() {
            self.down_ms += self.last.since_ms(since).max(0);
        }
        let mut chosen = AvailabilityCount::default();
        for member in &self.members {
            chosen.good += member.chosen.good;
            chosen.all += member.chosen.all;
        }
        Failover {
            first: self.members[0].endpoint.name.clone(),
            samples: self.samples,
            alone: self
                .members
                .iter()
                .map(|m| Alone {
                    name: m.endpoint.name.clone(),
                    availability: m.alone.availability(),
                })
                .collect(),
            with_group: Share {
                availability: chosen.availability(),
            },
            down_together_s: self.down_ms as f64 / 1000.0,
            independence_ratio: self.independence_ratio(),
            extra_cost_usd: self.extra_cost(),
            switchovers: self.switchovers,
            group: self.group,
        }
    }

    fn extra_cost(&self) -> Option<f64> {
        let (first, others) = self.members.split_first()?;
        let usual = first.alone.mean_cost()?;
        let extra = others.iter().map(|m| {
            let used = &m.chosen;
            used.cost_usd - usual * used.priced as f64
        });
        Some(extra.sum())
    }

    fn independence_ratio(&self) -> Option<f64> {
        let (first, others) = self.members.split_first()?;
        let measured: Vec<(bool, Vec<bool>)> = first
            .minutes
            .iter()
            .filter_map(|(minute, bad)| {
                let others = others.iter().map(|m| m.minutes.get(minute).copied());
                Some((*bad, others.collect::<Option<Vec<_>>>()?))
            })
            .collect();
        let n = measured.len() as u64;
        let bad_of = |place: usize| {
            let is_bad = |(first, others): &&(bool, Vec<bool>)| match place {
                0 => *first,
                n => others[n - 1],
            };
            measured.iter().filter(is_bad).count() as u64
        };
        let bad: Vec<u64> = (0..self.members.len()).map(bad_of).collect();
        if n < MINUTES || bad.iter().any(|b| *b < BAD_MINUTES) {
            return None;
        }
        let together = measured
            .iter()
            .filter(|(first, others)| *first && others.iter().all(|b| *b));
        let expected = bad.iter().map(|b| *b as f64 / n as f64).product::<f64>() * n as f64;
        Some(together.count() as f64 / expected)
    }
}
