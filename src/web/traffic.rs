//! How much traffic each endpoint should get: the source of HAProxy agent checks and of the weights
//! in `/api/v1/route`.
//!
//! The detector has already decided whether an endpoint is down, so this needs no hysteresis of its
//! own. A recovered endpoint gets its traffic back gradually. If the state is unknown, the last
//! reply remains: a monitor that is offline must not shift traffic.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::Level;
use utoipa::ToSchema;

use super::problem::Problem;
use crate::config::Settings;
use crate::files;
use crate::log::{self, Event, emit};
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::{EndpointName, EndpointView, Incident, Snapshot, Status, Timestamp};
use llmwatch_core::report::routing::{Ranking, rank};

/// The most groups that an error lists.
const GROUPS: usize = 20;
/// The initial traffic share of a recovered endpoint, in percent.
const FIRST_SHARE: f64 = 10.0;
/// The traffic share of a degraded endpoint, in percent.
const DEGRADED_SHARE: u32 = 50;
/// The duration of a route drill.
const DRILL: Duration = Duration::from_mins(1);
/// The longest cause in a reply, in bytes.
const CAUSE_BYTES: usize = 60;

/// What a load balancer should do with an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum TrafficTarget {
    /// Send it traffic.
    Up,
    /// Send it less.
    Degraded,
    /// Send it nothing, because of this cause.
    Down(String),
    /// Let its requests end and send it no new ones.
    Drain,
}

impl TrafficTarget {
    fn takes_no_traffic(&self) -> bool {
        matches!(self, Self::Down(_) | Self::Drain)
    }
}

/// The traffic state of one endpoint; persisted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct EndpointTraffic {
    target: TrafficTarget,
    /// When it recovered from being down, while its share is still ramping up.
    recovered_at: Option<Timestamp>,
}

/// A reply of the agent check: "up ready 100%", "down #http.5xx", "drain".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AgentReply {
    Up(u32),
    Down(String),
    Drain,
}

impl AgentReply {
    /// The reply about an unknown endpoint.
    pub(super) const UNKNOWN: Self = Self::Up(100);
}

impl fmt::Display for AgentReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up(percent) => write!(f, "up ready {percent}%"),
            Self::Down(cause) => write!(f, "down #{cause}"),
            Self::Drain => f.write_str("drain"),
        }
    }
}

impl EndpointTraffic {
    fn reply(&self, now: Timestamp, ramp: Duration) -> AgentReply {
        let share = match &self.target {
            TrafficTarget::Up => 100,
            TrafficTarget::Degraded => DEGRADED_SHARE,
            TrafficTarget::Down(cause) => return AgentReply::Down(cause.clone()),
            TrafficTarget::Drain => return AgentReply::Drain,
        };
        let Some(since) = self.recovered_at.filter(|_| !ramp.is_zero()) else {
            return AgentReply::Up(share);
        };
        let passed = now.since_ms(since).max(0) as f64 / ramp.as_millis() as f64;
        let grown = FIRST_SHARE + (100.0 - FIRST_SHARE) * passed;
        AgentReply::Up(share.min(grown.min(100.0) as u32))
    }

    /// Returns the next state, given the new `target`.
    fn followed_by(&self, target: TrafficTarget, now: Timestamp, ramp: Duration) -> Self {
        let recovered_at = match (self.target.takes_no_traffic(), target.takes_no_traffic()) {
            (_, true) => None,
            (true, false) => Some(now),
            (false, false) => self
                .recovered_at
                .filter(|at| now.since_ms(*at) < ramp.as_millis() as i64),
        };
        Self {
            target,
            recovered_at,
        }
    }
}

/// Returns the first outage of each endpoint that has one.
fn outages(snapshot: &Snapshot) -> HashMap<&str, &Incident> {
    let mut outages = HashMap::new();
    for incident in snapshot
        .incidents
        .iter()
        .filter(|i| i.status == Status::Outage)
    {
        for endpoint in &incident.endpoints {
            outages.entry(endpoint.as_str()).or_insert(incident);
        }
    }
    outages
}

/// Returns the target of `endpoint`, which `outage` concerns; `None` while it is unknown.
fn target(
    endpoint: &EndpointView,
    outage: Option<&Incident>,
    snapshot: &Snapshot,
) -> Option<TrafficTarget> {
    if endpoint.status == Status::Maintenance {
        return Some(TrafficTarget::Drain);
    }
    if snapshot.offline_since.is_some() {
        return None;
    }
    match (endpoint.status, outage) {
        (_, Some(incident)) => Some(TrafficTarget::Down(one_word(incident.cause.as_str()))),
        (Status::Outage, None) => Some(TrafficTarget::Down("outage".to_owned())),
        (Status::Degraded, None) => Some(TrafficTarget::Degraded),
        (Status::Operational, None) => endpoint.last_probe_at.map(|_| TrafficTarget::Up),
        (Status::Unknown | Status::Maintenance, None) => None,
    }
}

/// Sanitizes a cause, so that it cannot break the reply's line.
fn one_word(cause: &str) -> String {
    cause
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
        .take(CAUSE_BYTES)
        .collect()
}

/// A cached answer of `/api/v1/route`.
#[derive(Debug, Clone)]
pub(super) struct RouteAnswer {
    pub(super) json: Bytes,
    /// The endpoint to use.
    pub(super) endpoint: Option<EndpointName>,
    pub(super) etag: String,
}

/// The answers for one snapshot, per group and visibility (full or summary).
#[derive(Debug, Default)]
struct RouteCache {
    snapshot: Option<Arc<Snapshot>>,
    answers: BTreeMap<(Option<String>, bool), Arc<RouteAnswer>>,
}

/// A drill of a route: one endpoint counts as down for a while, for `/api/v1/route` and agent
/// checks only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) struct RouteDrill {
    /// The group.
    pub(super) group: String,
    /// Its first choice, which counts as down.
    pub(super) endpoint: EndpointName,
    /// The endpoint that takes its place.
    instead: EndpointName,
    /// When it began.
    started_at: Timestamp,
    /// When it ends by itself.
    until: Timestamp,
}

impl RouteDrill {
    /// Creates a drill of `group` that starts at `now`.
    ///
    /// # Errors
    /// When there is no such group, or the drill would leave it without an endpoint.
    pub(super) fn new(
        group: &str,
        config: &Settings,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Result<Self, Problem> {
        let mut members = config
            .endpoints
            .iter()
            .filter(|e| e.group.as_deref() == Some(group));
        let (Some(first), Some(ranking)) = (
            members.next(),
            rank(snapshot, Some(group), &Locale::default()),
        ) else {
            return Err(no_group(snapshot, group));
        };
        if members.next().is_none() {
            return Err(conflict(format!(
                "the group `{group}` has one endpoint, `{}`: there is nothing to move traffic to",
                first.name
            )));
        }
        if snapshot.offline_since.is_some() {
            return Err(conflict(
                "this machine is offline, so nothing is known about the endpoints".to_owned(),
            ));
        }
        let is_usable = ranking
            .ranking
            .iter()
            .any(|r| r.endpoint == first.name && r.usable);
        if !is_usable {
            return Err(conflict(format!(
                "the first choice of `{group}`, `{}`, is not healthy: a drill cannot run during a real incident",
                first.name
            )));
        }
        let Some(instead) = instead_of(&first.name, ranking) else {
            return Err(conflict(format!(
                "no other endpoint of `{group}` is healthy: a drill would leave none"
            )));
        };
        Ok(Self {
            group: group.to_owned(),
            endpoint: first.name.clone(),
            instead,
            started_at: now,
            until: now + DRILL,
        })
    }

    /// Reports whether it is active at `now`. Setting the clock back ends it.
    fn is_active(&self, now: Timestamp) -> bool {
        self.started_at <= now && now < self.until
    }
}

fn conflict(why: String) -> Problem {
    Problem::new(StatusCode::CONFLICT, why)
}

/// Returns the endpoint to use while `endpoint` is down.
fn instead_of(endpoint: &str, mut ranking: Ranking) -> Option<EndpointName> {
    ranking.mark_down(endpoint, "");
    ranking.endpoint
}

/// The states of all endpoints. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Traffic {
    states: Arc<Mutex<BTreeMap<EndpointName, EndpointTraffic>>>,
    cache: Arc<Mutex<RouteCache>>,
    drill: Arc<Mutex<Option<RouteDrill>>>,
    path: Option<PathBuf>,
    drill_path: Option<PathBuf>,
}

impl Traffic {
    /// Loads the states stored below `state_dir`; empty if they cannot be read.
    pub fn stored(state_dir: &Path) -> Self {
        let path = state_dir.join("route.json");
        let states = std::fs::read(&path).ok();
        let states = states.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self {
            states: Arc::new(Mutex::new(states.unwrap_or_default())),
            cache: Arc::default(),
            drill: Arc::default(),
            path: Some(path),
            drill_path: Some(end_stored_drill(state_dir)),
        }
    }

    /// Starts a drill after persisting it, so that a restart can end it.
    ///
    /// # Errors
    /// When it cannot be persisted.
    pub(super) fn start_drill(&self, drill: RouteDrill) -> std::io::Result<()> {
        if let Some(path) = &self.drill_path {
            files::write_private(path, &serde_json::to_vec(&drill)?)?;
        }
        emit(
            Event::DrillStarted,
            Level::INFO,
            &format!(
                "route drill of {}: {} counts as down until {}, {} is used instead",
                drill.group,
                drill.endpoint,
                Locale::default().time(drill.until),
                drill.instead
            ),
            &json!(drill),
        );
        *lock(&self.drill) = Some(drill);
        self.forget_answers();
        Ok(())
    }

    /// The drill that is active at `now`.
    pub(super) fn drill(&self, now: Timestamp) -> Option<RouteDrill> {
        lock(&self.drill).clone().filter(|d| d.is_active(now))
    }

    /// Ends a drill that has expired or whose group would be left without a healthy endpoint.
    /// Returns it.
    fn end_drill(&self, snapshot: &Snapshot) -> Option<RouteDrill> {
        let mut current = lock(&self.drill);
        let ended = current.take_if(|drill| {
            let ranking = rank(snapshot, Some(&drill.group), &Locale::default());
            let instead = ranking.and_then(|r| instead_of(&drill.endpoint, r));
            !drill.is_active(snapshot.at) || instead.is_none()
        });
        drop(current);
        if ended.is_some() {
            self.forget_answers();
        }
        ended
    }

    /// Removes the persisted drill.
    fn forget_drill(&self) {
        if let Some(path) = &self.drill_path {
            // If this fails, the next start ends it.
            let _ = std::fs::remove_file(path);
        }
    }

    fn forget_answers(&self) {
        *lock(&self.cache) = RouteCache::default();
    }

    /// Applies a snapshot. Returns whether a state changed.
    fn follow(&self, snapshot: &Snapshot, ramp: Duration) -> bool {
        let mut states = lock(&self.states);
        let mut changed = false;
        let outages = outages(snapshot);
        // States of endpoints that are still configured.
        let mut current = 0;
        for endpoint in &snapshot.endpoints {
            let known = states.get(&endpoint.name);
            let outage = outages.get(endpoint.name.as_str()).copied();
            let Some(target) = target(endpoint, outage, snapshot) else {
                current += usize::from(known.is_some());
                continue;
            };
            current += 1;
            let first = EndpointTraffic {
                target: target.clone(),
                recovered_at: None,
            };
            let next = known.map_or(first, |k| k.followed_by(target, snapshot.at, ramp));
            if known != Some(&next) {
                states.insert(endpoint.name.clone(), next);
                changed = true;
            }
        }
        if states.len() == current {
            return changed;
        }
        let names: HashSet<_> = snapshot.endpoints.iter().map(|e| &e.name).collect();
        states.retain(|name, _| names.contains(name));
        true
    }

    /// Returns the reply about the endpoint of this name.
    pub(super) fn reply(&self, name: &str, now: Timestamp, ramp: Duration) -> AgentReply {
        if self.drill(now).is_some_and(|d| d.endpoint == name) {
            return AgentReply::Down("drill".to_owned());
        }
        lock(&self.states)
            .get(name)
            .map_or(AgentReply::UNKNOWN, |state| state.reply(now, ramp))
    }

    /// Returns the traffic share of the endpoint of this name, in percent.
    pub(super) fn weight(&self, name: &str, now: Timestamp, ramp: Duration) -> u32 {
        match self.reply(name, now, ramp) {
            AgentReply::Up(percent) => percent,
            AgentReply::Down(_) | AgentReply::Drain => 0,
        }
    }

    /// Returns the cached answer for `group` from `snapshot`, or calls `make`, which returns `None`
    /// for an unknown group.
    pub(super) fn route_answer(
        &self,
        snapshot: &Arc<Snapshot>,
        group: Option<&str>,
        is_summary: bool,
        make: impl FnOnce() -> Option<RouteAnswer>,
    ) -> Option<Arc<RouteAnswer>> {
        let mut cache = lock(&self.cache);
        if !cache
            .snapshot
            .as_ref()
            .is_some_and(|s| Arc::ptr_eq(s, snapshot))
        {
            cache.answers.clear();
            cache.snapshot = Some(snapshot.clone());
        }
        let key = (group.map(str::to_owned), is_summary);
        if let Some(answer) = cache.answers.get(&key) {
            return Some(answer.clone());
        }
        let answer = Arc::new(make()?);
        cache.answers.insert(key, answer.clone());
        Some(answer)
    }

    fn save(&self) -> std::io::Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        files::write_private(path, &serde_json::to_vec(&*lock(&self.states))?)
    }
}

/// Ends a drill that was active when the daemon was killed. Returns the path where drills are
/// persisted.
fn end_stored_drill(state_dir: &Path) -> PathBuf {
    let path = state_dir.join("route_drill.json");
    if let Ok(bytes) = std::fs::read(&path)
        && std::fs::remove_file(&path).is_ok()
        && let Ok(drill) = serde_json::from_slice::<RouteDrill>(&bytes)
    {
        log_drill_end(&drill, "the daemon has restarted");
    }
    path
}

fn log_drill_end(drill: &RouteDrill, reason: &str) {
    emit(
        Event::DrillEnded,
        Level::INFO,
        &format!("the route drill of {} has ended: {reason}", drill.group),
        &json!({"group": drill.group, "endpoint": drill.endpoint, "reason": reason}),
    );
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Updates `traffic` with each snapshot until `stop`, and persists it.
pub async fn run(
    traffic: Traffic,
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    config: watch::Receiver<Arc<Settings>>,
    stop: CancellationToken,
) {
    let mut failing = false;
    loop {
        let snapshot = snapshots.borrow_and_update().clone();
        let ramp = config.borrow().route.ramp;
        if let Some(drill) = traffic.end_drill(&snapshot) {
            let to_forget = traffic.clone();
            // If this panics, the next start ends the drill.
            let _ = tokio::task::spawn_blocking(move || to_forget.forget_drill()).await;
            let reason = if drill.is_active(snapshot.at) {
                "no other endpoint of the group is healthy"
            } else {
                "its time has expired"
            };
            log_drill_end(&drill, reason);
        }
        if traffic.follow(&snapshot, ramp) || failing {
            let to_save = traffic.clone();
            let saved = tokio::task::spawn_blocking(move || to_save.save()).await;
            let error = saved.ok().and_then(Result::err);
            if let Some(error) = &error {
                let message = format!("cannot store the state of the traffic weights: {error}");
                log::store_failed("traffic", &message, error);
            }
            failing = error.is_some();
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = snapshots.changed() => if changed.is_err() { return },
        }
    }
}

/// The error for a group that is not configured.
pub(super) fn no_group(snapshot: &Snapshot, group: &str) -> Problem {
    let groups: Vec<_> = snapshot.leaders.keys().map(String::as_str).collect();
    let known = if groups.is_empty() {
        "no endpoint has a `group`".to_owned()
    } else {
        format!("known: {}", groups[..groups.len().min(GROUPS)].join(", "))
    };
    Problem::not_found(format!("there is no group `{group}`; {known}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAMP: Duration = Duration::from_mins(5);

    fn snapshot(minute: i64, status: &str) -> Snapshot {
        let at = Timestamp(minute * 60_000);
        serde_json::from_value(json!({
            "at": at, "location": "fra1", "offline_since": null, "budget_spent": false,
            "last_recorded_at": at, "store_error": null, "incidents": [],
            "endpoints": [{
                "name": "a", "provider": "openai", "title": "OpenAI", "api": "chat", "model": null, "group": "chat",
                "status": status, "reason": null, "last_probe_at": at, "last_outcome": "ok", "last_fault": null,
                "first_token_ms_p50": null, "total_ms_p50": null, "typical_first_token_ms": null,
                "availability_24h": null,
            }],
        }))
        .unwrap()
    }

    fn replies(traffic: &Traffic, history: &[(i64, &str)]) -> Vec<String> {
        let reply = |(minute, status): &(i64, &str)| {
            let snapshot = snapshot(*minute, status);
            traffic.follow(&snapshot, RAMP);
            traffic.reply("a", snapshot.at, RAMP).to_string()
        };
        history.iter().map(reply).collect()
    }

    #[test]
    fn a_recovered_endpoint_gets_its_traffic_back_step_by_step() {
        let history = [
            (0, "operational"),
            (1, "outage"),
            (2, "unknown"),
            (3, "operational"),
            (4, "operational"),
            (5, "degraded"),
            (7, "operational"),
            (8, "operational"),
            (9, "maintenance"),
        ];
        assert_eq!(
            replies(&Traffic::default(), &history),
            [
                "up ready 100%",
                "down #outage",
                "down #outage",
                "up ready 10%",
                "up ready 28%",
                "up ready 46%",
                "up ready 82%",
                "up ready 100%",
                "drain"
            ]
        );
    }

    #[test]
    fn what_was_never_seen_is_up() {
        assert_eq!(
            replies(&Traffic::default(), &[(0, "unknown")]),
            ["up ready 100%"]
        );
    }

    #[test]
    fn the_state_survives_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let traffic = Traffic::stored(directory.path());
        replies(&traffic, &[(0, "operational"), (1, "outage")]);
        traffic.save().unwrap();
        let again = Traffic::stored(directory.path());
        assert_eq!(replies(&again, &[(2, "unknown")]), ["down #outage"]);
        let mode = std::fs::metadata(directory.path().join("route.json")).unwrap();
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777,
            0o600
        );
    }

    #[test]
    fn a_cause_cannot_break_the_reply() {
        assert_eq!(one_word("http.5xx\nup #100%"), "http.5xxup100");
    }
}
