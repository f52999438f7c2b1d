//! The heartbeat (dead-man's switch): a service outside is pinged while probes are really recorded, and raises an alarm
//! when the pings stop.

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
use crate::redact::Redactor;
use llmwatch_core::model::Snapshot;
use llmwatch_core::model::{Endpoint, Timestamp};
use llmwatch_core::schedule::budget;

/// The limit for one ping.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How soon a ping that failed is tried again, if the interval is not shorter.
const AGAIN: Duration = Duration::from_secs(10);
/// How healthchecks says in an answer of 200 that there is no such check.
const UNKNOWN_CHECK: &[u8] = b"OK (not found)";
/// How often is looked whether recording has stopped.
const LOOK: Duration = Duration::from_secs(1);

/// Which address is pinged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beat {
    /// All is well.
    Alive,
    /// We do not record.
    Failing,
}

/// What was pinged.
#[derive(Debug, Clone, Copy)]
struct Pulse {
    /// When the daemon began: it has some time to record its first sample.
    begun_at: Timestamp,
    /// Not to be pinged before this.
    not_before: Timestamp,
    /// The last recorded sample that was pinged about.
    recorded_at: Option<Timestamp>,
}

impl Pulse {
    /// What is to be pinged at `now`. Alive only when every endpoint was probed lately (a cycle is complete) and
    /// something was recorded since the last ping; failing when the store does not take samples or none came for three
    /// intervals.
    fn next(&self, config: &Settings, snapshot: &Snapshot, now: Timestamp) -> Option<Beat> {
        // Further away than any wait is a clock that was set back.
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
        let current = config.endpoints.iter().all(|e| {
            let view = snapshot.endpoints.iter().find(|v| v.name == e.name);
            view.and_then(|v| v.last_probe_at)
                .is_some_and(|at| now <= at + patience(e))
        });
        (current && snapshot.last_recorded_at != self.recorded_at).then_some(Beat::Alive)
    }
}

/// Pings as `[heartbeat]` says, until `stop` is cancelled.
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
    // Why the last ping failed: the same failure is logged once.
    let mut failure = None;
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
                let error = Redactor::new(&current).clean(&error);
                if failure.as_ref() != Some(&error) {
                    let message = format!("cannot send the heartbeat: {error}");
                    // An answer with a time or an id in it is another error each time.
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
        // The look comes once a second: a ping that is due within the next half is due now.
        pulse.not_before = wall() + wait - LOOK / 2;
    }
}

async fn ping(heartbeat: &Heartbeat, beat: Beat, settings: &Settings) -> Result<(), String> {
    let url = match (beat, &heartbeat.fail_url) {
        (Beat::Alive, _) => &heartbeat.url,
        (Beat::Failing, Some(url)) => url,
        // Silence is what the other side waits for.
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
    // Healthchecks answers 200 for a check that it does not have.
    match response.chunk().await {
        Ok(Some(body)) if body.starts_with(UNKNOWN_CHECK) => Err(
            "the receiver has no check at this address (\"OK (not found)\"); correct `url` of `[heartbeat]`"
                .to_owned(),
        ),
        _ => Ok(()),
    }
}
