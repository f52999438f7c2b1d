//! Which proxy probes use, and what is reached without one.

use core::net::IpAddr;

use url::Url;

use crate::model::Secret;

/// Which proxy probes use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proxy {
    /// None, whatever the environment says: a probe measures the direct way.
    None,
    /// What the environment's `HTTPS_PROXY`, `http_proxy`, `ALL_PROXY` and `NO_PROXY` said when the file was read: http
    /// URLs.
    Env {
        /// For plain HTTP.
        http: Option<Secret>,
        /// For HTTPS.
        https: Option<Secret>,
        /// Hosts and domains that are reached directly.
        except: Vec<String>,
    },
    /// This one.
    Url(Secret),
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
}
