//! Rocket.Chat's incoming webhooks. Its Markdown knows no escape that works in every version, so a character that
//! begins a format or a mention is parted from what follows by an invisible word joiner.
//!
//! <https://docs.rocket.chat/docs/integrations>

use serde_json::json;

use super::shorten::{escaped, fitting};
use super::{Call, Material, parted};

/// `Message_MaxAllowedSize` as it is delivered.
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
