//! Which proxy, if any, stands between this machine and a target, and how it is asked for a tunnel (RFC 9110 §9.3.6).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use url::Url;

use crate::config::Proxy;
use llmwatch_core::model::Secret;

/// The head of a proxy's answer has no more bytes.
const MOST_HEAD: usize = 8 * 1024;

/// The proxies of the configuration, and how each is asked.
#[derive(Debug)]
pub(super) struct Proxies {
    configured: Proxy,
    addresses: Vec<(Secret, Address)>,
}

/// Why a proxy has opened no tunnel.
pub(super) struct NoTunnel {
    /// The status that it answered with, if it answered.
    pub(super) status: Option<u16>,
    pub(super) words: String,
}

impl From<String> for NoTunnel {
    fn from(words: String) -> Self {
        Self {
            status: None,
            words,
        }
    }
}

/// Where a proxy is, and how one shows who one is to it.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) url: Url,
    authorization: Option<String>,
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.name())
    }
}

impl Address {
    fn new(text: &str) -> Option<Self> {
        let mut url = Url::parse(text).ok()?;
        let decoded = |s: &str| percent_decoded(s);
        let (user, password) = (
            decoded(url.username()),
            decoded(url.password().unwrap_or_default()),
        );
        let authorization = (!user.is_empty())
            .then(|| format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))));
        // An http URL with a host can always have these taken away.
        let _ = (url.set_username(""), url.set_password(None));
        Some(Self { url, authorization })
    }

    /// Host and port.
    pub(super) fn name(&self) -> &str {
        &self.url[url::Position::BeforeHost..url::Position::AfterPort]
    }

    /// The header that shows who asks.
    pub(super) fn authorization(&self) -> Option<(&'static str, &str)> {
        self.authorization
            .as_deref()
            .map(|value| ("proxy-authorization", value))
    }

    /// Asks for a tunnel to `target`, a host and port.
    pub(super) async fn open_tunnel<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
        target: &str,
    ) -> Result<(), NoTunnel> {
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n");
        if let Some((name, value)) = self.authorization() {
            request += &format!("{name}: {value}\r\n");
        }
        let failed = |e: std::io::Error| format!("the proxy {} broke off: {e}", self.name());
        stream
            .write_all(format!("{request}\r\n").as_bytes())
            .await
            .map_err(failed)?;
        let mut head = Vec::new();
        // Byte by byte: what follows the head belongs to the target.
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() == MOST_HEAD {
                return Err(format!("the proxy {} answers without an end", self.name()).into());
            }
            head.push(stream.read_u8().await.map_err(failed)?);
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
                words: format!("the proxy {} says: {status_line}", self.name()),
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

    /// The proxy on the way to `target`.
    pub(super) fn towards(&self, target: &Url) -> Option<&Address> {
        let url = self.configured.towards(target)?;
        self.addresses
            .iter()
            .find(|(known, _)| known == url)
            .map(|(_, address)| address)
    }
}

fn percent_decoded(text: &str) -> String {
    // A form's reader, for which a plus would be a space, and the others the end.
    let form = text
        .replace('+', "%2B")
        .replace('&', "%26")
        .replace('=', "%3D");
    url::form_urlencoded::parse(form.as_bytes())
        .next()
        .map(|(key, _)| key.into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_may_want_a_name_and_a_password_and_never_shows_them() {
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
