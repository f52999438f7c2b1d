//! Replays the samples of a period through the routing of `/api/v1/route`, to show what failover
//! within a group would have saved.
//!
//! A routing decision takes effect at the end of the sample that caused it, so every figure
//! includes the detection delay. Samples with faults of the account or of this machine say nothing
//! about a provider and are left out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::store::{SampleQuery, Store, StoreError};
use llmwatch_core::config::Config;
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::{
    Attribution, Endpoint, EndpointName, EndpointView, FailoverOutcome, Incident, Outcome, Sample,
    Snapshot, Status, Timestamp,
};
use llmwatch_core::monitor::Recent;
use llmwatch_core::report::round_usd;
use llmwatch_core::report::routing::{leaders, rank};

/// Decisions older than this cannot affect a sample that ends now.
const LONGEST_PROBE: Duration = Duration::from_hours(1);
/// The most switchovers that are listed.
const SWITCHOVERS: usize = 1000;
/// Independence is reported only if every endpoint was measured in this many minutes.
const MINUTES: u64 = 1000;
/// Independence is reported only if each endpoint has this many bad minutes.
const BAD_MINUTES: u64 = 5;
/// Longer incidents are not replayed for their message; `report --failover` has their figures.
const LONGEST_INCIDENT: Duration = Duration::from_hours(48);
const MINUTE_MS: i64 = 60_000;
/// Bad minutes that are at most this far apart belong to one outage.
const TROUBLE_MINUTES: i64 = 10;
/// Endpoints share their fate if they fail together in at least this share of the bad minutes of
/// the one that has fewest.
const SHARED: f64 = 0.5;

/// What failover within the group would have saved.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Failover {
    /// The group.
    pub group: String,
    /// Its first endpoint in the order of the file.
    pub first: EndpointName,
    /// The number of samples behind the figures.
    pub samples: u64,
    /// Each endpoint alone.
    pub alone: Vec<Alone>,
    /// The endpoint that the routing had chosen before each sample began.
    pub with_group: Share,
    /// How long no endpoint of the group was working, in seconds.
    pub down_together_s: f64,
    /// How often all endpoints were bad in the same minute, as a multiple of what chance predicts;
    /// `null` with too little data.
    pub independence_ratio: Option<f64>,
    /// The first endpoint paired with each of the others.
    pub pairs: Vec<Pair>,
    /// The extra cost of using the alternatives instead of the first choice, in US dollars;
    /// `null` without prices.
    pub extra_cost_usd: Option<f64>,
    /// The changes of the chosen endpoint.
    pub switchovers: Vec<Switchover>,
}

/// Replays the samples of `span`, from one location or all, through the routing of each group in
/// `wanted`. Groups with one endpoint are left out. `step` is called after each replayed sample.
///
/// # Errors
/// When the store cannot be read.
pub fn replay(
    store: &Store,
    config: &Config,
    span: (Timestamp, Timestamp),
    location: Option<&str>,
    wanted: impl Fn(&str) -> bool,
    mut step: impl FnMut(&Sample),
) -> Result<Vec<Failover>, StoreError> {
    let mut incidents: Vec<Incident> = Vec::new();
    store.each_incident(span.1, |row| {
        let incident = serde_json::from_str(&row.data).ok();
        incidents.extend(incident.filter(|i: &Incident| {
            location.is_none_or(|l| i.is_seen_from(l, &config.monitor.location))
                && i.opened_at < span.1
                && i.resolved_at.is_none_or(|end| end > span.0)
        }));
    })?;
    let groups: BTreeSet<&str> = config
        .endpoints
        .iter()
        .filter_map(|e| e.group.as_deref())
        .filter(|group| wanted(group))
        .collect();
    let mut replays: Vec<Replay> = groups
        .into_iter()
        .filter_map(|group| Replay::new(group, &config.endpoints, &incidents))
        .collect();
    if replays.is_empty() {
        return Ok(Vec::new());
    }
    let query = SampleQuery {
        since: Some(span.0),
        until: Some(span.1),
        ..SampleQuery::default()
    };
    store.each_sample(query, |_, sample| {
        if location.is_none_or(|l| sample.location == l) {
            for replay in &mut replays {
                replay.add(&sample);
            }
        }
        step(&sample);
        Ok::<_, StoreError>(())
    })?;
    Ok(replays.into_iter().map(Replay::finish).collect())
}

/// Returns what failover would have saved during `incident`, which has ended. Returns `None` if the
/// incident is not the provider's, does not affect the first choice of a group, or is too long to
/// replay before sending a message.
///
/// # Errors
/// When the store cannot be read.
pub fn of_incident(
    store: &Store,
    config: &Config,
    incident: &Incident,
) -> Result<Option<FailoverOutcome>, StoreError> {
    let Some(end) = incident.end() else {
        return Ok(None);
    };
    let length = end.since_ms(incident.started_at);
    let is_short = (0..LONGEST_INCIDENT.as_millis() as i64).contains(&length);
    if incident.attribution != Attribution::Provider || !is_short {
        return Ok(None);
    }
    // The first endpoint of each group.
    let mut firsts = BTreeMap::new();
    for endpoint in &config.endpoints {
        if let Some(group) = &endpoint.group {
            firsts.entry(group).or_insert(&endpoint.name);
        }
    }
    let groups = config.endpoints.iter().filter_map(|e| e.group.as_ref());
    let mut concerned = groups.filter(|group| incident.affected().any(|e| e == firsts[group]));
    let Some(group) = concerned.next().cloned() else {
        return Ok(None);
    };
    let span = (incident.started_at, end);
    let found = replay(store, config, span, None, |g| g == group, |_| {})?
        .into_iter()
        .next();
    Ok(found.and_then(|failover| {
        let alone = failover.alone.first()?.availability?;
        let moved = failover.switchovers.first();
        Some(FailoverOutcome {
            alone,
            with_group: failover.with_group.availability.unwrap_or(alone),
            moved: moved.map(|s| (s.to.clone(), s.at)),
            first: failover.first,
            group: failover.group,
        })
    }))
}

/// The availability of one endpoint.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Alone {
    /// Its name.
    pub name: EndpointName,
    /// Share of good samples, 0 to 1; `null` if no sample counts.
    pub availability: Option<f64>,
}

/// The availability of the first endpoint and one other, combined by failover.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pair {
    /// The other endpoint.
    pub with: EndpointName,
    /// Share of good samples of whichever endpoint was chosen; `null` if no sample counts.
    pub availability: Option<f64>,
    /// How long neither was working, in seconds.
    pub down_together_s: f64,
    /// Whether they fail independently; `null` with too little data.
    pub independence: Option<Independence>,
}

/// How often endpoints were bad in the same minute.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Independence {
    /// A multiple of what chance predicts.
    pub ratio: f64,
    /// The lower bound of the ratio's 95% confidence interval.
    pub low: f64,
    /// The upper bound of that interval.
    pub high: f64,
    /// The minutes in which all were bad, as a share of the bad minutes of the endpoint that has
    /// fewest.
    pub shared: f64,
}

impl Independence {
    /// Reports whether the endpoints fail together: more often than by chance, and most of the
    /// time.
    pub fn is_shared_fate(&self) -> bool {
        self.low > 1.0 && self.shared >= SHARED
    }
}

/// A share of good samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Share {
    /// From 0 to 1; `null` if no sample counts.
    pub availability: Option<f64>,
}

/// A change of the chosen endpoint.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Switchover {
    /// When it was decided.
    pub at: Timestamp,
    /// The endpoint used before.
    pub from: EndpointName,
    /// The endpoint used from then on.
    pub to: EndpointName,
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
    /// Its incidents: opening, end and status.
    incidents: Vec<(Timestamp, Timestamp, Status)>,
    alone: AvailabilityCount,
    chosen: AvailabilityCount,
    /// Whether the last sample that counts failed.
    is_bad: Option<bool>,
    /// Its measured minutes; `true` if a sample failed in that minute.
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
    /// The chosen endpoints with the time of each decision, oldest first. The last one is in
    /// effect.
    decisions: VecDeque<(Timestamp, usize)>,
    leaders: BTreeMap<String, EndpointName>,
    switchovers: Vec<Switchover>,
    down_since: Option<Timestamp>,
    down_ms: i64,
    samples: u64,
    last: Timestamp,
    /// The first endpoint paired with each of the others, if there is more than one other.
    pairs: Vec<Self>,
}

impl Replay {
    /// Creates a replay of `group`, with the endpoints in file order; `None` if there are fewer
    /// than two.
    pub fn new(group: &str, endpoints: &[Arc<Endpoint>], incidents: &[Incident]) -> Option<Self> {
        let of_group = endpoints
            .iter()
            .filter(|e| e.group.as_deref() == Some(group));
        let members: Vec<_> = of_group.cloned().collect();
        let (first, others) = members.split_first()?;
        let mut replay = Self::of(group, &members, incidents)?;
        if others.len() > 1 {
            replay.pairs = others
                .iter()
                .filter_map(|other| Self::of(group, &[first.clone(), other.clone()], incidents))
                .collect();
        }
        Some(replay)
    }

    /// Creates a replay of these endpoints.
    fn of(group: &str, endpoints: &[Arc<Endpoint>], incidents: &[Incident]) -> Option<Self> {
        let members: Vec<_> = endpoints
            .iter()
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
            pairs: Vec::new(),
        })
    }

    /// Adds the next sample, in the order of recording.
    pub fn add(&mut self, sample: &Sample) {
        let Some(place) = self.place_of(&sample.endpoint) else {
            return;
        };
        for pair in &mut self.pairs {
            pair.add(sample);
        }
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

    /// Chooses as `/api/v1/route` would at `now`. If no endpoint is healthy, the choice does not
    /// change.
    fn decide(&mut self, now: Timestamp) {
        let mut snapshot = Snapshot {
            endpoints: self.members.iter().map(|m| m.view(now)).collect(),
            leaders: std::mem::take(&mut self.leaders),
            ..Snapshot::empty(now)
        };
        snapshot.leaders = leaders(&snapshot);
        let chosen =
            rank(&snapshot, Some(&self.group), &Locale::default()).and_then(|r| r.endpoint);
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

    /// Returns the figures.
    pub fn finish(mut self) -> Failover {
        if let Some(since) = self.down_since.take() {
            self.down_ms += self.last.since_ms(since).max(0);
        }
        let mut chosen = AvailabilityCount::default();
        for member in &self.members {
            chosen.good += member.chosen.good;
            chosen.all += member.chosen.all;
        }
        let independence = self.independence();
        let pairs = if self.members.len() == 2 {
            vec![Pair {
                with: self.members[1].endpoint.name.clone(),
                availability: chosen.availability(),
                down_together_s: self.down_ms as f64 / 1000.0,
                independence,
            }]
        } else {
            let pairs = std::mem::take(&mut self.pairs);
            pairs.into_iter().flat_map(|p| p.finish().pairs).collect()
        };
        Failover {
            pairs,
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
            independence_ratio: independence.map(|i| i.ratio),
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
        Some(round_usd(extra.sum()))
    }

    /// Computes independence from the minutes in which every endpoint was measured.
    fn independence(&self) -> Option<Independence> {
        let (first, others) = self.members.split_first()?;
        let measured: Vec<(i64, Vec<bool>)> = first
            .minutes
            .iter()
            .filter_map(|(minute, bad)| {
                let others = others.iter().map(|m| m.minutes.get(minute).copied());
                let all = std::iter::once(Some(*bad)).chain(others);
                Some((*minute, all.collect::<Option<Vec<_>>>()?))
            })
            .collect();
        let n = measured.len() as u64;
        let bad: Vec<u64> = (0..self.members.len())
            .map(|place| measured.iter().filter(|(_, bad)| bad[place]).count() as u64)
            .collect();
        let fewest = bad.iter().min().copied().unwrap_or(0);
        if n < MINUTES || fewest < BAD_MINUTES {
            return None;
        }
        let together: Vec<i64> = measured
            .iter()
            .filter(|(_, bad)| bad.iter().all(|b| *b))
            .map(|(minute, _)| *minute)
            .collect();
        let expected = bad.iter().map(|b| *b as f64 / n as f64).product::<f64>() * n as f64;
        let ratio = together.len() as f64 / expected;
        // Minutes of one outage are not independent observations, so outages are counted.
        let gaps = together
            .windows(2)
            .filter(|pair| pair[1] - pair[0] > TROUBLE_MINUTES)
            .count();
        let troubles = gaps + usize::from(!together.is_empty());
        let (low, high) = match troubles {
            // The "rule of three" for zero events.
            0 => (0.0, 3.0 / expected),
            troubles => {
                let factor = (1.96 / (troubles as f64).sqrt()).exp();
                (ratio / factor, ratio * factor)
            }
        };
        Some(Independence {
            ratio,
            low,
            high,
            shared: together.len() as f64 / fewest as f64,
        })
    }
}
