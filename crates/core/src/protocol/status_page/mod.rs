//! The vendors' status pages: which incidents they post, and when.
//!
//! [`read`] converts the documents of several platforms into one type, without I/O; `feeds` fetches
//! them within rate limits and informs the pipeline. A page's status is shown next to our
//! measurements but never counts as health, because pages lag behind. `incident.lead_s` shows by
//! how much.

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

/// The maximum size of an XML document, in bytes. Azure's feed has a few kilobytes.
pub const MAX_XML_BYTES: usize = 1024 * 1024;
/// The maximum size of a JSON document, in bytes. Summaries of large vendors have about 100 kB.
pub const MAX_JSON_BYTES: usize = 2 * 1024 * 1024;
/// The maximum size of Google Cloud's list of incidents, in bytes. It covers a year and has about 1
/// MB according to users. Only open incidents are kept, so its size costs only the transfer.
pub const MAX_GOOGLE_BYTES: usize = 8 * 1024 * 1024;

/// The maximum number of open incidents.
const MAX_INCIDENTS: usize = 50;
/// The maximum number of components per incident.
const MAX_COMPONENTS: usize = 20;
/// The maximum length of titles and component names, in characters; longer ones are truncated.
const MAX_NAME: usize = 200;
/// The maximum length of IDs, in characters; longer ones are truncated.
const MAX_ID: usize = 100;
/// The maximum length of phases, in characters; longer ones are truncated.
const MAX_PHASE: usize = 50;
/// The maximum length of a URL; a longer one is dropped.
const MAX_URL: usize = 500;

/// The document is not in the platform's format.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A challenge page, an error page, or a truncated document.
    #[error("it is not {0}")]
    Syntax(&'static str),
    /// Well-formed, but in another format.
    #[error("it has none of the fields of {0}: is `kind` right?")]
    Shape(&'static str),
    /// Larger than any genuine document.
    #[error("it has more than {1} {0}")]
    TooMuch(&'static str, usize),
}

/// Returns the maximum size of a document of `kind`, in bytes.
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

/// Parses a status document of `kind`. `components` is the separate list of components, on
/// platforms where it has more detail than the summary. `wanted` selects the relevant components by
/// ID or part of the name; empty means all. `address` is used if the page does not give its own
/// URL. Runs in time linear in the size, which the caller limits.
///
/// # Errors
/// When `body` is not a document of `kind`.
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

/// The relevant components.
#[derive(Debug, Clone, Copy)]
struct Wanted<'a>(&'a [String]);

impl Wanted<'_> {
    fn is_everything(self) -> bool {
        self.0.is_empty()
    }

    /// Reports whether one of these names or IDs is relevant.
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

/// Maps the component status of Statuspage and incident.io. A partial outage still answers
/// sometimes, so it counts as degraded.
fn component_status(name: &str) -> Status {
    match name {
        "operational" => Status::Operational,
        "under_maintenance" => Status::Maintenance,
        "degraded_performance" | "partial_outage" => Status::Degraded,
        "major_outage" | "full_outage" => Status::Outage,
        // A status that may be added later.
        other if other.contains("outage") || other.contains("degraded") => Status::Degraded,
        _ => Status::Operational,
    }
}

/// Maps the status of an entire page, or the impact of an incident.
fn impact_status(name: &str) -> Status {
    match name {
        "maintenance" => Status::Maintenance,
        "minor" | "major" => Status::Degraded,
        "critical" => Status::Outage,
        // `none`, or a value that may be added later.
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

/// Returns `text` on one line, with at most `max` characters.
fn line(text: &str, max: usize) -> String {
    let parts = text
        .split(|c: char| c.is_control() || c.is_whitespace())
        .filter(|part| !part.is_empty());
    let line = parts.collect::<Vec<_>>().join(" ");
    line.chars().take(max).collect()
}

/// Reports whether the URL may be used as a link.
fn is_web(url: &str) -> bool {
    url.len() <= MAX_URL
        && url::Url::parse(url).is_ok_and(|u| matches!(u.scheme(), "http" | "https"))
}

#[cfg(test)]
mod tests;
