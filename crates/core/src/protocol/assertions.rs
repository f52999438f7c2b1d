//! Checks whether the answer is correct. Pure.

use serde_json::Value;

use super::dialect::Answer;
use crate::model::{Expect, Fault};
use crate::protocol::answer_schema::fits;

/// What is wrong with an answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Problem {
    pub(super) fault: Fault,
    /// What the configuration expects instead; empty if it says nothing.
    pub(super) expected: String,
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        Self {
            fault,
            expected: String::new(),
        }
    }
}

/// Checks an answer that arrived completely; `None` if it is correct.
pub(super) fn check(answer: &Answer, expect: &Expect) -> Option<Problem> {
    if answer.filtered {
        return Some(Fault::AnswerFiltered.into());
    }
    let text = answer.visible_text().trim();
    if answer.refused || (text.is_empty() && !answer.refusal.trim().is_empty()) {
        return Some(Fault::AnswerRefused.into());
    }
    if let Some(tool) = &expect.tool {
        return check_tool(answer, tool, text);
    }
    // A tool call is an answer, but conditions cannot be checked on it.
    if answer.calls_tool && !expect.has_conditions() {
        return None;
    }
    if text.is_empty() {
        let fault = if answer.cut_by_length {
            Fault::RequestTooFewTokens
        } else {
            Fault::AnswerEmpty
        };
        return Some(fault.into());
    }
    let expected = unmet(answer, text, expect)?;
    // The answer was cut off, so the token budget is to blame, not the model.
    let fault = if answer.cut_by_length {
        Fault::RequestTooFewTokens
    } else {
        Fault::AnswerWrong
    };
    Some(Problem {
        fault,
        expected: format!("expected {expected}"),
    })
}

/// Checks that the requested tool was called.
fn check_tool(answer: &Answer, tool: &str, text: &str) -> Option<Problem> {
    if answer.tools.iter().any(|called| called == tool) {
        return None;
    }
    let got = match answer.tools.first() {
        Some(other) => format!("called `{other}`"),
        None if text.is_empty() => "answered nothing".to_owned(),
        None => "answered with text".to_owned(),
    };
    let fault = if answer.cut_by_length {
        Fault::RequestTooFewTokens
    } else if answer.tools.is_empty() && text.is_empty() {
        Fault::AnswerEmpty
    } else {
        Fault::AnswerWrong
    };
    Some(Problem {
        fault,
        expected: format!("expected the model to call the tool `{tool}`, but it {got}"),
    })
}

/// Checks that the requested tool is among those that a server lists.
pub(super) fn check_listed(answer: &Answer, tool: &str) -> Option<Problem> {
    /// Enough to recognize a typo or another server.
    const MAX_SHOWN: usize = 5;
    if answer.tools.iter().any(|listed| listed == tool) {
        return None;
    }
    let shown: Vec<String> = answer
        .tools
        .iter()
        .take(MAX_SHOWN)
        .map(|t| format!("`{t}`"))
        .collect();
    let listed = match answer.tools.len() {
        0 => "has no tools".to_owned(),
        n if n > MAX_SHOWN => format!("lists {} and {} more", shown.join(", "), n - MAX_SHOWN),
        _ => format!("lists {}", shown.join(", ")),
    };
    Some(Problem {
        fault: Fault::AnswerWrong,
        expected: format!("expected the server to offer the tool `{tool}`, but it {listed}"),
    })
}

/// Returns the first condition that the answer does not meet.
fn unmet(answer: &Answer, text: &str, expect: &Expect) -> Option<String> {
    if let Some(part) = &expect.contains
        && !text.to_lowercase().contains(&part.to_lowercase())
    {
        return Some(format!("an answer that contains \"{part}\""));
    }
    if let Some(equal) = &expect.equals
        && bare(text) != bare(equal)
    {
        return Some(format!("the answer \"{equal}\""));
    }
    if let Some(pattern) = &expect.matches
        && !pattern.is_match(text)
    {
        return Some(format!("an answer that matches `{pattern}`"));
    }
    if let Some(schema) = &expect.json_schema
        && !is_json_of(text, schema)
    {
        return Some("JSON that fits `json_schema`".to_owned());
    }
    // If the server does not count tokens, the number is unknown, not too low.
    let tokens = answer.output_tokens?;
    let least = expect.min_tokens.filter(|least| tokens < *least)?;
    Some(format!("at least {least} tokens, got {tokens}"))
}

fn bare(text: &str) -> String {
    text.trim().trim_end_matches('.').trim().to_lowercase()
}

/// Reports whether the text is JSON that matches the schema.
fn is_json_of(text: &str, schema: &Value) -> bool {
    serde_json::from_str::<Value>(text).is_ok_and(|value| fits(&value, schema))
}

#[cfg(test)]
mod tests {
    use super::*;
    use regex::Regex;

    fn judge(answer: &Answer, expect: &Expect) -> Option<Fault> {
        check(answer, expect).map(|problem| problem.fault)
    }

    fn answer(text: &str) -> Answer {
        Answer {
            text: text.to_owned(),
            complete: true,
            output_tokens: Some(3),
            ..Answer::default()
        }
    }

    #[test]
    fn an_answer_is_right_when_every_condition_holds() {
        let pong = Expect {
            contains: Some("pong".to_owned()),
            ..Expect::default()
        };
        assert_eq!(judge(&answer("Pong!"), &pong), None);
        assert_eq!(
            check(&answer("/////"), &pong)
                .map(|p| p.expected)
                .as_deref(),
            Some("expected an answer that contains \"pong\"")
        );
        let equals = Expect {
            equals: Some("pong".to_owned()),
            ..Expect::default()
        };
        assert_eq!(judge(&answer(" Pong. "), &equals), None);
        let pattern = Expect {
            matches: Regex::new("^[0-9]+$").ok(),
            min_tokens: Some(3),
            ..Expect::default()
        };
        assert_eq!(judge(&answer("42"), &pattern), None);
        assert_eq!(judge(&answer("anything"), &Expect::default()), None);
    }

    #[test]
    fn an_empty_answer_has_a_reason() {
        let empty = answer(" ");
        assert_eq!(judge(&empty, &Expect::default()), Some(Fault::AnswerEmpty));
        let cut = Answer {
            cut_by_length: true,
            ..empty.clone()
        };
        assert_eq!(
            judge(&cut, &Expect::default()),
            Some(Fault::RequestTooFewTokens)
        );
        let refused = Answer {
            refusal: "I cannot".to_owned(),
            ..empty
        };
        assert_eq!(
            judge(&refused, &Expect::default()),
            Some(Fault::AnswerRefused)
        );
    }

    #[test]
    fn the_tool_that_was_asked_for_is_called() {
        let expect = Expect {
            tool: Some("get_time".to_owned()),
            ..Expect::default()
        };
        let mut called = answer("");
        called.tools = vec!["get_time".to_owned()];
        assert_eq!(judge(&called, &expect), None);
        called.tools = vec!["other".to_owned()];
        assert_eq!(judge(&called, &expect), Some(Fault::AnswerWrong));
        assert_eq!(
            judge(&answer("It is noon."), &expect),
            Some(Fault::AnswerWrong)
        );
        assert_eq!(judge(&answer(""), &expect), Some(Fault::AnswerEmpty));
    }

    #[test]
    fn a_server_lists_the_tool_that_is_expected() {
        let listing = |names: &[&str]| Answer {
            tools: names.iter().map(|&name| name.to_owned()).collect(),
            ..answer("")
        };
        let said = |names: &[&str]| check_listed(&listing(names), "echo").map(|p| p.expected);
        assert_eq!(said(&["get_time", "echo"]), None);
        assert_eq!(
            said(&["get_time", "search"]).as_deref(),
            Some("expected the server to offer the tool `echo`, but it lists `get_time`, `search`")
        );
        assert_eq!(
            said(&["a", "b", "c", "d", "e", "f", "g"]).as_deref(),
            Some(
                "expected the server to offer the tool `echo`, but it lists `a`, `b`, `c`, `d`, `e` and 2 more"
            )
        );
        assert_eq!(
            said(&[]).as_deref(),
            Some("expected the server to offer the tool `echo`, but it has no tools")
        );
    }

    #[test]
    fn structured_output_has_its_members() {
        let schema = serde_json::json!({"type": "object", "required": ["ok"], "properties": {"ok": {"type": "boolean"}}});
        let expect = Expect {
            json_schema: Some(schema),
            ..Expect::default()
        };
        assert_eq!(judge(&answer("{\"ok\": true}"), &expect), None);
        for bad in ["{}", "{\"ok\": 1}", "[]", "ok"] {
            assert_eq!(
                judge(&answer(bad), &expect),
                Some(Fault::AnswerWrong),
                "{bad}"
            );
        }
    }
}
