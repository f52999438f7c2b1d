//! Several locations, one verdict. Pure: what each location says goes in, the incidents of all come out.
//!
//! Every daemon judges its own samples. What it concludes is a [`LocationVerdict`] for each endpoint and a [`LocationReport`] with
//! its open incidents. [`decide`] makes the incidents of all of them: an endpoint is down when as many locations say so as
//! `[quorum]` asks for; what fewer say is an incident of these locations.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::config::Agree;
use crate::incident::Change;
use crate::message;
use crate::message::values::Locale;
use crate::model::{
    Attribution, Cause, Endpoint, EndpointName, EndpointView, Incident, IncidentLocation,
    IncidentState, LocationView, ProviderName, Scope, Snapshot, Status, Timestamp,
};

/// A location that is still undecided about an endpoint holds up the first message of another location for so long at
/// most.
const PENDING_LIMIT_MS: i64 = 120_000;

/// What one location says of one endpoint. Times are those of the shared store's clock.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LocationVerdict {
    /// The endpoint's name.
    pub endpoint: EndpointName,
    /// The location.
    pub location: String,
    /// How the endpoint is from there.
    pub status: Status,
    /// The incident of that location that it is in.
    pub incident: Option<Uuid>,
    /// Whether it counts for the quorum: it was measured, and is not in maintenance.
    pub counts: bool,
    /// Whether its last probes failed without enough evidence yet.
    pub pending: bool,
    /// The start of the last probe.
    pub probed_at: Option<Timestamp>,
    /// The verdict is stale when no probe began for so long, in milliseconds.
    pub patience_ms: i64,
    /// The endpoint as that location shows it.
    pub view: EndpointView,
}

impl LocationVerdict {
    /// What the snapshot of a daemon says of each endpoint. `offset_ms` is how far the store's clock is ahead of the
    /// daemon's, `patience_ms` how long a verdict of an endpoint is good for.
    pub fn of_snapshot(
        snapshot: &Snapshot,
        offset_ms: i64,
        patience_ms: impl Fn(&str) -> i64,
    ) -> Vec<Self> {
        let verdict = |e: &EndpointView| {
            let incident = snapshot
                .incidents
                .iter()
                .find(|i| e.status != Status::Operational && i.endpoints.contains(&e.name));
            let is_account = incident.is_some_and(|i| i.attribution == Attribution::Account);
            let is_measured = matches!(
                e.status,
                Status::Operational | Status::Degraded | Status::Outage
            );
            Self {
                endpoint: e.name.clone(),
                location: snapshot.location.clone(),
                status: e.status,
                incident: incident.map(|i| i.id),
                counts: snapshot.offline_since.is_none() && (is_measured || is_account),
                pending: incident.is_none() && e.failed_in_a_row > 0,
                probed_at: e.last_probe_at.map(|at| Timestamp(at.0 + offset_ms)),
                patience_ms: patience_ms(&e.name),
                view: e.clone(),
            }
        };
        snapshot.endpoints.iter().map(verdict).collect()
    }

    /// Whether it counts at `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.counts && self.is_fresh(now)
    }

    /// Whether that location still probed the endpoint lately.
    fn is_fresh(&self, now: Timestamp) -> bool {
        self.probed_at
            .is_some_and(|at| now.since_ms(at) <= self.patience_ms)
    }

    fn is_down(&self) -> bool {
        self.incident.is_some()
    }
}

/// What one location has concluded: its incidents, as it knows them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LocationReport {
    /// The location.
    pub location: String,
    /// How far the store's clock is ahead of the location's, in milliseconds.
    pub offset_ms: i64,
    /// The incidents that are open there, and those that were resolved lately.
    pub incidents: Vec<Incident>,
}

/// An incident of all locations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SharedIncident {
    /// As people know it.
    pub incident: Incident,
    /// The incidents of locations that are part of it.
    pub members: BTreeMap<Uuid, String>,
    /// Whether alerting knows of it: an incident of one location waits until the others have probed.
    pub notified: bool,
    /// When it began, by the store's clock.
    pub began_at: Timestamp,
    /// When it was opened, by the store's clock.
    pub opened_at: Timestamp,
}

/// What is known when an incident is decided.
#[derive(Debug, Clone)]
pub struct LocationEvidence<'a> {
    /// By the store's clock.
    pub now: Timestamp,
    /// By the clock of the daemon that decides.
    pub at: Timestamp,
    /// How many locations have to agree.
    pub agree: Agree,
    /// Every verdict, stale ones included.
    pub verdicts: &'a [LocationVerdict],
    /// Every location's report.
    pub reports: &'a [LocationReport],
    /// Incidents of all that were resolved lately.
    pub closed: &'a [SharedIncident],
}

impl LocationEvidence<'_> {
    /// Whether `location` still probes what is in `own`: the last report of a daemon that is gone says nothing of now.
    fn counts_incident(&self, location: &str, own: &Incident) -> bool {
        self.verdicts.iter().any(|v| {
            v.location == location && own.endpoints.contains(&v.endpoint) && v.is_fresh(self.now)
        })
    }

    /// The id of a new incident of all that begins with `own`; `None` if `own` is what is left of one that is over.
    fn new_id(&self, own: &Incident) -> Option<Uuid> {
        let last_bad = own.evidence.samples.iter().map(|s| s.started_at).max();
        let is_part = |s: &&SharedIncident| {
            let over = &s.incident;
            let is_same = over.provider == own.provider && over.attribution == own.attribution;
            // A daemon that was gone when it ended may not have said yet that it was in it.
            let is_left = is_same && last_bad.is_some() && last_bad <= over.resolved_at;
            s.members.contains_key(&own.id) || over.id == own.id || is_left
        };
        let over = self
            .closed
            .iter()
            .filter(is_part)
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

/// A change of a shared incident, and whether alerting takes part in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Decided {
    /// What happened; `None` for new evidence alone.
    pub change: Option<Change>,
    /// Whether alerting takes it in now; with [`Change::Opened`] first where it did not know the incident.
    pub alerts: Vec<Change>,
    /// The incident from now on.
    pub shared: SharedIncident,
}

/// Applies what the locations say to the `open` incidents of all; `number` gives the number of a new one. Gives every
/// incident that changed.
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
            // What was notified alone is written down even if it is over.
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

/// An incident that a daemon notified alone, while the others had opened one of the same outage: a channel that was notified of
/// it learns that it continues under the number of theirs.
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

/// Incidents of several locations with the same key are one.
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
    /// What the locations say of it, open or resolved.
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
                // What was decided alone was notified alone.
                notified: own.alone,
                began_at: Timestamp(own.started_at.0 + report.offset_ms),
                opened_at: evidence.now,
            },
            parts: Vec::new(),
        }
    }

    /// Whether another open incident of that location is part of it: what one location keeps apart stays apart.
    fn holds_another(&self, report: &LocationReport, own: &Incident) -> bool {
        report.incidents.iter().any(|other| {
            let is_part =
                self.shared.members.contains_key(&other.id) || self.shared.incident.id == other.id;
            other.id != own.id && other.state == IncidentState::Open && is_part
        })
    }

    /// How many endpoints are in both.
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
        // A location that is gone holds nothing open while others know better.
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

    /// Who sees it, who reaches its endpoints, and whether that is enough for all.
    fn judge(&mut self, evidence: &LocationEvidence<'_>, open: &[(String, Incident)]) {
        let mut reached: Option<BTreeSet<String>> = None;
        let mut is_agreed = false;
        let members = &self.shared.members;
        for name in open.iter().flat_map(|(_, own)| &own.endpoints) {
            let of_it = evidence.verdicts.iter().filter(|v| v.endpoint == *name);
            let live: Vec<_> = of_it.filter(|v| v.is_live(evidence.now)).collect();
            let is_in =
                |v: &&&LocationVerdict| v.incident.is_some_and(|id| members.contains_key(&id));
            let down = live.iter().filter(is_in).count();
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

    /// Whether it is time for the first message: enough locations agree, or every other one has probed since.
    fn is_confirmed(&self, evidence: &LocationEvidence<'_>) -> bool {
        let incident = &self.shared.incident;
        if incident.scope == Scope::All || incident.attribution == Attribution::Local {
            return true;
        }
        let sees_it = |location: &String| {
            incident
                .locations
                .iter()
                .any(|l| l.location == *location && l.state != Status::Operational)
        };
        let is_patient = evidence.now.since_ms(self.shared.opened_at) < PENDING_LIMIT_MS;
        evidence
            .verdicts
            .iter()
            .filter(|v| incident.endpoints.contains(&v.endpoint))
            .filter(|v| v.is_live(evidence.now) && !sees_it(&v.location))
            .all(|v| {
                let since = v.probed_at.is_some_and(|at| at >= self.shared.began_at);
                since && !(v.pending && is_patient)
            })
    }

    /// No location that can be asked has it any more.
    fn resolve(
        mut self,
        evidence: &LocationEvidence<'_>,
        is_left: bool,
        locale: &Locale,
    ) -> Option<Decided> {
        let was = &self.before;
        let reporting =
            |location: &String| evidence.reports.iter().any(|r| r.location == *location);
        let is_known = evidence.verdicts.iter().any(|v| {
            was.endpoints.contains(&v.endpoint) && v.is_live(evidence.now) && reporting(&v.location)
        });
        // Endpoints that nobody has configured any more are closed by those who had them.
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
        // What began and ended while a daemon was alone is notified already.
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

/// The incident as `base` describes it, over all locations that see it.
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

/// What kind of change there is between two states of an open incident; `None` for new evidence alone.
pub fn change_between(was: &Incident, now: &Incident) -> Option<Change> {
    // One endpoint's trouble turns out to be the provider's.
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
    let seen = |i: &Incident| -> Vec<_> {
        i.locations
            .iter()
            .filter(|l| l.state != Status::Operational)
            .map(|l| l.location.clone())
            .collect()
    };
    let extent = now.endpoints != was.endpoints || now.scope != was.scope || seen(now) != seen(was);
    extent.then_some(Change::Updated)
}

/// How an endpoint is probed, in a form that says nothing of it: equal where two daemons probe it in the same way.
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

/// The verdict of all locations on one endpoint: the status that enough of them share, and every location's own.
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

/// Puts the verdict of all in the place of this daemon's own: statuses by `verdicts` as of `now` (the store's clock), and
/// the `incidents` of all.
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
            .max_by_key(|v| v.probed_at);
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

/// `snapshot`, which holds the verdict of all, as `location` sees it; `None` if no endpoint is probed from there.
pub fn view_from(snapshot: &Snapshot, location: &str) -> Option<Snapshot> {
    let mut view = snapshot.clone();
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
    (!view.endpoints.is_empty() || snapshot.location == location).then_some(view)
}
