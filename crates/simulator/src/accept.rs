//! The accept loop that the provider and both sinks share.

use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// How long to wait when the system has no descriptors left, before asking again.
const BREATHER: Duration = Duration::from_millis(50);

/// Most connections served at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 1024;

/// Serves each connection in a task of its own. Dropping the future closes the listener and every connection.
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
