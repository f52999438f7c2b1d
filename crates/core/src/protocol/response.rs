//! One answer, from its head to its end: a state machine that is fed bytes with the times at which they arrived and
//! says what the probe has seen. Pure; the transport feeds it from a socket, a test from a file.

use serde::de::IgnoredAny;

use super::assertions::judge;
use super::dialect::{Answer, Brought, Dialect, Framing};
use super::error::{Around, Said, error_answer, error_value, page_words};
use super::ndjson::Lines;
use super::response_head::Head;
use super::sse::{NotText, Sse};
use crate::model::{Endpoint, Fault};

/// An answer may have so many bytes. A word and its wrapping take one or two kilobytes; a page of the web less than
/// this.
const MOST_BYTES: usize = 1024 * 1024;

/// The state of one answer.
pub struct Exchange<'e> {
    endpoint: &'e Endpoint,
    dialect: Dialect,
    head: Head,
    form: Form,
    answer: Answer,
    bytes: usize,
    /// What went wrong on the way, beyond which nothing is read.
    broken: Option<Said>,
    ended: bool,
    /// When things arrived.
    pub times: Times,
}

/// How the body is read.
enum Form {
    /// A stream is hoped for; nothing but white space has come yet.
    Hoped(Framing),
    Events(Sse),
    /// The first line of what should be one object a line, as far as it has come.
    FirstLine(Vec<u8>),
    Lines(Lines),
    Whole(Vec<u8>),
}

impl Form {
    /// What the first byte that is no white space tells. A server that was asked for a stream of events may answer with
    /// a document all the same: an error, a page of something in between, or because it cannot stream. Its content type
    /// is no help, since it is wrong as often as not.
    fn begun_with(hoped: Framing, byte: u8) -> Self {
        match (hoped, byte) {
            (Framing::Lines, b'{') => Self::FirstLine(Vec::new()),
            (_, b'{' | b'[' | b'<') | (Framing::Lines | Framing::Whole, _) => {
                Self::Whole(Vec::new())
            }
            (Framing::Events, _) => Self::Events(Sse::default()),
        }
    }
}

/// When things arrived, in milliseconds since the start of the probe, and how many.
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
    /// The last content of any kind, and the longest wait between two.
    last_content: Option<f64>,
    /// The longest wait between two pieces of content.
    pub max_gap: Option<f64>,
    /// The number of events.
    pub events: u32,
    /// The number of the event that brought the first token, from 1.
    pub first_token_event: Option<u32>,
    /// The same of the first token of any kind.
    pub first_any_token_event: Option<u32>,
}

/// How an answer ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// What is known of the answer.
    pub answer: Answer,
    /// What went wrong and the provider's words on it.
    pub fault: Option<(Fault, Option<String>)>,
}

impl<'e> Exchange<'e> {
    /// An answer that begins with `head`.
    pub fn new(endpoint: &'e Endpoint, dialect: Dialect, head: Head) -> Self {
        let form = match dialect.framing(endpoint) {
            Framing::Whole => Form::Whole(Vec::new()),
            _ if head.status != 200 => Form::Whole(Vec::new()),
            hoped => Form::Hoped(hoped),
        };
        Self {
            endpoint,
            dialect,
            form,
            answer: Answer::default(),
            bytes: 0,
            broken: head.encoded.then(|| Said {
                fault: Fault::BodyMalformed,
                words: format!(
                    "HTTP {}: the body is compressed, though that was not asked for",
                    head.status
                ),
            }),
            ended: false,
            times: Times::default(),
            head,
        }
    }

    /// Whether reading on can bring anything.
    pub fn is_over(&self) -> bool {
        self.ended || self.broken.is_some()
    }

    /// When content last arrived, in milliseconds since the start.
    pub fn last_content(&self) -> Option<f64> {
        self.times.last_content
    }

    /// Whether events are waited for, and so a first token.
    pub fn is_stream(&self) -> bool {
        !matches!(self.form, Form::Whole(_))
    }

    /// Takes a part of the body in that arrived at `at`.
    pub fn take(&mut self, part: &[u8], at: f64) {
        if self.is_over() {
            return;
        }
        self.bytes += part.len();
        if self.bytes > MOST_BYTES {
            let words = format!("more than {MOST_BYTES} bytes");
            self.broken = Some(Said {
                fault: Fault::BodyTooLarge,
                words,
            });
            return;
        }
        let mut part = part;
        if let Form::Hoped(hoped) = self.form {
            // White space before the first event has no meaning, and before a document neither.
            let Some(start) = part.iter().position(|b| !b.is_ascii_whitespace()) else {
                return;
            };
            part = &part[start..];
            // Some servers begin a text with a byte order mark.
            let begin = part
                .strip_prefix(b"\xef\xbb\xbf")
                .and_then(|rest| rest.first())
                .unwrap_or(&part[0]);
            self.form = Form::begun_with(hoped, *begin);
        }
        let first;
        if let Form::FirstLine(line) = &mut self.form {
            let before = line.len();
            line.extend_from_slice(part);
            let Some(end) = part
                .iter()
                .position(|b| matches!(b, b'\n' | b'\r'))
                .map(|at| before + at)
            else {
                return;
            };
            first = std::mem::take(line);
            part = &first;
            // A document over several lines is none of objects a line.
            let is_object = serde_json::from_slice::<IgnoredAny>(&first[..end]).is_ok();
            self.form = if is_object {
                Form::Lines(Lines::default())
            } else {
                Form::Whole(Vec::new())
            };
        }
        let Self {
            form,
            dialect,
            answer,
            times,
            ended,
            ..
        } = self;
        let mut each = |data: &str, is_error: bool| {
            event(*dialect, answer, times, ended, (data, is_error), at)
        };
        let read = match form {
            Form::Hoped(_) | Form::FirstLine(_) => Ok(()),
            Form::Whole(body) => {
                body.extend_from_slice(part);
                Ok(())
            }
            Form::Events(sse) => sse.feed(part, each),
            Form::Lines(lines) => lines.feed(part, |line| each(line, false)),
        };
        // What cannot be read behind the end does not matter.
        if let Err(unread) = read
            && !self.ended
        {
            self.broken = Some(not_text(Fault::StreamMalformed, &unread));
        }
    }

    /// The body has ended at `at`.
    pub fn end(&mut self, at: f64) {
        let Self {
            form,
            dialect,
            answer,
            times,
            ended,
            ..
        } = self;
        // What was left unfinished is looked at for a last error; half an event is no malformed one.
        let mut each = |data: &str, is_error: bool| {
            let is_whole =
                serde_json::from_str::<IgnoredAny>(data).is_ok() || data.starts_with("[DONE]");
            if is_whole || is_error {
                event(*dialect, answer, times, ended, (data, is_error), at);
            }
        };
        // Bytes that are no text here are half a character.
        let _ = match form {
            Form::Events(sse) => sse.end(each),
            Form::Lines(lines) => lines.end(|line| each(line, false)),
            // The only line needs no line feed.
            Form::FirstLine(line) => {
                let mut lines = Lines::default();
                lines
                    .feed(line, |_| ())
                    .and_then(|()| lines.end(|line| each(line, false)))
            }
            Form::Hoped(_) | Form::Whole(_) => Ok(()),
        };
        self.ended = true;
    }

    /// What came of it.
    pub fn outcome(mut self) -> Outcome {
        let fault = self
            .fault()
            .map(|said| (said.fault, Some(said.words).filter(|w| !w.is_empty())));
        Outcome {
            answer: self.answer,
            fault,
        }
    }

    fn fault(&mut self) -> Option<Said> {
        let around = self.head.around();
        let status = self.head.status;
        if let Some(broken) = self.broken.take() {
            // The status of an error says enough without its words.
            let is_error = self.head.encoded && !self.is_wanted(status);
            let fault = if is_error {
                self.error(status, "", around).fault
            } else {
                broken.fault
            };
            return Some(Said { fault, ..broken });
        }
        if let Form::Whole(bytes) = &mut self.form {
            let bytes = std::mem::take(bytes);
            let text = String::from_utf8(bytes);
            if !self.is_wanted(status) {
                let text =
                    text.unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
                return Some(self.error(status, &text, around));
            }
            let text = match text {
                Ok(text) => text,
                Err(e) => return Some(not_text(Fault::BodyMalformed, &NotText::of(e.as_bytes()))),
            };
            self.dialect.body(&mut self.answer, &text);
            if self.dialect == Dialect::Http {
                let checked = &self.endpoint.expect;
                let any = checked.contains.is_some()
                    || checked.equals.is_some()
                    || checked.matches.is_some()
                    || checked.json_schema.is_some();
                return judge(&self.answer, checked).filter(|_| any).map(plain);
            }
            if self.answer.malformed {
                return Some(Said {
                    fault: Fault::BodyMalformed,
                    words: page_words(status, &text),
                });
            }
        }
        if let Some(error) = &self.answer.error {
            let said = error_value(200, &serde_json::json!({"error": error}), around);
            let fault = match (said.fault, self.is_stream()) {
                (Fault::Http5xx | Fault::HttpUnexpected, true) => Fault::StreamError,
                (Fault::StreamError, false) => Fault::Http5xx,
                (fault, _) => fault,
            };
            return Some(Said { fault, ..said });
        }
        if self.answer.malformed {
            return Some(Said {
                fault: Fault::StreamMalformed,
                words: std::mem::take(&mut self.answer.garbage),
            });
        }
        if !self.answer.complete {
            return Some(plain(Fault::StreamTruncated));
        }
        judge(&self.answer, &self.endpoint.expect).map(plain)
    }

    /// What a body says that came with a status that is not wanted.
    fn error(&self, status: u16, text: &str, around: Around) -> Said {
        let said = error_answer(status, text, around);
        match &self.head.location {
            Some(location) if said.fault == Fault::HttpRedirect => Said {
                words: format!("HTTP {status} to {location}"),
                ..said
            },
            _ if self.dialect == Dialect::Http => of_a_page(status, said),
            _ => said,
        }
    }

    fn is_wanted(&self, status: u16) -> bool {
        match self.dialect {
            Dialect::Http if self.endpoint.expect_status.is_empty() => (200..300).contains(&status),
            Dialect::Http => self.endpoint.expect_status.contains(&status),
            _ => status == 200,
        }
    }
}

fn event(
    dialect: Dialect,
    answer: &mut Answer,
    times: &mut Times,
    ended: &mut bool,
    (data, is_error): (&str, bool),
    at: f64,
) {
    // What follows the end in the same piece is not read, as it would not be in the next.
    if *ended {
        return;
    }
    times.events += 1;
    times.first_event.get_or_insert(at);
    let brought = if is_error {
        Dialect::error(answer, data)
    } else {
        dialect.event(answer, data)
    };
    match brought {
        Brought::Nothing => return,
        Brought::End | Brought::Garbage => {
            *ended = true;
            return;
        }
        Brought::Reasoning => {}
        Brought::Text => {
            times.first_token_event.get_or_insert(times.events);
            times.first_token.get_or_insert(at);
            times.last_token = Some(at);
        }
    }
    times.first_any_token.get_or_insert(at);
    times.first_any_token_event.get_or_insert(times.events);
    if let Some(last) = times.last_content.replace(at) {
        times.max_gap = Some(times.max_gap.unwrap_or(0.0).max(at - last));
    }
}

/// A web page's refusal says nothing about an API's account: only the edge's challenge does.
fn of_a_page(status: u16, said: Said) -> Said {
    let fault = match said.fault {
        Fault::AccountRegion | Fault::HttpRedirect | Fault::HttpEdge | Fault::Http5xx => said.fault,
        _ if status >= 500 => Fault::Http5xx,
        _ => Fault::HttpUnexpected,
    };
    Said { fault, ..said }
}

fn not_text(fault: Fault, NotText(received): &NotText) -> Said {
    Said {
        fault,
        words: format!("not UTF-8: {received}"),
    }
}

fn plain(fault: Fault) -> Said {
    Said {
        fault,
        words: String::new(),
    }
}
