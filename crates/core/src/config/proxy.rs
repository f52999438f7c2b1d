//! Which proxy probes use, and which hosts bypass it.

use core::net::IpAddr;

use url::Url;

use crate::model::Secret;

/// The proxy that probes use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proxy {
    /// No proxy, whatever the environment says: probes connect directly.
    None,
    /// The environment's `HTTPS_PROXY`, `http_proxy`, `ALL_PROXY` and `NO_PROXY` at the time the
    /// file was read. Proxies are http URLs.
    Env {
        /// For plain HTTP.
        http: Option<Secret>,
        /// For HTTPS.
        https: Option<Secret>,
        /// The rules of `NO_PROXY`: hosts and domains that bypass the proxy.
        except: Vec<String>,
    },
    /// This proxy.
    Url(Secret),
}

impl Proxy {
    /// Returns the proxy for `target`, if any.
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

/// Splits a value of `NO_PROXY` into its rules, at commas or blanks as curl does.
pub fn no_proxy_rules(value: &str) -> Vec<String> {
    value
        .split([',', ' ', '\t'])
        .filter(|rule| !rule.is_empty())
        .map(str::to_ascii_lowercase)
        .collect()
}

/// Reports whether `NO_PROXY` matches this target. A rule is a domain with its subdomains, an
/// address, a network, or `*`.
fn is_excepted(target: &Url, except: &[String]) -> bool {
    let host = target
        .host_str()
        .unwrap_or_default()
        .trim_matches(['[', ']'])
        .trim_end_matches('.')
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
            .trim_matches('.')
            .trim_matches(['[', ']']);
        host == rule
            || host
                .strip_suffix(rule)
                .is_some_and(|rest| !rule.is_empty() && rest.ends_with('.'))
    })
}

/// Reports whether an address belongs to a CIDR network.
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

    /// `NO_PROXY`, host, and whether curl 7.88.1 bypassed `http_proxy` for it.
    const CURL: &[(&str, &str, bool)] = &[
        ("example.com", "example.com", true),
        ("example.com", "www.example.com", true),
        ("example.com", "notexample.com", false),
        (".example.com", "example.com", true),
        (".example.com", "www.example.com", true),
        ("example.com.", "example.com", true),
        ("example.com", "example.com.", true),
        ("EXAMPLE.com", "example.COM", true),
        ("*.example.com", "www.example.com", false),
        ("*.example.com", "example.com", false),
        ("*", "example.com", true),
        ("*", "10.1.2.3", true),
        ("example.org,example.com", "example.com", true),
        ("example.org, example.com", "example.com", true),
        ("example.org example.com", "example.com", true),
        (" example.com ", "example.com", true),
        ("localhost", "localhost", true),
        ("localhost", "127.0.0.1", false),
        ("127.0.0.1", "127.0.0.1", true),
        ("10.0.0.0/8", "10.1.2.3", true),
        ("10.0.0.0/8", "11.1.2.3", false),
        ("10.1.2.3/32", "10.1.2.3", true),
        ("10.0.0.0/33", "10.1.2.3", false),
        ("10.0.0.0/0", "11.1.2.3", false),
        ("10.0.0.0/", "10.0.0.0", true),
        ("0.0.0.0/0", "10.1.2.3", false),
        ("10.", "10.1.2.3", false),
        ("::1", "[::1]", true),
        ("[::1]", "[::1]", true),
        ("fd00::/8", "[fd12::1]", true),
        ("fd00::/8", "[fe80::1]", true),
        ("[fd00::]/8", "[fd12::1]", true),
        ("example.com:80", "example.com", false),
        ("www.example.com", "example.com", false),
        ("com", "example.com", true),
        (",,example.com", "example.com", true),
    ];

    /// Intended differences from that curl. `*.` is common in practice, and a network of zero bits
    /// is every address. That curl compared only the first bits of an IPv6 network. A network
    /// requires its bits.
    const DIFFERENT: &[(&str, &str)] = &[
        ("*.example.com", "www.example.com"),
        ("*.example.com", "example.com"),
        ("10.0.0.0/0", "11.1.2.3"),
        ("10.0.0.0/", "10.0.0.0"),
        ("0.0.0.0/0", "10.1.2.3"),
        ("fd00::/8", "[fe80::1]"),
    ];

    #[test]
    fn no_proxy_means_what_curl_takes_it_for() {
        let mut different = Vec::new();
        for (rules, host, is_direct) in CURL {
            let target = Url::parse(&format!("http://{host}/")).unwrap();
            if is_excepted(&target, &no_proxy_rules(rules)) != *is_direct {
                different.push((*rules, *host));
            }
        }
        assert_eq!(different, DIFFERENT);
    }
}
