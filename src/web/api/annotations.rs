//! Notes that belong to no incident. The middleware has checked the token; the pipeline records one
//! before the response is sent.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::silences::{ask, body_of, check_scope, short};
use crate::command::Command;
use crate::web::View;
use crate::web::middleware::MayWrite;
use crate::web::problem::Problem;
use llmwatch_core::model::{Annotation, EndpointName, Provider};

/// A note that belongs to no incident. Without endpoints, providers and groups it is about
/// everything.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct NewAnnotation {
    /// The text: one line of at most 1000 bytes.
    #[schema(min_length = 1)]
    text: String,
    /// Who writes it.
    by: String,
    /// Only about these endpoints.
    endpoints: Vec<EndpointName>,
    /// Only about these providers.
    providers: Vec<Provider>,
    /// Only about these groups.
    groups: Vec<String>,
}

/// Adds a note that belongs to no incident, such as a deploy. The front page shows it for a day,
/// and the charts of its endpoints mark it. Needs the token.
#[utoipa::path(post, path = "/api/v1/annotations", operation_id = "annotate", request_body = NewAnnotation,
    responses((status = 201, body = Annotation)))]
pub(super) async fn annotate(
    _: MayWrite,
    State(view): State<View>,
    body: Bytes,
) -> Result<(StatusCode, Json<Annotation>), Problem> {
    let new: NewAnnotation = body_of(&body)?;
    let annotation = Annotation {
        at: (view.wall)(),
        by: short(&new.by),
        text: short(&new.text),
        endpoints: new.endpoints,
        providers: new.providers,
        groups: new.groups,
    };
    if annotation.text.is_empty() {
        return Err(Problem::bad_request("the note has no text"));
    }
    let config = view.config.borrow().clone();
    check_scope(&config, &annotation.endpoints, &annotation.groups)?;
    let annotation = ask(&view, |reply| Command::AddAnnotation(annotation, reply)).await?;
    Ok((StatusCode::CREATED, Json(annotation)))
}
