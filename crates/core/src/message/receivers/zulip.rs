//! Zulip: a bot's message to a topic of a channel. Each incident has its own topic, which keeps its
//! conversation together.
//!
//! <https://zulip.com/api/send-message>

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::form_urlencoded::Serializer;

use super::shorten::{escaped, fitting, shorten};
use super::{Call, Material, parted};
use crate::message::render::clean;
use crate::model::Secret;

const CONTENT: usize = 10_000;
const TOPIC: usize = 60;
const PARAGRAPH: usize = 2000;

pub(super) fn call(material: &Material<'_>) -> Call {
    let message = &material.message;
    let mut parts = vec![format!(
        "**{}**",
        escaped(&message.subject, PARAGRAPH, parted)
    )];
    parts.extend(message.paragraphs().iter().map(|(heading, text)| {
        format!(
            "**{}**\n{}",
            escaped(heading, 100, parted),
            escaped(text, PARAGRAPH, parted)
        )
    }));
    let topic = match (material.key("topic"), &material.notice.incident) {
        ("", Some(incident)) => format!(
            "Incident {}: {}",
            incident.number,
            clean(&incident.provider)
        ),
        ("", None) => "llmwatch".to_owned(),
        (topic, _) => topic.to_owned(),
    };
    let body = Serializer::new(String::new())
        .append_pair("type", "stream")
        .append_pair("to", material.key("channel"))
        .append_pair("topic", &shorten(&topic, TOPIC))
        .append_pair(
            "content",
            &fitting(&parts, material.link(), "\n\n", CONTENT),
        )
        .finish();
    let login = format!("{}:{}", material.key("user"), material.key("api_key"));
    let call = Call {
        content_type: "application/x-www-form-urlencoded".to_owned(),
        body,
        ..Call::json(
            Secret::new(material.url("/api/v1/messages")),
            &serde_json::Value::Null,
        )
    };
    call.with_header("authorization", format!("Basic {}", STANDARD.encode(login)))
}
