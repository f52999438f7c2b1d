//! Draws the terminal view. Every state is shown by a letter or a word as well as a color.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row as TableRow, Table, Wrap};

use super::screen::{Screen, ScreenRow, Sort};
use crate::cli::status::{cut, mark, status_word};
use llmwatch_core::message::incident as narrator;
use llmwatch_core::message::values::{Locale, NONE};
use llmwatch_core::model::{AlertState, EndpointView, Incident, Status};
use llmwatch_core::text;

/// The widths of the sparkline in the list, each with the least width of the terminal for it.
const SPARKS: [(u16, usize); 3] = [(160, 60), (110, 20), (0, 10)];
/// The least widths of a latency and of a percentage.
const LATENCY: usize = 9;
const SHARE: usize = 8;
/// The width of the sparkline in the details: one column per minute.
const WIDE_SPARK: usize = 60;
/// The minimum width for all columns.
const WIDE: u16 = 72;
/// The widest name in the list.
const LONGEST_NAME: usize = 26;

/// Whether the view may use colors (<https://no-color.org>).
pub(super) fn wants_color() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

pub(super) fn draw(frame: &mut Frame<'_>, screen: &mut Screen) {
    let area = frame.area();
    let [head, body, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(headline(screen), head);
    if screen.is_open {
        let details = screen.selected().map(|row| details(row, screen));
        let text = Paragraph::new(details.unwrap_or_default()).wrap(Wrap { trim: false });
        frame.render_widget(text, body);
    } else {
        list(frame, screen, body);
    }
    frame.render_widget(footer(screen, foot.width.into()), foot);
}

fn headline(screen: &Screen) -> Line<'static> {
    let style = tone(screen.status, screen.has_color).add_modifier(Modifier::BOLD);
    let mut spans = vec![Span::styled(screen.headline.clone(), style)];
    if let Some(note) = screen.note {
        let note = screen.locale.say(note);
        spans.push(Span::raw(format!(" ({note})")));
    }
    Line::from(spans)
}

fn list(frame: &mut Frame<'_>, screen: &mut Screen, area: Rect) {
    let locale = &screen.locale;
    let longest = screen.rows.iter().map(|r| r.view.name.chars().count());
    let name = longest.max().unwrap_or(0).clamp(8, LONGEST_NAME);
    let is_wide = area.width >= WIDE;
    let fits = |(least, _): &(u16, usize)| area.width >= *least;
    let spark = SPARKS.into_iter().find(fits).map_or(0, |(_, spark)| spark);
    let mut head = vec![locale.say("endpoint")];
    let mut widths = vec![Constraint::Length(name as u16 + 2)];
    if is_wide {
        let columns = [
            (locale.say("last hour"), spark),
            (locale.say("1st token"), LATENCY),
            (locale.say("24 h"), SHARE),
        ];
        for (title, least) in columns {
            head.push(title);
            let width = title.chars().count().max(least);
            widths.push(Constraint::Length(width as u16));
        }
    }
    head.push(locale.say("status"));
    widths.push(Constraint::Min(0));
    let rows: Vec<_> = screen
        .rows
        .iter()
        .map(|row| table_row(row, is_wide.then_some(spark), screen))
        .collect();
    let bold = Style::new().add_modifier(Modifier::UNDERLINED);
    let table = Table::new(rows, widths)
        .header(TableRow::new(head).style(bold))
        .column_spacing(1)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    frame.render_stateful_widget(table, area, &mut screen.table);
}

/// A row of the list, with its figures if there is room for a sparkline of this width.
fn table_row(row: &ScreenRow, spark_width: Option<usize>, screen: &Screen) -> TableRow<'static> {
    let view = &row.view;
    let locale = &screen.locale;
    let style = tone_of(view, screen.has_color);
    let mut cells = vec![Cell::from(format!("{} {}", mark(view), view.name)).style(style)];
    if let Some(width) = spark_width {
        let ms = view
            .first_token_ms_p50
            .map_or(NONE.to_owned(), |ms| locale.latency(ms));
        let share = view
            .availability_24h
            .map_or(NONE.to_owned(), |a| locale.percent(a));
        cells.extend([
            Cell::from(spark(&view.last_hour, width)),
            Cell::from(Line::from(ms).right_aligned()),
            Cell::from(Line::from(share).right_aligned()),
        ]);
    }
    let status = status_word(view, locale);
    let status = match row.reason.as_str() {
        "" => status.to_owned(),
        reason => format!("{status}: {reason}"),
    };
    cells.push(Cell::from(status).style(style));
    TableRow::new(cells)
}

/// Draws the last hour in `width` columns, each the worst of its minutes: low is good, half is
/// slow, full is failed.
fn spark(minutes: &str, width: usize) -> String {
    let minutes: Vec<char> = minutes.chars().collect();
    let length = minutes.len().div_ceil(width).max(1);
    minutes.chunks(length).map(column).collect()
}

/// Returns the column for some minutes; the worst minute counts.
fn column(minutes: &[char]) -> char {
    match minutes {
        minutes if minutes.contains(&'x') => '█',
        minutes if minutes.contains(&'~') => '▄',
        minutes if minutes.contains(&'.') => '▁',
        _ => ' ',
    }
}

fn details(row: &ScreenRow, screen: &Screen) -> Vec<Line<'static>> {
    let view = &row.view;
    let locale = &screen.locale;

    let style = tone_of(view, screen.has_color).add_modifier(Modifier::BOLD);
    let title = format!(
        "{} {}: {}",
        mark(view),
        view.name,
        status_word(view, locale)
    );
    let mut lines = vec![Line::from(""), Line::styled(title, style)];
    if !row.reason.is_empty() {
        lines.push(Line::from(row.reason.clone()));
    }
    lines.push(Line::from(""));
    lines.push(fact(locale.say("provider"), &view.title));
    if let Some(model) = &view.model {
        lines.push(fact(locale.say("model"), model));
    }
    if let Some(group) = &view.group {
        lines.push(fact(locale.say("group"), group));
    }
    let usual = latency(view.typical_first_token_ms, locale);
    let now = latency(view.first_token_ms_p50, locale);
    lines.push(fact(
        locale.say("first token"),
        &text!(locale, "{now}, usually {usual}", now, usual),
    ));
    lines.push(fact(
        locale.say("total"),
        &latency(view.total_ms_p50, locale),
    ));
    let share = view
        .availability_24h
        .map_or(NONE.to_owned(), |a| locale.percent(a));
    lines.push(fact(locale.say("24 h"), &share));
    if let Some(at) = view.last_probe_at {
        lines.push(fact(
            locale.say("last probe"),
            &locale.time_short(at, screen.now),
        ));
    }
    lines.push(fact(
        locale.say("last hour"),
        &spark(&view.last_hour, WIDE_SPARK),
    ));
    if let Some(incident) = screen.incident(&view.name) {
        lines.push(Line::from(""));
        lines.extend(incident_lines(incident, locale));
    }
    lines
}

fn fact(name: &str, value: &str) -> Line<'static> {
    Line::from(format!("{name:<14} {value}"))
}

fn latency(ms: Option<f64>, locale: &Locale) -> String {
    ms.map_or(NONE.to_owned(), |ms| locale.latency(ms))
}

fn incident_lines(incident: &Incident, locale: &Locale) -> Vec<Line<'static>> {
    let number = incident.number;
    let title = narrator::title(incident, locale);
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut lines = vec![
        Line::styled(
            text!(locale, "Incident {number}: {title}", number, title),
            bold,
        ),
        Line::from(narrator::summary(incident, locale)),
    ];
    let command = match &incident.acknowledged {
        Some(_) => locale.say("acknowledged").to_owned(),
        None => format!("llmwatch ack {number}"),
    };
    lines.push(Line::from(command));
    lines
}

/// The last line: what is shown, cut if necessary, and the keys.
fn footer(screen: &Screen, width: usize) -> Line<'static> {
    let locale = &screen.locale;
    if screen.is_typing {
        let filter = &screen.filter;
        return Line::from(text!(
            locale,
            "filter: {filter}_  (Enter keeps it, Esc clears it)",
            filter
        ));
    }
    if screen.is_open {
        return Line::from(locale.say("Esc back  ↑↓ next endpoint  q quit"));
    }
    let shown = screen.rows.len();
    let total = screen.total;
    let sort = locale.say(match screen.sort {
        Sort::Status => "worst first",
        Sort::Name => "by name",
        Sort::Latency => "slowest first",
        Sort::Availability => "least available first",
    });
    let keys = locale.say("↑↓ Enter details  / filter  s sort  p problems  q quit");
    let shown = text!(locale, "{shown} of {total}, {sort}", shown, total, sort);
    let room = width.saturating_sub(keys.chars().count() + 2);
    Line::from(format!("{}  {keys}", cut(&shown, room)))
}

fn tone_of(view: &EndpointView, has_color: bool) -> Style {
    match (view.alert.state, has_color) {
        (AlertState::Pending, true) => Style::new().fg(Color::Yellow),
        _ => tone(view.status, has_color),
    }
}

fn tone(status: Status, has_color: bool) -> Style {
    if !has_color {
        return Style::new();
    }
    Style::new().fg(match status {
        Status::Operational => Color::Green,
        Status::Degraded => Color::Yellow,
        Status::Outage => Color::Red,
        Status::Unknown | Status::Maintenance => Color::Gray,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_minute_of_a_column_shows() {
        let mut minutes = ".".repeat(57);
        minutes += "~x.";
        assert_eq!(spark(&minutes, 10), "▁▁▁▁▁▁▁▁▁█");
        assert_eq!(spark(&minutes, 60).chars().nth(57), Some('▄'));
        assert_eq!(spark("", 10), "");
    }
}
