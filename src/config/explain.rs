//! `check --explain KEY`: the value of one key, and the file and line that set it.

use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::looks_secret;
use super::keys::{Key, describe};
use super::load::read_sources;
use super::{ConfigError, Environment};

/// Tables that are arrays (`[[table]]`).
const LISTS: [&str; 6] = [
    "endpoint",
    "connectivity_check",
    "status_feed",
    "email",
    "webhook",
    "maintenance",
];

/// One key of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Explanation {
    /// The key as requested.
    pub key: String,
    /// The value as written, with secrets masked; `None` if nothing sets it.
    pub value: Option<String>,
    /// The file that sets it.
    pub file: Option<PathBuf>,
    /// The line in that file, from 1.
    pub line: Option<usize>,
    /// The default, for people.
    pub default: String,
    /// What the key does.
    pub text: String,
}

/// Why a key cannot be explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The files cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no such key.
    #[error("unknown key `{0}`; write it as `monitor.listen` or `endpoint.NAME.interval`")]
    UnknownKey(String),
    /// There is no such entry of a list.
    #[error("no `[[{table}]]` is called `{name}`; there are: {known}")]
    UnknownEntry {
        /// The list.
        table: String,
        /// The requested name.
        name: String,
        /// The existing names, or numbers for entries without a name.
        known: String,
    },
}

/// Explains `key`, such as `monitor.listen`, `detection.alert_after` or
/// `endpoint.NAME.timeout.connect`. Entries without a `name` are numbered from 1. A key of an
/// endpoint may come from `[defaults]`, and one of its `detection` from `[detection]`.
///
/// # Errors
/// Unreadable files, an unknown key, an unknown entry.
pub fn explain(
    path: &Path,
    surroundings: &Environment,
    key: &str,
) -> Result<Explanation, ExplainError> {
    let (table, rest) = key.split_once('.').unwrap_or(("", key));
    let (name, rest) = match rest.split_once('.') {
        Some((name, rest)) if LISTS.contains(&table) => (Some(name), rest),
        _ => (None, rest),
    };
    let described = describe(&format!("{table}.{rest}"));
    let described = described.ok_or_else(|| ExplainError::UnknownKey(key.to_owned()))?;
    let (sources, _) = read_sources(path, surroundings)?;
    let documents = match sources.merged() {
        Ok((main, _)) => main,
        Err(problems) => return Err(ConfigError::new(sources, problems).into()),
    };
    let root = documents.get_ref();
    let layers = match name {
        None => vec![(root, key.to_owned())],
        Some(name) => {
            let entry = entry(root, table, name)?;
            let mut layers = vec![(entry, rest.to_owned())];
            if table == "endpoint" {
                layers.push((root, format!("defaults.{rest}")));
                if rest.starts_with("detection.") {
                    layers.push((root, rest.to_owned()));
                }
            }
            layers
        }
    };
    let found = layers.iter().find_map(|(table, path)| value(table, path));
    let place = found.map(|v| sources.place(&v.span()));
    Ok(Explanation {
        key: key.to_owned(),
        value: found.map(|v| shown(v.get_ref(), &described)),
        file: place.as_ref().map(|p| p.path.to_owned()),
        line: place.map(|p| p.line),
        default: described.default,
        text: described.text,
    })
}

/// Finds the entry of a list with this name or number.
fn entry<'t, 'a>(
    root: &'t DeTable<'a>,
    table: &str,
    name: &str,
) -> Result<&'t DeTable<'a>, ExplainError> {
    let entries: Vec<&DeTable<'a>> = value(root, table)
        .and_then(|v| v.get_ref().as_array())
        .map(|array| {
            array
                .iter()
                .filter_map(|v| v.get_ref().as_table())
                .collect()
        })
        .unwrap_or_default();
    let called = |place: usize, entry: &DeTable<'a>| {
        value(entry, "name")
            .and_then(|v| v.get_ref().as_str())
            .map_or_else(|| (place + 1).to_string(), str::to_owned)
    };
    let names: Vec<String> = entries
        .iter()
        .enumerate()
        .map(|(i, e)| called(i, e))
        .collect();
    match names.iter().position(|n| n == name) {
        Some(place) => Ok(entries[place]),
        None => Err(ExplainError::UnknownEntry {
            table: table.to_owned(),
            name: name.to_owned(),
            known: names.join(", "),
        }),
    }
}

/// Finds the value at a dotted path.
fn value<'t, 'a>(table: &'t DeTable<'a>, path: &str) -> Option<&'t Spanned<DeValue<'a>>> {
    match path.split_once('.') {
        None => table.get(path),
        Some((first, rest)) => value(table.get(first)?.get_ref().as_table()?, rest),
    }
}

/// Formats the value as written, and masks it if it may be secret.
fn shown(value: &DeValue<'_>, key: &Key) -> String {
    match value {
        DeValue::String(text) if text.contains("${") => format!("{text:?}"),
        _ if key.is_secret() => "\"***\"".to_owned(),
        DeValue::String(text) if looks_secret(text) => "\"***\"".to_owned(),
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.as_str().to_owned(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(yes) => yes.to_string(),
        DeValue::Datetime(at) => at.to_string(),
        DeValue::Array(items) => {
            let items: Vec<String> = items.iter().map(|i| shown(i.get_ref(), key)).collect();
            format!("[{}]", items.join(", "))
        }
        DeValue::Table(table) => {
            let inner = |name: &str, value| {
                // Headers are often credentials.
                if key.kind.as_deref() == Some("map") {
                    format!("{name} = \"***\"")
                } else {
                    format!("{name} = {}", shown(value, key))
                }
            };
            let items: Vec<String> = table
                .iter()
                .map(|(name, value)| inner(name.get_ref(), value.get_ref()))
                .collect();
            format!("{{ {} }}", items.join(", "))
        }
    }
}
