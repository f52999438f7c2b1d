//! Keys that are read and checked but do not change anything yet. This list only ever shrinks.

use super::raw::Table;
use crate::config::endpoint::Read;

/// Keys of a table of their own.
const TABLES: &[&str] = &["report"];
/// Keys of other tables.
const KEYS: &[(&str, &[&str])] = &[("defaults", &["slo"])];
const ENDPOINT: &[&str] = &["slo"];

/// Warns about every such key that was written.
pub(super) fn warn(root: &Table<'_>, reads: &[Read<'_>]) {
    let sink = root.sink();
    let not_yet = |what: String| sink.warn(format!("{what} is not yet in effect"));
    for table in TABLES.iter().filter(|t| root.get(t).is_some()) {
        not_yet(format!("`[{table}]`"));
    }
    for (name, keys) in KEYS {
        let table = root.get(name).and_then(|v| v.table(name));
        for key in keys.iter().filter(|k| table.as_ref().is_some_and(|t| t.get(k).is_some())) {
            not_yet(format!("`{key}` of `[{name}]`"));
        }
    }
    for read in reads {
        for key in ENDPOINT.iter().filter(|k| read.table.get(k).is_some()) {
            not_yet(format!("`{key}` of an endpoint"));
        }
    }
}
