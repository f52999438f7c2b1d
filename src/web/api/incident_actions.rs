//! Acknowledgements and notes. The middleware has checked the token; the pipeline records a change
//! before the response is sent.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::incidents::Numbered;
use super::silences::{ask, body_of, short};
use crate::command::Command;
use crate::web::View;
use crate::web::middleware::{LocalOnly, MayWrite};
use crate::web::problem::Problem;
use llmwatch_core::model::{Acknowledgement, Incident, Note};

/// Who acknowledges an incident, and why.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct NewAcknowledgement {
    /// Who acknowledges it.
    by: String,
    /// What they write about it.
    note: String,
}

/// A note about an incident.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct NewNote {
    /// The text: one line of at most 1000 bytes.
    #[schema(min_length = 1)]
    text: String,
    /// Who writes it.
    by: String,
}

/// Acknowledges an incident: reminders and escalations end. Needs the token.
#[utoipa::path(post, path = "/api/v1/incidents/{number}/ack", operation_id = "acknowledge", params(Numbered),
    request_body = NewAcknowledgement, responses((status = 200, body = Incident)))]
pub(super) async fn acknowledge(
    _: MayWrite,
    State(view): State<View>,
    Path(Numbered { number }): Path<Numbered>,
    body: Bytes,
) -> Result<Json<Incident>, Problem> {
    let new: NewAcknowledgement = body_of(&body)?;
    let acknowledgement = Acknowledgement {
        at: (view.wall)(),
        by: short(&new.by),
        note: short(&new.note),
    };
    ask(&view, |reply| {
        Command::Acknowledge(number, acknowledgement, reply)
    })
    .await?
    .map(Json)
    .ok_or_else(|| not_open(number))
}

/// Adds a note to an incident: the page shows it, and the next message carries it. Needs the token.
#[utoipa::path(post, path = "/api/v1/incidents/{number}/notes", operation_id = "note", params(Numbered),
    request_body = NewNote, responses((status = 201, body = Incident)))]
pub(super) async fn note(
    _: MayWrite,
    State(view): State<View>,
    Path(Numbered { number }): Path<Numbered>,
    body: Bytes,
) -> Result<(StatusCode, Json<Incident>), Problem> {
    let new: NewNote = body_of(&body)?;
    let note = Note {
        at: (view.wall)(),
        by: short(&new.by),
        text: short(&new.text),
    };
    if note.text.is_empty() {
        return Err(Problem::bad_request("the note has no text"));
    }
    let snapshot = view.snapshot.borrow().clone();
    let open = snapshot.incidents.iter().find(|i| i.number == number);
    if open.is_some_and(|i| i.notes.len() >= Note::MOST) {
        let detail = format!("incident {number} already has {} notes", Note::MOST);
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    ask(&view, |reply| Command::AddNote(number, note, reply))
        .await?
        .map(|incident| (StatusCode::CREATED, Json(incident)))
        .ok_or_else(|| not_open(number))
}

/// Commits all pending writes. Only over the control socket.
pub(super) async fn flush(_: LocalOnly, State(view): State<View>) -> Result<StatusCode, Problem> {
    ask(&view, Command::Flush).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Reloads the configuration. Only over the control socket.
pub(super) async fn reload(_: LocalOnly, State(view): State<View>) -> Result<StatusCode, Problem> {
    match view.reload.ask().await {
        Some(Ok(())) => Ok(StatusCode::NO_CONTENT),
        Some(Err(error)) => Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error)),
        None => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the daemon is not ready to reload".to_owned(),
        )),
    }
}

fn not_open(number: u64) -> Problem {
    Problem::not_found(format!("incident {number} is not open"))
}
