//! A model's answer against a JSON Schema: both halves of the input, so that the schema is hostile
//! as well.
#![no_main]

use libfuzzer_sys::fuzz_target;
use llmwatch_core::protocol::answer_schema;
use serde_json::Value;

fuzz_target!(|text: &str| {
    let Some((schema, value)) = text.split_once('\n') else {
        return;
    };
    let (Ok(schema), Ok(value)) = (serde_json::from_str::<Value>(schema), serde_json::from_str::<Value>(value)) else {
        return;
    };
    if answer_schema::unknown_keyword(&schema).is_none() {
        let _ = answer_schema::fits(&value, &schema);
    }
});
