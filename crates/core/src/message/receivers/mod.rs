//! Each receiver's own format: a pure mapping from a notice to one request. A message that is too long for a receiver is
//! shortened on a character's border, never refused; what comes from outside is escaped for the place where it stands.

mod alertmanager;
mod discord;
mod google_chat;
mod gotify;
mod incident_io;
mod matrix;
mod mattermost;
mod ntfy;
mod opsgenie;
mod pagerduty;
mod pushover;
mod rocketchat;
mod shorten;
mod signal;
mod slack;
mod splunk_oncall;
mod teams;
mod telegram;
mod template;
mod twilio;
mod webex;
mod zulip;

use serde_json::Value;
use url::Url;

use super::render::{self, Message, RenderContext, clean};
use crate::config::{Webhook, WebhookKind};
use crate::model::{Attribution, Notice, NoticeKind, Secret, Status};

/// One request to a receiver.
#[derive(Debug)]
pub struct Call {
    /// `POST`, or what the receiver wants instead.
    pub method: &'static str,
    /// The full URL, often a secret in itself.
    pub url: Secret,
    /// Besides those of every request.
    pub headers: Vec<(String, Secret)>,
    /// The body's media type.
    pub content_type: String,
    /// The body, the same on every attempt at the same time.
    pub body: String,
}

/// What a receiver is given to work with.
struct Material<'a> {
    webhook: &'a Webhook,
    notice: &'a Notice,
    context: RenderContext<'a>,
    message: Message,
}

/// The request that carries `notice` to the receiver behind `webhook`.
pub fn call(webhook: &Webhook, notice: &Notice, context: RenderContext<'_>) -> Call {
    let material = Material {
        webhook,
        notice,
        context,
        message: Message::new(notice, context),
    };
    match webhook.kind {
        // A program gets the same on its standard input.
        WebhookKind::Json | WebhookKind::Exec => {
            Call::json(webhook.url.clone(), &render::json(notice, context))
        }
        WebhookKind::Slack => slack::call(&material),
        WebhookKind::Discord => discord::call(&material),
        WebhookKind::Teams => teams::call(&material),
        WebhookKind::Telegram => telegram::call(&material),
        WebhookKind::Ntfy => ntfy::call(&material),
        WebhookKind::Pagerduty => pagerduty::call(&material),
        // Jira Service Management took Opsgenie's API over.
        WebhookKind::Opsgenie | WebhookKind::Jsm => opsgenie::call(&material),
        WebhookKind::Alertmanager => alertmanager::call(&material),
        WebhookKind::GoogleChat => google_chat::call(&material),
        WebhookKind::Mattermost => mattermost::call(&material),
        WebhookKind::Pushover => pushover::call(&material),
        WebhookKind::Template => template::call(&material),
        WebhookKind::Matrix => matrix::call(&material),
        WebhookKind::Signal => signal::call(&material),
        WebhookKind::Twilio => twilio::call(&material),
        WebhookKind::Rocketchat => rocketchat::call(&material),
        WebhookKind::Zulip => zulip::call(&material),
        WebhookKind::Webex => webex::call(&material),
        WebhookKind::Gotify => gotify::call(&material),
        WebhookKind::IncidentIo => incident_io::call(&material),
        WebhookKind::SplunkOncall => splunk_oncall::call(&material),
    }
}

/// Where the receiver behind `webhook` listens, to see whether it does.
pub fn address(webhook: &Webhook) -> Secret {
    let standard = match webhook.kind {
        WebhookKind::Pagerduty => pagerduty::ADDRESS,
        WebhookKind::Opsgenie => opsgenie::ADDRESS,
        WebhookKind::Telegram => telegram::ADDRESS,
        WebhookKind::Pushover => pushover::ADDRESS,
        WebhookKind::Jsm => opsgenie::JSM_ADDRESS,
        WebhookKind::Twilio => twilio::ADDRESS,
        WebhookKind::Webex => webex::ADDRESS,
        WebhookKind::IncidentIo => incident_io::ADDRESS,
        WebhookKind::SplunkOncall => splunk_oncall::ADDRESS,
        _ => "",
    };
    if webhook.url.expose().is_empty() {
        Secret::new(standard)
    } else {
        webhook.url.clone()
    }
}

impl Call {
    fn json(url: Secret, body: &Value) -> Self {
        Self {
            method: "POST",
            url,
            headers: Vec::new(),
            content_type: "application/json".to_owned(),
            body: body.to_string(),
        }
    }

    fn with_method(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }

    fn with_header(mut self, name: &str, value: String) -> Self {
        self.headers.push((name.to_owned(), Secret::new(value)));
        self
    }
}

impl Material<'_> {
    /// A key of this kind; empty when it was not written.
    fn key(&self, name: &str) -> &str {
        self.webhook.key(name)
    }

    /// The configured address, or the receiver's own; one without a path gets `path`.
    fn url(&self, path: &str) -> String {
        let url = address(self.webhook);
        match Url::parse(url.expose()) {
            Ok(mut url) if url.path() == "/" => {
                url.set_path(path);
                url.into()
            }
            _ => url.expose().to_owned(),
        }
    }

    /// The paragraphs as plain text, with `between` between them.
    fn text(&self, between: &str) -> String {
        let paragraphs = self.message.paragraphs();
        let parts: Vec<_> = paragraphs
            .iter()
            .map(|(heading, text)| format!("{heading}\n{text}"))
            .collect();
        parts.join(between)
    }

    /// What a receiver folds repeats by: the incident, or the monitor's own condition.
    fn dedup_key(&self) -> String {
        if let Some(incident) = &self.notice.incident {
            return incident.id.to_string();
        }
        let key = self
            .notice
            .condition
            .as_ref()
            .map_or(self.notice.id.to_string(), |c| clean(&c.key));
        format!("llmwatch/{}/{key}", clean(&self.notice.location))
    }

    /// Whether the notice says that something is over.
    fn is_over(&self) -> bool {
        self.notice.kind == NoticeKind::Resolved
            || self.notice.condition.as_ref().is_some_and(|c| c.over)
    }

    fn urgency(&self) -> Urgency {
        match (&self.notice.incident, self.notice.kind) {
            (None, NoticeKind::Offline) => Urgency::High,
            (None, NoticeKind::Budget | NoticeKind::Store | NoticeKind::Delivery) => Urgency::Low,
            (None, _) => Urgency::Info,
            (Some(i), _) => match (i.attribution, i.status) {
                (Attribution::Provider, Status::Outage) => Urgency::High,
                _ => Urgency::Low,
            },
        }
    }

    /// The link that leads furthest, if there is one.
    fn link(&self) -> Option<&str> {
        self.message.links.first().map(|(_, url)| url.as_str())
    }
}

/// For Markdown without a dependable escape: what begins a format, a mention, a link or an emoji is parted from what it
/// would begin by an invisible word joiner.
fn parted(c: char, out: &mut String) {
    out.push(c);
    if matches!(
        c,
        '@' | '#'
            | '*'
            | '_'
            | '~'
            | '`'
            | '['
            | ']'
            | '!'
            | ':'
            | '>'
            | '<'
            | '|'
            | '$'
            | '\\'
            | '&'
    ) {
        out.push('\u{2060}');
    }
}

/// How urgent, before each receiver's own scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Urgency {
    High,
    Low,
    Info,
}
