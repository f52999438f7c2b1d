//! Microsoft Teams: an Adaptive Card in the message envelope of Workflows. Text runs are not
//! interpreted as Markdown, so outside text goes into them.
//!
//! <https://learn.microsoft.com/en-us/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using>

use serde_json::{Value, json};

use super::shorten::shorten_bytes;
use super::{Call, FormatInput};
use crate::message::render::Tag;
use crate::message::severity::Severity;

/// The maximum message size, in bytes.
const MESSAGE: usize = 28 * 1024;
/// The maximum paragraph size, in bytes; JSON escaping can make it six times as long.
const PARAGRAPH: usize = 3000;

pub(super) fn call(input: &FormatInput<'_>) -> Call {
    let message = &input.message;
    let color = match message.tag {
        Tag::Incident(Severity::Outage) | Tag::Update(Severity::Outage) => "attention",
        Tag::Incident(_) | Tag::Update(_) | Tag::Monitor => "warning",
        Tag::Resolved | Tag::Over(_) => "good",
        Tag::Advice | Tag::Report | Tag::Official | Tag::Test | Tag::Drill => "accent",
    };
    let mut subject = text_run(&message.subject);
    subject["weight"] = json!("bolder");
    subject["size"] = json!("large");
    subject["color"] = json!(color);
    let mut body = vec![json!({"type": "RichTextBlock", "inlines": [subject]})];
    for (heading, text) in message.paragraphs() {
        let heading = json!({"type": "TextBlock", "text": heading, "weight": "bolder", "isSubtle": true, "spacing": "medium"});
        let lines = text.lines().map(
            |line| json!({"type": "RichTextBlock", "inlines": [text_run(line)], "spacing": "none"}),
        );
        body.extend(std::iter::once(heading).chain(lines));
    }
    let mut message = envelope(&body, input);
    while message.to_string().len() > MESSAGE && body.len() > 2 {
        body.pop();
        message = envelope(&body, input);
    }
    Call::json(input.webhook.url.clone(), &message)
}

fn text_run(text: &str) -> Value {
    json!({"type": "TextRun", "text": shorten_bytes(text, PARAGRAPH)})
}

fn envelope(body: &[Value], input: &FormatInput<'_>) -> Value {
    let actions: Vec<_> = input
        .message
        .links
        .iter()
        .map(|(name, url)| json!({"type": "Action.OpenUrl", "title": name, "url": url}))
        .collect();
    let mut card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.5",
        "fallbackText": shorten_bytes(&input.message.subject, PARAGRAPH),
        "body": body,
    });
    if !actions.is_empty() {
        card["actions"] = json!(actions);
    }
    json!({
        "type": "message",
        "attachments": [{"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": null, "content": card}],
    })
}
