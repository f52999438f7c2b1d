//! Rocket.Chat's incoming webhooks. Its Markdown has no escape that works in every version, so an
//! invisible word joiner follows each character that begins a format or a mention.
//!
//! <https://docs.rocket.chat/docs/integrations>

use serde_json::json;

use super::shorten::{escaped, fitting};
use super::{Call, FormatInput, escape_markdown};

/// The default of `Message_MaxAllowedSize`.
const TEXT: usize = 5000;
const PARAGRAPH: usize = 1500;

pub(super) fn call(input: &FormatInput<'_>) -> Call {
    let message = &input.message;
    let mut parts = vec![format!(
        "*{}*",
        escaped(&message.subject, PARAGRAPH, escape_markdown)
    )];
    parts.extend(message.paragraphs().iter().map(|(heading, text)| {
        format!(
            "*{}*\n{}",
            escaped(heading, 100, escape_markdown),
            escaped(text, PARAGRAPH, escape_markdown)
        )
    }));
    let link = input.link();
    let mut body = json!({
        "text": fitting(&parts, link, "\n\n", TEXT),
        "alias": "llmwatch",
        "parseUrls": false,
    });
    if !input.key("channel").is_empty() {
        body["channel"] = json!(input.key("channel"));
    }
    Call::json(input.webhook.url.clone(), &body)
}
