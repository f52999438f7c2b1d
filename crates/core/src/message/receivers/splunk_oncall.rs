//! Splunk On-Call's (formerly `VictorOps`) REST endpoint. The incident is the entity, so a resolve
//! is the entity's recovery.
//!
//! <https://help.splunk.com/en/splunk-on-call/integrations/rest-endpoint-integration-guide>

use serde_json::json;

use super::shorten::shorten;
use super::{Call, FormatInput, Urgency};
use crate::message::render::clean;
use crate::model::{NoticeKind, Secret};

/// The default base URL.
pub(super) const ADDRESS: &str = "https://alert.victorops.com";
const ENTITY: usize = 512;
const NAME: usize = 512;
const MESSAGE: usize = 20_000;

pub(super) fn call(input: &FormatInput<'_>) -> Call {
    let incident = input.notice.incident.as_ref();
    let is_taken = incident.is_some_and(|i| i.acknowledged.is_some());
    let kind = match (input.notice.kind, input.urgency()) {
        _ if input.is_over() => "RECOVERY",
        (NoticeKind::Updated | NoticeKind::Reminder, _) if is_taken => "ACKNOWLEDGEMENT",
        (_, Urgency::High) => "CRITICAL",
        (_, Urgency::Low) => "WARNING",
        (_, Urgency::Info) => "INFO",
    };
    let mut body = json!({
        "message_type": kind,
        "entity_id": shorten(&input.dedup_key(), ENTITY),
        "entity_display_name": shorten(&input.message.subject, NAME),
        "state_message": shorten(&input.text("\n\n"), MESSAGE),
        "monitoring_tool": "llmwatch",
        "host_name": shorten(&clean(&input.notice.location), NAME),
    });
    if let Some(incident) = incident {
        body["state_start_time"] = json!(incident.started_at.0.div_euclid(1000));
    }
    if let Some(url) = input.link() {
        body["alert_url"] = json!(url);
    }
    let path = format!(
        "/integrations/generic/20131114/alert/{}/{}",
        input.key("api_key"),
        input.key("routing_key")
    );
    Call::json(Secret::new(input.url(&path)), &body)
}
