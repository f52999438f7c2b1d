//! What people say: silences and acknowledgements. The guard has seen the token; the pipeline records what is said
//! before it is answered.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::incidents::Numbered;
use crate::config::duration;
use crate::model::Silence;
use crate::model::{Acknowledgement, Incident, Provider, Timestamp};
use crate::pipeline::Control;
use crate::web::View;
use crate::web::guard::MayWrite;
use crate::web::problem::Problem;

/// The longest name and note that is kept, in bytes.
const LONGEST: usize = 1000;

/// A silence as it is asked for. Without endpoints, providers and groups it holds for all.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Wish {
    /// When it ends; or give `for`.
    until: Option<Timestamp>,
    /// How long it holds, such as `2h` or `1h30m`; or give `until`.
    #[schema(pattern = "^([1-9][0-9]{0,3}[mhd]){1,3}$")]
    r#for: Option<String>,
    /// Only these endpoints.
    endpoints: Vec<String>,
    /// Only these providers.
    providers: Vec<Provider>,
    /// Only these groups.
    groups: Vec<String>,
    /// Who asks for it.
    by: String,
    /// Why.
    note: String,
}

/// Who is on an incident, and what they say about it.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Word {
    /// Who says it.
    by: String,
    /// What they say.
    note: String,
}

/// Which silence.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Its id.
    id: Uuid,
}

/// The silences that hold.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Silences {
    /// In the order in which they were asked for.
    silences: Vec<Silence>,
}

/// The silences that hold.
#[utoipa::path(get, path = "/api/v1/silences", operation_id = "silences", responses((status = 200, body = Silences)))]
pub(super) async fn silences(State(view): State<View>) -> Json<Silences> {
    Json(Silences {
        silences: view.snapshot.borrow().silences.clone(),
    })
}

/// Begins a silence. Needs the token.
#[utoipa::path(post, path = "/api/v1/silences", operation_id = "silence", request_body = Wish,
    responses((status = 201, body = Silence)))]
pub(super) async fn silence(
    _: MayWrite,
    State(view): State<View>,
    body: Bytes,
) -> Result<(StatusCode, Json<Silence>), Problem> {
    let wish: Wish = said(&body)?;
    let now = (view.wall)();
    let until = match (wish.until, &wish.r#for) {
        (Some(until), None) => until,
        (None, Some(length)) => {
            now + duration(length)
                .map_err(|why| Problem::bad_request(format!("`for` is no length of time: {why}")))?
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
    if let Some(name) = wish
        .endpoints
        .iter()
        .find(|n| !config.endpoints.iter().any(|e| e.name == **n))
    {
        return Err(Problem::not_found(format!(
            "there is no endpoint `{}`",
            name.escape_debug()
        )));
    }
    if let Some(name) = wish.groups.iter().find(|g| {
        !config
            .endpoints
            .iter()
            .any(|e| e.group.as_ref() == Some(*g))
    }) {
        return Err(Problem::not_found(format!(
            "there is no group `{}`",
            name.escape_debug()
        )));
    }
    let silence = Silence {
        id: Uuid::now_v7(),
        created_at: now,
        until,
        by: short(&wish.by),
        note: short(&wish.note),
        endpoints: wish.endpoints,
        providers: wish.providers,
        groups: wish.groups,
    };
    let silence = ask(&view, |reply| Control::Silence(silence, reply)).await?;
    Ok((StatusCode::CREATED, Json(silence)))
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
    let ended = ask(view, |reply| Control::Unsilence(id, reply)).await?;
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

/// Says that somebody is on an incident: reminders and escalations end. Needs the token.
#[utoipa::path(post, path = "/api/v1/incidents/{number}/ack", operation_id = "acknowledge", params(Numbered),
    request_body = Word, responses((status = 200, body = Incident)))]
pub(super) async fn acknowledge(
    _: MayWrite,
    State(view): State<View>,
    Path(Numbered { number }): Path<Numbered>,
    body: Bytes,
) -> Result<Json<Incident>, Problem> {
    let word: Word = said(&body)?;
    let word = Acknowledgement {
        at: (view.wall)(),
        by: short(&word.by),
        note: short(&word.note),
    };
    let incident = ask(&view, |reply| Control::Acknowledge(number, word, reply)).await?;
    incident
        .map(Json)
        .ok_or_else(|| Problem::not_found(format!("no incident of number {number} goes on")))
}

/// What the body says; an empty one says nothing.
fn said<T: Default + for<'a> Deserialize<'a>>(body: &[u8]) -> Result<T, Problem> {
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body).map_err(|error| {
        let error = error.to_string();
        if error.starts_with("unknown field `comment`") {
            return Problem::bad_request("`comment` is now `note`".to_owned());
        }
        Problem::bad_request(format!("the body is not as expected: {error}"))
    })
}

/// One line of bounded length without control characters.
fn short(text: &str) -> String {
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    line.trim()[..line.trim().floor_char_boundary(LONGEST)].to_owned()
}

async fn ask<T>(
    view: &View,
    control: impl FnOnce(oneshot::Sender<T>) -> Control,
) -> Result<T, Problem> {
    let stopping = || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping");
    let (reply, answer) = oneshot::channel();
    view.controls
        .send(control(reply))
        .await
        .map_err(|_| stopping())?;
    answer.await.map_err(|_| stopping())
}
