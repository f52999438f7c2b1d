//! Renders the document of a digest, an advice or a report as plain text, Markdown or an HTML page.
//! Pure.

use askama::Template;

use super::values::Locale;
use crate::model::Block;

/// The maximum line width that every mail program shows without wrapping.
pub const WIDTH: usize = 76;

/// Renders plain text in lines of at most `width` characters; a single word may be longer. A table
/// that is too wide is printed with one cell per line.
pub fn text(blocks: &[Block], width: usize) -> String {
    let mut out = String::new();
    for (place, block) in blocks.iter().enumerate() {
        // No blank line between a heading and its content.
        let follows_heading = place > 0 && matches!(blocks[place - 1], Block::Heading(_));
        if place > 0 && !follows_heading {
            out.push('\n');
        }
        match block {
            Block::Heading(text) => {
                out += &format!("{}\n", wrapped(&text.to_uppercase(), "", "", width));
            }
            Block::Text(text) => {
                let indent = if follows_heading { "  " } else { "" };
                out += &format!("{}\n", wrapped(text, indent, indent, width));
            }
            Block::List(entries) => {
                for entry in entries {
                    out += &format!("{}\n", wrapped(entry, "  - ", "    ", width));
                }
            }
            Block::Table { head, rows } => out += &table(head, rows, width),
        }
    }
    out
}

/// Wraps `text` at `width` characters. The first line begins with `first`, the others with `rest`.
pub fn wrapped(text: &str, first: &str, rest: &str, width: usize) -> String {
    let mut lines = vec![first.to_owned()];
    let mut empty = true;
    for word in text.split_whitespace() {
        let used = lines.last().map_or(0, |l| l.chars().count());
        if !empty && used + 1 + word.chars().count() > width {
            lines.push(rest.to_owned());
            empty = true;
        }
        if let Some(line) = lines.last_mut() {
            if !empty {
                line.push(' ');
            }
            line.push_str(word);
            empty = false;
        }
    }
    lines.join("\n")
}

fn table(head: &[String], rows: &[Vec<String>], width: usize) -> String {
    let all = std::iter::once(head).chain(rows.iter().map(Vec::as_slice));
    let mut widths = vec![0; head.len()];
    for row in all.clone() {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    if widths.iter().map(|w| w + 2).sum::<usize>() <= width {
        let mut out = String::new();
        for row in all {
            let cells = row.iter().zip(&widths).enumerate().map(|(c, (cell, w))| {
                // Names are left-aligned, figures right-aligned.
                if c == 0 {
                    format!("{cell:w$}")
                } else {
                    format!("{cell:>w$}")
                }
            });
            out += &format!("  {}\n", cells.collect::<Vec<_>>().join("  ").trim_end());
        }
        return out;
    }
    let names = head.iter().skip(1);
    let label = names.map(|name| name.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for row in rows {
        out += &format!("  {}\n", row.first().map_or("", String::as_str));
        for (name, cell) in head.iter().zip(row).skip(1) {
            out += &format!("    {name:label$}  {cell}\n");
        }
    }
    out
}

/// Renders plain text for receivers with a proportional font: one line per row.
pub fn lines(blocks: &[Block]) -> String {
    let mut out: Vec<String> = Vec::new();
    for block in blocks {
        match block {
            Block::Heading(text) if out.is_empty() => out.push(text.clone()),
            Block::Heading(text) => out.extend([String::new(), text.clone()]),
            Block::Text(text) => out.push(text.clone()),
            Block::List(entries) => out.extend(entries.iter().map(|e| format!("• {e}"))),
            Block::Table { head, rows } => out.extend(rows.iter().map(|row| {
                let cells: Vec<_> = head
                    .iter()
                    .zip(row)
                    .skip(1)
                    .map(|(name, cell)| format!("{name} {cell}"))
                    .collect();
                format!(
                    "• {}: {}",
                    row.first().map_or("", String::as_str),
                    cells.join(", ")
                )
            })),
        }
    }
    out.join("\n")
}

/// Renders Markdown; special characters in the text are escaped.
pub fn markdown(blocks: &[Block]) -> String {
    let mut out = String::new();
    for block in blocks {
        match block.map(escape_markdown) {
            Block::Heading(text) => out += &format!("\n## {text}\n"),
            Block::Text(text) => out += &format!("\n{text}\n"),
            Block::List(entries) => {
                out.push('\n');
                out.extend(entries.iter().map(|e| format!("- {e}\n")));
            }
            Block::Table { head, rows } => {
                let right = " ---: |".repeat(head.len().saturating_sub(1));
                out += &format!("\n| {} |\n| --- |{right}\n", head.join(" | "));
                out.extend(rows.iter().map(|r| format!("| {} |\n", r.join(" | "))));
            }
        }
    }
    out
}

fn escape_markdown(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if matches!(
            c,
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '|' | '~' | '&'
        ) {
            out.push('\\');
        }
        out.push(if c.is_control() { ' ' } else { c });
    }
    out
}

#[derive(Template)]
#[template(path = "document/page.html")]
struct HtmlPage<'a> {
    title: &'a str,
    blocks: &'a [Block],
    figures: &'a str,
    lang: &'static str,
    font: &'a str,
    gray: &'a str,
}

/// System fonts for mails and pages.
pub const FONT: &str = "font-family:-apple-system,Segoe UI,Roboto,Helvetica,Arial,sans-serif";
/// A gray that is readable on white; in dark mode, the class `gray` replaces it.
pub const GRAY: &str = "#666666";

/// Renders a self-contained HTML page, for light and dark mode. `figures` is HTML.
pub fn page(title: &str, blocks: &[Block], figures: &str, locale: &Locale) -> String {
    // Rendering into a string cannot fail.
    HtmlPage {
        title,
        blocks,
        figures,
        lang: locale.lang(),
        font: FONT,
        gray: GRAY,
    }
    .render()
    .unwrap_or_default()
}

/// Splits `text` into parts, each with whether it is a web address.
pub(in crate::message) fn linked(text: &str) -> Vec<(&str, bool)> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("https://") {
        let address = &rest[start..];
        let end = address.find(char::is_whitespace).unwrap_or(address.len());
        let address = address[..end].trim_end_matches(['.', ',', ';', ':', ')']);
        parts.push((&rest[..start], false));
        parts.push((address, true));
        rest = &rest[start + address.len()..];
    }
    parts.push((rest, false));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|w| (*w).to_owned()).collect()
    }

    #[test]
    fn web_addresses_become_links() {
        let text = "Terms: OpenAI https://a.example/x?y=1, Google https://b.example/sla.";
        assert_eq!(
            linked(text),
            [
                ("Terms: OpenAI ", false),
                ("https://a.example/x?y=1", true),
                (", Google ", false),
                ("https://b.example/sla", true),
                (".", false),
            ]
        );
        assert_eq!(
            linked("javascript:alert(1)"),
            [("javascript:alert(1)", false)]
        );
    }

    #[test]
    fn a_table_that_is_too_wide_is_set_below_its_names() {
        let table = Block::Table {
            head: words(&["name", "share"]),
            rows: vec![words(&["a", "99.9 %"])],
        };
        assert_eq!(
            text(std::slice::from_ref(&table), 40),
            "  name   share\n  a     99.9 %\n"
        );
        assert_eq!(text(&[table], 10), "  a\n    share  99.9 %\n");
    }

    #[test]
    fn lines_are_kept_short_and_entries_hang() {
        let blocks = [
            Block::Heading("Faults".to_owned()),
            Block::List(words(&["one two three four", "five"])),
        ];
        assert_eq!(
            text(&blocks, 15),
            "FAULTS\n  - one two\n    three four\n  - five\n"
        );
    }

    #[test]
    fn nothing_acts_in_markdown_or_in_a_page() {
        let blocks = [Block::Text("<b>|*x*\n# y".to_owned())];
        assert_eq!(markdown(&blocks), "\n\\<b\\>\\|\\*x\\* \\# y\n");
        assert!(
            page("<i>", &blocks, "", &Locale::default()).contains("&#60;b&#62;|*x*"),
            "{}",
            page("<i>", &blocks, "", &Locale::default())
        );
    }
}
