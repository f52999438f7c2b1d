//! OpenAI's moderations: free of charge.

use serde_json::{Value, json};

use super::{Answer, ProbeRequest, Request, text_of};

pub(super) fn request(ask: &ProbeRequest<'_>) -> Request {
    ask.openai(
        "moderations",
        false,
        || json!({"model": ask.model(), "input": ask.prompt()}),
    )
}

pub(super) fn body(answer: &mut Answer, document: &Value) {
    answer.model = text_of(&document["model"]);
    let Some(flagged) = document["results"][0]["flagged"].as_bool() else {
        answer.malformed = true;
        return;
    };
    if flagged { "flagged" } else { "not flagged" }.clone_into(&mut answer.text);
    answer.complete = true;
}
