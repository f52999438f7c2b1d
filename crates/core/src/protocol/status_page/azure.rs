//! Azure's status feed: RSS 2.0 with one item per broad outage, and none otherwise. `lastBuildDate`
//! always changes, and dates end in a bare `Z`, which RFC 2822 does not allow.

use chrono::DateTime;

use super::xml::{self, XmlItem};
use super::{MAX_INCIDENTS, Unreadable, Wanted};
use crate::model::{Status, Timestamp, VendorIncident, VendorPage};

/// Parses the feed. An item is relevant if its title contains one of the wanted words.
pub(super) fn read(text: &str, wanted: Wanted<'_>) -> Result<VendorPage, Unreadable> {
    let channel = xml::channel(text)?;
    let incidents = channel
        .items
        .iter()
        .filter(|item| !is_over(item) && wanted.has([item.title.as_str()]))
        .take(MAX_INCIDENTS)
        .map(incident)
        .collect();
    Ok(VendorPage {
        status: Status::Operational,
        incidents,
        url: channel.link,
    })
}

fn is_over(item: &XmlItem) -> bool {
    let title = item.title.to_lowercase();
    ["resolved", "mitigated"]
        .iter()
        .any(|phase| title.contains(phase))
}

/// Parses a title such as "Azure OpenAI Service - Sweden Central - Investigating".
fn incident(item: &XmlItem) -> VendorIncident {
    let title = &item.title;
    let phase = title.rsplit_once(" - ").map_or("", |(_, phase)| phase);
    let id = if item.guid.is_empty() {
        title
    } else {
        &item.guid
    };
    VendorIncident {
        id: id.clone(),
        status: Status::Degraded,
        phase: phase.to_lowercase(),
        published_at: moment(&item.published),
        url: Some(item.link.clone()),
        components: title
            .split(" - ")
            .map(str::trim)
            .take(2)
            .map(str::to_owned)
            .collect(),
        name: title.clone(),
    }
}

fn moment(text: &str) -> Option<Timestamp> {
    let text = text
        .strip_suffix(" Z")
        .map_or_else(|| text.to_owned(), |t| format!("{t} +0000"));
    DateTime::parse_from_rfc2822(&text)
        .ok()
        .map(|t| Timestamp(t.timestamp_millis()))
}
