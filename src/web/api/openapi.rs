//! The OpenAPI description of the API, generated from its types.

use std::sync::LazyLock;

use axum::http::header;
use axum::response::IntoResponse;
use serde_json::{Value, json};
use utoipa::OpenApi;

use super::{
    annotations, drills, endpoints, incident_actions, incidents, route, silences, statuspage,
};
use crate::web::events;
use crate::web::problem::Problem;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "llmwatch",
        description = "The state of a synthetic uptime monitor for LLM APIs. Times are RFC 3339 in UTC, durations milliseconds \
                       where the name ends in `_ms`, seconds where it ends in `_s`."
    ),
    paths(
        super::status,
        endpoints::list,
        endpoints::one,
        endpoints::samples,
        endpoints::series,
        incidents::list,
        incidents::one,
        incident_actions::acknowledge,
        incident_actions::note,
        annotations::annotate,
        silences::silences,
        silences::silence,
        silences::unsilence,
        silences::unsilence_which,
        drills::start,
        drills::start_route,
        drills::show,
        drills::confirm,
        route::route,
        route::health,
        events::events,
        statuspage::summarize,
        statuspage::status,
        statuspage::components,
        statuspage::incidents,
    ),
    components(schemas(Problem))
)]
struct Description;

static DESCRIPTION: LazyLock<String> = LazyLock::new(|| {
    let mut description = serde_json::to_value(Description::openapi()).unwrap_or_default();
    complete(&mut description);
    description.to_string()
});

/// Adds what applies to every operation, and what the types cannot express.
fn complete(description: &mut Value) {
    let problem = json!({
        "description": "What is wrong, and what to do about it.",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    });
    for operations in objects(description.get_mut("paths")) {
        for (method, operation) in operations.as_object_mut().into_iter().flatten() {
            let summary = operation["summary"].clone();
            for response in objects(operation.get_mut("responses")) {
                if response["description"].as_str().is_none_or(str::is_empty) {
                    response["description"] = summary.clone();
                }
            }
            operation["responses"]["default"] = problem.clone();
            if method != "get" {
                operation["security"] = json!([{"token": []}]);
            }
        }
    }
    // Reading requires the token if one is configured.
    description["security"] = json!([{}, {"token": []}]);
    description["components"]["securitySchemes"] =
        json!({"token": {"type": "http", "scheme": "bearer"}});
    // Exactly one of the two.
    let given = |this: &str, other: &str| json!({"required": [this], "properties": {this: {"type": "string"}, other: {"type": "null"}}});
    description["components"]["schemas"]["NewSilence"]["oneOf"] =
        json!([given("until", "for"), given("for", "until")]);
}

fn objects(of: Option<&mut Value>) -> impl Iterator<Item = &mut Value> {
    of.and_then(Value::as_object_mut)
        .into_iter()
        .flat_map(|map| map.values_mut())
}

/// Serves the description.
pub(super) async fn describe() -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "application/json")],
        DESCRIPTION.as_str(),
    )
}
