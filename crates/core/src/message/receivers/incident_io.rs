//! incident.io's HTTP alert source. The incident is the deduplication key, so a resolve matches its
//! alert.
//!
//! <https://api-docs.incident.io/tag/Alert-Events-V2>

use serde_json::{Map, json};

use super::shorten::{escaped, shorten};
use super::{Call, FormatInput, escape_markdown};
use crate::message::render::clean;
use crate::model::Secret;

/// The default base URL.
pub(super) const ADDRESS: &str = "https://api.incident.io";
const TITLE: usize = 250;
const DESCRIPTION: usize = 10_000;
const METADATA: usize = 500;

pub(super) fn call(input: &FormatInput<'_>) -> Call {
    let mut metadata = Map::new();
    if let Some(incident) = &input.notice.incident {
        for (name, value) in [
            ("provider", incident.provider.to_string()),
            ("endpoints", incident.endpoints.join(", ")),
            ("cause", incident.cause.to_string()),
            ("attribution", incident.attribution.to_string()),
            ("status", incident.status.as_str().to_owned()),
        ] {
            metadata.insert(name.to_owned(), json!(shorten(&clean(&value), METADATA)));
        }
    }
    let mut body = json!({
        "title": shorten(&input.message.subject, TITLE),
        "description": escaped(&input.text("\n\n"), DESCRIPTION, escape_markdown),
        "deduplication_key": input.dedup_key(),
        "status": if input.is_over() { "resolved" } else { "firing" },
        "metadata": metadata,
    });
    if let Some(url) = input.link() {
        body["source_url"] = json!(url);
    }
    let path = format!("/v2/alert_events/http/{}", input.key("source"));
    Call::json(Secret::new(input.url(&path)), &body)
        .with_header("authorization", format!("Bearer {}", input.key("token")))
}
