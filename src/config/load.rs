//! Loads the configuration: reads the files, then every table, then checks the rules that involve
//! several tables.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::diagnostic::{Diagnostic, echo};
use super::endpoint::{self, CheckedEndpoint};
use super::raw::{Sink, Table};
use super::references::{
    check_references, name_channels, name_endpoints, refuse_names_of_long_probes,
};
use super::source::{self, Sources};
use super::tables::{
    read_budget, read_connectivity_checks, read_drill, read_heartbeat, read_log, read_maintenance,
    read_monitor, read_otlp, read_quorum, read_report, read_route, read_store, read_web,
};
use super::{
    Channel, Config, ConfigError, Environment, Settings, channel, feed, lint, state_dir, webhook,
};

/// Reads and checks the file at `path`, and the files that its `include` names.
///
/// # Errors
/// All problems at once.
pub fn load(path: &Path, surroundings: &Environment) -> Result<Settings, ConfigError> {
    let (sources, warnings) = read_sources(path, surroundings)?;
    checked(sources, warnings, surroundings)
}

/// Checks `text` as if it were the file at `path`, without includes.
///
/// # Errors
/// All problems at once.
pub fn load_text(
    path: &Path,
    text: String,
    surroundings: &Environment,
) -> Result<Settings, ConfigError> {
    checked(Sources::of_text(path, text), Vec::new(), surroundings)
}

/// Returns the `state_dir` that the file at `path` sets, whatever is wrong with its other keys.
/// `None` if that is uncertain.
pub fn state_dir_of(path: &Path, surroundings: &Environment) -> Option<PathBuf> {
    let (sources, _) = read_sources(path, surroundings).ok()?;
    let sink = Sink::new(&sources, surroundings);
    let (document, problems) = sources.merged().ok()?;
    if !problems.is_empty() {
        return None;
    }
    let root = Table::new("", &document, &sink);
    let written = root.section("monitor").get("state_dir");
    let directory = state_dir::read(written, &sink);
    sink.diagnostics.take().is_empty().then_some(directory)
}

fn checked(
    sources: Sources,
    warnings: Vec<String>,
    surroundings: &Environment,
) -> Result<Settings, ConfigError> {
    match parse(&sources, surroundings) {
        Ok((mut settings, _)) => {
            settings.warnings.extend(warnings);
            settings.warnings.extend(lint::warnings(&settings));
            Ok(settings)
        }
        Err(all) => Err(ConfigError::new(sources, all)),
    }
}

/// Reads the file at `path` and the files that its `include` names. Returns them with any warnings.
pub(super) fn read_sources(
    path: &Path,
    surroundings: &Environment,
) -> Result<(Sources, Vec<String>), ConfigError> {
    let text = source::read_file(path).map_err(|(message, help)| {
        let help = if path.exists() {
            help
        } else {
            "name the file with `-c FILE`, or let `llmwatch init` write one"
        };
        ConfigError::of_file(path, message, Some(help.to_owned()))
    })?;
    let mut sources = Sources::of_text(path, text);
    match include(&mut sources, surroundings) {
        Ok(warnings) => Ok((sources, warnings)),
        Err(all) => Err(ConfigError::new(sources, all)),
    }
}

/// Reads the files that `include` of the main file names into `sources`. Returns warnings.
fn include(
    sources: &mut Sources,
    surroundings: &Environment,
) -> Result<Vec<String>, Vec<Diagnostic>> {
    let mut found = Vec::new();
    let mut warnings = Vec::new();
    let diagnostics = {
        let documents = sources.parse()?;
        let sink = Sink::new(sources, surroundings);
        let root = documents.first().map(|main| Table::new("", main, &sink));
        let patterns = root.and_then(|root| root.get("include")?.items());
        for pattern in patterns.unwrap_or_default() {
            let Some(text) = pattern.string() else {
                continue;
            };
            let directory = sources.directory(pattern.span.start);
            match source::matching_files(&directory, &text) {
                Ok(files) if files.is_empty() => {
                    warnings.push(format!("`include`: {} matches no file", echo(&text)));
                }
                Ok(files) => found.extend(files.into_iter().map(|f| (f, pattern.span.clone()))),
                Err(why) => {
                    let message = format!("`include` {}: {why}", echo(&text));
                    let _: Option<()> = pattern.error(message, "check the pattern");
                }
            }
        }
        sink.diagnostics.take()
    };
    let mut problems = diagnostics;
    let mut read = BTreeSet::new();
    for (path, span) in found {
        if !read.insert(path.clone()) {
            continue;
        }
        match source::read_file(&path) {
            Ok(text) => sources.add(&path, &text),
            Err((message, help)) => problems.push(Diagnostic {
                message,
                span: Some(span),
                help: Some(help.to_owned()),
            }),
        }
    }
    if problems.is_empty() {
        Ok(warnings)
    } else {
        Err(problems)
    }
}

/// The known keys of each table: those that the reader requests.
pub(super) type KnownKeys = BTreeMap<String, BTreeSet<&'static str>>;

/// Parses and checks all files.
pub(super) fn parse(
    sources: &Sources,
    surroundings: &Environment,
) -> Result<(Settings, KnownKeys), Vec<Diagnostic>> {
    let sink = Sink::new(sources, surroundings);
    let (document, problems) = sources.merged()?;
    sink.diagnostics.borrow_mut().extend(problems);
    let root = Table::new("", &document, &sink);
    root.get("include");
    let mut config = read(&root, sources.path());
    let diagnostics = sink.diagnostics.take();
    let asked = sink.asked.take();
    if !diagnostics.is_empty() {
        return Err(diagnostics);
    }
    config.warnings = sink.warnings.take();
    Ok((config, asked))
}

fn read(root: &Table<'_>, path: &Path) -> Settings {
    let sink = root.sink();
    let (monitor, process) = read_monitor(root);
    let store = read_store(root, &process.state_dir);
    let log = read_log(root);
    let budget = read_budget(root);
    let quorum = read_quorum(root);

    let defaults = root.table("defaults");
    let detection: Vec<_> = root.table("detection").into_iter().collect();
    let tables = root.tables("endpoint");
    let mut reads: Vec<CheckedEndpoint<'_>> = tables
        .iter()
        .filter_map(|t| endpoint::read(t, defaults.as_ref(), &detection))
        .collect();
    endpoint::read_alone(&detection, defaults.as_ref().filter(|_| !tables.is_empty()));
    name_endpoints(&mut reads);
    let of_long_answers: Vec<_> = reads.iter().filter_map(endpoint::long_of).collect();
    refuse_names_of_long_probes(&reads, &of_long_answers);
    reads.extend(of_long_answers);
    let connectivity_checks = read_connectivity_checks(root, &reads);
    let feeds = feed::read(root, &reads);

    let emails = root.tables("email");
    let webhooks = root.tables("webhook");
    let mut channels: Vec<(Table<'_>, Channel)> = Vec::new();
    channels.extend(
        emails
            .iter()
            .filter_map(|t| Some((t.clone(), channel::email(t)?))),
    );
    channels.extend(
        webhooks
            .iter()
            .filter_map(|t| Some((t.clone(), webhook::webhook(t)?))),
    );
    name_channels(&mut channels);
    let maintenance = root
        .tables("maintenance")
        .iter()
        .filter_map(read_maintenance)
        .collect();
    let heartbeat = read_heartbeat(root);
    let report = read_report(root, &channels);
    let drill = read_drill(root, &channels);
    let otlp = read_otlp(root);
    let web = read_web(root, &channels);
    let route = read_route(root);
    root.finish();
    check_references(&reads, &channels);
    if reads.iter().all(|r| !r.enabled) {
        sink.warn("no endpoint is configured: nothing is probed");
    }
    if channels.is_empty() {
        sink.warn(
            "no channel is configured, so nobody is notified: add an `[[email]]` or a `[[webhook]]`",
        );
    }
    let mut endpoints: Vec<_> = reads
        .into_iter()
        .filter(|r| r.enabled)
        .map(|r| Arc::new(r.endpoint))
        .collect();
    // `collect` reuses the larger allocation of `reads`: release the rest.
    endpoints.shrink_to_fit();
    let config = Config {
        monitor,
        budget,
        quorum,
        endpoints,
        connectivity_checks,
        status_feeds: feeds,
        channels: channels.into_iter().map(|(_, c)| Arc::new(c)).collect(),
        maintenance,
        report,
        drill,
    };
    Settings {
        config: Arc::new(config),
        path: path.to_owned(),
        process,
        log,
        store,
        heartbeat,
        otlp,
        web,
        route,
        warnings: Vec::new(),
    }
}
