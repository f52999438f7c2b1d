//! incident.io's own feed (`/proxy/HOST`). It has the affected components of an incident and when
//! it was published. It is undocumented; the format was derived from captures.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::bounded::{Address, Code, Id, List, Moment, Name};
use super::{MAX_COMPONENTS, Wanted, component_status, is_over, ulid};
use crate::model::{Status, Timestamp, VendorIncident, VendorPage};

/// The maximum number of components per page; others are dropped.
const MAX_PAGE_COMPONENTS: usize = 5000;
/// The maximum number of incidents per page; others are dropped.
const MAX_PAGE_INCIDENTS: usize = 100;
/// The maximum number of component groups, and of components per group; others are dropped.
const MAX_GROUPS: usize = 200;
/// The maximum number of components and updates per incident; others are dropped.
const MAX_AFFECTED: usize = 200;

/// The document's `summary`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NativeSummary {
    public_url: Address,
    components: List<NativeComponent, MAX_PAGE_COMPONENTS>,
    affected_components: List<NativeAffected, MAX_PAGE_COMPONENTS>,
    ongoing_incidents: List<NativeIncident, MAX_PAGE_INCIDENTS>,
    in_progress_maintenances: List<NativeMaintenance, MAX_PAGE_INCIDENTS>,
    structure: Option<Structure>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NativeComponent {
    id: Id,
    component_id: Id,
    name: Name,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NativeAffected {
    component_id: Id,
    current_status: Code,
    status: Code,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NativeIncident {
    id: Id,
    name: Name,
    status: Code,
    published_at: Moment,
    affected_components: List<NativeAffected, MAX_AFFECTED>,
    component_impacts: List<NativeAffected, MAX_AFFECTED>,
    updates: List<NativeUpdate, MAX_AFFECTED>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NativeUpdate {
    published_at: Moment,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NativeMaintenance {
    affected_components: List<NativeAffected, MAX_AFFECTED>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Structure {
    items: List<NativeItem, MAX_GROUPS>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NativeItem {
    group: Option<Group>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Group {
    id: Id,
    name: Name,
    components: List<NativeComponent, MAX_GROUPS>,
}

impl NativeAffected {
    fn now(&self) -> Status {
        let code = self.current_status.some();
        component_status(code.unwrap_or(self.status.as_str()))
    }
}

/// Returns the page status.
pub(super) fn page(summary: &NativeSummary, wanted: Wanted<'_>) -> VendorPage {
    let directory = Directory::new(summary);
    let base = summary.public_url.as_str().trim_end_matches('/');
    let incidents = summary
        .ongoing_incidents
        .iter()
        .filter(|i| !is_over(i.status.as_str()) && directory.concerns(i, wanted))
        .map(|i| VendorIncident {
            id: (&i.id).into(),
            name: (&i.name).into(),
            status: directory.worst(&i.affected_components, wanted),
            phase: (&i.status).into(),
            published_at: published_at(i),
            url: (!base.is_empty()).then(|| format!("{base}/incidents/{}", i.id.as_str())),
            components: directory.names_of(i),
        })
        .collect();
    let mut status = directory.worst(&summary.affected_components, wanted);
    let is_maintained = summary.in_progress_maintenances.iter().any(|m| {
        wanted.is_everything()
            || m.affected_components
                .iter()
                .any(|affected| directory.is_about(affected, wanted))
    });
    if is_maintained {
        status = status.worse(Status::Maintenance);
    }
    VendorPage {
        status,
        incidents,
        url: (&summary.public_url).into(),
    }
}

/// Returns when the incident was published. `start_at` of the impacts may be backdated, so it is
/// not used.
fn published_at(incident: &NativeIncident) -> Option<Timestamp> {
    parsed(&incident.published_at)
        .or_else(|| ulid::made_at(incident.id.as_str()))
        .or_else(|| {
            incident
                .updates
                .iter()
                .filter_map(|u| parsed(&u.published_at))
                .min()
        })
}

fn parsed(moment: &Moment) -> Option<Timestamp> {
    Timestamp::parse(moment.as_str()).ok()
}

/// The names of each component: its own, and those of its group.
struct Directory<'a> {
    names: BTreeMap<&'a str, &'a str>,
    groups: BTreeMap<&'a str, [&'a str; 2]>,
}

impl<'a> Directory<'a> {
    fn new(summary: &'a NativeSummary) -> Self {
        let mut names: BTreeMap<_, _> = summary
            .components
            .iter()
            .map(|c| (c.id.as_str(), c.name.as_str()))
            .collect();
        let mut groups = BTreeMap::new();
        let items = summary.structure.as_ref().map(|s| &s.items);
        for group in items
            .into_iter()
            .flat_map(|items| items.iter())
            .filter_map(|item| item.group.as_ref())
        {
            for component in group.components.iter() {
                let id = component.component_id.as_str();
                names.entry(id).or_insert(component.name.as_str());
                groups.insert(id, [group.id.as_str(), group.name.as_str()]);
            }
        }
        Self { names, groups }
    }

    fn name<'n>(&self, id: &'n str) -> &'n str
    where
        'a: 'n,
    {
        self.names.get(id).copied().unwrap_or(id)
    }

    fn names_of(&self, incident: &NativeIncident) -> Vec<String> {
        let mut names: Vec<_> = incident
            .affected_components
            .iter()
            .chain(incident.component_impacts.iter())
            .map(|a| self.name(a.component_id.as_str()).to_owned())
            .collect();
        names.sort();
        names.dedup();
        names.truncate(MAX_COMPONENTS);
        names
    }

    fn is_about(&self, affected: &NativeAffected, wanted: Wanted<'_>) -> bool {
        self.is_wanted(affected.component_id.as_str(), wanted)
    }

    /// Returns the worst status of the wanted components among `affected`.
    fn worst(&self, affected: &[NativeAffected], wanted: Wanted<'_>) -> Status {
        affected
            .iter()
            .filter(|a| self.is_about(a, wanted))
            .map(NativeAffected::now)
            .fold(Status::Operational, Status::worse)
    }

    /// An incident without components concerns everybody.
    fn concerns(&self, incident: &NativeIncident, wanted: Wanted<'_>) -> bool {
        let mut affected = incident
            .affected_components
            .iter()
            .chain(incident.component_impacts.iter())
            .peekable();
        wanted.is_everything()
            || affected.peek().is_none()
            || affected.any(|a| self.is_about(a, wanted))
    }

    fn is_wanted(&self, id: &str, wanted: Wanted<'_>) -> bool {
        let group = self.groups.get(id).into_iter().flatten().copied();
        wanted.has([id, self.name(id)].into_iter().chain(group))
    }
}
