//! A connection whose every stage is timed where it happens: DNS, TCP, TLS, and the arrival of each byte.
//!
//! Probes use hyper itself and not a client on top of it. A client hides the stages, keeps connections, follows
//! redirects and retries; a monitor needs each stage's own time and the first attempt.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::{Host, Url};

use crate::model::Fault;

/// How long one address may take before the next is tried beside it (RFC 8305, "Happy Eyeballs").
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// How long each stage of the connection took; `None` for a stage that there was not or that was not finished.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Stages {
    pub(super) dns: Option<Duration>,
    pub(super) tcp: Option<Duration>,
    pub(super) tls: Option<Duration>,
    pub(super) remote: Option<SocketAddr>,
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) struct NoConnection {
    pub(super) fault: Fault,
    pub(super) words: String,
}

/// An open connection.
pub(super) struct Connected {
    pub(super) io: Io,
    pub(super) arrivals: Arrivals,
    pub(super) http2: bool,
}

/// Connects to the host of `url`, writing how long each stage took into `stages` as it goes.
pub(super) async fn connect(
    url: &Url,
    tls: &Arc<ClientConfig>,
    deadline: Instant,
    stages: &mut Stages,
) -> Result<Connected, NoConnection> {
    let port = url.port_or_known_default().unwrap_or(443);
    let host = url.host().ok_or_else(|| failed(Fault::RequestRejected, "the URL has no host"))?;
    let timed_out = |fault| move |_| failed(fault, "not in time");

    let addresses: Vec<SocketAddr> = match &host {
        Host::Ipv4(ip) => vec![(*ip, port).into()],
        Host::Ipv6(ip) => vec![(*ip, port).into()],
        Host::Domain(name) => {
            let began = Instant::now();
            let lookup = tokio::time::timeout_at(deadline, tokio::net::lookup_host((*name, port)));
            let found = lookup.await.map_err(timed_out(Fault::LocalDns))?;
            let found: Vec<_> = found.map_err(|e| failed(Fault::LocalDns, &e.to_string()))?.collect();
            stages.dns = Some(began.elapsed());
            found
        }
    };
    let began = Instant::now();
    let attempt = tokio::time::timeout_at(deadline, first_of(interleaved(addresses)));
    let stream = attempt.await.map_err(timed_out(Fault::TcpTimeout))?.map_err(|e| of_connect(&e))?;
    stages.tcp = Some(began.elapsed());
    stages.remote = stream.peer_addr().ok();
    // Small writes leave at once; nothing else is set that a user's client would not set.
    let _ = stream.set_nodelay(true);
    let arrivals = Arrivals::default();
    let stamped = Stamped { stream, arrivals: arrivals.clone() };
    if url.scheme() != "https" {
        return Ok(Connected { io: Io::Plain(stamped), arrivals, http2: false });
    }
    let name = match &host {
        Host::Domain(name) => ServerName::try_from((*name).to_owned()),
        Host::Ipv4(ip) => Ok(std::net::IpAddr::V4(*ip).into()),
        Host::Ipv6(ip) => Ok(std::net::IpAddr::V6(*ip).into()),
    };
    let name = name.map_err(|e| failed(Fault::TlsHandshake, &e.to_string()))?;
    let began = Instant::now();
    let handshake = tokio::time::timeout_at(deadline, TlsConnector::from(tls.clone()).connect(name, stamped));
    let stream = handshake.await.map_err(timed_out(Fault::TlsHandshake))?.map_err(|e| of_handshake(&e))?;
    stages.tls = Some(began.elapsed());
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok(Connected { io: Io::Tls(Box::new(stream)), arrivals, http2 })
}

/// The addresses with the families taking turns, in the order of the resolver otherwise.
fn interleaved(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (leading, others): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|a| a.is_ipv6() == first_is_v6);
    let mut others = others.into_iter();
    let mut mixed: Vec<_> = leading.into_iter().flat_map(|a| [Some(a), others.next()]).flatten().collect();
    mixed.extend(others);
    mixed
}

/// The first of the addresses that answers; each gets a head start before the next is tried beside it.
async fn first_of(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    if let Some(address) = waiting.next() {
        attempts.push(TcpStream::connect(address));
    }
    loop {
        tokio::select! {
            Some(result) = attempts.next() => match result {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    last = error;
                    match waiting.next() {
                        Some(address) => attempts.push(TcpStream::connect(address)),
                        None if attempts.is_empty() => return Err(last),
                        None => {}
                    }
                }
            },
            () = tokio::time::sleep(NEXT_ADDRESS), if waiting.len() > 0 => {
                attempts.extend(waiting.next().map(TcpStream::connect));
            }
            else => return Err(last),
        }
    }
}

fn failed(fault: Fault, words: &str) -> NoConnection {
    NoConnection { fault, words: words.to_owned() }
}

/// The errno of an error of the operating system, as a fault.
pub(super) fn of_errno(error: &io::Error) -> Option<Fault> {
    use rustix::io::Errno;
    let errno = Errno::from_io_error(error)?;
    Some(match errno {
        Errno::CONNREFUSED => Fault::TcpRefused,
        Errno::CONNRESET | Errno::PIPE | Errno::CONNABORTED => Fault::TcpReset,
        Errno::TIMEDOUT | Errno::HOSTUNREACH => Fault::TcpTimeout,
        Errno::NETUNREACH | Errno::NETDOWN | Errno::ACCESS | Errno::PERM => Fault::LocalUnreachable,
        Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::ADDRNOTAVAIL => Fault::LocalResources,
        _ => return None,
    })
}

fn of_connect(error: &io::Error) -> NoConnection {
    let other = if error.kind() == io::ErrorKind::NotFound { Fault::LocalDns } else { Fault::TcpRefused };
    failed(of_errno(error).unwrap_or(other), &error.to_string())
}

fn of_handshake(error: &io::Error) -> NoConnection {
    let inner = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
    let fault = match inner {
        Some(rustls::Error::InvalidCertificate(_)) => Fault::TlsCertificate,
        _ => Fault::TlsHandshake,
    };
    failed(fault, &error.to_string())
}

/// When bytes last arrived from the network, noted where they are read and not where somebody gets to look at them.
#[derive(Debug, Clone)]
pub(super) struct Arrivals {
    base: Instant,
    last_ns: Arc<AtomicU64>,
}

impl Default for Arrivals {
    fn default() -> Self {
        Self { base: Instant::now(), last_ns: Arc::default() }
    }
}

impl Arrivals {
    fn note(&self) {
        let ns = u64::try_from(self.base.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.last_ns.store(ns, Ordering::Relaxed);
    }

    /// When bytes last arrived.
    pub(super) fn last(&self) -> Instant {
        self.base + Duration::from_nanos(self.last_ns.load(Ordering::Relaxed))
    }
}

/// A TCP stream that notes when bytes arrive.
pub(super) struct Stamped {
    stream: TcpStream,
    arrivals: Arrivals,
}

impl AsyncRead for Stamped {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.arrivals.note();
        }
        result
    }
}

impl AsyncWrite for Stamped {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The stream with or without TLS.
pub(super) enum Io {
    Plain(Stamped),
    Tls(Box<TlsStream<Stamped>>),
}

macro_rules! through {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Io::Plain($stream) => $call,
            Io::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        through!(self, s => Pin::new(s).poll_read(cx, buf))
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        through!(self, s => Pin::new(s).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        through!(self, s => Pin::new(s).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        through!(self, s => Pin::new(s).poll_shutdown(cx))
    }
}
