//! Formats one event as a line: JSON for machines, or text for people. Pure.

use serde_json::Value;
use tracing::Level;

use super::FieldMap;
use llmwatch_core::message::values::escape_invisible;
use llmwatch_core::model::Timestamp;

/// Fields that people look for, if the message does not say them; the others appear only in JSON.
const SHOWN: [&str; 11] = [
    "endpoint",
    "fault",
    "http_status",
    "cause",
    "channel",
    "attempt",
    "next_attempt_at",
    "reason",
    "target",
    "request_id",
    "error",
];
/// A field that would make a line longer is left out, except for an error.
const COLUMNS: usize = 100;
/// The width of the column of event names.
const EVENT_COLUMNS: usize = 18;

/// Formats one JSON object with a line feed.
pub(super) fn json(
    now: Timestamp,
    level: Level,
    event: &str,
    message: &str,
    fields: &FieldMap,
) -> String {
    let level = level.as_str().to_ascii_lowercase();
    let mut line = format!(
        "{{\"ts\":\"{now}\",\"level\":\"{level}\",\"event\":{},\"message\":{}",
        quoted(event),
        quoted(message)
    );
    let of_line = ["ts", "level", "event", "message"];
    for (name, value) in fields {
        if !of_line.contains(&name.as_str()) {
            line += &format!(",{}:{value}", quoted(name));
        }
    }
    line + "}\n"
}

/// Returns a text as a JSON string.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// `09:20:11.088 WARN  probe.completed     openai-chat failed after 812 ms: server error
/// fault=http.5xx`
pub(super) fn pretty(
    now: Timestamp,
    level: Level,
    event: &str,
    message: &str,
    fields: &FieldMap,
    color: bool,
) -> String {
    let code = match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        _ => 90,
    };
    let time = now.to_datetime().format("%H:%M:%S%.3f").to_string();
    let event = format!("{event:EVENT_COLUMNS$}");
    let message = tame(message);
    let mut columns = time.len() + " WARN  ".len() + event.len() + 2 + message.chars().count();
    let mut line = format!(
        "{} {} {}  {message}",
        paint(&time, 90, color),
        paint(&format!("{level:5}"), code, color),
        paint(&event, 36, color),
    );
    for name in SHOWN {
        let value = fields.get(name).map(plain).map(|value| tame(&value));
        let Some(value) = value.filter(|value| !message.contains(value.as_str())) else {
            continue;
        };
        let length = 2 + name.len() + 1 + value.chars().count();
        if columns + length <= COLUMNS {
            columns += length;
            line += "  ";
        } else if name == "error" {
            line += "\n             ";
        } else {
            continue;
        }
        line += &format!("{}{value}", paint(&format!("{name}="), 90, color));
    }
    line + "\n"
}

/// Adds the ANSI color of this code.
fn paint(text: &str, code: u8, color: bool) -> String {
    if color {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// Escapes control characters and invisible ones: text from outside must not control the terminal.
fn tame(text: &str) -> String {
    escape_invisible(text)
        .chars()
        .flat_map(|c| {
            if c.is_control() {
                c.escape_default().collect::<Vec<_>>()
            } else {
                vec![c]
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields() -> FieldMap {
        let Value::Object(fields) =
            json!({"endpoint": "openai-chat", "total_ms": 812.5, "error": "bad\u{1b}[2J\nnews"})
        else {
            panic!("an object")
        };
        fields
    }

    #[test]
    fn a_json_line_carries_time_level_event_message_and_fields() {
        let line = json(
            Timestamp(1_795_511_000_088),
            Level::WARN,
            "probe.completed",
            "it failed",
            &fields(),
        );
        insta::assert_snapshot!(line, @r#"{"ts":"2026-11-24T09:03:20.088Z","level":"warn","event":"probe.completed","message":"it failed","endpoint":"openai-chat","total_ms":812.5,"error":"bad\u001b[2J\nnews"}"#);
    }

    #[test]
    fn a_line_for_people_cannot_be_used_to_steer_their_terminal() {
        let line = pretty(
            Timestamp(1_795_511_000_088),
            Level::WARN,
            "probe.completed",
            "it\x07 failed",
            &fields(),
            false,
        );
        insta::assert_snapshot!(line, @r"09:03:20.088 WARN  probe.completed     it\u{7} failed  endpoint=openai-chat
             error=bad\u{1b}[2J\nnews");
        assert!(line.lines().all(|l| !l.contains(char::is_control)));
    }

    #[test]
    fn a_line_for_people_fits_into_100_columns() {
        let Value::Object(fields) = json!({
            "endpoint": "openai-chat", "provider": "openai", "fault": "overloaded", "http_status": 503,
            "first_token_ms": null, "total_ms": 36.9, "request_id": "req_48d66f077de57acddc7314650e2dc441",
            "error": "Our servers are currently overloaded. Please try again later.",
        }) else {
            panic!("an object")
        };
        let text = pretty(
            Timestamp(1_795_511_000_088),
            Level::WARN,
            "probe.completed",
            "openai-chat failed after 37 ms: provider at capacity",
            &fields,
            false,
        );
        insta::assert_snapshot!(text, @r"
        09:03:20.088 WARN  probe.completed     openai-chat failed after 37 ms: provider at capacity
                     error=Our servers are currently overloaded. Please try again later.
        ");
    }
}
