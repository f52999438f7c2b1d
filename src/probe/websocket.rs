//! A probe over WebSocket (RFC 6455): the handshake as an HTTP exchange, then messages within the
//! time limits of a stream.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::end::{End, explain, message, of_hyper};
use super::record::ms;
use super::run::{FairShare, MAX_FRAMES, REST, Run};
use super::timestamped_stream::Arrivals;
use super::transport;
use llmwatch_core::model::{Fault, Sample};
use llmwatch_core::protocol::dialect::{self, Dialect};
use llmwatch_core::protocol::response::ResponseReader;
use llmwatch_core::protocol::response_head;

/// The maximum size of a message in bytes; a complete response has its own limit.
const MAX_MESSAGE: usize = 1024 * 1024;
/// The constant that the server appends to the key of the handshake.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

impl Run<'_> {
    /// Opens a WebSocket, waits for the server's first message, sends the request body, and reads
    /// the response.
    pub(super) async fn websocket(
        &mut self,
        request: &dialect::Request,
        sample: &mut Sample,
    ) -> End {
        self.start = Instant::now();
        match self.converse(request, sample).await {
            Ok(end) | Err(end) => end,
        }
    }

    async fn converse(
        &mut self,
        request: &dialect::Request,
        sample: &mut Sample,
    ) -> Result<End, End> {
        let limits = self.endpoint.timeouts;
        let total = self.start + limits.total;
        let mut line = self.connect(request).await?;
        let key = STANDARD.encode(fastrand::u128(..).to_be_bytes());
        let opening = opening(request, &key);
        let forwarder = self.prober.proxies.forwarder(&request.url);
        let opening = message(&opening, line.is_http2(), forwarder)
            .map_err(|error| End::Broken(Fault::RequestRejected, error.to_string()))?;
        let began = Instant::now();
        let deadline = total.min(began + limits.headers);
        let of_line =
            |error: hyper::Error| End::Broken(of_hyper(&error, Fault::TcpReset), explain(&error));
        let mut response = tokio::time::timeout_at(deadline, line.send(opening))
            .await
            .map_err(|_| End::Broken(Fault::TimeoutHeaders, String::new()))?
            .map_err(of_line)?;
        let sent = line.arrivals.sent().max(began);
        let arrived = line.arrivals.last().max(sent);
        sample.headers_ms = Some(ms(arrived.saturating_duration_since(sent)));
        let status = response.status().as_u16();
        let head = response_head::read(status, response.version(), response.headers(), self.now);
        if status != 101 {
            let mut body = response.into_body();
            return Ok(self
                .read(self.endpoint, head, &mut body, &mut line, total)
                .await);
        }
        let accepted = response.headers().get("sec-websocket-accept");
        if accepted.is_none_or(|shown| shown.as_bytes() != accept(&key).as_bytes()) {
            let message = "the server agrees to a WebSocket with a wrong `sec-websocket-accept`";
            return Err(End::Broken(Fault::HttpUnexpected, message.to_owned()));
        }
        let upgrade = line.drive(hyper::upgrade::on(&mut response));
        let upgraded = tokio::time::timeout_at(deadline, upgrade)
            .await
            .map_err(|_| End::Broken(Fault::TimeoutHeaders, String::new()))?
            .map_err(of_line)?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE));
        let io = TokioIo::new(upgraded);
        let mut socket = WebSocketStream::from_raw_socket(io, Role::Client, Some(config)).await;

        let mut reader =
            ResponseReader::new(self.endpoint, Dialect::of(self.endpoint), head.clone());
        let first = Message::text(String::from_utf8_lossy(&request.body).into_owned());
        let broken = self
            .exchange_messages(&mut socket, &mut reader, &line.arrivals, first, total)
            .await;
        let ended_at = line.arrivals.last().max(self.start);
        let _ = tokio::time::timeout(REST, socket.close(None)).await;
        let times = reader.times;
        let ended = reader.outcome();
        Ok(
            match broken.filter(|_| ended.fault.is_some() || !ended.answer.complete) {
                None => {
                    self.end = Some(ended_at);
                    End::Answered(head, times, ended)
                }
                Some((fault, message)) => End::BrokenOff(head, times, ended, fault, message),
            },
        )
    }
}

impl Run<'_> {
    /// Sends the request once the server has sent its first message, and reads until the response
    /// is over. Returns what broke it off, with a message.
    async fn exchange_messages(
        &self,
        socket: &mut WebSocketStream<TokioIo<Upgraded>>,
        reader: &mut ResponseReader<'_>,
        arrivals: &Arrivals,
        first: Message,
        total: Instant,
    ) -> Option<(Fault, String)> {
        let mut first = Some(first);
        let mut share = FairShare::default();
        while !reader.is_over() {
            let (deadline, fault) = self.deadline(reader, total);
            let Ok(next) = tokio::time::timeout_at(deadline, socket.next()).await else {
                return Some((fault, String::new()));
            };
            let at = self.since_start(arrivals.last());
            let size = match next {
                None | Some(Err(Error::ConnectionClosed)) => {
                    reader.end(at);
                    return None;
                }
                Some(Ok(Message::Close(frame))) => {
                    reader.end(at);
                    // The server's close reason explains an incomplete response.
                    let frame = frame.filter(|frame| !frame.reason.is_empty())?;
                    return Some((Fault::StreamTruncated, frame.reason.to_string()));
                }
                Some(Ok(Message::Text(text))) => {
                    reader.take_frame(&text, at);
                    text.len()
                }
                Some(Ok(other)) => other.len(),
                Some(Err(error)) => return Some(of_websocket(&error)),
            };
            if !reader.is_over()
                && size > 0
                && let Some(first) = first.take()
            {
                match tokio::time::timeout_at(deadline, socket.send(first)).await {
                    Err(_) => return Some((fault, String::new())),
                    Ok(Err(error)) => return Some(of_websocket(&error)),
                    Ok(Ok(())) => {}
                }
            }
            if !share.used(size).await {
                let message = format!("more than {MAX_FRAMES} messages");
                return Some((Fault::BodyTooLarge, message));
            }
        }
        None
    }
}

/// Builds the request of the handshake.
fn opening(request: &dialect::Request, key: &str) -> dialect::Request {
    let mut headers = request.headers.clone();
    for (name, value) in [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", key),
    ] {
        headers.push((name.to_owned(), value.to_owned()));
    }
    dialect::Request {
        method: request.method.clone(),
        url: request.url.clone(),
        headers,
        body: Vec::new(),
    }
}

/// Computes the expected `sec-websocket-accept` for a key.
fn accept(key: &str) -> String {
    STANDARD.encode(digest(
        &SHA1_FOR_LEGACY_USE_ONLY,
        format!("{key}{GUID}").as_bytes(),
    ))
}

fn of_websocket(error: &Error) -> (Fault, String) {
    match error {
        Error::Utf8(_) => (
            Fault::StreamMalformed,
            "a message that is not UTF-8".to_owned(),
        ),
        Error::Protocol(problem) => (
            Fault::StreamTruncated,
            format!("the WebSocket connection broke: {problem}"),
        ),
        Error::Capacity(problem) => (Fault::BodyTooLarge, problem.to_string()),
        Error::Io(problem) => (
            transport::of_errno(problem).unwrap_or(Fault::StreamTruncated),
            transport::describe_io(problem),
        ),
        other => (
            Fault::StreamTruncated,
            format!("the WebSocket connection broke: {other}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455 §1.3.
    #[test]
    fn the_key_is_accepted_as_the_standard_says() {
        assert_eq!(
            accept("dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }
}
