//! Gotify. Plain text.
//!
//! <https://gotify.net/api-docs#/message/createMessage>

use serde_json::json;

use super::shorten::{shorten, shorten_bytes};
use super::{Call, Material, Urgency};
use crate::model::Secret;

/// Gotify has no limits; a phone shows no more than this.
const TITLE: usize = 250;
const MESSAGE: usize = 8192;

pub(super) fn call(material: &Material<'_>) -> Call {
    let priority = material.key("priority").parse().unwrap_or(
        match (material.urgency(), material.is_over()) {
            (_, true) | (Urgency::Info, _) => 3,
            (Urgency::High, _) => 8,
            (Urgency::Low, _) => 5,
        },
    );
    let mut extras = json!({"client::display": {"contentType": "text/plain"}});
    if let Some(url) = material.link() {
        extras["client::notification"] = json!({"click": {"url": url}});
    }
    let body = json!({
        "title": shorten(&material.message.subject, TITLE),
        "message": shorten_bytes(&material.text("\n\n"), MESSAGE),
        "priority": priority,
        "extras": extras,
    });
    Call::json(Secret::new(material.url("/message")), &body)
        .with_header("x-gotify-key", material.key("token").to_owned())
}
