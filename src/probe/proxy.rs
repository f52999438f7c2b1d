//! Proxies: selects the proxy for a target and opens tunnels. It supports `CONNECT` (RFC 9110
//! §9.3.6), with or without TLS, and SOCKS version 5 (RFC 1928).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use url::{Host, Url};

use crate::config::Proxy;
use llmwatch_core::model::Secret;

/// The maximum size of the head of a proxy's response, in bytes.
const MAX_HEAD: usize = 8 * 1024;
const SOCKS_PORT: u16 = 1080;
/// SOCKS authentication methods.
const NO_LOGIN: u8 = 0;
const LOGIN: u8 = 2;

/// The configured proxies and their parsed addresses.
#[derive(Debug)]
pub(super) struct Proxies {
    configured: Proxy,
    addresses: Vec<(Secret, Address)>,
}

/// Why a proxy did not open a tunnel.
pub(super) struct NoTunnel {
    /// The status of its response, if any.
    pub(super) status: Option<u16>,
    pub(super) message: String,
}

impl From<String> for NoTunnel {
    fn from(message: String) -> Self {
        Self {
            status: None,
            message,
        }
    }
}

/// The protocol of a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ProxyKind {
    /// HTTP, with or without TLS.
    Http,
    /// SOCKS version 5 (RFC 1928).
    Socks,
}

/// The address and credentials of a proxy.
#[derive(Clone)]
pub(super) struct Address {
    /// The URL to connect to; `https` when the proxy itself is reached over TLS.
    pub(super) url: Url,
    kind: ProxyKind,
    user: String,
    password: String,
    authorization: Option<String>,
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.name())
    }
}

impl Address {
    fn new(text: &str) -> Option<Self> {
        let written = Url::parse(text).ok()?;
        let (kind, scheme) = match written.scheme() {
            "https" => (ProxyKind::Http, "https"),
            "socks5" | "socks5h" => (ProxyKind::Socks, "http"),
            _ => (ProxyKind::Http, "http"),
        };
        let port = match kind {
            ProxyKind::Socks => written.port().unwrap_or(SOCKS_PORT),
            ProxyKind::Http => written.port_or_known_default()?,
        };
        let url = Url::parse(&format!("{scheme}://{}:{port}", written.host_str()?)).ok()?;
        let user = percent_decoded(written.username());
        let password = percent_decoded(written.password().unwrap_or_default());
        let authorization = (!user.is_empty())
            .then(|| format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))));
        Some(Self {
            url,
            kind,
            user,
            password,
            authorization,
        })
    }

    /// Reports whether it can forward plain HTTP requests without a tunnel.
    pub(super) fn forwards(&self) -> bool {
        self.kind == ProxyKind::Http
    }

    /// Returns its host and port.
    pub(super) fn name(&self) -> &str {
        &self.url[url::Position::BeforeHost..url::Position::AfterPort]
    }

    /// Returns the header with the credentials.
    pub(super) fn authorization(&self) -> Option<(&'static str, &str)> {
        self.authorization
            .as_deref()
            .map(|value| ("proxy-authorization", value))
    }

    /// Opens a tunnel to the host and port of `target`.
    pub(super) async fn open_tunnel<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
        target: &Url,
    ) -> Result<(), NoTunnel> {
        let host = &target[url::Position::BeforeHost..url::Position::AfterHost];
        let port = target.port_or_known_default().unwrap_or(443);
        match self.kind {
            ProxyKind::Http => self.connect(stream, &format!("{host}:{port}")).await,
            ProxyKind::Socks => self
                .socks(stream, target, port)
                .await
                .map_err(|message| format!("the proxy {}: {message}", self.name()).into()),
        }
    }

    /// Opens a SOCKS 5 tunnel. The proxy resolves names, as HTTP proxies do.
    async fn socks<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
        target: &Url,
        port: u16,
    ) -> Result<(), String> {
        let without_user = self.user.is_empty();
        let greeting: &[u8] = if without_user {
            &[5, 1, NO_LOGIN]
        } else {
            &[5, 2, NO_LOGIN, LOGIN]
        };
        stream.write_all(greeting).await.map_err(|e| broken(&e))?;
        let mut chosen = [0; 2];
        stream
            .read_exact(&mut chosen)
            .await
            .map_err(|e| broken(&e))?;
        match chosen {
            [5, NO_LOGIN] => {}
            [5, LOGIN] if !without_user => self.log_in(stream).await?,
            [5, _] => {
                return Err("it requires another login than a user name and password".to_owned());
            }
            _ => return Err("it does not speak SOCKS version 5".to_owned()),
        }
        let mut request = vec![5, 1, 0];
        match target.host() {
            Some(Host::Ipv4(ip)) => {
                request.push(1);
                request.extend(ip.octets());
            }
            Some(Host::Ipv6(ip)) => {
                request.push(4);
                request.extend(ip.octets());
            }
            Some(Host::Domain(name)) => {
                request.push(3);
                request.extend(with_length(name)?);
            }
            None => return Err("the URL has no host".to_owned()),
        }
        request.extend(port.to_be_bytes());
        stream.write_all(&request).await.map_err(|e| broken(&e))?;
        let mut reply = [0; 4];
        stream
            .read_exact(&mut reply)
            .await
            .map_err(|e| broken(&e))?;
        // The address that follows is the one that the proxy connects from.
        let length = match reply[3] {
            1 => 4,
            4 => 16,
            3 => usize::from(stream.read_u8().await.map_err(|e| broken(&e))?),
            _ => return Err("it does not speak SOCKS version 5".to_owned()),
        };
        let mut bound = vec![0; length + 2];
        stream
            .read_exact(&mut bound)
            .await
            .map_err(|e| broken(&e))?;
        match reply[1] {
            0 => Ok(()),
            code => Err(socks_refusal(code)),
        }
    }

    /// Authenticates with user name and password (RFC 1929).
    async fn log_in<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
    ) -> Result<(), String> {
        let mut login = vec![1];
        login.extend(with_length(&self.user)?);
        login.extend(with_length(&self.password)?);
        stream.write_all(&login).await.map_err(|e| broken(&e))?;
        let mut answer = [0; 2];
        stream
            .read_exact(&mut answer)
            .await
            .map_err(|e| broken(&e))?;
        if answer[1] == 0 {
            Ok(())
        } else {
            Err("it rejects the user name or password".to_owned())
        }
    }

    fn broke(&self, error: &std::io::Error) -> String {
        format!("the connection to the proxy {} broke: {error}", self.name())
    }

    /// Opens a tunnel through an HTTP proxy to `target`, a host and port.
    async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
        target: &str,
    ) -> Result<(), NoTunnel> {
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n");
        if let Some((name, value)) = self.authorization() {
            request += &format!("{name}: {value}\r\n");
        }
        stream
            .write_all(format!("{request}\r\n").as_bytes())
            .await
            .map_err(|e| self.broke(&e))?;
        let mut head = Vec::new();
        // Read byte by byte: data after the head belongs to the target.
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() == MAX_HEAD {
                return Err(format!("the proxy {} sends an endless answer", self.name()).into());
            }
            head.push(stream.read_u8().await.map_err(|e| self.broke(&e))?);
        }
        let head = String::from_utf8_lossy(&head);
        let status_line = head.lines().next().unwrap_or_default();
        let status = status_line.split(' ').nth(1);
        if status.is_some_and(|status| status.starts_with('2')) {
            Ok(())
        } else {
            let status = status.and_then(|status| status.parse().ok());
            Err(NoTunnel {
                status,
                message: format!("the proxy {} says: {status_line}", self.name()),
            })
        }
    }
}

impl Proxies {
    pub(super) fn new(configured: &Proxy) -> Self {
        let urls: Vec<&Secret> = match configured {
            Proxy::None => Vec::new(),
            Proxy::Url(url) => vec![url],
            Proxy::Env { http, https, .. } => http.iter().chain(https).collect(),
        };
        let addresses = urls
            .into_iter()
            .filter_map(|url| Some((url.clone(), Address::new(url.expose())?)))
            .collect();
        Self {
            configured: configured.clone(),
            addresses,
        }
    }

    /// Returns the proxy that forwards a plain HTTP request to `target` without a tunnel.
    pub(super) fn forwarder(&self, target: &Url) -> Option<&Address> {
        self.towards(target)
            .filter(|proxy| target.scheme() == "http" && proxy.forwards())
    }

    /// Returns the proxy for `target`.
    pub(super) fn towards(&self, target: &Url) -> Option<&Address> {
        let url = self.configured.towards(target)?;
        self.addresses
            .iter()
            .find(|(known, _)| known == url)
            .map(|(_, address)| address)
    }
}

/// Encodes a text for SOCKS, prefixed with its length.
fn with_length(text: &str) -> Result<Vec<u8>, String> {
    let length = u8::try_from(text.len())
        .map_err(|_| "a name or password has more than 255 bytes".to_owned())?;
    Ok(std::iter::once(length).chain(text.bytes()).collect())
}

/// Describes the error code of a SOCKS proxy (RFC 1928 §6).
fn socks_refusal(code: u8) -> String {
    match code {
        1 => "it failed".to_owned(),
        2 => "its rules forbid the connection".to_owned(),
        3 => "it cannot reach the target's network".to_owned(),
        4 => "it cannot reach the target".to_owned(),
        5 => "the target refuses its connection".to_owned(),
        6 => "its connection to the target timed out".to_owned(),
        7 => "it opens no connections".to_owned(),
        8 => "it does not support this kind of address".to_owned(),
        other => format!("it refuses the connection with code {other}"),
    }
}

fn percent_decoded(text: &str) -> String {
    // The form parser treats plus, ampersand and equals sign specially, so they are escaped first.
    let form = text
        .replace('+', "%2B")
        .replace('&', "%26")
        .replace('=', "%3D");
    url::form_urlencoded::parse(form.as_bytes())
        .next()
        .map(|(key, _)| key.into_owned())
        .unwrap_or_default()
}

/// Says that the connection to the proxy broke.
fn broken(error: &std::io::Error) -> String {
    format!("the connection broke: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_credentials_are_sent_and_never_shown() {
        let address = Address::new("http://me:p%40ss@proxy.example.com:3128").unwrap();
        assert_eq!(
            address.authorization().map(|(_, v)| v),
            Some("Basic bWU6cEBzcw==")
        );
        assert_eq!(format!("{address:?}"), "proxy.example.com:3128");
        let of = |password: &str| {
            Address::new(&format!("http://me:{password}@proxy.example.com")).unwrap()
        };
        for password in ["a&b", "a+b", "a=b"] {
            let basic = STANDARD.encode(format!("me:{password}"));
            assert_eq!(
                of(password).authorization().map(|(_, v)| v),
                Some(format!("Basic {basic}").as_str())
            );
        }
    }
}
