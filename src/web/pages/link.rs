//! The pages of one-click links: GET shows one button and changes nothing, since mail scanners follow links; POST acts.

use askama::Template;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use uuid::Uuid;

use super::{Frame, View, class, html, subscribe};
use crate::command::Command;
use crate::links::{Action, LinkError};
use crate::store::StoreError;
use crate::web::format;
use crate::web::reader::Reader;
use llmwatch_core::alerting::Confirmation;
use llmwatch_core::model::{Acknowledgement, DrillMessage, Incident};

/// What is written as the name of somebody who used a link.
const BY_LINK: &str = "link";

#[derive(Template)]
#[template(path = "pages/link.html")]
struct LinkPage {
    frame: Frame,
    class: &'static str,
    sentence: String,
    detail: String,
    button: Option<&'static str>,
}

/// What a page of a link says.
pub(super) struct Answer {
    status: StatusCode,
    class: &'static str,
    sentence: String,
    detail: String,
    button: Option<&'static str>,
}

impl Answer {
    pub(super) fn plain(status: StatusCode, sentence: &str, detail: &str) -> Self {
        Self {
            status,
            class: if status.is_success() { "ok" } else { "none" },
            sentence: sentence.to_owned(),
            detail: detail.to_owned(),
            button: None,
        }
    }

    pub(super) fn refused(error: LinkError) -> Self {
        match error {
            LinkError::Invalid => Self::plain(
                StatusCode::NOT_FOUND,
                "This link is not valid.",
                "It is incomplete, or another monitor sent it.",
            ),
            LinkError::Expired => Self::plain(
                StatusCode::GONE,
                "This link has expired.",
                "Links are valid for seven days.",
            ),
        }
    }

    pub(super) fn unavailable() -> Self {
        Self::plain(
            StatusCode::SERVICE_UNAVAILABLE,
            "Nothing was changed.",
            "The monitor cannot record it at the moment. Try again in a minute.",
        )
    }

    /// The same with a button that acts.
    pub(super) fn with_button(self, button: &'static str) -> Self {
        Self {
            button: Some(button),
            ..self
        }
    }

    pub(super) fn render(self, view: &View, request: &HeaderMap) -> Response {
        let snapshot = view.snapshot.borrow().clone();
        let status = self.status;
        let page = LinkPage {
            // The link shows what the page says and nothing else.
            frame: Frame::new(view, &snapshot, "Link", Reader::Public).into_link(),
            class: self.class,
            sentence: self.sentence,
            detail: self.detail,
            button: self.button,
        };
        let mut response = (status, html(&page, request)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        );
        response
    }
}

pub(super) async fn show(
    State(view): State<View>,
    token: Result<Path<String>, PathRejection>,
    request: HeaderMap,
) -> Response {
    let answer = match read(&view, token) {
        Err(error) => Answer::refused(error),
        Ok((Action::Acknowledge, id)) => show_incident(&view, id).await,
        Ok((Action::Subscribe, id)) => subscribe::show_confirmation(&view, id).await,
        Ok((Action::ConfirmDrill, id)) => show_drill(&view, id),
        Ok((_, _)) => Answer::refused(LinkError::Invalid),
    };
    answer.render(&view, &request)
}

pub(super) async fn act(
    State(view): State<View>,
    token: Result<Path<String>, PathRejection>,
    request: HeaderMap,
) -> Response {
    let answer = match read(&view, token) {
        Err(error) => Answer::refused(error),
        Ok((Action::Acknowledge, id)) => acknowledge(&view, id).await,
        Ok((Action::Subscribe, id)) => subscribe::confirm(&view, id).await,
        Ok((Action::ConfirmDrill, id)) => confirm_drill(&view, id).await,
        Ok((_, _)) => Answer::refused(LinkError::Invalid),
    };
    answer.render(&view, &request)
}

fn read(
    view: &View,
    token: Result<Path<String>, PathRejection>,
) -> Result<(Action, Uuid), LinkError> {
    let Path(token) = token.map_err(|_| LinkError::Invalid)?;
    view.links.read(&token, (view.wall)())
}

/// The incident as it is now; `None` if there is none of this id.
async fn incident(view: &View, id: Uuid) -> Result<Option<Incident>, StoreError> {
    let snapshot = view.snapshot.borrow().clone();
    if let Some(open) = snapshot.incidents.iter().find(|i| i.id == id) {
        return Ok(Some(open.clone()));
    }
    let data = view
        .store
        .run_blocking(move |store| store.incident_data_by_id(id))
        .await?;
    Ok(data.and_then(|data| serde_json::from_str(&data).ok()))
}

async fn show_incident(view: &View, id: Uuid) -> Answer {
    match incident(view, id).await {
        Err(_) => Answer::unavailable(),
        Ok(None) => Answer::refused(LinkError::Invalid),
        Ok(Some(incident)) => described(&incident).unwrap_or_else(|| Answer {
            status: StatusCode::OK,
            class: class(incident.status),
            sentence: format!("Acknowledge incident {}?", incident.number),
            detail: format!("{}. Reminders and escalations end.", incident.title),
            button: Some("Acknowledge"),
        }),
    }
}

/// The answer about an incident that cannot be acknowledged any more.
fn described(incident: &Incident) -> Option<Answer> {
    let number = incident.number;
    if let Some(done) = &incident.acknowledged {
        let by = match done.by.as_str() {
            "" | BY_LINK => String::new(),
            by => format!(" by {by}"),
        };
        return Some(Answer::plain(
            StatusCode::OK,
            &format!("Incident {number} is already acknowledged."),
            &format!("It was acknowledged{by}: {}.", incident.title),
        ));
    }
    incident.resolved_at.map(|_| {
        Answer::plain(
            StatusCode::OK,
            &format!("Incident {number} is already resolved."),
            &format!(
                "It lasted {}: {}.",
                format::duration(incident),
                incident.title
            ),
        )
    })
}

fn show_drill(view: &View, notification: Uuid) -> Answer {
    let snapshot = view.snapshot.borrow().clone();
    match snapshot.drills.message(notification) {
        None => Answer::refused(LinkError::Invalid),
        Some(message) if message.confirmed_at.is_some() => already_confirmed(message),
        Some(message) => Answer {
            status: StatusCode::OK,
            class: "ok",
            sentence: format!(
                "Have you received the drill of the channel “{}”?",
                message.channel
            ),
            detail: "Confirming records that alerts through this channel reach a person."
                .to_owned(),
            button: Some("Confirm"),
        },
    }
}

fn already_confirmed(message: &DrillMessage) -> Answer {
    Answer::plain(
        StatusCode::OK,
        "This drill is already confirmed.",
        &format!("Alerts through the channel “{}” arrive.", message.channel),
    )
}

async fn confirm_drill(view: &View, notification: Uuid) -> Answer {
    let reply = view
        .commands
        .request(|reply| Command::ConfirmDrill(notification, BY_LINK.to_owned(), reply))
        .await;
    match reply {
        Ok(Confirmation::Confirmed(message)) => Answer::plain(
            StatusCode::OK,
            "Thank you: the drill is confirmed.",
            &format!("Alerts through the channel “{}” arrive.", message.channel),
        ),
        Ok(Confirmation::Already(message)) => already_confirmed(&message),
        Ok(Confirmation::Unknown) => Answer::refused(LinkError::Invalid),
        Err(_) => Answer::unavailable(),
    }
}

async fn acknowledge(view: &View, id: Uuid) -> Answer {
    let incident = match incident(view, id).await {
        Err(_) => return Answer::unavailable(),
        Ok(None) => return Answer::refused(LinkError::Invalid),
        Ok(Some(incident)) => incident,
    };
    if let Some(answer) = described(&incident) {
        return answer;
    }
    let acknowledgement = Acknowledgement {
        at: (view.wall)(),
        by: BY_LINK.to_owned(),
        note: String::new(),
    };
    let reply = view
        .commands
        .request(|reply| Command::Acknowledge(incident.number, acknowledgement, reply))
        .await;
    match reply {
        Ok(Some(incident)) => Answer::plain(
            StatusCode::OK,
            &format!("Incident {} is acknowledged.", incident.number),
            "Reminders and escalations end. You will be notified when it is resolved.",
        ),
        Ok(None) => Answer::plain(
            StatusCode::OK,
            &format!("Incident {} is already resolved.", incident.number),
            "Nothing was changed.",
        ),
        Err(_) => Answer::unavailable(),
    }
}
