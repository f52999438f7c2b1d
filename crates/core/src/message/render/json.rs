//! The generic webhook's body.

use serde_json::{Value, json};

use super::RenderContext;
use crate::message::document;
use crate::message::incident::changes;
use crate::model::{Notice, NoticeKind};

/// Renders the body of the generic webhook. Except for a drill's confirmation link, it is the same
/// on every attempt.
pub fn json(notice: &Notice, context: RenderContext<'_>) -> Value {
    let locale = &context.locale;
    let kind = notice.kind.as_str();
    let mut data = json!({
        "notification_id": notice.id,
        "reason": notice.kind.reason(),
        "incident": notice.incident,
        "location": notice.location,
        "monitor": {"version": env!("CARGO_PKG_VERSION")},
    });
    if notice.test {
        data["test"] = json!(true);
    }
    if notice.kind == NoticeKind::Drill {
        data["drill"] = json!(true);
        data["confirm_url"] = json!(context.confirm_url);
    }
    if let Some(condition) = &notice.condition {
        data["condition"] = json!(condition);
    }
    if let Some(channel) = &notice.instead_of {
        data["instead_of"] = json!(channel);
    }
    if let Some(document) = &notice.document {
        data["text"] = json!(document::text(&document.blocks, document::WIDTH));
        data["details"] = document.data.clone();
    }
    match &notice.incident {
        // Evidence and related fields go inside the incident.
        Some(_) => {
            // The texts already express the facts.
            if let Some(incident) = data["incident"].as_object_mut() {
                incident.remove("facts");
            }
            data["incident"]["alternatives"] = json!(notice.alternatives);
            data["incident"]["url"] = json!(notice.url);
            if let (Some(before), Some(incident)) = (&notice.before, &notice.incident) {
                data["changes"] =
                    json!(changes(before, incident, &notice.failing_otherwise, locale));
            }
        }
        None => data["title"] = json!(notice.title),
    }
    let mut body = json!({
        "type": kind,
        "timestamp": notice.decided_at,
        "data": data,
    });
    if notice.incident.as_ref().is_some_and(|i| i.alone) {
        body["alone"] = json!(true);
        body["data"]["alone"] = json!(true);
    }
    body
}
