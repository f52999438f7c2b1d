//! Webex: a bot's message to a room, or to an incoming webhook whose URL contains the key. Plain
//! text, which is not interpreted.
//!
//! <https://developer.webex.com/messaging/docs/api/v1/messages/create-a-message>

use serde_json::json;

use super::shorten::shorten_bytes;
use super::{Call, FormatInput};
use crate::model::Secret;

/// The default base URL.
pub(super) const ADDRESS: &str = "https://webexapis.com";
/// The maximum message size, in bytes.
const MESSAGE: usize = 7439;

pub(super) fn call(input: &FormatInput<'_>) -> Call {
    let link = input.link().map(|url| format!("\n\n{url}"));
    let link = link.filter(|link| link.len() < 1000).unwrap_or_default();
    let text = format!("{}\n\n{}", input.message.subject, input.text("\n\n"));
    let text = shorten_bytes(&text, MESSAGE - link.len()) + &link;
    let url = Secret::new(input.url("/v1/messages"));
    match input.key("token") {
        // An incoming webhook.
        "" => Call::json(url, &json!({"text": text})),
        token => Call::json(url, &json!({"roomId": input.key("room"), "text": text}))
            .with_header("authorization", format!("Bearer {token}")),
    }
}
