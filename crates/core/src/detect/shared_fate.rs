//! Finds what the endpoints of a group share, and therefore lose together, from the configuration
//! and from their answers, before anything fails. Pure.

use core::net::IpAddr;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::message::values::Locale;
use crate::model::{Endpoint, EndpointName, Provider, Sample, SharedFate, SharedPart};
use crate::text;

/// The prefixes of vendors in a gateway's model names, for instance `openai/gpt-6-luna`.
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

/// Where an endpoint is, according to its answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Whereabouts {
    edge: Option<String>,
    /// The network of its address: the first 24 bits of an IPv4 address, 48 of an IPv6 address.
    network: Option<String>,
}

impl Whereabouts {
    /// Updates it from `sample`. Returns whether something is new.
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
        self.edge
            .as_ref()
            .is_some_and(|edge| edge.len() == 3 && edge.bytes().all(|b| b.is_ascii_uppercase()))
    }

    fn region(&self) -> Option<String> {
        if self.is_behind_cloudflare() {
            return None;
        }
        self.edge.clone()
    }

    fn front_end(&self) -> Option<String> {
        self.is_behind_cloudflare().then(|| "Cloudflare".to_owned())
    }
}

/// Returns the network of an address, unless it is private or this machine's own.
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

/// Returns what the endpoints of `group` share, the strongest dependency first.
pub(super) fn find(
    group: &str,
    members: &[&Endpoint],
    known: &BTreeMap<EndpointName, Whereabouts>,
) -> Vec<SharedFate> {
    let sets_by_part = [
        (SharedPart::Host, sets(members, host)),
        (SharedPart::Key, sets(members, api_key)),
        (SharedPart::Vendor, through_gateways(members)),
        (
            SharedPart::Region,
            sets(members, |e| known.get(&e.name)?.region()),
        ),
        (
            SharedPart::FrontEnd,
            sets(members, |e| known.get(&e.name)?.front_end()),
        ),
        (
            SharedPart::Network,
            sets(members, |e| known.get(&e.name)?.network.clone()),
        ),
    ];
    let mut found: Vec<SharedFate> = Vec::new();
    for (part, sets) in sets_by_part {
        for (name, endpoints) in sets {
            // Endpoints on one host share everything else as well.
            if endpoints.len() < 2 || found.iter().any(|f| f.endpoints == endpoints) {
                continue;
            }
            let is_secret = matches!(part, SharedPart::Key);
            found.push(SharedFate {
                group: group.to_owned(),
                part,
                name: if is_secret { String::new() } else { name },
                endpoints,
            });
        }
    }
    found
}

/// Groups the members by `key`; those without one are left out.
fn sets(
    members: &[&Endpoint],
    key: impl Fn(&Endpoint) -> Option<String>,
) -> BTreeMap<String, Vec<EndpointName>> {
    let mut sets: BTreeMap<String, Vec<EndpointName>> = BTreeMap::new();
    for member in members {
        if let Some(key) = key(member) {
            sets.entry(key).or_default().push(member.name.clone());
        }
    }
    sets
}

fn api_key(endpoint: &Endpoint) -> Option<String> {
    endpoint.api_key.as_ref().map(|key| key.expose().to_owned())
}

fn host(endpoint: &Endpoint) -> Option<String> {
    let host = endpoint.base_url.host_str()?;
    Some(match endpoint.base_url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}

/// Groups endpoints of a vendor's own API with those that reach the same vendor through a gateway.
fn through_gateways(members: &[&Endpoint]) -> BTreeMap<String, Vec<EndpointName>> {
    let mut sets = BTreeMap::new();
    for vendor in members.iter().filter_map(|e| vendor_behind(e)) {
        let endpoints: Vec<_> = members
            .iter()
            .filter(|e| e.provider == vendor || vendor_behind(e) == Some(vendor))
            .map(|e| e.name.clone())
            .collect();
        sets.insert(vendor.title().to_owned(), endpoints);
    }
    sets
}

/// Returns the vendor whose model a gateway serves.
fn vendor_behind(gateway: &Endpoint) -> Option<Provider> {
    if !matches!(
        gateway.provider,
        Provider::OpenRouter | Provider::OpenAiCompatible
    ) {
        return None;
    }
    let (prefix, _) = gateway.model.as_deref()?.split_once('/')?;
    let (_, vendor) = VENDORS.iter().find(|(name, _)| *name == prefix)?;
    Some(*vendor)
}

/// Returns the parts of `shared` that leave the group's `first` endpoint without an independent
/// alternative. Empty if there is one, or if the endpoint is on a private network. A common front
/// end or network is too frequent to count.
pub(super) fn without_alternative<'a>(
    first: &Endpoint,
    members: &[&Endpoint],
    shared: &'a [SharedFate],
) -> Vec<&'a SharedFate> {
    if crate::config::is_local(&first.base_url) {
        return Vec::new();
    }
    let of_first: Vec<_> = shared
        .iter()
        .filter(|fate| {
            !matches!(fate.part, SharedPart::FrontEnd | SharedPart::Network)
                && fate.endpoints.contains(&first.name)
        })
        .collect();
    let all_depend = members
        .iter()
        .all(|e| of_first.iter().any(|f| f.endpoints.contains(&e.name)));
    if members.len() > 1 && all_depend {
        of_first
    } else {
        Vec::new()
    }
}

/// Returns what is shared, as a sentence without a period.
pub fn sentence(fate: &SharedFate, locale: &Locale) -> String {
    let names = locale.list_at_most(&fate.endpoints, crate::message::place::MAX_NAMES);
    let name = &fate.name;
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
