//! The content of the page behind a one-click link.

use askama::Template;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::{Frame, View, html};
use crate::links::LinkError;
use crate::web::reader::Reader;
use llmwatch_core::message::values::Locale;

#[derive(Template)]
#[template(path = "pages/link.html")]
struct LinkPage {
    frame: Frame,
    class: &'static str,
    sentence: String,
    detail: String,
    button: Option<&'static str>,
}

/// The content of a link's page.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) class: &'static str,
    pub(super) sentence: String,
    pub(super) detail: String,
    pub(super) button: Option<&'static str>,
}

impl Answer {
    pub(super) fn plain(status: StatusCode, sentence: String, detail: String) -> Self {
        Self {
            status,
            class: if status.is_success() { "ok" } else { "none" },
            sentence,
            detail,
            button: None,
        }
    }

    /// Creates an answer with a fixed sentence and detail, in the reader's language.
    pub(super) fn fixed(
        status: StatusCode,
        locale: &Locale,
        (sentence, detail): (&'static str, &'static str),
    ) -> Self {
        let say = |text: &'static str| locale.say(text).to_owned();
        Self::plain(status, say(sentence), say(detail))
    }

    pub(super) fn refused(error: LinkError, locale: &Locale) -> Self {
        let (status, texts) = match error {
            LinkError::Invalid => (
                StatusCode::NOT_FOUND,
                (
                    locale.say("This link is not valid."),
                    locale.say("It is incomplete, or another monitor sent it."),
                ),
            ),
            LinkError::Expired => (
                StatusCode::GONE,
                (
                    locale.say("This link has expired."),
                    locale.say("Links are valid for seven days."),
                ),
            ),
        };
        Self::plain(status, texts.0.to_owned(), texts.1.to_owned())
    }

    pub(super) fn unavailable(locale: &Locale) -> Self {
        Self::fixed(
            StatusCode::SERVICE_UNAVAILABLE,
            locale,
            (
                "Nothing was changed.",
                "The monitor cannot record it at the moment. Try again in a minute.",
            ),
        )
    }

    /// Adds a button that performs the action.
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
            // The page of a link shows nothing beyond the answer.
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
