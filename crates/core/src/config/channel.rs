//! Notification channels (email and webhooks) and the notifications that each receives.

use std::path::PathBuf;
use std::time::Duration;

use super::Template;
use crate::model::{Attribution, ChannelName, EndpointName, Provider, Secret, Status};

/// A destination for notifications.
#[derive(Debug, Clone)]
pub struct Channel {
    /// Unique across emails and webhooks.
    pub name: ChannelName,
    /// How notifications are delivered.
    pub kind: ChannelKind,
    /// Which notifications it receives.
    pub filters: Filters,
}

/// How notifications are delivered.
#[derive(Debug, Clone)]
pub enum ChannelKind {
    /// By email.
    Email(Email),
    /// By HTTP.
    Webhook(Webhook),
}

/// One `[[email]]`.
#[derive(Debug, Clone)]
pub struct Email {
    /// Recipients.
    pub to: Vec<String>,
    /// Recipients in Cc.
    pub cc: Vec<String>,
    /// The sender's address.
    pub from: String,
    /// The sender's display name.
    pub from_name: Option<String>,
    /// The EHLO name; defaults to this machine's own.
    pub hello: Option<String>,
    /// The Reply-To address.
    pub reply_to: Option<String>,
    /// The mail server.
    pub smtp: Smtp,
    /// DKIM signing.
    pub dkim: Option<Dkim>,
}

/// How the connection to the mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpTls {
    /// TLS from the first byte (`smtps://`).
    Implicit,
    /// STARTTLS is required; without it nothing is sent.
    Required,
    /// Plaintext: to loopback, or because of `?tls=none`.
    None,
}

/// The mail server.
#[derive(Debug, Clone)]
pub struct Smtp {
    /// The host name.
    pub host: String,
    /// The port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: SmtpTls,
    /// User name and password.
    pub credentials: Option<(String, Secret)>,
}

/// DKIM signing.
#[derive(Debug, Clone)]
pub struct Dkim {
    /// The selector.
    pub selector: String,
    /// The signing domain.
    pub domain: String,
    /// The private key, in PEM.
    pub key_file: PathBuf,
}

/// The format of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the receiver's own name")]
pub enum WebhookKind {
    Json,
    Slack,
    Discord,
    Teams,
    Telegram,
    Ntfy,
    Pagerduty,
    Opsgenie,
    Alertmanager,
    GoogleChat,
    Mattermost,
    Pushover,
    Template,
    Matrix,
    Signal,
    Twilio,
    Rocketchat,
    Zulip,
    Webex,
    Gotify,
    IncidentIo,
    Jsm,
    SplunkOncall,
    Exec,
}

/// One `[[webhook]]`.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// The receiver's format.
    pub kind: WebhookKind,
    /// The URL, often a secret in itself. Empty means the receiver's default URL.
    pub url: Secret,
    /// The Standard Webhooks signing key (`whsec_…`).
    pub secret: Option<Secret>,
    /// Extra headers.
    pub headers: Vec<(String, Secret)>,
    /// The timeout of one attempt.
    pub timeout: Duration,
    /// Keys that apply to only one kind, such as `routing_key`.
    pub extra: Vec<(String, Secret)>,
    /// The body of a `template`.
    pub template: Option<Template>,
    /// The program and arguments of an `exec` webhook; empty for every other kind.
    pub command: Vec<String>,
}

impl Webhook {
    /// Returns a key that applies to only one kind; empty if it is not set.
    pub fn key(&self, name: &str) -> &str {
        self.extra
            .iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value.expose())
    }

    /// Returns a copy for display, with `***` in place of secrets.
    #[must_use]
    pub fn masked(&self) -> Self {
        let mut masked = self.clone();
        for (key, value) in &mut masked.extra {
            if matches!(key.as_str(), "routing_key" | "token" | "user" | "api_key") {
                *value = Secret::new("***");
            }
        }
        masked
    }

    /// Returns the media type of a `template`'s body.
    pub fn content_type(&self) -> &str {
        match self.key("content_type") {
            "" => "application/json",
            written => written,
        }
    }
}

/// Which notifications a channel receives, and when.
#[derive(Debug, Clone)]
pub struct Filters {
    /// The reasons, such as `opened`.
    pub on: Vec<String>,
    /// The minimum status severity.
    pub min_status: Status,
    /// The attributions that are notified.
    pub attribution: Vec<Attribution>,
    /// Only these endpoints; empty for all.
    pub endpoints: Vec<EndpointName>,
    /// Only these providers; empty for all.
    pub providers: Vec<Provider>,
    /// Only these groups; empty for all.
    pub groups: Vec<String>,
    /// The interval between reminders, doubling up to 24 h; `None` turns reminders off.
    pub remind_every: Option<Duration>,
    /// Notify only if the incident is still open after this time.
    pub after: Duration,
    /// How long the first notification waits for others to be grouped with it.
    pub group_wait: Duration,
    /// How long delivery is retried.
    pub give_up_after: Duration,
    /// The channel to use after that.
    pub fallback: Option<ChannelName>,
    /// When only outages are notified, as local `(start, end)` minutes of the day.
    pub quiet_hours: Option<(u16, u16)>,
    /// Whether quiet hours hold back outages too.
    pub quiet_hours_all: bool,
}

impl Default for Filters {
    fn default() -> Self {
        Self {
            on: ["opened", "escalated", "resolved", "reminder", "monitor"]
                .map(str::to_owned)
                .to_vec(),
            min_status: Status::Degraded,
            attribution: vec![
                Attribution::Provider,
                Attribution::Account,
                Attribution::Local,
            ],
            endpoints: Vec::new(),
            providers: Vec::new(),
            groups: Vec::new(),
            remind_every: Some(Duration::from_hours(4)),
            after: Duration::ZERO,
            group_wait: Duration::from_secs(20),
            give_up_after: Duration::from_hours(24),
            fallback: None,
            quiet_hours: None,
            quiet_hours_all: false,
        }
    }
}
