//! `proxy` of `[monitor]`: none, one, or what the environment says, and what is reached without it.

use std::collections::HashMap;
use std::net::IpAddr;

use url::Url;

use super::Proxy;
use super::raw::Value;
use crate::model::Secret;

const HELP: &str = "an HTTP proxy is needed, which is asked in the clear and passes TLS on unread: `\"http://proxy.example.com:3128\"`";

/// Reads the value of `proxy`; `vars` are the environment.
pub(super) fn read(value: &Value<'_>, vars: &HashMap<String, String>) -> Option<Proxy> {
    match value.string()?.as_str() {
        "" | "none" => Some(Proxy::None),
        "env" => of_environment(value, vars),
        text => match usable(text) {
            Ok(address) => Some(Proxy::Url(address)),
            Err(why) => value.error(format!("`proxy` {why}"), format!("{HELP}, or `\"env\"`")),
        },
    }
}

/// As curl reads it: lower case counts before upper case, and `HTTP_PROXY` not at all, since a request may set it for a
/// CGI script. A proxy that cannot be used is an error: to go around it unasked would measure another way.
fn of_environment(value: &Value<'_>, vars: &HashMap<String, String>) -> Option<Proxy> {
    let first = |names: &[&'static str]| {
        names
            .iter()
            .find_map(|n| Some((*n, vars.get(*n)?.as_str())))
            .filter(|(_, text)| !text.is_empty())
    };
    let address =
        |names: &[&'static str]| match first(names).map(|(name, text)| (name, usable(text))) {
            None => Some(None),
            Some((_, Ok(address))) => Some(Some(address)),
            Some((name, Err(why))) => value.error(
                format!("`{name}` of the environment {why}"),
                format!("{HELP}; or name one in `proxy` itself"),
            ),
        };
    let http = address(&["http_proxy", "all_proxy", "ALL_PROXY"])?;
    let https = address(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])?;
    let except = first(&["no_proxy", "NO_PROXY"])
        .map(|(_, text)| text.split(',').map(|h| h.trim().to_ascii_lowercase()));
    Some(Proxy::Env {
        http,
        https,
        except: except
            .map(|hosts| hosts.filter(|h| !h.is_empty()).collect())
            .unwrap_or_default(),
    })
}

/// The URL of a proxy, without a scheme too; or what is wrong with it, without a word of it that could be secret.
fn usable(text: &str) -> Result<Secret, String> {
    const OTHERS: [&str; 5] = ["https", "socks4", "socks4a", "socks5", "socks5h"];
    let text = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    let url = Url::parse(&text).map_err(|_| "is no URL".to_owned())?;
    match url.scheme() {
        "http" if url.has_host() => Ok(Secret::new(text)),
        scheme if OTHERS.contains(&scheme) => Err(format!(
            "is a proxy of kind `{scheme}://`, which is not supported"
        )),
        _ => Err("is no http URL".to_owned()),
    }
}

impl Proxy {
    /// The proxy on the way to `target`.
    pub fn towards(&self, target: &Url) -> Option<&Secret> {
        match self {
            Self::None => None,
            Self::Url(address) => Some(address),
            Self::Env {
                http,
                https,
                except,
            } => {
                let address = if target.scheme() == "https" {
                    https
                } else {
                    http
                };
                address.as_ref().filter(|_| !is_excepted(target, except))
            }
        }
    }
}

/// Whether `NO_PROXY` means this target: a name and what is below it, an address, a network, or `*`.
fn is_excepted(target: &Url, except: &[String]) -> bool {
    let host = target
        .host_str()
        .unwrap_or_default()
        .trim_matches(['[', ']'])
        .to_ascii_lowercase();
    except.iter().any(|rule| {
        if let (Ok(address), Some((network, bits))) = (host.parse(), rule.split_once('/')) {
            return is_within(address, network.trim_matches(['[', ']']), bits);
        }
        if rule == "*" {
            return true;
        }
        let rule = rule
            .trim_start_matches('*')
            .trim_start_matches('.')
            .trim_matches(['[', ']']);
        host == rule
            || host
                .strip_suffix(rule)
                .is_some_and(|rest| !rule.is_empty() && rest.ends_with('.'))
    })
}

/// Whether an address is of a network in CIDR's notation.
fn is_within(address: IpAddr, network: &str, bits: &str) -> bool {
    let Ok(bits) = bits.parse::<u32>() else {
        return false;
    };
    match (address, network.parse()) {
        (IpAddr::V4(a), Ok(IpAddr::V4(n))) => {
            bits <= 32
                && (u32::from(a) ^ u32::from(n))
                    .checked_shr(32 - bits)
                    .unwrap_or(0)
                    == 0
        }
        (IpAddr::V6(a), Ok(IpAddr::V6(n))) => {
            bits <= 128
                && (u128::from(a) ^ u128::from(n))
                    .checked_shr(128 - bits)
                    .unwrap_or(0)
                    == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_names_a_proxy_and_its_exceptions() {
        let except = [
            "localhost",
            ".internal",
            "*.corp.test",
            "10.0.0.0/8",
            "fd00::/8",
            "[::1]",
            "0.0.0.0/0x",
        ];
        let proxy = Proxy::Env {
            http: None,
            https: Some(Secret::new("http://proxy.example.com:3128")),
            except: except.map(str::to_owned).to_vec(),
        };
        let passes = |url: &str| proxy.towards(&Url::parse(url).unwrap()).is_some();
        for through in [
            "https://api.openai.com/v1",
            "https://notinternal/v1",
            "https://11.1.2.3/v1",
            "https://[fe80::1]/v1",
        ] {
            assert!(passes(through), "{through}");
        }
        for direct in [
            "http://api.openai.com/v1",
            "https://llm.internal/v1",
            "https://a.corp.test/v1",
            "https://localhost/v1",
            "https://10.1.2.3/v1",
            "https://[fd12::1]/v1",
            "https://[::1]/v1",
        ] {
            assert!(!passes(direct), "{direct}");
        }
        assert!(
            is_within([1, 2, 3, 4].into(), "0.0.0.0", "0")
                && !is_within([1, 2, 3, 4].into(), "0.0.0.0", "33")
        );
    }

    #[test]
    fn what_is_no_http_proxy_is_said_without_its_password() {
        for (text, why) in [
            (
                "https://me:secret@proxy.test",
                "is a proxy of kind `https://`, which is not supported",
            ),
            (
                "socks5h://me:secret@proxy.test:1080",
                "is a proxy of kind `socks5h://`, which is not supported",
            ),
            ("secret://proxy.test", "is no http URL"),
            ("me:secret@", "is no URL"),
        ] {
            assert_eq!(usable(text).map(|_| ()), Err(why.to_owned()), "{text}");
        }
        assert!(usable("proxy.test:3128").is_ok() && usable("http://me:secret@proxy.test").is_ok());
    }
}
