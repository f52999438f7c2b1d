//! The two parts of a mail, from `templates/mail/body.txt` and `templates/mail/body.html`.

use askama::Template;

use super::letter::{Letter, Setting, millis};
use crate::model::{Notice, Strip};

/// The widest line that every program shows whole.
const WIDTH: usize = 76;

#[derive(Template)]
#[template(path = "mail/body.txt", escape = "none")]
struct Text<'a> {
    letter: &'a Letter,
}

#[derive(Template)]
#[template(path = "mail/body.html")]
struct Html<'a> {
    letter: &'a Letter,
    font: &'static str,
    grey: &'static str,
}

/// The body of a mail about `notice`, for programs and people that prefer text.
pub fn text(notice: &Notice, setting: Setting) -> String {
    let letter = Letter::new(notice, setting);
    // Writing to a string cannot fail.
    Text { letter: &letter }.render().unwrap_or_default() + "\n"
}

/// The body of a mail about `notice`, as a page: tables and inline styles, for programs of every age; nothing is loaded
/// from elsewhere. Everything from outside is escaped.
pub fn html(notice: &Notice, setting: Setting) -> String {
    let letter = Letter::new(notice, setting);
    let font = "font-family:-apple-system,Segoe UI,Roboto,Helvetica,Arial,sans-serif";
    Html { letter: &letter, font, grey: "#767676" }.render().unwrap_or_default()
}

impl Text<'_> {
    /// `text` in lines of at most [`WIDTH`] characters, each with `indent` before it, without an end.
    fn wrapped(text: &str, indent: &str) -> String {
        let mut lines = vec![String::new()];
        for word in text.split_whitespace() {
            let line = lines.last().map_or(0, |l| l.chars().count());
            if line > 0 && indent.len() + line + 1 + word.chars().count() > WIDTH {
                lines.push(String::new());
            }
            if let Some(line) = lines.last_mut() {
                if !line.is_empty() {
                    line.push(' ');
                }
                line.push_str(word);
            }
        }
        lines.iter().map(|line| format!("{indent}{line}")).collect::<Vec<_>>().join("\n")
    }
}

/// Neighbouring minutes of one colour, as one cell.
struct Run {
    minutes: usize,
    colour: &'static str,
}

impl Html<'_> {
    fn runs(strip: &Strip) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for minute in strip.minutes.chars() {
            let colour = match minute {
                '.' => "#3aa76d",
                '~' => "#e0a030",
                'x' => "#d93636",
                _ => "#9a9a9a",
            };
            match runs.last_mut() {
                Some(run) if run.colour == colour => run.minutes += 1,
                _ => runs.push(Run { minutes: 1, colour }),
            }
        }
        runs
    }

    /// Name, width in percent, and value of the two bars of the latency.
    fn bars(&self) -> Vec<(&'static str, u32, String)> {
        let Some((typical, now)) = self.letter.latency else { return Vec::new() };
        let width = |ms: f64| (ms / typical.max(now) * 100.0).round().clamp(1.0, 100.0) as u32;
        vec![("typically", width(typical), millis(typical)), ("now", width(now), millis(now))]
    }
}
