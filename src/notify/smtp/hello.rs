//! The client's name in EHLO. Public relays reject meaningless names, such as `[127.0.0.1]` or a
//! bare hostname.

use std::net::{IpAddr, SocketAddr};

use crate::config::Email;

/// May contain this machine's fully qualified name.
const HOSTS: &str = "/etc/hosts";

/// The name in EHLO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hello {
    /// The configured `hello`, or this machine's fully qualified name.
    Name(String),
    /// This machine has no fully qualified name: use the address of the connection, or the sender's
    /// domain.
    AddressOr(String),
}

impl Hello {
    pub(super) fn new(email: &Email) -> Self {
        if let Some(name) = &email.hello {
            return Self::Name(name.clone());
        }
        let node = rustix::system::uname();
        let node = node.nodename().to_string_lossy();
        let hosts = std::fs::read_to_string(HOSTS).unwrap_or_default();
        full_name(&node, &hosts).map_or_else(
            || {
                let domain = email.from.rsplit('@').next().unwrap_or("localhost");
                Self::AddressOr(domain.to_owned())
            },
            Self::Name,
        )
    }

    /// Returns the name for a connection from the address `local`. A loopback address means nothing
    /// to a relay.
    pub(super) fn name(&self, local: Option<SocketAddr>) -> String {
        match (self, local.map(|local| local.ip())) {
            (Self::Name(name), _) => name.clone(),
            (Self::AddressOr(_), Some(IpAddr::V4(ip))) if !ip.is_loopback() => format!("[{ip}]"),
            (Self::AddressOr(_), Some(IpAddr::V6(ip))) if !ip.is_loopback() => {
                format!("[IPv6:{ip}]")
            }
            (Self::AddressOr(domain), _) => domain.clone(),
        }
    }
}

/// Returns the machine's fully qualified name: its node name, or the one listed with it in the
/// hosts file.
fn full_name(node: &str, hosts: &str) -> Option<String> {
    if is_full(node) {
        return Some(node.to_owned());
    }
    let names = |line: &str| -> Vec<String> {
        let line = line.split('#').next().unwrap_or_default();
        line.split_whitespace().skip(1).map(str::to_owned).collect()
    };
    hosts
        .lines()
        .map(names)
        .filter(|names| names.iter().any(|name| name == node))
        .flatten()
        .find(|name| is_full(name) && name.split('.').next() == Some(node))
}

fn is_full(name: &str) -> bool {
    let valid = name.len() <= 253
        && name.split('.').all(|label| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        });
    valid
        && name.contains('.')
        && !name.starts_with("localhost.")
        && !name.ends_with(".localdomain")
        && name.parse::<IpAddr>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_full_name_is_the_machines_or_that_of_the_hosts_file() {
        let hosts =
            "127.0.0.1 localhost\n# 10.0.0.1 no.example.com mon\n127.0.1.1\tmon.example.com mon\n";
        assert_eq!(
            full_name("a.example.com", ""),
            Some("a.example.com".to_owned())
        );
        assert_eq!(full_name("mon", hosts), Some("mon.example.com".to_owned()));
        assert_eq!(full_name("other", hosts), None);
        assert_eq!(full_name("localhost.localdomain", ""), None);
        assert_eq!(full_name("localhost", hosts), None);
        assert_eq!(full_name("bad name.x", ""), None);
    }

    #[test]
    fn without_a_full_name_the_connection_or_the_sender_gives_it() {
        let hello = Hello::AddressOr("example.com".to_owned());
        let name = |local: &str| hello.name(Some(local.parse().unwrap()));
        assert_eq!(name("192.0.2.7:5000"), "[192.0.2.7]");
        assert_eq!(name("[2001:db8::7]:5000"), "[IPv6:2001:db8::7]");
        assert_eq!(name("127.0.0.1:5000"), "example.com");
        assert_eq!(hello.name(None), "example.com");
    }
}
