//! Reads `[detection]` alone: the rules of a replay.

use std::path::Path;

use super::diagnostic::Diagnostic;
use super::raw::{Sink, Table};
use super::source::{self, Sources};
use super::{ConfigError, Environment, endpoint};
use llmwatch_core::model::DetectionPolicy;

/// The other tables of a configuration.
const TABLES: [&str; 18] = [
    "monitor",
    "log",
    "store",
    "budget",
    "quorum",
    "defaults",
    "endpoint",
    "connectivity_check",
    "status_feed",
    "email",
    "webhook",
    "maintenance",
    "heartbeat",
    "report",
    "otlp",
    "web",
    "route",
    "drill",
];
const RULES_HELP: &str = "write a TOML file with a `[detection]` table as in monitor.toml";

/// Reads the `[detection]` table of the file at `path`: the rules of a replay. Other configuration
/// tables in the file are ignored.
///
/// # Errors
/// All problems at once.
pub fn load_rules(path: &Path, surroundings: &Environment) -> Result<DetectionPolicy, ConfigError> {
    let text = source::read_file(path)
        .map_err(|(message, _)| ConfigError::of_file(path, message, Some(RULES_HELP.to_owned())))?;
    let sources = Sources::of_text(path, text);
    match parse_rules(&sources, surroundings) {
        Ok(policy) => Ok(policy),
        Err(all) => Err(ConfigError::new(sources, all)),
    }
}

/// Reads a `[detection]` table from `text` instead of a file. Messages call it `name`.
///
/// # Errors
/// All problems at once.
pub fn rules_from_text(
    name: &str,
    text: String,
    surroundings: &Environment,
) -> Result<DetectionPolicy, ConfigError> {
    let sources = Sources::of_text(Path::new(name), text);
    match parse_rules(&sources, surroundings) {
        Ok(policy) => Ok(policy),
        Err(all) => Err(ConfigError::new(sources, all)),
    }
}

fn parse_rules(
    sources: &Sources,
    surroundings: &Environment,
) -> Result<DetectionPolicy, Vec<Diagnostic>> {
    let documents = sources.parse()?;
    let sink = Sink::new(sources, surroundings);
    let Some(document) = documents.first() else {
        return Ok(DetectionPolicy::default());
    };
    let root = Table::new("", document, &sink);
    for table in TABLES {
        root.get(table);
    }
    let detection: Vec<_> = root.table("detection").into_iter().collect();
    if detection.is_empty() {
        sink.error(
            None,
            "missing table `[detection]`",
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
