//! Configuration reload: which changes apply at once, which need a restart, and how that is logged.

use std::sync::Arc;

use serde_json::json;
use tracing::Level;

use super::scheduler::SchedulerCommand;
use super::{ReloadConfig, RunningDaemon, probed_endpoints, warn};
use crate::command::Command;
use crate::config::Settings;
use crate::config::plan::Plan;
use crate::log::{self, Event, emit};
use crate::web;
use llmwatch_core::schedule::budget;

impl RunningDaemon {
    /// Rereads the configuration and applies it if it is valid. Sends the result to `reply`.
    pub(super) async fn reload(&mut self, reload: &ReloadConfig, reply: Option<web::ReloadReply>) {
        self.service.reloading();
        let new = self.read_config(reload);
        self.counters.reloaded(new.is_ok());
        if let Some(reply) = reply {
            let result = new.as_ref().map(|_| ()).map_err(|error| first_error(error));
            // The client may have disconnected.
            let _ = reply.send(result);
        }
        match new {
            Err(error) => rejected(&error),
            Ok(new) => self.follow(new).await,
        }
        self.service.ready();
    }

    fn read_config(&self, reload: &ReloadConfig) -> Result<Settings, String> {
        let new = reload().map_err(|error| error.to_string())?;
        let prober = self.prober.reload(&new);
        prober.map_err(|error| error.to_string())?;
        Ok(new)
    }

    async fn follow(&mut self, new: Settings) {
        let current = self.config.borrow().clone();
        let new = Arc::new(reloaded(new, &current));
        let multiplier = budget::interval_multiplier(&new);
        let command = Command::Reload(new.clone(), multiplier);
        self.commands.send(command).await.ok();
        let follow = SchedulerCommand::Follow(probed_endpoints(&new), multiplier);
        self.scheduler.send(follow).ok();
        self.config.send_replace(new);
    }
}

/// Returns `new` with the settings of `current` that cannot change without a restart, and logs the
/// reload.
fn reloaded(mut new: Settings, current: &Settings) -> Settings {
    let fixed = [
        (
            new.store.path != current.store.path || new.store.shared != current.store.shared,
            "the store's `url`",
        ),
        (new.process.listen != current.process.listen, "`listen`"),
        (
            new.process.max_concurrent_probes != current.process.max_concurrent_probes,
            "`max_concurrent_probes`",
        ),
        (new.log.format != current.log.format, "the log's `format`"),
        (
            new.route.agent_listen != current.route.agent_listen,
            "`agent_listen`",
        ),
    ];
    let needs_restart: Vec<_> = fixed
        .iter()
        .filter(|(changed, _)| *changed)
        .map(|(_, name)| *name)
        .collect();
    new.store.path.clone_from(&current.store.path);
    new.store.shared.clone_from(&current.store.shared);
    new.process.listen = current.process.listen;
    new.process.max_concurrent_probes = current.process.max_concurrent_probes;
    new.log.format = current.log.format;
    new.route.agent_listen = current.route.agent_listen;
    let mut message = format!(
        "{} endpoints, {} channels",
        new.endpoints.len(),
        new.channels.len()
    );
    if !needs_restart.is_empty() {
        message += &format!("; a restart is needed for {}", needs_restart.join(", "));
    }
    let fields = json!({"endpoints": new.endpoints.len(), "channels": new.channels.len(), "needs_restart": needs_restart});
    // A change of the log level is logged at the more verbose of both levels.
    log::set_level(new.log.level.max(current.log.level));
    emit(
        Event::ConfigReloaded,
        Level::INFO,
        &format!("the configuration is reloaded: {message}"),
        &fields,
    );
    log::set_level(new.log.level);
    let known = Plan::of(current).warnings;
    warn(
        Plan::of(&new)
            .warnings
            .into_iter()
            .filter(|warning| !known.contains(warning)),
    );
    new
}

fn rejected(error: &str) {
    let first = first_error(error);
    emit(
        Event::ConfigRejected,
        Level::ERROR,
        &format!("the new configuration was rejected, the old one stays in effect: {first}"),
        &json!({"error": error}),
    );
}

/// Formats the first configuration error as one line with its place and help, and the number of
/// further errors.
fn first_error(text: &str) -> String {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let Some(first) = lines.next() else {
        return "it cannot be read".to_owned();
    };
    let mut message = first.strip_prefix("error: ").unwrap_or(first).to_owned();
    let rest: Vec<_> = lines
        .take_while(|line| !line.starts_with("error: "))
        .collect();
    if let Some(place) = rest.iter().find_map(|line| line.strip_prefix("--> ")) {
        message += &format!(" ({place})");
    }
    if let Some(help) = rest.iter().find_map(|line| line.strip_prefix("help: ")) {
        message += &format!("; {help}");
    }
    match text
        .lines()
        .filter(|line| line.starts_with("error: "))
        .count()
    {
        0 | 1 => message,
        n => format!("{message} (and {} more)", n - 1),
    }
}
