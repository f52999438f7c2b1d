//! Webex: a bot's message to a room, or to an incoming webhook whose URL contains the key. Plain
//! text, which is not interpreted.
//!
//! <https://developer.webex.com/messaging/docs/api/v1/messages/create-a-message>

use serde_json::json;

use super::shorten::shorten_bytes;
use super::{Call, Material};
use crate::model::Secret;

/// The default base URL.
pub(super) const ADDRESS: &str = "https://webexapis.com";
/// The maximum message size, in bytes.
const MESSAGE: usize = 7439;

pub(super) fn call(material: &Material<'_>) -> Call {
    let link = material.link().map(|url| format!("\n\n{url}"));
    let link = link.filter(|link| link.len() < 1000).unwrap_or_default();
    let text = format!("{}\n\n{}", material.message.subject, material.text("\n\n"));
    let text = shorten_bytes(&text, MESSAGE - link.len()) + &link;
    let url = Secret::new(material.url("/v1/messages"));
    match material.key("token") {
        // An incoming webhook.
        "" => Call::json(url, &json!({"text": text})),
        token => Call::json(url, &json!({"roomId": material.key("room"), "text": text}))
            .with_header("authorization", format!("Bearer {token}")),
    }
}
