//! Silences. The middleware has checked the token; the pipeline records a change before the
//! response is sent.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::command::{Command, ReplySender};
use crate::config::{Settings, duration};
use crate::web::View;
use crate::web::middleware::MayWrite;
use crate::web::problem::Problem;
use llmwatch_core::model::{EndpointName, Provider, Silence, Timestamp};

/// The length limit of names and notes, in bytes.
const LONGEST: usize = 1000;

/// A new silence. Without endpoints, providers and groups it covers everything.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct NewSilence {
    /// When it ends; or give `for`.
    until: Option<Timestamp>,
    /// How long it lasts, such as `2h` or `1h30m`; or give `until`.
    #[schema(pattern = "^([1-9][0-9]{0,3}[mhd]){1,3}$")]
    r#for: Option<String>,
    /// Only these endpoints.
    endpoints: Vec<EndpointName>,
    /// Only these providers.
    providers: Vec<Provider>,
    /// Only these groups.
    groups: Vec<String>,
    /// Who creates it.
    by: String,
    /// Why.
    note: String,
}

/// Which silence.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Its id.
    id: Uuid,
}

/// The active silences.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Silences {
    /// In the order of their creation.
    silences: Vec<Silence>,
}

/// The active silences.
#[utoipa::path(get, path = "/api/v1/silences", operation_id = "silences", responses((status = 200, body = Silences)))]
pub(super) async fn silences(State(view): State<View>) -> Json<Silences> {
    Json(Silences {
        silences: view.snapshot.borrow().silences.clone(),
    })
}

/// Begins a silence. Needs the token.
#[utoipa::path(post, path = "/api/v1/silences", operation_id = "silence", request_body = NewSilence,
    responses((status = 201, body = Silence)))]
pub(super) async fn silence(
    _: MayWrite,
    State(view): State<View>,
    body: Bytes,
) -> Result<(StatusCode, Json<Silence>), Problem> {
    let wanted: NewSilence = body_of(&body)?;
    let now = (view.wall)();
    let until = match (wanted.until, &wanted.r#for) {
        (Some(until), None) => until,
        (None, Some(length)) => {
            now + duration(length).map_err(|why| {
                Problem::bad_request(format!("`for` is not a valid duration: {why}"))
            })?
        }
        _ => {
            return Err(Problem::bad_request(
                "give `until` (RFC 3339) or `for` (such as `2h`)",
            ));
        }
    };
    if until <= now {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "the silence would be over already",
        ));
    }
    let config = view.config.borrow().clone();
    check_scope(&config, &wanted.endpoints, &wanted.groups)?;
    let silence = Silence {
        id: Uuid::now_v7(),
        created_at: now,
        until,
        by: short(&wanted.by),
        note: short(&wanted.note),
        endpoints: wanted.endpoints,
        providers: wanted.providers,
        groups: wanted.groups,
    };
    let silence = ask(&view, |reply| Command::CreateSilence(silence, reply)).await?;
    Ok((StatusCode::CREATED, Json(silence)))
}

/// Checks that the configuration has these endpoints and groups.
pub(super) fn check_scope(
    config: &Settings,
    endpoints: &[EndpointName],
    groups: &[String],
) -> Result<(), Problem> {
    let is_endpoint = |name: &EndpointName| config.endpoints.iter().any(|e| e.name == *name);
    let is_group = |name: &String| {
        config
            .endpoints
            .iter()
            .any(|e| e.group.as_ref() == Some(name))
    };
    if let Some(name) = endpoints.iter().find(|name| !is_endpoint(name)) {
        let name = name.escape_debug();
        return Err(Problem::not_found(format!("there is no endpoint `{name}`")));
    }
    if let Some(name) = groups.iter().find(|name| !is_group(name)) {
        let name = name.escape_debug();
        return Err(Problem::not_found(format!("there is no group `{name}`")));
    }
    Ok(())
}

/// Ends a silence early. Needs the token.
#[utoipa::path(delete, path = "/api/v1/silences/{id}", operation_id = "unsilence",
    params(("id" = Uuid, Path, description = "The silence's id")), responses((status = 200, body = Silence)))]
pub(super) async fn unsilence(
    _: MayWrite,
    State(view): State<View>,
    Path(id): Path<Uuid>,
) -> Result<Json<Silence>, Problem> {
    end(&view, id).await
}

async fn end(view: &View, id: Uuid) -> Result<Json<Silence>, Problem> {
    let ended = ask(view, |reply| Command::ExpireSilence(id, reply)).await?;
    ended
        .map(Json)
        .ok_or_else(|| Problem::not_found("there is no such silence, or it is over"))
}

/// The same, with the id as a parameter.
#[utoipa::path(delete, path = "/api/v1/silences", operation_id = "unsilence_which", params(Which),
    responses((status = 200, body = Silence)))]
pub(super) async fn unsilence_which(
    _: MayWrite,
    State(view): State<View>,
    Query(which): Query<Which>,
) -> Result<Json<Silence>, Problem> {
    end(&view, which.id).await
}

/// Parses the body as JSON; an empty one is the default.
pub(super) fn body_of<T: Default + for<'a> Deserialize<'a>>(body: &[u8]) -> Result<T, Problem> {
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body).map_err(|error| {
        let error = error.to_string();
        if error.starts_with("unknown field `comment`") {
            return Problem::bad_request("`comment` is now `note`".to_owned());
        }
        Problem::bad_request(format!("invalid body: {error}"))
    })
}

/// Returns one line of limited length without control characters.
pub(super) fn short(text: &str) -> String {
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    line.trim()[..line.trim().floor_char_boundary(LONGEST)].to_owned()
}

pub(super) async fn ask<T>(
    view: &View,
    command: impl FnOnce(ReplySender<T>) -> Command,
) -> Result<T, Problem> {
    view.commands
        .request(command)
        .await
        .map_err(|stopping| Problem::new(StatusCode::SERVICE_UNAVAILABLE, stopping.to_string()))
}
