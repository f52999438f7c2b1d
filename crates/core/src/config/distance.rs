//! The scope of a URL's host: this machine, a private network, or the internet.

use core::net::IpAddr;

use url::{Host, Url};

/// The scope of a URL's host, from near to far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Distance {
    /// This machine.
    Machine,
    /// A private network.
    Network,
    /// The internet.
    World,
}

impl Distance {
    /// Returns the scope of `url`, judged by how its host is written (no DNS lookup).
    pub fn of(url: &Url) -> Self {
        let Some(ip) = address_of(url) else {
            let here = url
                .host_str()
                .is_some_and(|name| name == "localhost" || name.ends_with(".localhost"));
            return if here { Self::Machine } else { Self::World };
        };
        let private = match ip {
            IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
        };
        if ip.is_loopback() {
            Self::Machine
        } else if private {
            Self::Network
        } else {
            Self::World
        }
    }
}

/// Returns the IP address in a URL; `None` if its host is a name.
pub fn address_of(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(ip) => Some(IpAddr::V4(ip)),
        Host::Ipv6(ip) => Some(IpAddr::V6(ip)),
        // For schemes unknown to the URL standard, such as `tcp`, every host without brackets
        // parses as a domain.
        Host::Domain(name) => name.parse().ok(),
    }
}

/// Reports whether a URL points to this machine or a private network.
pub fn is_local(url: &Url) -> bool {
    Distance::of(url) < Distance::World
}
