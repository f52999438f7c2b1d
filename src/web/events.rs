//! `/api/v1/events`: live server-sent events with ids. A client that reconnects with
//! `Last-Event-ID` receives what it missed; one that does not keep up is disconnected.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::broadcast::Receiver;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::View;
use crate::log::broadcast::{Happening, Listening};

/// How often a comment is sent: it keeps proxies from closing an idle stream, and detects closed
/// connections.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// The reconnection delay for browsers.
const COME_AGAIN: Duration = Duration::from_secs(2);

/// One message of the stream.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "the stream writes it line by line; this describes it"
)]
pub(super) struct Message {
    /// For `Last-Event-ID`.
    id: Option<String>,
    /// The name of the log event, or `gap`.
    event: Option<String>,
    /// The event's fields and its `message`, as JSON.
    data: String,
}

/// The events that a stream has yet to send.
struct EventQueue {
    queue: VecDeque<Event>,
    coming: Receiver<Arc<Happening>>,
    stop: CancellationToken,
}

/// Every status change, incident and sample, as it happens: server-sent events named as in the log,
/// with its fields as JSON. With `Last-Event-ID` the missed events are sent first; an event `gap`
/// says that some were lost. The stream does not end.
#[utoipa::path(get, path = "/api/v1/events",
    params(("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was seen")),
    responses((status = 200, body = Message, content_type = "text/event-stream")))]
pub(super) async fn events(State(view): State<View>, request: HeaderMap) -> Response {
    let last_seen = request.get("last-event-id").and_then(|id| id.to_str().ok());
    let Listening {
        gap,
        missed,
        coming,
    } = view.broadcast.listen(last_seen);
    // Sent at once, so that the client knows that the stream is open, and when to reconnect.
    let mut queue = VecDeque::from([Event::default().retry(COME_AGAIN).comment("llmwatch")]);
    if gap {
        queue.push_back(Event::default().event("gap").data("{}"));
    }
    queue.extend(missed.iter().map(|happening| event(happening)));
    let reader = EventQueue {
        queue,
        coming,
        stop: view.stop.clone(),
    };
    let stream = stream::unfold(reader, |mut reader| async move {
        if let Some(event) = reader.queue.pop_front() {
            return Some((Ok::<_, Infallible>(event), reader));
        }
        let happening = tokio::select! {
            () = reader.stop.cancelled() => return None,
            // The client lags or the daemon is stopping: either ends the stream.
            happening = reader.coming.recv() => happening.ok()?,
        };
        Some((Ok(event(&happening)), reader))
    });
    let headers = [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // Tells nginx not to buffer the stream.
        (
            HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        ),
    ];
    (
        headers,
        Sse::new(stream).keep_alive(KeepAlive::new().interval(HEARTBEAT)),
    )
        .into_response()
}

fn event(happening: &Happening) -> Event {
    Event::default()
        .id(&happening.id)
        .event(happening.name)
        .data(&happening.data)
}
