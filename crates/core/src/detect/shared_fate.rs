//! Are the endpoints of a group independent of each other? What the configuration and the answers say about it, before
//! any failure does. Pure.

use core::net::IpAddr;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::message::values::Locale;
use crate::model::{Endpoint, EndpointName, Provider, Sample, SharedFate, SharedPart};
use crate::text;

/// The vendors in front of whose models a gateway's names stand: `openai/gpt-6-luna`.
const VENDORS: &[(&str, Provider)] = &[
    ("openai", Provider::OpenAi),
    ("azure", Provider::AzureOpenAi),
    ("anthropic", Provider::Anthropic),
    ("google", Provider::Gemini),
    ("gemini", Provider::Gemini),
    ("bedrock", Provider::Bedrock),
    ("mistralai", Provider::Mistral),
    ("mistral", Provider::Mistral),
    ("deepseek", Provider::DeepSeek),
    ("x-ai", Provider::XAi),
    ("xai", Provider::XAi),
    ("cohere", Provider::Cohere),
    ("perplexity", Provider::Perplexity),
    ("groq", Provider::Groq),
];

/// What the answers of an endpoint have said about where it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Whereabouts {
    edge: Option<String>,
    /// The network of its address: the first 24 bits of IPv4, 48 of IPv6.
    network: Option<String>,
}

impl Whereabouts {
    /// Takes in what `sample` says; gives whether that is news.
    pub(super) fn note(&mut self, sample: &Sample) -> bool {
        let before = self.clone();
        if let Some(edge) = &sample.edge {
            self.edge = Some(edge.clone());
        }
        if let Some(network) = sample.remote_addr.as_deref().and_then(network_of) {
            self.network = Some(network);
        }
        *self != before
    }

    /// Cloudflare names an airport; other front ends a region.
    fn is_behind_cloudflare(&self) -> bool {
        let is_airport =
            |edge: &String| edge.len() == 3 && edge.bytes().all(|b| b.is_ascii_uppercase());
        self.edge.as_ref().is_some_and(is_airport)
    }
}

/// The network of an address that is neither this machine's nor private.
fn network_of(address: &str) -> Option<String> {
    let ip = address
        .parse::<core::net::SocketAddr>()
        .map(|socket| socket.ip())
        .or_else(|_| address.parse::<IpAddr>())
        .ok()?;
    match ip.to_canonical() {
        IpAddr::V4(ip) if !ip.is_loopback() && !ip.is_private() && !ip.is_link_local() => {
            let [a, b, c, _] = ip.octets();
            Some(format!("{a}.{b}.{c}.0/24"))
        }
        IpAddr::V6(ip) if !ip.is_loopback() && !ip.is_unique_local() => {
            let [a, b, c, ..] = ip.segments();
            Some(format!("{a:x}:{b:x}:{c:x}::/48"))
        }
        _ => None,
    }
}

/// What the endpoints of `group` share, the most telling first.
pub(super) fn find(
    group: &str,
    members: &[&Endpoint],
    known: &BTreeMap<EndpointName, Whereabouts>,
) -> Vec<SharedFate> {
    let mut found: Vec<SharedFate> = Vec::new();
    let mut add = |part: SharedPart, sets: BTreeMap<String, Vec<EndpointName>>, is_named: bool| {
        for (name, endpoints) in sets {
            // What shares a host shares the rest as well.
            if endpoints.len() < 2 || found.iter().any(|f| f.endpoints == endpoints) {
                continue;
            }
            found.push(SharedFate {
                group: group.to_owned(),
                part,
                name: if is_named { name } else { String::new() },
                endpoints,
            });
        }
    };
    let sets = |key: &dyn Fn(&Endpoint) -> Option<String>| {
        let mut sets: BTreeMap<String, Vec<EndpointName>> = BTreeMap::new();
        for member in members {
            if let Some(key) = key(member) {
                sets.entry(key).or_default().push(member.name.clone());
            }
        }
        sets
    };
    add(SharedPart::Host, sets(&host), true);
    let key = |e: &Endpoint| e.api_key.as_ref().map(|key| key.expose().to_owned());
    add(SharedPart::Key, sets(&key), false);
    add(SharedPart::Vendor, through_gateways(members), true);
    let at = |e: &Endpoint| known.get(&e.name);
    let region = |e: &Endpoint| {
        let place = at(e).filter(|place| !place.is_behind_cloudflare())?;
        place.edge.clone()
    };
    add(SharedPart::Region, sets(&region), true);
    let front = |e: &Endpoint| {
        let is_there = at(e).is_some_and(Whereabouts::is_behind_cloudflare);
        is_there.then(|| "Cloudflare".to_owned())
    };
    add(SharedPart::FrontEnd, sets(&front), true);
    let network = |e: &Endpoint| at(e)?.network.clone();
    add(SharedPart::Network, sets(&network), true);
    found
}

fn host(endpoint: &Endpoint) -> Option<String> {
    let host = endpoint.base_url.host_str()?;
    Some(match endpoint.base_url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}

/// Endpoints of a vendor's own API beside those that reach the same vendor through a gateway.
fn through_gateways(members: &[&Endpoint]) -> BTreeMap<String, Vec<EndpointName>> {
    let vendor_of = |e: &Endpoint| {
        if !matches!(
            e.provider,
            Provider::OpenRouter | Provider::OpenAiCompatible
        ) {
            return None;
        }
        let (prefix, _) = e.model.as_deref()?.split_once('/')?;
        let known = VENDORS.iter().find(|(name, _)| *name == prefix)?;
        Some(known.1)
    };
    let mut sets = BTreeMap::new();
    for vendor in members.iter().filter_map(|e| vendor_of(e)) {
        let of_vendor = |e: &&&Endpoint| e.provider == vendor || vendor_of(e) == Some(vendor);
        let endpoints: Vec<_> = members
            .iter()
            .filter(of_vendor)
            .map(|e| e.name.clone())
            .collect();
        sets.insert(vendor.title().to_owned(), endpoints);
    }
    sets
}

/// The parts of `shared` that leave the group's `first` endpoint without an independent alternative; empty if there is
/// one, or if all this is on a private network. That several are behind one front end or in one network is common and
/// not counted.
pub(super) fn without_alternative<'a>(
    first: &Endpoint,
    members: &[&Endpoint],
    shared: &'a [SharedFate],
) -> Vec<&'a SharedFate> {
    if crate::config::is_local(&first.base_url) {
        return Vec::new();
    }
    let counts = |fate: &&SharedFate| {
        !matches!(fate.part, SharedPart::FrontEnd | SharedPart::Network)
            && fate.endpoints.contains(&first.name)
    };
    let of_first: Vec<_> = shared.iter().filter(counts).collect();
    let is_dependent = |e: &&Endpoint| of_first.iter().any(|f| f.endpoints.contains(&e.name));
    if members.len() > 1 && members.iter().all(is_dependent) {
        of_first
    } else {
        Vec::new()
    }
}

/// What is shared, in a sentence without its full stop.
pub fn sentence(fate: &SharedFate, locale: &Locale) -> String {
    let (names, name) = (
        locale.list_at_most(&fate.endpoints, crate::message::place::MAX_NAMES),
        &fate.name,
    );
    match fate.part {
        SharedPart::Host => text!(locale, "{names} share the host {name}", names, name),
        SharedPart::Key => text!(locale, "{names} use the same key", names),
        SharedPart::Vendor => text!(
            locale,
            "{names} depend on {name}, in part through a gateway",
            names,
            name
        ),
        SharedPart::Region => text!(locale, "{names} run in the region {name}", names, name),
        SharedPart::FrontEnd => text!(locale, "{names} are behind {name}", names, name),
        SharedPart::Network => text!(locale, "{names} are in the network {name}", names, name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_of_an_address() {
        assert_eq!(
            network_of("203.0.113.7:443").as_deref(),
            Some("203.0.113.0/24")
        );
        assert_eq!(network_of("203.0.113.7").as_deref(), Some("203.0.113.0/24"));
        assert_eq!(
            network_of("[2001:db8:1:2::3]:443").as_deref(),
            Some("2001:db8:1::/48")
        );
        assert_eq!(network_of("127.0.0.1:8080"), None);
        assert_eq!(network_of("10.0.0.1"), None);
    }
}
