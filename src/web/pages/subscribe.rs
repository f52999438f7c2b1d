//! Email subscriptions: the form, and the one-click link that unsubscribes. The answer to a sign-up
//! does not reveal whether the address is already known.

use std::net::{IpAddr, SocketAddr};

use askama::Template;
use axum::body::to_bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use uuid::Uuid;

use super::answer::Answer;
use super::{Frame, PageError, View, html};
use crate::links::{Action, LinkError};
use crate::subscriptions::{self, SignUp, Subscription, SubscriptionReply, SubscriptionRequest};
use crate::web::reader::Reader;
use llmwatch_core::message::values::Locale;

/// The size limit of the form, in bytes.
const MAX_BODY_BYTES: usize = 4096;

#[derive(Template)]
#[template(path = "pages/subscribe.html")]
struct Form {
    frame: Frame,
    error: &'static str,
}

#[derive(Deserialize)]
struct SignUpForm {
    #[serde(alias = "address")]
    email: String,
}

pub(super) async fn form(State(view): State<View>, reader: Reader, request: HeaderMap) -> Response {
    if !view.config.borrow().web.subscribe {
        return PageError::Missing("There is no such page.").page(&view, &request, reader);
    }
    with_error(&view, &request, reader, StatusCode::OK, "")
}

fn with_error(
    view: &View,
    request: &HeaderMap,
    reader: Reader,
    status: StatusCode,
    error: &'static str,
) -> Response {
    let snapshot = view.snapshot.borrow().clone();
    let page = Form {
        frame: Frame::new(view, &snapshot, "", reader).into_link(),
        error,
    };
    let mut response = (status, html(&page, request)).into_response();
    let no_store = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, no_store);
    response
}

pub(super) async fn sign_up(
    State(view): State<View>,
    reader: Reader,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let headers = parts.headers;
    if !view.config.borrow().web.subscribe {
        return PageError::Missing("There is no such page.").page(&view, &headers, reader);
    }
    let locale = Locale::of(&view.config.borrow());
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    let client = peer.map(|ConnectInfo(peer)| client(peer.ip(), &headers));
    let Some(address) = fields(to_bytes(body, MAX_BODY_BYTES).await.ok(), &headers) else {
        let error = locale.say("This is not a valid email address, such as name@example.com.");
        return with_error(&view, &headers, reader, StatusCode::BAD_REQUEST, error);
    };
    let done = view
        .subscriptions
        .request(|reply| SubscriptionRequest::SignUp(address, client, reply))
        .await;
    let answer = match done {
        Ok(Some(SignUp::Accepted)) => Answer::fixed(
            StatusCode::OK,
            &locale,
            (
                "Check your inbox.",
                "If this address can be subscribed, it gets an email with a confirmation link. The link is valid \
             for seven days.",
            ),
        ),
        Ok(Some(SignUp::TooMany)) => Answer::fixed(
            StatusCode::TOO_MANY_REQUESTS,
            &locale,
            (
                "Too many sign-ups.",
                "Nothing was changed. Try again in an hour.",
            ),
        ),
        Ok(None) | Err(_) => Answer::unavailable(&locale),
    };
    answer.render(&view, &headers)
}

/// Extracts the address from the form, or from a JSON object.
fn fields(body: Option<axum::body::Bytes>, headers: &HeaderMap) -> Option<String> {
    let body = body?;
    let kind = headers.get(header::CONTENT_TYPE);
    let is_json = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    let email = if is_json {
        serde_json::from_slice::<SignUpForm>(&body).ok()?.email
    } else {
        let mut pairs = url::form_urlencoded::parse(&body);
        let found = pairs.find(|(name, _)| name == "email" || name == "address")?;
        found.1.into_owned()
    };
    subscriptions::address(&email)
}

/// Returns the client's address. A proxy on this machine appends it to the end of the list.
fn client(peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    let forwarded = headers.get_all("x-forwarded-for").iter().next_back();
    let last = forwarded
        .filter(|_| peer.is_loopback())
        .and_then(|list| list.to_str().ok()?.rsplit(',').next()?.trim().parse().ok());
    match last.unwrap_or(peer) {
        // A customer gets an entire IPv6 network.
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) >> 64 << 64).into()),
        ip @ IpAddr::V4(_) => ip,
    }
}

/// Shows the page of a link that confirms a subscription.
pub(super) async fn show_confirmation(view: &View, id: Uuid, locale: &Locale) -> Answer {
    match view
        .subscriptions
        .request(|reply| SubscriptionRequest::Look(id, reply))
        .await
    {
        Ok(Some(Subscription::Unconfirmed)) => Answer::fixed(
            StatusCode::OK,
            locale,
            (
                "Confirm your subscription?",
                "You will get an email when something fails and when it has recovered.",
            ),
        )
        .with_button(locale.say("Subscribe")),
        Ok(Some(other)) => confirmed(other, locale),
        Ok(None) | Err(_) => Answer::unavailable(locale),
    }
}

/// Confirms a subscription by its link.
pub(super) async fn confirm(view: &View, id: Uuid, locale: &Locale) -> Answer {
    match view
        .subscriptions
        .request(|reply| SubscriptionRequest::Confirm(id, reply))
        .await
    {
        Ok(Some(Subscription::Unconfirmed)) => Answer::fixed(
            StatusCode::OK,
            locale,
            (
                "You are subscribed.",
                "Every email has an unsubscribe link.",
            ),
        ),
        Ok(Some(other)) => confirmed(other, locale),
        Ok(None) | Err(_) => Answer::unavailable(locale),
    }
}

fn confirmed(state: Subscription, locale: &Locale) -> Answer {
    match state {
        Subscription::None => Answer::fixed(
            StatusCode::GONE,
            locale,
            (
                "This link is no longer valid.",
                "The subscription has ended or was never confirmed. Subscribe again to get emails.",
            ),
        ),
        Subscription::Confirmed | Subscription::Unconfirmed => Answer::fixed(
            StatusCode::OK,
            locale,
            (
                "This subscription is already confirmed.",
                "Nothing was changed.",
            ),
        ),
    }
}

pub(super) async fn show_unsubscribe(
    State(view): State<View>,
    token: Result<Path<String>, PathRejection>,
    request: HeaderMap,
) -> Response {
    let locale = Locale::of(&view.config.borrow());
    let question = Answer::fixed(
        StatusCode::OK,
        &locale,
        (
            "Unsubscribe?",
            "You will get no more emails, and your address will be deleted.",
        ),
    )
    .with_button(locale.say("Unsubscribe"));
    let answer = unsubscribing(&view, token, SubscriptionRequest::Look, question, &locale).await;
    answer.render(&view, &request)
}

pub(super) async fn unsubscribe(
    State(view): State<View>,
    token: Result<Path<String>, PathRejection>,
    request: HeaderMap,
) -> Response {
    let locale = Locale::of(&view.config.borrow());
    let done = Answer::fixed(
        StatusCode::OK,
        &locale,
        (
            "You are unsubscribed.",
            "You will get no more emails, and your address was deleted.",
        ),
    );
    let answer = unsubscribing(&view, token, SubscriptionRequest::End, done, &locale).await;
    answer.render(&view, &request)
}

/// Handles an unsubscribe link with this `token`: returns `answer` if `ask` finds a subscription.
async fn unsubscribing(
    view: &View,
    token: Result<Path<String>, PathRejection>,
    ask: impl FnOnce(Uuid, SubscriptionReply<Subscription>) -> SubscriptionRequest,
    answer: Answer,
    locale: &Locale,
) -> Answer {
    let id = match subscription(view, token) {
        Ok(id) => id,
        Err(error) => return Answer::refused(error, locale),
    };
    match view.subscriptions.request(|reply| ask(id, reply)).await {
        Ok(Some(Subscription::None)) => ended_before(locale),
        Ok(Some(_)) => answer,
        Ok(None) | Err(_) => Answer::unavailable(locale),
    }
}

fn ended_before(locale: &Locale) -> Answer {
    Answer::fixed(
        StatusCode::OK,
        locale,
        ("You are already unsubscribed.", "Nothing was changed."),
    )
}

fn subscription(
    view: &View,
    token: Result<Path<String>, PathRejection>,
) -> Result<Uuid, LinkError> {
    let Path(token) = token.map_err(|_| LinkError::Invalid)?;
    match view.links.read(&token, (view.wall)())? {
        (Action::Unsubscribe, id) => Ok(id),
        _ => Err(LinkError::Invalid),
    }
}
