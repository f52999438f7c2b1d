//! `llmwatch run`: the daemon in the foreground.

use std::collections::BTreeSet;
use std::io::IsTerminal as _;

use tokio_util::sync::CancellationToken;

use super::{EX_CONFIG, Exit, Failure, Globals, load_whole};
use crate::config::{ConfigError, Environment, Settings, show};
use crate::daemon;
use crate::store::StoreError;
use crate::store::postgres::SharedError;
use crate::systemd::Service;
use llmwatch_core::message::values::Locale;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: llmwatch -c monitor.toml run")]
pub(super) struct RunArgs {}

pub(super) async fn run(globals: &Globals, _: &RunArgs) -> Exit {
    let end = serve(globals).await;
    if let Err(failure) = &end {
        // `systemctl status` shows this beside the exit status.
        Service::from_env().status(failure.text.lines().next().unwrap_or_default());
    }
    end
}

async fn serve(globals: &Globals) -> Exit {
    let path = globals.config_path();
    let given = globals.level;
    let load = move || -> Result<_, ConfigError> {
        let mut config = load_whole(&path, &Environment::from_process())?;
        config.log.level = given.unwrap_or(config.log.level);
        Ok(config)
    };
    let config = load().map_err(|e| Failure::misconfigured(&e))?;
    globals.install_log(Some(&config.log));
    if std::io::stderr().is_terminal() && !globals.is_for_machines(config.log.format) {
        eprintln!("{}", orientation(&config));
    }
    let end = daemon::run(config, Box::new(load), CancellationToken::new()).await;
    end.map(|()| 0).map_err(|error| {
        let refused = error.downcast_ref::<StoreError>();
        let refused_there = error.downcast_ref::<SharedError>();
        let misconfigured = refused.is_some_and(StoreError::is_misconfiguration)
            || refused_there.is_some_and(SharedError::is_misconfiguration);
        let code = if misconfigured { EX_CONFIG } else { 1 };
        Failure::from(error).with(code)
    })
}

/// Describes what to expect in the first minutes, for a person at a terminal.
fn orientation(settings: &Settings) -> String {
    let locale = Locale::english(settings.monitor.timezone);
    let endpoints = &settings.endpoints;
    let count = locale.count(endpoints.len() as u64, "endpoint", "endpoints");
    let intervals: BTreeSet<_> = endpoints.iter().map(|e| e.interval).collect();
    let every = match (intervals.first(), intervals.last()) {
        (Some(first), Some(last)) if first == last => format!("every {}", show(*first)),
        (Some(first), Some(last)) => format!("every {} to {}", show(*first), show(*last)),
        _ => "nothing".to_owned(),
    };
    let mut lines = vec![format!(
        "Probing {count} {every} from {}; each is probed within the first seconds.",
        settings.monitor.location
    )];
    if let Some(address) = settings.process.listen {
        lines.push(format!("Status page: http://{address}/"));
    }
    let channels: Vec<_> = settings.channels.iter().map(|c| c.name.as_str()).collect();
    let soonest = endpoints.iter().map(|e| e.detection.alert_after()).min();
    lines.push(match (channels.is_empty(), soonest) {
        (true, _) => {
            "Nobody is notified: add an [[email]] or a [[webhook]] to the configuration.".to_owned()
        }
        (false, Some(after)) => format!(
            "Alerts go to {} once an outage has lasted about {}; it needs no learning.",
            locale.list(&channels),
            show(after)
        ),
        (false, None) => format!("Alerts go to {}.", locale.list(&channels)),
    });
    lines.push(
        "Slowness: typical latency is learned from the first 50 probes of each endpoint, and kept."
            .to_owned(),
    );
    lines.push("Stop with Ctrl-C.".to_owned());
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    #[test]
    fn a_person_learns_what_comes() {
        let text = "[monitor]\nlocation = \"fra1\"\n[[endpoint]]\nprovider = \"openai\"\napi_key = \"x\"\n\
                    [[webhook]]\nname = \"hook\"\nurl = \"https://example.com/\"\n";
        let surroundings = Environment {
            vars: [("HOME".to_owned(), "/root".to_owned())].into(),
            ..Environment::default()
        };
        let settings =
            config::load_text(Path::new("monitor.toml"), text.to_owned(), &surroundings).unwrap();
        let said = orientation(&settings);
        assert!(
            said.contains("Probing 1 endpoint every 1m from fra1"),
            "{said}"
        );
        assert!(
            said.contains("Alerts go to hook once an outage has lasted about 90s"),
            "{said}"
        );
        assert!(said.contains("http://127.0.0.1:8686/"), "{said}");
    }
}
