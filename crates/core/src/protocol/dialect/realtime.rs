//! OpenAI's Realtime API over WebSocket: one text response per session.

use serde_json::{Value, json};

use super::{
    Answer, ProbeRequest, Request, StreamEvent, append, below, count, error_in, is_text, text_of,
};
use crate::model::Provider;

/// Builds the request that opens the WebSocket. Its body is the first event, which is sent once the
/// session exists.
pub(super) fn request(ask: &ProbeRequest<'_>) -> Request {
    let base = &ask.endpoint.base_url;
    let mut url = match ask.endpoint.provider {
        Provider::AzureOpenAi => below(base, "/openai/v1/realtime"),
        _ => below(base, "/realtime"),
    };
    if let Some(model) = ask.model() {
        url.query_pairs_mut().append_pair("model", model);
    }
    Request {
        method: "GET".to_owned(),
        ..ask.post(url, ask.openai_key(), || event_of(ask))
    }
}

fn event_of(ask: &ProbeRequest<'_>) -> Value {
    json!({"type": "response.create", "response": {
        "conversation": "none",
        "output_modalities": ["text"],
        "max_output_tokens": ask.endpoint.max_tokens,
        "input": [{
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": ask.prompt()}],
        }],
    }})
}

pub(super) fn event(answer: &mut Answer, event: &Value) -> StreamEvent {
    let delta = &event["delta"];
    match event["type"].as_str().unwrap_or_default() {
        "session.created" => {
            answer.model = text_of(&event["session"]["model"]);
            StreamEvent::Nothing
        }
        // The beta used the shorter names. Spoken answers have their text as a transcript.
        "response.output_text.delta"
        | "response.text.delta"
        | "response.output_audio_transcript.delta"
        | "response.audio_transcript.delta"
            if append(&mut answer.text, delta) =>
        {
            answer.appended()
        }
        "response.output_audio.delta" | "response.audio.delta" if is_text(delta) => {
            StreamEvent::Text
        }
        "response.output_item.added" if event["item"]["type"] == "function_call" => {
            answer.note_tool(&event["item"]["name"]);
            StreamEvent::Text
        }
        "response.done" => {
            done(answer, &event["response"]);
            StreamEvent::End
        }
        "error" => {
            answer.error = error_in(event).or_else(|| Some(event.clone()));
            StreamEvent::End
        }
        _ => StreamEvent::Nothing,
    }
}

fn done(answer: &mut Answer, response: &Value) {
    answer.complete = true;
    answer.input_tokens = count(&response["usage"]["input_tokens"]);
    answer.output_tokens = count(&response["usage"]["output_tokens"]);
    let details = &response["status_details"];
    let status = response["status"].as_str().unwrap_or_default();
    match (status, details["reason"].as_str()) {
        ("incomplete", Some("max_output_tokens")) => answer.cut_by_length = true,
        ("incomplete", Some("content_filter")) => answer.filtered = true,
        ("completed" | "incomplete", _) => {}
        _ => {
            let error = Some(&details["error"]).filter(|error| error.is_object());
            answer.error = Some(
                error
                    .cloned()
                    .unwrap_or_else(|| json!({"message": format!("the response is {status}")})),
            );
        }
    }
    answer.finish_reason = text_of(&response["status"]);
}
