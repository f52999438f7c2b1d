//! One format per receiver: a pure mapping from a notice to one request. A message that is too long
//! is truncated at a character boundary, never rejected. Outside text is escaped for its context.

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

pub use template::unknown_placeholders;

use serde_json::Value;
use url::Url;

use super::render::{self, Message, RenderContext, clean};
use crate::config::{Webhook, WebhookKind};
use crate::model::{Attribution, Notice, NoticeKind, Secret, Status};

/// One request to a receiver.
#[derive(Debug)]
pub struct Call {
    /// The HTTP method.
    pub method: &'static str,
    /// The full URL, often a secret in itself.
    pub url: Secret,
    /// Headers in addition to those of every request.
    pub headers: Vec<(String, Secret)>,
    /// The body's media type.
    pub content_type: String,
    /// The body. It depends only on the notice and the time.
    pub body: String,
}

/// The input of a receiver's format.
struct FormatInput<'a> {
    webhook: &'a Webhook,
    notice: &'a Notice,
    context: RenderContext<'a>,
    message: Message,
}

/// Builds the request that sends `notice` to the receiver of `webhook`.
pub fn call(webhook: &Webhook, notice: &Notice, context: RenderContext<'_>) -> Call {
    let input = FormatInput {
        webhook,
        notice,
        context,
        message: Message::new(notice, context),
    };
    match webhook.kind {
        // An `exec` program gets the same body on standard input.
        WebhookKind::Json | WebhookKind::Exec => {
            Call::json(webhook.url.clone(), &render::json(notice, context))
        }
        WebhookKind::Slack => slack::call(&input),
        WebhookKind::Discord => discord::call(&input),
        WebhookKind::Teams => teams::call(&input),
        WebhookKind::Telegram => telegram::call(&input),
        WebhookKind::Ntfy => ntfy::call(&input),
        WebhookKind::Pagerduty => pagerduty::call(&input),
        // Jira Service Management has the same API as Opsgenie.
        WebhookKind::Opsgenie | WebhookKind::Jsm => opsgenie::call(&input),
        WebhookKind::Alertmanager => alertmanager::call(&input),
        WebhookKind::GoogleChat => google_chat::call(&input),
        WebhookKind::Mattermost => mattermost::call(&input),
        WebhookKind::Pushover => pushover::call(&input),
        WebhookKind::Template => template::call(&input),
        WebhookKind::Matrix => matrix::call(&input),
        WebhookKind::Signal => signal::call(&input),
        WebhookKind::Twilio => twilio::call(&input),
        WebhookKind::Rocketchat => rocketchat::call(&input),
        WebhookKind::Zulip => zulip::call(&input),
        WebhookKind::Webex => webex::call(&input),
        WebhookKind::Gotify => gotify::call(&input),
        WebhookKind::IncidentIo => incident_io::call(&input),
        WebhookKind::SplunkOncall => splunk_oncall::call(&input),
    }
}

/// Returns the receiver's address, also for checking whether it is reachable.
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

impl FormatInput<'_> {
    /// Returns a key of this kind; empty if it is not set.
    fn key(&self, name: &str) -> &str {
        self.webhook.key(name)
    }

    /// Returns the configured priority, else `quiet` for what is over or only informs, `high` or
    /// `low` by urgency.
    fn priority(&self, quiet: i32, high: i32, low: i32) -> i32 {
        let configured = self.key("priority").parse();
        configured.unwrap_or(match (self.urgency(), self.is_over()) {
            (_, true) | (Urgency::Info, _) => quiet,
            (Urgency::High, _) => high,
            (Urgency::Low, _) => low,
        })
    }

    /// Returns the configured URL or the receiver's default. A URL without a path gets `path`.
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

    /// Returns the paragraphs as plain text, separated by `between`.
    fn text(&self, between: &str) -> String {
        let paragraphs = self.message.paragraphs();
        let parts: Vec<_> = paragraphs
            .iter()
            .map(|(heading, text)| format!("{heading}\n{text}"))
            .collect();
        parts.join(between)
    }

    /// Returns the deduplication key: the incident, or the monitor's own condition.
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

    /// Reports whether the notice says that something is over.
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

    /// Returns the most important link, if there is one.
    fn link(&self) -> Option<&str> {
        self.message.links.first().map(|(_, url)| url.as_str())
    }
}

/// Escapes a character for Markdown without a reliable escape syntax. An invisible word joiner
/// after it keeps it from starting a format, mention, link or emoji.
fn escape_markdown(c: char, out: &mut String) {
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

/// The urgency, before it is mapped to each receiver's scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Urgency {
    High,
    Low,
    Info,
}
