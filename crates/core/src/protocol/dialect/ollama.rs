//! Ollama's native chat: newline-delimited JSON. The last line has the duration of each step,
//! including loading the model.

use serde_json::{Value, json};

use super::{
    Answer, ProbeRequest, Request, StreamEvent, TOOL_DESCRIPTION, append, below, count, error_in,
    is_text, text_of,
};
use crate::protocol::catalog;

const NANOS_PER_MS: f64 = 1e6;

pub(super) fn request(ask: &ProbeRequest<'_>) -> Request {
    let mut base = ask.endpoint.base_url.clone();
    // The native API is a sibling of the compatible one, not below it.
    if let Some(root) = base.path().strip_suffix("/v1").map(str::to_owned) {
        base.set_path(&root);
    }

    let api_key = ask.endpoint.api_key.as_ref();
    let headers = api_key.map(super::bearer).into_iter().collect();
    ask.post(below(&base, "/api/chat"), headers, || body_of(ask))
}

fn body_of(ask: &ProbeRequest<'_>) -> Value {
    let endpoint = ask.endpoint;
    let mut body = json!({
        "model": endpoint.model,
        "messages": [{"role": "user", "content": ask.prompt()}],
        "stream": endpoint.stream,
        "keep_alive": "5m",
        "options": {"num_predict": endpoint.max_tokens},
    });
    // Only thinking models accept the setting; others reject it.
    match (
        &endpoint.reasoning_effort,
        endpoint.model.as_deref().and_then(catalog::ollama_thinking),
    ) {
        (Some(effort), _) => body["think"] = json!(effort),
        (None, Some(level)) => body["think"] = level.map_or(json!(false), |l| json!(l)),
        (None, None) => {}
    }
    if let Some(tool) = &endpoint.expect.tool {
        let function = json!({
            "name": tool,
            "description": TOOL_DESCRIPTION,
            "parameters": {"type": "object", "properties": {}},
        });
        body["tools"] = json!([{"type": "function", "function": function}]);
    }
    if let Some(schema) = ask.schema() {
        body["format"] = schema.clone();
    }
    body
}

pub(super) fn event(answer: &mut Answer, line: &Value) -> StreamEvent {
    answer.error = error_in(line);
    if answer.error.is_some() {
        return StreamEvent::End;
    }
    answer.model = answer.model.take().or_else(|| text_of(&line["model"]));
    let message = &line["message"];
    let text = append(&mut answer.text, &message["content"]);
    let calls = message["tool_calls"]
        .as_array()
        .is_some_and(|calls| !calls.is_empty());
    answer.calls_tool |= calls;
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        answer.note_tool(&call["function"]["name"]);
    }
    if line["done"] == json!(true) {
        answer.complete = true;
        if let Some(reason) = text_of(&line["done_reason"]) {
            answer.finish(&reason);
        }
        answer.input_tokens = count(&line["prompt_eval_count"]);
        answer.output_tokens = count(&line["eval_count"]);
        answer.load_ms = line["load_duration"].as_f64().map(|ns| ns / NANOS_PER_MS);
    }
    if calls {
        StreamEvent::Text
    } else if text {
        answer.appended()
    } else if is_text(&message["thinking"]) {
        StreamEvent::Reasoning
    } else if answer.complete {
        StreamEvent::End
    } else {
        StreamEvent::Nothing
    }
}

pub(super) fn body(answer: &mut Answer, document: &Value) {
    if !document["message"].is_object() && document["done"].is_null() {
        answer.malformed = true;
        return;
    }
    event(answer, document);
    answer.complete |= answer.error.is_none();
}
