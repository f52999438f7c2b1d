//! Problems of a configuration file, worded for the person who has to mend it: what, where, and what to do.
//!
//! All are shown at once. The line that is shown never gives a secret away: what stands in quotes behind a key that may
//! hold one, and whatever looks like a key by itself, is starred out.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong.
    pub message: String,
    /// Where, in bytes of the file; `None` when it concerns the file as a whole.
    pub span: Option<Range<usize>>,
    /// What to do.
    pub help: Option<String>,
}

/// Everything that is wrong with a file.
#[derive(Debug)]
pub struct ConfigError {
    path: PathBuf,
    source: String,
    diagnostics: Vec<Diagnostic>,
}

impl ConfigError {
    /// The problems of the file at `path` that holds `source`, in the order of the file, each once.
    pub fn new(path: &Path, source: String, mut diagnostics: Vec<Diagnostic>) -> Self {
        diagnostics.sort_by_key(|d| d.span.as_ref().map_or(0, |s| s.start));
        diagnostics.dedup();
        Self {
            path: path.to_owned(),
            source,
            diagnostics,
        }
    }

    /// The problems.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in &self.diagnostics {
            writeln!(f, "error: {}", diagnostic.message)?;
            match &diagnostic.span {
                None => writeln!(f, " --> {}", self.path.display())?,
                Some(span) => self.show(f, span)?,
            }
            if let Some(help) = &diagnostic.help {
                writeln!(f, "  help: {help}")?;
            }
            writeln!(f)?;
        }
        match self.diagnostics.len() {
            1 => write!(f, "1 error in {}; nothing was changed", self.path.display()),
            n => write!(
                f,
                "{n} errors in {}; nothing was changed",
                self.path.display()
            ),
        }
    }
}

impl ConfigError {
    fn show(&self, f: &mut fmt::Formatter<'_>, span: &Range<usize>) -> fmt::Result {
        let start = self
            .source
            .floor_char_boundary(span.start.min(self.source.len()));
        let begin = self.source[..start].rfind('\n').map_or(0, |i| i + 1);
        let line = self.source[begin..].lines().next().unwrap_or_default();
        let number = self.source[..begin].matches('\n').count() + 1;
        let before = self.source[begin..start].chars().count();
        let end = self
            .source
            .floor_char_boundary(span.end.clamp(start, begin + line.len().max(start - begin)));
        let width = self.source[start..end].chars().count().max(1);
        let gutter = number.to_string().len();
        writeln!(
            f,
            "{:gutter$}--> {}:{number}:{}",
            "",
            self.path.display(),
            before + 1
        )?;
        writeln!(f, "{:gutter$} |", "")?;
        writeln!(f, "{number} | {}", masked(line))?;
        writeln!(f, "{:gutter$} | {:before$}{}", "", "", "^".repeat(width))
    }
}

/// Words of a key whose value may be secret.
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

/// A line with everything starred out that may be secret; as long as the line itself.
fn masked(line: &str) -> String {
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

/// Every character starred out but quotes, and variables, which are no secrets.
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

/// Whether a word looks like a live key by itself.
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

/// A value as it may be shown in a message.
pub(super) fn echo(value: &str) -> String {
    if looks_secret(value) {
        "`***`".to_owned()
    } else {
        format!("`{}`", value.escape_debug())
    }
}

/// The known name that was probably meant.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|k| (strsim::damerau_levenshtein(name, k), k))
        .filter(|(distance, k)| *distance <= (k.len().max(name.len()) / 3).max(1))
        .min()
        .map(|(_, k)| k)
}
