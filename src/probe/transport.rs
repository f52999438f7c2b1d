//! A connection with precise times for every stage: DNS, TCP, TLS, and the arrival of each byte.
//!
//! Probes use hyper directly. An HTTP client hides the stages, keeps connections, follows redirects
//! and retries. A monitor needs each stage's time and the first attempt.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use std::os::fd::AsRawFd;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect as connect_socket, socket,
};
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::{Host, Url};

use super::proxy::Address;
use super::timestamped_stream::{Arrivals, TimestampedStream};
use llmwatch_core::model::{Fault, Timestamp};
use llmwatch_core::protocol::certificate;

/// How long to wait for one address before trying the next in parallel (RFC 8305, "Happy
/// Eyeballs").
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

const IN_TIME: &str = "timed out";

/// How long each stage of the connection took; `None` for a stage that did not occur or did not
/// finish.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ConnectionTimes {
    pub(super) dns: Option<Duration>,
    pub(super) tcp: Option<Duration>,
    pub(super) tls: Option<Duration>,
    /// From the start of the connection until the proxy was ready.
    pub(super) proxy: Option<Duration>,
    pub(super) remote: Option<SocketAddr>,
    pub(super) tls_expires_at: Option<Timestamp>,
    /// The status with which a proxy rejected a tunnel.
    pub(super) refused_with: Option<u16>,
}

/// The route to a target.
#[derive(Clone, Copy)]
pub(super) struct ProxyRoute<'a> {
    /// Through this proxy.
    pub(super) proxy: Option<&'a Address>,
    /// The TLS configuration of proxies that are reached over TLS.
    pub(super) proxy_tls: &'a Arc<ClientConfig>,
    /// Connect to these addresses instead of resolving the name; not used with a proxy.
    pub(super) resolve: &'a [IpAddr],
    /// Connect from this local address.
    pub(super) source: Option<IpAddr>,
}

/// Why a connection failed.
#[derive(Debug)]
pub(super) struct NoConnection {
    pub(super) fault: Fault,
    pub(super) message: String,
}

/// An open connection.
pub(super) struct Connected {
    pub(super) io: Io,
    pub(super) arrivals: Arrivals,
    pub(super) http2: bool,
}

/// Connects to the host of `url`, through a proxy if the route has one. Records the time of each
/// completed stage in `stages`.
pub(super) async fn connect(
    url: &Url,
    route: ProxyRoute<'_>,
    tls: &Arc<ClientConfig>,
    deadline: Instant,
    stages: &mut ConnectionTimes,
) -> Result<Connected, NoConnection> {
    let began_all = Instant::now();
    let proxy = route.proxy;
    let of_proxy = |proxy: &Address, no: NoConnection| {
        failed(
            Fault::LocalProxy,
            &format!("the proxy {}: {}: {}", proxy.name(), no.fault, no.message),
        )
    };
    let stream = open(proxy.map_or(url, |p| &p.url), route, deadline, stages)
        .await
        .map_err(|no| match proxy {
            Some(proxy) => of_proxy(proxy, no),
            None => no,
        })?;
    let arrivals = Arrivals::default();
    let mut way = ProxyStream::Plain(TimestampedStream::new(stream, arrivals.clone()));
    if let Some(proxy) = proxy {
        let began = Instant::now();
        if proxy.url.scheme() == "https"
            && let ProxyStream::Plain(stream) = way
        {
            let secured = secure(stream, &proxy.url, route.proxy_tls, deadline)
                .await
                .map_err(|no| of_proxy(proxy, no))?;
            way = ProxyStream::Tls(Box::new(secured));
        }
        if url.scheme() == "https" || !proxy.forwards() {
            let tunnel = async {
                match &mut way {
                    ProxyStream::Plain(stream) => proxy.open_tunnel(stream, url).await,
                    ProxyStream::Tls(stream) => proxy.open_tunnel(stream, url).await,
                }
            };
            let opened = tokio::time::timeout_at(deadline, tunnel)
                .await
                .unwrap_or_else(|_| {
                    Err(format!("the proxy {} opens no tunnel", proxy.name()).into())
                });
            opened.map_err(|no| {
                stages.refused_with = no.status;
                failed(Fault::LocalProxy, &no.message)
            })?;
        }
        stages.tcp = stages.tcp.map(|tcp| tcp + began.elapsed());
        stages.proxy = Some(began_all.elapsed());
    }
    if url.scheme() != "https" {
        return Ok(Connected {
            io: match way {
                ProxyStream::Plain(stream) => Io::Plain(stream),
                ProxyStream::Tls(stream) => Io::Tls(stream),
            },
            arrivals,
            http2: false,
        });
    }
    let began = Instant::now();
    let io = match way {
        ProxyStream::Plain(stream) => Io::Tls(Box::new(secure(stream, url, tls, deadline).await?)),
        ProxyStream::Tls(stream) => {
            Io::Nested(Box::new(secure(*stream, url, tls, deadline).await?))
        }
    };
    stages.tls = Some(began.elapsed());
    let session = match &io {
        Io::Plain(_) => None,
        Io::Tls(stream) => Some(stream.get_ref().1),
        Io::Nested(stream) => Some(stream.get_ref().1),
    };
    stages.tls_expires_at = session
        .and_then(|session| session.peer_certificates())
        .and_then(|all| certificate::expires_at(all.first()?));
    let http2 = session.is_some_and(|session| session.alpn_protocol() == Some(b"h2"));
    Ok(Connected {
        io,
        arrivals,
        http2,
    })
}

/// Performs the TLS handshake with the host of `url`.
async fn secure<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    url: &Url,
    tls: &Arc<ClientConfig>,
    deadline: Instant,
) -> Result<TlsStream<S>, NoConnection> {
    let name = match url.host() {
        Some(Host::Domain(name)) => ServerName::try_from(name.to_owned()),
        Some(Host::Ipv4(ip)) => Ok(std::net::IpAddr::V4(ip).into()),
        Some(Host::Ipv6(ip)) => Ok(std::net::IpAddr::V6(ip).into()),
        None => return Err(failed(Fault::RequestRejected, "the URL has no host")),
    };
    let name = name.map_err(|e| failed(Fault::TlsHandshake, &e.to_string()))?;
    let handshake = TlsConnector::from(tls.clone()).connect(name, stream);
    match tokio::time::timeout_at(deadline, handshake).await {
        Err(_) => Err(failed(Fault::TlsHandshake, IN_TIME)),
        Ok(Err(error)) => Err(of_handshake(&error)),
        Ok(Ok(stream)) => Ok(stream),
    }
}

/// Opens a TCP connection to the host of `url`.
async fn open(
    url: &Url,
    route: ProxyRoute<'_>,
    deadline: Instant,
    stages: &mut ConnectionTimes,
) -> Result<TcpStream, NoConnection> {
    let port = url.port_or_known_default().unwrap_or(443);
    let fixed = if route.proxy.is_none() {
        route.resolve
    } else {
        &[]
    };
    let addresses: Vec<SocketAddr> = match url.host() {
        Some(_) if !fixed.is_empty() => fixed.iter().map(|ip| (*ip, port).into()).collect(),
        None => return Err(failed(Fault::RequestRejected, "the URL has no host")),
        Some(Host::Ipv4(ip)) => vec![(ip, port).into()],
        Some(Host::Ipv6(ip)) => vec![(ip, port).into()],
        Some(Host::Domain(name)) => {
            let began = Instant::now();
            let lookup = tokio::time::timeout_at(deadline, tokio::net::lookup_host((name, port)));
            let found = match lookup.await {
                Err(_) => {
                    let message = format!("the resolver did not answer for `{name}` in time");
                    return Err(failed(Fault::LocalDns, &message));
                }
                Ok(Err(error)) => {
                    return Err(failed(Fault::LocalDns, &describe_resolver(name, &error)));
                }
                Ok(Ok(found)) => found.collect(),
            };
            stages.dns = Some(began.elapsed());
            found
        }
    };
    let began = Instant::now();
    let attempts = first_of(interleaved(addresses), route.source);
    let stream = match tokio::time::timeout_at(deadline, attempts).await {
        Err(_) => return Err(failed(Fault::TcpTimeout, IN_TIME)),
        Ok(Err(error)) => return Err(of_connect(&error)),
        Ok(Ok(stream)) => stream,
    };
    stages.tcp = Some(began.elapsed());
    stages.remote = stream.peer_addr().ok();
    // Send small writes at once. Set no other option that a typical client would not set.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// Describes a resolver error without the name of the library call.
fn describe_resolver(name: &str, error: &io::Error) -> String {
    let text = describe_io(error);
    let reason = text.strip_prefix("failed to lookup address information: ");
    format!("cannot resolve `{name}`: {}", reason.unwrap_or(&text))
}

/// Alternates the address families, otherwise in the resolver's order.
fn interleaved(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (leading, others): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|a| a.is_ipv6() == first_is_v6);
    let mut others = others.into_iter();
    let mut mixed: Vec<_> = leading
        .into_iter()
        .flat_map(|a| [Some(a), others.next()])
        .flatten()
        .collect();
    mixed.extend(others);
    mixed
}

/// Connects to the first address that responds; each gets a head start before the next is tried.
async fn first_of(addresses: Vec<SocketAddr>, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let mut waiting = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    if let Some(address) = waiting.next() {
        attempts.push(to_address(address, source));
    }
    loop {
        tokio::select! {
            Some(result) = attempts.next() => match result {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    last = error;
                    match waiting.next() {
                        Some(address) => attempts.push(to_address(address, source)),
                        None if attempts.is_empty() => return Err(last),
                        None => {}
                    }
                }
            },
            () = tokio::time::sleep(NEXT_ADDRESS), if waiting.len() > 0 => {
                attempts.extend(waiting.next().map(|address| to_address(address, source)));
            }
            else => return Err(last),
        }
    }
}

/// Connects to one address. If that succeeds at once, as on loopback, it does not wait for the
/// runtime.
async fn to_address(address: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(family, SockType::Stream, flags, None)?;
    if let Some(source) = source {
        bind(
            socket.as_raw_fd(),
            &SockaddrStorage::from(SocketAddr::new(source, 0)),
        )?;
    }
    match connect_socket(socket.as_raw_fd(), &SockaddrStorage::from(address)) {
        // After EINTR, connecting continues in the background.
        Ok(()) | Err(Errno::EINPROGRESS | Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    let stream = TcpStream::from_std(socket.into())?;
    if stream.peer_addr().is_err() {
        stream.writable().await?;
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
    }
    Ok(stream)
}

fn failed(fault: Fault, message: &str) -> NoConnection {
    NoConnection {
        fault,
        message: message.to_owned(),
    }
}

/// Maps an I/O error's errno to a fault.
pub(super) fn of_errno(error: &io::Error) -> Option<Fault> {
    use rustix::io::Errno;
    let errno = Errno::from_io_error(error)?;
    Some(match errno {
        Errno::CONNREFUSED => Fault::TcpRefused,
        Errno::CONNRESET | Errno::PIPE | Errno::CONNABORTED => Fault::TcpReset,
        Errno::TIMEDOUT | Errno::HOSTUNREACH => Fault::TcpTimeout,
        Errno::NETUNREACH | Errno::NETDOWN | Errno::ACCESS | Errno::PERM => Fault::LocalUnreachable,
        Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::ADDRNOTAVAIL => {
            Fault::LocalResources
        }
        _ => return None,
    })
}

fn of_connect(error: &io::Error) -> NoConnection {
    let other = if error.kind() == io::ErrorKind::NotFound {
        Fault::LocalDns
    } else {
        Fault::TcpRefused
    };
    failed(of_errno(error).unwrap_or(other), &describe_io(error))
}

/// Formats an I/O error without its number.
pub(super) fn describe_io(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error ") {
        Some((text, _)) => text.to_owned(),
        None => text,
    }
}

/// Describes a TLS error in plain English, with a fix if known. The library's text names its types
/// and manual.
pub(super) fn describe_tls(error: &rustls::Error) -> String {
    use rustls::Error;
    match error {
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the server requires a client certificate (TLS alert certificate_required): set \
             `client_cert` and `client_key`"
                .to_owned()
        }
        Error::AlertReceived(alert) => {
            let name = snake_case(&format!("{alert:?}"));
            format!("the server ended the TLS connection with the alert {name}")
        }
        Error::InvalidMessage(_) => {
            "the server does not speak TLS on this port: if it speaks plain HTTP, write `http://`"
                .to_owned()
        }
        Error::PeerIncompatible(_) => {
            "the server offers no TLS version and cipher that this client accepts (TLS 1.2 or later)"
                .to_owned()
        }
        Error::PeerMisbehaved(_) => "the server breaks the TLS protocol".to_owned(),
        Error::NoApplicationProtocol => "the server offers neither HTTP/1.1 nor HTTP/2".to_owned(),
        Error::InvalidCertificate(problem) => describe_certificate(problem),
        other => other.to_string(),
    }
}

fn describe_certificate(problem: &CertificateError) -> String {
    match problem {
        CertificateError::UnknownIssuer => {
            "the certificate's issuer is not trusted: an unknown issuer, or the server leaves out an \
             intermediate certificate (`ca_file` adds roots)"
                .to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the certificate is not valid yet".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the certificate is for another name".to_owned()
        }
        CertificateError::Revoked => "the certificate is revoked".to_owned(),
        CertificateError::Other(_) => "the certificate cannot be used".to_owned(),
        other => format!("invalid certificate: {other}"),
    }
}

/// Converts `CertificateRequired` to TLS's spelling, `certificate_required`.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

/// Finds the TLS error inside an I/O or HTTP error, at any depth.
pub(super) fn tls_error<'e>(
    error: &'e (dyn std::error::Error + 'static),
) -> Option<&'e rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner as &(dyn std::error::Error + 'static)),
            None => error.source(),
        };
    }
    None
}

fn of_handshake(error: &io::Error) -> NoConnection {
    let Some(inner) = tls_error(error) else {
        let message = match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                "the server closed the connection during the TLS handshake".to_owned()
            }
            _ => describe_io(error),
        };
        return failed(Fault::TlsHandshake, &message);
    };
    let fault = match inner {
        // A certificate that is not valid yet means that the local clock is behind.
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => Fault::LocalClock,
        rustls::Error::InvalidCertificate(_) => Fault::TlsCertificate,
        _ => Fault::TlsHandshake,
    };
    failed(fault, &describe_tls(inner))
}

/// The stream to the proxy, or to the target without one.
enum ProxyStream {
    Plain(TimestampedStream),
    Tls(Box<TlsStream<TimestampedStream>>),
}

/// The stream without TLS, with TLS, or with TLS inside a proxy's TLS.
pub(super) enum Io {
    Plain(TimestampedStream),
    Tls(Box<TlsStream<TimestampedStream>>),
    Nested(Box<TlsStream<TlsStream<TimestampedStream>>>),
}

impl Io {
    /// Reports whether nothing was received since the last response, not even the end of the
    /// connection.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut byte = [0; 1];
        let mut buffer = ReadBuf::new(&mut byte);
        let mut context = Context::from_waker(Waker::noop());
        Pin::new(self)
            .poll_read(&mut context, &mut buffer)
            .is_pending()
    }
}

macro_rules! through {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Io::Plain($stream) => $call,
            Io::Tls($stream) => $call,
            Io::Nested($stream) => $call,
        }
    };
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        through!(self, s => Pin::new(s).poll_read(cx, buf))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        through!(self, s => Pin::new(s).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        through!(self, s => Pin::new(s).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        through!(self, s => Pin::new(s).poll_shutdown(cx))
    }
}
