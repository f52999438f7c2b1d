//! `/metrics`: the counters, the snapshot, and the resource usage of this process.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;

use super::{View, pages};
use crate::metrics::process::ProcessStats;
use crate::metrics::text::{Format, render};

pub(super) async fn metrics(State(view): State<View>, request: HeaderMap) -> impl IntoResponse {
    let accept = request
        .get(header::ACCEPT)
        .and_then(|a| a.to_str().ok())
        .unwrap_or_default();
    let format = Format::asked_by(accept);
    let snapshot = view.snapshot.borrow().clone();
    let process = ProcessStats::read(view.started_at);
    let text = render(
        &snapshot,
        &view.counters.read(),
        &process,
        env!("LLMWATCH_VERSION"),
        format,
    );
    (
        [(header::CONTENT_TYPE, format.content_type())],
        pages::compressed(text.into_bytes(), &request),
    )
}
