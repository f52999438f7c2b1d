//! A body and headers of the user's own making. A template sees the body of the generic webhook, and beside it `subject`
//! and `text`, the mail's.

use serde_json::json;

use super::{Call, Material};
use crate::config::{Syntax, Template};
use crate::message::render;
use crate::model::Secret;

pub(super) fn call(material: &Material<'_>) -> Call {
    let webhook = material.webhook;
    let mut values = render::json(material.notice, material.context);
    values["subject"] = json!(material.message.subject);
    values["text"] = json!(render::text(material.notice, material.context));
    let header = |(name, value): &(String, Secret)| {
        // Read before, when the configuration was: what is no template is a plain value.
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
        // Read before, when the configuration was.
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
