//! Rocket.Chat's incoming webhooks. Its Markdown has no escape that works in every version, so an
//! invisible word joiner follows each character that begins a format or a mention.
//!
//! <https://docs.rocket.chat/docs/integrations>

use serde_json::json;

use super::shorten::{escaped, fitting};
use super::{Call, Material, parted};

/// The default of `Message_MaxAllowedSize`.
const TEXT: usize = 5000;
const PARAGRAPH: usize = 1500;

pub(super) fn call(material: &Material<'_>) -> Call {
    let message = &material.message;
    let mut parts = vec![format!(
        "*{}*",
        escaped(&message.subject, PARAGRAPH, parted)
    )];
    parts.extend(message.paragraphs().iter().map(|(heading, text)| {
        format!(
            "*{}*\n{}",
            escaped(heading, 100, parted),
            escaped(text, PARAGRAPH, parted)
        )
    }));
    let link = material.link();
    let mut body = json!({
        "text": fitting(&parts, link, "\n\n", TEXT),
        "alias": "llmwatch",
        "parseUrls": false,
    });
    if !material.key("channel").is_empty() {
        body["channel"] = json!(material.key("channel"));
    }
    Call::json(material.webhook.url.clone(), &body)
}
