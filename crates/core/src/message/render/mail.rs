//! The two parts of a mail, from `templates/mail/body.txt` and `templates/mail/body.html`.

use askama::Template;

use super::message::{Message, ProbeTable, RenderContext};
use crate::message::document::{self, FONT, GREY, WIDTH};
use crate::message::values::Locale;
use crate::model::{Block, Notice, NoticeKind, Sparkline};

/// The width of the names in front of values, in columns.
const NAME_WIDTH: usize = 12;
/// The widest table of probes, in columns: request ids of most vendors have 36.
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
    grey: &'static str,
    locale: Locale,
}

/// The first line of a test or a drill.
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

/// The body of a mail about `notice`, for programs and people that prefer text.
pub fn text(notice: &Notice, context: RenderContext<'_>) -> String {
    let message = Message::new(notice, context);
    let text = TextBody {
        message: &message,
        test: test_line(notice, &context.locale),
    };
    // Writing to a string cannot fail.
    text.render().unwrap_or_default().trim_start().to_owned() + "\n"
}

/// The body of a mail about `notice`, as a page: tables and inline styles, for programs of every age; nothing is loaded
/// from elsewhere. Everything from outside is escaped.
pub fn html(notice: &Notice, context: RenderContext<'_>) -> String {
    let message = Message::new(notice, context);
    Html {
        message: &message,
        test: test_line(notice, &context.locale),
        font: FONT,
        grey: GREY,
        locale: context.locale,
    }
    .render()
    .unwrap_or_default()
}

impl TextBody<'_> {
    /// `text` in lines of at most [`WIDTH`] characters, each after `indent`, without an end.
    fn wrapped(text: &str, indent: &str) -> String {
        document::wrapped(text, indent, indent, WIDTH)
    }

    fn document(&self) -> String {
        document::text(&self.message.document, WIDTH)
            .trim_end()
            .to_owned()
    }

    /// The table of probes: without the endpoint if that makes it fit and all have the same, else a little wider than
    /// the text, else one line a cell.
    fn probes(table: &ProbeTable) -> String {
        let all = || std::iter::once(&table.head).chain(&table.rows);
        let widths: Vec<_> = (0..table.head.len())
            .map(|column| {
                let cells = all().filter_map(|row| row.get(column));
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
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
        let line = |row: &Vec<String>| {
            let cells = row
                .iter()
                .zip(&widths)
                .map(|(cell, w)| format!("{cell:w$}"));
            let line = cells.collect::<Vec<_>>().join("  ");
            format!("  {}", line.trim_end())
        };
        all().map(line).collect::<Vec<_>>().join("\n")
    }

    /// A value behind its name.
    fn behind(name: &str, value: &str) -> String {
        let first = format!("  {name:NAME_WIDTH$} ");
        document::wrapped(value, &first, &" ".repeat(NAME_WIDTH + 3), WIDTH)
    }

    /// Begin, middle and end of the last hour, below its first, middle and last minute.
    fn axis(&self) -> String {
        let [begin, middle, end] = &self.message.axis;
        let width = self
            .message
            .sparklines
            .first()
            .map_or(0, |s| s.minutes.chars().count());
        let half = width.saturating_sub(end.len()) / 2;
        let rest = width.saturating_sub(half + end.len());
        let (w, zone) = (end.len(), &self.message.zone);
        format!("   {begin:half$}{middle:>w$}{end:>rest$} {zone}")
    }
}

/// Neighbouring minutes of one color, as one cell.
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

    /// Name, width in percent, and value of the two bars of the latency.
    fn bars(&self) -> Vec<(&'static str, u32, String)> {
        let Some((typical, now)) = self.message.latency else {
            return Vec::new();
        };
        let width = |ms: f64| (ms / typical.max(now) * 100.0).round().clamp(1.0, 100.0) as u32;
        vec![
            (
                self.locale.say("typically"),
                width(typical),
                self.locale.latency(typical),
            ),
            (self.locale.say("now"), width(now), self.locale.latency(now)),
        ]
    }
}
