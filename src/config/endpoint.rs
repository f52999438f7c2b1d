//! `[[endpoint]]`, `[defaults]` and `[detection]`: converts the raw tables to a complete
//! [`Endpoint`], in three steps. [`written`] reads each key by itself,
//! [`WrittenEndpoint::complete`] fills in the missing ones, and [`check_combinations`] checks them
//! together.

mod written;

use std::path::Path;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use url::Url;

use self::written::{Given, Layers, WrittenEndpoint, WrittenLong, read_detection};
pub(super) use self::written::{authorizes, checked_name, headers_of};
use super::cloud;
use super::is_local;
use super::raw::Table;
use crate::files;
use llmwatch_core::model::{
    Api, ClientIdentity, Connection, DetectionPolicy, Endpoint, Expect, Provider, SlowLimits,
    Timeouts,
};
use llmwatch_core::protocol::catalog;

/// The minimum total timeout of a long probe.
const LONG_TOTAL: Duration = Duration::from_mins(2);

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
    let enabled = written.enabled;
    let given = written.given;
    let provider = written.provider;
    let written_long = written.long.clone();
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

impl WrittenEndpoint<'_> {
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
            max_tokens: self.max_tokens.unwrap_or_else(|| {
                let effort = self.reasoning_effort.as_deref();
                catalog::default_max_tokens(model.as_deref(), effort)
            }),
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

impl WrittenLong<'_> {
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
            self.table.error(
                "`long` measures the rate of tokens, which needs a streamed answer to a prompt",
                "leave it out, or remove `stream = false` or `body`",
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
    let is_known = catalog::base_url(provider).is_some()
        || matches!(provider, Provider::Bedrock | Provider::Vertex);
    if !given.base_url && !is_known {
        let example = match provider {
            Provider::AzureOpenAi => "the resource, such as https://NAME.openai.azure.com",
            Provider::Http => "the address of the page",
            Provider::Mcp => "the address of the MCP server, such as https://mcp.example.com/mcp",
            _ => "the server's address, with /v1",
        };
        missing_key(own, provider, "base_url", example);
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
        let why = "the name that you gave the model on Azure";
        missing_key(own, provider, "deployment", why);
    }
    if matches!(provider, Provider::OpenAiCompatible | Provider::Vertex)
        && !matches!(endpoint.api, Api::Http | Api::Models)
        && endpoint.model.is_none()
    {
        missing_key(own, provider, "model", "the server cannot guess it");
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
        let why = "`\"${NAME}\"` takes it from the environment; `api_key_file` and `api_key_credential` from a file";
        missing_key(own, provider, "api_key", why);
    }
    if endpoint.api == Api::Models
        && let Some(body) = own.get("body")
    {
        let _: Option<()> = body.error(
            "`body` has no effect: `api = \"models\"` sends a GET request without one",
            "leave it out, or use `api = \"http\"` with `method = \"POST\"`",
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

fn missing_key(own: &Table<'_>, provider: Provider, key: &str, why: &str) {
    own.error(
        format!("missing key `{key}` for provider `{provider}`"),
        format!("add `{key} = …`: {why}"),
    );
}

/// A URL for an endpoint that is going to be rejected.
fn placeholder_url() -> Url {
    // RFC 6761: never resolves.
    Url::parse("http://invalid/").unwrap_or_else(|_| unreachable!("a constant URL"))
}

/// Reads a client certificate with its chain and its key.
///
/// # Errors
/// What is wrong with the files, without any of their content.
pub(crate) fn client_identity(
    identity: &ClientIdentity,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
    let read = |path: &Path| {
        files::read(path, files::MAX_SECRET).map_err(|e| format!("{}: {e}", path.display()))
    };
    let certificate = identity.certificate.display();
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(&read(&identity.certificate)?).collect();
    let chain = chain.map_err(|e| format!("{certificate}: {e}"))?;
    if chain.is_empty() {
        return Err(format!("{certificate} holds no certificate"));
    }
    let key = PrivateKeyDer::from_pem_slice(&read(&identity.key)?)
        .map_err(|e| format!("{}: {e}", identity.key.display()))?;
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider).map_err(|e| e.to_string())?;
    Ok((chain, key))
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
