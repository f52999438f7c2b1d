//! Mail through lettre: one envelope per recipient, so that one refused address does not cost the others theirs.

use std::path::Path;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lettre::address::Envelope;
use lettre::message::dkim::{
    DkimCanonicalization, DkimCanonicalizationType, DkimConfig, DkimSigningAlgorithm,
    DkimSigningKey,
};
use lettre::message::header::{self, Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Mailboxes, Message, MultiPart};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::{Error, PoolConfig};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use uuid::Uuid;

use super::{Attempt, Progress, summary};
use crate::config::{Dkim, Email, Smtp, SmtpTls};
use crate::message::render::{self, Setting};
use crate::model::{Notice, Secret};

/// The limit for connecting.
const CONNECT: Duration = Duration::from_secs(20);
/// The limit for one attempt as a whole: a server that answers nothing, or each command just in time, must not hold a
/// worker. Shorter limits would send a mail again that a server is still scanning.
const WHOLE: Duration = Duration::from_secs(90);

/// A mail channel.
pub(super) struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    email: Email,
    password: Option<Secret>,
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
    /// Sets the channel up; `ca_file` holds extra trusted roots.
    pub(super) fn new(email: &Email, ca_file: Option<&Path>) -> Result<Self, String> {
        let Smtp {
            host,
            port,
            tls,
            credentials,
        } = &email.smtp;
        let parameters = || {
            let mut parameters = TlsParameters::builder(host.clone());
            if let Some(path) = ca_file {
                let pem = std::fs::read(path).map_err(|e| format!("cannot read `ca_file`: {e}"))?;
                parameters = parameters.add_root_certificate(
                    Certificate::from_pem(&pem)
                        .map_err(|e| format!("cannot use `ca_file`: {e}"))?,
                );
            }
            parameters
                .build_rustls()
                .map_err(|e| format!("TLS cannot be set up: {e}"))
        };
        let tls = match tls {
            SmtpTls::Implicit => Tls::Wrapper(parameters()?),
            SmtpTls::Required => Tls::Required(parameters()?),
            SmtpTls::None => Tls::None,
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host.as_str())
            .port(*port)
            .tls(tls)
            .timeout(Some(CONNECT))
            .pool_config(
                PoolConfig::new()
                    .max_size(1)
                    .idle_timeout(Duration::from_secs(30)),
            );
        if let Some((user, password)) = credentials {
            builder = builder
                .credentials(Credentials::new(user.clone(), password.expose().to_owned()))
                .authentication(vec![Mechanism::Plain, Mechanism::Login]);
        }
        let password = credentials.as_ref().map(|(_, password)| password.clone());
        let dkim = email.dkim.as_ref().map(signing).transpose()?;
        Ok(Self {
            transport: builder.build(),
            email: email.clone(),
            password,
            dkim,
        })
    }

    /// One attempt to reach every recipient who does not have the notice yet.
    pub(super) async fn attempt(
        &self,
        notice: &Notice,
        setting: Setting,
        mut progress: Progress,
    ) -> Attempt {
        let message = match self.formatted(notice, setting) {
            Ok(message) => message,
            Err(error) => return Attempt::Failed { progress, error },
        };
        let mut failures: Vec<(String, String)> = Vec::new();
        let recipients: Vec<_> = self
            .email
            .to
            .iter()
            .chain(&self.email.cc)
            .cloned()
            .collect();
        let deadline = tokio::time::Instant::now() + WHOLE;
        for recipient in recipients {
            let done = progress.delivered.contains(&recipient)
                || progress.refused.iter().any(|(r, _)| *r == recipient);
            if done {
                continue;
            }
            match tokio::time::timeout_at(deadline, self.send(&recipient, &message)).await {
                Ok(Ok(())) => progress.delivered.push(recipient),
                Ok(Err((true, why))) => progress.refused.push((recipient, why)),
                Ok(Err((false, why))) => failures.push((recipient, why)),
                Err(_) => {
                    failures.push((
                        recipient,
                        format!("the mail server took longer than {} s", WHOLE.as_secs()),
                    ));
                    break;
                }
            }
        }
        if !failures.is_empty() {
            return Attempt::Retry {
                progress,
                error: summary(&failures).unwrap_or_default(),
                retry_after: None,
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

    /// The mail as it goes over the wire, signed if it is to be.
    ///
    /// # Errors
    /// When the notice cannot be made into a mail.
    pub(super) fn formatted(&self, notice: &Notice, setting: Setting) -> Result<Vec<u8>, String> {
        let mut message = self.message(notice, setting)?;
        if let Some(dkim) = &self.dkim {
            message.sign(dkim);
        }
        Ok(message.formatted())
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
            Err(error) => Err((
                error.is_permanent() && !is_login(&error),
                self.words(&error),
            )),
        }
    }

    fn words(&self, error: &Error) -> String {
        let text: String = error
            .to_string()
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(300)
            .collect();
        self.password
            .as_ref()
            .map_or_else(|| text.clone(), |p| p.redact(&text))
    }

    fn message(&self, notice: &Notice, setting: Setting) -> Result<Message, String> {
        let mailbox = |a: &str| {
            a.parse::<Address>()
                .map(|a| Mailbox::new(None, a))
                .map_err(|e| e.to_string())
        };
        let domain = self.email.from.rsplit('@').next().unwrap_or("localhost");
        let id = |id: Uuid| format!("<{id}@{domain}>");
        let decided = SystemTime::UNIX_EPOCH
            + Duration::from_millis(notice.decided_at.0.max(0).unsigned_abs());
        let mut builder = Message::builder()
            .from(mailbox(&self.email.from)?)
            .subject(render::subject(notice))
            .date(decided)
            .message_id(Some(id(notice.id)))
            .header(AutoSubmitted("auto-generated".to_owned()));
        let list = |addresses: &[String]| {
            addresses
                .iter()
                .map(|a| mailbox(a))
                .collect::<Result<Mailboxes, _>>()
        };
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
        let body = MultiPart::alternative_plain_html(
            render::text(notice, setting),
            render::html(notice, setting),
        );
        builder.multipart(body).map_err(|e| e.to_string())
    }
}

/// How mails are signed (RFC 6376): relaxed, because mail servers on the way fold headers anew.
fn signing(dkim: &Dkim) -> Result<DkimConfig, String> {
    let shown = dkim.key_file.display();
    let pem = std::fs::read_to_string(&dkim.key_file)
        .map_err(|e| format!("cannot read the DKIM key `{shown}`: {e}"))?;
    let usable =
        "it must be an RSA or Ed25519 private key in PEM, as `openssl genrsa 2048` writes it";
    let (algorithm, key) =
        signing_key(&pem).ok_or_else(|| format!("cannot use the DKIM key `{shown}`: {usable}"))?;
    let key = DkimSigningKey::new(&key, algorithm)
        .map_err(|e| format!("cannot use the DKIM key `{shown}`: {e}; {usable}"))?;
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

/// A private key in the two forms that lettre reads: PKCS #1 in PEM for RSA, the bare seed in base64 for Ed25519. Today's
/// tools write both as PKCS #8, which only wraps them.
fn signing_key(pem: &str) -> Option<(DkimSigningAlgorithm, String)> {
    if pem.contains("-----BEGIN RSA PRIVATE KEY-----") {
        return Some((DkimSigningAlgorithm::Rsa, pem.to_owned()));
    }
    let (_, rest) = pem.split_once("-----BEGIN PRIVATE KEY-----")?;
    let (body, _) = rest.split_once("-----END PRIVATE KEY-----")?;
    let der = STANDARD
        .decode(body.split_whitespace().collect::<String>())
        .ok()?;
    // PrivateKeyInfo ::= SEQUENCE { version INTEGER, algorithm SEQUENCE { OBJECT IDENTIFIER, … }, key OCTET STRING, … }
    let (inside, _) = der_value(&der, 0x30)?;
    let (_, rest) = der_value(inside, 0x02)?;
    let (algorithm, rest) = der_value(rest, 0x30)?;
    let (key, _) = der_value(rest, 0x04)?;
    match der_value(algorithm, 0x06)?.0 {
        // rsaEncryption, 1.2.840.113549.1.1.1
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01] => {
            let text = STANDARD.encode(key);
            let lines: Vec<_> = text
                .as_bytes()
                .chunks(64)
                .map(String::from_utf8_lossy)
                .collect();
            let pem = format!(
                "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----\n",
                lines.join("\n")
            );
            Some((DkimSigningAlgorithm::Rsa, pem))
        }
        // id-Ed25519, 1.3.101.112: an octet string in an octet string
        [0x2b, 0x65, 0x70] => Some((
            DkimSigningAlgorithm::Ed25519,
            STANDARD.encode(der_value(key, 0x04)?.0),
        )),
        _ => None,
    }
}

/// The content of the DER value of this tag at the beginning of `der`, and what follows it.
fn der_value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = der.split_first_chunk()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (
                bytes
                    .iter()
                    .fold(0, |length, byte| length << 8 | usize::from(*byte)),
                rest,
            )
        }
        _ => return None,
    };
    (found == tag).then(|| rest.split_at_checked(length))?
}

/// 530, 534, 535 and 538 of RFC 4954 are about the login and not about the recipient.
fn is_login(error: &Error) -> bool {
    error
        .status()
        .is_some_and(|code| ["530", "534", "535", "538"].contains(&code.to_string().as_str()))
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
