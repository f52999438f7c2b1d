//! Renders the text and HTML parts of a mail, from `templates/mail/body.txt` and
//! `templates/mail/body.html`.

use askama::Template;

use super::message::{Message, ProbeTable, RenderContext};
use crate::message::document::{self, FONT, GRAY, WIDTH};
use crate::message::values::Locale;
use crate::model::{Block, Notice, NoticeKind, Sparkline};

/// The width of the column of names, in columns.
const NAME_WIDTH: usize = 12;
/// The maximum width of the table of probes, in columns: most vendors' request IDs have 36.
const WIDEST_TABLE: usize = 100;

#[derive(Template)]
#[template(path = "mail/body.txt", escape = "none")]
struct TextBody<'a> {
    message: &'a Message,
    test: &'static str,
}

#[derive(Template)]
#[template(path = "mail/body.html")]
struct Html<'a> {
    message: &'a Message,
    test: &'static str,
    font: &'static str,
    gray: &'static str,
    locale: Locale,
}

/// Returns the first line of a test or a drill.
fn test_line(notice: &Notice, locale: &Locale) -> &'static str {
    locale.say(if notice.test && notice.incident.is_some() {
        "TEST: this is only a test. Nothing is wrong, and everything below is made up."
    } else if notice.test {
        "TEST: this is only a test. Nothing is wrong."
    } else if notice.kind == NoticeKind::Drill {
        "DRILL: this is only a drill. Nothing is wrong."
    } else {
        return "";
    })
}

/// Renders the plain-text body of a mail about `notice`.
pub fn text(notice: &Notice, context: RenderContext<'_>) -> String {
    let message = Message::new(notice, context);
    let text = TextBody {
        message: &message,
        test: test_line(notice, &context.locale),
    };
    // Rendering into a string cannot fail.
    text.render().unwrap_or_default().trim_start().to_owned() + "\n"
}

/// Renders the HTML body of a mail about `notice`. It uses tables and inline styles for old mail
/// programs and loads nothing. All outside text is escaped.
pub fn html(notice: &Notice, context: RenderContext<'_>) -> String {
    let message = Message::new(notice, context);
    Html {
        message: &message,
        test: test_line(notice, &context.locale),
        font: FONT,
        gray: GRAY,
        locale: context.locale,
    }
    .render()
    .unwrap_or_default()
}

impl TextBody<'_> {
    /// Wraps `text` at [`WIDTH`], with each line indented by `indent` and no trailing newline.
    fn wrapped(text: &str, indent: &str) -> String {
        document::wrapped(text, indent, indent, WIDTH)
    }

    fn document(&self) -> String {
        document::text(&self.message.document, WIDTH)
            .trim_end()
            .to_owned()
    }

    /// Formats the table of probes. A table that is too wide loses its endpoint column if all
    /// probes share one endpoint. Otherwise it may be a little wider than the text; beyond that it
    /// has one cell per line.
    fn probes(table: &ProbeTable) -> String {
        let all = std::iter::once(&table.head).chain(&table.rows);
        let mut widths = vec![0; table.head.len()];
        for row in all.clone() {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        let needed = widths.iter().map(|w| w + 2).sum::<usize>();
        if needed > WIDTH
            && let Some(narrower) = table.without_endpoint()
        {
            return Self::probes(&narrower);
        }
        if needed > WIDEST_TABLE {
            let block = Block::Table {
                head: table.head.clone(),
                rows: table.rows.clone(),
            };
            return document::text(&[block], WIDTH).trim_end().to_owned();
        }
        let lines: Vec<_> = all
            .map(|row| {
                let cells = row
                    .iter()
                    .zip(&widths)
                    .map(|(cell, w)| format!("{cell:w$}"));
                let line = cells.collect::<Vec<_>>().join("  ");
                format!("  {}", line.trim_end())
            })
            .collect();
        lines.join("\n")
    }

    /// Formats a name and its value.
    fn behind(name: &str, value: &str) -> String {
        let first = format!("  {name:NAME_WIDTH$} ");
        document::wrapped(value, &first, &" ".repeat(NAME_WIDTH + 3), WIDTH)
    }

    /// Labels the start, middle and end of the last hour below the sparkline.
    fn axis(&self) -> String {
        let [begin, middle, end] = &self.message.axis;
        let width = self
            .message
            .sparklines
            .first()
            .map_or(0, |s| s.minutes.chars().count());
        let half = width.saturating_sub(end.len()) / 2;
        let rest = width.saturating_sub(half + end.len());
        let w = end.len();
        let zone = &self.message.zone;
        format!("   {begin:half$}{middle:>w$}{end:>rest$} {zone}")
    }
}

/// Adjacent minutes of one color, drawn as one cell.
struct SparklineRun {
    minutes: usize,
    color: &'static str,
}

impl Html<'_> {
    fn runs(sparkline: &Sparkline) -> Vec<SparklineRun> {
        let mut runs: Vec<SparklineRun> = Vec::new();
        for minute in sparkline.minutes.chars() {
            let color = match minute {
                '.' => "#3aa76d",
                '~' => "#e0a030",
                'x' => "#d93636",
                _ => "#9a9a9a",
            };
            match runs.last_mut() {
                Some(run) if run.color == color => run.minutes += 1,
                _ => runs.push(SparklineRun { minutes: 1, color }),
            }
        }
        runs
    }

    /// Returns the name, width in percent, and value of the two latency bars.
    fn bars(&self) -> Vec<(&'static str, u32, String)> {
        let Some((typical, now)) = self.message.latency else {
            return Vec::new();
        };
        let longest = typical.max(now);
        [
            (self.locale.say("typically"), typical),
            (self.locale.say("now"), now),
        ]
        .map(|(label, ms)| {
            let width = (ms / longest * 100.0).round().clamp(1.0, 100.0) as u32;
            (label, width, self.locale.latency(ms))
        })
        .to_vec()
    }
}
