//! A TCP stream that records when bytes actually arrive and leave, not when the task sees them.
//!
//! The kernel timestamps received data (`SO_TIMESTAMPNS`), so that times are correct even if a busy
//! machine reads late. Without a timestamp the time of the read counts.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, send, setsockopt,
    socket, sockopt,
};
use nix::sys::time::TimeSpec;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::clock;

/// When bytes last arrived and last left.
#[derive(Debug, Clone)]
pub(super) struct Arrivals {
    base: Instant,
    last_ns: Arc<AtomicU64>,
    sent_ns: Arc<AtomicU64>,
}

impl Default for Arrivals {
    fn default() -> Self {
        Self {
            base: Instant::now(),
            last_ns: Arc::default(),
            sent_ns: Arc::default(),
        }
    }
}

impl Arrivals {
    /// When bytes last arrived.
    pub(super) fn last(&self) -> Instant {
        self.base + Duration::from_nanos(self.last_ns.load(Ordering::Relaxed))
    }

    /// When bytes were last sent.
    pub(super) fn sent(&self) -> Instant {
        self.base + Duration::from_nanos(self.sent_ns.load(Ordering::Relaxed))
    }

    /// Records that bytes arrived `ago`, but no earlier than the bytes before them.
    fn arrived(&self, ago: Duration) {
        let now = self.base.elapsed();
        let ns = u64::try_from(now.saturating_sub(ago).as_nanos()).unwrap_or(u64::MAX);
        self.last_ns.fetch_max(ns, Ordering::Relaxed);
    }

    fn left(&self) {
        let ns = u64::try_from(self.base.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.sent_ns.store(ns, Ordering::Relaxed);
    }
}

/// While this exists, the kernel timestamps all received data. It starts a moment after the first
/// socket has requested it, so early data on a new socket could lack a timestamp.
#[derive(Debug)]
pub(super) struct TimestampingSocket(
    #[expect(dead_code, reason = "held open, never used")] Option<OwnedFd>,
);

impl TimestampingSocket {
    pub(super) fn begin() -> Self {
        let asking = socket(
            AddressFamily::Inet,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC,
            None,
        )
        .ok();
        Self(asking.filter(|socket| setsockopt(socket, sockopt::ReceiveTimestampns, &true).is_ok()))
    }
}

/// A TCP stream that records when bytes arrive and leave.
#[derive(Debug)]
pub(super) struct TimestampedStream {
    stream: TcpStream,
    arrivals: Arrivals,
    /// The buffer for the kernel's timestamp.
    control: Vec<u8>,
}

impl TimestampedStream {
    pub(super) fn new(stream: TcpStream, arrivals: Arrivals) -> Self {
        // If this fails, the time of each read is used.
        let _ = setsockopt(&stream, sockopt::ReceiveTimestampns, &true);
        Self {
            stream,
            arrivals,
            control: nix::cmsg_space!(TimeSpec),
        }
    }
}

impl AsyncRead for TimestampedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self {
            stream,
            arrivals,
            control,
        } = self.get_mut();
        loop {
            ready!(stream.poll_read_ready(cx))?;
            let room = buf.initialize_unfilled();
            match stream.try_io(Interest::READABLE, || receive(stream, room, control)) {
                Ok((count, ago)) => {
                    buf.advance(count);
                    // The end of the stream does not count as an arrival.
                    if count > 0 {
                        arrivals.arrived(ago);
                    }
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

/// Reads received bytes. Returns how many, and how long ago the last of them arrived.
fn receive(
    stream: &TcpStream,
    room: &mut [u8],
    control: &mut [u8],
) -> io::Result<(usize, Duration)> {
    let mut parts = [IoSliceMut::new(room)];
    let message = loop {
        match recvmsg::<()>(
            stream.as_raw_fd(),
            &mut parts,
            Some(control),
            MsgFlags::empty(),
        ) {
            Err(Errno::EINTR) => {}
            other => break other?,
        }
    };
    let stamp = message
        .cmsgs()
        .ok()
        .into_iter()
        .flatten()
        .find_map(|c| match c {
            ControlMessageOwned::ScmTimestampns(at) => Some(Duration::from(at)),
            _ => None,
        });
    Ok((message.bytes, stamp.map_or(Duration::ZERO, clock::age)))
}

impl AsyncWrite for TimestampedStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self {
            stream, arrivals, ..
        } = self.get_mut();
        // Before the call, since a reply can arrive before it returns.
        arrivals.left();
        // Try to write at once: the runtime learns of a new socket's readiness only at its next
        // poll.
        loop {
            match send(stream.as_raw_fd(), buf, MsgFlags::MSG_NOSIGNAL) {
                Ok(count) => return Poll::Ready(Ok(count)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Pin::new(stream).poll_write(cx, buf),
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Both ends of a connection over loopback.
    async fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, server) = tokio::join!(client, listener.accept());
        (client.unwrap(), server.unwrap().0)
    }

    #[tokio::test]
    async fn a_late_read_agrees_with_the_simulator_on_arrival() {
        let _stamping = TimestampingSocket::begin();
        let (mut to_us, ours) = connection().await;
        let (mut to_simulator, theirs) = connection().await;
        let arrivals = Arrivals::default();
        let mut ours = TimestampedStream::new(ours, arrivals.clone());
        let mut theirs = llmwatch_simulator::TimestampedStream::new(theirs);
        // Timestamps begin a moment after the first socket has asked for them.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let sent = Instant::now();
        to_us.write_all(b"ping").await.unwrap();
        to_simulator.write_all(b"ping").await.unwrap();
        let late = Duration::from_millis(300);
        tokio::time::sleep(late).await;
        let mut buffer = [0; 4];
        ours.read_exact(&mut buffer).await.unwrap();
        theirs.read_exact(&mut buffer).await.unwrap();
        for arrived in [arrivals.last(), theirs.into_parts().1] {
            // Timestamps and monotonic time come from two clocks, which may differ slightly.
            let after = arrived.saturating_duration_since(sent);
            assert!(after < late / 2, "arrived {after:?} after it was sent");
        }
    }
}
