//! `[[webhook]]`: the receivers that are known, and the keys that each of them needs.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::Url;

use super::channel::filters;
use super::endpoint::{checked_name, headers_of};
use super::raw::Table;
use super::{Channel, ChannelKind, Syntax, Template, Webhook, WebhookKind};
use crate::model::Secret;

/// The receivers' names.
pub(super) const KINDS: [(&str, WebhookKind); 13] = [
    ("json", WebhookKind::Json),
    ("slack", WebhookKind::Slack),
    ("discord", WebhookKind::Discord),
    ("teams", WebhookKind::Teams),
    ("telegram", WebhookKind::Telegram),
    ("ntfy", WebhookKind::Ntfy),
    ("pagerduty", WebhookKind::Pagerduty),
    ("opsgenie", WebhookKind::Opsgenie),
    ("alertmanager", WebhookKind::Alertmanager),
    ("google_chat", WebhookKind::GoogleChat),
    ("mattermost", WebhookKind::Mattermost),
    ("pushover", WebhookKind::Pushover),
    ("template", WebhookKind::Template),
];

/// Keys that only some kinds know; all may hold secrets.
const EXTRA: [[&str; 3]; 10] = [
    ["routing_key", "routing_key_file", "routing_key_credential"],
    ["api_key", "api_key_file", "api_key_credential"],
    ["chat_id", "chat_id_file", "chat_id_credential"],
    ["token", "token_file", "token_credential"],
    ["user", "user_file", "user_credential"],
    ["topic", "topic_file", "topic_credential"],
    ["channel", "channel_file", "channel_credential"],
    ["priority", "priority_file", "priority_credential"],
    ["body", "body_file", "body_credential"],
    [
        "content_type",
        "content_type_file",
        "content_type_credential",
    ],
];

/// What a kind of receiver asks of its table.
struct Needs {
    /// Keys that it cannot do without, each with what to write.
    required: &'static [(&'static str, &'static str)],
    /// Keys that it knows besides.
    optional: &'static [&'static str],
    /// Whether it has an address of its own.
    has_address: bool,
}

fn needs(kind: WebhookKind) -> Needs {
    let (required, optional, has_address): (&[_], &[_], _) = match kind {
        WebhookKind::Json
        | WebhookKind::Discord
        | WebhookKind::Teams
        | WebhookKind::Alertmanager
        | WebhookKind::GoogleChat => (&[], &[], false),
        WebhookKind::Slack | WebhookKind::Mattermost => (&[], &["channel"], false),
        WebhookKind::Telegram => (
            &[("chat_id", "the chat's number, or `@channelname`")],
            &["token"],
            true,
        ),
        WebhookKind::Ntfy => (&[], &["topic", "token", "priority"], false),
        WebhookKind::Pagerduty => (
            &[(
                "routing_key",
                "the integration key of an Events API v2 integration",
            )],
            &[],
            true,
        ),
        WebhookKind::Opsgenie => (&[], &["api_key", "token", "priority"], true),
        WebhookKind::Pushover => (
            &[
                ("token", "the application's token"),
                ("user", "the user's or group's key"),
            ],
            &["priority"],
            true,
        ),
        WebhookKind::Template => (
            &[("body", "a text with `{{data.incident.title}}` and the like")],
            &["content_type"],
            false,
        ),
    };
    Needs {
        required,
        optional,
        has_address,
    }
}

/// Reads one `[[webhook]]`.
pub(super) fn webhook(table: &Table<'_>) -> Option<Channel> {
    let name = table
        .get("name")
        .and_then(|v| checked_name(&v))
        .unwrap_or_else(|| "webhook".to_owned());
    let kind = table
        .get("kind")
        .map_or(Some(WebhookKind::Json), |v| v.one_of(&KINDS));
    let extra = extra(table, kind);
    let url = url(table, kind, &extra);
    let secret = table.secret("secret", "secret_file", "secret_credential");
    if let Some(secret) = &secret
        && signing_key(secret).is_none()
    {
        let help = "the Standard Webhooks form is `whsec_` and at least 24 bytes in base64: `echo whsec_$(openssl rand -base64 32)`";
        let span = table.key_span("secret");
        table.sink().error(
            Some(span),
            "the signing secret is not in the form `whsec_…`",
            Some(help.to_owned()),
        );
    }
    let headers = table
        .table("headers")
        .map(|t| headers_of(&t))
        .unwrap_or_default();
    let timeout = table
        .get("timeout")
        .and_then(|v| v.duration_of_at_least(Duration::from_millis(100)));
    let filters = filters(table);
    table.finish();
    let mut webhook = Webhook {
        kind: kind?,
        url: url?,
        secret,
        headers,
        timeout: timeout.unwrap_or(Duration::from_secs(10)),
        extra,
        template: None,
    };
    if webhook.kind == WebhookKind::Template {
        webhook.template = template(table, &webhook);
    }
    Some(Channel {
        name,
        kind: ChannelKind::Webhook(webhook),
        filters,
    })
}

fn extra(table: &Table<'_>, kind: Option<WebhookKind>) -> Vec<(String, Secret)> {
    let mut extra = Vec::new();
    for [key, file, credential] in EXTRA {
        let written = [key, file, credential]
            .into_iter()
            .find(|k| table.get(k).is_some());
        let value = table.secret(key, file, credential);
        let Some(needs) = kind.map(needs) else {
            continue;
        };
        let required = needs.required.iter().find(|(name, _)| *name == key);
        match (written, required) {
            (None, Some((_, what))) => {
                let word = kind_name(kind);
                let message = format!("missing key `{key}` for kind `{word}`");
                table.sink().error(
                    Some(table.span.clone()),
                    message,
                    Some(format!("add `{key} = \"…\"`: {what}")),
                );
            }
            (Some(written), None) if !needs.optional.contains(&key) => {
                let message = format!("`{written}` says nothing to the kind `{}`", kind_name(kind));
                let help = "take it out, or correct `kind`".to_owned();
                table
                    .sink()
                    .error(Some(table.key_span(written)), message, Some(help));
            }
            _ => {}
        }
        if key == "priority"
            && let (Some(kind), Some(written), Some(value)) = (kind, written, &value)
            && let Some(possible) = wrong_priority(kind, value.expose())
        {
            let message = "unknown priority for this receiver";
            table.sink().error(
                Some(table.key_span(written)),
                message,
                Some(format!("expected one of: {possible}")),
            );
        }
        extra.extend(value.map(|value| (key.to_owned(), value)));
    }
    let has = |name: &str| extra.iter().any(|(key, _)| key == name);
    if kind == Some(WebhookKind::Opsgenie) && !has("api_key") && !has("token") {
        let help =
            "add `api_key = \"${OPSGENIE_API_KEY}\"`, the key of an API integration".to_owned();
        table.sink().error(
            Some(table.span.clone()),
            "missing key `api_key` for kind `opsgenie`",
            Some(help),
        );
    }
    extra
}

/// What is possible, if `priority` is not.
fn wrong_priority(kind: WebhookKind, priority: &str) -> Option<&'static str> {
    let number = priority.parse::<i8>().ok();
    let (right, possible) = match kind {
        WebhookKind::Ntfy => (number.is_some_and(|n| (1..=5).contains(&n)), "1 to 5"),
        WebhookKind::Pushover => (number.is_some_and(|n| (-2..=2).contains(&n)), "-2 to 2"),
        WebhookKind::Opsgenie => (
            ["P1", "P2", "P3", "P4", "P5"].contains(&priority),
            "\"P1\" to \"P5\"",
        ),
        _ => return None,
    };
    (!right).then_some(possible)
}

fn url(table: &Table<'_>, kind: Option<WebhookKind>, extra: &[(String, Secret)]) -> Option<Secret> {
    let keys = ["url", "url_file", "url_credential"];
    let written = keys.into_iter().find(|k| table.get(k).is_some());
    let url = table.secret("url", "url_file", "url_credential");
    let span = written.map_or(table.span.clone(), |k| table.key_span(k));
    let complain = |message: &str, help: &str| {
        table
            .sink()
            .error(Some(span.clone()), message, Some(help.to_owned()));
    };
    let has_address = kind.is_some_and(|kind| needs(kind).has_address);
    if written.is_none() && !has_address {
        complain(
            "missing key `url` in `[[webhook]]`",
            "add `url = \"https://…\"`, or `url_file`, `url_credential`",
        );
        return None;
    }
    let has = |name: &str| extra.iter().any(|(key, _)| key == name);
    let parsed = url.as_ref().and_then(|url| Url::parse(url.expose()).ok());
    let path = parsed.as_ref().map_or("", |u| u.path().trim_matches('/'));
    if url.is_some()
        && !parsed
            .as_ref()
            .is_some_and(|u| matches!(u.scheme(), "http" | "https") && u.host().is_some())
    {
        complain(
            "the webhook's URL is not an http or https URL",
            "it begins with `https://`",
        );
    } else if kind == Some(WebhookKind::Telegram) && path.is_empty() && !has("token") {
        complain(
            "missing key `token` for kind `telegram`",
            "add `token = \"…\"`: the bot's, as BotFather gave it",
        );
    } else if kind == Some(WebhookKind::Ntfy) && path.is_empty() && !has("topic") {
        complain(
            "a webhook of kind `ntfy` without a topic",
            "add `topic = \"…\"`, or put it at the end of `url`",
        );
    }
    Some(url.unwrap_or_else(|| Secret::new("")))
}

/// The template's body and headers, each read once so that a mistake is told before anything is to be sent.
fn template(table: &Table<'_>, webhook: &Webhook) -> Option<Template> {
    let complain = |key: &str, what: &str, why: String| {
        let span = table.key_span(key);
        let help =
            "a value goes in as `{{data.incident.title}}`, `{{subject}}` or `{{text}}`".to_owned();
        table.sink().error(
            Some(span),
            format!("{what} cannot be used: {why}"),
            Some(help),
        );
    };
    for (name, value) in &webhook.headers {
        if let Err(why) = Template::parse(value.expose(), Syntax::Header) {
            complain("headers", &format!("the header `{name}`"), why);
        }
    }
    let body = webhook.key("body");
    if body.is_empty() {
        return None;
    }
    let parsed = Template::parse(body, Syntax::of(webhook.content_type()));
    parsed
        .map_err(|why| complain("body", "the template", why))
        .ok()
}

fn kind_name(kind: Option<WebhookKind>) -> &'static str {
    KINDS
        .iter()
        .find(|(_, k)| Some(*k) == kind)
        .map_or("", |(name, _)| name)
}

/// The bytes of a Standard Webhooks signing key.
pub fn signing_key(secret: &Secret) -> Option<Vec<u8>> {
    let bytes = STANDARD
        .decode(secret.expose().strip_prefix("whsec_")?)
        .ok()?;
    (bytes.len() >= 16).then_some(bytes)
}
