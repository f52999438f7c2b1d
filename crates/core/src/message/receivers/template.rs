//! A user-defined body and headers. A template has the values of the generic webhook's body, plus
//! `subject` and `text` of the mail.

use serde_json::json;

use super::{Call, FormatInput};
use crate::config::{Syntax, Template};
use crate::message::render;
use crate::model::Secret;

pub(super) fn call(input: &FormatInput<'_>) -> Call {
    let webhook = input.webhook;
    let mut values = render::json(input.notice, input.context);
    values["subject"] = json!(input.message.subject);
    values["text"] = json!(render::text(input.notice, input.context));
    let mut headers = Vec::new();
    for (name, value) in &webhook.headers {
        headers.push((name.clone(), filled(value, Syntax::Header, &values)));
    }
    Call {
        method: if webhook.key("method") == "PUT" {
            "PUT"
        } else {
            "POST"
        },
        url: filled(&webhook.url, Syntax::Url, &values),
        headers,
        content_type: webhook.content_type().to_owned(),
        body: webhook
            .template
            .as_ref()
            .map(|t| t.fill(&values))
            .unwrap_or_default(),
    }
}

/// Fills in a template, which was validated with the configuration. A text that is no template is
/// used as it is.
fn filled(text: &Secret, syntax: Syntax, values: &serde_json::Value) -> Secret {
    match Template::parse(text.expose(), syntax) {
        Ok(template) => Secret::new(template.fill(values)),
        Err(_) => text.clone(),
    }
}
