//! A refused key that turns out to be refused at several endpoints at once: what was told as the account's fault becomes
//! the provider's incident, or a part of the one that goes on already.

use uuid::Uuid;

use super::{Book, Change, OWN_TROUBLE, Open, Surroundings, close};
use crate::model::{Attribution, Endpoint, Fault, IncidentState, Sample, Timestamp};

/// A refusal that began so much earlier is another one.
const OTHER_BEFORE_MS: i64 = 300_000;
/// Good probes in a row after which an endpoint that the detector has not noted since is well.
const WELL_AFTER: u32 = 2;

impl Open {
    /// Whether it is an account's incident that may be the provider's mistake.
    fn may_be_suspected(&self) -> bool {
        self.incident.state == IncidentState::Open
            && self.incident.attribution == Attribution::Account
            && self.kind.parse().is_ok_and(crate::attribute::may_be_wrongly_refused)
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
            let own = |o: &Open| {
                o.kind == OWN_TROUBLE && o.incident.provider == domain && o.incident.state == IncidentState::Open
            };
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
        (Change::Escalated, open.incident.id)
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
