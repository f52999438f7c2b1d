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
    let header = |(name, value): &(String, Secret)| {
        // Already validated with the configuration. A value that is not a template is used as is.
        let filled = Template::parse(value.expose(), Syntax::Header).map(|t| t.fill(&values));
        (
            name.clone(),
            filled.map_or_else(|_| value.clone(), Secret::new),
        )
    };
    let filled_url = |url: &str| Template::parse(url, Syntax::Url).map(|t| t.fill(&values));
    Call {
        method: if webhook.key("method") == "PUT" {
            "PUT"
        } else {
            "POST"
        },
        // Already validated with the configuration.
        url: filled_url(webhook.url.expose()).map_or_else(|_| webhook.url.clone(), Secret::new),
        headers: webhook.headers.iter().map(header).collect(),
        content_type: webhook.content_type().to_owned(),
        body: webhook
            .template
            .as_ref()
            .map(|t| t.fill(&values))
            .unwrap_or_default(),
    }
}
