//! The heartbeat (dead man's switch): an external service is pinged while probes are recorded, and
//! alerts when the pings stop.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::Level;

use crate::clock::WallClock;
use crate::config::{Heartbeat, Settings};
use crate::http_client;
use crate::log::{self, Event};
use crate::redact::LazyRedactor;
use llmwatch_core::model::Snapshot;
use llmwatch_core::model::{Endpoint, Timestamp};
use llmwatch_core::schedule::budget;

/// Time limit of one ping.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Retry delay after a failed ping, unless the interval is shorter.
const AGAIN: Duration = Duration::from_secs(10);
/// The 200 response by which Healthchecks reports an unknown check.
const UNKNOWN_CHECK: &[u8] = b"OK (not found)";
/// How often to check whether a ping is due.
const LOOK: Duration = Duration::from_secs(1);

/// The kind of ping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beat {
    /// All is well.
    Alive,
    /// Samples are not being recorded.
    Failing,
}

/// The state of the pings.
#[derive(Debug, Clone, Copy)]
struct Pulse {
    /// When the daemon started: it has some time to record its first sample.
    begun_at: Timestamp,
    /// The earliest time of the next ping.
    not_before: Timestamp,
    /// When the last sample was recorded, as of the last ping.
    recorded_at: Option<Timestamp>,
}

impl Pulse {
    /// Returns the ping that is due at `now`. Alive only when every endpoint was probed recently (a
    /// cycle is complete) and something was recorded since the last ping. Failing when the store
    /// fails, or nothing was recorded for three intervals.
    fn next(&self, config: &Settings, snapshot: &Snapshot, now: Timestamp) -> Option<Beat> {
        // A longer wait than the interval means that the clock was set back.
        let longest = config
            .heartbeat
            .as_ref()
            .map_or(Duration::ZERO, |h| h.interval);
        if now < self.not_before && self.not_before <= now + longest {
            return None;
        }
        let interval_multiplier = budget::interval_multiplier(config);
        let patience = |e: &Endpoint| budget::patience(e, interval_multiplier);
        let shortest = config.endpoints.iter().map(|e| patience(e)).min()?;
        let last = snapshot.last_recorded_at.unwrap_or(self.begun_at);
        if snapshot.store_error.is_some() || now > last + shortest {
            return Some(Beat::Failing);
        }
        let last_probes: HashMap<_, _> = snapshot
            .endpoints
            .iter()
            .filter_map(|v| Some((v.name.as_str(), v.last_probe_at?)))
            .collect();
        let current = config.endpoints.iter().all(|e| {
            last_probes
                .get(e.name.as_str())
                .is_some_and(|at| now <= *at + patience(e))
        });
        (current && snapshot.last_recorded_at != self.recorded_at).then_some(Beat::Alive)
    }
}

/// Pings according to `[heartbeat]` until `stop` is cancelled.
pub async fn run(
    mut config: watch::Receiver<Arc<Settings>>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    wall: WallClock,
    stop: CancellationToken,
) {
    let begun_at = wall();
    let mut pulse = Pulse {
        begun_at,
        not_before: begun_at,
        recorded_at: None,
    };
    // The last failure, so that the same one is logged only once.
    let mut failure = None;
    let mut redactor = LazyRedactor::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let current = config.borrow_and_update().clone();
        let Some(heartbeat) = &current.heartbeat else {
            continue;
        };
        let now = snapshot.borrow().clone();
        let Some(beat) = pulse.next(&current, &now, wall()) else {
            continue;
        };
        let sent = tokio::select! {
            () = stop.cancelled() => return,
            sent = ping(heartbeat, beat, &current) => sent,
        };
        let wait = match sent {
            Ok(()) => {
                failure = None;
                pulse.recorded_at = now.last_recorded_at;
                heartbeat.interval
            }
            Err(error) => {
                let error = redactor.clean(&current, &error);
                if failure.as_ref() != Some(&error) {
                    let message = format!("cannot send the heartbeat: {error}");
                    // A response with a time or an ID in it differs each time, so the log is
                    // rate-limited as well.
                    log::emit_limited(
                        Event::HeartbeatFailed,
                        Level::WARN,
                        "heartbeat",
                        &message,
                        json!({"error": error}),
                    );
                }
                failure = Some(error);
                heartbeat.interval.min(AGAIN)
            }
        };
        // The check runs once a second: a ping due within the next half second counts as due.
        pulse.not_before = wall() + wait - LOOK / 2;
    }
}

async fn ping(heartbeat: &Heartbeat, beat: Beat, settings: &Settings) -> Result<(), String> {
    let url = match (beat, &heartbeat.fail_url) {
        (Beat::Alive, _) => &heartbeat.url,
        (Beat::Failing, Some(url)) => url,
        // Without `fail_url`, missing pings raise the alert.
        (Beat::Failing, None) => return Ok(()),
    };
    let mut response = http_client::without_redirects(TIMEOUT, settings)?
        .get(url.expose())
        .send()
        .await
        .map_err(|e| http_client::error_text(&e, "the heartbeat's receiver"))?;
    let status = response.status();
    if status.is_redirection() {
        return Err(format!(
            "HTTP {}: it redirects, which is not followed; change `url` of `[heartbeat]`",
            status.as_u16()
        ));
    }
    if !status.is_success() {
        return Err(format!("HTTP {}", status.as_u16()));
    }
    // Healthchecks responds with 200 for an unknown check.
    match response.chunk().await {
        Ok(Some(body)) if body.starts_with(UNKNOWN_CHECK) => Err(
            "the receiver has no check at this address (\"OK (not found)\"); correct `url` of `[heartbeat]`"
                .to_owned(),
        ),
        _ => Ok(()),
    }
}
