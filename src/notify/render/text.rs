//! The text part of a mail.

use super::{Setting, letter};
use crate::model::Notice;

/// The widest line that every program shows whole.
const WIDTH: usize = 76;

/// The body of a mail about `notice`, for programs and people that prefer text.
pub fn text(notice: &Notice, setting: Setting) -> String {
    let letter = letter(notice, setting);
    let mut out = wrapped(&letter.headline, "");
    if let Some(late) = &letter.late {
        out += &format!("\n{}", wrapped(late, ""));
    }
    for (name, paragraph) in &letter.paragraphs {
        out += &format!("\n{}\n{}", name.to_uppercase(), wrapped(paragraph, "  "));
    }
    if !letter.figures.is_empty() {
        out += "\nTHE NUMBERS\n";
        for (name, value) in &letter.figures {
            out += &format!("  {name:15} {value}\n");
        }
    }
    if !letter.alternatives.is_empty() {
        out += "\nWHAT WORKS INSTEAD\n";
        for (place, [name, latency, availability]) in letter.alternatives.iter().enumerate() {
            let place = place + 1;
            out += &format!("  {place}. {name}: first token {latency}, {availability} good in the last 24 h\n");
        }
    }
    if !letter.samples.is_empty() {
        out += "\nTHE LAST BAD PROBES\n";
        for [time, endpoint, what, id, words] in &letter.samples {
            out += &format!("  {time}  {endpoint}  {what}");
            if !id.is_empty() {
                out += &format!("  request id {id}");
            }
            out += "\n";
            if !words.is_empty() {
                out += &wrapped(&format!("\"{words}\""), "            ");
            }
        }
    }
    if let Some(link) = &letter.link {
        out += &format!("\n{link}\n");
    }
    out + &format!("\n-- \n{}\n", letter.footer)
}

/// `text` in lines of at most [`WIDTH`] characters, each with `indent` before it.
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
    lines.iter().fold(String::new(), |text, line| text + indent + line + "\n")
}
