//! Bedrock's `Converse` and `ConverseStream`: one format for all vendors' models.

use serde_json::{Value, json};

use super::{
    Answer, ProbeRequest, Request, StreamEvent, TOOL_DESCRIPTION, append, below, count, error_in,
    is_text,
};
use crate::protocol::sigv4::encoded;

pub(super) fn request(ask: &ProbeRequest<'_>) -> Request {
    let endpoint = ask.endpoint;
    let verb = if endpoint.stream {
        "converse-stream"
    } else {
        "converse"
    };
    // A model may be an ARN, which contains colons and slashes.
    let model = encoded(endpoint.model.as_deref().unwrap_or_default(), b"");
    let url = below(&endpoint.base_url, &format!("/model/{model}/{verb}"));
    let key = endpoint.api_key.as_ref().map(|key| {
        (
            "authorization".to_owned(),
            format!("Bearer {}", key.expose()),
        )
    });
    ask.post(url, key.into_iter().collect(), || body_of(ask))
}

fn body_of(ask: &ProbeRequest<'_>) -> Value {
    let endpoint = ask.endpoint;
    let mut body = json!({
        "messages": [{"role": "user", "content": [{"text": ask.prompt()}]}],
        "inferenceConfig": {"maxTokens": endpoint.max_tokens},
    });
    if let Some(tier) = &endpoint.service_tier {
        body["serviceTier"] = json!({"type": tier});
    }
    if let Some(effort) = &endpoint.reasoning_effort {
        body["outputConfig"]["effort"] = json!(effort);
    }
    if let Some(tool) = &endpoint.expect.tool {
        body["toolConfig"] = json!({
            "tools": [{"toolSpec": {
                "name": tool,
                "description": TOOL_DESCRIPTION,
                "inputSchema": {"json": {"type": "object", "properties": {}}},
            }}],
            "toolChoice": {"tool": {"name": tool}},
        });
    }
    if let Some(schema) = ask.schema() {
        let schema = json!({"name": "answer", "schema": schema.to_string()});
        body["outputConfig"]["textFormat"] =
            json!({"type": "json_schema", "structure": {"jsonSchema": schema}});
    }
    body
}

/// Applies an event: an object whose only key is the event's name.
pub(super) fn event(answer: &mut Answer, event: &Value) -> StreamEvent {
    let Some((name, event)) = event.as_object().and_then(|e| e.iter().next()) else {
        return StreamEvent::Nothing;
    };
    match name.as_str() {
        "contentBlockStart" if is_text(&event["start"]["toolUse"]["name"]) => {
            answer.note_tool(&event["start"]["toolUse"]["name"]);
            StreamEvent::Text
        }
        "contentBlockDelta" => {
            let delta = &event["delta"];
            if append(&mut answer.text, &delta["text"]) {
                answer.appended()
            } else if delta["toolUse"].is_object() {
                answer.calls_tool = true;
                StreamEvent::Text
            } else if is_text(&delta["reasoningContent"]["text"]) {
                StreamEvent::Reasoning
            } else {
                StreamEvent::Nothing
            }
        }
        "messageStop" => {
            stop(answer, &event["stopReason"]);
            answer.complete = true;
            StreamEvent::Nothing
        }
        "metadata" => {
            usage(answer, &event["usage"]);
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

pub(super) fn body(answer: &mut Answer, document: &Value) {
    let Some(content) = document["output"]["message"]["content"].as_array() else {
        answer.malformed = true;
        return;
    };
    for block in content {
        append(&mut answer.text, &block["text"]);
        answer.note_tool(&block["toolUse"]["name"]);
    }
    usage(answer, &document["usage"]);
    stop(answer, &document["stopReason"]);
    answer.complete = true;
}

fn stop(answer: &mut Answer, reason: &Value) {
    match reason.as_str() {
        Some("model_context_window_exceeded") => answer.cut_by_length = true,
        Some("tool_use") => answer.calls_tool = true,
        Some("malformed_model_output" | "malformed_tool_use") => answer.malformed = true,
        _ => {}
    }
    match reason.as_str() {
        Some(reason) => answer.finish(reason),
        None => answer.lacks_finish_reason = true,
    }
}

/// Prompt cache tokens count as input.
fn usage(answer: &mut Answer, usage: &Value) {
    let parts = [
        "inputTokens",
        "cacheReadInputTokens",
        "cacheWriteInputTokens",
    ]
    .map(|key| count(&usage[key]));
    answer.input_tokens = parts[0].map(|_| {
        parts
            .iter()
            .flatten()
            .fold(0u32, |sum, n| sum.saturating_add(*n))
    });
    answer.output_tokens = count(&usage["outputTokens"]);
}
