//! Azure's status feed: RSS 2.0 with an item per broad outage, and none when all is well. `lastBuildDate` always
//! changes, and dates end in a bare `Z`, which RFC 2822 does not know.

use chrono::DateTime;
use roxmltree::{Document, Node};

use super::{Unreadable, Wanted};
use crate::model::{Status, Timestamp, VendorIncident, VendorPage};

/// Reads the feed. An item is meant when its title has one of the wanted words.
pub(super) fn read(text: &str, wanted: Wanted<'_>) -> Result<VendorPage, Unreadable> {
    let document = Document::parse(text).map_err(|_| Unreadable::Syntax("XML"))?;
    let channel = document
        .root_element()
        .children()
        .find(|n| n.has_tag_name("channel"));
    let channel = channel.ok_or(Unreadable::Shape("an RSS feed"))?;
    let incidents = channel
        .children()
        .filter(|n| n.has_tag_name("item"))
        .filter_map(|item| {
            let title = child(item, "title");
            let lower = title.to_lowercase();
            let over = ["resolved", "mitigated"]
                .iter()
                .any(|word| lower.contains(word));
            if over || !wanted.has([title.as_str()]) {
                return None;
            }
            let id = child(item, "guid");
            let phase = lower
                .rsplit(" - ")
                .next()
                .filter(|p| p.len() < lower.len())
                .unwrap_or_default();
            Some(VendorIncident {
                id: if id.is_empty() { title.clone() } else { id },
                status: Status::Degraded,
                phase: phase.to_owned(),
                published_at: moment(&child(item, "pubDate")),
                url: Some(child(item, "link")),
                // "Azure OpenAI Service - Sweden Central - Investigating"
                components: title
                    .split(" - ")
                    .map(str::trim)
                    .take(2)
                    .map(str::to_owned)
                    .collect(),
                name: title,
            })
        })
        .collect();
    Ok(VendorPage {
        status: Status::Operational,
        incidents,
        url: child(channel, "link"),
    })
}

fn child(node: Node<'_, '_>, name: &str) -> String {
    let found = node.children().find(|n| n.has_tag_name(name));
    found
        .map(|n| {
            n.descendants()
                .filter_map(|t| if t.is_text() { t.text() } else { None })
                .collect::<String>()
        })
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn moment(text: &str) -> Option<Timestamp> {
    let text = text
        .strip_suffix(" Z")
        .map_or_else(|| text.to_owned(), |t| format!("{t} +0000"));
    DateTime::parse_from_rfc2822(&text)
        .ok()
        .map(|t| Timestamp(t.timestamp_millis()))
}
