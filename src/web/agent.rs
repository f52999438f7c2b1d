//! HAProxy's agent check: HAProxy connects, sends the endpoint's name (`agent-send`), reads one
//! line and closes the connection.
//!
//! Clients cannot tie up the daemon: it reads one short line, writes one, and closes the connection
//! within [`READ`] + [`WRITE`].

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::View;

/// The most open connections; more are closed at once.
const CONNECTIONS: usize = 256;
/// How long a client may take to send its line.
const READ: Duration = Duration::from_secs(1);
/// How long it may take to read the reply.
const WRITE: Duration = Duration::from_secs(1);
/// The longest line, in bytes.
const LINE_BYTES: usize = 256;
/// The delay after an error of `accept` (such as no file descriptors left), to avoid a busy loop.
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
    // Ignore clients that do not read the reply.
    let _ = timeout(WRITE, async {
        stream.write_all(format!("{reply}\n").as_bytes()).await?;
        stream.shutdown().await
    })
    .await;
}

/// Reads the first line without its line ending. Invalid UTF-8 is replaced.
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
