//! Combines the verdicts of several locations. Pure: each location's report goes in, the shared
//! incidents come out.
//!
//! Every daemon judges its own samples. It publishes a [`LocationVerdict`] for each endpoint and a
//! [`LocationReport`] with its open incidents. [`decide`] merges them into shared incidents. An
//! endpoint is down when as many locations agree as `[quorum]` requires. A failure that fewer see
//! is an incident of these locations.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::config::Agree;
use crate::incident::Change;
use crate::message;
use crate::message::values::Locale;
use crate::model::{
    AlertState, Attribution, Cause, Endpoint, EndpointName, EndpointView, Incident,
    IncidentLocation, IncidentState, LocationView, ProviderName, Scope, Snapshot, Status,
    Timestamp,
};

/// The longest that a location with pending evidence delays the first message about another
/// location's incident.
const PENDING_LIMIT_MS: i64 = 120_000;

/// The verdict of one location on one endpoint. Times are those of the shared store's clock.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LocationVerdict {
    /// The endpoint's name.
    pub endpoint: EndpointName,
    /// The location.
    pub location: String,
    /// The endpoint's status from there.
    pub status: Status,
    /// The location's incident that the endpoint is in.
    pub incident: Option<Uuid>,
    /// Whether it counts toward the quorum: it was measured, perhaps without enough evidence yet,
    /// and is not in maintenance.
    pub counts: bool,
    /// Whether its last probes failed without enough evidence for an incident.
    pub pending: bool,
    /// The start of the last probe.
    pub probed_at: Option<Timestamp>,
    /// The verdict is stale when no probe began for this long, in milliseconds.
    pub patience_ms: i64,
    /// The endpoint as that location shows it.
    pub view: EndpointView,
}

impl LocationVerdict {
    /// Returns the verdicts in a daemon's snapshot. `offset_ms` is how far the store's clock is
    /// ahead of the daemon's. `patience_ms` returns how long the verdict on an endpoint stays
    /// fresh.
    pub fn of_snapshot(
        snapshot: &Snapshot,
        offset_ms: i64,
        patience_ms: impl Fn(&str) -> i64,
    ) -> Vec<Self> {
        snapshot
            .endpoints
            .iter()
            .map(|e| Self::of_view(e, snapshot, offset_ms, patience_ms(&e.name)))
            .collect()
    }

    fn of_view(e: &EndpointView, snapshot: &Snapshot, offset_ms: i64, patience_ms: i64) -> Self {
        let incident = snapshot
            .incidents
            .iter()
            .find(|i| e.status != Status::Operational && i.endpoints.contains(&e.name));
        let is_account = incident.is_some_and(|i| i.attribution == Attribution::Account);
        let is_measured = matches!(
            e.status,
            Status::Operational | Status::Degraded | Status::Outage
        );
        // Its status is not known yet, but it is one of those that have to agree.
        let is_pending = e.status == Status::Unknown && e.alert.state == AlertState::Pending;
        let is_known = is_measured || is_pending || is_account;
        Self {
            endpoint: e.name.clone(),
            location: snapshot.location.clone(),
            status: e.status,
            incident: incident.map(|i| i.id),
            counts: snapshot.offline_since.is_none() && is_known,
            pending: incident.is_none() && e.failed_in_a_row > 0,
            probed_at: e.last_probe_at.map(|at| Timestamp(at.0 + offset_ms)),
            patience_ms,
            view: e.clone(),
        }
    }

    /// Reports whether the verdict counts at `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.counts && self.is_fresh(now)
    }

    /// Reports whether that location has probed the endpoint recently.
    fn is_fresh(&self, now: Timestamp) -> bool {
        self.probed_at
            .is_some_and(|at| now.since_ms(at) <= self.patience_ms)
    }

    /// Notes that the store had no sign at `now` of a fresh verdict having become stale: it counts
    /// as fresh for at least `length` from then on. The time of the last probe need not be read
    /// again after every probe.
    pub fn confirm_fresh(&mut self, now: Timestamp, length: Duration) {
        if self.is_fresh(now) {
            let earliest = now.0 - self.patience_ms + length.as_millis() as i64;
            self.probed_at = self.probed_at.max(Some(Timestamp(earliest)));
        }
    }

    fn is_down(&self) -> bool {
        self.incident.is_some()
    }
}

/// The incidents of one location, as it knows them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LocationReport {
    /// The location.
    pub location: String,
    /// How far the store's clock is ahead of the location's, in milliseconds.
    pub offset_ms: i64,
    /// The incidents that are open there, and those that resolved recently.
    pub incidents: Vec<Incident>,
}

/// An incident that is shared by all locations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SharedIncident {
    /// The incident as users see it.
    pub incident: Incident,
    /// Ids of the locations' own incidents that are part of it, with their locations.
    pub members: BTreeMap<Uuid, String>,
    /// Whether alerting knows of it. An incident of one location waits until the others have
    /// probed.
    pub notified: bool,
    /// When it began, by the store's clock.
    pub began_at: Timestamp,
    /// When it was opened, by the store's clock.
    pub opened_at: Timestamp,
}

/// Evidence for deciding the shared incidents.
#[derive(Debug, Clone)]
pub struct LocationEvidence<'a> {
    /// The current time by the store's clock.
    pub now: Timestamp,
    /// The current time by the clock of the deciding daemon.
    pub at: Timestamp,
    /// How many locations have to agree.
    pub agree: Agree,
    /// Every verdict, stale ones included.
    pub verdicts: &'a [LocationVerdict],
    /// Every location's report.
    pub reports: &'a [LocationReport],
    /// Shared incidents that resolved recently.
    pub closed: &'a [SharedIncident],
}

impl LocationEvidence<'_> {
    /// Reports whether `location` still probes an endpoint of `own`. The last report of a stopped
    /// daemon is outdated.
    fn counts_incident(&self, location: &str, own: &Incident) -> bool {
        self.verdicts.iter().any(|v| {
            v.location == location && own.endpoints.contains(&v.endpoint) && v.is_fresh(self.now)
        })
    }

    /// Returns the id of a new shared incident that begins with `own`. `None` if `own` is what
    /// remains of a resolved one.
    fn new_id(&self, own: &Incident) -> Option<Uuid> {
        let last_bad = own.evidence.samples.iter().map(|s| s.started_at).max();
        let over = self
            .closed
            .iter()
            .filter(|s| {
                let over = &s.incident;
                let is_same = over.provider == own.provider && over.attribution == own.attribution;
                // A daemon that was down when it resolved may not have reported its part of it yet.
                let is_left = is_same && last_bad.is_some() && last_bad <= over.resolved_at;
                s.members.contains_key(&own.id) || over.id == own.id || is_left
            })
            .max_by_key(|s| s.incident.resolved_at);
        let Some(over) = over else {
            return Some(own.id);
        };
        let resolved_at = over.incident.resolved_at?;
        (last_bad? > resolved_at).then(|| {
            let digest = Sha256::digest(format!("{}\n{}", own.id, resolved_at.0).as_bytes());
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&digest[..16]);
            uuid::Builder::from_custom_bytes(bytes).into_uuid()
        })
    }
}

/// A change of a shared incident, with the changes for alerting.
#[derive(Debug, Clone, PartialEq)]
pub struct Decided {
    /// The change; `None` for new evidence alone.
    pub change: Option<Change>,
    /// The changes for alerting now, with [`Change::Opened`] first if it did not know the incident.
    pub alerts: Vec<Change>,
    /// The updated incident.
    pub shared: SharedIncident,
}

/// Applies the locations' reports to the `open` shared incidents. `number` returns the number of a
/// new one. Returns every incident that changed.
pub fn decide(
    open: Vec<SharedIncident>,
    evidence: &LocationEvidence<'_>,
    mut number: impl FnMut() -> u64,
    locale: &Locale,
) -> Vec<Decided> {
    let mut all: Vec<Draft> = open.into_iter().map(Draft::of).collect();
    let mut absorbed = Vec::new();
    for report in evidence.reports {
        for own in &report.incidents {
            let known = all
                .iter_mut()
                .find(|d| d.shared.members.contains_key(&own.id) || d.shared.incident.id == own.id);
            if let Some(draft) = known {
                draft.add(report, own);
                continue;
            }
            // An incident that a daemon notified on its own is recorded even if it has resolved.
            if own.state != IncidentState::Open && !own.alone {
                continue;
            }
            if own.state == IncidentState::Open && !evidence.counts_incident(&report.location, own)
            {
                continue;
            }
            let Some(id) = evidence.new_id(own) else {
                continue;
            };
            let key = Key::of(own, &report.location);
            let same = all
                .iter_mut()
                .filter(|d| d.key == key && !d.holds_another(report, own))
                .max_by_key(|d| d.overlap(own));
            if own.alone
                && own.state == IncidentState::Open
                && let Some(draft) = same
            {
                absorbed.push(absorb(report, own, draft, evidence, number(), locale));
                draft.add(report, own);
                continue;
            }
            if let Some(draft) = same.filter(|_| !own.alone) {
                draft.add(report, own);
            } else {
                let mut draft = Draft::new(report, own, evidence, id, number());
                draft.add(report, own);
                all.push(draft);
            }
        }
    }
    let changed = all
        .into_iter()
        .filter_map(|draft| draft.finish(evidence, locale));
    changed.chain(absorbed).collect()
}

/// Closes an incident that a daemon notified on its own while the others had opened one for the
/// same outage. Channels that were notified of it learn that it continues under the other number.
fn absorb(
    report: &LocationReport,
    own: &Incident,
    into: &Draft,
    evidence: &LocationEvidence<'_>,
    number: u64,
    locale: &Locale,
) -> Decided {
    let mut incident = own.clone();
    incident.number = number;
    incident.state = IncidentState::Resolved;
    incident.resolved_at = Some(evidence.at.max(own.opened_at));
    incident.ended_at = incident.resolved_at;
    incident.explained_by = Some(into.shared.incident.number);
    incident.place(&report.location);
    message::incident::narrate(&mut incident, locale);
    Decided {
        change: Some(Change::Resolved),
        alerts: vec![Change::Resolved],
        shared: SharedIncident {
            incident,
            members: BTreeMap::new(),
            notified: true,
            began_at: Timestamp(own.started_at.0 + report.offset_ms),
            opened_at: evidence.now,
        },
    }
}

/// Incidents of several locations with the same key are merged.
#[derive(Debug, PartialEq, Eq)]
struct Key {
    provider: ProviderName,
    attribution: Attribution,
    cause: Option<Cause>,
    location: Option<String>,
}

impl Key {
    fn of(incident: &Incident, location: &str) -> Self {
        let own = incident.attribution == Attribution::Local;
        Self {
            provider: if own {
                ProviderName::default()
            } else {
                incident.provider.clone()
            },
            attribution: incident.attribution,
            cause: (incident.attribution != Attribution::Provider).then_some(incident.cause),
            location: own.then(|| location.to_owned()),
        }
    }
}

struct Draft {
    key: Key,
    is_new: bool,
    before: Incident,
    shared: SharedIncident,
    /// The locations' own incidents that are part of it, open or resolved.
    parts: Vec<(String, Incident)>,
}

impl Draft {
    fn of(shared: SharedIncident) -> Self {
        let first = shared.incident.locations.first();
        let location = first.map_or_else(String::new, |l| l.location.clone());
        Self {
            key: Key::of(&shared.incident, &location),
            is_new: false,
            before: shared.incident.clone(),
            shared,
            parts: Vec::new(),
        }
    }

    fn new(
        report: &LocationReport,
        own: &Incident,
        evidence: &LocationEvidence<'_>,
        id: Uuid,
        number: u64,
    ) -> Self {
        let mut incident = own.clone();
        incident.id = id;
        incident.number = number;
        incident.locations = Vec::new();
        if own.state == IncidentState::Resolved {
            incident.place(&report.location);
        }
        Self {
            key: Key::of(own, &report.location),
            is_new: true,
            before: incident.clone(),
            shared: SharedIncident {
                incident,
                members: BTreeMap::new(),
                // An incident that a daemon decided on its own was also notified by it.
                notified: own.alone,
                began_at: Timestamp(own.started_at.0 + report.offset_ms),
                opened_at: evidence.now,
            },
            parts: Vec::new(),
        }
    }

    /// Reports whether another open incident of that location is part of it. Incidents that one
    /// location keeps apart stay apart.
    fn holds_another(&self, report: &LocationReport, own: &Incident) -> bool {
        report.incidents.iter().any(|other| {
            let is_part =
                self.shared.members.contains_key(&other.id) || self.shared.incident.id == other.id;
            other.id != own.id && other.state == IncidentState::Open && is_part
        })
    }

    /// Returns the number of endpoints that are in both.
    fn overlap(&self, own: &Incident) -> usize {
        let known = &self.shared.incident.endpoints;
        own.endpoints.iter().filter(|e| known.contains(e)).count()
    }

    fn add(&mut self, report: &LocationReport, own: &Incident) {
        self.shared.members.insert(own.id, report.location.clone());
        self.parts.push((report.location.clone(), own.clone()));
        let began_at = Timestamp(own.started_at.0 + report.offset_ms);
        self.shared.began_at = self.shared.began_at.min(began_at);
    }

    fn finish(mut self, evidence: &LocationEvidence<'_>, locale: &Locale) -> Option<Decided> {
        let was = self.before.clone();
        let open: Vec<_> = self
            .parts
            .iter()
            .filter(|(_, own)| own.state == IncidentState::Open)
            .cloned()
            .collect();
        // A location that has stopped probing does not keep an incident open if others have
        // verdicts.
        let counted: Vec<_> = open
            .iter()
            .filter(|(location, own)| evidence.counts_incident(location, own))
            .cloned()
            .collect();
        if counted.is_empty() {
            return self.resolve(evidence, !open.is_empty(), locale);
        }
        let open = counted;
        let base = open
            .iter()
            .find(|(_, own)| own.id == was.id)
            .unwrap_or(&open[0])
            .1
            .clone();
        let incident = merge(&was, &base, &open);
        self.shared.incident = incident;
        self.judge(evidence, &open);
        let incident = &mut self.shared.incident;
        message::incident::narrate(incident, locale);
        let change = if self.is_new {
            Some(Change::Opened)
        } else {
            change_between(&was, incident)
        };
        let knew = self.shared.notified;
        let mut alerts = Vec::new();
        if knew {
            alerts.extend(change.filter(|c| *c != Change::Opened));
        } else if self.is_confirmed(evidence) {
            self.shared.notified = true;
            alerts.push(Change::Opened);
        }
        if change.is_none() && alerts.is_empty() && self.shared.incident == was {
            return None;
        }
        Some(Decided {
            change,
            alerts,
            shared: self.shared,
        })
    }

    /// Determines which locations reach its endpoints, and whether enough locations see it to meet
    /// the quorum.
    fn judge(&mut self, evidence: &LocationEvidence<'_>, open: &[(String, Incident)]) {
        let mut reached: Option<BTreeSet<String>> = None;
        let mut is_agreed = false;
        let members = &self.shared.members;
        for name in open.iter().flat_map(|(_, own)| &own.endpoints) {
            let of_it = evidence.verdicts.iter().filter(|v| v.endpoint == *name);
            let live: Vec<_> = of_it.filter(|v| v.is_live(evidence.now)).collect();
            let down = live
                .iter()
                .filter(|v| v.incident.is_some_and(|id| members.contains_key(&id)))
                .count();
            is_agreed |= down > 0 && down >= evidence.agree.needed(live.len());
            let good = live
                .iter()
                .filter(|v| !v.is_down() && !v.pending)
                .map(|v| v.location.clone())
                .collect::<BTreeSet<_>>();
            reached = Some(match reached {
                Some(before) => before.intersection(&good).cloned().collect(),
                None => good,
            });
        }
        let incident = &mut self.shared.incident;
        let is_own = incident.attribution == Attribution::Local;
        incident.scope = if is_agreed && !is_own {
            Scope::All
        } else {
            Scope::Location
        };
        incident.reached_from = if is_own {
            Vec::new()
        } else {
            reached.unwrap_or_default().into_iter().collect()
        };
        if is_own && evidence.reports.len() < 2 {
            incident.scope = Scope::All;
        }
    }

    /// Reports whether the first message is due: enough locations agree, or every other location
    /// has probed since it began.
    fn is_confirmed(&self, evidence: &LocationEvidence<'_>) -> bool {
        let incident = &self.shared.incident;
        if incident.scope == Scope::All || incident.attribution == Attribution::Local {
            return true;
        }
        let affected = affected_locations(incident);
        let is_patient = evidence.now.since_ms(self.shared.opened_at) < PENDING_LIMIT_MS;
        evidence
            .verdicts
            .iter()
            .filter(|v| incident.endpoints.contains(&v.endpoint))
            .filter(|v| v.is_live(evidence.now) && !affected.contains(&v.location.as_str()))
            .all(|v| {
                let since = v.probed_at.is_some_and(|at| at >= self.shared.began_at);
                since && !(v.pending && is_patient)
            })
    }

    /// Resolves the incident because no location that still probes reports it any more.
    fn resolve(
        mut self,
        evidence: &LocationEvidence<'_>,
        is_left: bool,
        locale: &Locale,
    ) -> Option<Decided> {
        let was = &self.before;
        let is_known = evidence.verdicts.iter().any(|v| {
            was.endpoints.contains(&v.endpoint)
                && v.is_live(evidence.now)
                && evidence.reports.iter().any(|r| r.location == v.location)
        });
        // Incidents of endpoints that nobody configures any more are closed by the daemons that had
        // them.
        if !is_known && (is_left || self.parts.is_empty()) {
            return None;
        }
        let last = self
            .parts
            .iter()
            .max_by_key(|(_, own)| own.end())
            .map(|(_, own)| own.clone());
        let mut incident = match last {
            Some(own) => Incident {
                id: was.id,
                number: was.number,
                status: was.status,
                endpoints: was.endpoints.clone(),
                started_at: was.started_at,
                opened_at: was.opened_at,
                locations: was.locations.clone(),
                scope: was.scope,
                acknowledged: was.acknowledged.clone(),
                notes: was.notes.clone(),
                ..own
            },
            None => was.clone(),
        };
        incident.state = IncidentState::Resolved;
        incident.alone = false;
        incident.resolved_at = Some(evidence.at.max(incident.opened_at));
        incident.ended_at = incident
            .ended_at
            .or(Some(evidence.at))
            .map(|at| at.max(incident.started_at));
        incident.reached_from = Vec::new();
        let end = incident.end().unwrap_or(evidence.at);
        incident.duration_s = end.since_ms(incident.started_at).max(0) as f64 / 1000.0;
        message::incident::narrate(&mut incident, locale);
        let mut alerts = Vec::new();
        if !self.shared.notified {
            self.shared.notified = true;
            alerts.push(Change::Opened);
        }
        // An incident that began and ended while a daemon was on its own has been notified already.
        if !self.is_new {
            alerts.push(Change::Resolved);
        }
        self.shared.incident = incident;
        Some(Decided {
            change: Some(Change::Resolved),
            alerts,
            shared: self.shared,
        })
    }
}

/// Merges the incident over all locations that see it; `base` provides the details.
fn merge(was: &Incident, base: &Incident, open: &[(String, Incident)]) -> Incident {
    let mut endpoints = was.endpoints.clone();
    for name in open.iter().flat_map(|(_, own)| &own.endpoints) {
        if !endpoints.contains(name) {
            endpoints.push(name.clone());
        }
    }
    let status = open.iter().map(|(_, own)| own.status).max();
    let mut locations = Vec::new();
    for known in &was.locations {
        let now = open
            .iter()
            .find(|(location, _)| *location == known.location);
        locations.push(IncidentLocation {
            state: now.map_or(Status::Operational, |(_, own)| own.status),
            ..known.clone()
        });
    }
    for (location, own) in open {
        if !locations.iter().any(|l| l.location == *location) {
            locations.push(IncidentLocation {
                location: location.clone(),
                state: own.status,
                since: own.started_at,
            });
        }
    }
    Incident {
        id: was.id,
        number: was.number,
        state: IncidentState::Open,
        status: was.status.max(status.unwrap_or(was.status)),
        endpoints,
        started_at: was.started_at.min(base.started_at),
        opened_at: was.opened_at,
        ended_at: None,
        resolved_at: None,
        locations,
        acknowledged: was.acknowledged.clone(),
        notes: was.notes.clone(),
        alone: false,
        ..base.clone()
    }
}

/// Returns the kind of change between two states of an open incident; `None` for new evidence
/// alone.
pub fn change_between(was: &Incident, now: &Incident) -> Option<Change> {
    // A problem of one endpoint has spread to the provider.
    let spreads = now.attribution == Attribution::Provider
        && was.endpoints.len() == 1
        && now.endpoints.len() > 1;
    let grew = now.status > was.status
        || spreads
        || (was.scope == Scope::Location && now.scope == Scope::All)
        || now.attribution != was.attribution;
    if grew {
        return Some(Change::Escalated);
    }
    let extent = now.endpoints != was.endpoints
        || now.scope != was.scope
        || affected_locations(now) != affected_locations(was);
    extent.then_some(Change::Updated)
}

fn affected_locations(incident: &Incident) -> Vec<&str> {
    incident
        .locations
        .iter()
        .filter(|l| l.state != Status::Operational)
        .map(|l| l.location.as_str())
        .collect()
}

/// Returns a fingerprint of how an endpoint is probed, without revealing it. It is equal where two
/// daemons probe it in the same way.
pub fn fingerprint(endpoint: &Endpoint) -> u64 {
    let mut hasher = Sha256::new();
    let model = endpoint.model.as_deref().unwrap_or_default();
    for part in [
        endpoint.provider.as_str(),
        endpoint.api.as_str(),
        endpoint.base_url.as_str(),
        model,
        &endpoint.prompt,
    ] {
        hasher.update(part.as_bytes());
        hasher.update([0]);
    }
    hasher.update(endpoint.interval.as_millis().to_be_bytes());
    let digest = hasher.finalize();
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(bytes)
}

/// Returns the combined verdict on one endpoint: the status that enough locations share, and every
/// location's own.
pub fn verdict_of_all(
    endpoint: &str,
    verdicts: &[LocationVerdict],
    agree: Agree,
    now: Timestamp,
) -> Option<(Status, Vec<LocationView>)> {
    let of_it: Vec<_> = verdicts.iter().filter(|v| v.endpoint == endpoint).collect();
    if of_it.is_empty() {
        return None;
    }
    let mut live: Vec<Status> = of_it
        .iter()
        .filter(|v| v.is_live(now))
        .map(|v| v.status)
        .collect();
    live.sort_by_key(|status| std::cmp::Reverse(*status));
    let status = match live.len() {
        0 => Status::Unknown,
        n => {
            let shared = live[agree.needed(n) - 1];
            match shared {
                Status::Degraded | Status::Outage | Status::Unknown => shared,
                _ => Status::Operational,
            }
        }
    };
    let views = of_it
        .iter()
        .map(|v| {
            let is_fresh = v.is_fresh(now);
            LocationView {
                location: v.location.clone(),
                status: if is_fresh { v.status } else { Status::Unknown },
                last_probe_at: v.view.last_probe_at,
                first_token_ms_p50: v.view.first_token_ms_p50,
                availability_24h: v.view.availability_24h,
            }
        })
        .collect();
    Some((status, views))
}

/// Replaces this daemon's own verdicts with the combined ones: statuses from `verdicts` as of `now`
/// (the store's clock), and the shared `incidents`.
pub fn overlay(
    snapshot: &mut Snapshot,
    verdicts: &[LocationVerdict],
    incidents: &[Incident],
    agree: Agree,
    now: Timestamp,
    probes: bool,
) {
    for endpoint in &mut snapshot.endpoints {
        let Some((status, views)) = verdict_of_all(&endpoint.name, verdicts, agree, now) else {
            continue;
        };
        let newest = verdicts
            .iter()
            .filter(|v| v.endpoint == endpoint.name)
            .max_by_key(|v| v.view.last_probe_at.map(|at| (v.probed_at, at)));
        if let Some(newest) = newest.filter(|_| !probes) {
            *endpoint = newest.view.clone();
        }
        if endpoint.status != Status::Maintenance {
            let incident = incidents
                .iter()
                .find(|i| i.endpoints.contains(&endpoint.name) && i.scope == Scope::All);
            if status != endpoint.status {
                endpoint.reason = incident.map(|i| i.title.clone());
            }
            endpoint.status = status;
        }
        endpoint.locations_down = views
            .iter()
            .filter(|v| matches!(v.status, Status::Degraded | Status::Outage))
            .map(|v| v.location.clone())
            .collect();
        endpoint.locations = views;
    }
    snapshot.incidents = incidents.to_vec();
    for incident in &mut snapshot.incidents {
        let length = snapshot.at.since_ms(incident.started_at).max(0);
        incident.duration_s = length as f64 / 1000.0;
    }
}

/// Returns `snapshot`, which holds the combined verdicts, as seen from `location`.
///
/// # Errors
/// If no daemon probes from there: a message that names the locations.
pub fn view_from(snapshot: &Snapshot, location: &str) -> Result<Snapshot, String> {
    let mut view = snapshot.clone();
    if snapshot.locations.is_empty() && snapshot.location == location {
        return Ok(view);
    }
    view.location = location.to_owned();
    view.endpoints.retain_mut(
        |e| match e.locations.iter().find(|l| l.location == location) {
            Some(own) => {
                e.status = own.status;
                e.last_probe_at = own.last_probe_at;
                e.first_token_ms_p50 = own.first_token_ms_p50;
                e.availability_24h = own.availability_24h;
                true
            }
            None => false,
        },
    );
    view.incidents.retain(|i| {
        i.locations
            .iter()
            .any(|l| l.location == location && l.state != Status::Operational)
    });
    if !view.endpoints.is_empty() || snapshot.location == location {
        return Ok(view);
    }
    Err(match snapshot.locations.as_slice() {
        [] => format!(
            "no daemon probes from `{location}`; the only location is {}",
            snapshot.location
        ),
        known => format!(
            "no daemon probes from `{location}`; the locations are {}",
            known.join(", ")
        ),
    })
}
