//! Emails to subscribers: one recipient each, with headers for one-click unsubscription (RFC 8058).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lettre::Address;
use lettre::message::dkim::DkimConfig;
use lettre::message::{Mailbox, Message, MultiPart};
use llmwatch_core::message::subscriber::SubscriberLink;
use llmwatch_core::message::values::Locale;
use uuid::Uuid;

use super::email::{AutoSubmitted, ListUnsubscribe, ListUnsubscribePost, XIncident, signing};
use super::smtp::{SmtpError, SmtpErrorKind, SmtpServer, SmtpSession};
use crate::config::{ChannelKind, Email, Settings};
use crate::http_client;
use crate::redact::Redactor;
use crate::store::SubscriberMail;

/// Time limit of one email.
const ATTEMPT: Duration = Duration::from_mins(1);

/// Why an email was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The server's reply, without the recipient and without secrets.
    pub text: String,
    /// Whether another attempt may succeed.
    pub is_transient: bool,
    /// Whether the server refused the connection.
    pub is_unreachable: bool,
}

/// Sends emails to subscribers through the channel that `[web] subscribe_via` names.
pub struct SubscriberMailer {
    server: SmtpServer,
    email: Email,
    dkim: Option<DkimConfig>,
    redactor: Redactor,
    locale: Locale,
    session: Option<SmtpSession>,
}

impl std::fmt::Debug for SubscriberMailer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SubscriberMailer").finish_non_exhaustive()
    }
}

impl SubscriberMailer {
    /// Creates the mailer of `settings`; `None` without a usable email channel.
    pub fn new(settings: &Settings) -> Option<Self> {
        let wanted = settings.web.subscribe_via.as_deref();
        let email = settings.channels.iter().find_map(|channel| {
            let is_wanted = wanted.is_none_or(|name| channel.name == name);
            match &channel.kind {
                ChannelKind::Email(email) if is_wanted => Some(email),
                _ => None,
            }
        })?;
        let tls = http_client::tls_config(settings.process.ca_file.as_deref()).ok()?;
        Some(Self {
            server: SmtpServer::new(email, Arc::new(tls)),
            dkim: email.dkim.as_ref().and_then(|dkim| signing(dkim).ok()),
            email: email.clone(),
            redactor: Redactor::new(settings),
            locale: Locale::of(settings),
            session: None,
        })
    }

    /// Sends `mail` with the link of its subscriber. Mail clients show a button for one that
    /// unsubscribes.
    ///
    /// # Errors
    /// When the server does not accept it.
    pub async fn send(
        &mut self,
        mail: &SubscriberMail,
        link: &SubscriberLink,
    ) -> Result<(), Refusal> {
        let message = self.message(mail, link).map_err(|text| Refusal {
            text,
            is_transient: false,
            is_unreachable: false,
        })?;
        let sent = tokio::time::timeout(ATTEMPT, self.deliver(&mail.address, &message)).await;
        let error = match sent {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error,
            Err(_) => SmtpError {
                text: format!("the mail server took longer than {} s", ATTEMPT.as_secs()),
                kind: SmtpErrorKind::Transient,
            },
        };
        // Servers' replies often repeat the recipient.
        let text = self.redactor.clean(&error.text);
        Err(Refusal {
            text: text.replace(&mail.address, "***"),
            is_transient: error.kind != SmtpErrorKind::Permanent,
            is_unreachable: error.kind == SmtpErrorKind::Refused,
        })
    }

    /// Closes the connection, if one is open.
    pub async fn rest(&mut self) {
        if let Some(session) = self.session.take() {
            session.quit().await;
        }
    }

    async fn deliver(&mut self, recipient: &str, message: &[u8]) -> Result<(), SmtpError> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => self.server.connect().await?,
        };
        session.send(&self.email.from, recipient, message).await?;
        self.session = Some(session);
        Ok(())
    }

    fn message(&self, mail: &SubscriberMail, link: &SubscriberLink) -> Result<Vec<u8>, String> {
        let address = |text: &str| text.parse::<Address>().map_err(|e| e.to_string());
        let domain = self.email.from.rsplit('@').next().unwrap_or("localhost");
        let id = |id: Uuid| format!("<{id}@{domain}>");
        let from = Mailbox::new(self.email.from_name.clone(), address(&self.email.from)?);
        let queued =
            SystemTime::UNIX_EPOCH + Duration::from_millis(mail.queued_at.0.max(0).unsigned_abs());
        let mut builder = Message::builder()
            .from(from)
            .to(Mailbox::new(None, address(&mail.address)?))
            .subject(mail.text.subject.clone())
            .date(queued)
            .message_id(Some(id(mail.id)))
            .header(AutoSubmitted("auto-generated".to_owned()));
        if let Some(incident) = mail.incident {
            builder = builder.header(XIncident(incident.to_string()));
        }
        if let Some(first) = mail.thread() {
            builder = builder.in_reply_to(id(first)).references(id(first));
        }
        if let SubscriberLink::Unsubscribe { url, .. } = link {
            builder = builder
                .header(ListUnsubscribe(format!("<{url}>")))
                .header(ListUnsubscribePost("List-Unsubscribe=One-Click".to_owned()));
        }
        let body = MultiPart::alternative_plain_html(
            mail.text.text(link),
            mail.text.html(link, &self.locale),
        );
        let mut message = builder.multipart(body).map_err(|e| e.to_string())?;
        if let Some(dkim) = &self.dkim {
            message.sign(dkim);
        }
        Ok(message.formatted())
    }
}
