//! Omits parameters that a server has rejected by name. Pure.
//!
//! Probes send a few optional parameters that keep the answer short and cheap. Models and
//! compatible servers differ in which of them they accept, and reject the others with 400 or 422.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Optional parameters, by their path in a body. A longer path comes before a shorter one.
const OPTIONAL: [&str; 17] = [
    "stream_options.include_obfuscation",
    "stream_options",
    "reasoning_effort",
    "reasoning.effort",
    "reasoning",
    "text.verbosity",
    "output_config.effort",
    "generationConfig.thinkingConfig",
    "service_tier",
    "temperature",
    "store",
    "thinking",
    "think",
    "keep_alive",
    "dimensions",
    "encoding_format",
    "provider",
];
/// Effort levels, lowest first.
const EFFORTS: [&str; 7] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];
/// Texts that reject a parameter.
const COMPLAINTS: [&str; 16] = [
    "unsupported",
    "not supported",
    "not support",
    "unrecognized",
    "unknown",
    "unexpected",
    "not permitted",
    "not allowed",
    "not a valid",
    "instead",
    "extra_forbidden",
    "extra fields",
    "extra inputs",
    "invalid value",
    "invalid parameter",
    "additional properties",
];
/// The maximum number of adaptations per endpoint.
const MAX_ADAPTATIONS: usize = 6;

/// One adaptation of an endpoint's requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Adaptation {
    /// Use the alternative name of a chat's token budget.
    AlternateBudget,
    /// Omit a parameter.
    Omit(&'static str),
    /// Set a parameter to a value that the server named.
    Set(&'static str, &'static str),
}

/// All adaptations of one endpoint's requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Adaptations {
    pub(super) uses_alternate_budget: bool,
    /// `None` means that the parameter is omitted.
    changed: BTreeMap<&'static str, Option<&'static str>>,
}

impl Adaptations {
    /// Returns the adaptation after an error with `status` and `text` to a request with `body`.
    /// Returns `None` if the error is about something else, or after too many adaptations.
    pub fn suggest(
        &self,
        status: u16,
        text: &str,
        param: Option<&str>,
        body: &[u8],
    ) -> Option<Adaptation> {
        let lower = text.to_lowercase();
        let complains = COMPLAINTS.iter().any(|complaint| lower.contains(complaint));
        if !matches!(status, 400 | 422) || !complains || self.changed.len() >= MAX_ADAPTATIONS {
            return None;
        }
        let body: Value = serde_json::from_slice(body).ok()?;
        if let Some(refused) = refused_budget(&lower)
            && !body[refused].is_null()
        {
            return (!self.uses_alternate_budget).then_some(Adaptation::AlternateBudget);
        }
        let param = param.map(str::to_lowercase);
        let path = OPTIONAL
            .into_iter()
            .filter(|path| body.pointer(&pointer(path)).is_some())
            .find(|path| is_named(path, &lower, param.as_deref()))?;
        let sent = body.pointer(&pointer(path)).and_then(Value::as_str);
        match least_effort(&lower).filter(|effort| path.ends_with("effort") && sent != Some(effort))
        {
            Some(effort) if !self.changed.contains_key(path) => Some(Adaptation::Set(path, effort)),
            _ => Some(Adaptation::Omit(path)),
        }
    }

    /// Applies an adaptation to all later requests.
    pub fn adopt(&mut self, adaptation: &Adaptation) {
        match adaptation {
            Adaptation::AlternateBudget => self.uses_alternate_budget = true,
            Adaptation::Omit(path) => {
                self.changed.insert(path, None);
            }
            Adaptation::Set(path, value) => {
                self.changed.insert(path, Some(value));
            }
        }
    }

    /// Adapts a request's body.
    pub(super) fn apply(&self, body: &mut Value) {
        for (path, value) in &self.changed {
            let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
            let parent = if parent.is_empty() {
                Some(&mut *body)
            } else {
                body.pointer_mut(&pointer(parent))
            };
            let Some(parent) = parent.and_then(Value::as_object_mut) else {
                continue;
            };
            match value {
                Some(value) if parent.contains_key(name) => {
                    parent[name] = json!(value);
                }
                Some(_) => {}
                None => {
                    parent.shift_remove(name);
                }
            }
        }
    }
}

fn pointer(path: &str) -> String {
    format!("/{}", path.replace('.', "/"))
}

/// Reports whether an error names the parameter at `path`: in its `param`, or as a whole word in
/// its text.
fn is_named(path: &str, text: &str, param: Option<&str>) -> bool {
    let path = path.to_lowercase();
    if let Some(param) = param.filter(|param| !param.is_empty()) {
        let param = param.trim_start_matches("body.");
        // The Responses API uses a path for it, and servers confuse the two.
        let is_effort = param.ends_with("effort") && path.ends_with("effort");
        return param == path || is_effort || param.starts_with(&format!("{path}."));
    }
    let name = path.rsplit('.').next().unwrap_or(&path);
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .any(|token| token == name)
}

/// Returns the lowest effort that an error lists as supported.
fn least_effort(text: &str) -> Option<&'static str> {
    let (_, offered) = text.split_once("supported values")?;
    EFFORTS.into_iter().find(|effort| {
        offered
            .split(|c: char| !c.is_alphanumeric())
            .any(|token| token == *effort)
    })
}

/// Returns the name of a chat's token budget that an error rejects, if any. It is the one named
/// first: the other may follow as a suggestion.
fn refused_budget(text: &str) -> Option<&'static str> {
    ["max_tokens", "max_completion_tokens"]
        .into_iter()
        .filter_map(|name| Some((text.find(name)?, name)))
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suggest(text: &str, param: Option<&str>, body: &Value) -> Option<Adaptation> {
        Adaptations::default().suggest(400, text, param, body.to_string().as_bytes())
    }

    #[test]
    fn the_token_budget_goes_by_its_other_name() {
        let body = json!({"max_tokens": 64});
        let old = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.";
        assert_eq!(suggest(old, None, &body), Some(Adaptation::AlternateBudget));
        assert_eq!(suggest("max_tokens is too large: 64", None, &body), None);
        let sent = body.to_string();
        let already = Adaptations {
            uses_alternate_budget: true,
            ..Adaptations::default()
        };
        assert_eq!(already.suggest(400, old, None, sent.as_bytes()), None);
        assert_eq!(
            Adaptations::default().suggest(500, old, None, sent.as_bytes()),
            None
        );
        let new = "Unrecognized request argument supplied: max_completion_tokens";
        assert_eq!(
            suggest(new, None, &json!({"max_completion_tokens": 64})),
            Some(Adaptation::AlternateBudget)
        );
    }

    #[test]
    fn a_parameter_that_is_refused_by_name_is_left_out() {
        let body = json!({
            "stream_options": {"include_usage": true, "include_obfuscation": false},
            "reasoning_effort": "none", "service_tier": "default", "store": false,
        });
        for (text, param, path) in [
            (
                "body.stream_options: Extra inputs are not permitted",
                None,
                "stream_options",
            ),
            (
                "Unknown parameter: 'stream_options.include_obfuscation'",
                None,
                "stream_options.include_obfuscation",
            ),
            (
                "Unrecognized request argument supplied: store",
                None,
                "store",
            ),
            (
                "Unsupported value: 'default' is not supported.",
                Some("service_tier"),
                "service_tier",
            ),
            (
                "'none' is not supported with this model.",
                Some("reasoning.effort"),
                "reasoning_effort",
            ),
        ] {
            assert_eq!(
                suggest(text, param, &body),
                Some(Adaptation::Omit(path)),
                "{text}"
            );
        }
        assert_eq!(
            suggest("the model is not supported", Some("model"), &body),
            None
        );
        let text = "Unsupported value: 'none' is not supported. Supported values are: 'low', 'medium', and 'high'.";
        assert_eq!(
            suggest(text, Some("reasoning_effort"), &body),
            Some(Adaptation::Set("reasoning_effort", "low"))
        );
    }

    #[test]
    fn an_adapted_body_lacks_what_was_refused() {
        let mut adaptations = Adaptations::default();
        adaptations.adopt(&Adaptation::Omit("stream_options.include_obfuscation"));
        adaptations.adopt(&Adaptation::Set("reasoning.effort", "low"));
        adaptations.adopt(&Adaptation::Omit("store"));
        let mut body = json!({
            "stream_options": {"include_usage": true, "include_obfuscation": false},
            "reasoning": {"effort": "none"}, "store": false,
        });
        adaptations.apply(&mut body);
        assert_eq!(
            body,
            json!({"stream_options": {"include_usage": true}, "reasoning": {"effort": "low"}})
        );
    }
}
