//! The two parts of a mail, from `templates/mail/body.txt` and `templates/mail/body.html`.

use askama::Template;

use super::letter::{Letter, Setting, millis};
use crate::document::{self, FONT, GREY, WIDTH};
use crate::model::{Block, Notice, Strip};

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
    Html {
        letter: &letter,
        font: FONT,
        grey: GREY,
    }
    .render()
    .unwrap_or_default()
}

impl Text<'_> {
    /// `text` in lines of at most [`WIDTH`] characters, each after `indent`, without an end.
    fn wrapped(text: &str, indent: &str) -> String {
        document::wrapped(text, indent, indent, WIDTH)
    }

    fn document(&self) -> String {
        document::text(&self.letter.document, WIDTH)
            .trim_end()
            .to_owned()
    }

    /// A value behind a name of twelve columns.
    fn behind(name: &str, value: &str) -> String {
        document::wrapped(value, &format!("  {name:12} "), &" ".repeat(15), WIDTH)
    }

    /// Begin, middle and end of the last hour, below its first, middle and last minute.
    fn axis(&self) -> String {
        let [begin, middle, end] = &self.letter.axis;
        let width = self
            .letter
            .strips
            .first()
            .map_or(0, |s| s.minutes.chars().count());
        let half = width.saturating_sub(end.len()) / 2;
        format!("   {begin:half$}{middle:>w$}", w = end.len())
            + &format!(
                "{end:>rest$}",
                rest = width.saturating_sub(half + end.len())
            )
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
        let Some((typical, now)) = self.letter.latency else {
            return Vec::new();
        };
        let width = |ms: f64| (ms / typical.max(now) * 100.0).round().clamp(1.0, 100.0) as u32;
        vec![
            ("typically", width(typical), millis(typical)),
            ("now", width(now), millis(now)),
        ]
    }
}
