//! Instatus: `/summary.json` has the page's status and the current incidents.

use serde::Deserialize;

use super::bounded::{Address, Code, Id, List, Moment, Name};
use super::{MAX_INCIDENTS, Unreadable, Wanted};
use crate::model::{Status, Timestamp, VendorIncident, VendorPage};

/// The summary.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct InstatusDocument {
    page: Option<InstatusPage>,
    active_incidents: List<InstatusIncident, MAX_INCIDENTS>,
    active_maintenances: List<InstatusMaintenance, MAX_INCIDENTS>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct InstatusPage {
    url: Address,
    status: Code,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct InstatusIncident {
    id: Id,
    name: Name,
    started: Moment,
    status: Code,
    impact: Code,
    url: Address,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct InstatusMaintenance {
    status: Code,
}

/// Returns the page status. The summary has no components, so every incident counts.
pub(super) fn page(document: &InstatusDocument, _: Wanted<'_>) -> Result<VendorPage, Unreadable> {
    let page = document
        .page
        .as_ref()
        .filter(|page| page.status.some().is_some())
        .ok_or(Unreadable::Shape("an Instatus page"))?;
    let is_maintained = document
        .active_maintenances
        .iter()
        .any(|maintenance| maintenance.status.as_str() == "INPROGRESS");
    let status = match page.status.as_str() {
        "UP" if is_maintained => Status::Maintenance,
        "UP" => Status::Operational,
        "UNDERMAINTENANCE" => Status::Maintenance,
        _ => Status::Degraded,
    };
    let incidents = document
        .active_incidents
        .iter()
        .filter(|incident| incident.status.as_str() != "RESOLVED")
        .map(|incident| VendorIncident {
            id: String::from(if incident.id.some().is_some() {
                incident.id.as_str()
            } else {
                incident.url.as_str()
            }),
            name: String::from(&incident.name),
            status: impact(incident.impact.as_str()),
            phase: incident.status.as_str().to_lowercase(),
            published_at: Timestamp::parse(incident.started.as_str()).ok(),
            url: incident.url.some().map(str::to_owned),
            components: Vec::new(),
        })
        .collect();
    Ok(VendorPage {
        status,
        incidents,
        url: String::from(&page.url),
    })
}

fn impact(name: &str) -> Status {
    match name {
        "OPERATIONAL" => Status::Operational,
        "UNDERMAINTENANCE" => Status::Maintenance,
        "MAJOROUTAGE" => Status::Outage,
        _ => Status::Degraded,
    }
}
