//! A network path for one test, which forwards, is slow, hangs, or is cut.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// The behavior of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    /// Forwards bytes at once.
    Open,
    /// Delays each piece by this long in each direction.
    Slow(Duration),
    /// Connections stay open, but nothing arrives.
    Hanging,
    /// Connections are closed, new ones included.
    Cut,
}

/// Forwards to one port on loopback. It stops when dropped.
pub(crate) struct Link {
    pub(crate) port: u16,
    path: Arc<watch::Sender<Path>>,
    _task: AbortOnDropHandle<()>,
}

impl Link {
    pub(crate) async fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let path = Arc::new(watch::Sender::new(Path::Open));
        let shared = path.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, target, shared.subscribe()));
            }
        });
        Self {
            port,
            path,
            _task: AbortOnDropHandle::new(task),
        }
    }

    pub(crate) fn set(&self, path: Path) {
        self.path.send_replace(path);
    }
}

async fn serve(client: TcpStream, target: u16, mut path: watch::Receiver<Path>) {
    if *path.borrow() == Path::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = forward(from_client, to_server, path.clone()) => {}
        () = forward(from_server, to_client, path.clone()) => {}
        _ = path.wait_for(|path| *path == Path::Cut) => {}
    }
}

async fn forward(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut path: watch::Receiver<Path>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if path.wait_for(|path| *path != Path::Hanging).await.is_err() {
            return;
        }
        let now = *path.borrow();
        if let Path::Slow(delay) = now {
            tokio::time::sleep(delay).await;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
