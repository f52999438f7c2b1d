//! All problems of a configuration as one error, each with its line.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use super::diagnostic::{Diagnostic, masked};
use super::source::Sources;

/// All problems of a configuration.
#[derive(Debug)]
pub struct ConfigError {
    sources: Sources,
    diagnostics: Vec<Diagnostic>,
}

impl ConfigError {
    /// Creates an error from the problems of these files, sorted by position and without
    /// duplicates.
    pub(crate) fn new(sources: Sources, mut diagnostics: Vec<Diagnostic>) -> Self {
        diagnostics.sort_by_key(|d| d.span.as_ref().map_or(0, |s| s.start));
        diagnostics.dedup();
        Self {
            sources,
            diagnostics,
        }
    }

    /// Creates an error with one problem of the entire file at `path`.
    pub(crate) fn of_file(path: &Path, message: String, help: Option<String>) -> Self {
        let diagnostic = Diagnostic {
            message,
            span: None,
            help,
        };
        Self::new(Sources::unread(path), vec![diagnostic])
    }

    /// Creates an error for parts that the file at `path` configures, such as an unusable key file.
    pub(crate) fn of_parts(path: &Path, problems: Vec<String>) -> Self {
        let diagnostics = problems
            .into_iter()
            .map(|message| Diagnostic {
                message,
                span: None,
                help: None,
            })
            .collect();
        Self::new(Sources::unread(path), diagnostics)
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
                None => writeln!(f, " --> {}", self.sources.path().display())?,
                Some(span) => self.show(f, span)?,
            }
            if let Some(help) = &diagnostic.help {
                writeln!(f, "  help: {help}")?;
            }
            writeln!(f)?;
        }
        let path = self.sources.path().display();
        match self.diagnostics.len() {
            1 => write!(f, "1 error in {path}"),
            n => write!(f, "{n} errors in {path}"),
        }
    }
}

impl ConfigError {
    fn show(&self, f: &mut fmt::Formatter<'_>, span: &Range<usize>) -> fmt::Result {
        let place = self.sources.place(span);
        let number = place.line;
        let gutter = number.to_string().len();
        let path = place.path.display();
        writeln!(f, "{:gutter$}--> {path}:{number}:{}", "", place.column)?;
        writeln!(f, "{:gutter$} |", "")?;
        writeln!(f, "{number} | {}", masked(place.text))?;
        let before = place.column - 1;
        let carets = "^".repeat(place.width);
        writeln!(f, "{:gutter$} | {:before$}{carets}", "", "")
    }
}
