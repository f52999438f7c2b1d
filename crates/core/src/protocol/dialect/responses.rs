//! OpenAI's Responses API, on Azure too.
//!
//! Every stream event is named by its `type`. The last is `response.completed`,
//! `response.incomplete` or `response.failed`. An error event is either flat or nested.

use serde_json::{Value, json};

use super::{
    Answer, ProbeRequest, Request, StreamEvent, TOOL_DESCRIPTION, append, chat, error_in,
    is_something, is_text, text_of,
};
use crate::model::Provider;

/// The API rejects a smaller budget.
const LEAST_TOKENS: u32 = 16;

pub(super) fn request(ask: &ProbeRequest<'_>) -> Request {
    ask.openai("responses", false, || body_of(ask))
}

fn body_of(ask: &ProbeRequest<'_>) -> Value {
    let endpoint = ask.endpoint;
    let mut body = json!({
        "model": ask.model(),
        "input": ask.prompt(),
        "max_output_tokens": endpoint.max_tokens.max(LEAST_TOKENS),
        // Otherwise the response would be stored for a month.
        "store": false,
    });
    if let Some(effort) = &endpoint.reasoning_effort {
        body["reasoning"] = json!({"effort": effort});
        body["text"] = json!({"verbosity": "low"});
    }
    if let Some(mut schema) = ask.named_schema() {
        schema["type"] = json!("json_schema");
        body["text"]["format"] = schema;
    }
    if endpoint.provider == Provider::OpenAi {
        body["service_tier"] = json!("default");
    }
    if let Some(tier) = &endpoint.service_tier {
        body["service_tier"] = json!(tier);
    }
    if let Some(tool) = &endpoint.expect.tool {
        body["tools"] = json!([{
            "type": "function",
            "name": tool,
            "description": TOOL_DESCRIPTION,
            "parameters": {"type": "object", "properties": {}},
        }]);
        body["tool_choice"] = json!({"type": "function", "name": tool});
    }
    body["stream"] = json!(endpoint.stream);
    if endpoint.stream && endpoint.provider == Provider::OpenAi {
        body["stream_options"] = json!({"include_obfuscation": false});
    }
    body
}

pub(super) fn event(answer: &mut Answer, event: &Value) -> StreamEvent {
    let kind = event["type"].as_str().unwrap_or_default();
    let delta = &event["delta"];
    match kind {
        "response.output_text.delta" if append(&mut answer.text, delta) => answer.appended(),
        // For a server that sends the text only at the end.
        "response.output_text.done"
            if answer.text.is_empty() && append(&mut answer.text, &event["text"]) =>
        {
            StreamEvent::Text
        }
        "response.refusal.delta" if append(&mut answer.refusal, delta) => StreamEvent::Text,
        "response.reasoning_summary_text.delta" | "response.reasoning_text.delta"
            if is_text(delta) =>
        {
            StreamEvent::Reasoning
        }
        "response.output_item.added" if event["item"]["type"] == "function_call" => {
            answer.note_tool(&event["item"]["name"]);
            StreamEvent::Text
        }
        "response.function_call_arguments.delta" => {
            answer.calls_tool = true;
            StreamEvent::Text
        }
        "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled" => {
            complete_response(answer, &event["response"]);
            if kind != "response.completed"
                && kind != "response.incomplete"
                && answer.error.is_none()
            {
                answer.error = Some(json!({"message": kind}));
            }
            answer.complete = true;
            StreamEvent::End
        }
        _ => {
            answer.model = answer
                .model
                .take()
                .or_else(|| text_of(&event["response"]["model"]));
            answer.error = error_in(event);
            if answer.error.is_some() {
                StreamEvent::End
            } else {
                StreamEvent::Nothing
            }
        }
    }
}

pub(super) fn body(answer: &mut Answer, response: &Value) {
    if !response["output"].is_array() && !response["status"].is_string() {
        answer.malformed = true;
        return;
    }
    complete_response(answer, response);
    answer.complete = true;
}

/// Parses a response object: the last event of a stream, or the body.
fn complete_response(answer: &mut Answer, response: &Value) {
    answer.model = text_of(&response["model"]).or(answer.model.take());
    chat::usage(answer, &response["usage"]);
    if is_something(&response["error"]) {
        answer.error = Some(response["error"].clone());
    }
    let status = response["status"].as_str();
    let reason = response["incomplete_details"]["reason"].as_str();
    match (status, reason) {
        (_, Some("max_output_tokens" | "max_tokens")) => answer.cut_by_length = true,
        (_, Some("content_filter")) => answer.filtered = true,
        (Some("failed" | "cancelled"), _) if answer.error.is_none() => {
            answer.error =
                Some(json!({"message": format!("the response is {}", status.unwrap_or_default())}));
        }
        _ => {}
    }
    answer.finish_reason = reason
        .or(status)
        .map(str::to_owned)
        .or(answer.finish_reason.take());
    // For a server that sent no deltas, the entire text is here.
    if !answer.text.is_empty() || !answer.refusal.is_empty() {
        return;
    }
    for item in response["output"].as_array().into_iter().flatten() {
        answer.calls_tool |= item["type"].as_str().is_some_and(|t| t.ends_with("_call"));
        if item["type"] == "function_call" && answer.tools.is_empty() {
            answer.note_tool(&item["name"]);
        }
        for part in item["content"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|_| item["type"] == "message")
        {
            append(&mut answer.text, &part["text"]);
            append(&mut answer.refusal, &part["refusal"]);
        }
    }
}
