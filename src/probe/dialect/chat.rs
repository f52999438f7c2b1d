//! OpenAI chat completions, Azure's variant and the compatible servers'.
//!
//! Read tolerantly, over `serde_json::Value`: unknown fields are ignored, codes may be texts or numbers, choices may be
//! missing (Azure's preamble, the usage chunk), `delta` may be missing (Azure's late annotations), and `finish_reason`
//! sticks once it was seen.

use serde_json::{Value, json};

use super::{Answer, Brought, Request, below};
use crate::model::{Endpoint, Provider};

pub(super) fn request(endpoint: &Endpoint) -> Request {
    let mut headers = vec![
        ("content-type".to_owned(), "application/json".to_owned()),
        ("accept".to_owned(), if endpoint.stream { "text/event-stream" } else { "application/json" }.to_owned()),
    ];
    let azure = endpoint.provider == Provider::AzureOpenAi;
    if let Some(key) = &endpoint.api_key {
        headers.push(if azure {
            ("api-key".to_owned(), key.expose().to_owned())
        } else {
            ("authorization".to_owned(), format!("Bearer {}", key.expose()))
        });
    }
    let v1 = endpoint.base_url.path().ends_with("/openai/v1");
    let url = match &endpoint.deployment {
        Some(deployment) if azure && !v1 => {
            let mut url = below(&endpoint.base_url, "/openai/deployments/");
            if let Ok(mut path) = url.path_segments_mut() {
                path.pop_if_empty().extend([deployment.as_str(), "chat", "completions"]);
            }
            url.query_pairs_mut().append_pair("api-version", endpoint.api_version.as_deref().unwrap_or_default());
            url
        }
        _ => below(&endpoint.base_url, "/chat/completions"),
    };
    let body = endpoint.body.clone().unwrap_or_else(|| built_body(endpoint, v1).to_string());
    Request { method: "POST".to_owned(), url, headers, body: body.into_bytes() }
}

fn built_body(endpoint: &Endpoint, v1: bool) -> Value {
    let azure = endpoint.provider == Provider::AzureOpenAi;
    // On Azure's v1 API the deployment's name stands where the model's does.
    let model =
        if azure && v1 { endpoint.deployment.as_ref().or(endpoint.model.as_ref()) } else { endpoint.model.as_ref() };
    let mut body = json!({
        "model": model,
        "messages": [{"role": "user", "content": endpoint.prompt}],
    });
    // Reasoning models refuse `max_tokens`; many compatible servers know nothing else.
    let budget = if endpoint.provider == Provider::OpenAiCompatible { "max_tokens" } else { "max_completion_tokens" };
    body[budget] = json!(endpoint.max_tokens);
    if let Some(effort) = &endpoint.reasoning_effort {
        body["reasoning_effort"] = json!(effort);
    }
    if endpoint.provider == Provider::OpenAi {
        // `auto` would follow a project's setting, and nothing of a probe is worth keeping.
        body["service_tier"] = json!("default");
        body["store"] = json!(false);
    }
    body["stream"] = json!(endpoint.stream);
    if endpoint.stream {
        let mut options = json!({"include_usage": true});
        if endpoint.provider == Provider::OpenAi {
            options["include_obfuscation"] = json!(false);
        }
        body["stream_options"] = options;
    }
    body
}

pub(super) fn event(answer: &mut Answer, data: &str) -> Brought {
    if data.starts_with("[DONE]") {
        answer.complete = true;
        return Brought::End;
    }
    let Ok(chunk) = serde_json::from_str::<Value>(data) else {
        answer.malformed = true;
        return Brought::Garbage;
    };
    common(answer, &chunk);
    let Some(choice) = chunk["choices"].get(0) else { return Brought::Nothing };
    finish(answer, choice);
    let delta = &choice["delta"];
    let text = append(&mut answer.text, &delta["content"]);
    let refusal = append(&mut answer.refusal, &delta["refusal"]);
    // A tool call is output too, though nobody asked for one.
    if text || refusal || delta["tool_calls"].as_array().is_some_and(|calls| !calls.is_empty()) {
        Brought::Text
    } else if ["reasoning_content", "reasoning"].iter().any(|k| delta[k].as_str().is_some_and(|s| !s.is_empty())) {
        Brought::Reasoning
    } else {
        Brought::Nothing
    }
}

pub(super) fn body(answer: &mut Answer, body: &str) {
    let Ok(whole) = serde_json::from_str::<Value>(body.trim()) else {
        answer.malformed = true;
        return;
    };
    common(answer, &whole);
    if answer.error.is_some() {
        return;
    }
    let Some(choice) = whole["choices"].get(0) else {
        answer.malformed = true;
        return;
    };
    finish(answer, choice);
    let message = &choice["message"];
    append(&mut answer.text, &message["content"]);
    append(&mut answer.refusal, &message["refusal"]);
    answer.complete = true;
}

/// What a chunk and a whole body have in common.
fn common(answer: &mut Answer, value: &Value) {
    for error in [&value["error"], &value["choices"][0]["error"]] {
        if is_something(error) && answer.error.is_none() {
            answer.error = Some(error.clone());
        }
    }
    let text = |key: &str| value[key].as_str().filter(|s| !s.is_empty()).map(str::to_owned);
    answer.model = answer.model.take().or_else(|| text("model"));
    answer.fingerprint = answer.fingerprint.take().or_else(|| text("system_fingerprint"));
    let usage = &value["usage"];
    let count = |keys: [&str; 2]| keys.iter().find_map(|k| usage[k].as_u64()).map(|n| n as u32);
    answer.input_tokens = count(["prompt_tokens", "input_tokens"]).or(answer.input_tokens);
    answer.output_tokens = count(["completion_tokens", "output_tokens"]).or(answer.output_tokens);
    let reasoning = usage["completion_tokens_details"]["reasoning_tokens"].as_u64();
    answer.reasoning_tokens = reasoning.map(|n| n as u32).or(answer.reasoning_tokens);
}

fn finish(answer: &mut Answer, choice: &Value) {
    let Some(reason) = choice["finish_reason"].as_str() else { return };
    answer.complete = true;
    match reason {
        "content_filter" => answer.filtered = true,
        "length" => answer.cut_by_length = true,
        "error" if answer.error.is_none() => answer.error = Some(json!({"message": "finish_reason is error"})),
        _ => {}
    }
    answer.finish_reason = Some(reason.to_owned());
}

/// Appends a text, or the texts of a list of parts; true if there was any.
fn append(text: &mut String, value: &Value) -> bool {
    let before = text.len();
    match value {
        Value::String(s) => text.push_str(s),
        Value::Array(parts) => parts.iter().filter_map(|p| p["text"].as_str()).for_each(|s| text.push_str(s)),
        _ => {}
    }
    text.len() > before
}

fn is_something(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false)) && value.as_str() != Some("")
}
