//! AWS Health's public events (`/public/currentevents`): a list of current events, in UTF-16.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::bounded::{Code, Id, List, Moment, Name};
use super::{MAX_COMPONENTS, MAX_INCIDENTS, Wanted};
use crate::model::{Status, Timestamp, VendorIncident, VendorPage};

/// The maximum number of updates per event; others are dropped.
const MAX_UPDATES: usize = 200;

/// The events.
pub(super) type AwsEvents = List<Event, MAX_INCIDENTS>;

/// One event.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Event {
    arn: Id,
    date: Moment,
    region_name: Name,
    service: Name,
    service_name: Name,
    status: Code,
    summary: Name,
    event_log: List<AwsUpdate, MAX_UPDATES>,
    impacted_services: BTreeMap<String, Impact>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AwsUpdate {
    /// A number, or a string with one digit.
    status: serde_json::Value,
    timestamp: serde_json::Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Impact {
    service_name: Name,
    current: Code,
}

/// Returns the page status for the relevant services, such as `bedrock` or `bedrock-us-east-1`.
pub(super) fn page(events: &AwsEvents, wanted: Wanted<'_>) -> VendorPage {
    let incidents = events
        .iter()
        .filter_map(|event| incident(event, wanted))
        .collect();
    VendorPage {
        status: Status::Operational,
        incidents,
        url: "https://health.aws.amazon.com/health/status".to_owned(),
    }
}

fn incident(event: &Event, wanted: Wanted<'_>) -> Option<VendorIncident> {
    let services = event
        .impacted_services
        .iter()
        .filter(|(key, impact)| wanted.has([key.as_str(), impact.service_name.as_str()]));
    let services: Vec<_> = services.collect();
    let is_own = wanted.has([event.service.as_str(), event.service_name.as_str()]);
    if services.is_empty() && !is_own {
        return None;
    }
    let latest = event
        .event_log
        .iter()
        .last()
        .map(|update| update.status.to_string())
        .unwrap_or_default();
    let latest = match latest.trim_matches('"') {
        "" | "null" => event.status.as_str(),
        latest => latest,
    };
    let code = services
        .iter()
        .map(|(_, impact)| impact.current.as_str())
        .max()
        .filter(|code| !code.is_empty())
        .unwrap_or(latest);
    // 0 is resolved, 1 is informational, 2 is degraded, 3 is an outage.
    let status = match code {
        "0" => return None,
        "3" => Status::Outage,
        "2" => Status::Degraded,
        _ => Status::Operational,
    };
    let names = services
        .iter()
        .take(MAX_COMPONENTS)
        .map(|(_, impact)| String::from(&impact.service_name));
    let first = event.event_log.iter().next();
    let seconds = event.date.as_str().parse().ok().or_else(|| {
        let stamp = &first?.timestamp;
        stamp.as_i64().or_else(|| stamp.as_str()?.parse().ok())
    });
    Some(VendorIncident {
        id: String::from(&event.arn),
        name: format!(
            "{} ({})",
            event.summary.as_str(),
            event.region_name.as_str()
        ),
        status,
        phase: String::new(),
        published_at: seconds.map(|s: i64| Timestamp(s.saturating_mul(1000))),
        url: None,
        components: names.chain([String::from(&event.region_name)]).collect(),
    })
}

/// Converts the document to UTF-8: AWS sends UTF-16 with a byte order mark.
pub(super) fn utf8(body: &[u8]) -> Vec<u8> {
    match body {
        [0xfe, 0xff, rest @ ..] => from_utf16(rest, u16::from_be_bytes),
        [0xff, 0xfe, rest @ ..] => from_utf16(rest, u16::from_le_bytes),
        other => other.to_vec(),
    }
}

fn from_utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Vec<u8> {
    let units: Vec<u16> = bytes
        .chunks_exact(2)
        .map(|pair| unit([pair[0], pair[1]]))
        .collect();
    String::from_utf16_lossy(&units).into_bytes()
}
