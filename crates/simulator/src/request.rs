//! A minimal HTTP/1.1 server with one request per connection: a bounded reader, and a writer of
//! heads.

use std::fmt::Write as _;
use std::io;

use http::StatusCode;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The maximum size of the request line and headers: OpenAI's limit.
const HEAD_LIMIT: usize = 64 * 1024;

/// The maximum size of a body, far above any probe or notification.
const BODY_LIMIT: usize = 4 * 1024 * 1024;

/// One HTTP request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method as sent, such as `POST`.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The part after the `?`.
    pub query: Option<String>,
    /// Header names in lower case, in the order sent.
    pub headers: Vec<(String, String)>,
    /// The complete body.
    pub body: Vec<u8>,
}

/// Why no request could be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("the client hung up before its request was complete")]
    HungUp,
    #[error("not an HTTP/1.1 request: {0}")]
    Malformed(&'static str),
    #[error("the request is larger than {BODY_LIMIT} bytes")]
    TooLarge,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Request {
    /// Returns the value of the first header with this (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// Returns the raw value of a query parameter.
    pub(crate) fn query_value(&self, name: &str) -> Option<&str> {
        self.query
            .as_deref()?
            .split('&')
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }

    /// Returns the API key of the caller, in any vendor's way: `Authorization: Bearer KEY`,
    /// `api-key` (Azure), `x-api-key` (Anthropic), `x-goog-api-key` or `?key=` (Google).
    pub(crate) fn shown_key(&self) -> Option<&str> {
        self.header("authorization")
            .map(|value| value.strip_prefix("Bearer ").unwrap_or(value))
            .or_else(|| {
                ["api-key", "x-api-key", "x-goog-api-key"]
                    .iter()
                    .find_map(|name| self.header(name))
            })
            .or_else(|| {
                let query = self.query.as_deref()?;
                query.split('&').find_map(|pair| pair.strip_prefix("key="))
            })
    }

    /// Parses the body as JSON.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

/// Reads one request, head and body.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Request, ReadError> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(end) = find_head_end(&bytes) {
            break end;
        }
        if bytes.len() > HEAD_LIMIT {
            return Err(ReadError::TooLarge);
        }
        // A TLS ClientHello never contains the end of a head, so reject it at once.
        if bytes
            .first()
            .is_some_and(|first| !first.is_ascii_alphabetic())
        {
            return Err(ReadError::Malformed("no method"));
        }
        fill(stream, &mut bytes).await?;
    };
    let mut request = parse_head(&bytes[..head_end])?;
    let length = body_length(&request)?;
    let mut body = bytes.split_off(head_end);
    while body.len() < length {
        fill(stream, &mut body).await?;
    }
    body.truncate(length);
    request.body = body;
    Ok(request)
}

/// Writes the status line, the headers and the empty line after them.
pub(crate) fn write_head(status: u16, headers: &[(String, String)]) -> Vec<u8> {
    let reason = StatusCode::from_u16(status)
        .ok()
        .and_then(|code| code.canonical_reason())
        .unwrap_or("Simulated");
    let mut head = format!("HTTP/1.1 {status} {reason}\r\n");
    for (name, value) in headers {
        // Writing to a string cannot fail.
        let _ = write!(head, "{name}: {value}\r\n");
    }
    head.push_str("\r\n");
    head.into_bytes()
}

async fn fill(stream: &mut (impl AsyncRead + Unpin), bytes: &mut Vec<u8>) -> Result<(), ReadError> {
    match stream.read_buf(bytes).await? {
        0 => Err(ReadError::HungUp),
        _ => Ok(()),
    }
}

/// Returns the index after the empty line that ends the head.
fn find_head_end(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .map(|at| at + 4)
}

fn parse_head(head: &[u8]) -> Result<Request, ReadError> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.split("\r\n").take_while(|line| !line.is_empty());
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version)) = (words.next(), words.next(), words.next())
    else {
        return Err(ReadError::Malformed(
            "the request line is not `METHOD TARGET VERSION`",
        ));
    };
    if !version.starts_with("HTTP/1.") {
        return Err(ReadError::Malformed("the version is not HTTP/1"));
    }
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (target, None),
    };
    let headers = lines
        .map(|line| match line.split_once(':') {
            Some((name, value)) => Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned())),
            None => Err(ReadError::Malformed("a header has no colon")),
        })
        .collect::<Result<_, _>>()?;
    Ok(Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query,
        headers,
        body: Vec::new(),
    })
}

fn body_length(request: &Request) -> Result<usize, ReadError> {
    if request.header("transfer-encoding").is_some() {
        return Err(ReadError::Malformed(
            "a chunked request body is not supported",
        ));
    }
    let Some(text) = request.header("content-length") else {
        return Ok(0);
    };
    match text.parse() {
        Ok(length) if length <= BODY_LIMIT => Ok(length),
        Ok(_) => Err(ReadError::TooLarge),
        Err(_) => Err(ReadError::Malformed("content-length is not a number")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POST: &[u8] =
        b"POST /v1/chat/completions?api-version=1 HTTP/1.1\r\nHost: sim\r\nContent-Length: 4\r\n\r\n{} \n";

    async fn read_all(bytes: &[u8]) -> Result<Request, ReadError> {
        read(&mut &bytes[..]).await
    }

    #[tokio::test]
    async fn a_request_is_read_with_its_query_headers_and_body() {
        let request = read_all(POST).await.unwrap();
        assert_eq!(
            (request.method.as_str(), request.path.as_str()),
            ("POST", "/v1/chat/completions")
        );
        assert_eq!(request.query.as_deref(), Some("api-version=1"));
        assert_eq!(request.header("host"), Some("sim"));
        assert_eq!(request.json(), Some(serde_json::json!({})));
    }

    #[tokio::test]
    async fn a_key_is_shown_in_the_way_of_whichever_vendor() {
        for (target, header) in [
            ("/v1", "Authorization: Bearer k"),
            ("/v1", "api-key: k"),
            ("/v1", "x-api-key: k"),
            ("/v1", "x-goog-api-key: k"),
            ("/v1?alt=sse&key=k", "x: y"),
        ] {
            let request = read_all(format!("GET {target} HTTP/1.1\r\n{header}\r\n\r\n").as_bytes())
                .await
                .unwrap();
            assert_eq!(request.shown_key(), Some("k"), "{target} {header}");
        }
        assert_eq!(
            read_all(b"GET /v1?keys=k HTTP/1.1\r\n\r\n")
                .await
                .unwrap()
                .shown_key(),
            None
        );
    }

    #[tokio::test]
    async fn unparseable_request_is_refused_with_a_message() {
        for (bytes, said) in [
            (
                &b"\x16\x03\x01\x02\x00"[..],
                "not an HTTP/1.1 request: no method",
            ),
            (
                b"GET / HTTP/2\r\n\r\n",
                "not an HTTP/1.1 request: the version is not HTTP/1",
            ),
            (
                b"GET /\r\n\r\n",
                "not an HTTP/1.1 request: the request line is not `METHOD TARGET VERSION`",
            ),
            (
                b"GET / HTTP/1.1\r\nnonsense\r\n\r\n",
                "not an HTTP/1.1 request: a header has no colon",
            ),
            (
                b"GET / HTTP/1.1\r\nHost",
                "the client hung up before its request was complete",
            ),
            (
                b"POST / HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n",
                "the request is larger than 4194304 bytes",
            ),
        ] {
            assert_eq!(read_all(bytes).await.unwrap_err().to_string(), said);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_but_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let mut after_a_method = b"GET ".to_vec();
            after_a_method.extend(&bytes);
            for input in [&bytes, &after_a_method] {
                let _ = runtime.block_on(read_all(input));
            }
        }
    }
}
