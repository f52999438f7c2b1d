//! Atlassian Statuspage's v2 API (<https://status.atlassian.com/api>), and incident.io's version of
//! it, which has null for empty lists, incidents without components and a summary that omits
//! components.

use serde::Deserialize;

use super::bounded::{Address, Code, Id, List, Moment, Name};
use super::{MAX_COMPONENTS, Wanted, component_status, impact_status, is_over, native, ulid};
use crate::model::{Status, Timestamp, VendorIncident, VendorPage};

/// The maximum number of components per page; others are dropped.
const MAX_PAGE_COMPONENTS: usize = 5000;
/// The maximum number of incidents per page; others are dropped. Statuspage lists 50.
const MAX_PAGE_INCIDENTS: usize = 100;
/// The maximum number of updates per incident, and of components per update; others are dropped.
const MAX_UPDATES: usize = 50;

/// `summary.json`, `incidents.json` or `components.json`, or incident.io's own summary, identified
/// by its `summary` field.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StatuspageDocument {
    pub(super) summary: Option<native::NativeSummary>,
    page: Option<StatuspagePage>,
    status: Option<Indicator>,
    components: List<StatuspageComponent, MAX_PAGE_COMPONENTS>,
    incidents: List<StatuspageIncident, MAX_PAGE_INCIDENTS>,
    scheduled_maintenances: List<StatuspageIncident, MAX_PAGE_INCIDENTS>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StatuspagePage {
    url: Address,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Indicator {
    indicator: Code,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StatuspageComponent {
    id: Id,
    /// The ID, as in an update's list of components.
    code: Id,
    name: Name,
    status: Code,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StatuspageIncident {
    id: Id,
    name: Name,
    status: Code,
    impact: Code,
    created_at: Moment,
    resolved_at: Moment,
    shortlink: Address,
    components: List<StatuspageComponent, MAX_UPDATES>,
    incident_updates: List<StatuspageUpdate, MAX_UPDATES>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StatuspageUpdate {
    created_at: Moment,
    affected_components: List<StatuspageComponent, MAX_UPDATES>,
}

impl StatuspageDocument {
    /// Reports whether it has any field of a Statuspage.
    fn is_statuspage(&self) -> bool {
        self.status.is_some() || self.incidents.given || self.components.given
    }
}

/// Returns the status from `summary.json` or `incidents.json`; `None` if the document is neither.
/// `list` is `components.json`, if it was fetched too.
pub(super) fn page(
    document: &StatuspageDocument,
    list: Option<&StatuspageDocument>,
    wanted: Wanted<'_>,
) -> Option<VendorPage> {
    if !document.is_statuspage() {
        return None;
    }
    let ours: Vec<&StatuspageComponent> = [Some(document), list]
        .into_iter()
        .flatten()
        .flat_map(|d| d.components.iter())
        .filter(|c| wanted.has([c.name.as_str(), c.id.as_str()]))
        .collect();
    let of_components = ours
        .iter()
        .map(|c| component_status(c.status.as_str()))
        .fold(Status::Operational, Status::worse);
    let concerns_us = |incident: &StatuspageIncident| {
        let affected = components_of(incident);
        if affected.is_empty() {
            // The incident names no components. Use the status of ours, if known.
            wanted.is_everything() || ours.is_empty() || of_components != Status::Operational
        } else {
            wanted.has(affected.iter().flat_map(|(id, name)| [*id, *name]))
        }
    };
    let url = document.page.as_ref().map_or("", |p| p.url.as_str());
    let incidents = document
        .incidents
        .iter()
        .filter(|i| !is_over(i.status.as_str()) && i.resolved_at.some().is_none())
        .filter(|i| concerns_us(i))
        .map(|i| vendor_incident(i, url.trim_end_matches('/')))
        .collect();
    let is_maintained = document
        .scheduled_maintenances
        .iter()
        .filter(|m| matches!(m.status.as_str(), "in_progress" | "verifying"))
        .any(concerns_us);
    // The indicator is for the entire page, and is sometimes `none` during an incident.
    let mut status = of_components;
    if let (true, Some(page)) = (wanted.is_everything(), &document.status) {
        status = status.worse(impact_status(page.indicator.as_str()));
    }
    if is_maintained {
        status = status.worse(Status::Maintenance);
    }
    Some(VendorPage {
        status,
        incidents,
        url: url.to_owned(),
    })
}

fn vendor_incident(incident: &StatuspageIncident, base: &str) -> VendorIncident {
    let id = incident.id.as_str();
    let own = (!base.is_empty()).then(|| format!("{base}/incidents/{id}"));
    VendorIncident {
        id: id.to_owned(),
        name: (&incident.name).into(),
        status: impact_status(incident.impact.as_str()),
        phase: (&incident.status).into(),
        published_at: published_at(incident),
        url: incident.shortlink.some().map(str::to_owned).or(own),
        components: components_of(incident)
            .into_iter()
            .map(|(_, name)| name.to_owned())
            .take(MAX_COMPONENTS)
            .collect(),
    }
}

/// Returns when the incident was posted: the time in its ID, or when the record was created. Its
/// start may be backdated.
fn published_at(incident: &StatuspageIncident) -> Option<Timestamp> {
    ulid::made_at(incident.id.as_str())
        .or_else(|| parsed(&incident.created_at))
        .or_else(|| {
            incident
                .incident_updates
                .iter()
                .filter_map(|u| parsed(&u.created_at))
                .min()
        })
}

fn parsed(moment: &Moment) -> Option<Timestamp> {
    Timestamp::parse(moment.as_str()).ok()
}

/// Returns the IDs and names of the components that an incident or its updates name.
fn components_of(incident: &StatuspageIncident) -> Vec<(&str, &str)> {
    let direct = incident
        .components
        .iter()
        .map(|c| (c.id.as_str(), c.name.as_str()));
    let updated = incident
        .incident_updates
        .iter()
        .flat_map(|u| u.affected_components.iter())
        .map(|c| (c.code.as_str(), c.name.as_str()));
    let mut all: Vec<_> = direct.chain(updated).collect();
    all.sort_unstable();
    all.dedup();
    all
}
