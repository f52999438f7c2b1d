//! Reattribution between account and provider.
//!
//! When a provider rejects the keys of several endpoints at once, their account incidents become
//! provider incidents or join an open one. Once no other account is rejected, an endpoint that
//! still is has an account fault again.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::open::{OpenIncident, close};
use super::{Change, IncidentContext, IncidentTracker};
use crate::model::{
    Attribution, AttributionRevision, Confirmation, Endpoint, EndpointName, Fault, Incident,
    IncidentKind, IncidentState, Reattribution, Sample, Status, Timestamp,
};

/// A rejection that began this much earlier is unrelated.
const OTHER_BEFORE_MS: i64 = 300_000;
/// Account rejections in a row after which an endpoint's failures no longer count as the
/// provider's.
pub const REFUSALS_OF_ITS_OWN: u32 = 3;
/// Good probes in a row after which an endpoint without a later detector event has recovered.
const WELL_AFTER: u32 = 2;

/// Reports whether a sample was rejected for a reason of its own account.
pub(super) fn is_own(sample: &Sample) -> bool {
    sample.attribution == Some(Attribution::Account)
}

impl OpenIncident {
    /// Reports whether this is an account incident that may be the provider's mistake.
    fn may_be_suspected(&self) -> bool {
        self.incident.state == IncidentState::Open
            && self.incident.attribution == Attribution::Account
            && self
                .kind
                .fault()
                .is_some_and(crate::incident::attribution::may_be_wrongly_refused)
    }

    /// Reports whether this provider incident is about rejecting valid accounts.
    fn is_suspicion(&self) -> bool {
        self.incident.state == IncidentState::Open
            && self.incident.attribution == Attribution::Provider
            && self.kind.fault().is_some()
    }

    /// Counts consecutive account rejections of the sample's endpoint.
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

    /// Returns the fault with which all remaining endpoints are rejected for account reasons.
    /// `None` unless the incident is about rejected accounts.
    fn own_refusal(&self) -> Option<Fault> {
        let fault = self
            .failing
            .first()
            .and_then(|name| self.account_only_fault(name))?;
        let is_shared = self
            .failing
            .iter()
            .all(|name| self.account_only_fault(name) == Some(fault));
        (self.is_suspicion() && is_shared).then_some(fault)
    }

    /// Returns an endpoint of this outage that is rejected on its own, and the number of the
    /// incident of the account among `all` that has it.
    fn rejected_alone(&self, all: &[Self]) -> Option<(EndpointName, u64)> {
        if self.kind != IncidentKind::Service || self.incident.cause.is_slow() {
            return None;
        }
        let name = self
            .failing
            .iter()
            .find(|name| self.account_only_fault(name).is_some())?;
        let own = all
            .iter()
            .find(|o| o.incident.attribution == Attribution::Account && o.failing.contains(name))?;
        Some((name.clone(), own.incident.number))
    }

    /// Returns the fault that the endpoint alone was rejected with, often enough to believe it.
    fn account_only_fault(&self, name: &EndpointName) -> Option<Fault> {
        let (fault, n) = self.refused_alone.get(name)?;
        (*n >= REFUSALS_OF_ITS_OWN).then_some(*fault)
    }

    /// Counts good probes of an endpoint for which the detector may never report a recovery,
    /// because the provider's fault was only inferred. Returns whether it has recovered.
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
    /// Removes an endpoint from the provider's incident as of `at`: `revision` shows that its
    /// failures were this machine's. Without another endpoint the incident is over, and this
    /// machine's.
    pub fn take_back(
        &mut self,
        revision: &AttributionRevision,
        at: Timestamp,
        context: &impl IncidentContext,
    ) -> Vec<(Change, Incident)> {
        self.open.iter_mut().for_each(OpenIncident::complete);
        let name = &revision.endpoint;
        self.explained.remove(name);
        let is_meant = |o: &&mut OpenIncident| {
            o.kind == IncidentKind::Service
                && o.incident.attribution == Attribution::Provider
                && o.failing.contains(name)
        };
        let Some(open) = self.open.iter_mut().find(is_meant) else {
            return Vec::new();
        };
        open.failing.remove(name);
        open.unconfirmed.remove(name);
        open.good_since.remove(name);
        let id = open.incident.id;
        let change = if open.failing.is_empty() {
            open.incident.attribution = Attribution::Local;
            open.kind = IncidentKind::Fault(revision.fault);
            open.reattribution = Some(Reattribution {
                at,
                recovered: Vec::new(),
            });
            open.close(at);
            self.release(id, at);
            Change::Resolved
        } else {
            open.joined.retain(|joined| joined != name);
            open.tallies.remove(name);
            Change::Updated
        };
        self.report(vec![(change, id)], at, context)
    }

    /// Reattributes account incidents when `sample` shows that the provider rejects several
    /// endpoints at once.
    pub(super) fn suspect(
        &mut self,
        sample: &Sample,
        context: &impl IncidentContext,
    ) -> Vec<(Change, Uuid)> {
        let refused = sample.fault.map(Fault::attribution) == Some(Attribution::Account);
        let domain = context.endpoint(&sample.endpoint).map(Endpoint::domain);
        let kind = sample.fault.map(IncidentKind::Fault);
        let (Some(domain), Some(kind)) = (
            domain.filter(|_| refused && sample.attribution == Some(Attribution::Provider)),
            kind,
        ) else {
            return Vec::new();
        };
        let confirmation = context.confirmation();
        let everybody = !matches!(confirmation, Some(Confirmation::Headers(_)));
        let mut changes = Vec::new();
        while let Some(place) = self.open.iter().position(|o| {
            let recent = sample.started_at.since_ms(o.incident.started_at) <= OTHER_BEFORE_MS;
            o.may_be_suspected()
                && o.kind == kind
                && o.incident.provider == domain
                && ((everybody && recent) || o.failing.contains(&sample.endpoint))
        }) {
            changes.extend(self.suspect_provider(place, confirmation.clone(), sample.ended_at()));
        }
        changes
    }

    /// Attributes to the provider the account incidents that its status page admits at `at`.
    /// `admits` returns the title of the vendor's incident.
    pub(super) fn admit(
        &mut self,
        at: Timestamp,
        admits: impl Fn(&Incident, Fault) -> Option<String>,
    ) -> Vec<(Change, Uuid)> {
        let mut changes = Vec::new();
        while let Some((place, title)) = self.open.iter().enumerate().find_map(|(place, open)| {
            let fault = open.kind.fault().filter(|_| open.may_be_suspected())?;
            Some((place, admits(&open.incident, fault)?))
        }) {
            let confirmation = Some(Confirmation::VendorPage(title));
            changes.extend(self.suspect_provider(place, confirmation, at));
        }
        changes
    }

    /// Attributes the account incident at `place` to the provider, or merges it into the provider's
    /// open incident of the same kind.
    fn suspect_provider(
        &mut self,
        place: usize,
        confirmation: Option<Confirmation>,
        at: Timestamp,
    ) -> Vec<(Change, Uuid)> {
        let kind = self.open[place].kind;
        let domain = self.open[place].incident.provider.clone();
        let target = self
            .open
            .iter()
            .position(|o| o.is_suspicion() && o.kind == kind && o.incident.provider == domain);
        match target {
            None => vec![self.turn(place, confirmation)],
            Some(target) => self.merge(place, target, at).to_vec(),
        }
    }

    /// Attributes the account incident at `place` to the provider.
    fn turn(&mut self, place: usize, confirmation: Option<Confirmation>) -> (Change, Uuid) {
        let open = &mut self.open[place];
        open.confirmation = confirmation;
        open.incident.attribution = Attribution::Provider;
        open.unconfirmed = open.failing.iter().map(|name| (name.clone(), 0)).collect();
        open.reattribution = None;
        // Earlier account rejections may be the provider's fault as well.
        open.refused_alone.clear();
        (Change::Escalated, open.incident.id)
    }

    /// Reports whether `endpoint` is in a provider incident about rejected accounts. Its next
    /// rejection is then part of the same problem, whatever the final attribution.
    pub(super) fn is_suspicion(&self, endpoint: &str) -> bool {
        self.open
            .iter()
            .any(|o| o.is_suspicion() && o.failing.contains(endpoint))
    }

    /// Reports whether both endpoints are in the same provider incident about rejected accounts.
    pub fn are_suspected_together(&self, one: &str, other: &str) -> bool {
        self.open
            .iter()
            .any(|o| o.is_suspicion() && o.failing.contains(one) && o.failing.contains(other))
    }

    /// Returns the place of a suspicion that is the account's own fault, and the fault.
    fn next_own_refusal(&self) -> Option<(usize, Fault)> {
        self.open
            .iter()
            .enumerate()
            .find_map(|(place, open)| Some((place, open.own_refusal()?)))
    }

    /// Returns incidents to the account once only endpoints remain that are rejected for account
    /// reasons. The others have recovered or another key was accepted, so the provider is not, or
    /// no longer, at fault.
    pub(super) fn revert_to_account(
        &mut self,
        at: Timestamp,
        context: &impl IncidentContext,
    ) -> Vec<(Change, Uuid)> {
        let mut changes = Vec::new();
        while let Some((place, fault)) = self.next_own_refusal() {
            // An endpoint that was removed, or now fails in another way, has not recovered.
            let fails: BTreeSet<_> = self
                .open
                .iter()
                .flat_map(|o| o.failing.iter().cloned())
                .collect();
            let open = &mut self.open[place];
            self.withdrawn.extend(open.failing.iter().cloned());
            let (left, others): (Vec<_>, Vec<_>) = std::mem::take(&mut open.joined)
                .into_iter()
                .partition(|name| open.failing.contains(name));
            open.reattribution = Some(Reattribution {
                at,
                recovered: others
                    .into_iter()
                    .filter(|name| context.has_worked(name) && !fails.contains(name))
                    .collect(),
            });
            open.joined = left;
            open.confirmation = None;
            open.incident.attribution = Attribution::Account;
            open.incident.status = Status::Outage;
            open.kind = IncidentKind::Fault(fault);
            // Without a detector event for the rejection, the detector never reports the recovery.
            open.unconfirmed = open.failing.iter().map(|name| (name.clone(), 0)).collect();
            open.refused_alone.clear();
            let id = open.incident.id;
            let domain = open.incident.provider.clone();
            // An account fault cannot be the cause of other incidents.
            self.release(id, at);
            let target = self.open.iter().position(|o| {
                o.incident.state == IncidentState::Open
                    && o.kind == IncidentKind::Fault(fault)
                    && o.incident.id != id
                    && o.incident.attribution == Attribution::Account
                    && o.incident.provider == domain
            });
            match target {
                None => changes.push((Change::Escalated, id)),
                Some(target) => changes.extend(self.merge(place, target, at)),
            }
        }
        changes
    }

    /// Removes endpoints from a provider's service incident once their account or request is
    /// rejected instead. The provider answers again, and they have an incident of their own.
    pub(super) fn part_ways(&mut self, at: Timestamp) -> Vec<(Change, Uuid)> {
        let mut changes = Vec::new();
        while let Some((place, (name, number))) = self
            .open
            .iter()
            .enumerate()
            .find_map(|(place, open)| Some((place, open.rejected_alone(&self.open)?)))
        {
            let open = &mut self.open[place];
            open.refused_alone.remove(&name);
            let since = open.refused_since.remove(&name);
            open.leave(&name, since);
            open.replaced_by = Some(number);
            self.withdrawn.push(name);
            let id = open.incident.id;
            if open.failing.is_empty() {
                open.close(at);
                self.release(id, at);
                changes.push((Change::Resolved, id));
            } else {
                changes.push((Change::Updated, id));
            }
        }
        changes
    }

    /// Merges the account incident at `place` into the provider's at `target`, and closes it at
    /// `at`.
    fn merge(&mut self, place: usize, target: usize, at: Timestamp) -> [(Change, Uuid); 2] {
        let mut open = self.open[place].clone();
        let into = &mut self.open[target];
        for name in std::mem::take(&mut open.failing) {
            if !into.failing.contains(&name) {
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
