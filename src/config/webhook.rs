//! `[[webhook]]`: the known receivers, and the keys that each of them needs.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::Url;

use super::channel::filters;
use super::endpoint::{checked_name, headers_of};
use super::raw::{Table, Value};
use super::{Channel, ChannelKind, Syntax, Template, Webhook, WebhookKind};
use crate::files;
use llmwatch_core::message::receivers::unknown_placeholders;
use llmwatch_core::model::Secret;

/// The receivers' names.
pub(super) const KINDS: [(&str, WebhookKind); 24] = [
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
    ("matrix", WebhookKind::Matrix),
    ("signal", WebhookKind::Signal),
    ("twilio", WebhookKind::Twilio),
    ("rocketchat", WebhookKind::Rocketchat),
    ("zulip", WebhookKind::Zulip),
    ("webex", WebhookKind::Webex),
    ("gotify", WebhookKind::Gotify),
    ("incident_io", WebhookKind::IncidentIo),
    ("jsm", WebhookKind::Jsm),
    ("splunk_oncall", WebhookKind::SplunkOncall),
    ("exec", WebhookKind::Exec),
];

/// Keys that only some kinds accept; all may hold secrets.
const EXTRA: [[&str; 3]; 16] = [
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
    ["method", "method_file", "method_credential"],
    ["room", "room_file", "room_credential"],
    ["from", "from_file", "from_credential"],
    ["to", "to_file", "to_credential"],
    ["account_sid", "account_sid_file", "account_sid_credential"],
    ["source", "source_file", "source_credential"],
];

/// The keys of one kind of receiver.
struct Needs {
    /// The required keys, each with an example.
    required: &'static [(&'static str, &'static str)],
    /// The optional keys.
    optional: &'static [&'static str],
    /// Whether it has a fixed URL.
    has_address: bool,
}

fn needs(kind: WebhookKind) -> Needs {
    let (required, optional, has_address): (&[_], &[_], _) = match kind {
        WebhookKind::Json
        | WebhookKind::Discord
        | WebhookKind::Teams
        | WebhookKind::Alertmanager
        | WebhookKind::GoogleChat => (&[], &[], false),
        WebhookKind::Slack | WebhookKind::Mattermost | WebhookKind::Rocketchat => {
            (&[], &["channel"], false)
        }
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
            &[(
                "body",
                "a text with placeholders such as `{{data.incident.title}}`",
            )],
            &["content_type", "method"],
            false,
        ),
        WebhookKind::Matrix => (
            &[
                ("token", "the access token of the bot's account"),
                ("room", "the room's internal id, such as `!abc:example.org`"),
            ],
            &[],
            false,
        ),
        WebhookKind::Signal => (
            &[
                ("from", "the registered number, such as `+4915112345678`"),
                ("to", "the numbers or group ids, with commas between them"),
            ],
            &[],
            false,
        ),
        WebhookKind::Twilio => (
            &[
                ("account_sid", "the account's SID, which begins with `AC`"),
                ("token", "the account's auth token"),
                ("from", "your Twilio number, such as `+15005550006`"),
                ("to", "the recipient's number, such as `+15005550010`"),
            ],
            &[],
            true,
        ),
        WebhookKind::Zulip => (
            &[
                ("user", "the bot's mail address"),
                ("api_key", "the bot's API key"),
                ("channel", "the channel's name"),
            ],
            &["topic"],
            false,
        ),
        WebhookKind::Webex => (&[], &["token", "room"], true),
        WebhookKind::Gotify => (
            &[("token", "the application's token")],
            &["priority"],
            false,
        ),
        WebhookKind::IncidentIo => (
            &[("token", "the token of the HTTP alert source")],
            &["source"],
            true,
        ),
        WebhookKind::Jsm => (
            &[("api_key", "the key of an API integration")],
            &["priority"],
            true,
        ),
        WebhookKind::SplunkOncall => (
            &[
                ("api_key", "the key of the REST integration"),
                ("routing_key", "the routing key of the team"),
            ],
            &[],
            true,
        ),
        WebhookKind::Exec => (&[], &[], true),
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
    let command = command(table, kind, &name);
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
        command,
    };
    if webhook.kind == WebhookKind::Template {
        webhook.template = template(table, &webhook, &name);
    }
    Some(Channel {
        name: name.into(),
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
                let kind = kind_name(kind);
                let message = format!("missing key `{key}` for kind `{kind}`");
                table.error(message, format!("add `{key} = \"…\"`: {what}"));
            }
            (Some(written), None) if !needs.optional.contains(&key) => {
                let message = format!("`{written}` does not apply to kind `{}`", kind_name(kind));
                let help = "remove it, or correct `kind`".to_owned();
                table
                    .sink()
                    .error(Some(table.key_span(written)), message, Some(help));
            }
            _ => {}
        }
        if let (Some(kind), Some(written), Some(value)) = (kind, written, &value) {
            check_form(table, kind, key, written, value.expose());
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
    if kind == Some(WebhookKind::Opsgenie) && !has(&extra, "api_key") && !has(&extra, "token") {
        let help =
            "add `api_key = \"${OPSGENIE_API_KEY}\"`, the key of an API integration".to_owned();
        table.error("missing key `api_key` for kind `opsgenie`", help);
    }
    extra
}

/// Checks the format of keys that the receiver would otherwise reject much later, in a less helpful
/// way.
fn check_form(table: &Table<'_>, kind: WebhookKind, key: &str, written: &'static str, value: &str) {
    let (right, help) = match (kind, key) {
        (WebhookKind::Template, "method") => (
            matches!(value, "POST" | "PUT"),
            "expected one of: \"POST\" and \"PUT\"",
        ),
        (WebhookKind::Matrix, "room") => (
            // The ID of a room of version 12 or later does not name a server.
            value.len() > 1 && value.starts_with('!') && !value.contains(char::is_whitespace),
            "write the internal room ID, such as `!abc:example.org` or `!abc`; clients show it in the room settings",
        ),
        (WebhookKind::Signal, "from") => (
            is_phone_number(value),
            "write the number with its country, such as `+4915112345678`",
        ),
        (WebhookKind::Signal, "to") => (
            value
                .split(',')
                .all(|to| is_phone_number(to) || to.trim().starts_with("group.")),
            "write numbers such as `+4915112345678`, or group ids such as `group.…`, with commas between them",
        ),
        (WebhookKind::Twilio, "to") => (
            is_phone_number(value),
            "write one number with its country, such as `+15005550010`; a further recipient is a further `[[webhook]]`",
        ),
        (WebhookKind::Twilio, "account_sid") => (
            value.starts_with("AC") && value.bytes().all(|b| b.is_ascii_alphanumeric()),
            "the account's SID begins with `AC`",
        ),
        _ => return,
    };
    if !right {
        let message = format!(
            "the value of `{written}` cannot be used for kind `{}`",
            kind_name(Some(kind))
        );
        table.sink().error(
            Some(table.key_span(written)),
            message,
            Some(help.to_owned()),
        );
    }
}

/// Reports whether it is a number in international form: `+` and 7 to 15 digits.
fn is_phone_number(text: &str) -> bool {
    let digits = text.trim().strip_prefix('+');
    digits.is_some_and(|d| (7..=15).contains(&d.len()) && d.bytes().all(|b| b.is_ascii_digit()))
}

fn has(extra: &[(String, Secret)], name: &str) -> bool {
    extra.iter().any(|(key, _)| key == name)
}

/// `command` of `exec`: a program and its arguments, run without a shell.
fn command(table: &Table<'_>, kind: Option<WebhookKind>, name: &str) -> Vec<String> {
    let written = table.get("command");
    match (kind, &written) {
        (Some(WebhookKind::Exec), None) => {
            let help = "add `command = [\"/usr/local/bin/notify\", \"argument\"]`: it gets the JSON on its standard input";
            table.error("missing key `command` for kind `exec`", help);
        }
        (Some(WebhookKind::Exec) | None, Some(_)) | (_, None) => {}
        (kind, Some(_)) => {
            let message = format!("`command` does not apply to kind `{}`", kind_name(kind));
            let help = "remove it, or write `kind = \"exec\"`".to_owned();
            table
                .sink()
                .error(Some(table.key_span("command")), message, Some(help));
        }
    }
    let Some(command) = written.as_ref().and_then(Value::strings) else {
        return Vec::new();
    };
    if let (Some(value), Some(program)) = (&written, command.first())
        && !program.starts_with('/')
    {
        let help = "write the program's full path: there is no search path and no shell";
        let _: Option<()> = value.error("`command` begins with a path".to_owned(), help);
    }
    if let (Some(value), true) = (&written, command.is_empty()) {
        let _: Option<()> = value.error(
            "`command` is empty".to_owned(),
            "write `[\"/usr/local/bin/notify\", \"argument\"]`",
        );
    }
    if let Some(program) = command.first().filter(|p| p.starts_with('/'))
        && let Err(why) = files::check_program(program)
    {
        table.sink().warn(format!("channel `{name}`: {why}"));
    }
    command
}

/// Returns the allowed values of `priority` if `priority` is not one of them.
fn wrong_priority(kind: WebhookKind, priority: &str) -> Option<&'static str> {
    let number = priority.parse::<i8>().ok();
    let (right, possible) = match kind {
        WebhookKind::Ntfy => (number.is_some_and(|n| (1..=5).contains(&n)), "1 to 5"),
        WebhookKind::Pushover => (number.is_some_and(|n| (-2..=2).contains(&n)), "-2 to 2"),
        WebhookKind::Gotify => (number.is_some_and(|n| (0..=10).contains(&n)), "0 to 10"),
        WebhookKind::Opsgenie | WebhookKind::Jsm => (
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
    let plain = url.as_ref().map(|url| match kind {
        Some(WebhookKind::Template) => without_placeholders(url.expose()),
        _ => url.expose().to_owned(),
    });
    let parsed = plain.and_then(|url| Url::parse(&url).ok());
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
    } else if kind == Some(WebhookKind::Telegram) && path.is_empty() && !has(extra, "token") {
        complain(
            "missing key `token` for kind `telegram`",
            "add `token = \"…\"`: the bot's, as BotFather gave it",
        );
    } else if kind == Some(WebhookKind::Exec) && url.is_some() {
        complain(
            "`url` does not apply to kind `exec`",
            "remove it: the program stands in `command`",
        );
    } else if kind == Some(WebhookKind::Webex)
        && path.is_empty()
        && !(has(extra, "token") && has(extra, "room"))
    {
        complain(
            "missing keys `token` and `room` for kind `webex`",
            "add both, or put the address of an incoming webhook into `url`",
        );
    } else if kind == Some(WebhookKind::IncidentIo) && path.is_empty() && !has(extra, "source") {
        complain(
            "missing key `source` for kind `incident_io`",
            "add the id of the HTTP alert source, or put its full URL into `url`",
        );
    } else if kind == Some(WebhookKind::Ntfy) && path.is_empty() && !has(extra, "topic") {
        complain(
            "missing `topic` for kind `ntfy`",
            "add `topic = \"…\"`, or put it at the end of `url`",
        );
    }
    Some(url.unwrap_or_else(|| Secret::new("")))
}

/// Removes the placeholders from a template's URL. They may only follow the host; empty if one
/// precedes its end.
fn without_placeholders(url: &str) -> String {
    let host = url.find("://").map_or(0, |at| at + 3);
    let path = url[host..]
        .find(['/', '?'])
        .map_or(url.len(), |end| host + end);
    if url[..path].contains("{{") {
        // An incident's text must not select the receiver.
        return String::new();
    }
    let filled = Template::parse(url, Syntax::Url).map(|t| t.fill(&serde_json::Value::Null));
    filled.unwrap_or_else(|_| url.to_owned())
}

/// Parses the template's headers, URL and body now, so that mistakes are reported before anything
/// is sent.
fn template(table: &Table<'_>, webhook: &Webhook, name: &str) -> Option<Template> {
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
    let mut parsed = Vec::new();
    for (name, value) in &webhook.headers {
        match Template::parse(value.expose(), Syntax::Header) {
            Ok(template) => parsed.push(template),
            Err(why) => complain("headers", &format!("the header `{name}`"), why),
        }
    }
    match Template::parse(webhook.url.expose(), Syntax::Url) {
        Ok(template) => parsed.push(template),
        Err(why) => complain("url", "the URL", why),
    }
    let text = webhook.key("body");
    let body =
        (!text.is_empty()).then(|| Template::parse(text, Syntax::of(webhook.content_type())));
    let body = body.and_then(|body| {
        body.map_err(|why| complain("body", "the template", why))
            .ok()
    });
    for path in unknown_placeholders(parsed.iter().chain(&body)) {
        table.sink().warn(format!(
            "channel `{name}`: unknown placeholder `{{{{{path}}}}}`: it is always empty; use a field from \
             docs/payloads.md, such as `{{{{data.incident.title}}}}`"
        ));
    }
    body
}

fn kind_name(kind: Option<WebhookKind>) -> &'static str {
    KINDS
        .iter()
        .find(|(_, k)| Some(*k) == kind)
        .map_or("", |(name, _)| name)
}

/// Decodes a Standard Webhooks signing key.
pub fn signing_key(secret: &Secret) -> Option<Vec<u8>> {
    let bytes = STANDARD
        .decode(secret.expose().strip_prefix("whsec_")?)
        .ok()?;
    (bytes.len() >= 16).then_some(bytes)
}
