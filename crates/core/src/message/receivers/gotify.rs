//! Gotify. Plain text.
//!
//! <https://gotify.net/api-docs#/message/createMessage>

use serde_json::json;

use super::shorten::{shorten, shorten_bytes};
use super::{Call, FormatInput};
use crate::model::Secret;

/// Gotify has no limits; a phone shows no more than this.
const TITLE: usize = 250;
const MESSAGE: usize = 8192;

pub(super) fn call(input: &FormatInput<'_>) -> Call {
    let priority = input.priority(3, 8, 5);
    let mut extras = json!({"client::display": {"contentType": "text/plain"}});
    if let Some(url) = input.link() {
        extras["client::notification"] = json!({"click": {"url": url}});
    }
    let body = json!({
        "title": shorten(&input.message.subject, TITLE),
        "message": shorten_bytes(&input.text("\n\n"), MESSAGE),
        "priority": priority,
        "extras": extras,
    });
    Call::json(Secret::new(input.url("/message")), &body)
        .with_header("x-gotify-key", input.key("token").to_owned())
}
