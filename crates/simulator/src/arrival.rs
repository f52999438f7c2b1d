//! Records when bytes arrived, by the kernel's receive timestamps (`SO_TIMESTAMPNS`).
//!
//! A busy machine may read a request late. A scenario's delays count from the arrival of the
//! request, so the simulator asks the kernel for it. The prober has its own implementation, because
//! the product must not depend on its test tools. A test compares the two.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeSpec;
use tokio::io::{AsyncRead, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::clock;

/// Keeps the kernel timestamping everything it receives. Timestamping begins a moment after the
/// first socket requests it, so the first connection could otherwise arrive without a timestamp.
#[derive(Debug)]
pub(crate) struct TimestampingSocket {
    _socket: Option<OwnedFd>,
}

impl TimestampingSocket {
    pub(crate) fn begin() -> Self {
        let socket = socket(
            AddressFamily::Inet,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC,
            None,
        )
        .ok()
        .filter(|socket| setsockopt(socket, sockopt::ReceiveTimestampns, &true).is_ok());
        Self { _socket: socket }
    }
}

/// A TCP stream that records when its last bytes arrived.
#[derive(Debug)]
pub struct TimestampedStream {
    stream: TcpStream,
    last: Instant,
    /// Space for the kernel's timestamp.
    control: Vec<u8>,
}

impl TimestampedStream {
    /// Starts recording on `stream`.
    pub fn new(stream: TcpStream) -> Self {
        // If the option cannot be set, the time of each read is used.
        let _ = setsockopt(&stream, sockopt::ReceiveTimestampns, &true);
        Self {
            stream,
            last: Instant::now(),
            control: nix::cmsg_space!(TimeSpec),
        }
    }

    /// Returns the stream and when its last bytes arrived, or the time of [`Self::new`] if none
    /// have.
    pub fn into_parts(self) -> (TcpStream, Instant) {
        (self.stream, self.last)
    }
}

impl AsyncRead for TimestampedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            ready!(this.stream.poll_read_ready(cx))?;
            let space = buf.initialize_unfilled();
            let received = this.stream.try_io(Interest::READABLE, || {
                receive(&this.stream, space, &mut this.control)
            });
            match received {
                Ok((count, age)) => {
                    buf.advance(count);
                    // The end of the stream is not an arrival.
                    if count > 0 {
                        let now = Instant::now();
                        this.last = now.checked_sub(age).unwrap_or(now);
                    }
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

/// Reads available bytes. Returns how many, and how long ago the last of them arrived.
fn receive(
    stream: &TcpStream,
    space: &mut [u8],
    control: &mut [u8],
) -> io::Result<(usize, Duration)> {
    let mut parts = [IoSliceMut::new(space)];
    let message = loop {
        match recvmsg::<()>(
            stream.as_raw_fd(),
            &mut parts,
            Some(&mut *control),
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
        .find_map(|control| match control {
            ControlMessageOwned::ScmTimestampns(at) => Some(Duration::from(at)),
            _ => None,
        });
    Ok((message.bytes, stamp.map_or(Duration::ZERO, clock::age)))
}
