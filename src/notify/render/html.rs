//! The HTML part of a mail: tables and inline styles, for programs of every age; nothing is loaded from elsewhere.

use super::{Letter, Setting, letter};
use crate::model::{Attribution, Notice, NoticeType, Status};

const FONT: &str = "font-family:-apple-system,Segoe UI,Roboto,Helvetica,Arial,sans-serif";
/// Colours that read on white and on black.
const RED: &str = "#c62f2f";
const AMBER: &str = "#a86500";
const GREEN: &str = "#1d8348";
const BLUE: &str = "#2f6db5";

/// The body of a mail about `notice`, as a page. Everything from outside is escaped.
pub fn html(notice: &Notice, setting: Setting) -> String {
    let letter = letter(notice, setting);
    let (word, colour) = mood(notice);
    let mut body = format!(
        "<tr><td style=\"border-top:4px solid {colour};padding:20px 0 4px 0\">\
         <span style=\"color:{colour};font-weight:bold;font-size:13px;letter-spacing:1px\">{word}</span>\
         <h1 style=\"margin:6px 0 0 0;font-size:20px;line-height:1.3\">{}</h1></td></tr>\n",
        escape(&letter.headline)
    );
    if let Some(late) = &letter.late {
        body += &paragraph("late", late);
    }
    for (name, text) in &letter.paragraphs {
        body += &paragraph(name, text);
    }
    body += &figures(&letter);
    body += &rows("what works instead", &["endpoint", "first token", "24 h"], &letter.alternatives);
    body += &rows(
        "the last bad probes",
        &["time", "endpoint", "what", "request id", "the provider's words"],
        &letter.samples,
    );
    if let Some(link) = &letter.link {
        let link = escape(link);
        body += &format!(
            "<tr><td style=\"padding:14px 0 0 0\"><a href=\"{link}\" style=\"color:{BLUE}\">{link}</a></td></tr>\n"
        );
    }
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\"><meta name=\"supported-color-schemes\" content=\"light dark\">\n\
         <title>{}</title></head>\n\
         <body style=\"margin:0;padding:0;{FONT};font-size:15px;line-height:1.5\">\n\
         <table role=\"presentation\" width=\"100%\" cellpadding=\"0\" cellspacing=\"0\"><tr><td align=\"center\" style=\"padding:12px\">\n\
         <table role=\"presentation\" width=\"100%\" cellpadding=\"0\" cellspacing=\"0\" style=\"max-width:640px;text-align:left;{FONT}\">\n\
         {body}<tr><td style=\"padding:20px 0 0 0;font-size:12px;color:#808080;word-break:break-word\">{}</td></tr>\n\
         </table></td></tr></table></body></html>\n",
        escape(&letter.headline),
        escape(&letter.footer)
    )
}

fn mood(notice: &Notice) -> (&'static str, &'static str) {
    let Some(incident) = &notice.incident else {
        return match notice.r#type {
            NoticeType::Test => ("TEST", BLUE),
            NoticeType::Official => ("OFFICIAL", BLUE),
            _ => ("MONITOR", AMBER),
        };
    };
    match (notice.r#type, incident.attribution, incident.status) {
        (NoticeType::Resolved, ..) => ("RESOLVED", GREEN),
        (_, Attribution::Account, _) => ("YOUR ACCOUNT", AMBER),
        (_, Attribution::Local, _) => ("MONITOR", AMBER),
        (_, _, Status::Degraded) => ("DEGRADED", AMBER),
        _ => ("OUTAGE", RED),
    }
}

fn paragraph(name: &str, text: &str) -> String {
    format!(
        "<tr><td style=\"padding:12px 0 0 0\"><span style=\"color:#808080;font-size:13px\">{name}</span><br>{}</td></tr>\n",
        escape(text)
    )
}

fn figures(letter: &Letter) -> String {
    if letter.figures.is_empty() {
        return String::new();
    }
    let mut cells = String::new();
    for (name, value) in &letter.figures {
        cells += &format!(
            "<tr><td style=\"padding:2px 14px 2px 0;color:#808080;font-size:13px;white-space:nowrap;vertical-align:top\">{name}</td>\
             <td style=\"padding:2px 0;word-break:break-word\">{}</td></tr>\n",
            escape(value)
        );
    }
    format!(
        "<tr><td style=\"padding:12px 0 0 0\"><table role=\"presentation\" cellpadding=\"0\" cellspacing=\"0\">\n{cells}</table></td></tr>\n"
    )
}

fn rows<const N: usize>(name: &str, heads: &[&str; N], rows: &[[String; N]]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    // Each row is a block of its own: five columns do not fit on a phone.
    let mut blocks = String::new();
    for row in rows {
        let mut parts = row.iter().zip(heads).filter(|(value, _)| !value.is_empty()).map(|(value, head)| match *head {
            "endpoint" | "what" => format!("<b>{}</b>", escape(value)),
            "time" => escape(value),
            head => format!("<span style=\"color:#808080\">{head}</span> {}", escape(value)),
        });
        let first = parts.next().unwrap_or_default();
        let line = parts.fold(first, |line, part| format!("{line} &middot; {part}"));
        blocks += &format!(
            "<div style=\"padding:6px 0;border-top:1px solid #80808040;word-break:break-word\">{line}</div>\n"
        );
    }
    format!(
        "<tr><td style=\"padding:14px 0 0 0\"><span style=\"color:#808080;font-size:13px\">{name}</span>\n{blocks}</td></tr>\n"
    )
}

/// For text and for attributes in double quotes.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if c.is_control() && c != '\n' => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}
