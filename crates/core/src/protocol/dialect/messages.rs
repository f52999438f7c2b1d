//! Anthropic's Messages API.
//!
//! No sampling parameters: the current API version rejects them. Whether and how thinking can be
//! turned off depends on the model. Unknown events are ignored, as its versioning policy requires.
//! On Vertex AI the model is part of the URL, and the version of the body.

use serde_json::{Value, json};

use super::{
    Answer, ProbeRequest, Request, StreamEvent, TOOL_DESCRIPTION, append, below, count, error_in,
    is_text, text_of,
};
use crate::model::Google;
use crate::protocol::catalog;

/// The version of the Messages API on Vertex AI.
const VERTEX_VERSION: &str = "vertex-2023-10-16";

pub(super) fn request(ask: &ProbeRequest<'_>) -> Request {
    if let Some(google) = &ask.endpoint.google {
        return on_vertex(ask, google);
    }
    ask.post(
        below(&ask.endpoint.base_url, "/v1/messages"),
        headers(ask),
        || body_of(ask),
    )
}

fn on_vertex(ask: &ProbeRequest<'_>, google: &Google) -> Request {
    let model = ask.endpoint.model.as_deref().unwrap_or_default();
    let url = ask.of_partner(google, "anthropic", model);
    ask.post(url, ask.openai_key(), || {
        let mut body = body_of(ask);
        if let Some(body) = body.as_object_mut() {
            body.remove("model");
        }
        body["anthropic_version"] = json!(VERTEX_VERSION);
        body
    })
}

pub(super) fn headers(ask: &ProbeRequest<'_>) -> Vec<(String, String)> {
    let version = ask.endpoint.api_version.clone().unwrap_or_default();
    let mut headers = vec![("anthropic-version".to_owned(), version)];
    headers.extend(
        ask.endpoint
            .api_key
            .as_ref()
            .map(|key| ("x-api-key".to_owned(), key.expose().to_owned())),
    );
    headers
}

fn body_of(ask: &ProbeRequest<'_>) -> Value {
    let endpoint = ask.endpoint;
    let mut body = json!({
        "model": endpoint.model,
        "max_tokens": endpoint.max_tokens,
        "messages": [{"role": "user", "content": ask.prompt()}],
        "stream": endpoint.stream,
    });
    if let Some(effort) = &endpoint.reasoning_effort {
        body["output_config"]["effort"] = json!(effort);
    } else if let Some(kind) = endpoint.model.as_deref().and_then(catalog::thinking_off) {
        body["thinking"] = json!({"type": kind});
    }
    if let Some(tier) = &endpoint.service_tier {
        body["service_tier"] = json!(tier);
    }
    if let Some(tool) = &endpoint.expect.tool {
        body["tools"] = json!([{
            "name": tool,
            "description": TOOL_DESCRIPTION,
            "input_schema": {"type": "object", "properties": {}},
        }]);
        body["tool_choice"] = json!({"type": "tool", "name": tool});
    }
    if let Some(schema) = ask.schema() {
        body["output_config"]["format"] = json!({"type": "json_schema", "schema": schema});
    }
    body
}

pub(super) fn event(answer: &mut Answer, event: &Value) -> StreamEvent {
    match event["type"].as_str().unwrap_or_default() {
        "message_start" => {
            let message = &event["message"];
            answer.model = text_of(&message["model"]);
            usage(answer, &message["usage"]);
            StreamEvent::Nothing
        }
        "content_block_start" if append(&mut answer.text, &event["content_block"]["text"]) => {
            answer.appended()
        }
        "content_block_start" if event["content_block"]["type"] == "tool_use" => {
            answer.note_tool(&event["content_block"]["name"]);
            StreamEvent::Text
        }
        "content_block_delta" => {
            let delta = &event["delta"];
            match delta["type"].as_str().unwrap_or_default() {
                "text_delta" if append(&mut answer.text, &delta["text"]) => answer.appended(),
                "thinking_delta" if is_text(&delta["thinking"]) => StreamEvent::Reasoning,
                "input_json_delta" => {
                    answer.calls_tool = true;
                    StreamEvent::Text
                }
                _ => StreamEvent::Nothing,
            }
        }
        "message_delta" => {
            stop(answer, &event["delta"]["stop_reason"]);
            usage(answer, &event["usage"]);
            StreamEvent::Nothing
        }
        "message_stop" => {
            answer.complete = true;
            StreamEvent::End
        }
        _ => {
            answer.error = error_in(event);
            if answer.error.is_some() {
                StreamEvent::End
            } else {
                StreamEvent::Nothing
            }
        }
    }
}

pub(super) fn body(answer: &mut Answer, message: &Value) {
    let Some(content) = message["content"].as_array() else {
        answer.malformed = true;
        return;
    };
    answer.model = text_of(&message["model"]);
    usage(answer, &message["usage"]);
    stop(answer, &message["stop_reason"]);
    for block in content {
        match block["type"].as_str().unwrap_or_default() {
            "text" => {
                append(&mut answer.text, &block["text"]);
            }
            "tool_use" => answer.note_tool(&block["name"]),
            _ => {}
        }
    }
    answer.complete = true;
}

fn stop(answer: &mut Answer, reason: &Value) {
    let Some(reason) = reason.as_str() else {
        return;
    };
    match reason {
        "model_context_window_exceeded" => answer.cut_by_length = true,
        // A tool without arguments is called by the start of its block alone.
        "tool_use" => answer.calls_tool = true,
        _ => {}
    }
    answer.finish(reason);
}

/// Reads the token counts. Later counts are cumulative and replace earlier ones. Prompt cache
/// tokens count as input.
fn usage(answer: &mut Answer, usage: &Value) {
    let parts = [
        "input_tokens",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
    ]
    .map(|k| count(&usage[k]));
    if parts[0].is_some() {
        answer.input_tokens = Some(
            parts
                .iter()
                .flatten()
                .fold(0u32, |sum, n| sum.saturating_add(*n)),
        );
    }
    answer.output_tokens = count(&usage["output_tokens"]).or(answer.output_tokens);
    answer.reasoning_tokens =
        count(&usage["output_tokens_details"]["thinking_tokens"]).or(answer.reasoning_tokens);
}
