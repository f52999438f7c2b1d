//! The list of models. It says little about a provider's health, but it is free and shows whether
//! the key is valid and which models will be shut down. Parses the formats of OpenAI, Anthropic,
//! Gemini and Ollama.

use serde_json::Value;

use super::{Answer, Credit, ProbeRequest, Request, Retirement, below, generate, joined, messages};
use crate::model::{Endpoint, Provider};
use crate::protocol::catalog;

/// How providers call the model that takes the place of one.
const SUCCESSORS: [&str; 3] = [
    "deprecation_replacement_model",
    "replacement_model",
    "replacement",
];
/// The most characters of a currency's name.
const MAX_CURRENCY: usize = 8;

pub(super) fn request(ask: &ProbeRequest<'_>) -> Request {
    let base = &ask.endpoint.base_url;
    if is_credit(ask.endpoint) {
        return Request {
            method: "GET".to_owned(),
            url: credit_url(ask.endpoint),
            headers: ask.openai_key(),
            body: Vec::new(),
        };
    }
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

/// Whether the account's credit is asked for instead of the models.
fn is_credit(endpoint: &Endpoint) -> bool {
    catalog::credit_paths(endpoint.provider).contains(&endpoint.path.as_str())
}

fn credit_url(endpoint: &Endpoint) -> url::Url {
    let mut base = endpoint.base_url.clone();
    if endpoint.provider == Provider::DeepSeek {
        // The balance has no version in its path.
        let path = base.path().trim_end_matches('/');
        let path = path.strip_suffix("/v1").unwrap_or(path).to_owned();
        base.set_path(&path);
    }
    joined(&base, &endpoint.path)
}

/// The credit in an answer of OpenRouter's or DeepSeek's.
fn credit(document: &Value) -> Option<Credit> {
    let data = &document["data"];
    if let (Some(bought), Some(used)) =
        (data["total_credits"].as_f64(), data["total_usage"].as_f64())
    {
        return Some(Credit {
            left: bought - used,
            currency: "USD".to_owned(),
        });
    }
    if let Some(left) = data["limit_remaining"].as_f64() {
        return Some(Credit {
            left,
            currency: "USD".to_owned(),
        });
    }
    let balances = document["balance_infos"].as_array()?.iter();
    let balances = balances.filter_map(|info| {
        let total = &info["total_balance"];
        let left = total
            .as_f64()
            .or_else(|| total.as_str()?.trim().parse().ok())?;
        let currency = info["currency"].as_str()?;
        let is_name = (1..=MAX_CURRENCY).contains(&currency.len())
            && currency.bytes().all(|b| b.is_ascii_alphabetic());
        (left.is_finite() && is_name).then(|| Credit {
            left,
            currency: currency.to_owned(),
        })
    });
    // An account may have one in each currency; one that is empty says nothing while another is
    // not.
    balances.reduce(|first, next| if first.left > 0.0 { first } else { next })
}

pub(super) fn body(answer: &mut Answer, document: &Value) {
    answer.credit = credit(document);
    if answer.credit.is_some() {
        answer.complete = true;
        return;
    }
    let Some(list) = ["data", "models"]
        .iter()
        .find_map(|key| document[key].as_array())
        .or(document.as_array())
    else {
        answer.malformed = true;
        return;
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
        answer.retiring.extend(end.map(|date| {
            Retirement {
                model: id.clone(),
                date: date.to_owned(),
                successor: SUCCESSORS
                    .iter()
                    .find_map(|key| model[key].as_str())
                    .map(str::to_owned),
            }
        }));
        answer.text += &id;
        answer.text.push('\n');
    }
    answer.complete = true;
}

fn id_of(model: &Value) -> Option<String> {
    let id = ["id", "name", "model"]
        .iter()
        .find_map(|key| model[key].as_str())?;
    Some(id.strip_prefix("models/").unwrap_or(id).to_owned())
}
