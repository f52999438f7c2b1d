//! A refused key that turns out to be refused at several endpoints at once: what was told as the account's fault becomes
//! the provider's incident, or a part of the one that goes on already. And back: once nobody else is refused any more,
//! whoever still is has trouble of its own.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Book, Change, OWN_TROUBLE, Open, Surroundings, close};
use crate::model::{Attribution, Endpoint, Fault, IncidentState, Sample, Status, Timestamp};

/// A refusal that began so much earlier is another one.
const OTHER_BEFORE_MS: i64 = 300_000;
/// Good probes in a row after which an endpoint that the detector has not noted since is well.
const WELL_AFTER: u32 = 2;

/// The end of a suspicion: the provider has let others in, and the rest is the account's own trouble.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Acquittal {
    pub(super) at: Timestamp,
    /// Who was refused as well and is not any more.
    pub(super) let_in: Vec<String>,
}

/// Whether a sample was refused, and for a reason of its endpoint alone.
pub(super) fn is_own(sample: &Sample) -> bool {
    sample.attribution == Some(Attribution::Account)
}

impl Open {
    /// Whether it is an account's incident that may be the provider's mistake.
    fn may_be_suspected(&self) -> bool {
        self.incident.state == IncidentState::Open
            && self.incident.attribution == Attribution::Account
            && self.kind.parse().is_ok_and(crate::attribute::may_be_wrongly_refused)
    }

    /// Whether it is the provider's incident.
    fn is_providers(&self) -> bool {
        self.incident.state == IncidentState::Open && self.kind == OWN_TROUBLE
    }

    /// Whether there is nothing in it but refusals, and so only a suspicion.
    fn is_mere_suspicion(&self) -> bool {
        let refused = |fault: &String| fault.parse().is_ok_and(|f: Fault| f.attribution() == Attribution::Account);
        self.is_providers() && !self.faults.is_empty() && self.faults.keys().all(refused)
    }

    /// Counts good probes of an endpoint that the detector may never note as recovered, because the provider's fault was
    /// only inferred for it. True once it is well.
    pub(super) fn is_well(&mut self, sample: &Sample, failed: bool) -> bool {
        let Some(good) = self.unconfirmed.get_mut(&sample.endpoint) else { return false };
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
    pub(super) fn suspect(&mut self, sample: &Sample, around: &impl Surroundings) -> Vec<(Change, Uuid)> {
        let refused = sample.fault.map(Fault::attribution) == Some(Attribution::Account);
        let domain = around.endpoint(&sample.endpoint).map(Endpoint::domain);
        let Some(domain) = domain.filter(|_| refused && sample.attribution == Some(Attribution::Provider)) else {
            return Vec::new();
        };
        let mut changes = Vec::new();
        let is_meant = |o: &Open| {
            let recent = sample.started_at.since_ms(o.incident.started_at) <= OTHER_BEFORE_MS;
            o.may_be_suspected() && o.incident.provider == domain && (recent || o.bad.contains(&sample.endpoint))
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
        OWN_TROUBLE.clone_into(&mut open.kind);
        open.incident.attribution = Attribution::Provider;
        open.unconfirmed = open.bad.iter().map(|name| (name.clone(), 0)).collect();
        open.acquittal = None;
        (Change::Escalated, open.incident.id)
    }

    /// Notes that `endpoint` is refused with `fault` by itself by now, though the provider is suspected of it. False when it
    /// is in no such incident; else it is the same trouble still, whosever fault it turns out to be.
    pub(super) fn is_left_alone(&mut self, endpoint: &str, fault: &str) -> bool {
        let Some(open) = self.open.iter_mut().find(|o| o.is_mere_suspicion() && o.bad.contains(endpoint)) else {
            return false;
        };
        open.refused_alone.insert(endpoint.to_owned(), fault.to_owned());
        true
    }

    /// Ends suspicions: where only endpoints are left that are refused by themselves, all others having recovered or
    /// another key being let in, it was not the provider, or is not any more.
    pub(super) fn acquit(&mut self, at: Timestamp) -> Vec<(Change, Uuid)> {
        let mut changes = Vec::new();
        let is_over = |o: &Open| {
            o.is_providers() && !o.bad.is_empty() && o.bad.iter().all(|name| o.refused_alone.contains_key(name))
        };
        while let Some(place) = self.open.iter().position(is_over) {
            self.withdrawn.extend(self.open[place].bad.iter().cloned());
            let open = &mut self.open[place];
            let fault = open.refused_alone.values().next().cloned().unwrap_or_default();
            let (left, let_in) =
                std::mem::take(&mut open.incident.endpoints).into_iter().partition(|name| open.bad.contains(name));
            open.incident.endpoints = left;
            open.incident.attribution = Attribution::Account;
            open.incident.status = Status::Outage;
            open.acquittal = Some(Acquittal { at, let_in });
            open.kind.clone_from(&fault);
            open.unconfirmed.clear();
            open.refused_alone.clear();
            let (id, domain) = (open.incident.id, open.incident.provider.clone());
            let same = |o: &Open| {
                o.incident.state == IncidentState::Open
                    && o.kind == fault
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
        let joined = open.incident.endpoints.iter().filter(|name| !into.incident.endpoints.contains(name));
        let joined: Vec<_> = joined.cloned().collect();
        into.incident.endpoints.extend(joined);
        into.incident.started_at = into.incident.started_at.min(open.incident.started_at);
        into.incident.evidence.probes += open.incident.evidence.probes;
        into.incident.evidence.failed += open.incident.evidence.failed;
        for (fault, n) in &open.faults {
            *into.faults.entry(fault.clone()).or_default() += n;
        }
        open.incident.explained_by = Some(into.incident.number);
        let changes = [(Change::Resolved, open.incident.id), (Change::Updated, into.incident.id)];
        close(&mut open.incident, at);
        self.open[place] = open;
        changes
    }
}
