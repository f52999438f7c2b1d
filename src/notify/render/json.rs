//! The generic webhook's body.

use serde_json::{Value, json};

use crate::model::Notice;

/// The body of the generic webhook, the same on every attempt.
pub fn json(notice: &Notice) -> Value {
    let r#type = notice.r#type.as_str();
    let reason = r#type.rsplit('.').next().unwrap_or(r#type);
    let mut data = json!({
        "notification_id": notice.id,
        "reason": reason,
        "incident": notice.incident,
        "location": notice.location,
        "monitor": {"version": env!("CARGO_PKG_VERSION")},
    });
    match &notice.incident {
        // The evidence and what belongs to it stand inside the incident.
        Some(_) => {
            data["incident"]["alternatives"] = json!(notice.alternatives);
            data["incident"]["url"] = json!(notice.url);
        }
        None => data["title"] = json!(notice.title),
    }
    json!({
        "type": r#type,
        "timestamp": notice.decided_at,
        "data": data,
    })
}
