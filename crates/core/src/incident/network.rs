//! Whose network failed, as far as later samples tell. Pure.
//!
//! The attribution of a fresh sample rests on what is known when its probe ends. Samples of
//! unrelated providers that come later can show that it was wrong. Then the earlier samples are
//! revised:
//!
//! - Packets or queries to unrelated providers were lost now and then, with answers in between: the
//!   loss is near this machine.
//! - No unrelated provider was reached either, and none of them has answered since: this machine's
//!   network or resolver failed.
//! - A name failed alone, and unrelated names resolved after it while it still failed: the
//!   provider's zone is broken.
//!
//! A restart and a replay see the samples as they were recorded, and so derive the same revisions.

use std::collections::{BTreeMap, VecDeque};
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use crate::model::{
    Attribution, AttributionRevision, EndpointName, Fault, Outcome, ProviderName, Sample,
    ShiftClock, Timestamp,
};

/// How far back attributions are revised, and the time constant of the shares of lost probes,
/// unless two intervals are longer.
const EVIDENCE_MS: i64 = 180_000;
/// How long a network that has lost packets is expected to lose more, unless that is shorter than
/// the evidence.
const LOSSY_MS: i64 = 900_000;
/// How long after a DNS failure the lookups of a later probe still say something about it.
const LOOKUP_VALID_MS: i64 = 60_000;
/// Losses within that time that are no chance failures of single connections.
const LOSSY_FROM: usize = 2;
/// Loss that spares the other providers less often than this is not common to all.
const UNCOMMON: f64 = 0.01;
/// A decayed number of lost probes below which there is as good as none.
const FADED: f64 = 0.3;
/// Failures that happen less often than this, given the share of probes that is lost elsewhere, are
/// no coincidence: the provider is unreachable, or loses requests itself.
const COINCIDENCE: f64 = 0.001;
/// Failures of unrelated endpoints, all because of this machine, that a single lost query does not
/// explain.
const CUT_OFF_AFTER: u32 = 2;
/// Probes of a provider of which the lost ones are counted: the terms of a longer series are too
/// small.
const MAX_COMPARED: f64 = 200.0;
/// How long failures are kept.
const KEPT_MS: i64 = 3_600_000;
/// How many runs of failures are kept for each endpoint.
const RUNS: usize = 16;

/// What matters about an endpoint whose failures a network problem of this machine can explain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The endpoints that fail together with it.
    pub domain: ProviderName,
    /// The time between two of its probes, in milliseconds.
    pub interval_ms: i64,
}

impl Peer {
    fn evidence_ms(&self) -> i64 {
        EVIDENCE_MS.max(2 * self.interval_ms)
    }

    fn lossy_ms(&self) -> i64 {
        LOSSY_MS.max(self.evidence_ms())
    }
}

/// What a sample says about the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkProbe {
    /// When the probe began.
    pub start: Timestamp,
    /// Its failure below HTTP, if it failed there, and to whom it was attributed.
    pub failure: Option<(Fault, Attribution)>,
    /// Whether the provider responded in any way.
    pub is_answered: bool,
    /// Whether a name was resolved for it.
    pub is_resolved: bool,
}

impl NetworkProbe {
    /// What `sample` says.
    pub fn of(sample: &Sample) -> Self {
        let fault = sample.fault.filter(|fault| fault.is_transport());
        Self {
            start: sample.started_at,
            failure: fault.zip(sample.attribution),
            is_answered: sample.outcome != Outcome::Failed
                || (fault.is_none() && sample.http_status.is_some()),
            is_resolved: sample.dns_ms.is_some() && sample.fault != Some(Fault::LocalDns),
        }
    }
}

/// The recent network failures and answers of all endpoints.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkHistory {
    endpoints: BTreeMap<EndpointName, EndpointHistory>,
    /// When any endpoint last failed in a way typical of packet loss. Without such a failure there
    /// is nothing to compare.
    lost_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct EndpointHistory {
    /// Oldest first.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    runs: VecDeque<FailureRun>,
    probed_at: Timestamp,
    /// The probes of the last minutes, and those of a longer time.
    #[serde(flatten)]
    recent: ProbeCount,
    #[serde(default)]
    longer: ProbeCount,
    /// Probes lost in a row since the last answer.
    lost_in_a_row: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answered_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resolved_at: Option<Timestamp>,
}

/// Decayed numbers of probes, and of those that were lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct ProbeCount {
    probes: f64,
    lost: f64,
}

impl ProbeCount {
    /// Adds a probe that began `passed_ms` after the one before it.
    fn add(&mut self, passed_ms: i64, constant_ms: i64, is_lost: bool) {
        let left = (-(passed_ms as f64) / constant_ms as f64).exp();
        self.probes = self.probes * left + 1.0;
        self.lost = self.lost * left + f64::from(u8::from(is_lost));
    }

    /// The chance that as many are lost, or more, if this share of all probes is, 0 to 1: the upper
    /// tail of the binomial distribution. Of many probes, [`MAX_COMPARED`] stand for all.
    fn chance(self, share: f64) -> f64 {
        let part = (MAX_COMPARED / self.probes).min(1.0);
        let probes = (part * self.probes).round();
        let lost = (part * self.lost).round() as u32;
        let odds = share / (1.0 - share);
        let mut exactly = (1.0 - share).powf(probes);
        let mut fewer = 0.0;
        for k in (0..lost).map(f64::from) {
            fewer += exactly;
            exactly *= (probes - k) / (k + 1.0) * odds;
        }
        1.0 - fewer
    }
}

impl AddAssign for ProbeCount {
    fn add_assign(&mut self, other: Self) {
        self.probes += other.probes;
        self.lost += other.lost;
    }
}

/// Consecutive failures with one fault and one attribution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct FailureRun {
    from: Timestamp,
    until: Timestamp,
    fault: Fault,
    attribution: Attribution,
    count: u32,
}

impl EndpointHistory {
    fn record(&mut self, probe: &NetworkProbe, peer: &Peer) {
        let passed_ms = probe.start.since_ms(self.probed_at).max(0);
        let is_lost = probe.failure.is_some_and(|(fault, _)| fault.is_loss());
        self.probed_at = probe.start;
        self.recent.add(passed_ms, peer.evidence_ms(), is_lost);
        self.longer.add(passed_ms, peer.lossy_ms(), is_lost);
        self.lost_in_a_row += u32::from(is_lost);
        if probe.is_resolved {
            self.resolved_at = Some(probe.start);
        }
        if probe.is_answered {
            self.answered_at = Some(probe.start);
            self.lost_in_a_row = 0;
        }
        if let Some((fault, attribution)) = probe.failure {
            self.add(probe.start, fault, attribution);
        }
        let is_old = |run: &FailureRun| probe.start.since_ms(run.until) > KEPT_MS;
        while self.runs.front().is_some_and(is_old) || self.runs.len() > RUNS {
            self.runs.pop_front();
        }
    }

    fn add(&mut self, at: Timestamp, fault: Fault, attribution: Attribution) {
        let answered_at = self.answered_at;
        let last = self.runs.back_mut().filter(|run| {
            run.fault == fault
                && run.attribution == attribution
                && answered_at.is_none_or(|answered| answered < run.from)
        });
        if let Some(run) = last {
            run.until = at;
            run.count = run.count.saturating_add(1);
        } else {
            self.runs.push_back(FailureRun {
                from: at,
                until: at,
                fault,
                attribution,
                count: 1,
            });
        }
    }

    fn is_unanswered(&self, run: &FailureRun) -> bool {
        self.answered_at.is_none_or(|answered| answered < run.from)
    }

    /// The runs since the last answer.
    fn unanswered(&self) -> impl Iterator<Item = &FailureRun> {
        self.runs.iter().filter(|run| self.is_unanswered(run))
    }

    /// The failures in a row of which `run` is part.
    fn length_of(&self, run: &FailureRun) -> u32 {
        if self.is_unanswered(run) {
            self.lost_in_a_row
        } else {
            run.count
        }
    }

    fn was_lost(&self, at: Timestamp, within_ms: i64) -> bool {
        let mut runs = self.runs.iter();
        runs.any(|run| run.fault.is_loss() && at.since_ms(run.until) <= within_ms)
    }

    /// How often it began to lose packets within `within_ms` before `at`.
    fn losses(&self, at: Timestamp, within_ms: i64) -> usize {
        let runs = self.runs.iter();
        runs.filter(|run| run.fault.is_loss() && at.since_ms(run.until) <= within_ms)
            .count()
    }

    /// Whether it has answered after a loss that was within `within_ms` before `at`.
    fn answered_after_loss(&self, at: Timestamp, within_ms: i64) -> bool {
        let mut runs = self.runs.iter();
        runs.any(|run| {
            run.fault.is_loss()
                && at.since_ms(run.until) <= within_ms
                && self.answered_at > Some(run.until)
        })
    }

    /// `count` with all probes lost since the last answer as one: they may be an outage.
    fn now_and_then(&self, count: ProbeCount) -> ProbeCount {
        let repeated = f64::from(self.lost_in_a_row.saturating_sub(1));
        let repeated = repeated.min((count.lost - 1.0).max(0.0));
        ProbeCount {
            probes: count.probes - repeated,
            lost: count.lost - repeated,
        }
    }
}

/// A revision under way: the runs of an endpoint that it concerns, and the new attribution.
struct PendingRevision {
    endpoint: EndpointName,
    /// Only DNS failures; otherwise everything that looks like loss.
    is_about_names: bool,
    was: Attribution,
    now: Attribution,
    /// The runs that began at this time or later.
    since: Timestamp,
    /// Only runs since the last answer.
    is_unanswered: bool,
    /// The most failures in a row that it explains.
    longest: u32,
}

impl NetworkHistory {
    /// Records a probe of `endpoint` at `location`. Returns the earlier samples, and possibly its
    /// own, that now are the fault of someone else. Nothing happens unless it is one of `peers`.
    pub fn record(
        &mut self,
        peers: &BTreeMap<EndpointName, Peer>,
        endpoint: &str,
        location: &str,
        probe: &NetworkProbe,
    ) -> Vec<AttributionRevision> {
        let Some(peer) = peers.get(endpoint) else {
            return Vec::new();
        };
        self.endpoints
            .entry(endpoint.into())
            .or_default()
            .record(probe, peer);
        if probe.failure.is_some_and(|(fault, _)| fault.is_loss()) {
            self.lost_at = Some(probe.start);
        }
        if self
            .lost_at
            .is_none_or(|lost| probe.start.since_ms(lost) > KEPT_MS)
        {
            return Vec::new();
        }
        let at = probe.start;
        let blamed = self.blamed(peers, at);
        if blamed.is_empty() && probe.failure.is_none() {
            return Vec::new();
        }
        let pending = match probe.failure {
            _ if self.is_losing(peers, peer, at) => self.lost(peers, &blamed, at),
            Some((fault, Attribution::Local)) => self.unreached(peers, fault, at),
            Some((Fault::LocalDns, Attribution::Provider)) => {
                let broken = self.zone_broken(peers, endpoint, peer, at);
                broken.into_iter().collect()
            }
            _ => Vec::new(),
        };
        let mut revisions = Vec::new();
        for pending in &pending {
            self.revise(pending, location, &mut revisions);
        }
        revisions
    }

    /// Reports whether a new failure of `endpoint` at `at` is explained by packets that are lost on
    /// the way to unrelated providers.
    pub fn is_lossy(
        &self,
        peers: &BTreeMap<EndpointName, Peer>,
        endpoint: &str,
        at: Timestamp,
    ) -> bool {
        let Some(peer) = peers.get(endpoint) else {
            return false;
        };
        let before = self.endpoints.get(endpoint).map(|h| h.lost_in_a_row);
        self.hits_others(peers, peer, at)
            && before.unwrap_or(0) < self.longest_coincidence(peers, &peer.domain, 1.0)
    }

    /// Reports whether packets are lost on the way to the provider of `peer` and to others.
    fn is_losing(&self, peers: &BTreeMap<EndpointName, Peer>, peer: &Peer, at: Timestamp) -> bool {
        let mut losing = self.losing(peers, at, peer.evidence_ms());
        losing.any(|(p, _)| p.domain == peer.domain) && self.hits_others(peers, peer, at)
    }

    /// Reports whether packets have been lost on the way to providers other than that of `peer`, up
    /// to `at`. At least one other provider must have failed in a way typical of packet loss. One
    /// of all these must also have answered after that: two simultaneous outages would have no such
    /// answers.
    fn hits_others(
        &self,
        peers: &BTreeMap<EndpointName, Peer>,
        peer: &Peer,
        at: Timestamp,
    ) -> bool {
        let within_ms = peer.lossy_ms();
        let mut losses = 0;
        let mut is_recent = false;
        let mut is_intermittent = false;
        for (other, history) in self.losing(peers, at, within_ms) {
            is_intermittent |= history.answered_after_loss(at, within_ms);
            if other.domain != peer.domain {
                losses += history.losses(at, within_ms);
                is_recent |= history.was_lost(at, peer.evidence_ms());
            }
        }
        is_intermittent && (is_recent || losses >= LOSSY_FROM) && self.is_common(peers)
    }

    /// The share of probes to providers other than `domain` that is lost now and then. One lost and
    /// one answered probe are presumed.
    fn share_elsewhere(&self, peers: &BTreeMap<EndpointName, Peer>, domain: &ProviderName) -> f64 {
        let mut all = ProbeCount {
            probes: 2.0,
            lost: 1.0,
        };
        for history in self.unrelated(peers, domain) {
            all += history.now_and_then(history.recent);
        }
        all.lost / all.probes
    }

    /// The most failures in a row of an endpoint of `domain` that the loss on the way to other
    /// providers explains. Zero if it does not explain how many of all its probes are lost, with
    /// `more` that are not recorded yet.
    fn longest_coincidence(
        &self,
        peers: &BTreeMap<EndpointName, Peer>,
        domain: &ProviderName,
        more: f64,
    ) -> u32 {
        let mut own = ProbeCount {
            probes: more,
            lost: more,
        };
        for (peer, history) in self.histories(peers) {
            if peer.domain == *domain {
                own += history.recent;
            }
        }
        let share = self.share_elsewhere(peers, domain);
        if own.chance(share) < COINCIDENCE {
            return 0;
        }
        (COINCIDENCE.ln() / share.ln()).floor() as u32
    }

    /// Reports whether the providers that have lost nothing for a longer time may share the loss of
    /// the others. The more of their probes are answered, the less likely that is.
    fn is_common(&self, peers: &BTreeMap<EndpointName, Peer>) -> bool {
        let mut domains: BTreeMap<&ProviderName, ProbeCount> = BTreeMap::new();
        let mut all = ProbeCount {
            probes: 1.0,
            lost: 0.0,
        };
        for (peer, history) in self.histories(peers) {
            *domains.entry(&peer.domain).or_default() += history.longer;
            all += history.now_and_then(history.longer);
        }
        let quiet = domains.values().filter(|count| count.lost < FADED);
        let answered: f64 = quiet.map(|count| count.probes).sum();
        (1.0 - all.lost / all.probes).powf(answered) >= UNCOMMON
    }

    fn histories<'a>(
        &'a self,
        peers: &'a BTreeMap<EndpointName, Peer>,
    ) -> impl Iterator<Item = (&'a Peer, &'a EndpointHistory)> {
        let all = self.endpoints.iter();
        all.filter_map(|(name, history)| Some((peers.get(name)?, history)))
    }

    /// The endpoints to which packets were lost within `within_ms` before `at`. Few have lost any,
    /// so the others are not looked up: every sample asks.
    fn losing<'a>(
        &'a self,
        peers: &'a BTreeMap<EndpointName, Peer>,
        at: Timestamp,
        within_ms: i64,
    ) -> impl Iterator<Item = (&'a Peer, &'a EndpointHistory)> {
        let all = self.endpoints.iter();
        all.filter(move |(_, history)| history.was_lost(at, within_ms))
            .filter_map(|(name, history)| Some((peers.get(name)?, history)))
    }

    fn unrelated<'a>(
        &'a self,
        peers: &'a BTreeMap<EndpointName, Peer>,
        domain: &'a ProviderName,
    ) -> impl Iterator<Item = &'a EndpointHistory> {
        self.histories(peers)
            .filter(move |(peer, _)| peer.domain != *domain)
            .map(|(_, history)| history)
    }

    /// The endpoints to which packets were lost recently, as far as that is attributed to the
    /// provider. Every sample asks, and most endpoints have no such failure.
    fn blamed<'a>(
        &self,
        peers: &'a BTreeMap<EndpointName, Peer>,
        at: Timestamp,
    ) -> Vec<(&'a EndpointName, &'a Peer)> {
        let all = self.endpoints.iter();
        all.filter(|(_, history)| !history.runs.is_empty())
            .filter_map(|(name, history)| {
                let (name, peer) = peers.get_key_value(name)?;
                let since = Timestamp(at.0 - peer.evidence_ms());
                let mut runs = history.runs.iter();
                let is_blamed = runs.any(|run| {
                    run.fault.is_loss()
                        && run.attribution == Attribution::Provider
                        && run.from >= since
                });
                is_blamed.then_some((name, peer))
            })
            .collect()
    }

    /// The network loses packets at `at`: recent losses are this machine's.
    fn lost(
        &self,
        peers: &BTreeMap<EndpointName, Peer>,
        blamed: &[(&EndpointName, &Peer)],
        at: Timestamp,
    ) -> Vec<PendingRevision> {
        let mut longest = BTreeMap::new();
        let pending = blamed.iter().map(|(name, peer)| PendingRevision {
            endpoint: (*name).clone(),
            is_about_names: false,
            was: Attribution::Provider,
            now: Attribution::Local,
            since: Timestamp(at.0 - peer.evidence_ms()),
            is_unanswered: false,
            longest: *longest
                .entry(&peer.domain)
                .or_insert_with(|| self.longest_coincidence(peers, &peer.domain, 0.0)),
        });
        pending.collect()
    }

    /// An endpoint failed with `fault` at `at` because of this machine: so did those that have not
    /// been reached since, while nothing unrelated to them was.
    fn unreached(
        &self,
        peers: &BTreeMap<EndpointName, Peer>,
        fault: Fault,
        at: Timestamp,
    ) -> Vec<PendingRevision> {
        let all = self.endpoints.iter();
        all.filter_map(|(name, history)| {
            let peer = peers.get(name)?;
            let since = Timestamp(at.0 - peer.evidence_ms());
            let pending = PendingRevision {
                endpoint: name.clone(),
                is_about_names: fault == Fault::LocalDns,
                was: Attribution::Provider,
                now: Attribution::Local,
                since,
                is_unanswered: true,
                longest: u32::MAX,
            };
            let first = history
                .runs
                .iter()
                .find(|run| pending.is_about(history, run))?;
            let is_cut_off = self.is_cut_off(peers, &peer.domain, fault, (first.from, since));
            is_cut_off.then_some(pending)
        })
        .collect()
    }

    /// Reports whether endpoints that are unrelated to `domain` fail like `fault` because of this
    /// machine, several times since `since`, and none of them has answered since `from`.
    fn is_cut_off(
        &self,
        peers: &BTreeMap<EndpointName, Peer>,
        domain: &ProviderName,
        fault: Fault,
        (from, since): (Timestamp, Timestamp),
    ) -> bool {
        let mut failures = 0;
        for history in self.unrelated(peers, domain) {
            if history.answered_at >= Some(from) || history.resolved_at >= Some(from) {
                return false;
            }
            let runs = history.unanswered().filter(|run| {
                run.attribution == Attribution::Local
                    && is_alike(fault, run.fault)
                    && run.from >= since
            });
            failures += runs.map(|run| run.count).sum::<u32>();
        }
        failures >= CUT_OFF_AFTER
    }

    /// The name of `endpoint` fails at `at` while unrelated names resolve: so it did before, if
    /// unrelated names resolved after that as well and none of them failed.
    fn zone_broken(
        &self,
        peers: &BTreeMap<EndpointName, Peer>,
        endpoint: &str,
        peer: &Peer,
        at: Timestamp,
    ) -> Option<PendingRevision> {
        let mut failed_at = None;
        let mut resolved_at = None;
        for history in self.unrelated(peers, &peer.domain) {
            let names = history.runs.iter().filter(|r| r.fault == Fault::LocalDns);
            failed_at = failed_at.max(names.map(|run| run.until).max());
            resolved_at = resolved_at.max(history.resolved_at);
        }
        let known_since = Timestamp(at.0 - LOOKUP_VALID_MS);
        let first = self
            .endpoints
            .get(endpoint)?
            .unanswered()
            .filter(|run| failed_at.is_none_or(|failed| run.from > failed))
            .find(|run| {
                run.fault == Fault::LocalDns
                    && (run.from >= known_since || resolved_at > Some(run.until))
            })?;
        Some(PendingRevision {
            endpoint: endpoint.into(),
            is_about_names: true,
            was: Attribution::Local,
            now: Attribution::Provider,
            since: first.from.max(Timestamp(at.0 - peer.evidence_ms())),
            is_unanswered: true,
            longest: u32::MAX,
        })
    }

    fn revise(
        &mut self,
        pending: &PendingRevision,
        location: &str,
        revisions: &mut Vec<AttributionRevision>,
    ) {
        let Some(history) = self.endpoints.get_mut(&pending.endpoint) else {
            return;
        };
        let mut runs = std::mem::take(&mut history.runs);
        for run in runs.iter_mut().filter(|run| pending.is_about(history, run)) {
            revisions.push(AttributionRevision {
                endpoint: pending.endpoint.clone(),
                location: location.to_owned(),
                from: run.from,
                until: run.until,
                fault: run.fault,
                was: run.attribution,
                now: pending.now,
                count: run.count,
            });
            run.attribution = pending.now;
        }
        history.runs = runs;
    }

    /// Forgets the endpoints that are not wanted any more.
    pub fn retain(&mut self, wanted: impl Fn(&str) -> bool) {
        self.endpoints.retain(|name, _| wanted(name));
    }
}

impl PendingRevision {
    fn is_about(&self, history: &EndpointHistory, run: &FailureRun) -> bool {
        let is_alike = if self.is_about_names {
            run.fault == Fault::LocalDns
        } else {
            run.fault.is_loss()
        };
        is_alike
            && run.attribution == self.was
            && run.from >= self.since
            && (history.is_unanswered(run) || !self.is_unanswered)
            && history.length_of(run) <= self.longest
    }
}

/// Whether the failure `other` may have the same local cause as `fault`: a broken resolver affects
/// names alone.
fn is_alike(fault: Fault, other: Fault) -> bool {
    fault != Fault::LocalDns || other == Fault::LocalDns
}

impl ShiftClock for NetworkHistory {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self { endpoints, lost_at } = self;
        lost_at.shift_clock(by_ms);
        for history in endpoints.values_mut() {
            let EndpointHistory {
                runs,
                probed_at,
                answered_at,
                resolved_at,
                recent: _,
                longer: _,
                lost_in_a_row: _,
            } = history;
            for run in runs {
                run.from.shift_clock(by_ms);
                run.until.shift_clock(by_ms);
            }
            probed_at.shift_clock(by_ms);
            answered_at.shift_clock(by_ms);
            resolved_at.shift_clock(by_ms);
        }
    }
}
