//! Email, composed and signed by lettre. Each recipient gets its own envelope, so that one rejected
//! address does not affect the others.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lettre::Address;
use lettre::message::dkim::{DkimCanonicalization, DkimCanonicalizationType, DkimConfig};
use lettre::message::header::{self, Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Mailboxes, Message, MultiPart};
use rustls::ClientConfig;
use uuid::Uuid;

use super::smtp::{SmtpError, SmtpErrorKind, SmtpServer, SmtpSession};
use super::{Attempt, Obstacle, OpenError, Progress, summary};
use crate::config::{Dkim, Email, dkim_key};
use crate::redact::Redactor;
use llmwatch_core::message::render::{self, Setting};
use llmwatch_core::model::Notice;

/// Time limit of one attempt with all its recipients, so that a slow server does not block a
/// worker. A shorter limit would resend an email that a server is still scanning.
const ATTEMPT: Duration = Duration::from_secs(90);

/// An email channel.
pub(super) struct Mailer {
    server: SmtpServer,
    email: Email,
    redactor: Redactor,
    dkim: Option<DkimConfig>,
}

impl std::fmt::Debug for Mailer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailer")
            .field("email", &self.email)
            .finish_non_exhaustive()
    }
}

impl Mailer {
    /// Sets up the channel.
    pub(super) fn new(
        email: &Email,
        tls: Arc<ClientConfig>,
        redactor: Redactor,
    ) -> Result<Self, String> {
        Ok(Self {
            server: SmtpServer::new(email, tls),
            email: email.clone(),
            redactor,
            dkim: email.dkim.as_ref().map(signing).transpose()?,
        })
    }

    /// Makes one attempt to reach every recipient that does not have the notice yet.
    pub(super) async fn attempt(
        &self,
        notice: &Notice,
        setting: Setting<'_>,
        progress: Progress,
    ) -> Attempt {
        let message = match self.formatted(notice, setting) {
            Ok(message) => message,
            Err(error) => return Attempt::Failed { progress, error },
        };
        let mut delivery = Delivery {
            mailer: self,
            message: &message,
            progress,
            failures: Vec::new(),
            session: None,
            obstacle: Obstacle::Refused,
        };
        if tokio::time::timeout(ATTEMPT, delivery.run()).await.is_err() {
            delivery.time_out();
        }
        delivery.finish().await
    }

    /// Returns the email as sent, signed if DKIM is configured.
    ///
    /// # Errors
    /// When the email cannot be composed.
    pub(super) fn formatted(
        &self,
        notice: &Notice,
        setting: Setting<'_>,
    ) -> Result<Vec<u8>, String> {
        let mut message = self.message(notice, setting)?;
        if let Some(dkim) = &self.dkim {
            message.sign(dkim);
        }
        Ok(message.formatted())
    }

    /// Opens a connection, logs in and closes it.
    pub(super) async fn open(&self) -> Result<(), OpenError> {
        match tokio::time::timeout(ATTEMPT, self.server.connect()).await {
            Err(_) => Err(OpenError::Unreachable(
                "the mail server does not answer".to_owned(),
            )),
            Ok(Err(error)) => {
                let text = self.redactor.clean(&error.text);
                Err(match error.kind {
                    SmtpErrorKind::Login | SmtpErrorKind::Permanent => OpenError::Rejected(text),
                    SmtpErrorKind::Refused | SmtpErrorKind::Transient => {
                        OpenError::Unreachable(text)
                    }
                })
            }
            Ok(Ok(session)) => {
                session.quit().await;
                Ok(())
            }
        }
    }

    fn message(&self, notice: &Notice, setting: Setting<'_>) -> Result<Message, String> {
        let domain = self.email.from.rsplit('@').next().unwrap_or("localhost");
        let id = |id: Uuid| format!("<{id}@{domain}>");
        let decided = SystemTime::UNIX_EPOCH
            + Duration::from_millis(notice.decided_at.0.max(0).unsigned_abs());
        let mut from = mailbox(&self.email.from)?;
        from.name = self.email.from_name.clone();
        let mut builder = Message::builder()
            .from(from)
            .subject(render::subject(notice, &setting.locale))
            .date(decided)
            .message_id(Some(id(notice.id)))
            .header(AutoSubmitted("auto-generated".to_owned()));
        builder = builder.mailbox(header::To::from(mailboxes(&self.email.to)?));
        if !self.email.cc.is_empty() {
            builder = builder.mailbox(header::Cc::from(mailboxes(&self.email.cc)?));
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
        let body = MultiPart::alternative_plain_html(
            render::text(notice, setting),
            render::html(notice, setting),
        );
        builder.multipart(body).map_err(|e| e.to_string())
    }
}

fn mailbox(address: &str) -> Result<Mailbox, String> {
    let address = address.parse::<Address>().map_err(|e| e.to_string())?;
    Ok(Mailbox::new(None, address))
}

fn mailboxes(addresses: &[String]) -> Result<Mailboxes, String> {
    addresses.iter().map(|a| mailbox(a)).collect()
}

/// An attempt in progress.
struct Delivery<'a> {
    mailer: &'a Mailer,
    message: &'a [u8],
    progress: Progress,
    /// Recipients that do not have it, and why.
    failures: Vec<(String, String)>,
    /// Kept open from one recipient to the next.
    session: Option<SmtpSession>,
    /// `Refused` as long as every failure was a refused connection.
    obstacle: Obstacle,
}

impl Delivery<'_> {
    async fn run(&mut self) {
        let email = &self.mailer.email;
        for recipient in email.to.iter().chain(&email.cc) {
            let is_done = self.progress.delivered.contains(recipient)
                || self.progress.refused.iter().any(|(r, _)| r == recipient);
            if is_done {
                continue;
            }
            match self.send(recipient).await {
                Ok(()) => self.progress.delivered.push(recipient.clone()),
                Err(error) => self.fail(recipient, &error),
            }
        }
    }

    async fn send(&mut self, recipient: &str) -> Result<(), SmtpError> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => self.mailer.server.connect().await?,
        };
        let sent = session
            .send(&self.mailer.email.from, recipient, self.message)
            .await;
        let is_usable = match &sent {
            Ok(()) => true,
            Err(error) => error.kind == SmtpErrorKind::Permanent,
        };
        if is_usable {
            self.session = Some(session);
        } else {
            session.quit().await;
        }
        sent
    }

    fn fail(&mut self, recipient: &str, error: &SmtpError) {
        let text = self.mailer.redactor.clean(&error.text);
        let failure = (recipient.to_owned(), text);
        match error.kind {
            SmtpErrorKind::Permanent => self.progress.refused.push(failure),
            kind => {
                if kind != SmtpErrorKind::Refused {
                    self.obstacle = Obstacle::Other;
                }
                self.failures.push(failure);
            }
        }
    }

    /// Records a timeout for the next recipient without a result.
    fn time_out(&mut self) {
        self.session = None;
        let error = SmtpError {
            text: format!("the mail server took longer than {} s", ATTEMPT.as_secs()),
            kind: SmtpErrorKind::Transient,
        };
        let email = &self.mailer.email;
        let next = email.to.iter().chain(&email.cc).find(|recipient| {
            let mut answered = self.progress.refused.iter().chain(&self.failures);
            !self.progress.delivered.contains(recipient)
                && !answered.any(|(address, _)| address == *recipient)
        });
        if let Some(recipient) = next {
            self.fail(recipient, &error);
        }
    }

    async fn finish(mut self) -> Attempt {
        if let Some(session) = self.session.take() {
            session.quit().await;
        }
        let progress = self.progress;
        if let Some(error) = summary(&self.failures) {
            return Attempt::Retry {
                progress,
                error,
                retry_after: None,
                obstacle: self.obstacle,
            };
        }
        if progress.delivered.is_empty() {
            let error = progress
                .refused_summary()
                .unwrap_or_else(|| "there are no recipients".to_owned());
            return Attempt::Failed { progress, error };
        }
        Attempt::Delivered { progress }
    }
}

/// Sets up DKIM signing (RFC 6376) with relaxed canonicalization, because mail servers refold
/// headers.
pub(super) fn signing(dkim: &Dkim) -> Result<DkimConfig, String> {
    let key = dkim_key(&dkim.key_file)?;
    let signed = [
        "From",
        "To",
        "Cc",
        "Subject",
        "Date",
        "Message-ID",
        "In-Reply-To",
        "References",
        "MIME-Version",
        // RFC 8058 requires these.
        "List-Unsubscribe",
        "List-Unsubscribe-Post",
    ];
    let signed = signed
        .into_iter()
        .map(HeaderName::new_from_ascii_str)
        .collect();
    let relaxed = DkimCanonicalization {
        header: DkimCanonicalizationType::Relaxed,
        body: DkimCanonicalizationType::Relaxed,
    };
    Ok(DkimConfig::new(
        dkim.selector.clone(),
        dkim.domain.clone(),
        key,
        signed,
        relaxed,
    ))
}

macro_rules! text_header {
    ($(#[$doc:meta])* $name:ident, $text:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub(super) struct $name(pub(super) String);

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
    /// RFC 3834: suppresses automatic replies.
    AutoSubmitted,
    "Auto-Submitted"
);
text_header!(
    /// RFC 2369: the unsubscribe link.
    ListUnsubscribe,
    "List-Unsubscribe"
);
text_header!(
    /// RFC 8058: one-click unsubscription.
    ListUnsubscribePost,
    "List-Unsubscribe-Post"
);
text_header!(
    /// The incident, for filters.
    XIncident,
    "X-Llmwatch-Incident"
);
