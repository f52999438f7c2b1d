//! A connection that must be read from at some pace: who reads nothing, or next to nothing, keeps no slot.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How long something for the client may wait in all, beyond what it makes good by reading. More than a phone loses the
/// network for in a tunnel would keep slots from others.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// The pace, in bytes a second, at which waiting is made good: about half of what the slowest mobile network carries.
pub(super) const MIN_RATE: u32 = 2048;

/// A stream whose writes fail once its reader has made them wait for too long.
pub(super) struct MinThroughput<S> {
    stream: S,
    /// How long writes have waited, less what was read since at [`MIN_RATE`].
    waited_in_all: Duration,
    /// Since when a write waits.
    waiting: Option<Instant>,
    /// Ends the wait.
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

    /// Takes account of what a write has come to.
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
