//! The pages of one-click links. GET shows a button and changes nothing, because mail scanners
//! follow links; POST acts.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use uuid::Uuid;

use super::answer::Answer;
use super::{View, class, subscribe};
use crate::command::Command;
use crate::links::{Action, LinkError};
use crate::store::StoreError;
use crate::web::format;
use llmwatch_core::alerting::DrillConfirmation;
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::{Acknowledgement, DrillMessage, Incident};
use llmwatch_core::text;

/// The recorded name of a person who used a link.
const BY_LINK: &str = "link";

pub(super) async fn show(
    State(view): State<View>,
    token: Result<Path<String>, PathRejection>,
    request: HeaderMap,
) -> Response {
    let locale = Locale::of(&view.config.borrow());
    let answer = match read(&view, token) {
        Err(error) => Answer::refused(error, &locale),
        Ok((Action::Acknowledge, id)) => show_incident(&view, id, &locale).await,
        Ok((Action::Subscribe, id)) => subscribe::show_confirmation(&view, id, &locale).await,
        Ok((Action::ConfirmDrill, id)) => show_drill(&view, id, &locale),
        Ok((_, _)) => Answer::refused(LinkError::Invalid, &locale),
    };
    answer.render(&view, &request)
}

pub(super) async fn act(
    State(view): State<View>,
    token: Result<Path<String>, PathRejection>,
    request: HeaderMap,
) -> Response {
    let locale = Locale::of(&view.config.borrow());
    let answer = match read(&view, token) {
        Err(error) => Answer::refused(error, &locale),
        Ok((Action::Acknowledge, id)) => acknowledge(&view, id, &locale).await,
        Ok((Action::Subscribe, id)) => subscribe::confirm(&view, id, &locale).await,
        Ok((Action::ConfirmDrill, id)) => confirm_drill(&view, id, &locale).await,
        Ok((_, _)) => Answer::refused(LinkError::Invalid, &locale),
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

/// Returns the current state of the incident; `None` if there is none with this id.
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

async fn show_incident(view: &View, id: Uuid, locale: &Locale) -> Answer {
    match incident(view, id).await {
        Err(_) => Answer::unavailable(locale),
        Ok(None) => Answer::refused(LinkError::Invalid, locale),
        Ok(Some(incident)) => described(&incident, locale).unwrap_or_else(|| {
            let number = incident.number;
            let title = &incident.title;
            Answer {
                status: StatusCode::OK,
                class: class(incident.status),
                sentence: text!(locale, "Acknowledge incident {number}?", number),
                detail: text!(locale, "{title}. Reminders and escalations end.", title),
                button: Some(locale.say("Acknowledge")),
            }
        }),
    }
}

/// Returns the answer for an incident that can no longer be acknowledged.
fn described(incident: &Incident, locale: &Locale) -> Option<Answer> {
    let number = incident.number;
    let title = &incident.title;
    if let Some(done) = &incident.acknowledged {
        let at = locale.time(done.at);
        let detail = match done.by.as_str() {
            "" | BY_LINK => text!(locale, "It was acknowledged at {at}. {title}.", at, title),
            by => text!(
                locale,
                "It was acknowledged by {by} at {at}. {title}.",
                by,
                at,
                title
            ),
        };
        return Some(Answer::plain(
            StatusCode::OK,
            text!(locale, "Incident {number} is already acknowledged.", number),
            detail,
        ));
    }
    incident.resolved_at.map(|_| {
        let lasted = format::duration(incident, locale);
        Answer::plain(
            StatusCode::OK,
            text!(locale, "Incident {number} is already resolved.", number),
            text!(locale, "It lasted {lasted}: {title}.", lasted, title),
        )
    })
}

fn show_drill(view: &View, notification: Uuid, locale: &Locale) -> Answer {
    let snapshot = view.snapshot.borrow().clone();
    match snapshot.drills.message(notification) {
        None => Answer::refused(LinkError::Invalid, locale),
        Some(message) if message.confirmed_at.is_some() => already_confirmed(message, locale),
        Some(message) => {
            let channel = &message.channel;
            Answer {
                status: StatusCode::OK,
                class: "ok",
                sentence: text!(
                    locale,
                    "Have you received the drill of the channel “{channel}”?",
                    channel
                ),
                detail: locale
                    .say("Confirming records that alerts through this channel reach a person.")
                    .to_owned(),
                button: Some(locale.say("Confirm")),
            }
        }
    }
}

fn already_confirmed(message: &DrillMessage, locale: &Locale) -> Answer {
    Answer::plain(
        StatusCode::OK,
        locale.say("This drill is already confirmed.").to_owned(),
        arrives(message, locale),
    )
}

fn arrives(message: &DrillMessage, locale: &Locale) -> String {
    let channel = &message.channel;
    text!(
        locale,
        "Alerts through the channel “{channel}” arrive.",
        channel
    )
}

async fn confirm_drill(view: &View, notification: Uuid, locale: &Locale) -> Answer {
    let reply = view
        .commands
        .request(|reply| Command::ConfirmDrill(notification, BY_LINK.to_owned(), reply))
        .await;
    match reply {
        Ok(DrillConfirmation::Confirmed(message)) => Answer::plain(
            StatusCode::OK,
            locale.say("Thank you: the drill is confirmed.").to_owned(),
            arrives(&message, locale),
        ),
        Ok(DrillConfirmation::Already(message)) => already_confirmed(&message, locale),
        Ok(DrillConfirmation::Unknown) => Answer::refused(LinkError::Invalid, locale),
        Err(_) => Answer::unavailable(locale),
    }
}

async fn acknowledge(view: &View, id: Uuid, locale: &Locale) -> Answer {
    let incident = match incident(view, id).await {
        Err(_) => return Answer::unavailable(locale),
        Ok(None) => return Answer::refused(LinkError::Invalid, locale),
        Ok(Some(incident)) => incident,
    };
    if let Some(answer) = described(&incident, locale) {
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
    let number = incident.number;
    match reply {
        Ok(Some(_)) => Answer::plain(
            StatusCode::OK,
            text!(locale, "Incident {number} is acknowledged.", number),
            locale
                .say("Reminders and escalations end. You will be notified when it is resolved.")
                .to_owned(),
        ),
        Ok(None) => Answer::plain(
            StatusCode::OK,
            text!(locale, "Incident {number} is already resolved.", number),
            locale.say("Nothing was changed.").to_owned(),
        ),
        Err(_) => Answer::unavailable(locale),
    }
}
