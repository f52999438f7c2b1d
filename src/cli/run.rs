//! `llmwatch run`: the daemon in the foreground.

use tokio_util::sync::CancellationToken;

use super::{EX_CONFIG, Exit, Failure, Globals, load_whole};
use crate::config::{ConfigError, Surroundings};
use crate::daemon;
use crate::store::StoreError;
use crate::systemd::Service;

pub(super) async fn run(globals: &Globals) -> Exit {
    let end = serve(globals).await;
    if let Err(failure) = &end {
        // What `systemctl status` shows from then on, beside the exit status.
        Service::from_env().status(failure.text.lines().next().unwrap_or_default());
    }
    end
}

async fn serve(globals: &Globals) -> Exit {
    let path = globals.config_path();
    let given = globals.level;
    let load = move || -> Result<_, ConfigError> {
        let mut config = load_whole(&path, &Surroundings::from_process())?;
        config.log.level = given.unwrap_or(config.log.level);
        Ok(config)
    };
    let config = load().map_err(|e| Failure::misconfigured(&e))?;
    globals.install_log(Some(&config.log));
    let end = daemon::run(config, Box::new(load), CancellationToken::new()).await;
    end.map(|()| 0).map_err(|error| {
        let refused = error.downcast_ref::<StoreError>();
        let misconfigured = refused.is_some_and(StoreError::is_misconfiguration);
        let code = if misconfigured { EX_CONFIG } else { 1 };
        Failure::from(error).with(code)
    })
}
