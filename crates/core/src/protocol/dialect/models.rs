//! The list of models. It says little about a provider's health, but it is free and shows whether
//! the key is valid and which models will be shut down. Parses the formats of OpenAI, Anthropic,
//! Gemini and Ollama.

use serde_json::Value;

use super::{Answer, ProbeRequest, Request, below, generate, messages};
use crate::model::Provider;

pub(super) fn request(ask: &ProbeRequest<'_>) -> Request {
    let base = &ask.endpoint.base_url;
    let (mut url, headers) = match ask.endpoint.provider {
        Provider::Anthropic => (below(base, "/v1/models"), messages::headers(ask)),
        Provider::Gemini => (
            generate::below_version(ask, "/models"),
            generate::headers(ask),
        ),
        _ => (below(base, "/models"), ask.openai_key()),
    };
    match ask.endpoint.provider {
        Provider::Anthropic => url.set_query(Some("limit=1000")),
        Provider::Gemini => url.set_query(Some("pageSize=1000")),
        _ => {}
    }
    Request {
        method: "GET".to_owned(),
        url,
        headers,
        body: Vec::new(),
    }
}

pub(super) fn body(answer: &mut Answer, document: &Value) {
    let Some(list) = ["data", "models"]
        .iter()
        .find_map(|key| document[key].as_array())
        .or(document.as_array())
    else {
        answer.malformed = true;
        return;
    };
    let id_of = |model: &Value| {
        let id = ["id", "name", "model"]
            .iter()
            .find_map(|key| model[key].as_str())?;
        Some(id.strip_prefix("models/").unwrap_or(id).to_owned())
    };
    for model in list {
        let Some(id) = id_of(model) else { continue };
        // OpenAI, Anthropic, gateways, Mistral, OpenRouter.
        let end = [
            "shutdown_date",
            "retires_at",
            "deprecation_date",
            "deprecation",
            "expiration_date",
        ]
        .iter()
        .find_map(|key| model[key].as_str());
        answer
            .retiring
            .extend(end.map(|date| (id.clone(), date.to_owned())));
        answer.text += &id;
        answer.text.push('\n');
    }
    answer.complete = true;
}
