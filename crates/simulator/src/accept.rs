//! The accept loop that the provider and both sinks share.

use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// How long to wait before retrying when no file descriptors are left.
const BREATHER: Duration = Duration::from_millis(50);

/// The maximum number of concurrent connections; others wait in the kernel's queue.
const CONNECTIONS: usize = 1024;

/// Serves each connection in its own task. Dropping the future closes the listener and all
/// connections.
pub(crate) async fn accept<F, S>(listener: TcpListener, mut serve: F)
where
    F: FnMut(TcpStream) -> S,
    S: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => drop(connections.spawn(serve(stream))),
                Err(_) => tokio::time::sleep(BREATHER).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}
