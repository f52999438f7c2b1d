//! Any status page's feed, RSS 2.0 or Atom: an item whose title and text do not say that it is over is open.

use chrono::DateTime;

use super::xml::{self, XmlItem};
use super::{MAX_INCIDENTS, Unreadable, Wanted};
use crate::model::{Status, Timestamp, VendorIncident, VendorPage};

/// Feeds keep their history; older items than these are over, whatever they say.
const MAX_RECENT: usize = 10;
/// An item may be so much older than the newest one, in milliseconds.
const MAX_AGE_MS: i64 = 3 * 24 * 3600 * 1000;
/// Words for an end.
const OVER: [&str; 6] = [
    "resolved",
    "completed",
    "mitigated",
    "operating normally",
    "postmortem",
    "has been fixed",
];

/// Reads the feed. An item is wanted when its title or text has one of the wanted words.
pub(super) fn read(text: &str, wanted: Wanted<'_>) -> Result<VendorPage, Unreadable> {
    let channel = xml::channel(text)?;
    let newest = channel.items.iter().filter_map(published).max();
    let is_old = |item: &XmlItem| match (published(item), newest) {
        (Some(at), Some(newest)) => newest.0.saturating_sub(at.0) > MAX_AGE_MS,
        _ => false,
    };
    let incidents = channel
        .items
        .iter()
        .take(MAX_RECENT)
        .filter(|item| !is_over(item) && !is_old(item))
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
