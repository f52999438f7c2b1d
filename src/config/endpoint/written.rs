//! What the file sets for an endpoint: converts each key of the raw tables to its type.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use regex::Regex;
use url::Url;

use super::client_identity;
use crate::config::cloud;
use crate::config::diagnostic::echo;
use crate::config::is_local;
use crate::config::raw::{Table, Value};
use llmwatch_core::model::{
    Api, Aws, ClientIdentity, Connection, DetectionPolicy, Entra, Expect, Google, Price, Provider,
    Secret, Sensitivity, SlowLimits, Timeouts,
};
use llmwatch_core::protocol::{answer_schema, catalog};

const SECOND: Duration = Duration::from_secs(1);
/// Longer names do not fit into a subject line or a path.
const LONGEST_NAME: usize = 64;

/// Tables with the same keys, the most specific first: an endpoint's own, then `[defaults]`.
pub(super) struct Layers<'t, 'a>(pub(super) Vec<&'t Table<'a>>);

impl<'a> Layers<'_, 'a> {
    fn get(&self, key: &'static str) -> Option<Value<'a>> {
        // Every layer is read, so that a key that a more specific layer overrides is not reported
        // as unknown.
        let all: Vec<_> = self.0.iter().map(|t| t.get(key)).collect();
        all.into_iter().flatten().next()
    }

    fn string(&self, key: &'static str) -> Option<String> {
        self.get(key)?.string()
    }

    fn boolean(&self, key: &'static str) -> Option<bool> {
        self.get(key)?.boolean()
    }

    fn duration(&self, key: &'static str) -> Option<Duration> {
        self.get(key)?.duration()
    }

    fn timeout(&self, key: &'static str) -> Option<Duration> {
        self.get(key)?
            .duration_of_at_least(Duration::from_millis(1))
    }

    /// Returns a count from 1 to 1000.
    fn count(&self, key: &'static str) -> Option<u32> {
        let count = self.get(key)?.integer(1..=1000)?;
        Some(count as u32)
    }

    /// Returns a price in dollars per million tokens.
    fn price(&self, key: &'static str) -> Option<f64> {
        self.get(key)?.number(0.0, 1e6)
    }

    fn tables(&self, key: &'static str) -> Vec<Table<'a>> {
        self.0.iter().filter_map(|t| t.table(key)).collect()
    }
}

/// The most addresses that may replace a name.
const MAX_ADDRESSES: usize = 16;

/// Which essential keys are present, valid or not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Given {
    pub(super) base_url: bool,
    pub(super) model: bool,
    pub(super) api_key: bool,
}

/// What the file sets for an endpoint. `None` means missing or invalid.
pub(super) struct WrittenEndpoint<'a> {
    pub(super) enabled: bool,
    pub(super) given: Given,
    pub(super) name: Option<String>,
    pub(super) provider: Option<Provider>,
    pub(super) api: Option<Api>,
    pub(super) base_url: Option<Url>,
    pub(super) model: Option<String>,
    pub(super) deployment: Option<String>,
    pub(super) api_version: Option<String>,
    pub(super) entra: Option<Entra>,
    pub(super) aws: Option<Aws>,
    pub(super) google: Option<Google>,
    pub(super) api_key: Option<Secret>,
    pub(super) headers: Vec<(String, Secret)>,
    pub(super) group: Option<String>,
    pub(super) interval: Option<Duration>,
    pub(super) stream: Option<bool>,
    pub(super) prompt: Option<String>,
    pub(super) max_tokens: Option<u32>,
    /// An empty string means none.
    pub(super) reasoning_effort: Option<String>,
    pub(super) service_tier: Option<String>,
    pub(super) client: Option<ClientIdentity>,
    pub(super) resolve: Option<Vec<IpAddr>>,
    pub(super) source_address: Option<IpAddr>,
    pub(super) expect: Expect,
    pub(super) body: Option<String>,
    pub(super) method: Option<String>,
    pub(super) path: Option<String>,
    pub(super) expect_status: Option<Vec<u16>>,
    pub(super) connection: Option<Connection>,
    pub(super) timeouts: Timeouts,
    pub(super) slow: SlowLimits,
    pub(super) slo: Option<f64>,
    pub(super) price: Option<Price>,
    pub(super) depends_on: Option<Vec<String>>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) detection: DetectionPolicy,
    pub(super) long: Option<WrittenLong<'a>>,
}

impl<'a> WrittenEndpoint<'a> {
    /// Reads every key, so that all problems are shown at once.
    pub(super) fn read(own: &Table<'a>, layers: &Layers<'_, 'a>, detection: &[Table<'a>]) -> Self {
        let provider = read_provider(own, layers);
        let fallback = provider.unwrap_or(Provider::Http);
        let api = read_api(own, layers, provider);
        let base_url = layers.get("base_url");
        let given = Given {
            base_url: base_url.is_some(),
            model: layers.string("model").is_some(),
            api_key: ["api_key", "api_key_file", "api_key_credential"]
                .iter()
                .any(|k| layers.0.iter().any(|t| t.get(k).is_some())),
        };
        let base_url = base_url.and_then(|v| checked_base_url(&v));
        let api_key = layered_secret(layers);
        let headers = read_headers(layers);
        let prompt = layers.string("prompt");
        let body = layers.get("body").and_then(|v| v.body());
        let talks = catalog::talks(api.unwrap_or(catalog::default_api(fallback)));
        let expect = read_expect(layers, prompt.is_none() && body.is_none() && talks);
        let circumstances = cloud::Circumstances {
            base_url: base_url.as_ref(),
            is_authorized: api_key.is_some() || headers.iter().any(|(name, _)| authorizes(name)),
            is_local: base_url.as_ref().is_some_and(is_local),
        };
        let of_aws = layers.tables("aws");
        let of_google = layers.tables("google");
        let aws = (fallback == Provider::Bedrock)
            .then(|| cloud::aws(own, &of_aws, circumstances))
            .flatten();
        let google = (fallback == Provider::Vertex)
            .then(|| cloud::google(own, &of_google, circumstances))
            .flatten();
        refuse_others(&of_aws, provider, Provider::Bedrock);
        refuse_others(&of_google, provider, Provider::Vertex);
        Self {
            enabled: layers.boolean("enabled").unwrap_or(true),
            given,
            name: own.get("name").and_then(|v| checked_name(&v)),
            provider,
            api,
            model: layers.string("model"),
            deployment: layers.string("deployment"),
            api_version: layers.string("api_version"),
            entra: read_entra(layers),
            aws,
            google,
            api_key,
            headers,
            group: layers.string("group"),
            interval: layers
                .get("interval")
                .and_then(|v| v.duration_of_at_least(SECOND)),
            stream: layers.boolean("stream"),
            prompt,
            max_tokens: layers
                .get("max_tokens")
                .and_then(|v| v.integer(1..=100_000))
                .map(|n| n as u32),
            reasoning_effort: layers.string("reasoning_effort"),
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

/// What the file sets for `long`, with the most specific table.
#[derive(Clone)]
pub(super) struct WrittenLong<'a> {
    pub(super) table: Table<'a>,
    pub(super) every: Option<Duration>,
    pub(super) max_tokens: Option<u64>,
}

impl<'a> WrittenLong<'a> {
    pub(super) fn read(layers: &Layers<'_, 'a>) -> Option<Self> {
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
}

/// Reports whether a header of this name carries credentials.
pub(in crate::config) fn authorizes(name: &str) -> bool {
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

/// Checks a name, which must fit into a path, a header and a subject line.
pub(in crate::config) fn checked_name(value: &Value<'_>) -> Option<String> {
    let name = value.string()?;
    if name.is_empty()
        || name.len() > LONGEST_NAME
        || !name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
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
    if value.is_list() {
        value.items()?.iter().map(status).collect()
    } else {
        Some(vec![status(value)?])
    }
}

fn status(value: &Value<'_>) -> Option<u16> {
    let status = value.integer(100..=599)?;
    Some(status as u16)
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

pub(in crate::config) fn headers_of(table: &Table<'_>) -> Vec<(String, Secret)> {
    let mut headers = Vec::new();
    for value in table.entries() {
        let is_valid = value
            .key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        if value.key.is_empty() || !is_valid {
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
    // Settings of one application belong together: the most specific table replaces the others.
    let layers = Layers(vec![table]);
    let tenant = layers.string("tenant");
    let client_id = layers.string("client_id");
    let scope = layers.string("scope");
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
        table.error("`entra` is not complete", help);
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
    let standard = Timeouts::default();
    let total = inner.timeout("total").unwrap_or(standard.total);
    let timeouts = Timeouts {
        connect: inner.timeout("connect").unwrap_or(standard.connect),
        headers: inner.timeout("headers").unwrap_or(standard.headers),
        // The first-token timeout is at most the total, unless it is set.
        first_token: inner
            .timeout("first_token")
            .unwrap_or(standard.first_token.min(total)),
        token_gap: inner.timeout("token_gap").unwrap_or(standard.token_gap),
        total,
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
    let input = inner.price("input");
    let output = inner.price("output");
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
    let is_valid = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if name.is_empty() || name.len() > 64 || !is_valid {
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
    let certificate = layers.get("client_cert");
    let key = layers.get("client_key");
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

pub(super) fn read_detection(layers: &Layers<'_, '_>, general: &[Table<'_>]) -> DetectionPolicy {
    let own = layers.tables("detection");
    let all = Layers(own.iter().chain(general).collect());
    let standard = DetectionPolicy::default();
    let levels = [
        ("high", Sensitivity::High),
        ("normal", Sensitivity::Normal),
        ("low", Sensitivity::Low),
    ];
    let policy = DetectionPolicy {
        alert_after: all.duration("alert_after"),
        provider_alert_after: all.duration("provider_alert_after"),
        degraded_after: all
            .duration("degraded_after")
            .unwrap_or(standard.degraded_after),
        resolve_after: all
            .duration("resolve_after")
            .unwrap_or(standard.resolve_after),
        slow_factor: all
            .get("slow_factor")
            .and_then(|v| v.number(1.1, 100.0))
            .unwrap_or(standard.slow_factor),
        sensitivity: all
            .get("sensitivity")
            .and_then(|v| v.one_of(&levels))
            .unwrap_or(standard.sensitivity),
        recheck: all.boolean("recheck").unwrap_or(standard.recheck),
        siblings: all.boolean("siblings").unwrap_or(standard.siblings),
        expected_first_token: all.duration("expected_first_token"),
        expect_cold_start: all
            .boolean("expect_cold_start")
            .unwrap_or(standard.expect_cold_start),
        failure_threshold: all.count("failure_threshold"),
        success_threshold: all.count("success_threshold"),
    };
    own.iter().for_each(Table::finish);
    policy
}
