//! Mail through lettre: one envelope per recipient, so that one refused address does not cost the others theirs.

use std::path::Path;
use std::time::{Duration, SystemTime};

use lettre::address::Envelope;
use lettre::message::header::{self, Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Mailboxes, Message, MultiPart};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::{Error, PoolConfig};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use uuid::Uuid;

use super::render::{self, Setting};
use super::{Attempt, Progress};
use crate::config::{Email, Smtp, SmtpTls};
use crate::model::{Notice, Secret};

/// The limit for each command of the SMTP dialogue.
const COMMAND: Duration = Duration::from_secs(20);
/// The limit for one attempt as a whole: a server that answers each command just in time must not hold a worker.
const WHOLE: Duration = Duration::from_secs(90);

/// A mail channel.
pub(super) struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    email: Email,
    password: Option<Secret>,
}

impl std::fmt::Debug for Mailer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailer").field("email", &self.email).finish_non_exhaustive()
    }
}

impl Mailer {
    /// Sets the channel up; `ca_file` holds extra trusted roots.
    pub(super) fn new(email: &Email, ca_file: Option<&Path>) -> Result<Self, String> {
        let Smtp { host, port, tls, credentials } = &email.smtp;
        let parameters = || {
            let mut parameters = TlsParameters::builder(host.clone());
            if let Some(path) = ca_file {
                let pem = std::fs::read(path).map_err(|e| format!("cannot read `ca_file`: {e}"))?;
                parameters = parameters.add_root_certificate(
                    Certificate::from_pem(&pem).map_err(|e| format!("cannot use `ca_file`: {e}"))?,
                );
            }
            parameters.build_rustls().map_err(|e| format!("TLS cannot be set up: {e}"))
        };
        let tls = match tls {
            SmtpTls::Implicit => Tls::Wrapper(parameters()?),
            SmtpTls::Required => Tls::Required(parameters()?),
            SmtpTls::None => Tls::None,
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host.as_str())
            .port(*port)
            .tls(tls)
            .timeout(Some(COMMAND))
            .pool_config(PoolConfig::new().max_size(1).idle_timeout(Duration::from_secs(30)));
        if let Some((user, password)) = credentials {
            builder = builder
                .credentials(Credentials::new(user.clone(), password.expose().to_owned()))
                .authentication(vec![Mechanism::Plain, Mechanism::Login]);
        }
        let password = credentials.as_ref().map(|(_, password)| password.clone());
        Ok(Self { transport: builder.build(), email: email.clone(), password })
    }

    /// One attempt to reach every recipient who does not have the notice yet.
    pub(super) async fn attempt(&self, notice: &Notice, setting: Setting, mut progress: Progress) -> Attempt {
        let message = match self.message(notice, setting) {
            Ok(message) => message.formatted(),
            Err(error) => return Attempt::Failed { progress, error },
        };
        let mut failures: Vec<String> = Vec::new();
        let recipients: Vec<_> = self.email.to.iter().chain(&self.email.cc).cloned().collect();
        let deadline = tokio::time::Instant::now() + WHOLE;
        for recipient in recipients {
            let done = progress.delivered.contains(&recipient) || progress.refused.iter().any(|(r, _)| *r == recipient);
            if done {
                continue;
            }
            match tokio::time::timeout_at(deadline, self.send(&recipient, &message)).await {
                Ok(Ok(())) => progress.delivered.push(recipient),
                Ok(Err((true, why))) => progress.refused.push((recipient, why)),
                Ok(Err((false, why))) => {
                    failures.push(format!("{recipient}: {why}"));
                }
                Err(_) => {
                    failures.push(format!("{recipient}: the mail server took longer than {} s", WHOLE.as_secs()));
                    break;
                }
            }
        }
        if !failures.is_empty() {
            return Attempt::Retry { progress, error: failures.join("; "), retry_after: None };
        }
        if progress.delivered.is_empty() {
            let error = progress.refused_summary().unwrap_or_else(|| "there are no recipients".to_owned());
            return Attempt::Failed { progress, error };
        }
        Attempt::Delivered { progress }
    }

    /// Opens a connection and says hello.
    pub(super) async fn open(&self) -> Result<(), String> {
        match tokio::time::timeout(WHOLE, self.transport.test_connection()).await {
            Err(_) => Err("the mail server does not answer".to_owned()),
            Ok(Err(error)) => Err(self.words(&error)),
            Ok(Ok(false)) => Err("the mail server did not answer as one".to_owned()),
            Ok(Ok(true)) => Ok(()),
        }
    }

    /// Sends to one recipient; the error says whether it is for good.
    async fn send(&self, recipient: &str, message: &[u8]) -> Result<(), (bool, String)> {
        let parse = |a: &str| a.parse::<Address>().map_err(|e| (true, e.to_string()));
        let envelope = Envelope::new(Some(parse(&self.email.from)?), vec![parse(recipient)?])
            .map_err(|e| (true, e.to_string()))?;
        match self.transport.send_raw(&envelope, message).await {
            Ok(_) => Ok(()),
            // A refused login is mended by a person, who will want the mail then.
            Err(error) => Err((error.is_permanent() && !is_login(&error), self.words(&error))),
        }
    }

    fn words(&self, error: &Error) -> String {
        let text = match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
        self.password.as_ref().map_or_else(|| text.clone(), |p| p.redact(&text))
    }

    fn message(&self, notice: &Notice, setting: Setting) -> Result<Message, String> {
        let mailbox = |a: &str| a.parse::<Address>().map(|a| Mailbox::new(None, a)).map_err(|e| e.to_string());
        let domain = self.email.from.rsplit('@').next().unwrap_or("localhost");
        let id = |id: Uuid| format!("<{id}@{domain}>");
        let decided = SystemTime::UNIX_EPOCH + Duration::from_millis(notice.decided_at.0.max(0).unsigned_abs());
        let mut builder = Message::builder()
            .from(mailbox(&self.email.from)?)
            .subject(render::subject(notice))
            .date(decided)
            .message_id(Some(id(notice.id)))
            .header(AutoSubmitted("auto-generated".to_owned()));
        let list = |addresses: &[String]| addresses.iter().map(|a| mailbox(a)).collect::<Result<Mailboxes, _>>();
        builder = builder.mailbox(header::To::from(list(&self.email.to)?));
        if !self.email.cc.is_empty() {
            builder = builder.mailbox(header::Cc::from(list(&self.email.cc)?));
        }
        if let Some(reply_to) = &self.email.reply_to {
            builder = builder.reply_to(mailbox(reply_to)?);
        }
        if let Some(thread) = notice.thread {
            builder = builder.in_reply_to(id(thread)).references(id(thread));
        }
        if let Some(incident) = &notice.incident {
            builder = builder.header(XIncident(incident.id.to_string()));
        }
        let body = MultiPart::alternative_plain_html(render::text(notice, setting), render::html(notice, setting));
        builder.multipart(body).map_err(|e| e.to_string())
    }
}

/// 530, 534, 535 and 538 of RFC 4954 are about the login and not about the recipient.
fn is_login(error: &Error) -> bool {
    error.status().is_some_and(|code| ["530", "534", "535", "538"].contains(&code.to_string().as_str()))
}

macro_rules! text_header {
    ($(#[$doc:meta])* $name:ident, $text:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        struct $name(String);

        impl Header for $name {
            fn name() -> HeaderName {
                HeaderName::new_from_ascii_str($text)
            }

            fn parse(text: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
                Ok(Self(text.to_owned()))
            }

            fn display(&self) -> HeaderValue {
                HeaderValue::new(Self::name(), self.0.clone())
            }
        }
    };
}

text_header!(
    /// RFC 3834: no vacation notice should answer.
    AutoSubmitted,
    "Auto-Submitted"
);
text_header!(
    /// The incident, for filters.
    XIncident,
    "X-Llmwatch-Incident"
);
