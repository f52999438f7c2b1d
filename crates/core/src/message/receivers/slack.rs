//! Slack's incoming webhooks with Block Kit. Outside text goes into `plain_text`, which Slack does
//! not interpret.
//!
//! <https://docs.slack.dev/reference/block-kit/blocks>

use serde_json::{Value, json};

use super::shorten::{escaped, shorten};
use super::{Call, FormatInput};

const HEADER: usize = 150;
const TEXT: usize = 3000;
/// Slack allows 50 blocks. A message normally has far fewer.
const BLOCKS: usize = 48;

pub(super) fn call(input: &FormatInput<'_>) -> Call {
    let message = &input.message;
    let mut blocks = vec![json!({"type": "header", "text": plain(&message.subject, HEADER)})];
    for (heading, text) in message.paragraphs() {
        blocks.push(json!({"type": "context", "elements": [{"type": "mrkdwn", "text": format!("*{heading}*")}]}));
        blocks.push(json!({"type": "section", "text": plain(&text, TEXT)}));
    }
    blocks.truncate(BLOCKS);
    let links: Vec<_> = message
        .links
        .iter()
        .map(|(name, url)| format!("<{}|{name}>", escaped(url, 1000, link_character)))
        .collect();
    if !links.is_empty() {
        let text = links.join(" · ");
        blocks.push(
            json!({"type": "section", "text": {"type": "mrkdwn", "text": shorten(&text, TEXT), "verbatim": true}}),
        );
    }
    blocks.push(json!({"type": "context", "elements": [plain(&message.footer, TEXT)]}));
    let mut body = json!({
        // Shown in notifications on a phone.
        "text": escaped(&message.subject, TEXT, character),
        "blocks": blocks,
        "unfurl_links": false,
        "unfurl_media": false,
    });
    if !input.key("channel").is_empty() {
        body["channel"] = json!(input.key("channel"));
    }
    Call::json(input.webhook.url.clone(), &body)
}

fn plain(text: &str, limit: usize) -> Value {
    json!({"type": "plain_text", "text": shorten(text, limit), "emoji": false})
}

/// Escapes the three characters that begin links, mentions and entities. Others can at most cause
/// bold text.
fn character(c: char, out: &mut String) {
    match c {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        c => out.push(c),
    }
}

fn link_character(c: char, out: &mut String) {
    match c {
        '|' => out.push_str("%7C"),
        '<' => out.push_str("%3C"),
        '>' => out.push_str("%3E"),
        c if c.is_whitespace() => out.push_str("%20"),
        c => character(c, out),
    }
}
