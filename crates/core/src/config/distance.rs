//! How far a URL leads: this machine, a private network, or further.

use core::net::IpAddr;

use url::{Host, Url};

/// How far a URL leads, from near to far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Distance {
    /// To this machine.
    Machine,
    /// To a private network.
    Network,
    /// Further.
    World,
}

impl Distance {
    /// How far `url` leads, as its host is written.
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

/// The address that a URL's host is written as; `None` when it is a name.
pub fn address_of(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(ip) => Some(IpAddr::V4(ip)),
        Host::Ipv6(ip) => Some(IpAddr::V6(ip)),
        // Of a scheme that the URL standard does not know, such as tcp, every host but one in brackets is a name.
        Host::Domain(name) => name.parse().ok(),
    }
}

/// Whether a URL leads to this machine or a private network.
pub fn is_local(url: &Url) -> bool {
    Distance::of(url) < Distance::World
}
