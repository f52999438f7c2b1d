//! A user-defined body and headers. A template has the values of the generic webhook's body, plus
//! `subject` and `text` of the mail.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Call, FormatInput};
use crate::config::{Syntax, Template};
use crate::message::render::{self, RenderContext};
use crate::message::test_notice::sample_notice;
use crate::message::values::Locale;
use crate::model::{NoticeKind, Secret, Timestamp};

/// Paths of a message that a sample of an opened incident lacks; below them, anything may be.
const OCCASIONAL: [&str; 18] = [
    "alone",
    "data.alone",
    "data.changes",
    "data.condition",
    "data.confirm_url",
    "data.details",
    "data.drill",
    "data.incident.alone",
    "data.incident.evidence.samples.0.answer",
    "data.incident.explained_by",
    "data.incident.explains",
    "data.incident.new_normal",
    "data.incident.reached_from",
    "data.incident.recovered",
    "data.incident.removed",
    "data.instead_of",
    "data.text",
    "data.title",
];

/// Returns the placeholders of `templates` that are empty in every message.
pub fn unknown_placeholders<'a>(templates: impl IntoIterator<Item = &'a Template>) -> Vec<String> {
    let values = known_values();
    let paths = templates.into_iter().flat_map(Template::paths);
    paths
        .filter(|path| !exists(&values, path))
        .map(str::to_owned)
        .collect()
}

/// Returns a message with a value, or null, at every path that a message can have.
fn known_values() -> Value {
    let locale = Locale::default();
    let now = Timestamp::default();
    let notice = sample_notice(NoticeKind::Opened, Uuid::nil(), "", None, now, &locale);
    let context = RenderContext {
        locale,
        now,
        acknowledge_url: None,
        confirm_url: None,
    };
    let mut values = render::json(&notice, context);
    values["subject"] = json!("");
    values["text"] = json!("");
    for path in OCCASIONAL {
        let at = format!("/{}", path.replace('.', "/"));
        if values.pointer(&at).is_none()
            && let Some((parent, key)) = at.rsplit_once('/')
            && let Some(parent) = values.pointer_mut(parent)
        {
            parent[key] = Value::Null;
        }
    }
    values
}

/// Reports whether a message may have a value at `path`: anything may be below what the sample has
/// not filled in.
fn exists(values: &Value, path: &str) -> bool {
    let mut value = values;
    for step in path.split('.') {
        value = match value {
            Value::Null => return true,
            Value::Array(items) => match items.first() {
                Some(first) if step.parse::<usize>().is_ok() => first,
                first => return first.is_none() && step.parse::<usize>().is_ok(),
            },
            Value::Object(fields) => match fields.get(step) {
                Some(value) => value,
                // A map of free names, such as the labels, is empty in the sample.
                None => return fields.is_empty(),
            },
            _ => return false,
        };
    }
    true
}

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
fn filled(text: &Secret, syntax: Syntax, values: &Value) -> Secret {
    match Template::parse(text.expose(), syntax) {
        Ok(template) => Secret::new(template.fill(values)),
        Err(_) => text.clone(),
    }
}
