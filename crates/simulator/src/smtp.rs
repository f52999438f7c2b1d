//! The server's side of one SMTP session (RFC 5321), with AUTH PLAIN and LOGIN (RFC 4954) and
//! STARTTLS (RFC 3207).

use std::future::pending;
use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio_rustls::TlsAcceptor;

use crate::clock;
use crate::mail::{Login, Mail, MailFault, MailStage, SmtpState};
use llmwatch_core::model::Secret;

/// The maximum length of a line, in commands and messages; RFC 5321 requires 1000 bytes.
const LINE_LIMIT: u64 = 64 * 1024;

/// The maximum size of a message.
const MESSAGE_LIMIT: usize = 10 * 1024 * 1024;

/// The maximum number of recipients per message: ten times what RFC 5321 §4.5.3.1.8 requires.
const RECIPIENT_LIMIT: usize = 1000;

/// A connection, encrypted or not.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// The dialogue with one client.
pub(crate) struct Session<'a> {
    stream: BufReader<Box<dyn Duplex>>,
    /// The acceptor for STARTTLS; `None` if it is not offered or is already in use.
    tls: Option<TlsAcceptor>,
    post_office: &'a SmtpState,
    logged_in: bool,
    from: Option<String>,
    to: Vec<String>,
}

/// How the dialogue continues.
enum Next {
    Command,
    Encrypt,
    Close,
}

impl<'a> Session<'a> {
    pub(crate) fn new(
        stream: Box<dyn Duplex>,
        tls: Option<TlsAcceptor>,
        post_office: &'a SmtpState,
    ) -> Self {
        Self {
            stream: BufReader::new(stream),
            tls,
            post_office,
            logged_in: false,
            from: None,
            to: Vec::new(),
        }
    }

    /// Runs the dialogue until the client leaves or the fault ends it.
    pub(crate) async fn run(mut self) -> io::Result<()> {
        self.reply("220 mail.simulated.test ESMTP").await?;
        if self.post_office.fault() == MailFault::HangAfterBanner {
            return pending().await;
        }
        // Unread lines stay in the buffer, so that pipelined commands (RFC 2920) are answered in
        // order.
        while let Some(line) = self.line().await? {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
            match self.command(&verb.to_ascii_uppercase(), rest).await? {
                Next::Command => {}
                Next::Close => break,
                Next::Encrypt => {
                    let Some(tls) = self.tls.take() else { break };
                    // Discard what was sent before encryption, together with the buffer (RFC 3207
                    // §6).
                    self.stream =
                        BufReader::new(Box::new(tls.accept(self.stream.into_inner()).await?));
                    self.from = None;
                    self.to.clear();
                }
            }
        }
        Ok(())
    }

    async fn command(&mut self, verb: &str, rest: &str) -> io::Result<Next> {
        match verb {
            "HELO" => self.reply("250 mail.simulated.test").await?,
            "EHLO" => self.hello().await?,
            "STARTTLS" if self.tls.is_some() => {
                self.reply("220 2.0.0 Ready to start TLS").await?;
                return Ok(Next::Encrypt);
            }
            "AUTH" => self.auth(rest).await?,
            "MAIL" => self.mail(rest).await?,
            "RCPT" => self.rcpt(rest).await?,
            "DATA" => return self.data().await,
            "RSET" => {
                self.forget();
                self.reply("250 2.0.0 OK").await?;
            }
            "NOOP" => self.reply("250 2.0.0 OK").await?,
            "QUIT" => {
                self.reply("221 2.0.0 Bye").await?;
                return Ok(Next::Close);
            }
            _ => self.reply("502 5.5.1 Command not implemented").await?,
        }
        Ok(Next::Command)
    }

    async fn hello(&mut self) -> io::Result<()> {
        self.forget();
        let auth = if self.post_office.login().is_some() {
            "250-AUTH PLAIN LOGIN\r\n"
        } else {
            ""
        };
        let tls = if self.tls.is_some() {
            "250-STARTTLS\r\n"
        } else {
            ""
        };
        let capabilities = format!(
            "250-mail.simulated.test\r\n{tls}{auth}250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n\
             250-ENHANCEDSTATUSCODES\r\n250 SIZE {MESSAGE_LIMIT}"
        );
        self.reply(&capabilities).await
    }

    async fn auth(&mut self, rest: &str) -> io::Result<()> {
        let (mechanism, initial) = rest
            .split_once(' ')
            .map_or((rest, None), |(name, text)| (name, Some(text.to_owned())));
        let shown = match mechanism.to_ascii_uppercase().as_str() {
            "PLAIN" => {
                let text = self.secret(initial, "").await?;
                // "authorization identity NUL user NUL password"
                let mut parts = text.split('\0').skip(1).map(str::to_owned);
                (
                    parts.next().unwrap_or_default(),
                    parts.next().unwrap_or_default(),
                )
            }
            "LOGIN" => (
                self.secret(initial, "VXNlcm5hbWU6").await?,
                self.secret(None, "UGFzc3dvcmQ6").await?,
            ),
            _ => return self.reply("504 5.5.4 Mechanism not supported").await,
        };
        let shown = Login {
            user: shown.0,
            password: Secret::new(shown.1),
        };
        self.logged_in = self.post_office.login() == Some(shown);
        if self.logged_in {
            self.reply("235 2.7.0 Authentication successful").await
        } else {
            self.reply("535 5.7.8 Authentication credentials invalid")
                .await
        }
    }

    /// Returns the client's response to a challenge, unless the command included it; empty if it is
    /// not base64.
    async fn secret(&mut self, initial: Option<String>, challenge: &str) -> io::Result<String> {
        let encoded = if let Some(encoded) = initial {
            encoded.into_bytes()
        } else {
            self.reply(&format!("334 {challenge}")).await?;
            self.line().await?.unwrap_or_default()
        };
        let bytes = STANDARD.decode(encoded.trim_ascii()).unwrap_or_default();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn mail(&mut self, rest: &str) -> io::Result<()> {
        if self.post_office.login().is_some() && !self.logged_in {
            return self.reply("530 5.7.0 Authentication required").await;
        }
        if let Some(refusal) = self.refusal(MailStage::Mail) {
            return self.reply(refusal).await;
        }
        self.forget();
        self.from = address(rest, "FROM:");
        match self.from {
            Some(_) => self.reply("250 2.1.0 OK").await,
            None => self.reply("501 5.1.7 Bad sender address syntax").await,
        }
    }

    async fn rcpt(&mut self, rest: &str) -> io::Result<()> {
        if self.from.is_none() {
            return self.reply("503 5.5.1 MAIL first").await;
        }
        if let Some(refusal) = self.refusal(MailStage::Rcpt) {
            return self.reply(refusal).await;
        }
        let Some(recipient) = address(rest, "TO:") else {
            return self.reply("501 5.1.3 Bad recipient address syntax").await;
        };
        if self.post_office.fault() == MailFault::RejectRecipient(recipient.clone()) {
            return self.reply("550 5.1.1 No such mailbox").await;
        }
        if self.to.len() == RECIPIENT_LIMIT {
            return self.reply("452 4.5.3 Too many recipients").await;
        }
        self.to.push(recipient);
        self.reply("250 2.1.5 OK").await
    }

    async fn data(&mut self) -> io::Result<Next> {
        let from = match self.from.take() {
            Some(from) if !self.to.is_empty() => from,
            _ => {
                self.reply("503 5.5.1 MAIL and RCPT first").await?;
                return Ok(Next::Command);
            }
        };
        self.reply("354 End data with <CR><LF>.<CR><LF>").await?;
        let fault = self.post_office.fault();
        let mut data = Vec::new();
        loop {
            let Some(line) = self.line().await? else {
                return Ok(Next::Close);
            };
            if fault == MailFault::DisconnectInData {
                return Ok(Next::Close);
            }
            match line.strip_prefix(b".") {
                Some(b"\r\n" | b"\n") => break,
                unstuffed if data.len() <= MESSAGE_LIMIT => {
                    data.extend_from_slice(unstuffed.unwrap_or(&line));
                }
                _ => {}
            }
        }
        let to = std::mem::take(&mut self.to);
        if let Some(refusal) = self.refusal(MailStage::Data) {
            self.reply(refusal).await?;
        } else if data.len() > MESSAGE_LIMIT {
            self.reply("552 5.3.4 Message too big").await?;
        } else {
            self.post_office.mails.push(Mail {
                from,
                to,
                data,
                received_at: clock::now(),
            });
            self.reply("250 2.0.0 OK").await?;
        }
        Ok(Next::Command)
    }

    /// Returns the fault's reply at `stage`.
    fn refusal(&self, stage: MailStage) -> Option<&'static str> {
        match self.post_office.fault() {
            MailFault::Transient(at) if at == stage => {
                Some("451 4.3.0 Temporary failure, try again later")
            }
            MailFault::Permanent(at) if at == stage => Some("554 5.7.1 Refused by policy"),
            _ => None,
        }
    }

    fn forget(&mut self) {
        self.from = None;
        self.to.clear();
    }

    async fn reply(&mut self, text: &str) -> io::Result<()> {
        if let MailFault::Drip(wait) = self.post_office.fault() {
            for byte in format!("{text}\r\n").as_bytes() {
                self.stream.write_all(std::slice::from_ref(byte)).await?;
                self.stream.flush().await?;
                tokio::time::sleep(wait).await;
            }
            return Ok(());
        }
        self.stream
            .write_all(format!("{text}\r\n").as_bytes())
            .await?;
        self.stream.flush().await
    }

    /// Returns the next line including its end; `None` if the client has hung up.
    async fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        (&mut self.stream)
            .take(LINE_LIMIT)
            .read_until(b'\n', &mut line)
            .await?;
        match line.last() {
            Some(b'\n') => Ok(Some(line)),
            Some(_) if line.len() as u64 == LINE_LIMIT => {
                Err(io::Error::other("a line is too long"))
            }
            _ => Ok(None),
        }
    }
}

/// Parses the address in `FROM:<a@b> SIZE=1`, without its parameters.
fn address(rest: &str, prefix: &str) -> Option<String> {
    let named = rest.get(..prefix.len())?.eq_ignore_ascii_case(prefix);
    let path = rest.get(prefix.len()..)?.trim_start().strip_prefix('<')?;
    path.split_once('>')
        .filter(|_| named)
        .map(|(address, _)| address.to_owned())
}
