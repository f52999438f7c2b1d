//! Values in templates: none leaves its place.
#![no_main]

use libfuzzer_sys::fuzz_target;
use llmwatch_core::config::{Syntax, Template};
use serde_json::{Value, json};

fuzz_target!(|text: &str| {
    let Ok(template) = Template::parse(r#"{"a": "x{{t}}y", "b": {{t}}}"#, Syntax::Json) else {
        panic!("the template is well-formed")
    };
    let filled: Value = serde_json::from_str(&template.fill(&json!({"t": text}))).unwrap();
    assert_eq!(filled, json!({"a": format!("x{text}y"), "b": text}));
    for syntax in [Syntax::Json, Syntax::Form, Syntax::Markup, Syntax::Plain, Syntax::Header, Syntax::Url] {
        if let Ok(template) = Template::parse(text, syntax) {
            let _ = template.fill(&json!({"a": text}));
        }
    }
});
