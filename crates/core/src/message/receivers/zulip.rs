//! Zulip: a bot's message to a topic of a channel. Each incident has its own topic, which keeps its
//! conversation together.
//!
//! <https://zulip.com/api/send-message>

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::form_urlencoded::Serializer;

use super::shorten::{escaped, fitting, shorten};
use super::{Call, FormatInput, escape_markdown};
use crate::message::incident::vendor;
use crate::message::render::clean;
use crate::model::Secret;
use crate::text;

const CONTENT: usize = 10_000;
const TOPIC: usize = 60;
const PARAGRAPH: usize = 2000;

pub(super) fn call(input: &FormatInput<'_>) -> Call {
    let message = &input.message;
    let mut parts = vec![format!(
        "**{}**",
        escaped(&message.subject, PARAGRAPH, escape_markdown)
    )];
    parts.extend(message.paragraphs().iter().map(|(heading, text)| {
        format!(
            "**{}**\n{}",
            escaped(heading, 100, escape_markdown),
            escaped(text, PARAGRAPH, escape_markdown)
        )
    }));
    let topic = match (input.key("topic"), &input.notice.incident) {
        ("", Some(incident)) => {
            let number = incident.number;
            let title = clean(vendor(incident));
            text!(
                input.context.locale,
                "Incident {number}: {title}",
                number,
                title
            )
        }
        ("", None) => "llmwatch".to_owned(),
        (topic, _) => topic.to_owned(),
    };
    let body = Serializer::new(String::new())
        .append_pair("type", "stream")
        .append_pair("to", input.key("channel"))
        .append_pair("topic", &shorten(&topic, TOPIC))
        .append_pair("content", &fitting(&parts, input.link(), "\n\n", CONTENT))
        .finish();
    let login = format!("{}:{}", input.key("user"), input.key("api_key"));
    let call = Call {
        content_type: "application/x-www-form-urlencoded".to_owned(),
        body,
        ..Call::json(
            Secret::new(input.url("/api/v1/messages")),
            &serde_json::Value::Null,
        )
    };
    call.with_header("authorization", format!("Basic {}", STANDARD.encode(login)))
}
