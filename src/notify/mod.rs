//! Delivery: single attempts to send a notice through a channel, and the worker that drains the
//! outbox.

mod alertmanager_refresh;
mod context;
mod email;
mod exec;
pub mod heartbeat;

mod retry;
pub mod smtp;
pub mod subscriber_mail;
mod webhook;
pub mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Client;
use rustls::ClientConfig;
use serde::{Deserialize, Serialize};

pub use self::context::WorkerContext;
use self::email::Mailer;
use self::exec::Program;
pub use self::retry::{Obstacle, backoff};
use self::webhook::WebhookClient;
use crate::config::{Channel, ChannelKind, Settings, WebhookKind};
use crate::http_client;
use crate::links::{Action, Links};
use crate::redact::Redactor;
use llmwatch_core::message::receivers;
use llmwatch_core::message::render;
use llmwatch_core::message::render::Setting;
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::{ChannelName, Notice, NoticeKind, Timestamp};

/// Why a channel cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("channel `{channel}`: {why}")]
pub struct SenderSetupError {
    /// The channel's name.
    pub channel: ChannelName,
    /// What is wrong, and what to do.
    pub why: String,
}

/// Which recipients already have a notice, kept between attempts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// Recipients that have it.
    pub delivered: Vec<String>,
    /// Recipients that permanently rejected it, with their replies.
    pub refused: Vec<(String, String)>,
    /// The receiver may have it: it was sent without a timely reply, or the daemon was killed
    /// before it recorded the reply. The receiver recognizes a repeat by its ID and ignores it,
    /// even if it carries news.
    pub perhaps: bool,
}

impl Progress {
    /// Returns the rejections in one line; `None` when there are none.
    pub fn refused_summary(&self) -> Option<String> {
        summary(&self.refused)
    }
}

/// Formats failures by recipient in one line, each reason once; `None` when there are none.
fn summary(failures: &[(String, String)]) -> Option<String> {
    let mut reasons: Vec<&str> = Vec::new();
    for (_, why) in failures {
        if !reasons.contains(&why.as_str()) {
            reasons.push(why);
        }
    }
    let at = |why: &&str| {
        failures
            .iter()
            .filter(move |f| f.1 == *why)
            .map(|(who, _)| who.as_str())
            .collect::<Vec<_>>()
    };
    let list: Vec<_> = reasons
        .iter()
        .map(|why| format!("{}: {why}", at(why).join(", ")))
        .collect();
    (!list.is_empty()).then(|| list.join("; "))
}

/// The result of one attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Attempt {
    /// Delivered to every recipient that accepts it.
    Delivered {
        /// Who has it, and who permanently rejected it.
        progress: Progress,
    },
    /// Another attempt may succeed.
    Retry {
        /// Who already has it.
        progress: Progress,
        /// What went wrong, without secrets.
        error: String,
        /// How long the receiver asks us to wait.
        retry_after: Option<Duration>,
        /// The kind of obstacle.
        obstacle: Obstacle,
    },
    /// Permanently rejected by all recipients.
    Failed {
        /// Who rejected it.
        progress: Progress,
        /// What went wrong, without secrets.
        error: String,
    },
}

/// Sends through every channel of one configuration.
#[derive(Debug)]
pub struct Sender {
    transports: BTreeMap<ChannelName, Transport>,
    locale: Locale,
    public_url: Option<String>,
    links: Option<Links>,
}

#[derive(Debug)]
enum Transport {
    Smtp(Box<Mailer>),
    Http(Box<WebhookClient>),
    Exec(Program),
}

impl Sender {
    /// Sets up every channel of `config` without connecting.
    ///
    /// # Errors
    /// When a channel cannot be set up.
    pub fn new(config: &Settings) -> Result<Self, SenderSetupError> {
        let mut shared = SharedParts {
            redactor: Redactor::new(config),
            tls: None,
            clients: BTreeMap::new(),
        };
        let mut transports = BTreeMap::new();
        for channel in &config.channels {
            let transport = Transport::new(channel, config, &mut shared);
            let transport = transport.map_err(|why| SenderSetupError {
                channel: channel.name.clone(),
                why,
            })?;
            transports.insert(channel.name.clone(), transport);
        }
        Ok(Self {
            transports,
            locale: Locale::of(config),
            public_url: config.monitor.public_url.clone(),
            links: None,
        })
    }

    /// Adds the key that signs one-click links. Without it emails contain none.
    #[must_use]
    pub fn with_links(self, links: Links) -> Self {
        Self {
            links: Some(links),
            ..self
        }
    }

    /// Returns the link that acknowledges the incident of `notice`, the same for every attempt.
    fn acknowledge_url(&self, notice: &Notice) -> Option<String> {
        let links = self.links.as_ref()?;
        let public_url = self.public_url.as_deref()?;
        let incident = notice.incident.as_ref().filter(|_| !notice.test)?;
        Some(links.url(
            public_url,
            Action::Acknowledge,
            incident.id,
            notice.decided_at,
        ))
    }

    /// Returns the link that confirms a drill, the same for every attempt.
    fn confirm_url(&self, notice: &Notice) -> Option<String> {
        let links = self.links.as_ref()?;
        let public_url = self.public_url.as_deref()?;
        (notice.kind == NoticeKind::Drill && !notice.test).then(|| {
            let action = Action::ConfirmDrill;
            links.url(public_url, action, notice.id, notice.decided_at)
        })
    }

    /// Makes one attempt to deliver `notice` through `channel` to all recipients that do not have
    /// it yet. `now` is the wall clock.
    pub async fn attempt(
        &self,
        channel: &Channel,
        notice: &Notice,
        progress: Progress,
        now: Timestamp,
    ) -> Attempt {
        let confirm_url = self.confirm_url(notice);
        let setting = Setting {
            locale: self.locale,
            now,
            acknowledge_url: None,
            confirm_url: confirm_url.as_deref(),
        };
        match self.transports.get(&channel.name) {
            Some(Transport::Smtp(mailer)) => {
                let url = self.acknowledge_url(notice);
                let setting = Setting {
                    acknowledge_url: url.as_deref(),
                    ..setting
                };
                mailer.attempt(notice, setting, progress).await
            }
            Some(Transport::Http(client)) => client.attempt(notice, setting, progress).await,
            Some(Transport::Exec(program)) => program.attempt(notice, setting, progress).await,
            None => Attempt::Failed {
                progress,
                error: "the channel is no longer configured".to_owned(),
            },
        }
    }

    /// Returns what [`Sender::attempt`] would send, as files: extension and content. Secrets of the
    /// receiver are replaced by `***`.
    pub fn preview(
        &self,
        channel: &Channel,
        notice: &Notice,
        now: Timestamp,
    ) -> Vec<(&'static str, Vec<u8>)> {
        let confirm_url = self.confirm_url(notice);
        let setting = Setting {
            locale: self.locale,
            now,
            acknowledge_url: None,
            confirm_url: confirm_url.as_deref(),
        };
        match (self.transports.get(&channel.name), &channel.kind) {
            (Some(Transport::Smtp(mailer)), _) => vec![
                (
                    "eml",
                    mailer
                        .formatted(notice, setting)
                        .unwrap_or_else(String::into_bytes),
                ),
                ("txt", render::text(notice, setting).into_bytes()),
                ("html", render::html(notice, setting).into_bytes()),
            ],
            (Some(Transport::Http(_) | Transport::Exec(_)), ChannelKind::Webhook(webhook)) => {
                let call = receivers::call(&webhook.masked(), notice, setting);
                match serde_json::from_str::<serde_json::Value>(&call.body) {
                    Ok(body) => vec![("json", format!("{body:#}\n").into_bytes())],
                    Err(_) => vec![("txt", call.body.into_bytes())],
                }
            }
            _ => Vec::new(),
        }
    }

    /// Checks that `channel` can be reached, without sending anything.
    ///
    /// # Errors
    /// What went wrong, without secrets.
    pub async fn open(&self, channel: &Channel) -> Result<(), OpenError> {
        match self.transports.get(&channel.name) {
            Some(Transport::Smtp(mailer)) => mailer.open().await,
            Some(Transport::Http(client)) => client.open().await.map_err(OpenError::Unreachable),
            Some(Transport::Exec(program)) => program.open().map_err(OpenError::Rejected),
            None => Err(OpenError::Rejected("not configured".to_owned())),
        }
    }
}

/// Why a channel cannot be opened; without secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenError {
    /// Only another configuration can help: a login that is refused, or a program that is missing.
    Rejected(String),
    /// The receiver cannot be reached now.
    Unreachable(String),
}

/// What channels share: patterns and root certificates take a megabyte or more.
struct SharedParts {
    redactor: Redactor,
    tls: Option<Arc<ClientConfig>>,
    /// By timeout.
    clients: BTreeMap<Duration, Client>,
}

impl SharedParts {
    fn tls(&mut self, settings: &Settings) -> Result<Arc<ClientConfig>, String> {
        if let Some(tls) = &self.tls {
            return Ok(tls.clone());
        }
        let ca_file = settings.process.ca_file.as_deref();
        let tls = Arc::new(http_client::tls_config(ca_file)?);
        self.tls = Some(tls.clone());
        Ok(tls)
    }

    fn client(&mut self, timeout: Duration, settings: &Settings) -> Result<Client, String> {
        if let Some(client) = self.clients.get(&timeout) {
            return Ok(client.clone());
        }
        let client = http_client::without_redirects(timeout, settings)?;
        self.clients.insert(timeout, client.clone());
        Ok(client)
    }
}

impl Transport {
    fn new(
        channel: &Channel,
        settings: &Settings,
        shared: &mut SharedParts,
    ) -> Result<Self, String> {
        let redactor = shared.redactor.clone();
        Ok(match &channel.kind {
            ChannelKind::Email(email) => {
                let tls = shared.tls(settings)?;
                Self::Smtp(Box::new(Mailer::new(email, tls, redactor)?))
            }
            ChannelKind::Webhook(webhook) if webhook.kind == WebhookKind::Exec => {
                Self::Exec(Program::new(webhook, redactor))
            }
            ChannelKind::Webhook(webhook) => {
                let client = shared.client(webhook.timeout, settings)?;
                Self::Http(Box::new(WebhookClient::new(webhook, client, redactor)))
            }
        })
    }
}
