//! `[[endpoint]]`, `[defaults]` and `[detection]`: converts the raw tables to a complete
//! [`Endpoint`].

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use regex::Regex;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use url::Url;

use super::cloud;
use super::diagnostic::echo;
use super::is_local;
use super::raw::{Table, Value};
use llmwatch_core::model::{
    Api, Aws, ClientIdentity, Connection, DetectionPolicy, Endpoint, Entra, Expect, Google, Price,
    Provider, Secret, Sensitivity, SlowLimits, Timeouts,
};
use llmwatch_core::protocol::{answer_schema, catalog};

/// The minimum total timeout of a long probe.
const LONG_TOTAL: Duration = Duration::from_mins(2);
const SECOND: Duration = Duration::from_secs(1);
/// Longer names do not fit into a subject line or a path.
const LONGEST_NAME: usize = 64;

/// Tables with the same keys, the most specific first: an endpoint's own, then `[defaults]`.
struct Layers<'t, 'a>(Vec<&'t Table<'a>>);

impl<'a> Layers<'_, 'a> {
    fn get(&self, key: &'static str) -> Option<Value<'a>> {
        // Every layer is read, so that a key that a more specific layer overrides is not reported
        // as unknown.
        let all: Vec<_> = self.0.iter().map(|t| t.get(key)).collect();
        all.into_iter().flatten().next()
    }

    fn tables(&self, key: &'static str) -> Vec<Table<'a>> {
        self.0.iter().filter_map(|t| t.table(key)).collect()
    }
}

/// The most addresses that may replace a name.
const MAX_ADDRESSES: usize = 16;

/// `long` of an endpoint.
#[derive(Debug, Clone, Copy)]
pub(super) struct Long {
    every: Duration,
    max_tokens: u32,
}

/// A checked endpoint, with its table for the checks that involve other endpoints.
pub(super) struct CheckedEndpoint<'a> {
    pub(super) endpoint: Endpoint,
    pub(super) enabled: bool,
    /// The second probe, which measures tokens per second.
    pub(super) long: Option<Long>,
    pub(super) table: Table<'a>,
}

/// Reads one `[[endpoint]]` in three steps: each key by itself, the defaults of missing keys, then
/// the combinations of keys. Returns `None` if an essential key is missing; the problems are in the
/// sink.
pub(super) fn read<'a>(
    own: &Table<'a>,
    defaults: Option<&Table<'a>>,
    detection: &[Table<'a>],
) -> Option<CheckedEndpoint<'a>> {
    let layers = Layers([Some(own), defaults].into_iter().flatten().collect());
    let written = WrittenEndpoint::read(own, &layers, detection);
    own.finish();
    let (enabled, given) = (written.enabled, written.given);
    let (provider, written_long) = (written.provider, written.long.clone());
    let endpoint = written.complete();
    let long = written_long.and_then(|long| long.checked(&endpoint));
    check_combinations(own, provider?, &endpoint, given);
    Some(CheckedEndpoint {
        endpoint,
        enabled,
        long,
        table: own.clone(),
    })
}

/// Which essential keys are present, valid or not.
#[derive(Debug, Clone, Copy)]
struct Given {
    base_url: bool,
    model: bool,
    api_key: bool,
}

/// What the file sets for an endpoint. `None` means missing or invalid.
struct WrittenEndpoint<'a> {
    enabled: bool,
    given: Given,
    name: Option<String>,
    provider: Option<Provider>,
    api: Option<Api>,
    base_url: Option<Url>,
    model: Option<String>,
    deployment: Option<String>,
    api_version: Option<String>,
    entra: Option<Entra>,
    aws: Option<Aws>,
    google: Option<Google>,
    api_key: Option<Secret>,
    headers: Vec<(String, Secret)>,
    group: Option<String>,
    interval: Option<Duration>,
    stream: Option<bool>,
    prompt: Option<String>,
    max_tokens: Option<u32>,
    /// An empty string means none.
    reasoning_effort: Option<String>,
    service_tier: Option<String>,
    client: Option<ClientIdentity>,
    resolve: Option<Vec<IpAddr>>,
    source_address: Option<IpAddr>,
    expect: Expect,
    body: Option<String>,
    method: Option<String>,
    path: Option<String>,
    expect_status: Option<Vec<u16>>,
    connection: Option<Connection>,
    timeouts: Timeouts,
    slow: SlowLimits,
    slo: Option<f64>,
    price: Option<Price>,
    depends_on: Option<Vec<String>>,
    labels: BTreeMap<String, String>,
    detection: DetectionPolicy,
    long: Option<WrittenLong<'a>>,
}

impl<'a> WrittenEndpoint<'a> {
    /// Reads every key, so that all problems are shown at once.
    fn read(own: &Table<'a>, layers: &Layers<'_, 'a>, detection: &[Table<'a>]) -> Self {
        let string = |key| layers.get(key).and_then(|v| v.string());
        let provider = read_provider(own, layers);
        let fallback = provider.unwrap_or(Provider::Http);
        let api = read_api(own, layers, provider);
        let base_url = layers.get("base_url");
        let given = Given {
            base_url: base_url.is_some(),
            model: string("model").is_some(),
            api_key: ["api_key", "api_key_file", "api_key_credential"]
                .iter()
                .any(|k| layers.0.iter().any(|t| t.get(k).is_some())),
        };
        let base_url = base_url.and_then(|v| checked_base_url(&v));
        let api_key = layered_secret(layers);
        let headers = read_headers(layers);
        let (prompt, body) = (string("prompt"), string("body"));
        let talks = catalog::talks(api.unwrap_or(catalog::default_api(fallback)));
        let expect = read_expect(layers, prompt.is_none() && body.is_none() && talks);
        let circumstances = cloud::Circumstances {
            base_url: base_url.as_ref(),
            is_authorized: api_key.is_some() || headers.iter().any(|(name, _)| authorizes(name)),
            is_local: base_url.as_ref().is_some_and(is_local),
        };
        let (of_aws, of_google) = (layers.tables("aws"), layers.tables("google"));
        let aws = (fallback == Provider::Bedrock)
            .then(|| cloud::aws(own, &of_aws, circumstances))
            .flatten();
        let google = (fallback == Provider::Vertex)
            .then(|| cloud::google(own, &of_google, circumstances))
            .flatten();
        refuse_others(&of_aws, provider, Provider::Bedrock);
        refuse_others(&of_google, provider, Provider::Vertex);
        Self {
            enabled: layers
                .get("enabled")
                .and_then(|v| v.boolean())
                .unwrap_or(true),
            given,
            name: own.get("name").and_then(|v| checked_name(&v)),
            provider,
            api,
            model: string("model"),
            deployment: string("deployment"),
            api_version: string("api_version"),
            entra: read_entra(layers),
            aws,
            google,
            api_key,
            headers,
            group: string("group"),
            interval: layers
                .get("interval")
                .and_then(|v| v.duration_of_at_least(SECOND)),
            stream: layers.get("stream").and_then(|v| v.boolean()),
            prompt,
            max_tokens: layers
                .get("max_tokens")
                .and_then(|v| v.integer(1..=100_000))
                .map(|n| n as u32),
            reasoning_effort: string("reasoning_effort"),
            service_tier: layers
                .get("service_tier")
                .and_then(|v| checked_service_tier(&v, fallback)),
            client: read_client(layers),
            resolve: layers.get("resolve").and_then(|v| checked_addresses(&v)),
            source_address: layers
                .get("source_address")
                .and_then(|v| v.parse("IP address", "write it as `192.0.2.1` or `2001:db8::1`")),
            expect,
            body,
            method: layers.get("method").and_then(|v| checked_method(&v)),
            path: layers.get("path").and_then(|v| checked_path(&v)),
            expect_status: layers.get("expect_status").and_then(|v| statuses(&v)),
            connection: layers.get("connection").and_then(|v| {
                v.one_of(&[("fresh", Connection::Fresh), ("reuse", Connection::Reuse)])
            }),
            timeouts: read_timeouts(layers),
            slow: read_slow(layers),
            slo: layers.get("slo").and_then(|v| v.number(0.0, 100.0)),
            price: read_price(layers),
            depends_on: layers.get("depends_on").and_then(|v| v.strings()),
            labels: read_labels(layers),
            detection: read_detection(layers, detection),
            long: WrittenLong::read(layers),
            base_url,
        }
    }

    /// Fills in missing values, by provider, API and model.
    fn complete(self) -> Endpoint {
        let provider = self.provider.unwrap_or(Provider::Http);
        let api = self.api.unwrap_or(catalog::default_api(provider));
        let model = self
            .model
            .or_else(|| self.deployment.clone())
            .or_else(|| catalog::default_model(provider, api).map(str::to_owned))
            .filter(|_| !matches!(api, Api::Http | Api::Mcp));
        let default_prompt = match &self.expect.tool {
            Some(tool) => format!("Call the tool `{tool}` once. (probe {{nonce}})"),
            None => catalog::prompt(api).to_owned(),
        };
        let default_effort = match provider {
            Provider::OpenAi | Provider::AzureOpenAi => {
                model.as_deref().and_then(catalog::default_effort)
            }
            _ => None,
        };
        let mut endpoint = Endpoint {
            name: self.name.unwrap_or_default().into(),
            provider,
            api,
            base_url: self
                .base_url
                .or_else(|| catalog::base_url(provider).and_then(|u| Url::parse(u).ok()))
                .or_else(|| cloud::bedrock_url(&self.aws.as_ref()?.region))
                .or_else(|| cloud::vertex_url(&self.google.as_ref()?.location))
                .unwrap_or_else(placeholder_url),
            deployment: self.deployment,
            api_version: self
                .api_version
                .or_else(|| catalog::default_api_version(provider, api).map(str::to_owned)),
            entra: self.entra,
            aws: self.aws,
            google: self.google,
            api_key: self.api_key,
            headers: self.headers,
            group: self.group,
            interval: self.interval.unwrap_or(Duration::from_mins(1)),
            stream: self.stream.unwrap_or(true),
            prompt: self.prompt.unwrap_or(default_prompt),
            max_tokens: self
                .max_tokens
                .unwrap_or_else(|| catalog::default_max_tokens(model.as_deref())),
            reasoning_effort: self
                .reasoning_effort
                .or_else(|| default_effort.map(str::to_owned))
                .filter(|effort| !effort.is_empty()),
            service_tier: self.service_tier,
            client: self.client,
            resolve: self.resolve.unwrap_or_default(),
            source_address: self.source_address,
            expect: self.expect,
            body: self.body,
            method: self.method.unwrap_or_else(|| "GET".to_owned()),
            path: self.path.unwrap_or_default(),
            expect_status: self.expect_status.unwrap_or_default(),
            connection: self.connection.unwrap_or(Connection::Fresh),
            timeouts: self.timeouts,
            slow: self.slow,
            slo: self.slo.unwrap_or(99.9),
            price: self
                .price
                .or_else(|| model.as_deref().and_then(catalog::price)),
            depends_on: self.depends_on.unwrap_or_default(),
            labels: self.labels,
            detection: self.detection,
            expected_tokens: (0, 0),
            model,
        };
        endpoint.expected_tokens = expected_tokens(&endpoint);
        endpoint
    }
}

fn read_provider(own: &Table<'_>, layers: &Layers<'_, '_>) -> Option<Provider> {
    let providers: Vec<_> = Provider::ALL.iter().map(|p| (p.as_str(), *p)).collect();
    let Some(value) = layers.get("provider") else {
        let names: Vec<_> = providers.iter().map(|(n, _)| *n).collect();
        let help = format!("add `provider = …`: {}", names.join(", "));
        let message = "missing key `provider` in `[[endpoint]]`";
        own.sink()
            .error(Some(own.span.clone()), message, Some(help));
        return None;
    };
    value.one_of(&providers)
}

fn read_api(own: &Table<'_>, layers: &Layers<'_, '_>, provider: Option<Provider>) -> Option<Api> {
    let apis: Vec<_> = Api::ALL.iter().map(|a| (a.as_str(), *a)).collect();
    let value = layers.get("api")?;
    let api = value.one_of(&apis)?;
    if let Some(provider) = provider
        && !catalog::apis(provider).contains(&api)
    {
        let known: Vec<_> = catalog::apis(provider).iter().map(|a| a.as_str()).collect();
        let message = format!("provider `{provider}` has no api `{api}`");
        let help = format!("it has: {}", known.join(", "));
        own.sink().error(Some(value.span), message, Some(help));
    }
    Some(api)
}

/// Returns the second probe of an endpoint, a long answer at long intervals. It is an endpoint of
/// its own, so that its latencies are never compared with those of the short probe.
pub(super) fn long_of<'a>(read: &CheckedEndpoint<'a>) -> Option<CheckedEndpoint<'a>> {
    let Long { every, max_tokens } = read.long?;
    let short = &read.endpoint;
    let timeouts = Timeouts {
        total: short.timeouts.total.max(LONG_TOTAL),
        ..short.timeouts
    };
    let mut endpoint = Endpoint {
        name: format!("{}-long", short.name).into(),
        group: None,
        interval: every,
        prompt: format!("{} (probe {{nonce}})", catalog::LONG_PROMPT),
        max_tokens,
        expect: Expect::default(),
        timeouts,
        slow: SlowLimits {
            tokens_per_second: short.slow.tokens_per_second,
            ..SlowLimits::default()
        },
        detection: DetectionPolicy {
            recheck: false,
            ..short.detection.clone()
        },
        ..short.clone()
    };
    endpoint.expected_tokens = expected_tokens(&endpoint);
    Some(CheckedEndpoint {
        endpoint,
        enabled: read.enabled,
        long: None,
        table: read.table.clone(),
    })
}

/// What the file sets for `long`, with the most specific table.
#[derive(Clone)]
struct WrittenLong<'a> {
    table: Table<'a>,
    every: Option<Duration>,
    max_tokens: Option<u64>,
}

impl<'a> WrittenLong<'a> {
    fn read(layers: &Layers<'_, 'a>) -> Option<Self> {
        let tables = layers.tables("long");
        let inner = Layers(tables.iter().collect());
        let every = inner
            .get("every")
            .and_then(|v| v.duration_of_at_least(Duration::from_mins(1)));
        let max_tokens = inner.get("max_tokens").and_then(|v| v.integer(50..=10_000));
        tables.iter().for_each(Table::finish);
        Some(Self {
            table: tables.first()?.clone(),
            every,
            max_tokens,
        })
    }

    /// Fills in the defaults if `endpoint` supports a long answer. In `[defaults]`, `long` is
    /// ignored for endpoints that do not.
    fn checked(self, endpoint: &Endpoint) -> Option<Long> {
        if catalog::talks(endpoint.api) && endpoint.stream && endpoint.body.is_none() {
            return Some(Long {
                every: self.every.unwrap_or(Duration::from_hours(1)),
                max_tokens: self.max_tokens.map_or(200, |n| n as u32),
            });
        }
        if self.table.name.starts_with("endpoint.") {
            self.table.sink().error(
                Some(self.table.span.clone()),
                "`long` measures the rate of tokens, which needs a streamed answer to a prompt",
                Some("leave it out, or remove `stream = false` or `body`".to_owned()),
            );
        }
        None
    }
}

/// Estimates the tokens of one probe, at about four bytes a token. The answer to a custom prompt
/// may be as long as `max_tokens` allows.
fn expected_tokens(e: &Endpoint) -> (u32, u32) {
    match e.api {
        Api::Http | Api::Models | Api::Mcp => (0, 0),
        // One spoken word, and half a second of transcribed audio.
        Api::Speech => (4, 30),
        Api::Transcription => (10, 5),
        _ if e.body.is_none() && e.prompt == catalog::PROMPT => catalog::PROMPT_TOKENS,
        _ if e.body.is_none() && e.prompt == catalog::INPUT => catalog::INPUT_TOKENS,
        Api::Embeddings | Api::Moderations => ((e.prompt.len() as u32).div_ceil(4), 0),
        _ => {
            let asked = e.body.as_deref().unwrap_or(&e.prompt);
            ((asked.len() as u32).div_ceil(4) + 8, e.max_tokens)
        }
    }
}

/// Checks combinations of keys.
fn check_combinations(own: &Table<'_>, provider: Provider, endpoint: &Endpoint, given: Given) {
    let missing = |key: &str, why: &str| {
        let help = format!("add `{key} = …`: {why}");
        own.sink().error(
            Some(own.span.clone()),
            format!("missing key `{key}` for provider `{provider}`"),
            Some(help),
        );
    };
    let is_known = catalog::base_url(provider).is_some()
        || matches!(provider, Provider::Bedrock | Provider::Vertex);
    if !given.base_url && !is_known {
        let example = match provider {
            Provider::AzureOpenAi => "the resource, such as https://NAME.openai.azure.com",
            Provider::Http => "the address of the page",
            Provider::Mcp => "the address of the MCP server, such as https://mcp.example.com/mcp",
            _ => "the server's address, with /v1",
        };
        missing("base_url", example);
    }
    let v1 = endpoint
        .base_url
        .path()
        .trim_end_matches('/')
        .ends_with("/openai/v1");
    if provider == Provider::AzureOpenAi
        && endpoint.api != Api::Http
        && endpoint.deployment.is_none()
        && !(v1 && given.model)
    {
        missing("deployment", "the name that you gave the model on Azure");
    }
    if matches!(provider, Provider::OpenAiCompatible | Provider::Vertex)
        && endpoint.api != Api::Http
        && endpoint.model.is_none()
    {
        missing("model", "the server cannot guess it");
    }
    let wants_key = !matches!(
        provider,
        Provider::OpenAiCompatible
            | Provider::Bedrock
            | Provider::Vertex
            | Provider::Mcp
            | Provider::Http
    );
    let authorised = endpoint.headers.iter().any(|(name, _)| authorizes(name));
    if wants_key
        && endpoint.entra.is_none()
        && endpoint.api != Api::Http
        && !given.api_key
        && !authorised
        && !is_local(&endpoint.base_url)
    {
        missing(
            "api_key",
            "`\"${NAME}\"` takes it from the environment; `api_key_file` and `api_key_credential` from a file",
        );
    }
    let t = &endpoint.timeouts;
    if t.first_token > t.total {
        let help = "the total includes the first token: raise `total` or lower `first_token`";
        let message = "`timeout.first_token` is longer than `timeout.total`";
        own.sink()
            .error(Some(own.span.clone()), message, Some(help.to_owned()));
    }
}

/// Reports whether a header of this name carries credentials.
fn authorizes(name: &str) -> bool {
    ["authorization", "api-key", "x-api-key", "x-goog-api-key"]
        .contains(&name.to_ascii_lowercase().as_str())
}

/// Rejects a cloud's table on an endpoint of another provider. In `[defaults]` it applies only to
/// that cloud's endpoints.
fn refuse_others(tables: &[Table<'_>], provider: Option<Provider>, cloud: Provider) {
    if provider == Some(cloud) {
        return;
    }
    for table in tables {
        if let Some(provider) = provider
            && table.name.starts_with("endpoint.")
        {
            let key = table.name.rsplit('.').next().unwrap_or_default();
            let message = format!("`{key}` does not apply to provider `{provider}`");
            let help = format!("leave it out, or set `provider = \"{cloud}\"`");
            table
                .sink()
                .error(Some(table.span.clone()), message, Some(help));
        }
    }
}

/// A URL for an endpoint that is going to be rejected.
fn placeholder_url() -> Url {
    // RFC 6761: never resolves.
    Url::parse("http://invalid/").unwrap_or_else(|_| unreachable!("a constant URL"))
}

/// Checks a name, which must fit into a path, a header and a subject line.
pub(super) fn checked_name(value: &Value<'_>) -> Option<String> {
    let name = value.string()?;
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty()
        || name.len() > LONGEST_NAME
        || !name.chars().all(fits)
        || !name.starts_with(|c: char| c.is_ascii_alphanumeric())
    {
        let help = format!(
            "1 to {LONGEST_NAME} of the letters a-z, A-Z, digits and `.`, `_`, `-`, beginning with a letter or digit"
        );
        return value.error(format!("invalid name {}", echo(&name)), help);
    }
    Some(name)
}

fn checked_base_url(value: &Value<'_>) -> Option<Url> {
    let text = value.string()?;
    let help =
        "write it as the provider's official client takes it, such as `https://api.openai.com/v1`";
    let Ok(mut url) = Url::parse(&text) else {
        return value.error(format!("invalid URL {}", echo(&text)), help);
    };
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return value.error(format!("{} is not an http or https URL", echo(&text)), help);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return value.error(
            "`base_url` contains a user name or password",
            "give it in `api_key` or `headers`",
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return value.error(
            "`base_url` has a query or fragment",
            "leave out everything from `?` or `#` on",
        );
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Some(url)
}

fn checked_method(value: &Value<'_>) -> Option<String> {
    let methods = ["GET", "HEAD", "POST", "PUT", "OPTIONS"].map(|m| (m, m));
    value.one_of(&methods).map(str::to_owned)
}

fn checked_path(value: &Value<'_>) -> Option<String> {
    let path = value.string()?;
    if !path.starts_with('/') || path.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return value.error(
            format!("invalid path {}", echo(&path)),
            "it begins with `/` and has no spaces",
        );
    }
    Some(path)
}

fn statuses(value: &Value<'_>) -> Option<Vec<u16>> {
    let one = |v: &Value<'_>| v.integer(100..=599).map(|n| n as u16);
    if value.is_list() {
        value.items()?.iter().map(one).collect()
    } else {
        one(value).map(|s| vec![s])
    }
}

fn layered_secret(layers: &Layers<'_, '_>) -> Option<Secret> {
    // All layers are read, so that problems in each are reported; the most specific one wins.
    let all: Vec<_> = layers
        .0
        .iter()
        .map(|t| t.secret("api_key", "api_key_file", "api_key_credential"))
        .collect();
    all.into_iter().flatten().next()
}

pub(super) fn headers_of(table: &Table<'_>) -> Vec<(String, Secret)> {
    let mut headers = Vec::new();
    for value in table.entries() {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if value.key.is_empty() || !value.key.chars().all(fits) {
            let _: Option<()> = value.error("invalid header name", "letters, digits and `-` only");
            continue;
        }
        if value.is_granted() {
            headers.push((value.key.clone(), Secret::new("unknown")));
            continue;
        }
        let Some(text) = value.string() else { continue };
        if text.contains(|c: char| c.is_control() || !c.is_ascii()) {
            let _: Option<()> = value.error(
                "a header's value must be plain ASCII without control characters",
                "fix it",
            );
            continue;
        }
        if value.is_literal_secret() {
            let place = format!("`{}` of `[{}]`", value.key, table.name);
            table.sink().warn(format!(
                "{place} stands in the file itself; `${{NAME}}` keeps it out"
            ));
        }
        headers.push((value.key.clone(), Secret::new(text)));
    }
    headers
}

fn read_entra(layers: &Layers<'_, '_>) -> Option<Entra> {
    let tables = layers.tables("entra");
    let table = tables.first()?;
    let text = |key: &'static str| table.get(key).and_then(|v| v.string());
    let (tenant, client_id, scope) = (text("tenant"), text("client_id"), text("scope"));
    let client_secret = table.secret(
        "client_secret",
        "client_secret_file",
        "client_secret_credential",
    );
    let token_url = table
        .get("token_url")
        .and_then(|v| v.parse::<Url>("URL", "it begins with `https://`"));
    tables.iter().for_each(Table::finish);
    let of_tenant = tenant.and_then(|tenant| {
        let mut url = Url::parse("https://login.microsoftonline.com/").ok()?;
        url.path_segments_mut().ok()?.pop_if_empty().extend([
            tenant.as_str(),
            "oauth2",
            "v2.0",
            "token",
        ]);
        Some(url)
    });
    let (Some(client_id), Some(client_secret), Some(token_url)) =
        (client_id, client_secret, token_url.or(of_tenant))
    else {
        let help = "it needs `tenant`, `client_id` and `client_secret` (or its `_file` or `_credential` form)";
        table.sink().error(
            Some(table.span.clone()),
            "`entra` is not complete",
            Some(help.to_owned()),
        );
        return None;
    };
    let scope = scope.unwrap_or_else(|| catalog::ENTRA_SCOPE.to_owned());
    Some(Entra {
        client_id,
        client_secret,
        scope,
        token_url,
    })
}

fn read_headers(layers: &Layers<'_, '_>) -> Vec<(String, Secret)> {
    let mut headers: Vec<(String, Secret)> = Vec::new();
    for (name, value) in layers.tables("headers").iter().flat_map(headers_of) {
        if !headers
            .iter()
            .any(|(known, _)| known.eq_ignore_ascii_case(&name))
        {
            headers.push((name, value));
        }
    }
    headers
}

fn read_labels(layers: &Layers<'_, '_>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for value in layers.tables("labels").iter().flat_map(Table::entries) {
        if let Some(text) = value.string() {
            labels.entry(value.key.clone()).or_insert(text);
        }
    }
    labels
}

fn read_timeouts(layers: &Layers<'_, '_>) -> Timeouts {
    let tables = layers.tables("timeout");
    let inner = Layers(tables.iter().collect());
    let least = Duration::from_millis(1);
    let read = |key, default| {
        inner
            .get(key)
            .and_then(|v| v.duration_of_at_least(least))
            .unwrap_or(default)
    };
    let standard = Timeouts::default();
    let total = inner
        .get("total")
        .and_then(|v| v.duration_of_at_least(least));
    let timeouts = Timeouts {
        connect: read("connect", standard.connect),
        headers: read("headers", standard.headers),
        // The first-token timeout is at most the total, unless it is set.
        first_token: read(
            "first_token",
            standard.first_token.min(total.unwrap_or(standard.total)),
        ),
        token_gap: read("token_gap", standard.token_gap),
        total: total.unwrap_or(standard.total),
    };
    tables.iter().for_each(Table::finish);
    timeouts
}

fn read_slow(layers: &Layers<'_, '_>) -> SlowLimits {
    let tables = layers.tables("slow");
    let inner = Layers(tables.iter().collect());
    let limits = SlowLimits {
        first_token: inner.get("first_token").and_then(|v| v.duration()),
        total: inner.get("total").and_then(|v| v.duration()),
        tokens_per_second: inner
            .get("tokens_per_second")
            .and_then(|v| v.number(0.0, 1e6)),
    };
    tables.iter().for_each(Table::finish);
    limits
}

fn read_price(layers: &Layers<'_, '_>) -> Option<Price> {
    let tables = layers.tables("price");
    let inner = Layers(tables.iter().collect());
    let number = |key| inner.get(key).and_then(|v| v.number(0.0, 1e6));
    let (input, output) = (number("input"), number("output"));
    tables.iter().for_each(Table::finish);
    (!tables.is_empty()).then(|| Price {
        input: input.unwrap_or(0.0),
        output: output.unwrap_or(0.0),
    })
}

fn read_expect(layers: &Layers<'_, '_>, builtin: bool) -> Expect {
    let tables = layers.tables("expect");
    // Expectations belong together: the most specific table replaces the others.
    let Some(table) = tables.first() else {
        let contains = builtin.then(|| catalog::ANSWER.to_owned());
        return Expect {
            contains,
            ..Expect::default()
        };
    };
    let expect = Expect {
        contains: table.get("contains").and_then(|v| v.string()),
        equals: table.get("equals").and_then(|v| v.string()),
        matches: table.get("matches").and_then(|v| {
            v.parse::<Regex>(
                "regular expression",
                "the syntax is that of Rust's `regex`, without look-around",
            )
        }),
        json_schema: table.get("json_schema").and_then(|v| read_schema(&v)),
        min_tokens: table
            .get("min_tokens")
            .and_then(|v| v.integer(1..=100_000))
            .map(|n| n as u32),
        tool: table.get("tool").and_then(|v| checked_tool(&v)),
    };
    tables.iter().for_each(Table::finish);
    expect
}

/// Checks a tool name against the rules for function names of all vendors.
fn checked_tool(value: &Value<'_>) -> Option<String> {
    let name = value.string()?;
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
        return value.error(
            format!("invalid name of a tool {}", echo(&name)),
            "1 to 64 of the letters a-z, A-Z, digits, `_` and `-`",
        );
    }
    Some(name)
}

/// Checks the service tier against those that the vendor documents. Compatible servers may have
/// others.
fn checked_service_tier(value: &Value<'_>, provider: Provider) -> Option<String> {
    let tier = value.string()?;
    let known: &[&str] = match provider {
        Provider::OpenAi | Provider::AzureOpenAi => {
            &["auto", "default", "flex", "priority", "scale", "fast"]
        }
        Provider::Anthropic => &["auto", "standard_only"],
        Provider::Bedrock => &["default", "flex", "priority", "reserved"],
        Provider::Gemini | Provider::Vertex | Provider::Mcp | Provider::Http => {
            return value.error(
                format!("`service_tier` does not apply to provider `{provider}`"),
                "leave it out",
            );
        }
        _ => return Some(tier),
    };
    if !known.contains(&tier.as_str()) {
        return value.error(
            format!("unknown value {} for `service_tier`", echo(&tier)),
            format!("one of {}", known.join(", ")),
        );
    }
    Some(tier)
}

fn checked_addresses(value: &Value<'_>) -> Option<Vec<IpAddr>> {
    let texts = value.strings()?;
    let mut addresses = Vec::new();
    for text in &texts {
        match text.parse() {
            Ok(address) => addresses.push(address),
            Err(_) => {
                return value.error(
                    format!("{} is not an IP address", echo(text)),
                    "write addresses without a port, as `192.0.2.1` or `2001:db8::1`",
                );
            }
        }
    }
    if addresses.is_empty() || addresses.len() > MAX_ADDRESSES {
        return value.error(
            "`resolve` needs 1 to 16 addresses".to_owned(),
            "leave it out to ask the resolver",
        );
    }
    Some(addresses)
}

/// Reads `client_cert` and `client_key`. They are loaded now, so that a mistake is reported here.
fn read_client(layers: &Layers<'_, '_>) -> Option<ClientIdentity> {
    let (certificate, key) = (layers.get("client_cert"), layers.get("client_key"));
    let (certificate, key) = match (certificate, key) {
        (None, None) => return None,
        (Some(certificate), Some(key)) => (certificate, key),
        (Some(one), None) | (None, Some(one)) => {
            return one.error(
                "only one of `client_cert` and `client_key` is set",
                "a client certificate needs both; they may be the same file",
            );
        }
    };
    let identity = ClientIdentity {
        certificate: certificate.path()?,
        key: key.path()?,
    };
    if let Err(why) = client_identity(&identity)
        && !certificate.skips_secrets()
    {
        return certificate.error(
            format!("cannot use `client_cert` and `client_key`: {why}"),
            "both are files in PEM form; the key belongs to the first certificate and has no passphrase",
        );
    }
    Some(identity)
}

/// Reads a client certificate with its chain and its key.
///
/// # Errors
/// What is wrong with the files, without any of their content.
pub(crate) fn client_identity(
    identity: &ClientIdentity,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
    let certificate = identity.certificate.display();
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&identity.certificate)
        .map_err(|e| format!("{certificate}: {e}"))?
        .collect();
    let chain = chain.map_err(|e| format!("{certificate}: {e}"))?;
    if chain.is_empty() {
        return Err(format!("{certificate} holds no certificate"));
    }
    let key = PrivateKeyDer::from_pem_file(&identity.key)
        .map_err(|e| format!("{}: {e}", identity.key.display()))?;
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider).map_err(|e| e.to_string())?;
    Ok((chain, key))
}

fn read_schema(value: &Value<'_>) -> Option<serde_json::Value> {
    let schema = value.json()?;
    match answer_schema::unknown_keyword(&schema) {
        None => Some(schema),
        Some(path) if path.is_empty() => value.error(
            "`json_schema` is not a schema",
            "write an object, for instance `{ type = \"object\" }`",
        ),
        Some(path) => {
            let keyword = path.rsplit('.').next().unwrap_or(&path);
            let help =
                "docs/providers.md lists the keywords that are; leave it out, or use `matches`";
            value.error(
                format!("unsupported JSON Schema keyword `{keyword}` at `{path}`, or an invalid value of it"),
                help,
            )
        }
    }
}

fn read_detection(layers: &Layers<'_, '_>, general: &[Table<'_>]) -> DetectionPolicy {
    let own = layers.tables("detection");
    let all = Layers(own.iter().chain(general).collect());
    let standard = DetectionPolicy::default();
    let given = |key| all.get(key).and_then(|v| v.duration());
    let length = |key, default| given(key).unwrap_or(default);
    let times = |key| {
        all.get(key)
            .and_then(|v| v.integer(1..=1000))
            .map(|n| n as u32)
    };
    let flag = |key| all.get(key).and_then(|v| v.boolean()).unwrap_or(true);
    let levels = [
        ("high", Sensitivity::High),
        ("normal", Sensitivity::Normal),
        ("low", Sensitivity::Low),
    ];
    let policy = DetectionPolicy {
        alert_after: given("alert_after"),
        provider_alert_after: given("provider_alert_after"),
        degraded_after: length("degraded_after", standard.degraded_after),
        resolve_after: length("resolve_after", standard.resolve_after),
        slow_factor: all
            .get("slow_factor")
            .and_then(|v| v.number(1.1, 100.0))
            .unwrap_or(standard.slow_factor),
        sensitivity: all
            .get("sensitivity")
            .and_then(|v| v.one_of(&levels))
            .unwrap_or(standard.sensitivity),
        recheck: flag("recheck"),
        siblings: flag("siblings"),
        expected_first_token: given("expected_first_token"),
        expect_cold_start: all
            .get("expect_cold_start")
            .and_then(|v| v.boolean())
            .unwrap_or(standard.expect_cold_start),
        failure_threshold: times("failure_threshold"),
        success_threshold: times("success_threshold"),
    };
    own.iter().for_each(Table::finish);
    policy
}

/// Reads `[detection]` and `[defaults]` alone, so that their mistakes are reported even if no
/// endpoint uses them.
pub(super) fn read_alone(detection: &[Table<'_>], defaults: Option<&Table<'_>>) -> DetectionPolicy {
    let layers = Layers(Vec::new());
    let policy = read_detection(&layers, detection);
    detection.iter().for_each(Table::finish);
    if let Some(defaults) = defaults {
        if let Some(name) = defaults.get("name") {
            let _: Option<()> = name.error(
                "`name` cannot be a default",
                "every endpoint has a name of its own",
            );
        }
        defaults.finish();
    }
    policy
}
