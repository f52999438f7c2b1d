//! Telegram's `sendMessage`, in its HTML subset.
//!
//! <https://core.telegram.org/bots/api#sendmessage>

use serde_json::json;

use super::shorten::{escaped, fitting};
use super::{Call, FormatInput};
use crate::model::Secret;

/// The default base URL.
pub(super) const ADDRESS: &str = "https://api.telegram.org";
/// The maximum message length. Telegram does not count tags, but this limit does.
const MESSAGE: usize = 4096;
/// The maximum paragraph length, so that one paragraph does not crowd out the others.
const PARAGRAPH: usize = 1200;

pub(super) fn call(input: &FormatInput<'_>) -> Call {
    let message = &input.message;
    let mut parts = vec![format!(
        "<b>{}</b>",
        escaped(&message.subject, PARAGRAPH, character)
    )];
    parts.extend(message.paragraphs().iter().map(|(heading, text)| {
        format!(
            "<b>{}</b>\n{}",
            escaped(heading, 100, character),
            escaped(text, PARAGRAPH, character)
        )
    }));
    let link = input
        .link()
        .map(|url| format!("<a href=\"{0}\">{0}</a>", escaped(url, 1000, character)));
    let body = json!({
        "chat_id": input.key("chat_id"),
        "text": fitting(&parts, link.as_deref(), "\n\n", MESSAGE),
        "parse_mode": "HTML",
        "link_preview_options": {"is_disabled": true},
    });
    let path = format!("/bot{}/sendMessage", input.key("token"));
    Call::json(Secret::new(input.url(&path)), &body)
}

fn character(c: char, out: &mut String) {
    match c {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '"' => out.push_str("&quot;"),
        // Telegram treats `@name` as a mention.
        '@' => out.push_str("@\u{2060}"),
        c => out.push(c),
    }
}
