//! OpenAI chat completions, on Azure, Vertex AI and compatible servers too.
//!
//! Parsed leniently, as `serde_json::Value`: unknown fields are ignored, and codes may be texts or
//! numbers. `choices` may be missing (Azure's preamble, the usage chunk), and so may `delta`
//! (Azure's late annotations). `finish_reason` is kept once seen.

use serde_json::{Value, json};

use super::{
    Answer, ProbeRequest, Request, StreamEvent, TOOL_DESCRIPTION, append, count, error_in,
    has_thoughts, is_something, text_of,
};
use crate::model::{Google, Provider};

/// Parts of the key names that compatible servers use for reasoning.
const REASONING_KEYS: [&str; 3] = ["reasoning", "thinking", "thought"];

pub(super) fn request(ask: &ProbeRequest<'_>) -> Request {
    match &ask.endpoint.google {
        Some(google) => on_vertex(ask, google),
        None => ask.openai("chat/completions", true, || body_of(ask)),
    }
}

/// A model of another vendor on Vertex AI, named `PUBLISHER/MODEL`. Mistral's have no path of
/// OpenAI's there.
fn on_vertex(ask: &ProbeRequest<'_>, google: &Google) -> Request {
    let model = ask.endpoint.model.as_deref().unwrap_or_default();
    let Some(name) = model.strip_prefix("mistralai/") else {
        let url = ask.of_project(google, "/endpoints/openapi/chat/completions");
        return ask.post(url, ask.openai_key(), || body_of(ask));
    };
    let url = ask.of_partner(google, "mistralai", name);
    ask.post(url, ask.openai_key(), || {
        let mut body = body_of(ask);
        body["model"] = json!(name);
        body
    })
}

fn body_of(ask: &ProbeRequest<'_>) -> Value {
    let endpoint = ask.endpoint;
    let mut body = json!({
        "model": ask.model(),
        "messages": [{"role": "user", "content": ask.prompt()}],
    });
    let [budget, _] = ask.budget_names();
    body[budget] = json!(endpoint.max_tokens);
    if let Some(effort) = &endpoint.reasoning_effort {
        body["reasoning_effort"] = json!(effort);
    }
    if endpoint.provider == Provider::OpenAi {
        // `auto` would follow a project's setting. A probe's answer need not be stored.
        body["service_tier"] = json!("default");
        body["store"] = json!(false);
    }
    if let Some(tier) = &endpoint.service_tier {
        body["service_tier"] = json!(tier);
    }
    if let Some(tool) = &endpoint.expect.tool {
        let function = json!({
            "name": tool,
            "description": TOOL_DESCRIPTION,
            "parameters": {"type": "object", "properties": {}},
        });
        body["tools"] = json!([{"type": "function", "function": function}]);
        body["tool_choice"] = json!({"type": "function", "function": {"name": tool}});
    }
    let is_router = endpoint.provider == Provider::OpenRouter
        || endpoint
            .base_url
            .domain()
            .is_some_and(|host| host == "openrouter.ai" || host.ends_with(".openrouter.ai"));
    if is_router {
        // A router that falls back to another provider would hide an outage.
        body["provider"] = json!({"allow_fallbacks": false});
    }
    if let Some(schema) = ask.named_schema() {
        body["response_format"] = json!({"type": "json_schema", "json_schema": schema});
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

pub(super) fn event(answer: &mut Answer, chunk: &Value) -> StreamEvent {
    common(answer, chunk);
    if answer.error.is_some() {
        return StreamEvent::End;
    }
    let Some(choice) = chunk["choices"].get(0) else {
        return StreamEvent::Nothing;
    };
    finish(answer, choice);
    let delta = &choice["delta"];
    let text = append(&mut answer.text, &delta["content"]);
    let refusal = append(&mut answer.refusal, &delta["refusal"]);
    // A tool call is output too, even if unrequested.
    let calls = has_calls(delta);
    answer.calls_tool |= calls;
    note_calls(answer, delta);
    if refusal || calls {
        StreamEvent::Text
    } else if text {
        answer.appended()
    } else if has_thoughts(&delta["content"]) || has_reasoning(delta) {
        StreamEvent::Reasoning
    } else {
        StreamEvent::Nothing
    }
}

pub(super) fn body(answer: &mut Answer, document: &Value) {
    common(answer, document);
    if answer.error.is_some() {
        return;
    }
    let Some(choice) = document["choices"].get(0) else {
        answer.malformed = true;
        return;
    };
    finish(answer, choice);
    let message = &choice["message"];
    append(&mut answer.text, &message["content"]);
    append(&mut answer.refusal, &message["refusal"]);
    answer.calls_tool |= has_calls(message);
    note_calls(answer, message);
    answer.complete = true;
    answer.lacks_finish_reason = answer.finish_reason.is_none();
}

/// Records the names of called tools; in a stream, the first chunk of a call has it.
fn note_calls(answer: &mut Answer, message: &Value) {
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        answer.note_tool(&call["function"]["name"]);
    }
    answer.note_tool(&message["function_call"]["name"]);
}

fn has_calls(message: &Value) -> bool {
    message["tool_calls"]
        .as_array()
        .is_some_and(|calls| !calls.is_empty())
        || message["function_call"].is_object()
}

/// Reports whether there is reasoning beside the content. Signatures and counts do not count.
fn has_reasoning(delta: &Value) -> bool {
    delta.as_object().into_iter().flatten().any(|(key, value)| {
        let names_it = REASONING_KEYS.iter().any(|part| key.contains(part));
        names_it && !key.ends_with("signature") && !value.is_number() && is_something(value)
    })
}

/// Reads the fields that chunks and complete bodies share.
fn common(answer: &mut Answer, value: &Value) {
    for place in [value, &value["choices"][0]] {
        if answer.error.is_none() {
            answer.error = error_in(place);
        }
    }
    answer.model = answer.model.take().or_else(|| text_of(&value["model"]));
    answer.fingerprint = answer
        .fingerprint
        .take()
        .or_else(|| text_of(&value["system_fingerprint"]));
    usage(answer, &value["usage"]);
}

/// Reads OpenAI's token counts, under the names of both its APIs.
pub(super) fn usage(answer: &mut Answer, usage: &Value) {
    let input = count(&usage["prompt_tokens"]).or(count(&usage["input_tokens"]));
    answer.input_tokens = input.or(answer.input_tokens);
    let output = count(&usage["completion_tokens"]).or(count(&usage["output_tokens"]));
    answer.output_tokens = output.or(answer.output_tokens);
    let details = ["completion_tokens_details", "output_tokens_details"];
    let reasoning = details
        .iter()
        .find_map(|k| count(&usage[k]["reasoning_tokens"]));
    answer.reasoning_tokens = reasoning.or(answer.reasoning_tokens);
}

fn finish(answer: &mut Answer, choice: &Value) {
    // Some compatible servers send an empty text instead of null, or a camel case name.
    let reason = ["finish_reason", "finishReason"]
        .iter()
        .find_map(|key| text_of(&choice[*key]));
    if let Some(reason) = reason {
        answer.complete = true;
        answer.finish(&reason);
    }
}
