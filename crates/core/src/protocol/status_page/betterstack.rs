//! Better Stack: `/index.json`, a JSON:API document with the page, its resources and reports.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::bounded::{Address, Code, Id, List, Moment, Name};
use super::{MAX_COMPONENTS, Unreadable, Wanted};
use crate::model::{Status, Timestamp, VendorIncident, VendorPage};

/// The maximum number of resources, reports and updates; others are dropped.
const MAX_INCLUDED: usize = 2000;

/// The document.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct BetterstackDocument {
    data: Option<Object>,
    included: List<Object, MAX_INCLUDED>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Object {
    id: Id,
    #[serde(rename = "type")]
    kind: Code,
    attributes: Attributes,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Attributes {
    aggregate_state: Code,
    custom_domain: Address,
    public_name: Name,
    status: Code,
    title: Name,
    starts_at: Moment,
    ends_at: Moment,
    affected_resources: List<BetterstackAffected, MAX_INCLUDED>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct BetterstackAffected {
    status_page_resource_id: Id,
    status: Code,
}

/// Returns the status of the relevant resources, or of the entire page.
pub(super) fn page(
    document: &BetterstackDocument,
    wanted: Wanted<'_>,
) -> Result<VendorPage, Unreadable> {
    let page = document
        .data
        .as_ref()
        .filter(|data| data.kind.as_str() == "status_page")
        .ok_or(Unreadable::Shape("a Better Stack page"))?;
    let resources: BTreeMap<&str, &Attributes> = document
        .included
        .iter()
        .filter(|object| object.kind.as_str() == "status_page_resource")
        .map(|object| (object.id.as_str(), &object.attributes))
        .collect();
    let status = if wanted.is_everything() {
        state(page.attributes.aggregate_state.as_str())
    } else {
        resources
            .values()
            .filter(|resource| wanted.has([resource.public_name.as_str()]))
            .map(|resource| state(resource.status.as_str()))
            .fold(Status::Operational, Status::worse)
    };
    let incidents = document
        .included
        .iter()
        .filter(|object| {
            object.kind.as_str() == "status_report" && object.attributes.ends_at.some().is_none()
        })
        .filter_map(|report| incident(report, &resources, wanted))
        .collect();
    let domain = page.attributes.custom_domain.as_str();
    Ok(VendorPage {
        status,
        incidents,
        url: format!("https://{domain}"),
    })
}

fn incident(
    report: &Object,
    resources: &BTreeMap<&str, &Attributes>,
    wanted: Wanted<'_>,
) -> Option<VendorIncident> {
    let attributes = &report.attributes;
    let affected = attributes.affected_resources.iter().filter_map(|affected| {
        let resource = resources.get(affected.status_page_resource_id.as_str())?;
        Some((
            resource.public_name.as_str(),
            state(affected.status.as_str()),
        ))
    });
    let affected: Vec<_> = affected.collect();
    let is_wanted = affected.is_empty() || wanted.has(affected.iter().map(|(name, _)| *name));
    let worst = affected
        .iter()
        .map(|(_, status)| *status)
        .fold(state(attributes.aggregate_state.as_str()), Status::worse);
    is_wanted.then(|| VendorIncident {
        id: String::from(&report.id),
        name: String::from(&attributes.title),
        status: worst,
        phase: String::new(),
        published_at: Timestamp::parse(attributes.starts_at.as_str()).ok(),
        url: None,
        components: affected
            .iter()
            .take(MAX_COMPONENTS)
            .map(|(name, _)| (*name).to_owned())
            .collect(),
    })
}

fn state(name: &str) -> Status {
    match name {
        "degraded" => Status::Degraded,
        "downtime" => Status::Outage,
        "maintenance" => Status::Maintenance,
        _ => Status::Operational,
    }
}
