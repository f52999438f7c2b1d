//! Pushover. Plain text: without the `html` flag nothing is interpreted.
//!
//! <https://pushover.net/api>

use serde_json::json;

use super::shorten::{fitting, length, shorten};
use super::{Call, FormatInput, Urgency};
use crate::model::Secret;

/// The default base URL.
pub(super) const ADDRESS: &str = "https://api.pushover.net";
const TITLE: usize = 250;
const MESSAGE: usize = 1024;
const URL: usize = 512;
/// The interval at which Pushover repeats an emergency, in seconds.
const RETRY: u32 = 60;
/// How long Pushover repeats an emergency, in seconds.
const EXPIRE: u32 = 3600;

pub(super) fn call(input: &FormatInput<'_>) -> Call {
    let message = &input.message;
    let parts: Vec<_> = message
        .paragraphs()
        .iter()
        .map(|(heading, text)| shorten(&format!("{heading}: {text}"), MESSAGE / 2))
        .collect();
    let priority = match (
        input.key("priority").parse::<i8>(),
        input.urgency(),
        input.is_over(),
    ) {
        (Ok(written), _, false) => written,
        (_, Urgency::High, false) => 1,
        _ => 0,
    };
    let mut body = json!({
        "token": input.key("token"),
        "user": input.key("user"),
        "title": shorten(&message.subject, TITLE),
        "message": fitting(&parts, None, "\n", MESSAGE),
        "priority": priority,
        "timestamp": input.notice.decided_at.0.div_euclid(1000),
    });
    if priority == 2 {
        body["retry"] = json!(RETRY);
        body["expire"] = json!(EXPIRE);
    }
    if let Some(url) = input.link().filter(|url| length(url) <= URL) {
        body["url"] = json!(url);
    }
    Call::json(Secret::new(input.url("/1/messages.json")), &body)
}
