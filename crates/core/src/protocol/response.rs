//! Reads one response: a state machine that receives bytes with their arrival times and reports
//! what the probe has seen. Pure: the transport feeds it from a socket, a test from a file.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use super::assertions::{Problem, check, check_listed};
use super::decoder::Decoder;
use super::dialect::{Answer, Dialect, Framing, StreamEvent};
use super::error::{
    Classified, MAX_ERROR_BYTES, error_answer, error_value, intercepted, page_message,
};
use super::event_stream::EventStream;
use super::ndjson::NdjsonReader;
use super::response_head::ResponseHead;
use super::sse::{NotText, Sse};
use crate::model::{Endpoint, Fault, Warning};

/// The maximum size of a response after decompression. A short answer with its JSON takes one or
/// two kilobytes, and a web page is smaller than this limit.
const MAX_BYTES: usize = 1024 * 1024;

/// The state of one response.
pub struct ResponseReader<'e> {
    endpoint: &'e Endpoint,
    dialect: Dialect,
    head: ResponseHead,
    body: BodyFormat,
    decoder: Option<Decoder>,
    answer: Answer,
    /// The error that stopped reading.
    broken: Option<Classified>,
    ended: bool,
    warnings: Vec<Warning>,
    /// Arrival times.
    pub times: Times,
}

/// How the body is read.
enum BodyFormat {
    /// The status alone decides; the body is not read.
    Ignored,
    /// A stream is expected; only white space has arrived.
    Undetermined(Framing),
    Events(Sse),
    /// The incomplete first line of what should be NDJSON.
    FirstLine(Vec<u8>),
    Lines(NdjsonReader),
    Messages(EventStream),
    /// Messages that arrive already separated.
    Frames,
    Audio,
    Document(Vec<u8>),
}

impl BodyFormat {
    /// Determines the format from the first byte that is not white space. A server may answer a
    /// streaming request with a document: an error, a page from an intermediary, or because it
    /// cannot stream. The content type does not help, because it is often wrong.
    fn sniff(expected: Framing, byte: u8) -> Self {
        match (expected, byte) {
            (Framing::Audio, b'{' | b'<') => Self::Document(Vec::new()),
            (Framing::Audio, _) => Self::Audio,
            (Framing::Lines, b'{') => Self::FirstLine(Vec::new()),
            (_, b'{' | b'[' | b'<') | (Framing::Lines | Framing::Frames | Framing::Document, _) => {
                Self::Document(Vec::new())
            }
            (Framing::Events, _) => Self::Events(Sse::default()),
            (Framing::Messages, _) => Self::Messages(EventStream::default()),
        }
    }
}

/// Arrival times, in milliseconds since the start of the probe, and counts.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Times {
    /// The first event of the stream.
    pub first_event: Option<f64>,
    /// The first token of the answer.
    pub first_token: Option<f64>,
    /// The first token of any kind, reasoning included.
    pub first_any_token: Option<f64>,
    /// The last token of the answer.
    pub last_token: Option<f64>,
    /// The last content of any kind.
    last_content: Option<f64>,
    /// The longest wait between two pieces of content.
    pub max_gap: Option<f64>,
    /// The number of events.
    pub events: u32,
    /// The bytes of the body that were read, after decompression.
    pub bytes: usize,
    /// The index of the event with the first token, from 1.
    pub first_token_event: Option<u32>,
    /// The index of the event with the first token of any kind, from 1.
    pub first_any_token_event: Option<u32>,
}

/// The result of a response.
#[derive(Debug, Clone, PartialEq)]
pub struct ResponseOutcome {
    /// The answer.
    pub answer: Answer,
    /// The fault, if any, with the provider's error text.
    pub fault: Option<(Fault, Option<String>)>,
    /// The request parameter that the error names.
    pub param: Option<String>,
    /// Warnings about the answer.
    pub warnings: Vec<Warning>,
}

impl<'e> ResponseReader<'e> {
    /// Returns a reader for the response that begins with `head`.
    pub fn new(endpoint: &'e Endpoint, dialect: Dialect, head: ResponseHead) -> Self {
        let mut reader = Self {
            endpoint,
            dialect,
            body: BodyFormat::Document(Vec::new()),
            decoder: None,
            answer: Answer::default(),
            broken: None,
            ended: false,
            warnings: Vec::new(),
            times: Times::default(),
            head,
        };
        let is_wanted = reader.is_wanted();
        let is_stream = dialect.framing(endpoint) != Framing::Document;
        if is_wanted && is_stream {
            reader.body = match dialect.framing(endpoint) {
                Framing::Frames => BodyFormat::Frames,
                framing => BodyFormat::Undetermined(framing),
            };
        } else if is_wanted && dialect == Dialect::Http && !endpoint.expect.checks_text() {
            reader.body = BodyFormat::Ignored;
        }
        if !matches!(reader.body, BodyFormat::Ignored)
            && let Some(encoding) = reader.head.encoding.clone()
        {
            reader.decode(&encoding);
        }
        reader
    }

    fn decode(&mut self, encoding: &str) {
        self.decoder = Decoder::of(encoding);
        if self.decoder.is_some() {
            self.warnings.push(Warning::EncodingUnasked);
            return;
        }
        self.broken = Some(Classified::new(
            Fault::BodyMalformed,
            format!(
                "HTTP {}: the body is compressed with `{encoding}`, though that was not asked for",
                self.head.status
            ),
        ));
    }

    /// Reports whether no further bytes are needed.
    pub fn is_over(&self) -> bool {
        self.ended || self.broken.is_some()
    }

    /// Reports whether the head alone decides.
    pub fn ignores_body(&self) -> bool {
        matches!(self.body, BodyFormat::Ignored)
    }

    /// Returns when content last arrived, in milliseconds since the start.
    pub fn last_content(&self) -> Option<f64> {
        self.times.last_content
    }

    /// Reports whether events, and so a first token, are expected.
    pub fn is_stream(&self) -> bool {
        !matches!(self.body, BodyFormat::Document(_) | BodyFormat::Ignored)
    }

    /// Reads a WebSocket message that arrived at `at`.
    pub fn take_frame(&mut self, text: &str, at: f64) {
        if self.is_over() {
            return;
        }
        self.times.bytes = self.times.bytes.saturating_add(text.len());
        if self.times.bytes > MAX_BYTES {
            self.broken = Some(too_large());
            return;
        }
        let mut progress = Progress {
            dialect: self.dialect,
            answer: &mut self.answer,
            times: &mut self.times,
            ended: &mut self.ended,
            at,
        };
        progress.event(text, false);
    }

    /// Reads a part of the body that arrived at `at`.
    pub fn take(&mut self, part: &[u8], at: f64) {
        if self.decoder.is_none() {
            self.take_decoded(part, at);
            return;
        }
        let mut rest = part;
        while !rest.is_empty() && !self.is_over() {
            let Some(decoder) = &mut self.decoder else {
                return;
            };
            match decoder.step(&mut rest) {
                Ok(plain) => self.take_decoded(&plain, at),
                Err(error) => self.broken = Some(self.not_decoded(&error)),
            }
        }
    }

    fn not_decoded(&self, error: &str) -> Classified {
        let encoding = self.head.encoding.as_deref().unwrap_or_default();
        Classified::new(
            Fault::BodyMalformed,
            format!(
                "HTTP {}: the body is not compressed with `{encoding}` as its headers say: {error}",
                self.head.status
            ),
        )
    }

    fn take_decoded(&mut self, part: &[u8], at: f64) {
        if self.is_over() || part.is_empty() || self.ignores_body() {
            return;
        }
        self.times.bytes = self.times.bytes.saturating_add(part.len());
        if self.times.bytes > MAX_BYTES {
            self.broken = Some(too_large());
            return;
        }
        let Some(part) = self.determine_format(part) else {
            return;
        };
        let Some(part) = self.complete_first_line(part) else {
            return;
        };
        self.read_part(&part, at);
    }

    /// Determines the format from the first byte that is not white space and strips what precedes
    /// it. Returns `None` until that byte arrives.
    fn determine_format<'p>(&mut self, part: &'p [u8]) -> Option<&'p [u8]> {
        let BodyFormat::Undetermined(expected) = self.body else {
            return Some(part);
        };
        // Leading white space has no meaning in any format.
        let start = part.iter().position(|b| !b.is_ascii_whitespace())?;
        let part = &part[start..];
        // Some servers send a byte order mark first.
        let begin = part.strip_prefix(b"\xef\xbb\xbf").unwrap_or(part);
        self.body = BodyFormat::sniff(expected, *begin.first().unwrap_or(&part[0]));
        Some(part)
    }

    /// Buffers the first line, which distinguishes NDJSON from a document over several lines.
    /// Returns `None` until the line is complete.
    fn complete_first_line<'p>(&mut self, part: &'p [u8]) -> Option<Cow<'p, [u8]>> {
        let BodyFormat::FirstLine(line) = &mut self.body else {
            return Some(Cow::Borrowed(part));
        };
        let before = line.len();
        line.extend_from_slice(part);
        let end = part.iter().position(|b| matches!(b, b'\n' | b'\r'))?;
        let first = std::mem::take(line);
        let is_object = serde_json::from_slice::<IgnoredAny>(&first[..before + end]).is_ok();
        self.body = if is_object {
            BodyFormat::Lines(NdjsonReader::default())
        } else {
            BodyFormat::Document(Vec::new())
        };
        Some(Cow::Owned(first))
    }

    fn read_part(&mut self, part: &[u8], at: f64) {
        let mut progress = Progress {
            dialect: self.dialect,
            answer: &mut self.answer,
            times: &mut self.times,
            ended: &mut self.ended,
            at,
        };
        let read = match &mut self.body {
            BodyFormat::Ignored
            | BodyFormat::Undetermined(_)
            | BodyFormat::FirstLine(_)
            | BodyFormat::Frames => Ok(()),
            BodyFormat::Audio => {
                progress.sound(part.len());
                Ok(())
            }
            BodyFormat::Document(body) => {
                body.extend_from_slice(part);
                Ok(())
            }
            BodyFormat::Events(sse) => {
                sse.feed(part, |data, is_error| progress.event(data, is_error))
            }
            BodyFormat::Lines(lines) => lines.feed(part, |line| progress.event(line, false)),
            BodyFormat::Messages(messages) => {
                let read = messages.feed(part, |data, is_error| progress.event(data, is_error));
                if let Err(problem) = read
                    && !self.ended
                {
                    self.broken = Some(Classified::new(Fault::StreamMalformed, problem));
                }
                Ok(())
            }
        };
        // Unreadable data after the end of the stream does not matter.
        if let Err(unread) = read
            && !self.ended
        {
            self.broken = Some(not_text(Fault::StreamMalformed, &unread));
        }
    }

    /// Records that the body ended at `at`.
    pub fn end(&mut self, at: f64) {
        if let Some(decoder) = &mut self.decoder {
            let rest = decoder.end();
            self.take_decoded(&rest, at);
        }
        let mut progress = Progress {
            dialect: self.dialect,
            answer: &mut self.answer,
            times: &mut self.times,
            ended: &mut self.ended,
            at,
        };
        // An error here means an incomplete character at the end; ignore it.
        let _ = match &mut self.body {
            BodyFormat::Events(sse) => {
                sse.end(|data, is_error| progress.last_event(data, is_error))
            }
            BodyFormat::Lines(lines) => lines.end(|line| progress.last_event(line, false)),
            // A single line needs no line feed.
            BodyFormat::FirstLine(line) => {
                let mut lines = NdjsonReader::default();
                lines
                    .feed(line, |_| ())
                    .and_then(|()| lines.end(|line| progress.last_event(line, false)))
            }
            _ => Ok(()),
        };
        if matches!(self.body, BodyFormat::Audio) {
            self.answer.complete = true;
        }
        self.ended = true;
    }

    /// Returns the result.
    pub fn outcome(mut self) -> ResponseOutcome {
        let mut param = None;
        let fault = self.fault().map(|found| {
            param = found.param;
            let message = Some(found.message).filter(|message| !message.is_empty());
            (found.fault, message)
        });
        if fault.is_none() && self.answer.complete && self.answer.lacks_finish_reason {
            self.warnings.push(Warning::FinishReasonMissing);
        }
        ResponseOutcome {
            answer: self.answer,
            fault,
            param,
            warnings: self.warnings,
        }
    }

    fn fault(&mut self) -> Option<Classified> {
        if let Some(broken) = self.broken.take() {
            return Some(self.broken_off(broken));
        }
        if matches!(self.body, BodyFormat::Ignored) {
            return None;
        }
        if let BodyFormat::Document(bytes) = &mut self.body {
            let bytes = std::mem::take(bytes);
            if let Some(fault) = self.fault_of_document(bytes) {
                return fault;
            }
        }
        self.fault_of_answer()
    }

    /// Classifies a body that could not be read. For an error status, the status alone is enough.
    fn broken_off(&self, broken: Classified) -> Classified {
        let says_enough = !self.is_wanted() && broken.fault == Fault::BodyMalformed;
        if !says_enough {
            return broken;
        }
        Classified {
            fault: self.error("").fault,
            ..broken
        }
    }

    /// Classifies a document; `None` if it holds an answer that has yet to be checked.
    #[expect(
        clippy::option_option,
        reason = "outside: whether it is judged yet; inside: the fault, if any"
    )]
    fn fault_of_document(&mut self, bytes: Vec<u8>) -> Option<Option<Classified>> {
        let status = self.head.status;
        if !self.is_wanted() {
            let text = decoded_text(bytes, self.head.charset.as_deref());
            return Some(Some(self.error(&text)));
        }
        if self.dialect == Dialect::Http {
            self.answer.text = decoded_text(bytes, self.head.charset.as_deref());
            self.answer.complete = true;
            return None;
        }
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(e) => {
                let unread = NotText::of(e.as_bytes());
                return Some(Some(not_text(Fault::BodyMalformed, &unread)));
            }
        };
        self.dialect.body(&mut self.answer, &text);
        if !self.answer.malformed {
            return None;
        }
        if let Some(error) = self.error_in_document(&text) {
            return Some(Some(error));
        }
        if self.read_unasked_stream(&text) {
            return None;
        }
        let found = intercepted(status, &text, self.head.error_context());
        let fault = found
            .unwrap_or_else(|| Classified::new(Fault::BodyMalformed, page_message(status, &text)));
        Some(Some(fault))
    }

    /// Reads a stream from a server that was asked for a document but streams anyway.
    fn read_unasked_stream(&mut self, text: &str) -> bool {
        let text = text.trim_start_matches('\u{feff}').trim_start();
        if !["data:", "event:", ":"]
            .iter()
            .any(|field| text.starts_with(field))
        {
            return false;
        }
        self.answer = Answer::default();
        let mut progress = Progress {
            dialect: self.dialect,
            answer: &mut self.answer,
            // The arrival times of these events are unknown.
            times: &mut Times::default(),
            ended: &mut false,
            at: 0.0,
        };
        let mut sse = Sse::default();
        let read = sse.feed(text.as_bytes(), |data, is_error| {
            progress.event(data, is_error);
        });
        read.is_ok()
            && sse
                .end(|data, is_error| progress.last_event(data, is_error))
                .is_ok()
    }

    /// Finds an error in a vendor's own format that came with a success status.
    fn error_in_document(&self, text: &str) -> Option<Classified> {
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.len() > MAX_ERROR_BYTES {
            return None;
        }
        let value: serde_json::Value = serde_json::from_str(text).ok()?;
        let speaks_of_error = [
            "error",
            "errors",
            "error_code",
            "error_msg",
            "detail",
            "code",
        ]
        .iter()
        .any(|key| !value[*key].is_null())
            || [("base_resp", "status_code"), ("header", "code")]
                .iter()
                .any(|(key, code)| value[*key][*code].as_i64().is_some_and(|c| c != 0))
            || !value["Response"]["Error"].is_null()
            || value["success"] == false;
        speaks_of_error
            .then(|| self.of_good_status(error_value(200, &value, self.head.error_context())))
    }

    /// Adjusts an error that came with a success status: it is a stream error or an unexpected
    /// answer, never an HTTP error.
    fn of_good_status(&self, found: Classified) -> Classified {
        let is_stream = self.dialect.framing(self.endpoint) != Framing::Document;
        let fault = match found.fault {
            Fault::Http5xx | Fault::HttpUnexpected | Fault::StreamError if is_stream => {
                Fault::StreamError
            }
            Fault::Http5xx | Fault::StreamError => Fault::HttpUnexpected,
            fault => fault,
        };
        Classified { fault, ..found }
    }

    fn fault_of_answer(&mut self) -> Option<Classified> {
        if let Some(error) = &self.answer.error {
            let error = serde_json::json!({"error": error});
            return Some(self.of_good_status(error_value(200, &error, self.head.error_context())));
        }
        if self.answer.malformed {
            let garbage = std::mem::take(&mut self.answer.garbage);
            return Some(Classified::new(Fault::StreamMalformed, garbage));
        }
        if !self.answer.complete {
            return Some(plain(Fault::StreamTruncated));
        }
        let expect = &self.endpoint.expect;
        let Problem { fault, expected } = match &expect.tool {
            Some(tool) if self.dialect == Dialect::Mcp => check_listed(&self.answer, tool)?,
            _ => check(&self.answer, expect)?,
        };
        Some(Classified::new(fault, expected))
    }

    /// Classifies a body that came with an unexpected status.
    fn error(&self, text: &str) -> Classified {
        let status = self.head.status;
        let found = error_answer(status, text, self.head.error_context());
        match &self.head.location {
            Some(location) if found.fault == Fault::HttpRedirect => Classified {
                message: format!("HTTP {status} to {location}"),
                ..found
            },
            _ if self.dialect == Dialect::Http => of_a_page(status, found),
            _ => found,
        }
    }

    fn is_wanted(&self) -> bool {
        let status = self.head.status;
        match self.dialect {
            Dialect::Http if self.endpoint.expect_status.is_empty() => {
                (200..300).contains(&status) && self.head.challenger.is_none()
            }
            Dialect::Http => self.endpoint.expect_status.contains(&status),
            Dialect::Realtime => status == 101,
            _ => status == 200,
        }
    }
}

/// Applies the events of a stream to the answer.
struct Progress<'a> {
    dialect: Dialect,
    answer: &'a mut Answer,
    times: &'a mut Times,
    ended: &'a mut bool,
    /// When the events arrived.
    at: f64,
}

impl Progress<'_> {
    /// Records arriving audio. It counts as tokens, though it is not decoded.
    fn sound(&mut self, bytes: usize) {
        let times = &mut *self.times;
        times.first_event.get_or_insert(self.at);
        times.first_token.get_or_insert(self.at);
        times.first_any_token.get_or_insert(self.at);
        times.last_token = Some(self.at);
        if let Some(last) = times.last_content.replace(self.at) {
            times.max_gap = Some(times.max_gap.unwrap_or(0.0).max(self.at - last));
        }
        if bytes > 0 {
            "sound".clone_into(&mut self.answer.text);
        }
    }

    fn event(&mut self, data: &str, is_error: bool) {
        // Ignore events after the end, even in the same chunk.
        if *self.ended {
            return;
        }
        let times = &mut *self.times;
        times.events = times.events.saturating_add(1);
        times.first_event.get_or_insert(self.at);
        let event = if is_error {
            Dialect::error(self.answer, data)
        } else {
            self.dialect.event(self.answer, data)
        };
        match event {
            StreamEvent::Nothing => return,
            StreamEvent::End | StreamEvent::Garbage => {
                *self.ended = true;
                return;
            }
            StreamEvent::Reasoning => {}
            StreamEvent::Text => {
                times.first_token_event.get_or_insert(times.events);
                times.first_token.get_or_insert(self.at);
                times.last_token = Some(self.at);
            }
        }
        times.first_any_token.get_or_insert(self.at);
        times.first_any_token_event.get_or_insert(times.events);
        if let Some(last) = times.last_content.replace(self.at) {
            times.max_gap = Some(times.max_gap.unwrap_or(0.0).max(self.at - last));
        }
    }

    /// Handles an event that was cut off by the end of the stream. It may be a last error, but an
    /// incomplete event does not count as malformed.
    fn last_event(&mut self, data: &str, is_error: bool) {
        let is_complete =
            data.starts_with("[DONE]") || serde_json::from_str::<IgnoredAny>(data).is_ok();
        if is_complete || is_error {
            self.event(data, is_error);
        }
    }
}

/// Limits the faults of a plain web page. A page has no API account, except that its edge may block
/// a region.
fn of_a_page(status: u16, found: Classified) -> Classified {
    let fault = match found.fault {
        Fault::AccountRegion
        | Fault::HttpRedirect
        | Fault::HttpEdge
        | Fault::Http5xx
        | Fault::LocalProxy => found.fault,
        _ if status >= 500 => Fault::Http5xx,
        _ => Fault::HttpUnexpected,
    };
    Classified { fault, ..found }
}

/// Decodes Latin-1 if the headers declare it, otherwise UTF-8.
fn decoded_text(bytes: Vec<u8>, charset: Option<&str>) -> String {
    if matches!(charset, Some("iso-8859-1" | "latin1" | "windows-1252")) {
        return bytes.into_iter().map(char::from).collect();
    }
    String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

fn not_text(fault: Fault, NotText(received): &NotText) -> Classified {
    Classified::new(fault, format!("not UTF-8: {received}"))
}

fn too_large() -> Classified {
    Classified::new(Fault::BodyTooLarge, format!("more than {MAX_BYTES} bytes"))
}

fn plain(fault: Fault) -> Classified {
    Classified::new(fault, String::new())
}
