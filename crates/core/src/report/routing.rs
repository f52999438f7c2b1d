//! Ranks the endpoints of a group by health, with reasons, so that a router knows which one to use.
//! Pure.
//!
//! The ranking must neither lag behind an outage nor flap between two similar endpoints. An
//! endpoint whose last probes failed is demoted at once, long before there is enough evidence for
//! an alert. The current leader stays first until another endpoint is clearly better.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::message::values::Locale;
use crate::model::{AlertState, EndpointName, EndpointView, Snapshot};
use crate::model::{Api, Provider, Status, Timestamp};
use crate::text;

/// After this many failures in a row, an endpoint is demoted without waiting for an incident.
const STREAK: u32 = 2;
/// The weight of the recent error rate in the score. An endpoint with half of its probes failing
/// looks six times as slow.
const FAILURE_WEIGHT: f64 = 10.0;
/// The leader stays first while its score is at most this many times the best score.
const STICKINESS: f64 = 1.25;

/// The leader of each group, kept to prevent flapping.
pub type Leaders = BTreeMap<String, EndpointName>;

/// The endpoints of a group, the one to use first.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Ranking {
    /// The time of the state that was ranked.
    pub at: Timestamp,
    /// The requested group; `null` for all endpoints.
    pub group: Option<String>,
    /// The endpoint to use now; `null` if none is healthy.
    pub endpoint: Option<EndpointName>,
    /// Every endpoint of the group, healthiest first.
    pub ranking: Vec<Rank>,
}

impl Ranking {
    /// Marks `endpoint` as down for this reason, which puts it last.
    pub fn mark_down(&mut self, endpoint: &str, reason: &str) {
        let Some(place) = self.ranking.iter().position(|r| r.endpoint == endpoint) else {
            return;
        };
        let mut rank = self.ranking.remove(place);
        rank.usable = false;
        rank.reasons.insert(0, reason.to_owned());
        self.ranking.push(rank);
        self.endpoint = self
            .ranking
            .first()
            .filter(|r| r.usable)
            .map(|r| r.endpoint.clone());
    }
}

/// One endpoint in a ranking.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Rank {
    /// The endpoint's name.
    pub endpoint: EndpointName,
    /// Its provider.
    pub provider: Provider,
    /// Its model.
    pub model: Option<String>,
    /// Its status.
    pub status: Status,
    /// Whether it can be used now.
    pub usable: bool,
    /// Median time to first token of its recent good probes, in milliseconds; the median total time
    /// if the answer is not streamed.
    pub latency_ms: Option<f64>,
    /// Share of its recent probes that failed, 0 to 1.
    pub error_rate: f64,
    /// Why it has this place.
    pub reasons: Vec<String>,
}

/// How reliable an endpoint is, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tier {
    /// Operational.
    Healthy,
    /// Responds, but slowly or not always: better than nothing.
    Doubtful,
    /// Down, or its status is unknown.
    Unusable,
}

/// Ranks the endpoints of `group`, or all endpoints. Returns `None` if the group does not exist.
pub fn rank(snapshot: &Snapshot, group: Option<&str>, locale: &Locale) -> Option<Ranking> {
    let mut endpoints: Vec<_> = snapshot
        .endpoints
        .iter()
        .filter(|e| group.map_or(e.api != Api::Http, |g| e.group.as_deref() == Some(g)))
        .map(|e| (tier(e), score(e), e))
        .collect();
    if endpoints.is_empty() && group.is_some() {
        return None;
    }
    endpoints.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let leader = group.and_then(|g| snapshot.leaders.get(g));
    let held = endpoints
        .iter()
        .position(|(_, _, e)| Some(&e.name) == leader);
    if let Some(held) = held.filter(|at| *at > 0 && stays(&endpoints[0], &endpoints[*at])) {
        endpoints[..=held].rotate_right(1);
    }
    let ranking: Vec<_> = endpoints
        .iter()
        .map(|(tier, _, e)| describe(e, *tier, locale))
        .collect();
    let endpoint = ranking
        .first()
        .filter(|r| r.usable)
        .map(|r| r.endpoint.clone());
    Some(Ranking {
        at: snapshot.at,
        group: group.map(str::to_owned),
        endpoint,
        ranking,
    })
}

/// Returns the leader of each group, given the previous leaders in `snapshot.leaders`.
pub fn leaders(snapshot: &Snapshot) -> Leaders {
    let mut best: BTreeMap<&str, (Tier, f64, &EndpointView)> = BTreeMap::new();
    let mut held: BTreeMap<&str, (Tier, f64, &EndpointView)> = BTreeMap::new();
    for e in &snapshot.endpoints {
        let Some(group) = e.group.as_deref() else {
            continue;
        };
        let entry = (tier(e), score(e), e);
        if snapshot.leaders.get(group) == Some(&e.name) {
            held.insert(group, entry);
        }
        let is_best = best.get(group).is_none_or(|(tier, score, _)| {
            let by_tier = entry.0.cmp(tier);
            by_tier.then(entry.1.total_cmp(score)).is_lt()
        });
        if is_best {
            best.insert(group, entry);
        }
    }
    best.into_iter()
        .map(|(group, best)| {
            let first = held
                .get(group)
                .filter(|held| stays(&best, held))
                .unwrap_or(&best);
            (group.to_owned(), first.2.name.clone())
        })
        .collect()
}

fn stays(best: &(Tier, f64, &EndpointView), held: &(Tier, f64, &EndpointView)) -> bool {
    held.0 == best.0 && held.1 <= best.1 * STICKINESS
}

fn tier(e: &EndpointView) -> Tier {
    let is_pending = e.alert.state == AlertState::Pending && latency_ms(e).is_some();
    match e.status {
        Status::Operational if e.failed_in_a_row < STREAK => Tier::Healthy,
        // A single failed probe must not move traffic.
        Status::Unknown if is_pending && e.failed_in_a_row < STREAK => Tier::Healthy,
        Status::Unknown if is_pending => Tier::Doubtful,
        Status::Operational | Status::Degraded => Tier::Doubtful,
        Status::Outage | Status::Unknown | Status::Maintenance => Tier::Unusable,
    }
}

fn latency_ms(e: &EndpointView) -> Option<f64> {
    e.first_token_ms_p50.or(e.total_ms_p50)
}

/// Returns a score: lower is better, and only comparable within a tier.
fn score(e: &EndpointView) -> f64 {
    latency_ms(e).unwrap_or(f64::MAX / 1e6) * (1.0 + FAILURE_WEIGHT * e.recent_error_rate)
}

fn describe(e: &EndpointView, tier: Tier, locale: &Locale) -> Rank {
    let mut reasons = vec![match (&e.reason, tier) {
        (Some(reason), _) => format!("{}: {reason}", locale.status(e.status)),
        (None, _) => locale.status(e.status).to_owned(),
    }];
    if tier == Tier::Doubtful && e.status != Status::Degraded {
        let n = e.failed_in_a_row;
        reasons.push(text!(locale, n => "its last probe failed", "its last {n} probes failed"; n));
    }
    if let Some(ms) = e.first_token_ms_p50 {
        let first = locale.latency(ms);
        reasons.push(text!(locale, "first token {first}", first));
    } else if let Some(ms) = e.total_ms_p50 {
        let total = locale.latency(ms);
        reasons.push(text!(locale, "total {total}", total));
    }
    reasons.push(match e.recent_error_rate {
        0.0 => locale.say("no recent failure").to_owned(),
        rate => {
            let share = locale.percentage(rate * 100.0, 0);
            text!(locale, "{share} of the recent probes failed", share)
        }
    });
    Rank {
        endpoint: e.name.clone(),
        provider: e.provider,
        model: e.model.clone(),
        status: e.status,
        usable: tier != Tier::Unusable,
        latency_ms: latency_ms(e),
        error_rate: e.recent_error_rate,
        reasons,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(name: &str, status: Status, ms: f64) -> EndpointView {
        let view = serde_json::json!({
            "name": name, "provider": "openai", "title": "OpenAI", "api": "chat", "group": "chat", "status": status,
            "first_token_ms_p50": ms,
        });
        serde_json::from_value(view).unwrap()
    }

    fn snapshot(endpoints: &[EndpointView]) -> Snapshot {
        let snapshot = serde_json::json!({
            "at": "2026-11-23T09:00:00.000Z", "location": "fra1", "budget_spent": false, "endpoints": endpoints,
            "incidents": [],
        });
        serde_json::from_value(snapshot).unwrap()
    }

    fn first(snapshot: &Snapshot) -> Option<EndpointName> {
        rank(snapshot, Some("chat"), &Locale::default()).and_then(|r| r.endpoint)
    }

    #[test]
    fn the_status_comes_first_then_latency_and_failures() {
        let slow = endpoint("slow", Status::Operational, 900.0);
        let flaky = EndpointView {
            recent_error_rate: 0.3,
            ..endpoint("flaky", Status::Operational, 300.0)
        };
        let degraded = endpoint("degraded", Status::Degraded, 100.0);
        let snapshot = snapshot(&[degraded, flaky, slow]);
        let ranking = rank(&snapshot, Some("chat"), &Locale::default()).unwrap();
        let order: Vec<_> = ranking
            .ranking
            .iter()
            .map(|r| r.endpoint.as_str())
            .collect();
        assert_eq!(order, ["slow", "flaky", "degraded"]);
    }

    #[test]
    fn the_first_stays_until_another_is_clearly_better() {
        let mut now = snapshot(&[
            endpoint("a", Status::Operational, 400.0),
            endpoint("b", Status::Operational, 500.0),
        ]);
        now.leaders = leaders(&now);
        assert_eq!(first(&now).as_deref(), Some("a"));
        let at = |a: f64, leaders: &Leaders| {
            let endpoints = vec![
                endpoint("a", Status::Operational, a),
                endpoint("b", Status::Operational, 500.0),
            ];
            let mut now = Snapshot {
                leaders: leaders.clone(),
                ..snapshot(&endpoints)
            };
            now.leaders = self::leaders(&now);
            now
        };
        let now = at(600.0, &now.leaders);
        assert_eq!(
            first(&now).as_deref(),
            Some("a"),
            "a little slower is no reason to move"
        );
        let now = at(700.0, &now.leaders);
        assert_eq!(first(&now).as_deref(), Some("b"));
        let now = at(450.0, &now.leaders);
        assert_eq!(
            first(&now).as_deref(),
            Some("b"),
            "nor is a little quicker one to move back"
        );
    }

    #[test]
    fn two_failures_in_a_row_are_enough_to_step_back() {
        let failing = EndpointView {
            failed_in_a_row: 2,
            ..endpoint("a", Status::Operational, 300.0)
        };
        let mut now = snapshot(&[failing, endpoint("b", Status::Operational, 900.0)]);
        now.leaders.insert("chat".to_owned(), "a".into());
        assert_eq!(first(&now).as_deref(), Some("b"));
    }

    #[test]
    fn no_healthy_endpoint_is_503_and_unknown_group_404() {
        let snapshot = snapshot(&[
            endpoint("a", Status::Outage, 1.0),
            endpoint("b", Status::Unknown, 1.0),
        ]);
        assert_eq!(first(&snapshot), None);
        assert_eq!(rank(&snapshot, Some("nope"), &Locale::default()), None);
    }
}
