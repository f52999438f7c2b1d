//! Google Cloud's `incidents.json` (<https://status.cloud.google.com/incidents.schema.json>): a list of the past year's
//! incidents, of which those without an end go on.

use serde_json::Value;

use super::{Unreadable, Wanted, list, word};
use crate::model::{Status, Timestamp, VendorIncident, VendorPage};

/// Reads the list. Its links are relative to `address`.
pub(super) fn read(
    document: &Value,
    wanted: Wanted<'_>,
    address: &str,
) -> Result<VendorPage, Unreadable> {
    let Some(items) = document.as_array() else {
        return Err(Unreadable::Shape("Google Cloud's incidents"));
    };
    if items.iter().any(|i| !i.is_object()) {
        return Err(Unreadable::Shape("Google Cloud's incidents"));
    }
    let base = url::Url::parse(address).ok();
    let link = |path: &str| {
        base.as_ref()
            .and_then(|b| b.join("/").ok()?.join(path).ok())
            .map(|u| u.to_string())
    };
    let incidents = items
        .iter()
        .filter(|i| i["end"].as_str().is_none_or(str::is_empty))
        // The last update may say that it is over before the end is written.
        .filter(|i| word(&i["most_recent_update"], "status") != "AVAILABLE")
        .filter(|i| {
            let products = list(i, "affected_products")
                .iter()
                .flat_map(|p| [word(p, "title"), word(p, "id")]);
            wanted.has(products.chain([word(i, "service_name")]))
        })
        .map(|i| {
            let moment = |key: &str| Timestamp::parse(word(i, key)).ok();
            let latest = &i["most_recent_update"]["status"];
            VendorIncident {
                id: word(i, "id").to_owned(),
                name: word(i, "external_desc").to_owned(),
                status: match latest.as_str().unwrap_or_else(|| word(i, "status_impact")) {
                    "SERVICE_OUTAGE" => Status::Outage,
                    "SERVICE_DISRUPTION" => Status::Degraded,
                    _ => Status::Operational,
                },
                phase: latest.as_str().unwrap_or_default().to_lowercase(),
                // `begin` is the start of the trouble, found out afterwards.
                published_at: moment("created"),
                url: link(word(i, "uri")),
                components: list(i, "affected_products")
                    .iter()
                    .chain(list(i, "currently_affected_locations"))
                    .map(|c| word(c, "title").to_owned())
                    .collect(),
            }
        })
        .collect();
    let url = link("").unwrap_or_else(|| address.to_owned());
    Ok(VendorPage {
        status: Status::Operational,
        incidents,
        url,
    })
}
