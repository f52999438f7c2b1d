//! `llmwatch run`: the daemon in the foreground.

use tokio_util::sync::CancellationToken;

use super::{Exit, Globals, load_whole};
use crate::daemon;
use crate::log;
use crate::service::Service;

pub(super) async fn run(globals: &Globals) -> Exit {
    let end = serve(globals).await;
    if let Err(failure) = &end {
        // What `systemctl status` shows from then on, beside the exit status.
        Service::from_env().status(failure.text.lines().next().unwrap_or_default());
    }
    end
}

async fn serve(globals: &Globals) -> Exit {
    let config = globals.load_whole()?;
    globals.install_log(Some(&config.log));
    let path = globals.config_path();
    let given = globals.level;
    let reload = Box::new(move || {
        let config = load_whole(&path)?;
        log::set_level(given.unwrap_or(config.log.level));
        Ok(config)
    });
    daemon::run(config, reload, CancellationToken::new()).await?;
    Ok(0)
}
