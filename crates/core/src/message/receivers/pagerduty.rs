//! PagerDuty's Events API v2. The incident is the dedup key, so a resolve matches its trigger.
//!
//! <https://developer.pagerduty.com/docs/events-api-v2-overview>

use serde_json::{Map, json};

use super::shorten::shorten;
use super::{Call, FormatInput, Urgency};
use crate::message::render::clean;
use crate::model::{NoticeKind, Secret};

/// The default base URL.
pub(super) const ADDRESS: &str = "https://events.pagerduty.com";
const SUMMARY: usize = 1024;
/// The limit for each text other than the summary; the entire event is limited to 512 KB.
const DETAIL: usize = 8000;
const DEDUP_KEY: usize = 255;

pub(super) fn call(input: &FormatInput<'_>) -> Call {
    let message = &input.message;
    let incident = input.notice.incident.as_ref();
    let taken = incident.is_some_and(|i| i.acknowledged.is_some());
    let action = match input.notice.kind {
        _ if input.is_over() => "resolve",
        // Somebody has acknowledged the incident; do not trigger it again.
        NoticeKind::Updated | NoticeKind::Reminder if taken => "acknowledge",
        _ => "trigger",
    };
    let severity = match input.urgency() {
        Urgency::High => "critical",
        Urgency::Low => "warning",
        Urgency::Info => "info",
    };
    // An opening has the start time of the incident; later events have their own.
    let began = incident.filter(|_| input.notice.kind == NoticeKind::Opened);
    let details: Map<_, _> = message
        .paragraphs()
        .iter()
        .map(|(heading, text)| ((*heading).to_owned(), json!(shorten(text, DETAIL))))
        .collect();
    let mut payload = json!({
        "summary": shorten(&message.subject, SUMMARY),
        "source": clean(&input.notice.location),
        "severity": severity,
        "timestamp": began.map_or(input.notice.decided_at, |i| i.started_at),
        "custom_details": details,
    });
    if let Some(incident) = incident {
        payload["component"] = json!(shorten(&clean(&incident.endpoints.join(", ")), SUMMARY));
        payload["group"] = json!(clean(&incident.provider));
        payload["class"] = json!(incident.cause);
    }
    let links: Vec<_> = message
        .links
        .iter()
        .map(|(name, url)| json!({"href": url, "text": name}))
        .collect();
    let mut body = json!({
        "routing_key": input.key("routing_key"),
        "event_action": action,
        "dedup_key": shorten(&input.dedup_key(), DEDUP_KEY),
        "payload": payload,
        "client": "llmwatch",
        "links": links,
    });
    if let Some(url) = input.link() {
        body["client_url"] = json!(url);
    }
    Call::json(Secret::new(input.url("/v2/enqueue")), &body)
}
