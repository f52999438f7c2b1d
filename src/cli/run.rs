//! `llmwatch run`: the daemon in the foreground.

use tokio_util::sync::CancellationToken;

use super::{Exit, Globals, load_whole};
use crate::daemon;
use crate::log;

pub(super) async fn run(globals: &Globals) -> Exit {
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
