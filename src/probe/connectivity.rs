//! Connectivity checks: small, highly available targets of different operators. When a probe fails
//! below HTTP and none of them responds either, the failure is local. A DNS failure is local unless
//! unrelated names resolve afterwards while the failing one still does not.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;
use url::Url;

use crate::config::{ConnectivityCheck, address_of, is_local};
use llmwatch_core::model::{ConnectivityCheckResult, Endpoint, Fault, ProviderName};

/// Time limit of the checks, which run in parallel.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a result is reused, for probes that fail together.
const FRESH: Duration = Duration::from_secs(2);

/// A DNS failure is the provider's only if the name fails this many times in a row while others
/// resolve each time. The resolver may be losing queries.
const LOOKUP_ROUNDS: u32 = 3;
/// The maximum number of unrelated names looked up in parallel.
const MAX_NAMES: usize = 3;
/// The maximum number of DNS failures examined in parallel: each lookup may occupy a thread.
const MAX_EXAMINED: usize = 8;
/// Time limit for examining one DNS failure.
const EXAMINE_WITHIN: Duration = Duration::from_secs(10);

/// The configured connectivity checks.
#[derive(Debug)]
pub struct ConnectivityChecks {
    targets: Vec<Target>,
    /// Hostnames of the endpoints, each with its failure domain.
    hosts: Vec<(String, ProviderName)>,
    /// Hostnames of the connectivity checks.
    names: Vec<String>,
    examining: Semaphore,
    last: Mutex<Option<(Instant, ConnectivityCheckResult)>>,
}

#[derive(Debug)]
struct Target {
    url: Url,
    /// For https: any response to a HEAD request will do, whatever its status.
    client: Option<reqwest::Client>,
}

impl ConnectivityChecks {
    /// Creates the checks. Names of `endpoints` are looked up too when another provider's name does
    /// not resolve.
    pub fn new(checks: &[ConnectivityCheck], endpoints: &[Arc<Endpoint>]) -> Self {
        let target = |c: &ConnectivityCheck| Target {
            url: c.url.clone(),
            client: client(&c.url),
        };
        Self {
            targets: checks.iter().map(target).collect(),
            hosts: endpoints
                .iter()
                .filter(|e| !is_local(&e.base_url))
                .filter_map(|e| Some((e.base_url.domain()?.to_owned(), e.domain())))
                .collect(),
            names: checks.iter().filter_map(name_of).collect(),
            examining: Semaphore::new(MAX_EXAMINED),
            last: Mutex::new(None),
        }
    }

    /// Runs the checks if `fault` of `endpoint` may be local: it is below HTTP, and the endpoint is
    /// no nearer than the nearest check.
    pub async fn ask_about(
        &self,
        endpoint: &Endpoint,
        fault: Fault,
    ) -> Option<ConnectivityCheckResult> {
        let can_tell = self
            .targets
            .iter()
            .any(|t| ConnectivityCheck::covers(&t.url, &endpoint.base_url));
        let ask = async {
            if fault.is_transport() && can_tell {
                self.ask().await
            } else {
                None
            }
        };
        if fault != Fault::LocalDns {
            return ask.await;
        }
        let (reach, zone_is_broken) = tokio::join!(ask, self.zone_is_broken(endpoint));
        if zone_is_broken {
            return Some(ConnectivityCheckResult {
                any: true,
                by_name: true,
            });
        }
        reach.map(|reach| ConnectivityCheckResult {
            by_name: false,
            ..reach
        })
    }

    /// Reports whether unrelated names resolve while that of `endpoint` does not, several times in
    /// a row. A single success proves little when the resolver loses queries.
    async fn zone_is_broken(&self, endpoint: &Endpoint) -> bool {
        let Some(own) = endpoint.base_url.domain() else {
            return false;
        };
        let unrelated = self.unrelated_hosts(own, &endpoint.domain());
        let examine = async {
            let Ok(_permit) = self.examining.acquire().await else {
                return false;
            };
            for _ in 0..LOOKUP_ROUNDS {
                let others = most_resolve(&unrelated).await || most_resolve(&self.names).await;
                if !others || resolves(own).await {
                    return false;
                }
            }
            true
        };
        tokio::time::timeout(EXAMINE_WITHIN, examine)
            .await
            .unwrap_or(false)
    }

    /// Returns hosts of endpoints of other providers that share no zone with `own`.
    fn unrelated_hosts(&self, own: &str, domain: &str) -> Vec<String> {
        let mut hosts: Vec<_> = self
            .hosts
            .iter()
            .filter(|(host, of)| of != domain && zone(host) != zone(own))
            .map(|(host, _)| host.clone())
            .collect();
        hosts.sort();
        hosts.dedup();
        hosts.truncate(MAX_NAMES);
        hosts
    }

    /// Runs all checks in parallel; `None` when there are none.
    pub async fn ask(&self) -> Option<ConnectivityCheckResult> {
        if self.targets.is_empty() {
            return None;
        }
        // A caller that arrives during a run waits for its result.
        let mut last = self.last.lock().await;
        if let Some((at, reach)) = *last
            && at.elapsed() < FRESH
        {
            return Some(reach);
        }
        let mut attempts: FuturesUnordered<_> = self.targets.iter().map(Target::ask).collect();
        let any_named = self.targets.iter().any(Target::has_name);
        let mut reach = ConnectivityCheckResult::default();
        let all = async {
            while let Some(answered) = attempts.next().await {
                if let Some(by_name) = answered {
                    reach = ConnectivityCheckResult {
                        any: true,
                        by_name: reach.by_name || by_name,
                    };
                    // The other checks cannot change the result.
                    if reach.by_name || !any_named {
                        break;
                    }
                }
            }
        };
        // Responses received by then count.
        let _ = tokio::time::timeout(PATIENCE, all).await;
        *last = Some((Instant::now(), reach));
        Some(reach)
    }
}

impl Target {
    fn has_name(&self) -> bool {
        self.url.has_host() && address_of(&self.url).is_none()
    }

    /// Runs the check. Returns whether the target was reached by name; `None` without a response.
    async fn ask(&self) -> Option<bool> {
        let answers = if let Some(client) = &self.client {
            client.head(self.url.clone()).send().await.is_ok()
        } else {
            let address = (
                self.url.host_str()?.trim_matches(['[', ']']),
                self.url.port_or_known_default()?,
            );
            TcpStream::connect(address).await.is_ok()
        };
        answers.then(|| self.has_name())
    }
}

/// Returns the name to look up for a check: its `name`, else the host of its URL.
fn name_of(check: &ConnectivityCheck) -> Option<String> {
    check
        .name
        .clone()
        .or_else(|| {
            // `tcp` is not a special scheme, so the URL parser does not distinguish names from
            // addresses.
            let is_name = address_of(&check.url).is_none();
            check.url.host_str().filter(|_| is_name).map(str::to_owned)
        })
        .filter(|name| !name.eq_ignore_ascii_case("localhost"))
}

/// Returns the last two labels of a name: names that share them may share a broken zone.
fn zone(name: &str) -> String {
    let mut labels: Vec<_> = name.trim_end_matches('.').rsplit('.').take(2).collect();
    labels.reverse();
    labels.join(".").to_ascii_lowercase()
}

/// Reports whether two thirds of up to three `names`, looked up in parallel, resolve; false if
/// there are none.
async fn most_resolve(names: &[String]) -> bool {
    let names = &names[..names.len().min(MAX_NAMES)];
    let lookups: FuturesUnordered<_> = names.iter().map(|name| resolves(name)).collect();
    let resolved = lookups
        .filter(|resolved| std::future::ready(*resolved))
        .count()
        .await;
    !names.is_empty() && resolved * 3 >= names.len() * 2
}

/// Reports whether `name` resolves within the time limit.
async fn resolves(name: &str) -> bool {
    let lookup = tokio::net::lookup_host((name, 443));
    let found = tokio::time::timeout(PATIENCE, lookup).await;
    found.is_ok_and(|found| found.is_ok_and(|mut addresses| addresses.next().is_some()))
}

fn client(url: &Url) -> Option<reqwest::Client> {
    if url.scheme() != "https" {
        return None;
    }
    // For library users; `main` has done it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder()
        .user_agent(concat!("llmwatch/", env!("CARGO_PKG_VERSION")))
        .timeout(PATIENCE)
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(0)
        .no_proxy();
    // If TLS cannot be set up, fall back to a TCP connection.
    builder.build().ok()
}

#[cfg(test)]
mod tests;
