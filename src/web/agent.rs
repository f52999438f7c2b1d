//! HAProxy's agent check: HAProxy connects, sends the endpoint's name (`agent-send`), reads one line and closes.
//!
//! Nothing that a client does may hurt: one short line is read, one is written, and the connection ends within
//! [`READ`] + [`WRITE`].

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::View;

/// Connections at once; a further one is closed.
const CONNECTIONS: usize = 256;
/// How long a client may take to send its line.
const READ: Duration = Duration::from_secs(1);
/// How long it may take to read the reply.
const WRITE: Duration = Duration::from_secs(1);
/// The longest line.
const LINE_BYTES: usize = 256;
/// After an error of `accept` (no file descriptors left): a short wait instead of a busy loop.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Answers agent checks on `listener` until the daemon stops.
pub async fn run(listener: TcpListener, view: View) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = view.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_RETRY).await;
            continue;
        };
        let Ok(slot) = slots.clone().try_acquire_owned() else {
            continue;
        };
        let view = view.clone();
        tokio::spawn(async move {
            answer(stream, &view).await;
            drop(slot);
        });
    }
}

async fn answer(mut stream: TcpStream, view: &View) {
    let name = timeout(READ, line(&mut stream)).await.unwrap_or_default();
    let ramp = view.config.borrow().route.ramp;
    let reply = view.traffic.reply(&name, (view.wall)(), ramp);
    // A client that does not read has no use for the reply.
    let _ = timeout(WRITE, async {
        stream.write_all(format!("{reply}\n").as_bytes()).await?;
        stream.shutdown().await
    })
    .await;
}

/// The first line without its end, as far as it is text.
async fn line(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    let mut part = [0; LINE_BYTES];
    while line.len() < LINE_BYTES && !line.contains(&b'\n') {
        match stream.read(&mut part).await {
            Ok(0) | Err(_) => break,
            Ok(n) => line.extend_from_slice(&part[..n]),
        }
    }
    let first = line.split(|b| matches!(b, b'\r' | b'\n')).next();
    String::from_utf8_lossy(first.unwrap_or_default())
        .trim()
        .to_owned()
}
