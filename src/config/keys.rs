//! The description of each key of monitor.toml, from `keys.toml`: for the JSON Schema, the
//! configuration reference and `check --explain`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

/// The description of one key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Key {
    /// `string`, `secret`, `duration` and so on; absent when `one_of` lists the values.
    #[serde(rename = "type", default)]
    pub(crate) kind: Option<String>,
    /// The possible values.
    #[serde(default)]
    pub(crate) one_of: Vec<String>,
    /// The default, for people.
    pub(crate) default: String,
    /// What it does.
    pub(crate) text: String,
}

static TABLES: LazyLock<BTreeMap<String, BTreeMap<String, Key>>> = LazyLock::new(|| {
    toml::from_str(include_str!("keys.toml"))
        .unwrap_or_else(|error| panic!("src/config/keys.toml, a part of the program: {error}"))
});

/// Returns the description of a key by its path in the reader (`monitor.listen`,
/// `endpoint.timeout.connect`). The `_file` and `_credential` forms of a secret share its
/// description.
pub(crate) fn describe(path: &str) -> Option<Key> {
    let path = path.trim_start_matches('.');
    find(path).or_else(|| find(without_source(path)?))
}

impl Key {
    /// Reports whether the value is a secret, which also has `_file` and `_credential` forms.
    pub(crate) fn is_secret(&self) -> bool {
        self.kind.as_deref() == Some("secret")
    }
}

/// Returns the only table that has `key`; `None` if there is none, or several.
pub(crate) fn table_of(key: &str) -> Option<&'static str> {
    let mut tables = TABLES.iter().filter(|(_, keys)| keys.contains_key(key));
    let (table, _) = tables.next()?;
    (tables.next().is_none() && table != "top" && table != "channel").then_some(table)
}

/// Strips `_file` or `_credential`.
fn without_source(path: &str) -> Option<&str> {
    path.strip_suffix("_file")
        .or_else(|| path.strip_suffix("_credential"))
}

/// Reports whether this is another form of a described key, such as `api_key_file`.
pub(crate) fn is_other_form(path: &str) -> bool {
    find(path.trim_start_matches('.')).is_none() && without_source(path).is_some()
}

fn find(path: &str) -> Option<Key> {
    let (table, key) = path.rsplit_once('.').unwrap_or(("top", path));
    let table = match table.split_once('.') {
        // Several tables share these keys.
        Some(("defaults" | "endpoint", "detection")) => "detection".to_owned(),
        Some(("defaults", rest)) => format!("endpoint.{rest}"),
        _ if table == "defaults" => "endpoint".to_owned(),
        _ => table.to_owned(),
    };
    let shared = matches!(table.as_str(), "email" | "webhook").then_some("channel");
    [Some(table.as_str()), shared]
        .into_iter()
        .flatten()
        .find_map(|table| in_table(table, key))
}

fn in_table(table: &str, key: &str) -> Option<Key> {
    TABLES.get(table)?.get(key).cloned()
}
