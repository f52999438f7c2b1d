//! The client's side of SMTP (RFC 5321), with STARTTLS (RFC 3207) and AUTH (RFC 4954).
//!
//! The client is our own for two reasons: every reply needs a size limit, and data that arrives
//! before TLS must never count as a reply that came through TLS.

mod hello;
mod reply;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use self::hello::Hello;
use self::reply::{ReplyReader, SmtpReply};
use crate::config::{Email, Smtp, SmtpTls};

/// Time limit for connecting, including TLS.
const CONNECT: Duration = Duration::from_secs(20);
/// Time limit for the greeting: servers that delay it against spam take up to half a minute.
const GREETING: Duration = Duration::from_mins(1);

/// A connection, encrypted or not.
trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// Why an email was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SmtpError {
    /// The error. It may quote the server, so it must be redacted before it is shown.
    pub(super) text: String,
    pub(super) kind: SmtpErrorKind,
}

/// What a failure means for the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SmtpErrorKind {
    /// Nothing listens there.
    Refused,
    /// Another attempt may succeed.
    Transient,
    /// The login is rejected. Once that is fixed, another attempt may succeed.
    Login,
    /// This recipient is permanently rejected.
    Permanent,
}

impl SmtpError {
    fn transient(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            kind: SmtpErrorKind::Transient,
        }
    }

    /// Classifies the server's rejection of `step`. A rejected login is transient: once it is
    /// fixed, the email is still wanted.
    fn refusal(step: SmtpStep, reply: &SmtpReply) -> Self {
        let about_login = matches!(reply.code, 530 | 534 | 535 | 538);
        Self {
            text: reply.to_string(),
            kind: if about_login {
                SmtpErrorKind::Login
            } else if step == SmtpStep::Message && reply.is_permanent() {
                SmtpErrorKind::Permanent
            } else {
                SmtpErrorKind::Transient
            },
        }
    }

    fn io(error: &io::Error) -> Self {
        let (text, kind) = match error.kind() {
            io::ErrorKind::ConnectionRefused => (
                "the mail server refuses connections".to_owned(),
                SmtpErrorKind::Refused,
            ),
            _ => (io_text(error), SmtpErrorKind::Transient),
        };
        Self { text, kind }
    }
}

/// The part of the session that a command belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SmtpStep {
    /// Greeting, EHLO, STARTTLS and AUTH concern the server and not a recipient.
    Session,
    /// MAIL, RCPT and DATA.
    Message,
}

/// A configured mail server.
pub(super) struct SmtpServer {
    smtp: Smtp,
    hello: Hello,
    tls: Arc<ClientConfig>,
}

impl SmtpServer {
    /// Sets up the server without connecting.
    pub(super) fn new(email: &Email, tls: Arc<ClientConfig>) -> Self {
        Self {
            smtp: email.smtp.clone(),
            hello: Hello::new(email),
            tls,
        }
    }

    /// Connects, encrypts as configured and logs in.
    pub(super) async fn connect(&self) -> Result<SmtpSession, SmtpError> {
        let stream = self.tcp().await?;
        let local = stream.local_addr().ok();
        let mut session = SmtpSession {
            stream: Box::new(stream),
            reader: ReplyReader::default(),
            extensions: Extensions::default(),
            encrypted: false,
        };
        if self.smtp.tls == SmtpTls::Implicit {
            session = self.encrypt(session).await?;
        }
        session.greeting().await?;
        let name = self.hello.name(local);
        session.hello(&name).await?;
        if self.smtp.tls == SmtpTls::Required {
            session = self.starttls(session).await?;
            session.hello(&name).await?;
        }
        if let Some((user, password)) = &self.smtp.credentials {
            session.login(user, password.expose()).await?;
        }
        Ok(session)
    }

    async fn tcp(&self) -> Result<TcpStream, SmtpError> {
        let connected = timeout(CONNECT, async {
            let host = self.smtp.host.as_str();
            let addresses = tokio::net::lookup_host((host, self.smtp.port)).await;
            let addresses: Vec<SocketAddr> = addresses
                .map_err(|_| {
                    SmtpError::transient(format!(
                        "the name of the mail server `{host}` cannot be resolved"
                    ))
                })?
                .collect();
            TcpStream::connect(addresses.as_slice())
                .await
                .map_err(|e| SmtpError::io(&e))
        });
        connected.await.unwrap_or_else(|_| {
            Err(SmtpError::transient(
                "connecting to the mail server timed out",
            ))
        })
    }

    /// Upgrades the session with STARTTLS. Data sent between the server's reply and TLS would be
    /// read as replies from inside TLS. An attacker in the middle could inject it, so it ends the
    /// connection.
    async fn starttls(&self, mut session: SmtpSession) -> Result<SmtpSession, SmtpError> {
        if !session.extensions.starttls {
            return Err(SmtpError::transient(
                "the mail server does not offer STARTTLS, which `smtp` requires: \
                 write `smtps://` if its port expects TLS at once, or add `?tls=none` to send unencrypted",
            ));
        }
        session.command("STARTTLS", SmtpStep::Session).await?;
        if !session.reader.is_empty() {
            return Err(SmtpError::transient(
                "the mail server, or somebody on the way, sent data between its reply to STARTTLS and TLS; \
                 it is refused, because it could be a forged answer",
            ));
        }
        self.encrypt(session).await
    }

    async fn encrypt(&self, session: SmtpSession) -> Result<SmtpSession, SmtpError> {
        let name = ServerName::try_from(self.smtp.host.clone()).map_err(|_| {
            SmtpError::transient("the mail server's name cannot be in a certificate")
        })?;
        let handshake = TlsConnector::from(self.tls.clone()).connect(name, session.stream);
        let stream = timeout(CONNECT, handshake)
            .await
            .map_err(|_| SmtpError::transient("TLS with the mail server timed out"))?
            .map_err(|error| SmtpError::transient(self.tls_text(&error)))?;
        Ok(SmtpSession {
            stream: Box::new(stream),
            reader: ReplyReader::default(),
            extensions: Extensions::default(),
            encrypted: true,
        })
    }

    fn tls_text(&self, error: &io::Error) -> String {
        let cause = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match cause {
            Some(rustls::Error::InvalidCertificate(why)) => {
                let why = match why {
                    CertificateError::UnknownIssuer => {
                        "its issuer is unknown; add its root to `[monitor] ca_file`".to_owned()
                    }
                    why => why.to_string(),
                };
                format!("the certificate of the mail server cannot be trusted: {why}")
            }
            Some(rustls::Error::InvalidMessage(_)) if self.smtp.tls == SmtpTls::Implicit => {
                "the port speaks plain SMTP: write `smtp://` instead of `smtps://`".to_owned()
            }
            Some(why) => format!("TLS with the mail server failed: {why}"),
            None => format!("TLS with the mail server failed: {}", io_text(error)),
        }
    }
}

/// Describes an I/O error without the operating system's error number.
fn io_text(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => "the mail server closed the connection".to_owned(),
        io::ErrorKind::TimedOut => "the mail server did not answer in time".to_owned(),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            "the mail server is unreachable from here".to_owned()
        }
        _ => {
            let text = error.to_string();
            let text = text.split(" (os error").next().unwrap_or_default();
            format!("the connection to the mail server failed: {text}")
        }
    }
}

/// The extensions that the server offers.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an extension of its own"
)]
#[derive(Debug, Clone, Copy, Default)]
struct Extensions {
    starttls: bool,
    plain: bool,
    login: bool,
    eight_bit: bool,
    utf8: bool,
}

impl Extensions {
    fn of(reply: &SmtpReply) -> Self {
        let mut offered = Self::default();
        for line in reply.lines.iter().skip(1) {
            let line = line.to_ascii_uppercase();
            // Some servers still write `AUTH=LOGIN`.
            let mut parts = line.split([' ', '=']);
            match parts.next() {
                Some("STARTTLS") => offered.starttls = true,
                Some("8BITMIME") => offered.eight_bit = true,
                Some("SMTPUTF8") => offered.utf8 = true,
                Some("AUTH") => {
                    for mechanism in parts {
                        offered.plain |= mechanism == "PLAIN";
                        offered.login |= mechanism == "LOGIN";
                    }
                }
                _ => {}
            }
        }
        offered
    }
}

/// An open connection, ready for messages.
pub(super) struct SmtpSession {
    stream: Box<dyn Duplex>,
    reader: ReplyReader,
    extensions: Extensions,
    encrypted: bool,
}

impl SmtpSession {
    /// Sends one message to one recipient. After an error that is not about the recipient the
    /// session is unusable.
    pub(super) async fn send(
        &mut self,
        from: &str,
        to: &str,
        message: &[u8],
    ) -> Result<(), SmtpError> {
        let mut parameters = String::new();
        if !message.is_ascii() && self.extensions.eight_bit {
            parameters += " BODY=8BITMIME";
        }
        if !from.is_ascii() || !to.is_ascii() {
            if !self.extensions.utf8 {
                return Err(SmtpError {
                    text: "the mail server accepts only ASCII addresses".to_owned(),
                    kind: SmtpErrorKind::Permanent,
                });
            }
            parameters += " SMTPUTF8";
        }
        let result = self.transaction(from, to, &parameters, message).await;
        match result {
            Err(error) if error.kind == SmtpErrorKind::Permanent => {
                self.command("RSET", SmtpStep::Session).await?;
                Err(error)
            }
            result => result,
        }
    }

    async fn transaction(
        &mut self,
        from: &str,
        to: &str,
        parameters: &str,
        message: &[u8],
    ) -> Result<(), SmtpError> {
        let mail = format!("MAIL FROM:<{from}>{parameters}");
        let accepted = self.command(&mail, SmtpStep::Message).await;
        accepted.map_err(|error| self.with_advice(error))?;
        let rcpt = format!("RCPT TO:<{to}>");
        self.command(&rcpt, SmtpStep::Message).await?;
        self.command("DATA", SmtpStep::Message).await?;
        self.write(&dot_stuffed(message)).await?;
        let reply = self.reply().await?;
        if reply.is_positive() {
            Ok(())
        } else {
            Err(SmtpError::refusal(SmtpStep::Message, &reply))
        }
    }

    /// Adds which key to set when the server requires STARTTLS.
    fn with_advice(&self, mut error: SmtpError) -> SmtpError {
        if error.text.starts_with("530") && !self.encrypted && self.extensions.starttls {
            error.text +=
                "; the mail server requires STARTTLS: add `?tls=required` to the URL of `smtp`";
        }
        error
    }

    /// Sends QUIT without waiting for the reply.
    pub(super) async fn quit(mut self) {
        let goodbye = async {
            self.stream.write_all(b"QUIT\r\n").await?;
            self.stream.shutdown().await
        };
        // All messages were acknowledged before.
        let _ = timeout(Duration::from_secs(1), goodbye).await;
    }

    async fn greeting(&mut self) -> Result<(), SmtpError> {
        let greeting = timeout(GREETING, self.reply()).await.map_err(|_| {
            let advice = if self.encrypted {
                ""
            } else {
                ": if its port expects TLS at once, write `smtps://` instead of `smtp://`"
            };
            SmtpError::transient(format!("the mail server sends no greeting{advice}"))
        })??;
        if greeting.is_positive() {
            Ok(())
        } else {
            Err(SmtpError::refusal(SmtpStep::Session, &greeting))
        }
    }

    async fn hello(&mut self, name: &str) -> Result<(), SmtpError> {
        self.write(format!("EHLO {name}\r\n").as_bytes()).await?;
        let reply = self.reply().await?;
        if reply.is_positive() {
            self.extensions = Extensions::of(&reply);
            return Ok(());
        }
        if !reply.is_permanent() {
            return Err(SmtpError::refusal(SmtpStep::Session, &reply));
        }
        // RFC 5321, section 3.2: a server without EHLO may support HELO.
        self.extensions = Extensions::default();
        match self
            .command(&format!("HELO {name}"), SmtpStep::Session)
            .await
        {
            Ok(_) => Ok(()),
            Err(error) => Err(SmtpError::transient(format!(
                "the mail server refuses the name `{name}`: {}; set `hello` in `[[email]]`",
                error.text
            ))),
        }
    }

    async fn login(&mut self, user: &str, password: &str) -> Result<(), SmtpError> {
        if self.extensions.plain {
            let response = STANDARD.encode(format!("\0{user}\0{password}"));
            self.command(&format!("AUTH PLAIN {response}"), SmtpStep::Session)
                .await?;
            return Ok(());
        }
        if self.extensions.login {
            self.command("AUTH LOGIN", SmtpStep::Session).await?;
            self.command(&STANDARD.encode(user), SmtpStep::Session)
                .await?;
            self.command(&STANDARD.encode(password), SmtpStep::Session)
                .await?;
            return Ok(());
        }
        let advice = if !self.encrypted && self.extensions.starttls {
            ": it offers STARTTLS, so add `?tls=required` to the URL of `smtp`"
        } else {
            ", so remove name and password from the URL of `smtp`, or use the port for submission"
        };
        Err(SmtpError::transient(format!(
            "the mail server offers no login by AUTH PLAIN or AUTH LOGIN{advice}"
        )))
    }

    async fn command(&mut self, command: &str, step: SmtpStep) -> Result<SmtpReply, SmtpError> {
        self.write(format!("{command}\r\n").as_bytes()).await?;
        let reply = self.reply().await?;
        if reply.is_positive() {
            Ok(reply)
        } else {
            Err(SmtpError::refusal(step, &reply))
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), SmtpError> {
        let written = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        written.await.map_err(|e| SmtpError::io(&e))
    }

    async fn reply(&mut self) -> Result<SmtpReply, SmtpError> {
        self.reader.next(&mut self.stream).await
    }
}

/// Returns the replies in `bytes`, formatted, up to the first invalid one: for the fuzz target.
#[doc(hidden)]
pub fn read_replies(bytes: &[u8]) -> Vec<String> {
    let mut source = bytes;
    let mut reader = ReplyReader::default();
    let mut replies = Vec::new();
    // A slice is always ready.
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        let next = std::pin::pin!(reader.next(&mut source));
        match next.poll(&mut context) {
            std::task::Poll::Ready(Ok(reply)) => replies.push(reply.to_string()),
            _ => return replies,
        }
    }
}

/// Doubles leading dots and appends the end mark (RFC 5321, section 4.5.2).
fn dot_stuffed(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 64);
    for line in message.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    if !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_dots_are_doubled_and_the_end_is_marked() {
        assert_eq!(
            dot_stuffed(b".a\r\nb.\r\n..\r\n"),
            b"..a\r\nb.\r\n...\r\n.\r\n"
        );
        assert_eq!(dot_stuffed(b"a"), b"a\r\n.\r\n");
    }

    #[test]
    fn extensions_are_read_in_any_case_and_the_old_form_of_auth() {
        let reply = SmtpReply {
            code: 250,
            lines: [
                "STARTTLS",
                "starttls",
                "AUTH=LOGIN",
                "auth xoauth2 plain",
                "SMTPUTF8",
            ]
            .map(str::to_owned)
            .to_vec(),
        };
        let offered = Extensions::of(&reply);
        assert!(offered.starttls && offered.plain && offered.login && offered.utf8);
        assert!(!offered.eight_bit);
    }
}
