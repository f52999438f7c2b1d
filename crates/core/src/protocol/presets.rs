//! Vendors with an OpenAI-compatible API: base URL, the cheap model that is probed by default, and
//! status page. From the vendors' documentation and price lists on 2026-11-23.

use crate::model::{Api, Provider};

/// The preset of one vendor.
#[derive(Debug, Clone, Copy)]
pub struct Preset {
    /// The vendor.
    pub provider: Provider,
    /// The base URL, with the version.
    pub base_url: &'static str,
    /// The default chat model.
    pub model: &'static str,
    /// The APIs that it supports.
    pub apis: &'static [Api],
    /// Its status page, if the platform is supported.
    pub status_page: Option<StatusPage>,
}

/// A status page and the platform that it runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusPage {
    /// Atlassian Statuspage.
    Statuspage(&'static str),
    /// incident.io.
    IncidentIo(&'static str),
    /// Instatus.
    Instatus(&'static str),
    /// Better Stack.
    BetterStack(&'static str),
    /// An RSS or Atom feed.
    Rss(&'static str),
}

const CHAT: &[Api] = &[Api::Chat, Api::Models, Api::Http];
const CHAT_AND_EMBEDDINGS: &[Api] = &[Api::Chat, Api::Embeddings, Api::Models, Api::Http];

/// Returns the preset of `provider`; `None` if it has none.
pub fn of(provider: Provider) -> Option<Preset> {
    let (base_url, model, apis, status_page) = match provider {
        Provider::Groq => (
            "https://api.groq.com/openai/v1",
            "openai/gpt-oss-20b",
            CHAT,
            Some(StatusPage::IncidentIo(
                "https://groqstatus.com/api/v2/summary.json",
            )),
        ),
        Provider::Mistral => (
            "https://api.mistral.ai/v1",
            "ministral-3b-latest",
            CHAT_AND_EMBEDDINGS,
            Some(StatusPage::Instatus(
                "https://status.mistral.ai/summary.json",
            )),
        ),
        Provider::Cohere => (
            "https://api.cohere.ai/compatibility/v1",
            "command-r7b-12-2024",
            &[Api::Chat, Api::Embeddings, Api::Http][..],
            Some(StatusPage::IncidentIo(
                "https://status.cohere.com/api/v2/summary.json",
            )),
        ),
        Provider::DeepSeek => (
            "https://api.deepseek.com/v1",
            "deepseek-v4-flash",
            CHAT,
            Some(StatusPage::Statuspage(
                "https://status.deepseek.com/api/v2/summary.json",
            )),
        ),
        Provider::XAi => (
            "https://api.x.ai/v1",
            "grok-4.20-0309-non-reasoning",
            CHAT,
            Some(StatusPage::Rss("https://status.x.ai/feed.xml")),
        ),
        Provider::Together => (
            "https://api.together.xyz/v1",
            "meta-llama/Llama-3.2-3B-Instruct",
            CHAT_AND_EMBEDDINGS,
            Some(StatusPage::BetterStack(
                "https://status.together.ai/index.json",
            )),
        ),
        Provider::Fireworks => (
            "https://api.fireworks.ai/inference/v1",
            "accounts/fireworks/models/gpt-oss-20b",
            CHAT_AND_EMBEDDINGS,
            Some(StatusPage::IncidentIo(
                "https://status.fireworks.ai/api/v2/summary.json",
            )),
        ),
        Provider::Cerebras => ("https://api.cerebras.ai/v1", "llama3.1-8b", CHAT, None),
        Provider::OpenRouter => (
            "https://openrouter.ai/api/v1",
            "openai/gpt-6-luna",
            CHAT,
            None,
        ),
        Provider::Perplexity => (
            "https://api.perplexity.ai",
            "sonar",
            &[Api::Chat, Api::Http][..],
            None,
        ),
        Provider::Moonshot => ("https://api.moonshot.ai/v1", "moonshot-v1-8k", CHAT, None),
        Provider::Zhipu => (
            "https://open.bigmodel.cn/api/paas/v4",
            "glm-5.3-flash",
            CHAT_AND_EMBEDDINGS,
            None,
        ),
        Provider::MiniMax => (
            "https://api.minimax.io/v1",
            "MiniMax-M3",
            &[Api::Chat, Api::Http][..],
            None,
        ),
        Provider::DashScope => (
            "https://dashscope.aliyuncs.com/compatible-mode/v1",
            "qwen3.8-flash",
            CHAT_AND_EMBEDDINGS,
            None,
        ),
        _ => return None,
    };
    Some(Preset {
        provider,
        base_url,
        model,
        apis,
        status_page,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::catalog;
    use url::Url;

    #[test]
    fn every_preset_is_complete() {
        for provider in Provider::ALL {
            assert_eq!(of(*provider).is_some(), provider.is_preset(), "{provider}");
            let Some(preset) = of(*provider) else {
                continue;
            };
            let url = Url::parse(preset.base_url).unwrap();
            assert_eq!(url.scheme(), "https", "{provider}");
            assert!(!preset.base_url.ends_with('/'), "{provider}");
            assert!(
                preset.apis.contains(&catalog::default_api(*provider)),
                "{provider}"
            );
            assert!(catalog::price(preset.model).is_some(), "{provider}");
        }
    }
}
