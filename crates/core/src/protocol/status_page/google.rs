//! Google Cloud's `incidents.json` (<https://status.cloud.google.com/incidents.schema.json>): the
//! incidents of the past year. Those without an end are open, and only these are kept while
//! parsing.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

use super::bounded::{Address, Code, Id, List, Moment, Name};
use super::{MAX_COMPONENTS, MAX_INCIDENTS, Wanted};
use crate::model::{Status, Timestamp, VendorIncident, VendorPage};

/// The maximum number of products or regions per incident; others are dropped.
const MAX_AFFECTED: usize = 500;
/// The maximum number of open incidents before the relevant ones are selected; others are dropped.
const MAX_OPEN: usize = 1000;

/// The list, without resolved incidents.
#[derive(Debug)]
pub(super) struct GoogleDocument(Vec<GoogleIncident>);

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct GoogleIncident {
    id: Id,
    end: Moment,
    created: Moment,
    external_desc: Name,
    service_name: Name,
    status_impact: Code,
    uri: Address,
    most_recent_update: Option<GoogleUpdate>,
    affected_products: List<GoogleAffected, MAX_AFFECTED>,
    currently_affected_locations: List<GoogleAffected, MAX_AFFECTED>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct GoogleUpdate {
    status: Code,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct GoogleAffected {
    id: Id,
    title: Name,
}

impl GoogleIncident {
    /// Returns the status of the last update.
    fn latest(&self) -> &str {
        self.most_recent_update
            .as_ref()
            .map_or("", |update| update.status.as_str())
    }

    /// Reports whether the incident is open. The last update may say that it is resolved before
    /// `end` is set.
    fn is_open(&self) -> bool {
        self.end.some().is_none() && self.latest() != "AVAILABLE"
    }

    fn status(&self) -> Status {
        let latest = match self.latest() {
            "" => self.status_impact.as_str(),
            latest => latest,
        };
        match latest {
            "SERVICE_OUTAGE" => Status::Outage,
            "SERVICE_DISRUPTION" => Status::Degraded,
            _ => Status::Operational,
        }
    }

    fn is_wanted(&self, wanted: Wanted<'_>) -> bool {
        let products = self
            .affected_products
            .iter()
            .flat_map(|p| [p.title.as_str(), p.id.as_str()]);
        wanted.has(products.chain([self.service_name.as_str()]))
    }
}

impl<'de> Deserialize<'de> for GoogleDocument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(OpenIncidents)
    }
}

struct OpenIncidents;

impl<'de> Visitor<'de> for OpenIncidents {
    type Value = GoogleDocument;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of incidents")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<GoogleDocument, A::Error> {
        let mut open = Vec::new();
        while let Some(incident) = items.next_element::<GoogleIncident>()? {
            if incident.is_open() && open.len() < MAX_OPEN {
                open.push(incident);
            }
        }
        Ok(GoogleDocument(open))
    }
}

/// Returns the page status. Links in the list are relative to `address`.
pub(super) fn page(document: &GoogleDocument, wanted: Wanted<'_>, address: &str) -> VendorPage {
    let base = url::Url::parse(address)
        .ok()
        .and_then(|base| base.join("/").ok());

    let incidents = document
        .0
        .iter()
        .filter(|incident| incident.is_wanted(wanted))
        .take(MAX_INCIDENTS)
        .map(|incident| VendorIncident {
            id: (&incident.id).into(),
            name: (&incident.external_desc).into(),
            status: incident.status(),
            phase: incident.latest().to_lowercase(),
            // `begin` is the start of the problem, determined afterwards.
            published_at: Timestamp::parse(incident.created.as_str()).ok(),
            url: joined(base.as_ref(), incident.uri.as_str()),
            components: incident
                .affected_products
                .iter()
                .chain(incident.currently_affected_locations.iter())
                .map(|c| (&c.title).into())
                .take(MAX_COMPONENTS)
                .collect(),
        })
        .collect();
    VendorPage {
        status: Status::Operational,
        incidents,
        url: joined(base.as_ref(), "").unwrap_or_else(|| address.to_owned()),
    }
}

fn joined(base: Option<&url::Url>, path: &str) -> Option<String> {
    Some(base?.join(path).ok()?.to_string())
}
