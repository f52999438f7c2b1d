//! Google Chat: a line of text for the notification, and a card. One thread per incident.
//!
//! <https://developers.google.com/workspace/chat/api/reference/rest/v1/spaces.messages>

use serde_json::json;
use url::Url;

use super::shorten::escaped;
use super::{Call, Material};
use crate::model::Secret;

const TEXT: usize = 4096;
/// The longest paragraph: all of them stay far below the 32 KB of a message, and the line in its 4096.
const PARAGRAPH: usize = 2000;

pub(super) fn call(material: &Material<'_>) -> Call {
    let message = &material.message;
    let mut widgets: Vec<_> = message
        .paragraphs()
        .iter()
        .map(|(heading, text)| {
            let heading = escaped(heading, 100, markup);
            json!({"textParagraph": {"text": format!("<b>{heading}</b><br>{}", escaped(text, PARAGRAPH, markup))}})
        })
        .collect();
    let buttons: Vec<_> = message
        .links
        .iter()
        .map(|(name, url)| json!({"text": name, "onClick": {"openLink": {"url": url}}}))
        .collect();
    if !buttons.is_empty() {
        widgets.push(json!({"buttonList": {"buttons": buttons}}));
    }
    let body = json!({
        "text": escaped(&message.subject, TEXT, literal),
        "cardsV2": [{"cardId": material.notice.id, "card": {"sections": [{"widgets": widgets}]}}],
        "thread": {"threadKey": material.dedup_key()},
    });
    let written = material.webhook.url.expose();
    let url = Url::parse(written).map_or_else(
        |_| written.to_owned(),
        |mut url| {
            url.query_pairs_mut()
                .append_pair("messageReplyOption", "REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD");
            url.into()
        },
    );
    Call::json(Secret::new(url), &body)
}

/// For a card, which knows a small HTML.
fn markup(c: char, out: &mut String) {
    match c {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '\n' => out.push_str("<br>"),
        c => out.push(c),
    }
}

/// For a message's text, which knows no escape: what begins mentions, links and formats is written with a character that
/// only looks like it.
fn literal(c: char, out: &mut String) {
    out.push(match c {
        '<' => '‹',
        '>' => '›',
        '*' => '∗',
        '~' => '∼',
        '`' => '\'',
        c => c,
    });
}
