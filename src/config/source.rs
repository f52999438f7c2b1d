//! The files of a configuration: the main one, and those that its `include` names.
//!
//! Every file has its own range of offsets, so that a span identifies the file as well as the
//! position. Spaces before a file's text fill the offsets before its range, so that the parser
//! returns spans in these offsets.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::diagnostic::Diagnostic;
use crate::files;

/// The size limit of all files of a configuration together, in bytes; a thousand endpoints take
/// about 200 KiB.
const MAX_BYTES: u64 = 4 << 20;
/// The most files that `include` may name.
const MAX_FILES: usize = 1_000;

/// One file of a configuration.
#[derive(Debug)]
struct SourceFile {
    path: PathBuf,
    /// Spaces up to the file's start offset, then its text.
    padded: String,
    start: usize,
}

impl SourceFile {
    fn text(&self) -> &str {
        &self.padded[self.start..]
    }
}

/// The human-readable start of a span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place<'s> {
    /// The file.
    pub(crate) path: &'s Path,
    /// From 1.
    pub(crate) line: usize,
    /// In characters, from 1.
    pub(crate) column: usize,
    /// The text of the line.
    pub(crate) text: &'s str,
    /// How many characters of that line the span covers, at least 1.
    pub(crate) width: usize,
}

/// All files of a configuration, the main one first.
#[derive(Debug)]
pub(crate) struct Sources {
    files: Vec<SourceFile>,
}

impl Sources {
    /// Creates a main file whose text could not be read.
    pub(crate) fn unread(path: &Path) -> Self {
        Self::of_text(path, String::new())
    }

    /// Creates a main file with this text.
    pub(crate) fn of_text(path: &Path, text: String) -> Self {
        let main = SourceFile {
            path: path.to_owned(),
            padded: text,
            start: 0,
        };
        Self { files: vec![main] }
    }

    /// The main file.
    pub(crate) fn path(&self) -> &Path {
        &self.files[0].path
    }

    /// Adds an included file.
    pub(crate) fn add(&mut self, path: &Path, text: &str) {
        // Starts one past the end of the last file: a span at the very end of that file still
        // belongs to it.
        let start = self.files.last().map_or(0, |f| f.padded.len() + 1);
        let mut padded = " ".repeat(start);
        padded += text;
        self.files.push(SourceFile {
            path: path.to_owned(),
            padded,
            start,
        });
    }

    /// Parses every file as a TOML table with spans in the offsets of this set, the main one first.
    ///
    /// # Errors
    /// Every syntax error of every file.
    pub(crate) fn parse(&self) -> Result<Vec<Spanned<DeTable<'_>>>, Vec<Diagnostic>> {
        let mut tables = Vec::new();
        let mut problems = Vec::new();
        for file in &self.files {
            match syntax(&file.padded) {
                Ok(table) => tables.push(table),
                Err(found) => problems.extend(found),
            }
        }
        if problems.is_empty() {
            Ok(tables)
        } else {
            Err(problems)
        }
    }

    /// Merges all files into one table. Also returns problems: keys that two files set, or that
    /// only the main file may set.
    ///
    /// # Errors
    /// Every syntax error of every file.
    pub(crate) fn merged(
        &self,
    ) -> Result<(Spanned<DeTable<'_>>, Vec<Diagnostic>), Vec<Diagnostic>> {
        let mut documents = self.parse()?.into_iter();
        let Some(mut main) = documents.next() else {
            return Ok((Spanned::new(0..0, DeTable::new()), Vec::new()));
        };
        let mut problems = Vec::new();
        let mut twice = Vec::new();
        for document in documents {
            let included = document.into_inner();
            if let Some((key, _)) = included.iter().find(|(k, _)| k.get_ref() == "include") {
                problems.push(Diagnostic {
                    message: "`include` in an included file".to_owned(),
                    span: Some(key.span()),
                    help: Some("name all files in the main one".to_owned()),
                });
            }
            merge(main.get_mut(), included, "", &mut twice);
        }
        problems.extend(twice.into_iter().map(|Twice { key, first, second }| {
            let place = self.place(&first);
            let at = format!("{}:{}", place.path.display(), place.line);
            Diagnostic {
                message: format!("`{key}` is set twice"),
                span: Some(second),
                help: Some(format!("it is also set at {at}: keep one of them")),
            }
        }));
        Ok((main, problems))
    }

    fn file_of(&self, offset: usize) -> &SourceFile {
        let after = self.files.partition_point(|f| f.start <= offset);
        &self.files[after.saturating_sub(1)]
    }

    /// Returns the directory that relative paths at `offset` start from.
    pub(crate) fn directory(&self, offset: usize) -> PathBuf {
        let parent = self.file_of(offset).path.parent();
        parent.map(Path::to_owned).unwrap_or_default()
    }

    /// Returns the start of `span`.
    pub(crate) fn place(&self, span: &Range<usize>) -> Place<'_> {
        let file = self.file_of(span.start);
        let text = file.text();
        let start = text.floor_char_boundary((span.start - file.start).min(text.len()));
        let begin = text[..start].rfind('\n').map_or(0, |i| i + 1);
        let line = text[begin..].lines().next().unwrap_or_default();
        let line_end = begin + line.len().max(start - begin);
        let end = span.end.saturating_sub(file.start).clamp(start, line_end);
        let end = text.floor_char_boundary(end);
        Place {
            path: &file.path,
            line: text[..begin].matches('\n').count() + 1,
            column: text[begin..start].chars().count() + 1,
            text: line,
            width: text[start..end].chars().count().max(1),
        }
    }
}

/// Parses `text` as TOML.
///
/// # Errors
/// Every syntax error.
fn syntax(text: &str) -> Result<Spanned<DeTable<'_>>, Vec<Diagnostic>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(table);
    }
    Err(errors
        .iter()
        .map(|error| Diagnostic {
            message: format!("invalid TOML: {}", error.message()),
            span: error.span(),
            help: Some("fix the syntax; keys are checked after that".to_owned()),
        })
        .collect())
}

/// Reads a configuration file, which must be a regular file and UTF-8.
///
/// # Errors
/// Why it cannot be read, and what to do.
pub(crate) fn read_file(path: &Path) -> Result<String, (String, &'static str)> {
    let shown = path.display();
    let cannot = |why: String| {
        (
            format!("cannot read `{shown}`: {why}"),
            "check its path and permissions",
        )
    };
    let bytes = files::read(path, MAX_BYTES).map_err(|e| cannot(e.to_string()))?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.split(|byte| *byte == b'\n').count();
        let message = format!("not UTF-8 at {shown}:{line}");
        (message, "save the file as UTF-8")
    })
}

/// Lists the files that an `include` pattern matches, relative to `directory` and sorted by name.
/// `*` and `?` match within a file's name, not in a directory's.
///
/// # Errors
/// Why the directory cannot be listed.
pub(crate) fn matching_files(directory: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let full_pattern = directory.join(pattern);
    let (Some(parent), Some(name)) = (
        full_pattern.parent(),
        full_pattern.file_name().and_then(|n| n.to_str()),
    ) else {
        return Err("it names no file".to_owned());
    };
    if !name.contains(['*', '?']) {
        let exists = full_pattern.exists();
        return Ok(exists.then(|| full_pattern.clone()).into_iter().collect());
    }
    let entries = match std::fs::read_dir(parent) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("cannot list `{}`: {error}", parent.display())),
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let file = path.file_name().and_then(|n| n.to_str());
            // As in a shell, only a pattern that begins with a dot matches hidden files.
            file.is_some_and(|f| f.starts_with('.') == name.starts_with('.') && wildcard(name, f))
        })
        .take(MAX_FILES + 1)
        .collect();
    if files.len() > MAX_FILES {
        return Err(format!("it matches more than {MAX_FILES} files"));
    }
    files.sort();
    Ok(files)
}

/// Reports whether `name` matches a pattern with `*` and `?`.
fn wildcard(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let mut p = 0;
    let mut n = 0;
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => {
                // Lets the last `*` match one more character.
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                p = at + 1;
                n = from + 1;
            }
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Merges an included table into the main one. Tables are merged and arrays are concatenated; a key
/// that both set is added to `twice` with both positions.
fn merge<'a>(main: &mut DeTable<'a>, included: DeTable<'a>, path: &str, twice: &mut Vec<Twice>) {
    for (key, value) in included {
        let name = if path.is_empty() {
            key.get_ref().to_string()
        } else {
            format!("{path}.{}", key.get_ref())
        };
        let first = main.iter().find(|(k, _)| k.get_ref() == key.get_ref());
        let first = first.map(|(k, _)| k.span());
        let Some(existing) = main.get_mut(key.get_ref().as_ref()) else {
            main.insert(key, value);
            continue;
        };
        match (existing.get_mut(), value.into_inner()) {
            (DeValue::Table(a), DeValue::Table(b)) => merge(a, b, &name, twice),
            (DeValue::Array(a), DeValue::Array(b)) => join(a, b),
            _ => twice.push(Twice {
                key: name,
                first: first.unwrap_or_default(),
                second: key.span(),
            }),
        }
    }
}

fn join<'a>(first: &mut DeArray<'a>, second: DeArray<'a>) {
    for value in second {
        first.push(value);
    }
}

/// A key that two files set.
#[derive(Debug)]
struct Twice {
    /// The key with its table.
    key: String,
    /// The first definition.
    first: Range<usize>,
    /// The second definition.
    second: Range<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_of_an_included_file_names_its_own_line() {
        let mut sources = Sources::of_text(Path::new("monitor.toml"), "a = 1\n".to_owned());
        sources.add(Path::new("conf.d/more.toml"), "# more\n\nb = \"ä\"\n");
        let tables = sources.parse().unwrap();
        let (key, _) = tables[1].get_ref().iter().next().unwrap();
        let place = sources.place(&key.span());
        assert_eq!(place.path, Path::new("conf.d/more.toml"));
        assert_eq!((place.line, place.column, place.text), (3, 1, "b = \"ä\""));
        assert_eq!(sources.directory(key.span().start), Path::new("conf.d"));
    }

    #[test]
    fn wildcards_match_as_in_a_shell() {
        for (pattern, name) in [("*.toml", "a.toml"), ("?-*.toml", "1-x.toml"), ("*", "x")] {
            assert!(wildcard(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("*.toml", "a.toml.bak"),
            ("?.toml", "ab.toml"),
            ("a*b", "ac"),
        ] {
            assert!(!wildcard(pattern, name), "{pattern} {name}");
        }
    }
}
