//! Limits what a server may send. The driver itself collects messages of up to 2 GiB, and answers
//! of any number of messages, in memory.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Socket;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres_rustls::MakeRustlsConnect;

/// The most bytes of one message, such as a row.
const MAX_MESSAGE: u32 = 16 << 20;
/// The most bytes of an answer, which ends when the server is ready for the next query.
const MAX_ANSWER: u64 = 64 << 20;
/// The most messages of an answer: a row without content takes the driver hundreds of bytes.
const MAX_MESSAGES: u32 = 400_000;
/// The tag and the length that begin every message, in bytes.
const HEADER: usize = 5;
/// The tag of the message that ends an answer.
const READY_FOR_QUERY: u8 = b'Z';

/// Connects with TLS, and guards what is decrypted.
#[derive(Clone)]
pub(super) struct GuardedTls(pub(super) MakeRustlsConnect);

/// Connects without TLS. The driver calls it in place of a TLS handshake.
#[derive(Clone, Copy)]
pub(super) struct GuardedPlain;

/// A connection whose messages are counted.
pub(super) struct Guarded<S> {
    stream: S,
    binding: fn(&S) -> ChannelBinding,
    messages: MessageCounter,
}

type TlsConnector = <MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect;
type Encrypted = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;

impl MakeTlsConnect<Socket> for GuardedTls {
    type Stream = Guarded<Encrypted>;
    type TlsConnect = GuardedTlsConnect;
    type Error = Infallible;

    fn make_tls_connect(&mut self, host: &str) -> Result<GuardedTlsConnect, Infallible> {
        let connector = MakeTlsConnect::<Socket>::make_tls_connect(&mut self.0, host)?;
        Ok(GuardedTlsConnect(connector))
    }
}

/// Shakes hands with one host.
pub(super) struct GuardedTlsConnect(TlsConnector);

impl TlsConnect<Socket> for GuardedTlsConnect {
    type Stream = Guarded<Encrypted>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Stream>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        let handshake = self.0.connect(socket);
        Box::pin(async move {
            let stream = handshake.await?;
            Ok(Guarded::new(stream, TlsStream::channel_binding))
        })
    }
}

impl MakeTlsConnect<Socket> for GuardedPlain {
    type Stream = Guarded<Socket>;
    type TlsConnect = Self;
    type Error = Infallible;

    fn make_tls_connect(&mut self, _: &str) -> Result<Self, Infallible> {
        Ok(*self)
    }
}

impl TlsConnect<Socket> for GuardedPlain {
    type Stream = Guarded<Socket>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Stream, Infallible>>;

    fn connect(self, socket: Socket) -> Self::Future {
        ready(Ok(Guarded::new(socket, |_| ChannelBinding::none())))
    }
}

impl<S> Guarded<S> {
    fn new(stream: S, binding: fn(&S) -> ChannelBinding) -> Self {
        Self {
            stream,
            binding,
            messages: MessageCounter::default(),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Guarded<S> {
    fn channel_binding(&self) -> ChannelBinding {
        (self.binding)(&self.stream)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        if let Poll::Ready(Ok(())) = read {
            this.messages.count(&buf.filled()[before..])?;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// Follows the messages of a server (PostgreSQL documentation, "Message Formats").
#[derive(Debug, Default)]
struct MessageCounter {
    header: [u8; HEADER],
    /// How much of the header has arrived.
    filled: usize,
    /// The bytes that the message still has.
    left: usize,
    /// The bytes of the answer so far.
    answer: u64,
    /// The messages of the answer so far.
    count: u32,
}

impl MessageCounter {
    /// Counts `bytes`. Fails at the message that is too long, or that makes the answer too long.
    fn count(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let skipped = self.left.min(bytes.len());
                self.left -= skipped;
                bytes = &bytes[skipped..];
                self.lengthen(skipped)?;
                continue;
            }
            let taken = (HEADER - self.filled).min(bytes.len());
            self.lengthen(taken)?;
            self.header[self.filled..][..taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled == HEADER {
                self.begin_message()?;
            }
        }
        Ok(())
    }

    fn lengthen(&mut self, bytes: usize) -> io::Result<()> {
        self.answer = self.answer.saturating_add(bytes as u64);
        if self.answer > MAX_ANSWER {
            return Err(too_much("an answer", MAX_ANSWER >> 20, "MiB"));
        }
        Ok(())
    }

    fn begin_message(&mut self) -> io::Result<()> {
        self.filled = 0;
        let [tag, length @ ..] = self.header;
        let length = u32::from_be_bytes(length);
        if length > MAX_MESSAGE {
            return Err(too_much("a message", u64::from(MAX_MESSAGE >> 20), "MiB"));
        }
        self.count += 1;
        if self.count > MAX_MESSAGES {
            return Err(too_much("an answer", MAX_MESSAGES.into(), "messages"));
        }
        // The length counts itself. The driver refuses one that is too short.
        self.left = (length as usize).saturating_sub(HEADER - 1);
        if tag == READY_FOR_QUERY {
            self.answer = 0;
            self.count = 0;
        }
        Ok(())
    }
}

fn too_much(what: &str, most: u64, unit: &str) -> io::Error {
    let words = format!("the server sends {what} of more than {most} {unit}");
    io::Error::new(io::ErrorKind::InvalidData, words)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(tag: u8, length: u32, content: &[u8]) -> Vec<u8> {
        [&[tag][..], &length.to_be_bytes(), content].concat()
    }

    #[test]
    fn a_message_beyond_the_limit_is_refused_at_its_header() {
        let mut messages = MessageCounter::default();
        let ready = message(READY_FOR_QUERY, 5, b"I");
        messages.count(&ready).unwrap();
        messages.count(&message(b'D', MAX_MESSAGE, b"")).unwrap();
        for length in [MAX_MESSAGE + 1, 0x7fff_ffff, u32::MAX] {
            let mut messages = MessageCounter::default();
            messages.count(&ready).unwrap();
            let refused = messages.count(&message(b'E', length, b"")).unwrap_err();
            assert!(refused.to_string().contains("16 MiB"), "{refused}");
        }
    }

    #[test]
    fn an_answer_ends_when_the_server_is_ready() {
        let mut messages = MessageCounter::default();
        let row = message(b'D', 1 << 20, &vec![0; (1 << 20) - 4]);
        let ready = message(READY_FOR_QUERY, 5, b"I");
        for _ in 0..3 {
            for _ in 0..60 {
                messages.count(&row).unwrap();
            }
            messages.count(&ready).unwrap();
        }
        let refused = (0..200).find_map(|_| messages.count(&row).err()).unwrap();
        assert!(refused.to_string().contains("64 MiB"), "{refused}");
        let mut messages = MessageCounter::default();
        let empty_rows = message(b'D', 6, &[0, 0]).repeat(1000);
        let refused = (0..500)
            .find_map(|_| messages.count(&empty_rows).err())
            .unwrap();
        assert!(refused.to_string().contains("400000 messages"), "{refused}");
    }

    proptest! {
        #[test]
        fn where_reads_end_does_not_matter(
            messages in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..20)), 0..10),
            cut in any::<prop::sample::Index>(),
        ) {
            let bytes: Vec<u8> = messages
                .iter()
                .flat_map(|(tag, content)| message(*tag, content.len() as u32 + 4, content))
                .collect();
            let (mut whole, mut parts) = (MessageCounter::default(), MessageCounter::default());
            whole.count(&bytes).unwrap();
            let at = cut.index(bytes.len() + 1);
            parts.count(&bytes[..at]).unwrap();
            parts.count(&bytes[at..]).unwrap();
            prop_assert_eq!((whole.left, whole.filled, whole.answer, whole.count), (parts.left, parts.filled, parts.answer, parts.count));
            prop_assert_eq!((whole.left, whole.filled), (0, 0));
        }
    }
}
