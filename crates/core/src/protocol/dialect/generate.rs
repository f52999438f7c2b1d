//! Gemini's `generateContent` and `streamGenerateContent`, on Google AI and on Vertex AI.
//!
//! A stream has no sentinel: it ends after the chunk with `finishReason`. A blocked prompt has no
//! candidates. Events of the Interactions API are supported as well.

use serde_json::{Value, json};
use url::Url;

use super::{
    Answer, ProbeRequest, Request, StreamEvent, TOOL_DESCRIPTION, append, below, count, error_in,
    is_text, text_of,
};
use crate::protocol::catalog::{self, GeminiThinking};

/// Finish reasons that mean that a filter intervened.
const FILTERED: [&str; 9] = [
    "SAFETY",
    "RECITATION",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION",
    "MODEL_ARMOR",
];

pub(super) fn request(ask: &ProbeRequest<'_>) -> Request {
    let model = ask.endpoint.model.as_deref().unwrap_or_default();
    let verb = if ask.endpoint.stream {
        "streamGenerateContent"
    } else {
        "generateContent"
    };
    let path = format!("/models/{}:{verb}", model.trim_start_matches("models/"));
    let mut url = match &ask.endpoint.google {
        Some(google) => ask.of_project(google, &format!("/publishers/google{path}")),
        None => below_version(ask, &path),
    };
    if ask.endpoint.stream {
        url.set_query(Some("alt=sse"));
    }
    ask.post(url, headers(ask), || body_of(ask))
}

/// Reports whether a segment of a path names an API version, for instance `v1beta`.
fn is_version(segment: &str) -> bool {
    let digits = segment.strip_prefix('v').unwrap_or_default();
    digits.starts_with(|c: char| c.is_ascii_digit())
}

/// Returns the URL of `path` below the base URL and the API version. If the base URL already has a
/// version, as on Vertex AI, it is not repeated.
pub(super) fn below_version(ask: &ProbeRequest<'_>, path: &str) -> Url {
    let base = &ask.endpoint.base_url;
    if base.path().split('/').any(is_version) {
        below(base, path)
    } else {
        let version = ask.endpoint.api_version.as_deref().unwrap_or("v1beta");
        below(base, &format!("/{version}{path}"))
    }
}

pub(super) fn headers(ask: &ProbeRequest<'_>) -> Vec<(String, String)> {
    match ask.token() {
        Some(token) => vec![("authorization".to_owned(), format!("Bearer {token}"))],
        None => ask
            .endpoint
            .api_key
            .as_ref()
            .map(|key| ("x-goog-api-key".to_owned(), key.expose().to_owned()))
            .into_iter()
            .collect(),
    }
}

fn body_of(ask: &ProbeRequest<'_>) -> Value {
    let endpoint = ask.endpoint;
    let mut settings = json!({"maxOutputTokens": endpoint.max_tokens});
    let thinking = match &endpoint.reasoning_effort {
        Some(effort) => Some(json!({"thinkingLevel": effort.to_ascii_uppercase()})),
        None => endpoint
            .model
            .as_deref()
            .and_then(catalog::gemini_thinking)
            .map(|t| match t {
                GeminiThinking::Budget(tokens) => json!({"thinkingBudget": tokens}),
                GeminiThinking::Level(level) => json!({"thinkingLevel": level}),
            }),
    };
    if let Some(thinking) = thinking {
        settings["thinkingConfig"] = thinking;
    }
    if let Some(schema) = ask.schema() {
        settings["responseMimeType"] = json!("application/json");
        settings["responseJsonSchema"] = schema.clone();
    }
    let mut body = json!({
        "contents": [{"role": "user", "parts": [{"text": ask.prompt()}]}],
        "generationConfig": settings,
    });
    if let Some(tool) = &endpoint.expect.tool {
        let function = json!({"name": tool, "description": TOOL_DESCRIPTION});
        body["tools"] = json!([{"functionDeclarations": [function]}]);
        body["toolConfig"] = json!({
            "functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": [tool]}
        });
    }
    body
}

pub(super) fn event(answer: &mut Answer, chunk: &Value) -> StreamEvent {
    answer.error = error_in(chunk);
    if answer.error.is_some() {
        return StreamEvent::End;
    }
    if let Some(kind) = chunk["event_type"].as_str() {
        return interaction(answer, kind, chunk);
    }
    answer.model = text_of(&chunk["modelVersion"]).or(answer.model.take());
    usage(answer, &chunk["usageMetadata"]);
    if let Some(reason) = chunk["promptFeedback"]["blockReason"].as_str() {
        answer.filtered = true;
        answer.complete = true;
        answer.finish_reason = Some(reason.to_owned());
    }
    let candidate = &chunk["candidates"][0];
    let mut brought = StreamEvent::Nothing;
    for part in candidate["content"]["parts"]
        .as_array()
        .into_iter()
        .flatten()
    {
        if part["thought"] == json!(true) {
            if is_text(&part["text"]) && brought == StreamEvent::Nothing {
                brought = StreamEvent::Reasoning;
            }
        } else if append(&mut answer.text, &part["text"]) {
            brought = StreamEvent::Text;
        } else if part["functionCall"].is_object() {
            answer.calls_tool = true;
            answer.note_tool(&part["functionCall"]["name"]);
            brought = StreamEvent::Text;
        }
    }
    if let Some(reason) = candidate["finishReason"].as_str() {
        answer.complete = true;
        answer.filtered |= FILTERED.contains(&reason);
        answer.finish(reason);
    }
    brought
}

/// Parses a complete body. Without `alt=sse` a stream arrives as one too: the list of its chunks.
pub(super) fn body(answer: &mut Answer, document: &Value) {
    if document["object"] == "interaction" || document["steps"].is_array() {
        interaction(
            answer,
            "interaction.completed",
            &json!({"interaction": document}),
        );
        return;
    }
    let chunks = document
        .as_array()
        .map_or(std::slice::from_ref(document), Vec::as_slice);
    let has_answer = chunks
        .iter()
        .any(|c| c["candidates"].is_array() || c["promptFeedback"].is_object());
    if !has_answer {
        answer.malformed = true;
        return;
    }
    for chunk in chunks {
        if event(answer, chunk) == StreamEvent::End {
            return;
        }
    }
    answer.complete |= !document.is_array();
}

/// Thinking is billed as output but counted separately.
fn usage(answer: &mut Answer, usage: &Value) {
    answer.input_tokens = count(&usage["promptTokenCount"]).or(answer.input_tokens);
    answer.output_tokens = count(&usage["candidatesTokenCount"]).or(answer.output_tokens);
    answer.reasoning_tokens = count(&usage["thoughtsTokenCount"]).or(answer.reasoning_tokens);
    answer.reasoning_apart = answer.reasoning_tokens.is_some();
}

fn interaction(answer: &mut Answer, kind: &str, event: &Value) -> StreamEvent {
    let delta = &event["delta"];
    match kind {
        "step.delta" if delta["type"] == "text" && append(&mut answer.text, &delta["text"]) => {
            StreamEvent::Text
        }
        "step.delta"
            if delta["type"]
                .as_str()
                .is_some_and(|t| t.contains("thought")) =>
        {
            StreamEvent::Reasoning
        }
        "interaction.completed" => {
            let interaction = &event["interaction"];
            if answer.text.is_empty() {
                // Not streamed: the entire text is here.
                for step in ["steps", "outputs"]
                    .iter()
                    .filter_map(|k| interaction[k].as_array())
                    .flatten()
                {
                    append(&mut answer.text, &step["text"]);
                    append(&mut answer.text, &step["content"]);
                }
            }
            answer.model = text_of(&interaction["model"]).or(answer.model.take());
            let usage = &interaction["usage"];
            answer.input_tokens = count(&usage["total_input_tokens"]);
            answer.output_tokens = count(&usage["total_output_tokens"]);
            answer.reasoning_tokens = count(&usage["total_thought_tokens"]);
            answer.reasoning_apart = answer.reasoning_tokens.is_some();
            answer.cut_by_length = interaction["status"] == "incomplete";
            answer.finish_reason = text_of(&interaction["status"]);
            if interaction["status"] == "failed" || interaction["status"] == "cancelled" {
                answer.error = Some(
                    json!({"message": format!("the interaction is {}", interaction["status"])}),
                );
            }
            answer.complete = true;
            StreamEvent::End
        }
        _ => {
            answer.model = answer
                .model
                .take()
                .or_else(|| text_of(&event["interaction"]["model"]));
            StreamEvent::Nothing
        }
    }
}
