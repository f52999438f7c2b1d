//! The description of the API, made from the types that it serves.

use std::sync::LazyLock;

use axum::http::header;
use axum::response::IntoResponse;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{endpoints, incidents, people, route, statuspage};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "llmwatch",
        description = "What a synthetic uptime monitor of LLM APIs knows. Times are RFC 3339 in UTC, durations milliseconds \
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
        people::acknowledge,
        people::silences,
        people::silence,
        people::unsilence,
        people::unsilence_which,
        route::route,
        statuspage::summary,
        statuspage::status,
        statuspage::components,
        statuspage::incidents,
    ),
    modifiers(&Token)
)]
struct Description;

/// The token of `[web]`: needed where one is configured.
struct Token;

impl Modify for Token {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        openapi.components.get_or_insert_default().add_security_scheme("token", bearer);
    }
}

static DESCRIPTION: LazyLock<String> = LazyLock::new(|| Description::openapi().to_json().unwrap_or_default());

/// The description itself.
pub(super) async fn describe() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], DESCRIPTION.as_str())
}
