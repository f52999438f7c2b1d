//! Warnings about configurations that are valid but cannot work, or that expose something; each
//! with the correction.

use std::sync::Arc;

use url::Url;

use super::Settings;
use super::endpoint::authorizes;
use crate::config::{Channel, ChannelKind, Distance, Email, SmtpTls, Webhook, WebhookKind};
use llmwatch_core::model::{Api, Endpoint, Provider};
use llmwatch_core::schedule::budget::load;

/// An objective below this is probably a fraction instead of a percentage.
const FRACTION: f64 = 1.0;
/// What happens to one secret that is sent without TLS, followed by what others do with it.
const IN_THE_CLEAR: &str =
    "is sent over `http://` to another machine, where anyone on the network path can";

/// Returns all warnings about `settings`.
pub(super) fn warnings(settings: &Settings) -> Vec<String> {
    let mut found = Vec::new();
    for endpoint in &settings.endpoints {
        let warnings = [
            api_key(endpoint),
            base_url(endpoint),
            plain_http(endpoint),
            fraction(endpoint),
        ];
        let name = &endpoint.name;
        found.extend(
            warnings
                .into_iter()
                .flatten()
                .map(|w| format!("endpoint `{name}`: {w}")),
        );
    }
    for channel in &settings.channels {
        let warnings = channel_warnings(channel);
        let name = &channel.name;
        found.extend(
            warnings
                .into_iter()
                .map(|w| format!("channel `{name}`: {w}")),
        );
    }
    found.extend(others_in_the_clear(settings));
    found.extend(open_page(settings));
    found.extend(no_money(settings));
    found
}

/// Warns about a budget that ends probing with the first probe that costs something.
fn no_money(settings: &Settings) -> Option<String> {
    let costs = |endpoint: &&Arc<Endpoint>| load(endpoint).usd_per_day > 0.0;
    let endpoint = settings.endpoints.iter().find(costs)?;
    (settings.budget.daily_usd == 0.0).then(|| {
        format!(
            "`daily_usd = 0` stops all probing until midnight after the first probe of {} that costs anything: set \
             `[budget] daily_usd` to the most that you want to spend per day",
            endpoint.name
        )
    })
}

/// Warns about extra characters that were copied along with a key.
fn api_key(endpoint: &Endpoint) -> Option<String> {
    let key = endpoint.api_key.as_ref()?.expose();
    if key.trim().is_empty() {
        return None;
    }
    let problem = if key.trim_start().to_ascii_lowercase().starts_with("bearer ") {
        "starts with `Bearer `: give the key alone, the header is added"
    } else if key.starts_with(['"', '\'']) || key.ends_with(['"', '\'']) {
        "has quotes around it: remove them where the key is stored"
    } else if key.contains(char::is_whitespace) {
        "contains blanks: remove them where the key is stored"
    } else if !key.is_ascii() {
        "contains characters that no key has, such as a dash or quote of a text editor: copy it again"
    } else {
        return None;
    };
    Some(format!("`api_key` {problem}"))
}

/// Warns about a `base_url` with more or less of the path than the provider's official client
/// expects.
fn base_url(endpoint: &Endpoint) -> Option<String> {
    if endpoint.api == Api::Http || endpoint.provider == Provider::Http {
        return None;
    }
    let url = &endpoint.base_url;
    let path = url.path().trim_end_matches('/');
    let (right, why) = if let Some(right) = without_request_path(path) {
        let version = versions_of_client(endpoint.provider)
            .iter()
            .find_map(|version| right.strip_suffix(version));
        (
            version.unwrap_or(right).to_owned(),
            "it holds the path of the request",
        )
    } else {
        match endpoint.provider {
            Provider::Anthropic | Provider::Gemini => {
                let mut versions = versions_of_client(endpoint.provider).iter();
                let right = versions.find_map(|version| path.strip_suffix(version))?;
                (
                    right.to_owned(),
                    "this provider's client adds the version itself",
                )
            }
            Provider::OpenAiCompatible if endpoint.api == Api::Ollama => {
                let right = path
                    .strip_suffix("/v1")
                    .or_else(|| path.strip_suffix("/api"))?;
                (
                    right.to_owned(),
                    "Ollama's native chat API takes the address without a path",
                )
            }
            Provider::OpenAi | Provider::OpenAiCompatible if path.is_empty() && !at_root(url) => (
                "/v1".to_owned(),
                "most OpenAI-compatible servers answer below `/v1`",
            ),
            _ => return None,
        }
    };
    let mut corrected = url.clone();
    corrected.set_path(&right);
    let corrected = corrected.as_str().trim_end_matches('/');
    Some(format!("{why}: did you mean `base_url = \"{corrected}\"`?"))
}

/// The versions that a provider's client adds to the base URL itself.
fn versions_of_client(provider: Provider) -> &'static [&'static str] {
    match provider {
        Provider::Anthropic | Provider::Gemini => &["/v1", "/v1beta"],
        _ => &[],
    }
}

/// Reports whether the vendor's official base URL has no path.
fn at_root(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    ["api.perplexity.ai", "api.deepseek.com"].contains(&host)
}

/// Strips the request's own path; `None` if there is none.
fn without_request_path(path: &str) -> Option<&str> {
    const REQUESTS: [&str; 8] = [
        "/chat/completions",
        "/completions",
        "/responses",
        "/embeddings",
        "/moderations",
        "/messages",
        "/models",
        "/api/chat",
    ];
    let found = REQUESTS
        .iter()
        .find_map(|request| path.strip_suffix(request));
    // Azure: the deployment is configured separately.
    let azure = path.find("/openai/deployments/").map(|at| &path[..at]);
    azure.or(found)
}

/// Warns about a key or a token that is sent unencrypted.
fn plain_http(endpoint: &Endpoint) -> Option<String> {
    let has_key = endpoint.api_key.is_some()
        || endpoint.entra.is_some()
        || endpoint.google.is_some()
        || endpoint.headers.iter().any(|(name, _)| authorizes(name));
    let exposed = has_key && leaves_in_the_clear(&endpoint.base_url);
    exposed.then(|| format!("the API key {IN_THE_CLEAR} read it: use `https://`"))
}

/// Warns about the login of a collector and the address of a heartbeat that are sent unencrypted.
fn others_in_the_clear(settings: &Settings) -> Vec<String> {
    let otlp = settings.otlp.as_ref().filter(|otlp| {
        let has_login = !otlp.headers.is_empty() || otlp.endpoint.password().is_some();
        has_login && leaves_in_the_clear(&otlp.endpoint)
    });
    let heartbeat = settings.heartbeat.as_ref().filter(|heartbeat| {
        let mut urls = std::iter::once(&heartbeat.url).chain(&heartbeat.fail_url);
        urls.any(|url| Url::parse(url.expose()).is_ok_and(|url| leaves_in_the_clear(&url)))
    });
    let otlp = otlp.map(|_| {
        format!("`[otlp]`: the login at the collector {IN_THE_CLEAR} read it: use `https://`")
    });
    let heartbeat = heartbeat.map(|_| {
        format!("`[heartbeat]`: the ping {IN_THE_CLEAR} learn its address and ping as well: use `https://`")
    });
    otlp.into_iter().chain(heartbeat).collect()
}

fn leaves_in_the_clear(url: &Url) -> bool {
    url.scheme() == "http" && Distance::of(url) > Distance::Machine
}

fn fraction(endpoint: &Endpoint) -> Option<String> {
    let slo = endpoint.slo;
    (slo > 0.0 && slo <= FRACTION).then(|| {
        let percent = slo * 100.0;
        format!("`slo = {slo}` is in percent; did you mean {percent}?")
    })
}

fn channel_warnings(channel: &Channel) -> Vec<String> {
    match &channel.kind {
        ChannelKind::Email(email) => unprotected_login(email).into_iter().collect(),
        ChannelKind::Webhook(webhook) => [missing_kind(webhook), webhook_in_the_clear(webhook)]
            .into_iter()
            .flatten()
            .collect(),
    }
}

fn unprotected_login(email: &Email) -> Option<String> {
    let smtp = &email.smtp;
    let here = smtp.host == "localhost"
        || smtp
            .host
            .parse()
            .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    let exposed = smtp.credentials.is_some() && smtp.tls == SmtpTls::None && !here;
    exposed.then(|| {
        "the SMTP password is sent without TLS to another machine: write `?tls=required`, or `smtps://`".to_owned()
    })
}

/// Warns about a receiver that needs its own format but gets the generic JSON.
fn missing_kind(webhook: &Webhook) -> Option<String> {
    if webhook.kind != WebhookKind::Json {
        return None;
    }
    let url = Url::parse(webhook.url.expose()).ok()?;
    let host = url.host_str()?;
    let path = url.path();
    let kind = match host {
        "hooks.slack.com" => "slack",
        "discord.com" | "discordapp.com" if path.starts_with("/api/webhooks") => "discord",
        "chat.googleapis.com" => "google_chat",
        "api.telegram.org" => "telegram",
        "events.pagerduty.com" | "events.eu.pagerduty.com" => "pagerduty",
        "ntfy.sh" => "ntfy",
        "api.opsgenie.com" | "api.eu.opsgenie.com" => "opsgenie",
        _ if host.ends_with(".webhook.office.com") || host.ends_with(".logic.azure.com") => "teams",
        _ => return None,
    };
    Some(format!(
        "{host} does not read generic JSON: add `kind = \"{kind}\"`"
    ))
}

fn webhook_in_the_clear(webhook: &Webhook) -> Option<String> {
    let url = Url::parse(webhook.url.expose()).ok()?;
    leaves_in_the_clear(&url).then(|| {
        "notifications are sent over `http://` to another machine, where anyone on the network path can read them: use `https://`"
            .to_owned()
    })
}

/// Warns about a page that everyone on the network can read.
fn open_page(settings: &Settings) -> Option<String> {
    let listen = settings.process.listen?;
    let open = !listen.ip().is_loopback() && settings.web.token.is_none();
    open.then(|| {
        format!(
            "`listen = \"{listen}\"` shows pages and API to the network without a token: set `[web] token`, or \
             listen on 127.0.0.1 behind a reverse proxy"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_path_is_cut_off() {
        for (path, right) in [
            ("/v1/chat/completions", "/v1"),
            ("/openai/deployments/chat/chat/completions", ""),
            ("/api/v1/messages", "/api/v1"),
        ] {
            assert_eq!(without_request_path(path), Some(right), "{path}");
        }
        assert_eq!(without_request_path("/v1"), None);
    }
}
