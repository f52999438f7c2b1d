//! Executes acts on a connection, and records when each group of bytes was really sent.

use std::future::pending;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::{Instant, sleep_until};

use crate::act::{Act, WriteKind};
use crate::exchange::{End, Write};

/// The maximum number of separate writes per record; later ones are added to the last.
const WRITES_KEPT: usize = 1000;

/// Executes `acts`, whose times count from `arrived`. With `drip`, the bytes after the headers are
/// sent one by one at that interval. A client that closes its side, even only for writing, ends the
/// exchange.
pub(crate) async fn perform(
    mut stream: TcpStream,
    acts: Vec<Act>,
    arrived: Instant,
    drip: Option<Duration>,
) -> (Vec<Write>, End) {
    let mut writes = Vec::new();
    let (mut from_client, to_client) = stream.split();
    let mut performance = Performance {
        to_client,
        arrived,
        drip,
        writes: &mut writes,
    };
    let end = tokio::select! {
        // In this order, so that a client that hangs up on the last byte does not count as gone.
        biased;
        end = performance.run(acts) => end.unwrap_or(End::ClientGone),
        () = hung_up(&mut from_client) => End::ClientGone,
    };
    match end {
        End::Reset => reset(&stream),
        // Closes the connection at once; the system still delivers what it has buffered.
        End::Closed | End::ClientGone => drop(stream.shutdown().await),
    }
    (writes, end)
}

/// Makes dropping `stream` send a TCP reset.
pub(crate) fn reset(stream: &TcpStream) {
    // Fails only on a closed socket, which needs no reset.
    let _ = stream.set_zero_linger();
}

struct Performance<'a> {
    to_client: WriteHalf<'a>,
    arrived: Instant,
    drip: Option<Duration>,
    writes: &'a mut Vec<Write>,
}

impl Performance<'_> {
    async fn run(&mut self, acts: Vec<Act>) -> io::Result<End> {
        for act in acts {
            match act {
                Act::Write { due, kind, bytes } => {
                    sleep_until(self.arrived + due).await;
                    self.write(kind, &bytes).await?;
                }
                Act::Repeat {
                    bytes,
                    times,
                    every,
                } => {
                    for _ in 0..times {
                        self.write(WriteKind::Hostile, &bytes).await?;
                        if every > Duration::ZERO {
                            tokio::time::sleep(every).await;
                        }
                    }
                }
                Act::Stall => pending().await,
                Act::Reset { due } => {
                    sleep_until(self.arrived + due).await;
                    return Ok(End::Reset);
                }
            }
        }
        Ok(End::Closed)
    }

    async fn write(&mut self, kind: WriteKind, bytes: &[u8]) -> io::Result<()> {
        self.note(kind, bytes.len() as u64);
        match self.drip.filter(|_| kind != WriteKind::Headers) {
            None => self.to_client.write_all(bytes).await,
            Some(gap) => {
                for byte in bytes {
                    self.to_client.write_all(&[*byte]).await?;
                    tokio::time::sleep(gap).await;
                }
                Ok(())
            }
        }
    }

    fn note(&mut self, kind: WriteKind, bytes: u64) {
        let kept = self.writes.len();
        match self.writes.last_mut() {
            Some(last)
                if kept == WRITES_KEPT
                    || (kind, last.kind) == (WriteKind::Hostile, WriteKind::Hostile) =>
            {
                last.bytes += bytes;
            }
            _ => self.writes.push(Write {
                kind,
                after: self.arrived.elapsed(),
                bytes,
            }),
        }
    }
}

/// Returns when the client has closed its side; discards what it still sends.
async fn hung_up(from_client: &mut ReadHalf<'_>) {
    let mut scratch = [0; 512];
    while from_client
        .read(&mut scratch)
        .await
        .is_ok_and(|count| count > 0)
    {}
}
