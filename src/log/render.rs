//! Formats one event as a line: JSON for machines, or text for people. Pure.

use serde_json::Value;
use tracing::Level;

use super::FieldMap;
use llmwatch_core::message::values::escape_invisible;
use llmwatch_core::model::Timestamp;

/// Fields that people look for; the others appear only in JSON.
const SHOWN: [&str; 22] = [
    "endpoint",
    "provider",
    "status",
    "outcome",
    "fault",
    "attribution",
    "http_status",
    "first_token_ms",
    "total_ms",
    "schedule_lag_ms",
    "cause",
    "number",
    "duration_s",
    "channel",
    "attempt",
    "next_attempt_at",
    "error",
    "ticks",
    "reason",
    "request_id",
    "target",
    "address",
];

/// Formats one JSON object with a line feed.
pub(super) fn json(
    now: Timestamp,
    level: Level,
    event: &str,
    message: &str,
    fields: &FieldMap,
) -> String {
    let text = |text: &str| Value::from(text).to_string();
    let level = level.as_str().to_ascii_lowercase();
    let mut line = format!(
        "{{\"ts\":\"{now}\",\"level\":\"{level}\",\"event\":{},\"message\":{}",
        text(event),
        text(message)
    );
    let of_line = ["ts", "level", "event", "message"];
    for (name, value) in fields {
        if !of_line.contains(&name.as_str()) {
            line += &format!(",{}:{value}", text(name));
        }
    }
    line + "}\n"
}

/// `09:20:11.088 WARN  probe.completed  openai-chat failed after 812 ms: server error  fault=http.5xx …`
pub(super) fn pretty(
    now: Timestamp,
    level: Level,
    event: &str,
    message: &str,
    fields: &FieldMap,
    colour: bool,
) -> String {
    let paint = |text: &str, code: u8| {
        if colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    };
    let code = match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        _ => 90,
    };
    let time = now.to_datetime().format("%H:%M:%S%.3f").to_string();
    let mut line = format!(
        "{} {} {}  {}",
        paint(&time, 90),
        paint(&format!("{level:5}"), code),
        paint(event, 36),
        tame(message)
    );
    for name in SHOWN {
        if let Some(value) = fields.get(name) {
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            line += &format!("  {}{}", paint(&format!("{name}="), 90), tame(&value));
        }
    }
    line + "\n"
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
        insta::assert_snapshot!(line, @r"09:03:20.088 WARN  probe.completed  it\u{7} failed  endpoint=openai-chat  total_ms=812.5  error=bad\u{1b}[2J\nnews");
        assert!(!line.trim_end().contains(char::is_control));
    }
}
