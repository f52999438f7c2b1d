//! The parsed configuration: every default filled in, every reference resolved, nothing left to
//! check downstream.
//!
//! Reading goes one way. [`source`] reads the files and `raw` walks the parsed TOML with its spans.
//! `endpoint`, `channel`, `webhook`, `feed` and `tables` convert each table to typed settings, and
//! `references` checks them together. `load` calls these in turn and reports all problems at once;
//! [`diagnostic`] formats them.

mod channel;
mod cloud;
mod diagnostic;
mod dkim;
mod endpoint;
mod error;
mod explain;
mod feed;
mod keys;
mod lint;
mod load;
mod percent;
pub mod plan;
mod postgres;
mod proxy;
mod raw;
mod references;
mod roots;
mod rules;
mod settings;
mod source;
mod state_dir;
mod tables;
mod webhook;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

pub(crate) use self::cloud::service_key;
pub use self::diagnostic::Diagnostic;
pub(crate) use self::dkim::dkim_key;
pub(crate) use self::endpoint::client_identity;
pub use self::error::ConfigError;
pub use self::explain::{ExplainError, Explanation, explain};
pub(crate) use self::keys::{Key, describe, is_other_form};
pub use self::load::{load, load_text, state_dir_of};
pub use self::postgres::PostgresUrl;
pub(crate) use self::roots::extra_roots;
pub use self::rules::{load_rules, rules_from_text};
pub use self::settings::{
    Heartbeat, Log, LogFormat, Otlp, ProcessSettings, Public, RouteSettings, Settings,
    StoreSettings, Web,
};
use self::source::Sources;
pub use self::webhook::signing_key;
pub use llmwatch_core::config::*;
pub use llmwatch_core::protocol::catalog;

/// What the configuration may refer to outside its files. It is an argument, so that tests can
/// supply their own.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// The environment variables.
    pub vars: HashMap<String, String>,
    /// The machine's name, restricted to the characters that a location may have.
    pub hostname: String,
    /// Accept secrets that cannot be read: for commands that only read the store, and for a check
    /// outside the service, where systemd provides no credentials.
    pub without_secrets: bool,
}

impl Environment {
    /// The environment of this process.
    pub fn from_process() -> Self {
        let vars = std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        let node = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        let fits = |c: char| {
            if c.is_ascii_alphanumeric() || "._-".contains(c) {
                c
            } else {
                '-'
            }
        };
        let hostname: String = node
            .split('.')
            .next()
            .unwrap_or_default()
            .chars()
            .map(fits)
            .take(64)
            .collect();
        let hostname = if hostname.is_empty() {
            "here".to_owned()
        } else {
            hostname
        };
        Self {
            vars: vars.collect(),
            hostname,
            without_secrets: false,
        }
    }
}

/// A file with every table once, so that the reader requests all of its keys.
const EVERY_TABLE: &str = include_str!("every_table.toml");

/// Returns every known key as `table.key`: those that the reader requests when every table is
/// present.
///
/// # Errors
/// Only if the list of tables has a mistake.
pub fn known_keys(surroundings: &Environment) -> Result<BTreeSet<String>, ConfigError> {
    let sources = Sources::of_text(Path::new("monitor.toml"), EVERY_TABLE.to_owned());
    // The files that it names do not exist.
    let surroundings = Environment {
        without_secrets: true,
        ..surroundings.clone()
    };
    match load::parse(&sources, &surroundings) {
        Ok((_, asked)) => Ok(asked
            .into_iter()
            .flat_map(|(table, keys)| keys.into_iter().map(move |key| format!("{table}.{key}")))
            .collect()),
        Err(all) => Err(ConfigError::new(sources, all)),
    }
}
