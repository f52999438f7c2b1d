//! `[detection]` alone: the rules of a replay.

use std::path::Path;

use super::check::syntax;
use super::diagnostic::Diagnostic;
use super::raw::{Sink, Table};
use super::{ConfigError, Surroundings, endpoint};
use crate::model::DetectionPolicy;

/// The tables of a configuration besides `[detection]`.
const TABLES: [&str; 15] = [
    "monitor",
    "log",
    "store",
    "budget",
    "defaults",
    "endpoint",
    "control",
    "status_feed",
    "email",
    "webhook",
    "maintenance",
    "heartbeat",
    "report",
    "otlp",
    "web",
];
const RULES_HELP: &str = "write a TOML file with a `[detection]` table as in monitor.toml";

/// Reads the `[detection]` table of the file at `path`: the rules of a replay. The other tables of a configuration may stand
/// in it and are not looked at.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn load_rules(
    path: &Path,
    surroundings: &Surroundings,
) -> Result<DetectionPolicy, ConfigError> {
    let source = std::fs::read_to_string(path).map_err(|error| {
        let message = format!("cannot read the rules: {error}");
        ConfigError::new(
            path,
            String::new(),
            vec![Diagnostic {
                message,
                span: None,
                help: Some(RULES_HELP.to_owned()),
            }],
        )
    })?;
    parse_rules(path, &source, surroundings).map_err(|all| ConfigError::new(path, source, all))
}

fn parse_rules(
    path: &Path,
    source: &str,
    surroundings: &Surroundings,
) -> Result<DetectionPolicy, Vec<Diagnostic>> {
    let document = syntax(source)?;
    let sink = Sink::new(path, surroundings);
    let root = Table::new("", &document, &sink);
    for table in TABLES {
        root.get(table);
    }
    let detection: Vec<_> = root.table("detection").into_iter().collect();
    if detection.is_empty() {
        sink.error(
            None,
            "there is no `[detection]` table",
            Some(RULES_HELP.to_owned()),
        );
    }
    let policy = endpoint::read_alone(&detection, None);
    root.finish();
    let diagnostics = sink.diagnostics.take();
    if diagnostics.is_empty() {
        Ok(policy)
    } else {
        Err(diagnostics)
    }
}
