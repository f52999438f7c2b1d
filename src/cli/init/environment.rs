//! API keys and addresses in the environment, under the names that the official clients read.

use std::collections::HashMap;

use crate::config::catalog;
use llmwatch_core::model::Provider;

/// The keys to suggest to a person who has none.
pub(super) const KEYS_OF_VENDORS: &str =
    "OPENAI_API_KEY, AZURE_OPENAI_API_KEY, ANTHROPIC_API_KEY or GEMINI_API_KEY";

/// An endpoint that can be probed.
pub(super) struct Candidate {
    /// Where it was found, for people.
    pub(super) found: String,
    /// Its keys with their TOML values, in order.
    keys: Vec<(&'static str, String)>,
    /// Its credentials may serve another purpose, so it is kept only if its first probe succeeds.
    pub(super) is_guess: bool,
}

/// A vendor whose environment is incomplete.
pub(super) struct Missing {
    /// The variables that are set.
    pub(super) found: String,
    /// The variable that is missing.
    pub(super) needed: String,
}

impl Candidate {
    pub(super) fn new(found: impl Into<String>, provider: Provider) -> Self {
        let keys = vec![("provider", quoted(provider.as_str()))];
        Self {
            found: found.into(),
            keys,
            is_guess: false,
        }
    }

    /// Adds a key with a plain-text value.
    pub(super) fn with(mut self, key: &'static str, value: &str) -> Self {
        self.keys.push((key, quoted(value)));
        self
    }

    /// Adds an inline table with plain-text values; none if it would be empty.
    fn with_table(mut self, key: &'static str, values: &[(&str, Option<&str>)]) -> Self {
        let known = values
            .iter()
            .filter_map(|(key, value)| Some((key, (*value)?)));
        let pairs: Vec<_> = known
            .map(|(key, value)| format!("{key} = {}", quoted(value)))
            .collect();
        if !pairs.is_empty() {
            self.keys.push((key, format!("{{ {} }}", pairs.join(", "))));
        }
        self
    }

    /// Adds a key with a plain-text value, if there is one.
    fn with_optional(self, key: &'static str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// Formats the table of the endpoint.
    pub(super) fn block(&self) -> String {
        let lines = self
            .keys
            .iter()
            .map(|(key, value)| format!("{key} = {value}\n"));
        format!("[[endpoint]]\n{}", lines.collect::<String>())
    }
}

/// Quotes `text` as a TOML string.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// The vendors other than Azure: the variables of the key, in order of preference, and the variable
/// of the address.
const VENDORS: [(Provider, &[&str], Option<&str>); 17] = [
    (
        Provider::OpenAi,
        &["OPENAI_API_KEY"],
        Some("OPENAI_BASE_URL"),
    ),
    (
        Provider::Anthropic,
        &["ANTHROPIC_API_KEY"],
        Some("ANTHROPIC_BASE_URL"),
    ),
    (
        Provider::Gemini,
        &["GEMINI_API_KEY", "GOOGLE_API_KEY"],
        Some("GOOGLE_GEMINI_BASE_URL"),
    ),
    (Provider::Groq, &["GROQ_API_KEY"], None),
    (Provider::Mistral, &["MISTRAL_API_KEY"], None),
    (Provider::Cohere, &["COHERE_API_KEY", "CO_API_KEY"], None),
    (Provider::DeepSeek, &["DEEPSEEK_API_KEY"], None),
    (Provider::XAi, &["XAI_API_KEY"], None),
    (Provider::Together, &["TOGETHER_API_KEY"], None),
    (Provider::Fireworks, &["FIREWORKS_API_KEY"], None),
    (Provider::Cerebras, &["CEREBRAS_API_KEY"], None),
    (Provider::OpenRouter, &["OPENROUTER_API_KEY"], None),
    (Provider::Perplexity, &["PERPLEXITY_API_KEY"], None),
    (Provider::Moonshot, &["MOONSHOT_API_KEY"], None),
    (Provider::Zhipu, &["ZHIPUAI_API_KEY", "ZAI_API_KEY"], None),
    (Provider::MiniMax, &["MINIMAX_API_KEY"], None),
    (Provider::DashScope, &["DASHSCOPE_API_KEY"], None),
];

/// Returns all endpoints that `vars` describe, and the incomplete ones.
pub(super) fn candidates(vars: &HashMap<String, String>) -> (Vec<Candidate>, Vec<Missing>) {
    let mut found = Vec::new();
    for (provider, keys, address) in VENDORS {
        let Some(key) = keys.iter().find(|name| value(vars, name).is_some()) else {
            continue;
        };
        let base_url = address.and_then(|name| Some((name, value(vars, name)?)));
        let source = base_url.map_or((*key).to_owned(), |(name, _)| format!("{key} and {name}"));
        let candidate = Candidate::new(source, provider).with("api_key", &format!("${{{key}}}"));
        found.push(
            candidate
                .with_optional("base_url", base_url.map(|(_, url)| url))
                .with_optional("model", default_model(provider)),
        );
    }
    let mut missing = Vec::new();
    for vendor in [azure(vars), bedrock(vars)].into_iter().flatten() {
        match vendor {
            Ok(candidate) => found.push(candidate),
            Err(incomplete) => missing.push(incomplete),
        }
    }
    found.extend(vertex(vars));
    (found, missing)
}

fn default_model(provider: Provider) -> Option<&'static str> {
    catalog::default_model(provider, catalog::default_api(provider))
}

/// Returns a variable that is set and not blank.
fn value<'v>(vars: &'v HashMap<String, String>, name: &str) -> Option<&'v str> {
    let value = vars.get(name)?.trim();
    (!value.is_empty()).then_some(value)
}

/// Returns the first of these variables that is set, with its value.
fn first<'v>(
    vars: &'v HashMap<String, String>,
    names: &[&'static str],
) -> Option<(&'static str, &'v str)> {
    names
        .iter()
        .find_map(|name| Some((*name, value(vars, name)?)))
}

/// Bedrock, by its API key or by AWS credentials.
fn bedrock(vars: &HashMap<String, String>) -> Option<Result<Candidate, Missing>> {
    const API_KEY: &str = "AWS_BEARER_TOKEN_BEDROCK";
    let keys = [
        API_KEY,
        "AWS_ACCESS_KEY_ID",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_PROFILE",
    ];
    let (found, _) = first(vars, &keys)?;
    let Some((_, region)) = first(vars, &["AWS_REGION", "AWS_DEFAULT_REGION"]) else {
        return Some(Err(Missing {
            found: found.to_owned(),
            needed: "AWS_REGION".to_owned(),
        }));
    };
    let key = (found == API_KEY).then(|| format!("${{{API_KEY}}}"));
    let candidate = Candidate::new(found, Provider::Bedrock)
        .with_optional("api_key", key.as_deref())
        .with_table("aws", &[("region", Some(region))])
        .with_optional("base_url", value(vars, "AWS_ENDPOINT_URL_BEDROCK_RUNTIME"))
        .with_optional("model", default_model(Provider::Bedrock));
    Some(Ok(Candidate {
        is_guess: key.is_none(),
        ..candidate
    }))
}

/// Vertex AI, by application default credentials or a project.
fn vertex(vars: &HashMap<String, String>) -> Option<Candidate> {
    let names = ["GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT"];
    let (found, _) = first(vars, &names)?;
    let project = ("project", value(vars, "GOOGLE_CLOUD_PROJECT"));
    let location = ("location", value(vars, "GOOGLE_CLOUD_LOCATION"));
    let candidate = Candidate::new(found, Provider::Vertex)
        .with_table("google", &[project, location])
        .with_optional("base_url", value(vars, "GOOGLE_VERTEX_BASE_URL"))
        .with_optional("model", default_model(Provider::Vertex));
    // The official client uses Vertex AI only where this says so.
    let is_wanted = value(vars, "GOOGLE_GENAI_USE_VERTEXAI")
        .is_some_and(|v| v == "1" || v.eq_ignore_ascii_case("true"));
    Some(Candidate {
        is_guess: !is_wanted,
        ..candidate
    })
}

fn azure(vars: &HashMap<String, String>) -> Option<Result<Candidate, Missing>> {
    let key = first(vars, &["AZURE_OPENAI_API_KEY", "AZURE_OPENAI_KEY"]);
    let address = first(vars, &["AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_BASE_URL"]);
    let deployment = first(
        vars,
        &[
            "AZURE_OPENAI_DEPLOYMENT",
            "AZURE_OPENAI_DEPLOYMENT_NAME",
            "AZURE_OPENAI_CHAT_DEPLOYMENT_NAME",
            "AZURE_OPENAI_CHAT_DEPLOYMENT",
        ],
    );
    let version = first(vars, &["AZURE_OPENAI_API_VERSION", "OPENAI_API_VERSION"]);
    let parts = [key, address, deployment];
    let names: Vec<_> = parts.iter().flatten().map(|(name, _)| *name).collect();
    if names.is_empty() {
        return None;
    }
    let found = names.join(", ");
    let (Some((key, _)), Some((_, address)), Some((_, deployment))) = (key, address, deployment)
    else {
        let needed = match (key, address) {
            (None, _) => "AZURE_OPENAI_API_KEY",
            (_, None) => "AZURE_OPENAI_ENDPOINT",
            _ => "AZURE_OPENAI_DEPLOYMENT",
        };
        return Some(Err(Missing {
            found,
            needed: needed.to_owned(),
        }));
    };
    let mut candidate = Candidate::new(found, Provider::AzureOpenAi)
        .with("api_key", &format!("${{{key}}}"))
        .with("base_url", address)
        .with("deployment", deployment);
    if let Some((_, version)) = version {
        candidate = candidate.with("api_version", version);
    }
    Some(Ok(candidate))
}
