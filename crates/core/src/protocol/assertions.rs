//! Is the answer right? Pure.

use serde_json::Value;

use super::dialect::Answer;
use crate::model::{Expect, Fault};
use crate::protocol::answer_schema::fits;

/// Why an answer that arrived whole is not right; `None` when it is.
pub(super) fn judge(answer: &Answer, expect: &Expect) -> Option<Fault> {
    if answer.filtered {
        return Some(Fault::AnswerFiltered);
    }
    let text = answer.text.trim();
    if answer.refused || (text.is_empty() && !answer.refusal.trim().is_empty()) {
        return Some(Fault::AnswerRefused);
    }
    let any = expect.contains.is_some()
        || expect.equals.is_some()
        || expect.matches.is_some()
        || expect.json_schema.is_some()
        || expect.min_tokens.is_some();
    // A tool call is an answer, though not one that could be checked.
    if answer.calls_tool && !any {
        return None;
    }
    if text.is_empty() {
        return Some(if answer.cut_by_length {
            Fault::RequestTooFewTokens
        } else {
            Fault::AnswerEmpty
        });
    }
    let right = expect
        .contains
        .as_ref()
        .is_none_or(|part| text.to_lowercase().contains(&part.to_lowercase()))
        && expect
            .equals
            .as_ref()
            .is_none_or(|whole| bare(text) == bare(whole))
        && expect
            .matches
            .as_ref()
            .is_none_or(|pattern| pattern.is_match(text))
        && expect
            .json_schema
            .as_ref()
            .is_none_or(|schema| is_json_of(text, schema))
        && expect
            .min_tokens
            .is_none_or(|least| answer.output_tokens.unwrap_or(0) >= least);
    match right {
        true => None,
        // Cut off before it could be right: the budget is the reason, not the model.
        false if answer.cut_by_length => Some(Fault::RequestTooFewTokens),
        false => Some(Fault::AnswerWrong),
    }
}

fn bare(text: &str) -> String {
    text.trim().trim_end_matches('.').trim().to_lowercase()
}

/// Whether the text is JSON that fits the schema.
fn is_json_of(text: &str, schema: &Value) -> bool {
    serde_json::from_str::<Value>(text).is_ok_and(|value| fits(&value, schema))
}

#[cfg(test)]
mod tests {
    use super::*;
    use regex::Regex;

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
        assert_eq!(judge(&answer("/////"), &pong), Some(Fault::AnswerWrong));
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
