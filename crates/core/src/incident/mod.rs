//! Turns detector events into incidents: opens, updates, escalates and resolves them. Pure.
//!
//! The tracker holds the open incidents. It is part of the folded state: the same samples give the
//! same incidents, ids included, in the daemon, after a restart and in a replay. An incident
//! therefore takes the id of the sample that opened it.
//!
//! There is one incident per failure domain, attribution and kind; endpoints that share all three
//! join it. An endpoint that fails because of its dependency joins the dependency's incident
//! instead of opening one.

pub mod attribution;
mod facts;
mod inhibition;
pub mod network;
mod open;
mod reattribution;
pub mod vendor_status;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(crate) use self::facts::latest;
use self::inhibition::Inhibited;
use self::open::{OpenIncident, Opening, close};
pub use self::reattribution::REFUSALS_OF_ITS_OWN;
use crate::detect::{DetectedCause, DetectorEvent, DetectorEventKind};
use crate::model::{
    Attribution, Confirmation, Endpoint, EndpointName, EvidenceSample, Fault, Incident,
    IncidentKind, IncidentState, Official, Outcome, Sample, ShiftClock, Status, Timestamp,
};

/// At or above this share of failed probes, an endpoint is in outage rather than degraded.
const OUTAGE_SHARE: f64 = 0.5;
/// Failures in a row after which a partial failure becomes an outage. At a 40 % failure rate, such
/// a run happens by chance once in ten thousand probes.
const OUTAGE_RUN: u32 = 10;
/// A vendor incident published longer than this after ours resolved is a different one.
const PUBLISHED_LATE_MS: i64 = 7_200_000;
/// The most resolved incidents that wait for the vendor to publish something.
const MAX_AWAITING_VENDOR: usize = 50;
/// The open incidents, and the number of the last one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct IncidentTracker {
    open: Vec<OpenIncident>,
    /// Resolved incidents about which the vendor has published nothing yet.
    #[serde(default, rename = "unsaid")]
    awaiting_vendor: Vec<Incident>,
    last_number: u64,
    /// Endpoints whose failures are caused by another incident.
    #[serde(default)]
    explained: BTreeMap<EndpointName, Inhibited>,
    /// Endpoints whose failures are no longer attributed to the provider, until the detector is
    /// updated.
    #[serde(skip)]
    withdrawn: Vec<EndpointName>,
}

/// A change in what the vendor's status page says about an incident.
#[derive(Debug, Clone, PartialEq)]
pub struct VendorUpdate {
    /// The incident with its updated official status.
    pub incident: Incident,
    /// Whether the vendor has newly published an incident of its own.
    pub published: bool,
}

/// What happened to an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The incident opened.
    Opened,
    /// Its endpoints, its cause or what is known about it changed.
    Updated,
    /// It became worse, spread to the entire provider, or was reattributed.
    Escalated,
    /// The incident resolved.
    Resolved,
}

impl Change {
    /// Rank of a change: of two simultaneous changes of an incident, the higher one is notified.
    fn weight(self) -> u8 {
        match self {
            Self::Updated => 0,
            Self::Escalated => 1,
            Self::Opened => 2,
            Self::Resolved => 3,
        }
    }
}

/// Medians of an endpoint's recent good probes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usual {
    /// Duration of the probe, in milliseconds.
    pub total_ms: Option<f64>,
    /// Output tokens a second after the first.
    pub tokens_per_second: Option<f64>,
}

/// Context that the tracker needs besides detector events.
pub trait IncidentContext {
    /// The configured endpoint of this name.
    fn endpoint(&self, name: &str) -> Option<&Endpoint>;
    /// The bad samples of an endpoint since `from`, oldest first.
    fn bad_samples(&self, name: &str, from: Timestamp) -> Vec<EvidenceSample>;
    /// How often an endpoint failed with each fault since `from`.
    fn faults(&self, name: &str, from: Timestamp) -> BTreeMap<Fault, u32>;
    /// The endpoints that answer now and are in no incident.
    fn working(&self) -> Vec<&Endpoint>;
    /// The number of monitored endpoints in a failure domain.
    fn size_of(&self, domain: &str) -> usize;
    /// Reports whether the endpoint has ever answered correctly with its current configuration, as
    /// far as recorded.
    fn has_worked(&self, name: &str) -> bool;
    /// Typical values of an endpoint that the detector does not learn.
    fn usual(&self, name: &str) -> Usual;
    /// The official status of an incident, from the vendor's status page.
    fn official(&self, incident: &Incident) -> Official;
    /// The fault of the endpoint's last probe.
    fn last_fault(&self, name: &str) -> Option<Fault>;
    /// The evidence that the provider wrongly rejects the account of the current sample.
    fn confirmation(&self) -> Option<Confirmation>;
}

impl IncidentTracker {
    /// The open incidents, oldest first.
    pub fn open(&self) -> impl Iterator<Item = &Incident> {
        self.open.iter().map(|o| &o.incident)
    }

    /// The oldest open incident in which `endpoint` has not recovered.
    pub fn of(&self, endpoint: &str) -> Option<&Incident> {
        self.open
            .iter()
            .find(|o| o.failing.contains(endpoint))
            .map(|o| &o.incident)
    }

    /// The status of an endpoint whose failures another incident causes, and that incident while it
    /// is open.
    pub fn explained(&self, endpoint: &str) -> Option<(Status, Option<&Incident>)> {
        let explained = self.explained.get(endpoint)?;
        let by = self
            .open
            .iter()
            .find(|o| Some(o.incident.id) == explained.by)
            .map(|o| &o.incident);
        Some((explained.status(), by))
    }

    /// Reports whether a sample of `endpoint` concerns an open incident.
    pub fn concerns(&self, endpoint: &str) -> bool {
        self.of(endpoint).is_some() || self.explained.contains_key(endpoint)
    }

    /// Applies a sample and its detector events. Returns what changed, at most one change per
    /// incident.
    pub fn apply(
        &mut self,
        notes: &[DetectorEvent],
        sample: &Sample,
        context: &impl IncidentContext,
    ) -> Vec<(Change, Incident)> {
        self.open.iter_mut().for_each(OpenIncident::complete);
        let mut changes: Vec<(Change, Uuid)> = self.count(sample);
        changes.extend(self.suspect(sample, context));
        // The endpoint that triggered the alert comes before those that join it.
        let (leading, joining): (Vec<_>, Vec<_>) = notes
            .iter()
            .partition(|n| n.event != DetectorEventKind::Join);
        for note in leading.into_iter().chain(joining) {
            match note.event {
                DetectorEventKind::Open | DetectorEventKind::Join | DetectorEventKind::Escalate => {
                    changes.extend(self.worsen(note, sample, context));
                }
                DetectorEventKind::Resolved => changes.extend(self.recover(note, sample)),
                DetectorEventKind::Offline | DetectorEventKind::Online => {}
            }
        }
        changes.extend(self.revert_to_account(sample.ended_at(), context));
        changes.extend(self.part_ways(sample.ended_at()));
        changes.extend(self.promote_if_still_failing(sample, context));
        let opened: Vec<_> = changes
            .iter()
            .filter(|(c, _)| *c == Change::Opened)
            .map(|(_, id)| *id)
            .collect();
        changes.extend(
            opened
                .into_iter()
                .flat_map(|id| self.explain_others(id, context)),
        );
        self.report(changes, sample.ended_at(), context)
    }

    /// Refreshes the changed incidents and merges their changes into one each. Removes resolved
    /// incidents.
    fn report(
        &mut self,
        changes: Vec<(Change, Uuid)>,
        at: Timestamp,
        context: &impl IncidentContext,
    ) -> Vec<(Change, Incident)> {
        let mut merged: Vec<(Change, Uuid)> = Vec::new();
        for (change, id) in changes {
            match merged.iter_mut().find(|(_, known)| *known == id) {
                Some((known, _)) if known.weight() < change.weight() => *known = change,
                Some(_) => {}
                None => merged.push((change, id)),
            }
        }
        let merged: Vec<_> = merged
            .into_iter()
            .filter_map(|(change, id)| {
                let open = self.open.iter_mut().find(|o| o.incident.id == id)?;
                facts::refresh(open, at, context);
                Some((change, open.incident.clone()))
            })
            .collect();
        let over = self
            .open
            .iter()
            .map(|o| &o.incident)
            .filter(|i| i.state == IncidentState::Resolved);
        let unpublished = over
            .filter(|i| i.attribution == Attribution::Provider && i.official.incident.is_none());
        self.awaiting_vendor.extend(unpublished.cloned());
        self.awaiting_vendor.drain(
            ..self
                .awaiting_vendor
                .len()
                .saturating_sub(MAX_AWAITING_VENDOR),
        );
        self.open
            .retain(|o| o.incident.state == IncidentState::Open);
        merged
    }

    /// Refreshes the official status of the open incidents, and of resolved ones that the vendor
    /// has not published yet. Returns those whose official status changed.
    pub fn update_official(
        &mut self,
        at: Timestamp,
        about: impl Fn(&Incident) -> Official,
    ) -> Vec<VendorUpdate> {
        let mut changed = Vec::new();
        self.awaiting_vendor.retain(|i| {
            i.resolved_at
                .is_some_and(|over| at.since_ms(over) <= PUBLISHED_LATE_MS)
        });
        // A vendor incident published while another incident is open is about the open one.
        let busy: BTreeSet<_> = self
            .open
            .iter()
            .map(|o| o.incident.provider.clone())
            .collect();
        let over = self
            .awaiting_vendor
            .iter_mut()
            .filter(|i| !busy.contains(&i.provider));
        for incident in self.open.iter_mut().map(|o| &mut o.incident).chain(over) {
            let now = about(incident);
            let published = now.incident.is_some() && now.incident != incident.official.incident;
            // The page's status after our incident resolved says nothing about our incident.
            if incident.official != now && (published || incident.resolved_at.is_none()) {
                incident.official = now;
                changed.push(VendorUpdate {
                    incident: incident.clone(),
                    published,
                });
            }
        }
        self.awaiting_vendor
            .retain(|i| i.official.incident.is_none());
        changed
    }

    /// Attributes account incidents to the provider at `at` if its status page admits their fault.
    /// `admits` returns the title of the vendor's incident. Returns what changed.
    pub fn apply_admissions(
        &mut self,
        at: Timestamp,
        context: &impl IncidentContext,
        admits: impl Fn(&Incident, Fault) -> Option<String>,
    ) -> Vec<(Change, Incident)> {
        self.open.iter_mut().for_each(OpenIncident::complete);
        let changes = self.admit(at, admits);
        self.report(changes, at, context)
    }

    /// Takes the endpoints whose failures the last sample showed not to be the provider's.
    pub fn take_withdrawn(&mut self) -> Vec<EndpointName> {
        std::mem::take(&mut self.withdrawn)
    }

    /// Makes the number of the next incident greater than `last`.
    pub fn number_after(&mut self, last: u64) {
        self.last_number = self.last_number.max(last);
    }

    /// Closes the incidents of which no endpoint is configured any more. Returns them.
    pub fn forget(&mut self, at: Timestamp, is_known: impl Fn(&str) -> bool) -> Vec<Incident> {
        let mut closed = Vec::new();
        self.explained.retain(|name, _| is_known(name));
        self.open.retain_mut(|open| {
            open.complete();
            open.failing.retain(|name| is_known(name));
            open.incident.endpoints = if open.failing.is_empty() {
                open.joined.clone()
            } else {
                open.concerned()
            };
            if open.failing.is_empty() {
                close_as_removed(&mut open.incident, at);
                closed.push(open.incident.clone());
            }
            !open.failing.is_empty()
        });
        for incident in &closed {
            self.release(incident.id, at);
        }
        closed
    }

    /// Counts a sample towards the incidents that its endpoint is in.
    fn count(&mut self, sample: &Sample) -> Vec<(Change, Uuid)> {
        let mut changes = Vec::new();
        let mut ended = Vec::new();
        let failed = sample.outcome == Outcome::Failed;
        for open in self
            .open
            .iter_mut()
            .filter(|o| o.failing.contains(&sample.endpoint))
        {
            let slow = open.incident.cause.is_slow();
            open.count_refusal(sample);
            if open.kind == IncidentKind::Service && reattribution::is_own(sample) {
                // The sample says nothing about the provider's service.
                continue;
            }
            open.incident.evidence.note(sample);
            let tally = open.tallies.entry(sample.endpoint.clone()).or_default();
            let bad = failed || (slow && sample.outcome == Outcome::Slow);
            tally.probes += 1;
            tally.bad += u32::from(bad);
            tally.good_run = if bad { 0 } else { tally.good_run + 1 };
            if let Some(fault) = sample.fault {
                *tally.faults.entry(fault).or_default() += 1;
            }
            facts::recount(open);
            if open.is_well(sample, failed) {
                let over = open.failing.is_empty();
                if over {
                    open.close(sample.ended_at());
                    ended.push(open.incident.id);
                }
                changes.push((
                    if over {
                        Change::Resolved
                    } else {
                        Change::Updated
                    },
                    open.incident.id,
                ));
            }
            open.run = if failed { open.run + 1 } else { 0 };
            if !slow && open.run >= OUTAGE_RUN && open.incident.status == Status::Degraded {
                open.incident.status = Status::Outage;
                changes.push((Change::Escalated, open.incident.id));
            }
        }
        for id in ended {
            self.release(id, sample.ended_at());
        }
        changes
    }

    /// Applies an event of a failing endpoint: adds it to the open incident of its kind, or opens
    /// one.
    fn worsen(
        &mut self,
        note: &DetectorEvent,
        sample: &Sample,
        context: &impl IncidentContext,
    ) -> Option<(Change, Uuid)> {
        let endpoint = context.endpoint(&note.endpoint)?;
        let (attribution, kind) = match (note.cause, sample.fault) {
            (DetectedCause::Account, Some(fault)) => (
                sample.attribution.unwrap_or(fault.attribution()),
                IncidentKind::Fault(fault),
            ),
            _ => (Attribution::Provider, kind_of(note, sample, context)),
        };
        if attribution == Attribution::Account && self.is_suspicion(&note.endpoint) {
            return None;
        }
        let status = status_of(note);
        let domain = endpoint.domain();
        // A local problem is one incident, whichever providers it affects.
        let everybody = attribution == Attribution::Local;
        let same = self.open.iter_mut().find(|o| {
            o.incident.state == IncidentState::Open
                && o.kind == kind
                && o.incident.attribution == attribution
                && (everybody || o.incident.provider == domain)
        });
        if let Some(open) = same {
            self.explained.remove(&note.endpoint);
            return Some((open.worsen(note, status, context), open.incident.id));
        }
        if attribution == Attribution::Provider
            && let Some(change) = self.inhibit_by_dependency(note, status, endpoint, context)
        {
            return Some(change);
        }
        let opened = self.begin(note, sample, status, (attribution, kind), context);
        Some((Change::Opened, opened))
    }

    /// Opens an incident and returns its id.
    fn begin(
        &mut self,
        note: &DetectorEvent,
        sample: &Sample,
        status: Status,
        (attribution, kind): (Attribution, IncidentKind),
        context: &impl IncidentContext,
    ) -> Uuid {
        self.last_number += 1;
        self.explained.remove(&note.endpoint);
        let taken = self.open.iter().any(|o| o.incident.id == sample.id);
        // A replay must produce the same id from the same sample; a second incident opened by that
        // sample needs its own.
        let id = if taken {
            Uuid::from_u128(sample.id.as_u128() ^ u128::from(self.last_number))
        } else {
            sample.id
        };
        let opening = Opening {
            id,
            number: self.last_number,
            status,
            attribution,
            kind,
        };
        self.open
            .push(OpenIncident::new(opening, note, sample, context));
        id
    }

    fn recover(&mut self, note: &DetectorEvent, sample: &Sample) -> Option<(Change, Uuid)> {
        let account = note.cause == DetectedCause::Account;
        if !account && self.explained.remove(&note.endpoint).is_some() {
            return None;
        }
        let open = self.open.iter_mut().find(|o| {
            o.failing.contains(&note.endpoint)
                && (o.incident.attribution != Attribution::Provider) == account
        })?;
        open.leave(&note.endpoint, note.ended_at);
        if note.new_normal && !open.incident.new_normal.contains(&note.endpoint) {
            open.incident.new_normal.push(note.endpoint.clone());
        }
        let id = open.incident.id;
        if !open.failing.is_empty() {
            return Some((Change::Updated, id));
        }
        let at = sample.ended_at();
        open.incident.evidence.first_token_ms.now = sample.first_token_ms;
        open.close(at);
        self.release(id, at);
        Some((Change::Resolved, id))
    }
}

/// Closes an incident because its endpoints were removed, which is not a recovery.
pub fn close_as_removed(incident: &mut Incident, at: Timestamp) {
    close(incident, at);
    incident.duration_s = at.since_ms(incident.started_at).max(0) as f64 / 1000.0;
    incident.removed = true;
}

/// Returns the status of an endpoint that fails as `note` says.
fn status_of(note: &DetectorEvent) -> Status {
    let share = f64::from(note.k) / f64::from(note.n.max(1));
    match note.cause {
        DetectedCause::Account => Status::Outage,
        _ if !note.cause.is_slow() && share >= OUTAGE_SHARE => Status::Outage,
        _ => Status::Degraded,
    }
}

/// Returns the kind of a provider incident: its service, or a fault with which it rejects valid
/// accounts.
fn kind_of(note: &DetectorEvent, sample: &Sample, context: &impl IncidentContext) -> IncidentKind {
    let fault = if note.endpoint == sample.endpoint {
        sample.fault
    } else {
        context.last_fault(&note.endpoint)
    };
    fault
        .filter(|f| f.attribution() == Attribution::Account && !note.cause.is_slow())
        .map_or(IncidentKind::Service, IncidentKind::Fault)
}

impl ShiftClock for IncidentTracker {
    fn shift_clock(&mut self, by_ms: i64) {
        let Self {
            open,
            awaiting_vendor,
            explained,
            last_number: _,
            withdrawn: _,
        } = self;
        open.shift_clock(by_ms);
        awaiting_vendor.shift_clock(by_ms);
        explained.shift_clock(by_ms);
    }
}
