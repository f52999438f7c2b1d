//! Problems of a configuration, written for the person who fixes it: what is wrong, where, and what
//! to do.
//!
//! All problems are shown at once. The line shown never reveals a secret: asterisks replace quoted
//! text after a key that may hold one, and anything that looks like a key.

use std::ops::Range;

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong.
    pub message: String,
    /// Where, as an offset range in the configuration's files; `None` if it concerns the entire
    /// main file.
    pub span: Option<Range<usize>>,
    /// What to do.
    pub help: Option<String>,
}

/// Words in the names of keys whose values may be secret.
const SENSITIVE: [&str; 11] = [
    "key",
    "secret",
    "token",
    "smtp",
    "url",
    "pass",
    "auth",
    "header",
    "cookie",
    "bearer",
    "credential",
];

/// Replaces anything in the line that may be secret with asterisks, without changing its length.
pub(super) fn masked(line: &str) -> String {
    let key = line
        .split('=')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let quoted = line.contains(['"', '\'']);
    if quoted
        && SENSITIVE
            .iter()
            .any(|word| key.contains(word) || line.to_ascii_lowercase().contains(word))
    {
        let from = line.find(['"', '\'']).unwrap_or(0);
        let (open, rest) = line.split_at(from);
        return open.to_owned() + &starred(rest);
    }
    line.split_inclusive(|c: char| c.is_whitespace() || "\"'=,".contains(c))
        .map(|word| {
            if looks_secret(word) {
                starred(word)
            } else {
                word.to_owned()
            }
        })
        .collect()
}

/// Replaces every character with an asterisk, except quotes and variables, which are not secret.
fn starred(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let variable = rest
            .strip_prefix("${")
            .and_then(|r| r.find('}'))
            .map(|end| &rest[..end + 3]);
        if let Some(variable) = variable {
            shown += variable;
            rest = &rest[variable.len()..];
        } else {
            shown.push(if "\"'{}[],= \t".contains(c) { c } else { '*' });
            rest = &rest[c.len_utf8()..];
        }
    }
    shown
}

/// Reports whether a word looks like a real API key.
pub(super) fn looks_secret(word: &str) -> bool {
    let prefixed = [
        "sk-", "sk_", "whsec_", "AIza", "xox", "ghp_", "AKIA", "Bearer ",
    ]
    .iter()
    .any(|p| word.contains(p));
    let long = word.split(|c: char| !c.is_ascii_alphanumeric()).any(|run| {
        run.len() >= 24
            && run.contains(|c: char| c.is_ascii_digit())
            && run.contains(|c: char| c.is_ascii_alphabetic())
    });
    (prefixed && word.len() >= 10) || long || (word.contains("://") && word.contains('@'))
}

/// Returns a value in the form in which a message may show it.
pub(super) fn echo(value: &str) -> String {
    if looks_secret(value) {
        "`***`".to_owned()
    } else {
        format!("`{}`", value.escape_debug())
    }
}

/// Returns the known name that was probably meant.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |k: &str| {
        // So that `azure` suggests `azure-openai`.
        let is_first_part = name.len() > 2 && k.split(['-', '_']).next() == Some(name);
        if is_first_part {
            0
        } else {
            strsim::damerau_levenshtein(name, k)
        }
    };
    known
        .into_iter()
        .map(|k| (distance(k), k))
        .filter(|(distance, k)| *distance <= (k.len().max(name.len()) / 3).max(1))
        .min()
        .map(|(_, k)| k)
}
