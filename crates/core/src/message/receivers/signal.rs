//! Signal through signal-cli's REST API. Plain text.
//!
//! <https://bbernhard.github.io/signal-cli-rest-api/>

use serde_json::json;

use super::shorten::shorten;
use super::{Call, FormatInput};
use crate::model::Secret;

/// Signal shows a longer text as an attachment.
const MESSAGE: usize = 2000;

pub(super) fn call(input: &FormatInput<'_>) -> Call {
    let recipients: Vec<_> = input.key("to").split(',').map(str::trim).collect();
    let text = format!("{}\n\n{}", input.message.subject, input.text("\n\n"));
    let link = input.link().map(|url| format!("\n\n{url}"));
    let link = link.unwrap_or_default();
    let room = MESSAGE.saturating_sub(super::shorten::length(&link));
    let body = json!({
        "message": shorten(&text, room) + &link,
        "number": input.key("from"),
        "recipients": recipients,
        "text_mode": "normal",
    });
    Call::json(Secret::new(input.url("/v2/send")), &body)
}
