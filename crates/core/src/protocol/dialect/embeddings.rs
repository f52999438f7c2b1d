//! OpenAI-style embeddings: the cheapest request that makes a provider compute.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Answer, ProbeRequest, Request, chat, text_of};

/// Models of this family accept a smaller number of dimensions, which keeps the body small.
const SHORTENED: &str = "text-embedding-3";
const NUMBERS: u32 = 8;

pub(super) fn request(ask: &ProbeRequest<'_>) -> Request {
    ask.openai("embeddings", true, || {
        let mut body =
            json!({"model": ask.model(), "input": ask.prompt(), "encoding_format": "float"});
        if ask
            .endpoint
            .model
            .as_ref()
            .is_some_and(|m| m.starts_with(SHORTENED))
        {
            body["dimensions"] = json!(NUMBERS);
        }
        body
    })
}

pub(super) fn body(answer: &mut Answer, document: &Value) {
    answer.model = text_of(&document["model"]);
    chat::usage(answer, &document["usage"]);
    // All inputs of a batch are the same, so only the first is checked.
    let inputs = document["data"].as_array().map_or(0, Vec::len);
    match &document["data"][0]["embedding"] {
        Value::Array(numbers) if numbers.iter().all(Value::is_number) => {
            if !numbers.is_empty() {
                answer.text = if inputs > 1 {
                    format!("{inputs} embeddings of {} numbers", numbers.len())
                } else {
                    format!("an embedding of {} numbers", numbers.len())
                };
            }
            answer.complete = true;
        }
        // Base64, from a server that does not support `encoding_format`.
        Value::String(packed) => match packed_numbers(packed) {
            Some(numbers) => {
                if numbers > 0 {
                    answer.text = format!("an embedding of {numbers} numbers");
                }
                answer.complete = true;
            }
            None => answer.malformed = true,
        },
        _ => answer.malformed = true,
    }
}

/// Returns how many numbers of four bytes `packed` holds. `None` if it holds something else.
fn packed_numbers(packed: &str) -> Option<usize> {
    let bytes = STANDARD.decode(packed).ok()?;
    let (numbers, rest) = bytes.as_chunks::<4>();
    let are_numbers = numbers
        .iter()
        .all(|number| f32::from_le_bytes(*number).is_finite());
    (are_numbers && rest.is_empty()).then_some(numbers.len())
}
