//! Enforces a minimum read rate: a client that reads nothing, or almost nothing, loses its
//! connection.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// The longest total time that writes may wait for the client, less the credit for what it has
/// read. Enough for a phone in a tunnel; a longer wait would deny connections to other clients.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// The rate, in bytes per second, at which reading earns credit: about half of the slowest mobile
/// network's.
pub(super) const MIN_RATE: u32 = 2048;

/// A stream whose writes fail after its reader has made them wait too long.
pub(super) struct MinThroughput<S> {
    stream: S,
    /// How long writes have waited, less the credit at [`MIN_RATE`].
    waited_in_all: Duration,
    /// Since when a write has been waiting.
    waiting: Option<Instant>,
    /// Fires when the wait is over.
    alarm: Pin<Box<Sleep>>,
}

impl<S> MinThroughput<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            waited_in_all: Duration::ZERO,
            waiting: None,
            alarm: Box::pin(tokio::time::sleep(Duration::ZERO)),
        }
    }

    /// Updates the waiting time after a write, and fails if it is too long.
    fn paced(
        &mut self,
        written: Poll<io::Result<usize>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let now = Instant::now();
        if let Poll::Ready(result) = written {
            if let Ok(n) = &result {
                let waited = self
                    .waiting
                    .take()
                    .map_or(Duration::ZERO, |since| now.duration_since(since));
                let made_good = Duration::from_secs_f64(*n as f64 / f64::from(MIN_RATE));
                self.waited_in_all = (self.waited_in_all + waited).saturating_sub(made_good);
            }
            return Poll::Ready(result);
        }
        if self.waiting.is_none() {
            self.waiting = Some(now);
            self.alarm
                .as_mut()
                .reset(now + PATIENCE.saturating_sub(self.waited_in_all));
        }
        ready!(self.alarm.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for MinThroughput<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for MinThroughput<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.paced(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.paced(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
