//! A banner for an iframe on another site: one sentence without a script. Only `[web] cors_origins`
//! may frame it.

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;

use super::{Frame, View, html};
use crate::web::format;
use crate::web::reader::Reader;
use crate::web::summary;

/// The refresh interval of the browser, in seconds.
const REFRESH_S: &str = "60";

#[derive(Template)]
#[template(path = "pages/embed.html")]
struct Embed {
    frame: Frame,
    sentence: String,
}

pub(super) async fn page(State(view): State<View>, request: HeaderMap) -> Response {
    // A banner is public.
    let snapshot = summary::snapshot_for(Reader::Public, view.snapshot.borrow().clone());
    let frame = Frame::new(&view, &snapshot, "", Reader::Public);
    let origins = frame.config.web.cors_origins.join(" ");
    let ancestors = if origins.is_empty() {
        "'none'".to_owned()
    } else {
        origins
    };
    let policy = format!(
        "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors {ancestors}"
    );
    let sentence = format::headline(&snapshot, &frame.locale).sentence;
    let mut response = html(&Embed { frame, sentence }, &request);
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(
        HeaderName::from_static("refresh"),
        HeaderValue::from_static(REFRESH_S),
    );
    response
}
