//! The vendors' own status pages: what they admit, and when they admitted it.
//!
//! [`read`] turns the documents of four platforms into one shape, purely; `feeds` fetches them, politely, and tells
//! the pipeline. What a page says is shown beside what we measure and never counted as health: pages are late, and
//! `incident.lead_s` is the figure that shows by how much.

mod azure;
mod google;
mod native;
mod statuspage;
mod ulid;

use serde_json::Value;

use crate::config::FeedKind;
use crate::model::{Status, VendorPage};

/// More open incidents than this are not worth showing.
const MOST_INCIDENTS: usize = 50;
/// Longer titles are cut.
const LONGEST_NAME: usize = 200;

/// The document is not what the platform publishes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A challenge page, an error page, something cut off.
    #[error("it is not {0}")]
    Syntax(&'static str),
    /// Well-formed, but of some other make.
    #[error("it has none of the fields of {0}: is `kind` right?")]
    Shape(&'static str),
}

/// Reads a status document of `kind`. `components` is the separate list of components, where a platform has one that
/// says more than the summary; `wanted` names the components that matter (parts of their names, or their ids), all if
/// it is empty. `address` stands in where the page does not give its own.
///
/// # Errors
/// When `body` is not such a document.
pub fn read(
    kind: FeedKind,
    body: &[u8],
    components: Option<&[u8]>,
    wanted: &[String],
    address: &str,
) -> Result<VendorPage, Unreadable> {
    let wanted = Wanted(wanted);
    let mut page = match kind {
        FeedKind::Statuspage | FeedKind::IncidentIo => {
            let document = json(body)?;
            if let Some(summary) = document.get("summary") {
                native::read(summary, wanted)
            } else {
                let list = components.and_then(|c| json(c).ok());
                statuspage::read(&document, list.as_ref(), wanted)
                    .ok_or(Unreadable::Shape("a Statuspage"))?
            }
        }
        FeedKind::GoogleCloud => google::read(&json(body)?, wanted, address)?,
        FeedKind::AzureRss => azure::read(&text(body), wanted)?,
    };
    page.incidents.truncate(MOST_INCIDENTS);
    for incident in &mut page.incidents {
        page.status = page.status.worse(incident.status);
        incident.name = tidy(&incident.name);
        incident.url = incident.url.take().filter(|u| is_web(u));
    }
    if !is_web(&page.url) {
        page.url = address.to_owned();
    }
    Ok(page)
}

/// The components that matter.
#[derive(Debug, Clone, Copy)]
struct Wanted<'a>(&'a [String]);

impl Wanted<'_> {
    fn is_everything(self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of these names (or ids) is meant.
    fn has<'n>(self, names: impl IntoIterator<Item = &'n str>) -> bool {
        self.0.is_empty()
            || names.into_iter().map(str::to_lowercase).any(|name| {
                self.0
                    .iter()
                    .map(|w| w.to_lowercase())
                    .any(|w| !w.is_empty() && name.contains(&w))
            })
    }
}

/// The words of Statuspage and incident.io for a component. Partly out still answers now and then, which is degraded in
/// our words.
fn component_status(word: &str) -> Status {
    match word {
        "operational" => Status::Operational,
        "under_maintenance" => Status::Maintenance,
        "degraded_performance" | "partial_outage" => Status::Degraded,
        "major_outage" | "full_outage" => Status::Outage,
        // A word that they invent tomorrow.
        other if other.contains("outage") || other.contains("degraded") => Status::Degraded,
        _ => Status::Operational,
    }
}

/// Their words for a page as a whole, and for how bad an incident is.
fn impact_status(word: &str) -> Status {
    match word {
        "maintenance" => Status::Maintenance,
        "minor" | "major" => Status::Degraded,
        "critical" => Status::Outage,
        // `none`, or a word that they invent tomorrow.
        _ => Status::Operational,
    }
}

fn is_over(phase: &str) -> bool {
    matches!(phase, "resolved" | "postmortem" | "completed")
}

/// A list that some platforms write as null when it is empty.
fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn json(body: &[u8]) -> Result<Value, Unreadable> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    serde_json::from_slice(body).map_err(|_| Unreadable::Syntax("JSON"))
}

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)).into_owned()
}

/// One line of bounded length, whatever stood there.
fn tidy(name: &str) -> String {
    let line = name
        .split(|c: char| c.is_control() || c.is_whitespace())
        .filter(|s| !s.is_empty());
    line.collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(LONGEST_NAME)
        .collect()
}

/// Only such an address may become a link.
fn is_web(url: &str) -> bool {
    url.len() <= 500 && url::Url::parse(url).is_ok_and(|u| matches!(u.scheme(), "http" | "https"))
}

#[cfg(test)]
mod tests;
