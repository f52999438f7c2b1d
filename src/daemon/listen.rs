//! The sockets on which the daemon listens.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;
use serde_json::json;
use tokio::net::{TcpListener, UnixListener};
use tracing::Level;

use crate::log::{Event, emit};
use crate::systemd;
use crate::web;

/// Returns the status page's socket: the inherited one named `http`, else one bound to `address`.
pub(super) async fn page(address: Option<SocketAddr>) -> anyhow::Result<Option<TcpListener>> {
    let passed = systemd::inherited_listener("http")
        .context("the socket `http` from the service manager")?;
    match (passed, address) {
        (Some(listener), _) => Ok(Some(TcpListener::from_std(listener)?)),
        (None, None) => Ok(None),
        (None, Some(address)) => {
            let bound = TcpListener::bind(address).await;
            Ok(Some(bound.with_context(|| {
                format!("cannot listen on {address} (`listen` in `[monitor]`)")
            })?))
        }
    }
}

/// Binds the socket of HAProxy's agent checks.
pub(super) async fn agent(address: Option<SocketAddr>) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = address else {
        return Ok(None);
    };
    let bound = TcpListener::bind(address).await;
    let listener = bound
        .with_context(|| format!("cannot listen on {address} (`agent_listen` in `[route]`)"))?;
    Ok(Some(listener))
}

/// Binds the control socket at `path`. A failure only disables the commands that use it, so it does
/// not stop the daemon.
pub(super) fn control_socket(path: &Path) -> Option<UnixListener> {
    let bound = web::bind_control_socket(path);
    if let Err(error) = &bound {
        emit(
            Event::ConfigWarning,
            Level::WARN,
            &format!(
                "cannot serve the control socket {}: {error}; `ack`, `silence` and `note` need the web token",
                path.display()
            ),
            &json!({"error": error.to_string()}),
        );
    }
    bound.ok()
}
