//! Reads a server's replies, limited in size. Like other clients, it accepts bare line feeds and
//! invalid UTF-8.

use std::fmt;

use tokio::io::{AsyncRead, AsyncReadExt};

use super::SmtpError;

/// The maximum size of a reply in bytes. RFC 5321 has lines of 512 bytes, and about twenty of them
/// are needed.
const MAX_REPLY: usize = 64 * 1024;
/// The maximum number of characters of a reply that are shown.
const MAX_SHOWN: usize = 300;
/// How many bytes are read at a time.
const CHUNK: usize = 2048;

/// One reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SmtpReply {
    pub(super) code: u16,
    /// The text of each line, without the code.
    pub(super) lines: Vec<String>,
}

impl SmtpReply {
    /// Reports whether the command was accepted or may continue.
    pub(super) fn is_positive(&self) -> bool {
        (200..400).contains(&self.code)
    }

    /// Reports whether the same command would be rejected again.
    pub(super) fn is_permanent(&self) -> bool {
        (500..600).contains(&self.code)
    }
}

impl fmt::Display for SmtpReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{} {}", self.code, self.lines.join(" "));
        let text = text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(MAX_SHOWN);
        f.write_str(text.collect::<String>().trim_end())
    }
}

/// Splits the received bytes into replies.
#[derive(Debug, Default)]
pub(super) struct ReplyReader {
    /// Received bytes that belong to no reply yet.
    buffer: Vec<u8>,
}

impl ReplyReader {
    /// Reports whether nothing was received beyond the last reply.
    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Reads the next reply.
    pub(super) async fn next(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> Result<SmtpReply, SmtpError> {
        let mut lines = Vec::new();
        let mut size = 0;
        loop {
            let line = self.line(stream, MAX_REPLY - size).await?;
            size += line.len();
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end_matches(['\r', '\n']);
            let (code, is_last, text) = parse(text)?;
            lines.push(text.to_owned());
            if is_last {
                return Ok(SmtpReply { code, lines });
            }
        }
    }

    /// Reads the next line with its end, of at most `room` bytes.
    async fn line(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        room: usize,
    ) -> Result<Vec<u8>, SmtpError> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.buffer[searched..].iter().position(|b| *b == b'\n') {
                let rest = self.buffer.split_off(searched + at + 1);
                let line = std::mem::replace(&mut self.buffer, rest);
                if line.len() >= room {
                    return Err(too_long());
                }
                return Ok(line);
            }
            searched = self.buffer.len();
            if searched >= room {
                return Err(too_long());
            }
            let mut chunk = [0; CHUNK];
            match stream.read(&mut chunk).await {
                Ok(0) => {
                    return Err(SmtpError::transient(
                        "the mail server closed the connection",
                    ));
                }
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(error) => return Err(SmtpError::io(&error)),
            }
        }
    }
}

fn too_long() -> SmtpError {
    SmtpError::transient(format!(
        "the mail server sent a reply of more than {} KiB",
        MAX_REPLY / 1024
    ))
}

/// Parses the code of a line, whether it is the reply's last, and its text.
fn parse(line: &str) -> Result<(u16, bool, &str), SmtpError> {
    let foreign = || SmtpError::transient("the port does not speak SMTP");
    let digits = line.get(..3).ok_or_else(foreign)?;
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(foreign());
    }
    let code = digits.parse().map_err(|_| foreign())?;
    match line.as_bytes().get(3) {
        None => Ok((code, true, "")),
        Some(b' ') => Ok((code, true, &line[4..])),
        Some(b'-') => Ok((code, false, &line[4..])),
        Some(_) => Err(foreign()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    async fn read(bytes: &[u8]) -> Result<SmtpReply, SmtpError> {
        ReplyReader::default().next(&mut &*bytes).await
    }

    #[tokio::test]
    async fn bare_line_feeds_and_other_than_utf8_are_read() {
        let reply = read(b"250-mail.example.com\n250-AUTH PLAIN\r\n250 Gr\xfc\xdfe\n").await;
        let reply = reply.unwrap();
        assert_eq!(reply.code, 250);
        assert_eq!(
            reply.lines,
            ["mail.example.com", "AUTH PLAIN", "Gr\u{fffd}\u{fffd}e"]
        );
        assert_eq!(read(b"220\r\n").await.unwrap().lines, [""]);
        assert_eq!(
            read(b"451 4.7.1 \x1b[31mno\r\n").await.unwrap().to_string(),
            "451 4.7.1  [31mno"
        );
    }

    #[tokio::test]
    async fn a_reply_is_limited_whether_or_not_its_lines_end() {
        for part in [&b"a"[..], b"250-a\r\n"] {
            let endless = part.repeat(4 * MAX_REPLY / part.len());
            let error = read(&endless).await.unwrap_err();
            assert_eq!(
                error.text,
                "the mail server sent a reply of more than 64 KiB"
            );
        }
        assert!(read(b"HTTP/1.1 400 Bad Request\r\n").await.is_err());
        assert!(read(b"25").await.is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _ = runtime.block_on(read(&bytes));
        }
    }
}
