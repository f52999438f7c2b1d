//! Opsgenie's Alert API. The incident is the alias, so repeats are deduplicated and a resolve
//! closes the alert.
//!
//! <https://docs.opsgenie.com/docs/alert-api>
//! <https://developer.atlassian.com/cloud/jira/service-desk-ops/rest/v2/api-group-integration-events/>

use serde_json::{Map, json};
use url::Url;

use super::shorten::shorten;
use super::{Call, FormatInput, Urgency};
use crate::message::render::clean;
use crate::model::{NoticeKind, Secret};

/// The default base URL.
pub(super) const ADDRESS: &str = "https://api.opsgenie.com";
/// The base URL of Jira Service Management, which has the same API below it.
pub(super) const JSM_ADDRESS: &str = "https://api.atlassian.com/jsm/ops/integration/v2/alerts";
const MESSAGE: usize = 130;
const DESCRIPTION: usize = 15_000;
const NOTE: usize = 25_000;
const ALIAS: usize = 512;
/// All details together are limited to 8000 characters.
const DETAIL: usize = 500;

pub(super) fn call(input: &FormatInput<'_>) -> Call {
    let message = &input.message;
    let alias = shorten(&input.dedup_key(), ALIAS);
    let alerts = input.url("/v2/alerts");
    let text: Vec<_> = message
        .paragraphs()
        .iter()
        .map(|(heading, text)| format!("{heading}\n{text}"))
        .collect();
    let text = format!("{}\n\n{}", message.subject, text.join("\n\n"));
    let (url, body) = if input.is_over() || input.notice.kind == NoticeKind::Updated {
        let action = if input.is_over() { "close" } else { "notes" };
        (
            below(&alerts, &alias, action),
            json!({"source": "llmwatch", "note": shorten(&text, NOTE)}),
        )
    } else {
        let priority = match (input.key("priority"), input.urgency()) {
            ("", Urgency::High) => "P1",
            ("", Urgency::Low) => "P3",
            ("", Urgency::Info) => "P5",
            (written, _) => written,
        };
        let mut details = Map::new();
        if let Some(incident) = &input.notice.incident {
            for (name, value) in [
                ("provider", incident.provider.to_string()),
                ("endpoints", incident.endpoints.join(", ")),
                ("cause", incident.cause.to_string()),
                ("attribution", incident.attribution.to_string()),
                ("status", incident.status.as_str().to_owned()),
            ] {
                details.insert(name.to_owned(), json!(shorten(&clean(&value), DETAIL)));
            }
        }
        if let Some(url) = input.link() {
            details.insert("url".to_owned(), json!(shorten(url, DETAIL)));
        }
        let body = json!({
            "message": shorten(&message.subject, MESSAGE),
            "alias": alias,
            "description": shorten(&text, DESCRIPTION),
            "priority": priority,
            "source": "llmwatch",
            "entity": shorten(&clean(&input.notice.subject), ALIAS),
            "tags": ["llmwatch"],
            "details": details,
        });
        (alerts, body)
    };
    let key = match input.key("api_key") {
        "" => input.key("token"),
        key => key,
    };
    Call::json(Secret::new(url), &body).with_header("authorization", format!("GenieKey {key}"))
}

/// Returns `<alerts>/<alias>/<action>?identifierType=alias`, with the alias percent-encoded.
fn below(alerts: &str, alias: &str, action: &str) -> String {
    let Ok(mut url) = Url::parse(alerts) else {
        return alerts.to_owned();
    };
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().push(alias).push(action);
    }
    url.query_pairs_mut().append_pair("identifierType", "alias");
    url.into()
}
