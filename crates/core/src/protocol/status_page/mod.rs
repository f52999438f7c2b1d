//! The vendors' own status pages: what they admit, and when they admitted it.
//!
//! [`read`] turns the documents of several platforms into one shape, purely; `feeds` fetches them, politely, and informs
//! the pipeline. What a page says is shown beside what we measure and never counted as health: pages are late, and
//! `incident.lead_s` is the figure that shows by how much.

mod aws;
mod azure;
mod betterstack;
mod bounded;
mod google;
mod instatus;
mod native;
mod rss;
mod statuspage;
mod ulid;
mod xml;

use serde::de::DeserializeOwned;

use crate::config::FeedKind;
use crate::model::{Status, VendorPage};

/// The largest XML document that is read, in bytes. Azure's feed has a few kilobytes.
pub const MAX_XML_BYTES: usize = 1024 * 1024;
/// The largest JSON document that is read, in bytes. Summaries of large vendors have about 100 kB.
pub const MAX_JSON_BYTES: usize = 2 * 1024 * 1024;
/// The largest list of Google Cloud's incidents that is read, in bytes. It holds a year, and people report about 1 MB;
/// only open incidents are kept of it, so that its size costs nothing but the transfer.
pub const MAX_GOOGLE_BYTES: usize = 8 * 1024 * 1024;

/// More open incidents than this are not worth showing.
const MAX_INCIDENTS: usize = 50;
/// More components of one incident are not worth showing.
const MAX_COMPONENTS: usize = 20;
/// Longer titles and names of components are cut, in characters.
const MAX_NAME: usize = 200;
/// Longer ids are cut, in characters.
const MAX_ID: usize = 100;
/// Longer phases are cut, in characters.
const MAX_PHASE: usize = 50;
/// A longer address is none.
const MAX_URL: usize = 500;

/// The document is not what the platform publishes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A challenge page, an error page, something cut off.
    #[error("it is not {0}")]
    Syntax(&'static str),
    /// Well-formed, but of some other make.
    #[error("it has none of the fields of {0}: is `kind` right?")]
    Shape(&'static str),
    /// Larger than any real one.
    #[error("it has more than {1} {0}")]
    TooMuch(&'static str, usize),
}

/// The largest document of `kind` that is read, in bytes.
pub fn max_bytes(kind: FeedKind) -> usize {
    match kind {
        FeedKind::AzureRss | FeedKind::Rss => MAX_XML_BYTES,
        FeedKind::GoogleCloud => MAX_GOOGLE_BYTES,
        FeedKind::Statuspage
        | FeedKind::IncidentIo
        | FeedKind::Instatus
        | FeedKind::BetterStack
        | FeedKind::AwsHealth => MAX_JSON_BYTES,
    }
}

/// Reads a status document of `kind`. `components` is the separate list of components, where a platform has one that
/// says more than the summary; `wanted` names the components that matter (parts of their names, or their ids), all if
/// it is empty. `address` stands in where the page does not give its own. The time is linear in the bytes, of which the
/// caller has a limit.
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
            let document: statuspage::StatuspageDocument = json(body, "a Statuspage")?;
            if let Some(summary) = &document.summary {
                native::page(summary, wanted)
            } else {
                let list = components.and_then(|c| json(c, "a Statuspage").ok());
                statuspage::page(&document, list.as_ref(), wanted)
                    .ok_or(Unreadable::Shape("a Statuspage"))?
            }
        }
        FeedKind::GoogleCloud => {
            let document: google::GoogleDocument = json(body, "Google Cloud's incidents")?;
            google::page(&document, wanted, address)
        }
        FeedKind::AzureRss => azure::read(&text(body), wanted)?,
        FeedKind::Rss => rss::read(&text(body), wanted)?,
        FeedKind::Instatus => {
            let document: instatus::InstatusDocument = json(body, "an Instatus page")?;
            instatus::page(&document, wanted)?
        }
        FeedKind::BetterStack => {
            let document: betterstack::BetterstackDocument = json(body, "a Better Stack page")?;
            betterstack::page(&document, wanted)?
        }
        FeedKind::AwsHealth => {
            let events: aws::AwsEvents = json(&aws::utf8(body), "AWS Health's events")?;
            aws::page(&events, wanted)
        }
    };
    page.incidents.truncate(MAX_INCIDENTS);
    for incident in &mut page.incidents {
        page.status = page.status.worse(incident.status);
        incident.id = line(&incident.id, MAX_ID);
        incident.name = line(&incident.name, MAX_NAME);
        incident.phase = line(&incident.phase, MAX_PHASE);
        incident.url = incident.url.take().filter(|u| is_web(u));
        incident.components.truncate(MAX_COMPONENTS);
        for component in &mut incident.components {
            *component = line(component, MAX_NAME);
        }
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

/// Their words for an entire page, and for how bad an incident is.
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

fn json<T: DeserializeOwned>(body: &[u8], what: &'static str) -> Result<T, Unreadable> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            Unreadable::Shape(what)
        } else {
            Unreadable::Syntax("JSON")
        }
    })
}

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)).into_owned()
}

/// One line of at most `max` characters.
fn line(text: &str, max: usize) -> String {
    let parts = text
        .split(|c: char| c.is_control() || c.is_whitespace())
        .filter(|part| !part.is_empty());
    let line = parts.collect::<Vec<_>>().join(" ");
    line.chars().take(max).collect()
}

/// Only such an address may become a link.
fn is_web(url: &str) -> bool {
    url.len() <= MAX_URL
        && url::Url::parse(url).is_ok_and(|u| matches!(u.scheme(), "http" | "https"))
}

#[cfg(test)]
mod tests;
