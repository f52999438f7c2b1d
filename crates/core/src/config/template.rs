//! The URL, headers and body of a `template` webhook: text with `{{path}}` placeholders for values
//! of the notification.
//!
//! Values are escaped for their context, so that no endpoint name and no provider text can change
//! the structure around them. Inside a JSON string, its characters are escaped. Elsewhere in JSON,
//! a complete JSON value is inserted.

use serde_json::Value;

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
    syntax: Syntax,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Value { path: String, in_string: bool },
}

/// The syntax that surrounds the placeholders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syntax {
    /// JSON.
    Json,
    /// `application/x-www-form-urlencoded`.
    Form,
    /// HTML or XML.
    Markup,
    /// Plain text; may have several lines.
    Plain,
    /// A header's value: one line of visible ASCII.
    Header,
    /// A part of a URL's path or query.
    Url,
}

impl Syntax {
    /// Returns the syntax of a body with this media type.
    pub fn of(content_type: &str) -> Self {
        let media_type = content_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        if media_type.ends_with("json") {
            Self::Json
        } else if media_type == "application/x-www-form-urlencoded" {
            Self::Form
        } else if media_type.ends_with("html") || media_type.ends_with("xml") {
            Self::Markup
        } else {
            Self::Plain
        }
    }
}

impl Template {
    /// Parses `text`.
    ///
    /// # Errors
    /// A message that says what is wrong.
    pub fn parse(text: &str, syntax: Syntax) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut in_string = false;
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let Some((path, after)) = after.split_once("}}") else {
                return Err("a `{{` without its `}}`".to_owned());
            };
            let path = path.trim();
            if path.is_empty() || !path.chars().all(is_in_path) {
                return Err(
                    "`{{` and `}}` must enclose a path such as `data.incident.title`".to_owned(),
                );
            }
            in_string = is_in_string(before, in_string);
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::Value {
                path: path.to_owned(),
                in_string,
            });
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        let template = Self { parts, syntax };
        if syntax == Syntax::Json {
            let filled = template.fill(&Value::Null);
            serde_json::from_str::<Value>(&filled)
                .map_err(|e| format!("it is not valid JSON with any placeholder values: {e}"))?;
        }
        Ok(template)
    }

    /// Returns the paths of its placeholders.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Value { path, .. } => Some(path.as_str()),
            Part::Text(_) => None,
        })
    }

    /// Renders the template. A path that does not exist renders as empty text, or as `null` in
    /// JSON.
    pub fn fill(&self, values: &Value) -> String {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Value { path, in_string } => {
                    let value = find(values, path);
                    out.push_str(&self.written(value, *in_string));
                }
            }
        }
        out
    }

    fn written(&self, value: &Value, in_string: bool) -> String {
        let plain = match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        match self.syntax {
            Syntax::Json if in_string => {
                let quoted = Value::String(plain).to_string();
                quoted[1..quoted.len() - 1].to_owned()
            }
            Syntax::Json => value.to_string(),
            Syntax::Form => url::form_urlencoded::byte_serialize(plain.as_bytes()).collect(),
            Syntax::Markup => plain.chars().fold(String::new(), |mut out, c| {
                match c {
                    '&' => out += "&amp;",
                    '<' => out += "&lt;",
                    '>' => out += "&gt;",
                    '"' => out += "&quot;",
                    '\'' => out += "&#39;",
                    c if c.is_control() && c != '\n' => out.push(' '),
                    c => out.push(c),
                }
                out
            }),
            Syntax::Plain => plain
                .chars()
                .map(|c| if c.is_control() && c != '\n' { ' ' } else { c })
                .collect(),
            Syntax::Url => plain.bytes().fold(String::new(), |mut out, byte| {
                if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                    out.push(char::from(byte));
                } else {
                    out += &format!("%{byte:02X}");
                }
                out
            }),
            Syntax::Header => plain
                .chars()
                .map(|c| if matches!(c, ' '..='~') { c } else { '?' })
                .collect(),
        }
    }
}

fn is_in_path(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '.'
}

/// Reports whether a JSON string is open at the end of `text`, given whether one was open at its
/// beginning.
fn is_in_string(text: &str, mut open: bool) -> bool {
    let mut escaped = false;
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if open => escaped = true,
            '"' => open = !open,
            _ => {}
        }
    }
    open
}

fn find<'v>(values: &'v Value, path: &str) -> &'v Value {
    path.split('.').fold(values, |value, step| match value {
        Value::Array(items) => step
            .parse::<usize>()
            .ok()
            .and_then(|i| items.get(i))
            .unwrap_or(&Value::Null),
        value => value.get(step).unwrap_or(&Value::Null),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_takes_the_form_that_its_place_needs() {
        let text = r#"{"title": "{{data.title}}!", "failed": {{data.failed}}, "all": {{data}}, "none": {{nowhere}}}"#;
        let template = Template::parse(text, Syntax::Json).unwrap();
        let filled = template.fill(&json!({"data": {"title": "say \"no\"\n", "failed": 9}}));
        assert_eq!(
            serde_json::from_str::<Value>(&filled).unwrap(),
            json!({"title": "say \"no\"\n!", "failed": 9, "all": {"title": "say \"no\"\n", "failed": 9}, "none": null})
        );
        let form = Template::parse("text={{text}}&n={{list.1}}", Syntax::Form).unwrap();
        assert_eq!(
            form.fill(&json!({"text": "a&b=c", "list": [1, 2]})),
            "text=a%26b%3Dc&n=2"
        );
    }

    #[test]
    fn what_cannot_become_json_is_refused() {
        assert!(
            Template::parse("{\"a\": {{x}", Syntax::Json)
                .unwrap_err()
                .contains("without its")
        );
        assert!(
            Template::parse("{\"a\": {{x}}", Syntax::Json)
                .unwrap_err()
                .contains("not valid JSON")
        );
        assert!(
            Template::parse("{{a b}}", Syntax::Plain)
                .unwrap_err()
                .contains("path")
        );
    }

    proptest! {
        #[test]
        fn no_value_breaks_out_of_its_place(text in "\\PC*|[\"\\\\\r\n{}<&\u{1b}]*") {
            let template = Template::parse(r#"{"a": "x{{t}}y", "b": {{t}}}"#, Syntax::Json).unwrap();
            let filled: Value = serde_json::from_str(&template.fill(&json!({"t": text}))).unwrap();
            prop_assert_eq!(&filled, &json!({"a": format!("x{text}y"), "b": text}));
            let header = Template::parse("{{t}}", Syntax::Header).unwrap().fill(&json!({"t": text}));
            prop_assert!(header.chars().all(|c| matches!(c, ' '..='~')));
            let markup = Template::parse("{{t}}", Syntax::Markup).unwrap().fill(&json!({"t": text}));
            prop_assert!(!markup.contains(['<', '>', '"']));
            let url = Template::parse("{{t}}", Syntax::Url).unwrap().fill(&json!({"t": text}));
            prop_assert!(url.chars().all(|c| c.is_ascii_alphanumeric() || "-._~%".contains(c)));
        }
    }
}
