//! Drills: starting, receipts and confirmations. The middleware has checked the token.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::silences::{ask, body_of, short};
use crate::command::Command;
use crate::store::OutboxRow;
use crate::web::View;
use crate::web::middleware::MayWrite;
use crate::web::problem::Problem;
use crate::web::reader::Reader;
use crate::web::traffic::RouteDrill;
use llmwatch_core::alerting::DrillConfirmation;
use llmwatch_core::model::{ChannelName, DrillMessage, Timestamp};

/// A drill of channels.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct NewDrill {
    /// The channels; those of `[drill]` if there are none, else all.
    channels: Vec<ChannelName>,
}

/// A drill of a route.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct NewRouteDrill {
    /// The group whose first choice is marked down.
    group: String,
}

/// Who confirms.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct NewConfirmation {
    /// Who confirms.
    by: String,
}

/// Which drill, or which message of one.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct Identified {
    /// The id of the drill, or of a notification of it.
    id: Uuid,
}

/// The receipt of a drill's message on one channel.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Receipt {
    #[serde(flatten)]
    message: DrillMessage,
    /// When the receiver accepted it.
    accepted_at: Option<Timestamp>,
    /// `pending`, `sent`, `failed`, `expired` or `dropped`.
    state: String,
    /// Attempts made so far.
    attempts: u32,
    /// What went wrong last.
    error: Option<String>,
}

/// A drill and what became of its messages.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Receipts {
    /// The drill's id.
    id: Uuid,
    /// One for each channel.
    receipts: Vec<Receipt>,
}

/// Starts a drill: a simulated outage passes through the detector, the outbox and the channels.
/// Needs the token.
#[utoipa::path(post, path = "/api/v1/drills", operation_id = "drill", request_body = NewDrill,
    responses((status = 201, body = Receipts), (status = 409, description = "It cannot be started now")))]
pub(super) async fn start(
    _: MayWrite,
    State(view): State<View>,
    body: Bytes,
) -> Result<(StatusCode, Json<Receipts>), Problem> {
    let new: NewDrill = body_of(&body)?;
    let messages = ask(&view, |reply| Command::Drill(new.channels, reply)).await?;
    let messages = messages.map_err(|why| Problem::new(StatusCode::CONFLICT, why))?;
    Ok((StatusCode::CREATED, Json(receipts(&view, messages).await?)))
}

/// The receipts of a drill's messages; empty for an unknown drill.
#[utoipa::path(get, path = "/api/v1/drills/{id}", operation_id = "drill_receipts", params(Identified),
    responses((status = 200, body = Receipts)))]
pub(super) async fn show(
    State(view): State<View>,
    reader: Reader,
    Path(Identified { id }): Path<Identified>,
) -> Result<Json<Receipts>, Problem> {
    let snapshot = view.snapshot.borrow().clone();
    let messages = snapshot.drills.messages.iter().filter(|m| m.drill == id);
    let messages: Vec<_> = messages.cloned().collect();
    let mut drill = Receipts {
        id,
        ..receipts(&view, messages).await?
    };
    if !reader.sees_recipients() {
        drill.receipts.iter_mut().for_each(|r| r.error = None);
    }
    Ok(Json(drill))
}

/// Confirms that a person has received the message of a drill. Needs the token; the link in the
/// message does not.
#[utoipa::path(post, path = "/api/v1/drills/{id}/confirm", operation_id = "confirm_drill", params(Identified),
    request_body = NewConfirmation, responses((status = 200, body = DrillMessage)))]
pub(super) async fn confirm(
    _: MayWrite,
    State(view): State<View>,
    Path(Identified { id }): Path<Identified>,
    body: Bytes,
) -> Result<Json<DrillMessage>, Problem> {
    let new: NewConfirmation = body_of(&body)?;
    let by = short(&new.by);
    match ask(&view, |reply| Command::ConfirmDrill(id, by, reply)).await? {
        DrillConfirmation::Confirmed(message) | DrillConfirmation::Already(message) => {
            Ok(Json(message))
        }
        DrillConfirmation::Unknown => Err(Problem::not_found(
            "there is no drill message with this id; the message contains it",
        )),
    }
}

/// Marks the first choice of a group down for a minute, for `/api/v1/route` and agent checks only.
/// Needs the token.
#[utoipa::path(post, path = "/api/v1/drills/route", operation_id = "drill_route", request_body = NewRouteDrill,
    responses((status = 201, body = RouteDrill), (status = 409, description = "It would leave the group without an endpoint")))]
pub(super) async fn start_route(
    _: MayWrite,
    State(view): State<View>,
    body: Bytes,
) -> Result<(StatusCode, Json<RouteDrill>), Problem> {
    let new: NewRouteDrill = body_of(&body)?;
    let snapshot = view.snapshot.borrow().clone();
    let config = view.config.borrow().clone();
    let wanted = RouteDrill::new(&new.group, &config, &snapshot, (view.wall)())?;
    let traffic = view.traffic.clone();
    let begun = wanted.clone();
    let stored = tokio::task::spawn_blocking(move || traffic.start_drill(begun)).await;
    match stored {
        Ok(Ok(())) => Ok((StatusCode::CREATED, Json(wanted))),
        Ok(Err(error)) => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("the end of the drill cannot be stored, so none was started: {error}"),
        )),
        Err(_) => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the daemon is stopping",
        )),
    }
}

async fn receipts(view: &View, messages: Vec<DrillMessage>) -> Result<Receipts, Problem> {
    let ids: Vec<_> = messages.iter().map(|m| m.notification).collect();
    let rows = view
        .store
        .run_blocking(move |store| store.outbox_rows_of(&ids))
        .await?;
    let receipt = |message: DrillMessage| {
        let row = rows.iter().find(|r| r.id == message.notification);
        let sent = row.filter(|r| r.state == "sent");
        Receipt {
            accepted_at: sent.and_then(|r| r.ended_at),
            state: row.map_or_else(|| "pending".to_owned(), |r: &OutboxRow| r.state.clone()),
            attempts: row.map_or(0, |r| r.attempts),
            error: row.and_then(|r| r.error.clone()),
            message,
        }
    };
    Ok(Receipts {
        id: messages.first().map(|m| m.drill).unwrap_or_default(),
        receipts: messages.into_iter().map(receipt).collect(),
    })
}
