//! Matrix: one `m.room.message` through the client-server API, as plain text and as Matrix's HTML
//! subset. The notification ID is the transaction ID, so a retry is not shown twice.
//!
//! <https://spec.matrix.org/latest/client-server-api/#put_matrixclientv3roomsroomidsendeventtypetxnid>

use serde_json::json;
use url::Url;

use super::shorten::{escaped, fitting, shorten_bytes};
use super::{Call, FormatInput};
use crate::model::Secret;

/// An event is limited to 65,536 bytes, including what the server adds. JSON escapes take up to six
/// bytes per character.
const TEXT: usize = 6000;
const HTML: usize = 12_000;
const PARAGRAPH: usize = 2000;

pub(super) fn call(input: &FormatInput<'_>) -> Call {
    let message = &input.message;
    let mut html = vec![format!(
        "<strong>{}</strong>",
        escaped(&message.subject, PARAGRAPH, character)
    )];
    html.extend(message.paragraphs().iter().map(|(heading, text)| {
        format!(
            "<em>{}</em><br>{}",
            escaped(heading, 100, character),
            escaped(text, PARAGRAPH, character)
        )
    }));
    let link = input
        .link()
        .map(|url| format!("<a href=\"{0}\">{0}</a>", escaped(url, 1000, character)));
    let text = format!("{}\n\n{}", message.subject, input.text("\n\n"));
    let body = json!({
        "msgtype": "m.text",
        "body": shorten_bytes(&text, TEXT),
        "format": "org.matrix.custom.html",
        "formatted_body": fitting(&html, link.as_deref(), "<br><br>", HTML),
        // Disable mentions, whatever the text contains.
        "m.mentions": {},
    });
    let id = input.notice.id.to_string();
    Call::json(address(input, &id), &body)
        .with_method("PUT")
        .with_header("authorization", format!("Bearer {}", input.key("token")))
}

fn address(input: &FormatInput<'_>, id: &str) -> Secret {
    let written = &input.webhook.url;
    let Ok(mut url) = Url::parse(written.expose()) else {
        return written.clone();
    };
    let parts = [
        "_matrix",
        "client",
        "v3",
        "rooms",
        input.key("room"),
        "send",
        "m.room.message",
        id,
    ];
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(parts);
    }
    Secret::new(url)
}

fn character(c: char, out: &mut String) {
    match c {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '"' => out.push_str("&quot;"),
        '\n' => out.push_str("<br>"),
        c => out.push(c),
    }
}
