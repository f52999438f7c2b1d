//! The RSS 2.0 or Atom feed of any status page. An item is open unless its title or text says that
//! it is resolved.

use chrono::DateTime;

use super::xml::{self, XmlItem};
use super::{MAX_INCIDENTS, Unreadable, Wanted};
use crate::model::{Status, Timestamp, VendorIncident, VendorPage};

/// Feeds keep their history: items beyond this number count as resolved.
const MAX_RECENT: usize = 10;
/// Items this much older than the newest one, in milliseconds, count as resolved.
const MAX_AGE_MS: i64 = 3 * 24 * 3600 * 1000;
/// Words that mean resolved.
const OVER: [&str; 6] = [
    "resolved",
    "completed",
    "mitigated",
    "operating normally",
    "postmortem",
    "has been fixed",
];

/// Parses the feed. An item is relevant if its title or text contains one of the wanted words.
pub(super) fn read(text: &str, wanted: Wanted<'_>) -> Result<VendorPage, Unreadable> {
    let channel = xml::channel(text)?;
    let newest = channel.items.iter().filter_map(published).max();

    let incidents = channel
        .items
        .iter()
        .take(MAX_RECENT)
        .filter(|item| !is_over(item) && !is_outdated(item, newest))
        .filter(|item| wanted.has([item.title.as_str(), item.description.as_str()]))
        .take(MAX_INCIDENTS)
        .map(|item| VendorIncident {
            id: if item.guid.is_empty() {
                item.title.clone()
            } else {
                item.guid.clone()
            },
            name: item.title.clone(),
            status: severity(&item.title),
            phase: String::new(),
            published_at: published(item),
            url: Some(item.link.clone()),
            components: Vec::new(),
        })
        .collect();
    Ok(VendorPage {
        status: Status::Operational,
        incidents,
        url: channel.link,
    })
}

fn is_outdated(item: &XmlItem, newest: Option<Timestamp>) -> bool {
    match (published(item), newest) {
        (Some(at), Some(newest)) => newest.0.saturating_sub(at.0) > MAX_AGE_MS,
        _ => false,
    }
}

fn is_over(item: &XmlItem) -> bool {
    let text = format!("{} {}", item.title, item.description).to_lowercase();
    OVER.iter().any(|word| text.contains(word))
}

fn severity(title: &str) -> Status {
    let title = title.to_lowercase();
    if title.contains("maintenance") {
        Status::Maintenance
    } else if title.contains("outage") || title.contains("unavailable") {
        Status::Outage
    } else {
        Status::Degraded
    }
}

fn published(item: &XmlItem) -> Option<Timestamp> {
    let text = item.published.as_str();
    DateTime::parse_from_rfc2822(text)
        .or_else(|_| DateTime::parse_from_rfc3339(text))
        .ok()
        .map(|at| Timestamp(at.timestamp_millis()))
}
