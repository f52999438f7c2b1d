//! Controls: small, highly available targets of different operators. When a probe fails below HTTP and none of them
//! answers either, the failure is this machine's.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use crate::config::{ConnectivityCheck, address_of};
use crate::model::{Endpoint, Fault, Reach};

/// All are asked at once, and have so long to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// An answer counts for the probes that fail together.
const FRESH: Duration = Duration::from_secs(2);

/// The configured controls.
#[derive(Debug)]
pub struct Controls {
    targets: Vec<Target>,
    last: Mutex<Option<(Instant, Reach)>>,
}

#[derive(Debug)]
struct Target {
    url: Url,
    /// For https: any answer to a HEAD will do, whatever its status.
    client: Option<reqwest::Client>,
}

impl Controls {
    /// Controls at the given addresses.
    pub fn new(checks: &[ConnectivityCheck]) -> Self {
        let target = |c: &ConnectivityCheck| Target {
            url: c.url.clone(),
            client: client(&c.url),
        };
        Self {
            targets: checks.iter().map(target).collect(),
            last: Mutex::new(None),
        }
    }

    /// Asks them if `fault` of `endpoint` may be this machine's: below HTTP, and no nearer than the nearest of them.
    pub async fn ask_about(&self, endpoint: &Endpoint, fault: Fault) -> Option<Reach> {
        let tell = self
            .targets
            .iter()
            .any(|t| ConnectivityCheck::covers(&t.url, &endpoint.base_url));
        if fault.is_transport() && tell {
            self.ask().await
        } else {
            None
        }
    }

    /// Asks them all at once; `None` when there are none.
    pub async fn ask(&self) -> Option<Reach> {
        if self.targets.is_empty() {
            return None;
        }
        // Whoever comes while they are being asked waits for that answer.
        let mut last = self.last.lock().await;
        if let Some((at, reach)) = *last
            && at.elapsed() < FRESH
        {
            return Some(reach);
        }
        let mut attempts: FuturesUnordered<_> = self.targets.iter().map(Target::ask).collect();
        let any_named = self.targets.iter().any(Target::has_name);
        let mut reach = Reach::default();
        let all = async {
            while let Some(answered) = attempts.next().await {
                if let Some(by_name) = answered {
                    reach = Reach {
                        any: true,
                        by_name: reach.by_name || by_name,
                    };
                    // Nothing more can be learned from the rest.
                    if reach.by_name || !any_named {
                        break;
                    }
                }
            }
        };
        // What has answered by then counts.
        let _ = tokio::time::timeout(PATIENCE, all).await;
        *last = Some((Instant::now(), reach));
        Some(reach)
    }
}

impl Target {
    fn has_name(&self) -> bool {
        self.url.has_host() && address_of(&self.url).is_none()
    }

    /// Whether it answers, and if so whether by its name.
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

fn client(url: &Url) -> Option<reqwest::Client> {
    if url.scheme() != "https" {
        return None;
    }
    // For a library user: `main` has done it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder()
        .user_agent(concat!("llmwatch/", env!("CARGO_PKG_VERSION")))
        .timeout(PATIENCE)
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(0)
        .no_proxy();
    // Where TLS cannot be set up, a connection has to do.
    builder.build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_that_answers_is_enough_and_a_name_tells_more() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let ask = |urls: Vec<String>| async move {
            let controls: Vec<_> = urls
                .iter()
                .map(|u| ConnectivityCheck {
                    name: None,
                    url: u.parse().unwrap(),
                })
                .collect();
            Controls::new(&controls).ask().await
        };
        let dead = "tcp://127.0.0.1:1".to_owned();
        let by_address = format!("tcp://127.0.0.1:{port}");
        let by_name = format!("tcp://localhost:{port}");
        assert_eq!(ask(vec![]).await, None);
        assert_eq!(
            ask(vec![dead.clone()]).await,
            Some(Reach {
                any: false,
                by_name: false
            })
        );
        assert_eq!(
            ask(vec![dead.clone(), by_address]).await,
            Some(Reach {
                any: true,
                by_name: false
            })
        );
        assert_eq!(
            ask(vec![dead, by_name]).await,
            Some(Reach {
                any: true,
                by_name: true
            })
        );
    }
}
