//! Discord's webhooks: one embed, with all mentions disabled.
//!
//! <https://discord.com/developers/docs/resources/webhook#execute-webhook>

use serde_json::{Value, json};

use super::shorten::{escaped, length};
use super::{Call, FormatInput};

const CONTENT: usize = 2000;
const TITLE: usize = 256;
/// Less than the limit of 4096: a sentence or two say what is broken, and the fields need the rest.
const DESCRIPTION: usize = 1500;
const FIELD: usize = 1024;
const FOOTER: usize = 300;
/// The limit for all texts of an embed together.
const TOTAL: usize = 6000;

pub(super) fn call(input: &FormatInput<'_>) -> Call {
    let message = &input.message;
    let title = escaped(&message.headline, TITLE, character);
    let footer = escaped(&message.footer, FOOTER, |c, out| out.push(c));
    let mut description = String::new();
    let mut used = length(&title) + length(&footer);
    let mut fields: Vec<Value> = Vec::new();
    for (heading, text) in message.paragraphs() {
        if heading == message.what_heading() {
            description = escaped(&text, DESCRIPTION, character);
            used += length(&description);
            continue;
        }
        let room = TOTAL.saturating_sub(
            used + DESCRIPTION.saturating_sub(length(&description)) + heading.len(),
        );
        if room < 20 {
            break;
        }
        let value = escaped(&text, FIELD.min(room), character);
        used += length(&value) + heading.len();
        fields.push(json!({"name": heading, "value": value}));
    }
    let color = u32::from_str_radix(message.tag.color().trim_start_matches('#'), 16).unwrap_or(0);
    let mut embed = json!({
        "title": title,
        "description": description,
        "color": color,
        "timestamp": input.notice.decided_at,
        "fields": fields,
        "footer": {"text": footer},
    });
    if let Some(url) = input.link() {
        embed["url"] = json!(url);
    }
    let body = json!({
        "content": escaped(&message.subject, CONTENT, character),
        "embeds": [embed],
        "allowed_mentions": {"parse": []},
    });
    Call::json(input.webhook.url.clone(), &body)
}

/// Escapes Discord's Markdown, mentions and links.
fn character(c: char, out: &mut String) {
    match c {
        // `allowed_mentions` prevents the ping; the word joiner keeps the text from looking like a
        // mention.
        '@' => out.push_str("@\u{2060}"),
        '\\' | '*' | '_' | '~' | '`' | '|' | '>' | '<' | '#' | '[' | ']' | '(' | ')' => {
            out.push('\\');
            out.push(c);
        }
        c => out.push(c),
    }
}
