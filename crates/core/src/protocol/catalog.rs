//! Known facts about providers and models: base URLs, current default models, prices, and how to
//! turn off a model's reasoning so that a probe stays short. From the vendors' price lists on
//! 2026-11-23.

use super::presets;
use crate::model::{Api, Price, Provider};

/// The default scope of an Entra ID token.
pub const ENTRA_SCOPE: &str = "https://cognitiveservices.azure.com/.default";
/// The default prompt for models that generate text.
pub const PROMPT: &str = "Reply with the single word: pong";
/// The default input for models that only read.
pub const INPUT: &str = "ping";
/// The text that the answer to [`PROMPT`] must contain.
pub const ANSWER: &str = "pong";
/// The token usage of a probe with [`PROMPT`], in and out, including the word that makes it unique.
pub const PROMPT_TOKENS: (u32, u32) = (22, 3);
/// The token usage of a probe with [`INPUT`].
pub const INPUT_TOKENS: (u32, u32) = (8, 0);
/// The prompt of a long probe: many tokens, no reasoning.
pub const LONG_PROMPT: &str = "Write the numbers from one to three hundred as words, one a line.";
/// The token budget for a short answer.
pub const MAX_TOKENS: u32 = 64;
/// The token budget for a model whose reasoning cannot be turned off.
pub const MAX_TOKENS_THINKING: u32 = 1024;

/// Returns the base URL of the provider's API; `None` if each user has another one.
pub fn base_url(provider: Provider) -> Option<&'static str> {
    match provider {
        Provider::OpenAi => Some("https://api.openai.com/v1"),
        Provider::Anthropic => Some("https://api.anthropic.com"),
        Provider::Gemini => Some("https://generativelanguage.googleapis.com"),
        Provider::AzureOpenAi
        | Provider::OpenAiCompatible
        | Provider::Bedrock
        | Provider::Vertex
        | Provider::Mcp
        | Provider::Http => None,
        vendor => presets::of(vendor).map(|preset| preset.base_url),
    }
}

/// Returns the API that is probed by default.
pub fn default_api(provider: Provider) -> Api {
    match provider {
        Provider::Anthropic => Api::Messages,
        Provider::Gemini | Provider::Vertex => Api::Generate,
        Provider::Bedrock => Api::Converse,
        Provider::Mcp => Api::Mcp,
        Provider::Http => Api::Http,
        _ => Api::Chat,
    }
}

/// Returns the APIs of a provider. All have `http`, a plain request to the base URL.
pub fn apis(provider: Provider) -> &'static [Api] {
    match provider {
        Provider::OpenAi => &[
            Api::Chat,
            Api::Responses,
            Api::Embeddings,
            Api::Moderations,
            Api::Models,
            Api::Realtime,
            Api::Speech,
            Api::Transcription,
            Api::Http,
        ],
        Provider::AzureOpenAi => &[
            Api::Chat,
            Api::Responses,
            Api::Embeddings,
            Api::Realtime,
            Api::Speech,
            Api::Transcription,
            Api::Http,
        ],
        Provider::Mcp => &[Api::Mcp, Api::Http],
        Provider::Anthropic => &[Api::Messages, Api::Models, Api::Http],
        Provider::Gemini => &[Api::Generate, Api::Models, Api::Http],
        Provider::OpenAiCompatible => &[
            Api::Chat,
            Api::Responses,
            Api::Embeddings,
            Api::Models,
            Api::Ollama,
            Api::Realtime,
            Api::Speech,
            Api::Transcription,
            Api::Http,
        ],
        Provider::Bedrock => &[Api::Converse, Api::Http],
        Provider::Vertex => &[Api::Generate, Api::Messages, Api::Chat, Api::Http],
        Provider::Http => &[Api::Http],
        vendor => presets::of(vendor).map_or(&[], |preset| preset.apis),
    }
}

/// Returns the default prompt.
pub fn prompt(api: Api) -> &'static str {
    match api {
        Api::Embeddings | Api::Moderations => INPUT,
        Api::Speech => ANSWER,
        _ => PROMPT,
    }
}

/// Reports whether an API generates text, so that the answer to [`PROMPT`] can be checked.
pub fn talks(api: Api) -> bool {
    matches!(
        api,
        Api::Chat
            | Api::Responses
            | Api::Messages
            | Api::Generate
            | Api::Ollama
            | Api::Converse
            | Api::Realtime
    )
}

/// Returns the provider's cheapest current model for this API.
pub fn default_model(provider: Provider, api: Api) -> Option<&'static str> {
    match (provider, api) {
        (Provider::OpenAi | Provider::AzureOpenAi, Api::Chat | Api::Responses) => {
            Some("gpt-6-luna")
        }
        (Provider::OpenAi | Provider::AzureOpenAi, Api::Embeddings) => {
            Some("text-embedding-3-small")
        }
        (Provider::OpenAi, Api::Realtime) => Some("gpt-realtime-2.1-mini"),
        (Provider::OpenAi, Api::Speech) => Some("gpt-4o-mini-tts"),
        (Provider::OpenAi, Api::Transcription) => Some("gpt-4o-mini-transcribe"),
        (Provider::OpenAi, Api::Moderations) => Some("omni-moderation-latest"),
        (Provider::Anthropic, Api::Messages) => Some("claude-haiku-5-5"),
        (Provider::Gemini | Provider::Vertex, Api::Generate) => Some("gemini-2.5-flash-lite"),
        (Provider::Bedrock, Api::Converse) => Some("amazon.nova-micro-v1:0"),
        (vendor, Api::Chat) => presets::of(vendor).map(|preset| preset.model),
        _ => None,
    }
}

/// Returns the API version that the provider requires in requests.
pub fn default_api_version(provider: Provider, api: Api) -> Option<&'static str> {
    match (provider, api) {
        // Responses came after the last dated release of the other APIs.
        (Provider::AzureOpenAi, Api::Responses) => Some("2025-03-01-preview"),
        (Provider::AzureOpenAi, _) => Some("2024-10-21"),
        (Provider::Anthropic, _) => Some("2026-10-21"),
        (Provider::Gemini, _) => Some("v1beta"),
        (Provider::Vertex, _) => Some("v1"),
        _ => None,
    }
}

/// Returns the effort that minimizes reasoning of an OpenAI model; `None` if the model does not
/// accept the setting.
pub fn default_effort(model: &str) -> Option<&'static str> {
    if is_o_series(model) {
        // The `-pro` models of this series accept it too.
        return Some("low");
    }
    let family = ["gpt-5", "gpt-6"].iter().find(|f| model.starts_with(**f))?;
    let rest = &model[family.len()..];
    let first_family = *family == "gpt-5" && !rest.starts_with('.');
    if model.contains("-chat") {
        // The models that ChatGPT uses do not reason.
        None
    } else if rest.contains("-pro") {
        Some(if first_family { "high" } else { "medium" })
    } else if rest.contains("-codex") {
        Some("low")
    } else if first_family {
        // The first GPT-5 models, of August 2025, do not accept `none`.
        Some("minimal")
    } else {
        Some("none")
    }
}

/// Reports whether a model spends tokens on reasoning with this effort.
pub fn is_thinking(effort: &str) -> bool {
    !matches!(effort, "none" | "minimal")
}

/// Returns the kind of `thinking` that keeps an Anthropic model from thinking before it answers;
/// `None` if it does not think by default, or always does.
pub fn thinking_off(model: &str) -> Option<&'static str> {
    let (family, version) = model.strip_prefix("claude-")?.split_once('-')?;
    let current = version.starts_with("5-5") || version.starts_with('6');
    match family {
        "haiku" if current => Some("disabled"),
        "sonnet" if current => Some("between_tools"),
        _ => None,
    }
}

/// How to limit the thinking of a Gemini model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GeminiThinking {
    /// `thinkingBudget`, in tokens.
    Budget(u32),
    /// `thinkingLevel`.
    Level(&'static str),
}

/// Returns the setting that turns off or minimizes the thinking of a Gemini model; `None` if the
/// model does not accept one.
pub fn gemini_thinking(model: &str) -> Option<GeminiThinking> {
    let model = model.trim_start_matches("models/");
    if model.starts_with("gemini-2.5-flash") {
        Some(GeminiThinking::Budget(0))
    } else if model.starts_with("gemini-2.5-pro") {
        // The minimum that it accepts.
        Some(GeminiThinking::Budget(128))
    } else if model.starts_with("gemini-3") {
        Some(GeminiThinking::Level(if model.contains("flash") {
            "MINIMAL"
        } else {
            "LOW"
        }))
    } else {
        None
    }
}

/// For Ollama models that can think, returns the lowest level, or `Some(None)` to turn thinking
/// off.
pub fn ollama_thinking(model: &str) -> Option<Option<&'static str>> {
    const SWITCHABLE: [&str; 5] = [
        "qwen3",
        "deepseek-r1",
        "deepseek-v3.1",
        "magistral",
        "gemma4",
    ];
    if model.starts_with("gpt-oss") {
        return Some(Some("low"));
    }
    SWITCHABLE
        .iter()
        .any(|name| model.starts_with(name))
        .then_some(None)
}

/// Returns the token budget of a probe of this model, with the configured `effort` if there is one.
pub fn default_max_tokens(model: Option<&str>, effort: Option<&str>) -> u32 {
    const THINKING: [&str; 10] = [
        "opus",
        "fable",
        "-thinking",
        "deepseek-r",
        "gemini-3",
        "gemini-2.5-pro",
        "gpt-oss",
        "MiniMax-M",
        "glm-",
        "deepseek-v4",
    ];
    let effort = effort.or_else(|| model.and_then(default_effort));
    let always_thinks = model.is_some_and(|m| THINKING.iter().any(|part| m.contains(part)));
    if always_thinks || effort.is_some_and(is_thinking) {
        MAX_TOKENS_THINKING
    } else {
        MAX_TOKENS
    }
}

/// USD per million tokens, in and out.
const PRICES: &[(&str, f64, f64)] = &[
    ("gpt-6-luna", 0.10, 0.50),
    ("gpt-5.6-luna", 0.20, 1.20),
    ("gpt-5.4-nano", 0.20, 1.25),
    ("gpt-5-nano", 0.05, 0.40),
    ("gpt-5-mini", 0.25, 2.00),
    ("gpt-4.1-mini", 0.40, 1.60),
    ("gpt-4.1-nano", 0.10, 0.40),
    ("gpt-realtime-2.1-mini", 0.60, 2.40),
    ("gpt-realtime-mini", 0.60, 2.40),
    ("gpt-4o-mini-tts", 0.60, 12.00),
    ("gpt-4o-mini-transcribe", 1.25, 5.00),
    ("gpt-4o-mini", 0.15, 0.60),
    ("text-embedding-3-small", 0.02, 0.0),
    ("text-embedding-3-large", 0.13, 0.0),
    ("omni-moderation", 0.0, 0.0),
    ("claude-haiku-5-5", 0.10, 0.50),
    ("claude-haiku-4-5", 1.00, 5.00),
    ("claude-sonnet-5-5", 2.00, 10.00),
    ("claude-opus-5-5", 4.00, 20.00),
    ("amazon.nova-micro-v1:0", 0.035, 0.14),
    ("amazon.nova-lite-v1:0", 0.06, 0.24),
    ("gemini-2.5-flash-lite", 0.10, 0.40),
    ("gemini-3.1-flash-lite", 0.25, 1.50),
    ("gemini-3.5-flash-lite", 0.30, 2.50),
    ("gemini-3.8-flash", 0.75, 3.75),
    ("openai/gpt-oss-20b", 0.075, 0.30),
    ("ministral-3b", 0.10, 0.10),
    ("deepseek-chat", 0.28, 0.42),
    ("ministral-3b-latest", 0.10, 0.10),
    ("command-r7b-12-2024", 0.0375, 0.15),
    ("deepseek-v4-flash", 0.30, 1.20),
    ("grok-4.20-0309-non-reasoning", 1.25, 2.50),
    ("meta-llama/Llama-3.2-3B-Instruct", 0.06, 0.06),
    ("accounts/fireworks/models/gpt-oss-20b", 0.07, 0.30),
    ("llama3.1-8b", 0.10, 0.10),
    ("openai/gpt-6-luna", 0.10, 0.50),
    ("sonar", 1.00, 1.00),
    ("moonshot-v1-8k", 0.20, 2.00),
    ("glm-5.3-flash", 0.15, 0.50),
    ("MiniMax-M3", 0.30, 1.20),
    ("qwen3.8-flash", 0.15, 0.47),
];

/// When models are shut down whose providers do not say so in an API, and the successor that the
/// vendor names: of Azure from the public price list of `LiteLLM`
/// (`model_prices_and_context_window.json`), read on 2026-11-23; of Gemini from
/// <https://ai.google.dev/gemini-api/docs/deprecations>, as others quoted it on 2026-11-10.
const SHUTDOWNS: &[(Provider, &str, &str, Option<&str>)] = &[
    (Provider::AzureOpenAi, "gpt-6-luna", "2028-03-11", None),
    (Provider::AzureOpenAi, "gpt-5.6-luna", "2028-01-11", None),
    (Provider::AzureOpenAi, "gpt-4.1-nano", "2027-04-14", None),
    (
        Provider::Gemini,
        "gemini-2.5-pro",
        "2026-12-01",
        Some("gemini-3.8-flash"),
    ),
    (
        Provider::Gemini,
        "gemini-2.5-flash",
        "2026-12-01",
        Some("gemini-3.5-flash-lite"),
    ),
    (
        Provider::Gemini,
        "gemini-3.1-flash-lite",
        "2027-05-07",
        None,
    ),
];

/// The date on which a model is shut down, and the successor that the vendor names, where the
/// provider has no API that says so; `None` when unknown.
pub fn shutdown(provider: Provider, model: &str) -> Option<(&'static str, Option<&'static str>)> {
    let model = model.trim_start_matches("models/");
    SHUTDOWNS
        .iter()
        .find(|(of, name, ..)| *of == provider && *name == model)
        .map(|(.., date, successor)| (*date, *successor))
}

/// Where a provider says how much prepaid credit is left, below its base URL: the account's, else
/// what the limit of the key leaves of it. OpenRouter shows the account's to management keys only.
pub fn credit_paths(provider: Provider) -> &'static [&'static str] {
    match provider {
        Provider::OpenRouter => &["/credits", "/key"],
        Provider::DeepSeek => &["/user/balance"],
        _ => &[],
    }
}

/// Reports whether the provider's list of models includes shutdown dates.
pub fn lists_shutdowns(provider: Provider) -> bool {
    matches!(
        provider,
        Provider::OpenAi | Provider::Anthropic | Provider::Mistral | Provider::OpenRouter
    )
}

/// Returns the price of a model, by its name or its family's (`gpt-6-luna-2026-09-01`); `None` if
/// unknown.
pub fn price(model: &str) -> Option<Price> {
    let model = without_bedrock_prefix(model);

    PRICES
        .iter()
        .filter(|(name, ..)| {
            model
                .strip_prefix(name)
                .is_some_and(|rest| rest.is_empty() || is_date(rest) || rest == "-latest")
        })
        .max_by_key(|(name, ..)| name.len())
        .map(|&(_, input, output)| Price { input, output })
}

/// Reports whether the end of a model's name is a date, for instance `-2026-11-01`.
fn is_date(suffix: &str) -> bool {
    suffix
        .strip_prefix('-')
        .is_some_and(|date| date.starts_with(|c: char| c.is_ascii_digit()))
}

/// Strips the inference profile's region from a Bedrock model, and the vendor if it is Anthropic.
fn without_bedrock_prefix(model: &str) -> &str {
    const AREAS: [&str; 7] = ["us.", "eu.", "apac.", "global.", "jp.", "au.", "us-gov."];
    let model = AREAS
        .iter()
        .find_map(|area| model.strip_prefix(area))
        .unwrap_or(model);
    model.strip_prefix("anthropic.").unwrap_or(model)
}

fn is_o_series(model: &str) -> bool {
    let mut letters = model.chars();
    letters.next() == Some('o') && letters.next().is_some_and(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dated_model_costs_what_its_family_costs() {
        assert_eq!(price("gpt-6-luna-2026-09-01"), price("gpt-6-luna"));
        assert_eq!(price("gpt-6-luna-pro"), None, "another model is not a date");
        assert_eq!(price("my-own-model"), None);
    }

    #[test]
    fn every_default_model_has_a_price() {
        for provider in Provider::ALL {
            for api in apis(*provider) {
                if let Some(model) = default_model(*provider, *api) {
                    assert!(price(model).is_some(), "{model}");
                }
            }
        }
    }

    #[test]
    fn a_probe_never_pays_for_thinking_where_that_can_be_helped() {
        for (model, effort) in [
            ("gpt-6-luna", Some("none")),
            ("gpt-5-nano", Some("minimal")),
            ("gpt-5-2025-08-07", Some("minimal")),
            ("gpt-5.1", Some("none")),
            ("gpt-5-pro", Some("high")),
            ("gpt-5-codex", Some("low")),
            ("gpt-5.2-pro", Some("medium")),
            ("gpt-5.3-codex", Some("low")),
            ("gpt-5-chat-latest", None),
            ("gpt-5.1-chat-latest", None),
            ("o4-mini", Some("low")),
            ("gpt-4o-mini", None),
        ] {
            assert_eq!(default_effort(model), effort, "{model}");
            let tokens = if effort.is_some_and(is_thinking) {
                MAX_TOKENS_THINKING
            } else {
                MAX_TOKENS
            };
            assert_eq!(default_max_tokens(Some(model), None), tokens, "{model}");
        }
        let tokens = default_max_tokens(Some("gpt-5-mini"), Some("medium"));
        assert_eq!(tokens, MAX_TOKENS_THINKING, "what the user asked for");
        assert_eq!(thinking_off("claude-haiku-5-5"), Some("disabled"));
        assert_eq!(
            thinking_off("claude-sonnet-5-5-20261007"),
            Some("between_tools")
        );
        assert_eq!(thinking_off("claude-opus-5-5"), None, "it always thinks");
        assert_eq!(
            thinking_off("claude-haiku-4-5"),
            None,
            "it does not unless asked to"
        );
        assert_eq!(
            gemini_thinking("gemini-2.5-flash-lite"),
            Some(GeminiThinking::Budget(0))
        );
        assert_eq!(
            gemini_thinking("models/gemini-3.5-flash-lite"),
            Some(GeminiThinking::Level("MINIMAL"))
        );
        assert_eq!(ollama_thinking("qwen3:8b"), Some(None));
        assert_eq!(ollama_thinking("llama3.2"), None);
    }
}
