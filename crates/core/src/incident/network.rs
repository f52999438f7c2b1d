//! Whose network failed, as far as later samples tell. Pure.
//!
//! The attribution of a fresh sample rests on what is known when its probe ends. Samples of unrelated
//! providers that come later can show that it was wrong. Then the earlier samples are revised:
//!
//! - Packets or queries to unrelated providers were lost now and then, with answers in between: the
//!   loss is near this machine.
//! - No unrelated provider was reached either, and none of them has answered since: this machine's
//!   network or resolver failed.
//! - A name failed alone, and unrelated names resolved after it while it still failed: the
//!   provider's zone is broken.
//!
//! A restart and a replay see the samples as they were recorded, and so derive the same revisions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::model::{
    Attribution, AttributionRevision, EndpointName, Fault, Outcome, ProviderName, Sample,
    ShiftClock, Timestamp,
};

/// How long a failure counts as evidence about others, unless two intervals are longer.
const EVIDENCE_MS: i64 = 180_000;
/// How long after a DNS failure the lookups of a later probe still say something about it.
const LOOKUP_VALID_MS: i64 = 60_000;
/// As many failures in a row as happen less often than this, given the share of probes that is lost
/// elsewhere, are no coincidence: the endpoint is unreachable.
const COINCIDENCE: f64 = 0.001;
/// Failures of unrelated endpoints, all because of this machine, that a single lost query does not
/// explain.
const CUT_OFF_AFTER: u32 = 2;
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
    /// Decayed numbers of probes, and of those that were lost.
    probes: f64,
    lost: f64,
    /// Probes lost in a row since the last answer.
    lost_in_a_row: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answered_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resolved_at: Option<Timestamp>,
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
    fn record(&mut self, probe: &NetworkProbe, evidence_ms: i64) {
        let passed_ms = probe.start.since_ms(self.probed_at).max(0);
        let left = (-(passed_ms as f64) / evidence_ms as f64).exp();
        let is_lost = probe.failure.is_some_and(|(fault, _)| fault.is_loss());
        self.probed_at = probe.start;
        self.probes = self.probes * left + 1.0;
        self.lost = self.lost * left + f64::from(u8::from(is_lost));
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

    /// Whether it answered soon after a loss, within `within_ms` before `at`.
    fn answered_after_loss(&self, at: Timestamp, within_ms: i64) -> bool {
        self.answered_at.is_some_and(|answered| {
            let soon_after = |run: &FailureRun| {
                run.fault.is_loss() && (1..=EVIDENCE_MS).contains(&answered.since_ms(run.until))
            };
            at.since_ms(answered) <= within_ms && self.runs.iter().any(soon_after)
        })
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
            .record(probe, peer.evidence_ms());
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
            && before.unwrap_or(0) < self.longest_coincidence(peers, &peer.domain)
    }

    /// Reports whether packets are lost on the way to the provider of `peer` and to others.
    fn is_losing(&self, peers: &BTreeMap<EndpointName, Peer>, peer: &Peer, at: Timestamp) -> bool {
        let mut losing = self.losing(peers, at, peer.evidence_ms());
        losing.any(|(p, _)| p.domain == peer.domain) && self.hits_others(peers, peer, at)
    }

    /// Reports whether packets are lost on the way to providers other than that of `peer` at `at`.
    /// At least one other provider, and half of those probed recently, must have failed in a way
    /// typical of packet loss. One of all these must also have answered in between: two
    /// simultaneous outages would have no such answers.
    fn hits_others(
        &self,
        peers: &BTreeMap<EndpointName, Peer>,
        peer: &Peer,
        at: Timestamp,
    ) -> bool {
        let within_ms = peer.evidence_ms();
        let mut lost = BTreeSet::new();
        let mut answers_between = false;
        for (other, history) in self.losing(peers, at, within_ms) {
            answers_between |= history.answered_after_loss(at, within_ms);
            if other.domain != peer.domain {
                lost.insert(&other.domain);
            }
        }
        if !answers_between || lost.is_empty() {
            return false;
        }
        let probed: BTreeSet<_> = self
            .histories(peers)
            .filter(|(other, history)| {
                other.domain != peer.domain && at.since_ms(history.probed_at) <= within_ms
            })
            .map(|(other, _)| &other.domain)
            .collect();
        2 * lost.len() >= probed.len()
    }

    /// The most failures in a row of an endpoint of `domain` that the loss on the way to other
    /// providers explains. One lost and one answered probe are presumed.
    fn longest_coincidence(
        &self,
        peers: &BTreeMap<EndpointName, Peer>,
        domain: &ProviderName,
    ) -> u32 {
        let mut lost = 1.0;
        let mut probes = 2.0;
        for history in self.unrelated(peers, domain) {
            lost += history.lost;
            probes += history.probes;
        }
        let share: f64 = lost / probes;
        (COINCIDENCE.ln() / share.ln()).floor() as u32
    }

    fn histories<'a>(
        &'a self,
        peers: &'a BTreeMap<EndpointName, Peer>,
    ) -> impl Iterator<Item = (&'a Peer, &'a EndpointHistory)> {
        let all = self.endpoints.iter();
        all.filter_map(|(name, history)| Some((peers.get(name)?, history)))
    }

    /// The endpoints to which packets were lost within `within_ms` before `at`. Few have lost any, so
    /// the others are not looked up: every sample asks.
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
                .or_insert_with(|| self.longest_coincidence(peers, &peer.domain)),
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
                probes: _,
                lost: _,
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
