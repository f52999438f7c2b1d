//! A refused key that turns out to be refused at several endpoints at once: what was told as the account's fault becomes
//! the provider's incident, or a part of the one that goes on already. And back: once nobody else is refused any more,
//! whoever still is has trouble of its own.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::{Book, Change, Open, Surroundings, close};
use crate::model::{
    Attribution, Endpoint, Fault, IncidentKind, IncidentState, Reattribution, Sample, Status,
    Timestamp,
};

/// A refusal that began so much earlier is another one.
const OTHER_BEFORE_MS: i64 = 300_000;
/// Refusals of its own in a row after which an endpoint is no part of what the provider is suspected of.
const OWN_AFTER: u32 = 3;
/// Good probes in a row after which an endpoint that the detector has not noted since is well.
const WELL_AFTER: u32 = 2;

/// Whether a sample was refused, and for a reason of its endpoint alone.
pub(super) fn is_own(sample: &Sample) -> bool {
    sample.attribution == Some(Attribution::Account)
}

impl Open {
    /// Whether it is an account's incident that may be the provider's mistake.
    fn may_be_suspected(&self) -> bool {
        self.incident.state == IncidentState::Open
            && self.incident.attribution == Attribution::Account
            && self
                .kind
                .fault()
                .is_some_and(crate::incident::attribution::may_be_wrongly_refused)
    }

    /// Whether it is the provider's incident.
    fn is_providers(&self) -> bool {
        self.incident.state == IncidentState::Open && self.kind == IncidentKind::Service
    }

    /// Whether there is nothing in it but refusals, and so only a suspicion. What fails on this machine says nothing.
    fn is_mere_suspicion(&self) -> bool {
        let mut telling = self
            .faults
            .keys()
            .map(|fault| fault.attribution())
            .filter(|a| *a != Attribution::Local)
            .peekable();
        self.is_providers()
            && !self.incident.cause.is_slow()
            && telling.peek().is_some()
            && telling.all(|a| a == Attribution::Account)
    }

    /// Counts the refusals of an endpoint for a reason of its own.
    pub(super) fn count_refusal(&mut self, sample: &Sample) {
        let Some(fault) = sample.fault.filter(|_| is_own(sample)) else {
            self.refused_alone.remove(&sample.endpoint);
            return;
        };
        let (before, count) = self
            .refused_alone
            .entry(sample.endpoint.clone())
            .or_insert((fault, 0));
        *count = if *before == fault { *count + 1 } else { 1 };
        *before = fault;
    }

    /// With what all that are left in it are refused for a reason of their own, when it is only a suspicion.
    fn own_refusal(&self) -> Option<Fault> {
        let own = |name: &String| {
            self.refused_alone
                .get(name)
                .filter(|(_, n)| *n >= OWN_AFTER)
                .map(|(fault, _)| *fault)
        };
        let fault = self.bad.first().and_then(own)?;
        (self.is_mere_suspicion() && self.bad.iter().all(|name| own(name) == Some(fault)))
            .then_some(fault)
    }

    /// Counts good probes of an endpoint that the detector may never note as recovered, because the provider's fault was
    /// only inferred for it. True once it is well.
    pub(super) fn is_well(&mut self, sample: &Sample, failed: bool) -> bool {
        let Some(good) = self.unconfirmed.get_mut(&sample.endpoint) else {
            return false;
        };
        *good = if failed { 0 } else { *good + 1 };
        let well = *good >= WELL_AFTER;
        if well {
            self.unconfirmed.remove(&sample.endpoint);
            self.bad.remove(&sample.endpoint);
        }
        well
    }
}

impl Book {
    /// Revises the incidents of the account when `sample` shows that the provider refuses several endpoints at once.
    pub(super) fn suspect(
        &mut self,
        sample: &Sample,
        around: &impl Surroundings,
    ) -> Vec<(Change, Uuid)> {
        let refused = sample.fault.map(Fault::attribution) == Some(Attribution::Account);
        let domain = around.endpoint(&sample.endpoint).map(Endpoint::domain);
        let Some(domain) =
            domain.filter(|_| refused && sample.attribution == Some(Attribution::Provider))
        else {
            return Vec::new();
        };
        let mut changes = Vec::new();
        let is_meant = |o: &Open| {
            let recent = sample.started_at.since_ms(o.incident.started_at) <= OTHER_BEFORE_MS;
            o.may_be_suspected()
                && o.incident.provider == domain
                && (recent || o.bad.contains(&sample.endpoint))
        };
        while let Some(place) = self.open.iter().position(is_meant) {
            let own = |o: &Open| o.is_providers() && o.incident.provider == domain;
            match self.open.iter().position(own) {
                None => changes.push(self.turn(place)),
                Some(target) => changes.extend(self.merge(place, target, sample.ended_at())),
            }
        }
        changes
    }

    /// The account's incident is the provider's from now on.
    fn turn(&mut self, place: usize) -> (Change, Uuid) {
        let open = &mut self.open[place];
        open.kind = IncidentKind::Service;
        open.incident.attribution = Attribution::Provider;
        open.unconfirmed = open.bad.iter().map(|name| (name.clone(), 0)).collect();
        open.reattribution = None;
        // What was its own until now may be the provider's as well.
        open.refused_alone.clear();
        (Change::Escalated, open.incident.id)
    }

    /// Whether `endpoint` is in an incident in which the provider is suspected, and nothing else: what it is refused with
    /// then is the same trouble still, whosever fault it turns out to be.
    pub(super) fn is_mere_suspicion(&self, endpoint: &str) -> bool {
        self.open
            .iter()
            .any(|o| o.is_mere_suspicion() && o.bad.contains(endpoint))
    }

    /// Whether both endpoints are in one incident in which the provider is suspected.
    pub fn are_suspected_together(&self, one: &str, other: &str) -> bool {
        self.open
            .iter()
            .any(|o| o.is_mere_suspicion() && o.bad.contains(one) && o.bad.contains(other))
    }

    /// Ends suspicions: where only endpoints are left that are refused for a reason of their own, all others having
    /// recovered or another key being let in, it was not the provider, or is not any more.
    pub(super) fn acquit(
        &mut self,
        at: Timestamp,
        around: &impl Surroundings,
    ) -> Vec<(Change, Uuid)> {
        let mut changes = Vec::new();
        let over = |(place, open): (usize, &Open)| Some((place, open.own_refusal()?));
        while let Some((place, fault)) = self.open.iter().enumerate().find_map(over) {
            // One that has been removed, or fails in another way now, has not been let in.
            let fails: BTreeSet<_> = self
                .open
                .iter()
                .flat_map(|o| o.bad.iter().cloned())
                .collect();
            let works = |name: &String| around.has_worked(name) && !fails.contains(name);
            let open = &mut self.open[place];
            self.withdrawn.extend(open.bad.iter().cloned());
            let (left, others): (Vec<_>, Vec<_>) = std::mem::take(&mut open.incident.endpoints)
                .into_iter()
                .partition(|name| open.bad.contains(name));
            open.reattribution = Some(Reattribution {
                at,
                recovered: others.into_iter().filter(works).collect(),
            });
            open.incident.endpoints = left;
            open.incident.attribution = Attribution::Account;
            open.incident.status = Status::Outage;
            open.kind = IncidentKind::Fault(fault);
            // The detector may not have noted yet that they are refused, and then never notes that they are not.
            open.unconfirmed = open.bad.iter().map(|name| (name.clone(), 0)).collect();
            open.refused_alone.clear();
            let (id, domain) = (open.incident.id, open.incident.provider.clone());
            // An account's trouble explains nobody else's.
            self.release(id, at);
            let same = |o: &Open| {
                o.incident.state == IncidentState::Open
                    && o.kind == IncidentKind::Fault(fault)
                    && o.incident.id != id
                    && o.incident.attribution == Attribution::Account
                    && o.incident.provider == domain
            };
            match self.open.iter().position(same) {
                None => changes.push((Change::Escalated, id)),
                Some(target) => changes.extend(self.merge(place, target, at)),
            }
        }
        changes
    }

    /// The account's incident at `place` is a part of the provider's at `target`, and ends as that at `at`.
    fn merge(&mut self, place: usize, target: usize, at: Timestamp) -> [(Change, Uuid); 2] {
        let mut open = self.open[place].clone();
        let into = &mut self.open[target];
        for name in std::mem::take(&mut open.bad) {
            if into.bad.insert(name.clone()) {
                into.unconfirmed.insert(name, 0);
            }
        }
        let joined = open
            .incident
            .endpoints
            .iter()
            .filter(|name| !into.incident.endpoints.contains(name));
        let joined: Vec<_> = joined.cloned().collect();
        into.incident.endpoints.extend(joined);
        into.incident.started_at = into.incident.started_at.min(open.incident.started_at);
        into.incident.evidence.probes += open.incident.evidence.probes;
        into.incident.evidence.failed += open.incident.evidence.failed;
        for (fault, n) in &open.faults {
            *into.faults.entry(*fault).or_default() += n;
        }
        open.incident.explained_by = Some(into.incident.number);
        let changes = [
            (Change::Resolved, open.incident.id),
            (Change::Updated, into.incident.id),
        ];
        close(&mut open.incident, at);
        self.open[place] = open;
        changes
    }
}
