//! A refused key that turns out to be refused at several endpoints at once: what was notified as the account's fault becomes
//! the provider's incident, or a part of the one that is open already. And back: once no other account is refused any more,
//! an endpoint that still is has a fault of its own.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::{Change, Environment, IncidentTracker, Open, close};
use crate::model::{
    Attribution, Confirmation, Endpoint, EndpointName, Fault, Incident, IncidentKind,
    IncidentState, Reattribution, Sample, Status, Timestamp,
};

/// A refusal that began so much earlier is another one.
const OTHER_BEFORE_MS: i64 = 300_000;
/// Refusals of its own in a row after which an endpoint is no part of what the provider is suspected of.
pub const REFUSALS_OF_ITS_OWN: u32 = 3;
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

    /// Whether the provider is suspected of rejecting accounts that are in order.
    fn is_suspicion(&self) -> bool {
        self.incident.state == IncidentState::Open
            && self.incident.attribution == Attribution::Provider
            && self.kind.fault().is_some()
    }

    /// Counts the refusals of an endpoint for a reason of its own.
    pub(super) fn count_refusal(&mut self, sample: &Sample) {
        let Some(fault) = sample.fault.filter(|_| is_own(sample)) else {
            self.refused_alone.remove(&sample.endpoint);
            self.refused_since.remove(&sample.endpoint);
            return;
        };
        self.refused_since
            .entry(sample.endpoint.clone())
            .or_insert(sample.started_at);
        let (before, count) = self
            .refused_alone
            .entry(sample.endpoint.clone())
            .or_insert((fault, 0));
        *count = if *before == fault { *count + 1 } else { 1 };
        *before = fault;
    }

    /// With what all that are left in it are refused for a reason of their own, when it is only a suspicion.
    fn own_refusal(&self) -> Option<Fault> {
        let own = |name: &EndpointName| {
            self.refused_alone
                .get(name)
                .filter(|(_, n)| *n >= REFUSALS_OF_ITS_OWN)
                .map(|(fault, _)| *fault)
        };
        let fault = self.bad.first().and_then(own)?;
        (self.is_suspicion() && self.bad.iter().all(|name| own(name) == Some(fault)))
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
        if failed {
            self.good_since.remove(&sample.endpoint);
        } else {
            self.good_since
                .entry(sample.endpoint.clone())
                .or_insert(sample.started_at);
        }
        if well {
            let since = self.good_since.get(&sample.endpoint).copied();
            self.leave(&sample.endpoint, since);
        }
        well
    }
}

impl IncidentTracker {
    /// Revises the incidents of the account when `sample` shows that the provider refuses several endpoints at once.
    pub(super) fn suspect(
        &mut self,
        sample: &Sample,
        around: &impl Environment,
    ) -> Vec<(Change, Uuid)> {
        let refused = sample.fault.map(Fault::attribution) == Some(Attribution::Account);
        let domain = around.endpoint(&sample.endpoint).map(Endpoint::domain);
        let kind = sample.fault.map(IncidentKind::Fault);
        let (Some(domain), Some(kind)) = (
            domain.filter(|_| refused && sample.attribution == Some(Attribution::Provider)),
            kind,
        ) else {
            return Vec::new();
        };
        let confirmation = around.confirmation();
        let everybody = !matches!(confirmation, Some(Confirmation::Headers(_)));
        let mut changes = Vec::new();
        let is_meant = |o: &Open| {
            let recent = sample.started_at.since_ms(o.incident.started_at) <= OTHER_BEFORE_MS;
            o.may_be_suspected()
                && o.kind == kind
                && o.incident.provider == domain
                && ((everybody && recent) || o.bad.contains(&sample.endpoint))
        };
        while let Some(place) = self.open.iter().position(is_meant) {
            changes.extend(self.suspect_provider(place, confirmation.clone(), sample.ended_at()));
        }
        changes
    }

    /// The vendor's page admits at `at` what the incidents of the account are about: they are the provider's from now on.
    /// `admits` gives the title of the vendor's incident.
    pub(super) fn admit(
        &mut self,
        at: Timestamp,
        admits: impl Fn(&Incident, Fault) -> Option<String>,
    ) -> Vec<(Change, Uuid)> {
        let mut changes = Vec::new();
        let admitted = |(place, open): (usize, &Open)| {
            let fault = open.kind.fault().filter(|_| open.may_be_suspected())?;
            Some((place, admits(&open.incident, fault)?))
        };
        while let Some((place, title)) = self.open.iter().enumerate().find_map(admitted) {
            let confirmation = Some(Confirmation::VendorPage(title));
            changes.extend(self.suspect_provider(place, confirmation, at));
        }
        changes
    }

    /// The account's incident at `place` is the provider's from now on, or a part of the one of the same kind that the
    /// provider has already.
    fn suspect_provider(
        &mut self,
        place: usize,
        confirmation: Option<Confirmation>,
        at: Timestamp,
    ) -> Vec<(Change, Uuid)> {
        let (kind, domain) = (
            self.open[place].kind,
            self.open[place].incident.provider.clone(),
        );
        let own = |o: &Open| o.is_suspicion() && o.kind == kind && o.incident.provider == domain;
        match self.open.iter().position(own) {
            None => vec![self.turn(place, confirmation)],
            Some(target) => self.merge(place, target, at).to_vec(),
        }
    }

    /// The account's incident is the provider's from now on.
    fn turn(&mut self, place: usize, confirmation: Option<Confirmation>) -> (Change, Uuid) {
        let open = &mut self.open[place];
        open.confirmation = confirmation;
        open.incident.attribution = Attribution::Provider;
        open.unconfirmed = open.bad.iter().map(|name| (name.clone(), 0)).collect();
        open.reattribution = None;
        // What was its own until now may be the provider's as well.
        open.refused_alone.clear();
        (Change::Escalated, open.incident.id)
    }

    /// Whether `endpoint` is in an incident in which the provider is suspected, and nothing else: what it is refused with
    /// then is the same trouble still, whosever fault it turns out to be.
    pub(super) fn is_suspicion(&self, endpoint: &str) -> bool {
        self.open
            .iter()
            .any(|o| o.is_suspicion() && o.bad.contains(endpoint))
    }

    /// Whether both endpoints are in one incident in which the provider is suspected.
    pub fn are_suspected_together(&self, one: &str, other: &str) -> bool {
        self.open
            .iter()
            .any(|o| o.is_suspicion() && o.bad.contains(one) && o.bad.contains(other))
    }

    /// Ends suspicions: where only endpoints are left that are refused for a reason of their own, all others having
    /// recovered or another key being let in, it was not the provider, or is not any more.
    pub(super) fn acquit(
        &mut self,
        at: Timestamp,
        around: &impl Environment,
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
            let works = |name: &EndpointName| around.has_worked(name) && !fails.contains(name);
            let open = &mut self.open[place];
            self.withdrawn.extend(open.bad.iter().cloned());
            let (left, others): (Vec<_>, Vec<_>) = std::mem::take(&mut open.joined)
                .into_iter()
                .partition(|name| open.bad.contains(name));
            open.reattribution = Some(Reattribution {
                at,
                recovered: others.into_iter().filter(works).collect(),
            });
            open.joined = left;
            open.confirmation = None;
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

    /// Takes endpoints out of the incidents of a provider's service once their account or request is rejected instead: the
    /// provider answers again, and they are in an incident of their own.
    pub(super) fn part_ways(&mut self, at: Timestamp) -> Vec<(Change, Uuid)> {
        let mut changes = Vec::new();
        let rejected = |open: &Open, others: &[Open]| {
            let is_service = open.kind == IncidentKind::Service && !open.incident.cause.is_slow();
            let name = open.bad.iter().find(|name| {
                let alone = open.refused_alone.get(*name);
                is_service && alone.is_some_and(|(_, n)| *n >= REFUSALS_OF_ITS_OWN)
            })?;
            let own = others
                .iter()
                .find(|o| o.incident.attribution == Attribution::Account && o.bad.contains(name))?;
            Some((name.clone(), own.incident.number))
        };
        while let Some((place, (name, number))) = self
            .open
            .iter()
            .enumerate()
            .find_map(|(place, open)| Some((place, rejected(open, &self.open)?)))
        {
            let open = &mut self.open[place];
            open.refused_alone.remove(&name);
            let since = open.refused_since.remove(&name);
            open.leave(&name, since);
            open.replaced_by = Some(number);
            self.withdrawn.push(name);
            let id = open.incident.id;
            if open.bad.is_empty() {
                open.close(at);
                self.release(id, at);
                changes.push((Change::Resolved, id));
            } else {
                changes.push((Change::Updated, id));
            }
        }
        changes
    }

    /// The account's incident at `place` is a part of the provider's at `target`, and ends as that at `at`.
    fn merge(&mut self, place: usize, target: usize, at: Timestamp) -> [(Change, Uuid); 2] {
        let mut open = self.open[place].clone();
        let into = &mut self.open[target];
        for name in std::mem::take(&mut open.bad) {
            if !into.bad.contains(&name) {
                let tally = open.tallies.get(&name).cloned().unwrap_or_default();
                into.join(&name, tally);
                into.unconfirmed.insert(name, 0);
            }
        }
        into.incident.started_at = into.incident.started_at.min(open.incident.started_at);
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
