//! Mattermost's incoming webhooks, in Markdown.
//!
//! <https://developers.mattermost.com/integrate/webhooks/incoming/>

use serde_json::json;

use super::shorten::{escaped, fitting};
use super::{Call, FormatInput};

/// The maximum length of a post.
const POST: usize = 16_383;
const PARAGRAPH: usize = 3000;

pub(super) fn call(input: &FormatInput<'_>) -> Call {
    let message = &input.message;
    let mut parts = vec![format!(
        "#### {}",
        escaped(&message.subject, PARAGRAPH, character)
    )];
    parts.extend(
        message.paragraphs().iter().map(|(heading, text)| {
            format!("**{heading}**\n{}", escaped(text, PARAGRAPH, character))
        }),
    );
    let link = input
        .link()
        .map(|url| format!("<{}>", escaped(url, 1000, link_character)));
    let mut body = json!({
        "text": fitting(&parts, link.as_deref(), "\n\n", POST),
        "username": "llmwatch",
    });
    if !input.key("channel").is_empty() {
        body["channel"] = json!(input.key("channel"));
    }
    Call::json(input.webhook.url.clone(), &body)
}

/// Escapes Mattermost's Markdown. Some characters accept a backslash; Mattermost shows the
/// backslash before any other. The rest are written as HTML entities or followed by a word joiner.
fn character(c: char, out: &mut String) {
    match c {
        '@' | ':' => {
            out.push(c);
            out.push('\u{2060}');
        }
        // Keep line breaks.
        '\n' => out.push_str("  \n"),
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '\\' => out.push_str("&#92;"),
        '$' => out.push_str("&#36;"),
        '`' | '*' | '{' | '}' | '[' | ']' | '(' | ')' | '#' | '+' | '!' | '_' | '>' | '|' | '~' => {
            out.push('\\');
            out.push(c);
        }
        c => out.push(c),
    }
}

fn link_character(c: char, out: &mut String) {
    match c {
        '<' => out.push_str("%3C"),
        '>' => out.push_str("%3E"),
        c if c.is_whitespace() => out.push_str("%20"),
        c => out.push(c),
    }
}
