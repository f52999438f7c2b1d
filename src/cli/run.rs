//! `llmwatch run`: the daemon in the foreground.

use tokio_util::sync::CancellationToken;

use super::{Exit, Globals};
use crate::config::{self, Surroundings};
use crate::daemon;

pub(super) async fn run(globals: &Globals) -> Exit {
    let config = globals.load()?;
    globals.install_log(Some(&config.log));
    let path = globals.config_path();
    let reload = Box::new(move || config::load(&path, &Surroundings::from_process()));
    daemon::run(config, reload, CancellationToken::new()).await?;
    Ok(0)
}
