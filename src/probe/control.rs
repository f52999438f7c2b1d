//! Controls: small, highly available targets of different operators. When a probe fails below HTTP and none of them
//! answers either, the failure is this machine's.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::config::Control;

/// All are asked at once, and have so long to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// An answer counts for the probes that fail together.
const FRESH: Duration = Duration::from_secs(2);

/// The configured controls.
#[derive(Debug)]
pub struct Controls {
    targets: Vec<(String, u16)>,
    last: Mutex<Option<(Instant, bool)>>,
}

impl Controls {
    /// Controls at the given addresses.
    pub fn new(controls: &[Control]) -> Self {
        let target = |c: &Control| Some((c.url.host_str()?.to_owned(), c.url.port_or_known_default()?));
        Self { targets: controls.iter().filter_map(target).collect(), last: Mutex::new(None) }
    }

    /// Whether any of them accepts a TCP connection; `None` when there are none.
    pub async fn any_reachable(&self) -> Option<bool> {
        if self.targets.is_empty() {
            return None;
        }
        // Whoever comes while they are being asked waits for that answer.
        let mut last = self.last.lock().await;
        if let Some((at, reachable)) = *last
            && at.elapsed() < FRESH
        {
            return Some(reachable);
        }
        let mut attempts: FuturesUnordered<_> = self
            .targets
            .iter()
            .map(|(host, port)| TcpStream::connect((host.trim_matches(['[', ']']), *port)))
            .collect();
        let any = async {
            while let Some(result) = attempts.next().await {
                if result.is_ok() {
                    return true;
                }
            }
            false
        };
        let reachable = tokio::time::timeout(PATIENCE, any).await.unwrap_or(false);
        *last = Some((Instant::now(), reachable));
        Some(reachable)
    }
}
