//! Google Chat: a line of text for the notification, and a card. One thread per incident.
//!
//! <https://developers.google.com/workspace/chat/api/reference/rest/v1/spaces.messages>

use serde_json::{Value, json};
use url::Url;

use super::shorten::{escaped, shorten};
use super::{Call, FormatInput};
use crate::model::Secret;

const TEXT: usize = 4096;
/// The maximum message size, card included, in bytes of JSON.
const MESSAGE: usize = 32_000;
/// The maximum length of a thread key.
const THREAD_KEY: usize = 4000;
/// The maximum length of a button's URL, in bytes; longer ones get no button.
const URL: usize = 2000;
/// The maximum paragraph length, in UTF-16 units. A shorter one is tried while the message is too
/// long, because a unit can be three bytes.
const PARAGRAPHS: [usize; 5] = [2000, 1000, 500, 250, 60];

pub(super) fn call(input: &FormatInput<'_>) -> Call {
    let written = input.webhook.url.expose();
    let url = Url::parse(written).map_or_else(
        |_| written.to_owned(),
        |mut url| {
            url.query_pairs_mut()
                .append_pair("messageReplyOption", "REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD");
            url.into()
        },
    );
    let [longest, shorter @ ..] = PARAGRAPHS;
    let mut body = message(input, longest);
    for limit in shorter {
        if body.to_string().len() <= MESSAGE {
            break;
        }
        body = message(input, limit);
    }
    while body.to_string().len() > MESSAGE && drop_paragraph(&mut body) {}
    Call::json(Secret::new(url), &body)
}

/// Removes the last paragraph of the card; returns `false` if there is none left.
fn drop_paragraph(body: &mut Value) -> bool {
    let widgets = body.pointer_mut("/cardsV2/0/card/sections/0/widgets");
    let Some(widgets) = widgets.and_then(Value::as_array_mut) else {
        return false;
    };
    let last = widgets
        .iter()
        .rposition(|w| w.get("textParagraph").is_some());
    last.map(|at| widgets.remove(at)).is_some()
}

/// Builds the message with paragraphs of at most `limit` units each.
fn message(input: &FormatInput<'_>, limit: usize) -> Value {
    let message = &input.message;
    let mut widgets: Vec<_> = message
        .paragraphs()
        .iter()
        .map(|(heading, text)| {
            let heading = escaped(heading, 100, markup);
            let text = escaped(text, limit, markup);
            json!({"textParagraph": {"text": format!("<b>{heading}</b><br>{text}")}})
        })
        .collect();
    let buttons: Vec<_> = message
        .links
        .iter()
        .filter(|(_, url)| url.len() <= URL)
        .map(|(name, url)| json!({"text": name, "onClick": {"openLink": {"url": url}}}))
        .collect();
    if !buttons.is_empty() {
        widgets.push(json!({"buttonList": {"buttons": buttons}}));
    }
    json!({
        "text": escaped(&message.subject, TEXT.min(limit * 4), literal),
        "cardsV2": [{"cardId": input.notice.id, "card": {"sections": [{"widgets": widgets}]}}],
        "thread": {"threadKey": shorten(&input.dedup_key(), THREAD_KEY)},
    })
}

/// Escapes a character for a card, which supports a subset of HTML.
fn markup(c: char, out: &mut String) {
    match c {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '\n' => out.push_str("<br>"),
        c => out.push(c),
    }
}

/// Escapes a character for a message's text, which has no escape syntax. Characters that begin
/// mentions, links and formatting are replaced by lookalikes.
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
