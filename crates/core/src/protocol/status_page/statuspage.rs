//! Atlassian Statuspage's v2 API (<https://status.atlassian.com/api>), and incident.io's imitation of it: null for empty
//! lists, incidents without components, a summary that leaves components out.

use serde_json::Value;

use super::{Wanted, component_status, impact_status, is_over, list, ulid, word};
use crate::model::{Status, Timestamp, VendorIncident, VendorPage};

/// Reads `summary.json` (or `incidents.json`); `components` is `components.json`, if it was fetched too. `None` when it is
/// neither.
pub(super) fn read(
    document: &Value,
    components: Option<&Value>,
    wanted: Wanted<'_>,
) -> Option<VendorPage> {
    if !["status", "incidents", "components"]
        .iter()
        .any(|key| document.get(key).is_some())
    {
        return None;
    }
    // The complete list comes second, so that its word counts where both have one.
    let all: Vec<&Value> = [Some(document), components]
        .into_iter()
        .flatten()
        .flat_map(|d| list(d, "components"))
        .collect();
    let name = |c: &Value| [word(c, "name").to_owned(), word(c, "id").to_owned()];
    let ours: Vec<_> = all
        .into_iter()
        .filter(|c| wanted.has(name(c).iter().map(String::as_str)))
        .collect();
    let of_components = ours
        .iter()
        .map(|c| component_status(word(c, "status")))
        .fold(Status::Operational, Status::worse);

    let base = word(&document["page"], "url").trim_end_matches('/');
    let concerns_us = |incident: &Value| {
        let affected = components_of(incident);
        if affected.is_empty() {
            // It does not say whom it concerns: then ours tell, as far as they are known.
            wanted.is_everything() || ours.is_empty() || of_components != Status::Operational
        } else {
            wanted.has(
                affected
                    .iter()
                    .flat_map(|(id, name)| [id.as_str(), name.as_str()]),
            )
        }
    };
    let is_open = |i: &&Value| !is_over(word(i, "status")) && i["resolved_at"].is_null();
    let incidents: Vec<_> = list(document, "incidents")
        .iter()
        .filter(is_open)
        .filter(|i| concerns_us(i))
        .map(|i| VendorIncident {
            id: word(i, "id").to_owned(),
            name: word(i, "name").to_owned(),
            status: impact_status(word(i, "impact")),
            phase: word(i, "status").to_owned(),
            published_at: published_at(i),
            url: match i["shortlink"].as_str() {
                Some(link) => Some(link.to_owned()),
                None => (!base.is_empty()).then(|| format!("{base}/incidents/{}", word(i, "id"))),
            },
            components: components_of(i).into_iter().map(|(_, name)| name).collect(),
        })
        .collect();
    let under_way = list(document, "scheduled_maintenances")
        .iter()
        .filter(|m| matches!(word(m, "status"), "in_progress" | "verifying"))
        .any(concerns_us);
    // The indicator is of the page as a whole, and at times `none` while an incident is open.
    let mut status = of_components;
    if wanted.is_everything() {
        status = status.worse(impact_status(word(&document["status"], "indicator")));
    }
    if under_way {
        status = status.worse(Status::Maintenance);
    }
    Some(VendorPage {
        status,
        incidents,
        url: word(&document["page"], "url").to_owned(),
    })
}

/// When it appeared: what the id carries, else when the record was made. Its start may be dated back.
fn published_at(incident: &Value) -> Option<Timestamp> {
    let moment = |value: &Value| value.as_str().and_then(|t| Timestamp::parse(t).ok());
    let updates = || {
        list(incident, "incident_updates")
            .iter()
            .filter_map(|u| moment(&u["created_at"]))
            .min()
    };
    ulid::made_at(word(incident, "id"))
        .or_else(|| moment(&incident["created_at"]))
        .or_else(updates)
}

/// Ids and names of what an incident says it concerns, there or in its updates.
fn components_of(incident: &Value) -> Vec<(String, String)> {
    let named = |c: &Value, id: &str| (word(c, id).to_owned(), word(c, "name").to_owned());
    let direct = list(incident, "components").iter().map(|c| named(c, "id"));
    let updated = list(incident, "incident_updates")
        .iter()
        .flat_map(|u| list(u, "affected_components"))
        .map(|c| named(c, "code"));
    let mut all: Vec<_> = direct.chain(updated).collect();
    all.sort();
    all.dedup();
    all
}
