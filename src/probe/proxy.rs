//! Which proxy, if any, stands between this machine and a target, and how it is asked for a tunnel (RFC 9110 §9.3.6).

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use url::Url;

use crate::config::Proxy;

/// The head of a proxy's answer has no more bytes.
const MOST_HEAD: usize = 8 * 1024;

/// The proxies of the configuration.
#[derive(Debug)]
pub(super) enum Proxies {
    None,
    One(Address),
    /// As curl reads the environment.
    Env {
        http: Option<Address>,
        https: Option<Address>,
        except: Vec<String>,
    },
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
        let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let mut url = Url::parse(&text).ok().filter(|u| u.scheme() == "http" && u.host().is_some())?;
        let decoded = |s: &str| percent_decoded(s);
        let (user, password) = (decoded(url.username()), decoded(url.password().unwrap_or_default()));
        let authorization =
            (!user.is_empty()).then(|| format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))));
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
        self.authorization.as_deref().map(|value| ("proxy-authorization", value))
    }

    /// Asks for a tunnel to `target`, a host and port.
    pub(super) async fn open_tunnel<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
        target: &str,
    ) -> Result<(), String> {
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n");
        if let Some((name, value)) = self.authorization() {
            request += &format!("{name}: {value}\r\n");
        }
        let failed = |e: std::io::Error| format!("the proxy {} broke off: {e}", self.name());
        stream.write_all(format!("{request}\r\n").as_bytes()).await.map_err(failed)?;
        let mut head = Vec::new();
        // Byte by byte: what follows the head belongs to the target.
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() == MOST_HEAD {
                return Err(format!("the proxy {} answers without an end", self.name()));
            }
            head.push(stream.read_u8().await.map_err(failed)?);
        }
        let head = String::from_utf8_lossy(&head);
        let status_line = head.lines().next().unwrap_or_default();
        if status_line.split(' ').nth(1).is_some_and(|status| status.starts_with('2')) {
            Ok(())
        } else {
            Err(format!("the proxy {} says: {status_line}", self.name()))
        }
    }
}

impl Proxies {
    pub(super) fn new(proxy: &Proxy) -> Self {
        match proxy {
            Proxy::None => Self::None,
            Proxy::Url(url) => Address::new(url.expose()).map_or(Self::None, Self::One),
            Proxy::Env { http, https, except } => {
                let address = |url: &Option<crate::model::Secret>| url.as_ref().and_then(|u| Address::new(u.expose()));
                Self::Env { http: address(http), https: address(https), except: except.clone() }
            }
        }
    }

    /// The proxy on the way to `target`.
    pub(super) fn towards(&self, target: &Url) -> Option<&Address> {
        match self {
            Self::None => None,
            Self::One(address) => Some(address),
            Self::Env { http, https, except } => {
                let host = target.host_str().unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase();
                let excepted = |rule: &String| {
                    if let (Ok(address), Some((network, bits))) = (host.parse(), rule.split_once('/')) {
                        return is_within(address, network, bits);
                    }
                    let rule = rule.trim_start_matches('.');
                    rule == "*" || host == rule || host.strip_suffix(rule).is_some_and(|rest| rest.ends_with('.'))
                };
                let proxy = if target.scheme() == "https" { https } else { http };
                proxy.as_ref().filter(|_| !except.iter().any(excepted))
            }
        }
    }
}

/// Whether an address is of a network in CIDR's notation.
fn is_within(address: IpAddr, network: &str, bits: &str) -> bool {
    let Ok(bits) = bits.parse::<u32>() else { return false };
    match (address, network.parse()) {
        (IpAddr::V4(a), Ok(IpAddr::V4(n))) => {
            bits <= 32 && (u32::from(a) ^ u32::from(n)).checked_shr(32 - bits).unwrap_or(0) == 0
        }
        (IpAddr::V6(a), Ok(IpAddr::V6(n))) => {
            bits <= 128 && (u128::from(a) ^ u128::from(n)).checked_shr(128 - bits).unwrap_or(0) == 0
        }
        _ => false,
    }
}

fn percent_decoded(text: &str) -> String {
    // A form's reader, for which a plus would be a space.
    let form = text.replace('+', "%2B");
    url::form_urlencoded::parse(form.as_bytes()).next().map(|(key, _)| key.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Secret;

    #[test]
    fn the_environment_names_a_proxy_and_its_exceptions() {
        let proxies = Proxies::new(&Proxy::Env {
            http: None,
            https: Some(Secret::new("proxy.example.com:3128")),
            except: ["localhost", ".internal", "10.0.0.0/8", "fd00::/8", "0.0.0.0/0x"].map(str::to_owned).to_vec(),
        });
        let towards = |url: &str| proxies.towards(&Url::parse(url).unwrap()).map(|a| a.name().to_owned());
        assert_eq!(towards("https://api.openai.com/v1"), Some("proxy.example.com:3128".to_owned()));
        assert_eq!(towards("http://api.openai.com/v1"), None);
        assert_eq!(towards("https://llm.internal/v1"), None);
        assert_eq!(towards("https://localhost/v1"), None);
        assert!(towards("https://notinternal/v1").is_some());
        assert_eq!(towards("https://10.1.2.3/v1"), None);
        assert!(towards("https://11.1.2.3/v1").is_some());
        assert_eq!(towards("https://[fd12::1]/v1"), None);
        assert!(towards("https://[fe80::1]/v1").is_some());
        assert!(is_within([1, 2, 3, 4].into(), "0.0.0.0", "0") && !is_within([1, 2, 3, 4].into(), "0.0.0.0", "33"));
    }

    #[test]
    fn a_proxy_may_want_a_name_and_a_password_and_never_shows_them() {
        let address = Address::new("http://me:p%40ss@proxy.example.com:3128").unwrap();
        assert_eq!(address.authorization().map(|(_, v)| v), Some("Basic bWU6cEBzcw=="));
        assert_eq!(format!("{address:?}"), "proxy.example.com:3128");
    }
}
