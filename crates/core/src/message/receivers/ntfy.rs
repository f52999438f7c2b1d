//! ntfy, published as JSON. Plain text throughout.
//!
//! <https://docs.ntfy.sh/publish/#publish-as-json>

use serde_json::json;
use url::Url;

use super::shorten::{shorten, shorten_bytes};
use super::{Call, FormatInput};
use crate::message::render::Tag;
use crate::message::severity::Severity;
use crate::model::Secret;

const TITLE: usize = 250;
/// The maximum message size, in bytes; ntfy turns a longer one into an attachment.
const MESSAGE: usize = 4096;

pub(super) fn call(input: &FormatInput<'_>) -> Call {
    let message = &input.message;
    let text: Vec<_> = message
        .paragraphs()
        .iter()
        .map(|(heading, text)| format!("{heading}\n{text}"))
        .collect();
    let priority = input.priority(3, 5, 4);
    let tag = match message.tag {
        Tag::Incident(Severity::Outage) | Tag::Update(Severity::Outage) => "rotating_light",
        Tag::Incident(_) | Tag::Update(_) | Tag::Monitor => "warning",
        Tag::Resolved | Tag::Over(_) => "white_check_mark",
        Tag::Advice => "bulb",
        Tag::Report => "bar_chart",
        Tag::Official => "information_source",
        Tag::Test | Tag::Drill => "test_tube",
    };
    let (url, topic) = address(input);
    let mut body = json!({
        "topic": topic,
        "title": shorten(&message.subject, TITLE),
        "message": shorten_bytes(&text.join("\n\n"), MESSAGE),
        "priority": priority,
        "tags": [tag],
    });
    if let Some(url) = input.link() {
        body["click"] = json!(url);
    }
    let call = Call::json(Secret::new(url), &body);
    match input.key("token") {
        "" => call,
        token => call.with_header("authorization", format!("Bearer {token}")),
    }
}

/// Returns the server's root URL, which accepts JSON, and the topic. The topic is either configured
/// or the last path segment of the URL.
fn address(input: &FormatInput<'_>) -> (String, String) {
    let written = input.webhook.url.expose();
    let topic = input.key("topic").to_owned();
    match Url::parse(written) {
        Ok(mut url) if topic.is_empty() => {
            let path = url.path().trim_matches('/').to_owned();
            let (root, topic) = path.rsplit_once('/').unwrap_or(("", &path));
            url.set_path(root);
            (url.into(), topic.to_owned())
        }
        _ => (written.to_owned(), topic),
    }
}
