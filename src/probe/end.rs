//! HTTP exchanges: builds hyper's request, and interprets its errors.

use std::io;

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;

use super::proxy::Address;
use super::transport;
use llmwatch_core::model::Fault;
use llmwatch_core::protocol::dialect;
use llmwatch_core::protocol::response::{ResponseOutcome, Times};
use llmwatch_core::protocol::response_head::ResponseHead;

/// How a probe ended.
pub(super) enum End {
    /// With a response, correct or not.
    Answered(ResponseHead, Times, ResponseOutcome),
    /// Before any response.
    Broken(Fault, String),
    /// In the middle of a response.
    BrokenOff(ResponseHead, Times, ResponseOutcome, Fault, String),
}

/// Builds hyper's request; `proxy` is one that forwards it.
pub(super) fn message(
    request: &dialect::Request,
    http2: bool,
    proxy: Option<&Address>,
) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let url = &request.url;
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
    let mut message = Request::builder().method(request.method.as_str());
    // The authority is in the target for HTTP/2, and for HTTP/1.1 to a proxy; otherwise in a
    // header.
    if http2 || proxy.is_some() {
        message = message.uri(format!("{}://{authority}{target}", url.scheme()));
    } else {
        message = message.uri(target);
    }
    if !http2 {
        message = message.header("host", authority);
    }
    if let Some((name, value)) = proxy.and_then(Address::authorization) {
        message = message.header(name, value);
    }
    for (name, value) in &request.headers {
        message = message.header(name, value);
    }
    message.body(Full::new(Bytes::from(request.body.clone())))
}

/// Classifies a transport error; `cut` is for a connection that was simply closed.
pub(super) fn of_hyper(error: &hyper::Error, cut: Fault) -> Fault {
    if transport::tls_error(error).is_some() {
        return Fault::TlsHandshake;
    }
    if let Some(fault) = io_error(error).and_then(transport::of_errno) {
        return fault;
    }
    if error.is_parse_too_large() {
        Fault::BodyTooLarge
    } else if error.is_parse() {
        Fault::BodyMalformed
    } else {
        cut
    }
}

/// Describes an error in plain English: hyper's text names its types and manuals.
pub(super) fn explain(error: &hyper::Error) -> String {
    if let Some(tls) = transport::tls_error(error) {
        return transport::describe_tls(tls);
    }
    if let Some(io) = io_error(error) {
        return match io.kind() {
            io::ErrorKind::UnexpectedEof => "the connection was closed in the middle".to_owned(),
            _ => transport::describe_io(io),
        };
    }
    if error.is_incomplete_message() {
        return "the connection was closed before the answer was complete".to_owned();
    }
    if error.is_parse_too_large() {
        return "the response headers are too large".to_owned();
    }
    if error.is_parse() {
        return format!("the answer is not valid HTTP: {error}");
    }
    match std::error::Error::source(error) {
        Some(source) => source.to_string(),
        None => error.to_string(),
    }
}

/// Finds the operating system's error inside an HTTP error, at any depth.
fn io_error(error: &hyper::Error) -> Option<&io::Error> {
    let mut next = std::error::Error::source(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io);
        }
        next = error.source();
    }
    None
}
