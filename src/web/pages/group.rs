//! The page of a group of alternatives: which endpoint to use now, and what failover saves compared
//! with the first choice alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use askama::Template;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;

use super::{Frame, PageError, View, class, html};
use crate::failover::{self, Failover, Independence, Pair};
use crate::store::StoreError;
use crate::web::format;
use crate::web::reader::Reader;
use llmwatch_core::detect::shared_fate;
use llmwatch_core::message::values::{Locale, NONE};
use llmwatch_core::model::{EndpointView, Snapshot, Status, Timestamp};
use llmwatch_core::report::routing::{Rank, rank};
use llmwatch_core::text;

/// The replayed period. The replay reads all of its samples.
const SPAN: Duration = Duration::from_hours(7 * 24);
/// How long a replay is cached.
const FRESH: Duration = Duration::from_mins(10);
/// The most groups whose replays are cached.
const MAX_KEPT: usize = 64;

/// Smaller cost differences are not shown.
const LEAST_USD: f64 = 0.001;

/// The replay of each group, with its time.
type KeptReplays = BTreeMap<String, (Timestamp, Arc<Failover>)>;

/// The last replay of each group. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct ReplayCache {
    kept: Arc<Mutex<KeptReplays>>,
    /// Held while replaying, so that there is only one replay at a time.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl ReplayCache {
    fn fresh(&self, group: &str, now: Timestamp) -> Option<Arc<Failover>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, failover) = kept.get(group)?;
        let age = now.since_ms(*at);
        (0..FRESH.as_millis() as i64)
            .contains(&age)
            .then(|| failover.clone())
    }

    async fn get(
        &self,
        view: &View,
        group: &str,
        now: Timestamp,
    ) -> Result<Option<Arc<Failover>>, StoreError> {
        if let Some(known) = self.fresh(group, now) {
            return Ok(Some(known));
        }
        let _turn = self.turn.lock().await;
        if let Some(known) = self.fresh(group, now) {
            return Ok(Some(known));
        }
        let config = view.config.borrow().config.clone();
        let name = group.to_owned();
        let replayed = view
            .store
            .run_blocking(move |store| {
                failover::replay(
                    store,
                    &config,
                    (now - SPAN, now),
                    None,
                    |g| g == name,
                    |_| {},
                )
            })
            .await?;
        let found = replayed.into_iter().next().map(Arc::new);
        if let Some(failover) = &found {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() >= MAX_KEPT {
                kept.clear();
            }
            kept.insert(group.to_owned(), (now, failover.clone()));
        }
        Ok(found)
    }
}

#[derive(Template)]
#[template(path = "pages/group.html")]
struct GroupPage {
    frame: Frame,
    class: &'static str,
    sentence: String,
    advice: String,
    members: Vec<GroupMember>,
    shared: Vec<String>,
    failover: Option<Saved>,
}

/// An endpoint in the group.
struct GroupMember {
    name: String,
    is_chosen: bool,
    class: &'static str,
    status: &'static str,
    first_token: String,
    availability: String,
    reasons: String,
}

/// What failover within the group saved.
struct Saved {
    figures: Vec<(&'static str, String, String)>,
    basis: String,
    pairs: Vec<PairLine>,
}

/// The first choice paired with another endpoint.
struct PairLine {
    with: String,
    availability: String,
    down: String,
    together: String,
}

pub(super) async fn page(
    State(view): State<View>,
    reader: Reader,
    name: Result<Path<String>, PathRejection>,
    request: HeaderMap,
) -> Response {
    let snapshot = view.snapshot.borrow().clone();
    let missing = PageError::Missing("There is no such group.");
    let Ok(Path(name)) = name else {
        return missing.page(&view, &request, reader);
    };
    // This page shows more than the summary: latencies and the reasons for the ranking.
    if !reader.sees_all() || rank(&snapshot, Some(&name), &Locale::default()).is_none() {
        return missing.page(&view, &request, reader);
    }
    match view.replays.get(&view, &name, (view.wall)()).await {
        Ok(failover) => {
            let frame = Frame::new(&view, &snapshot, &name, reader);
            html(
                &render(frame, &snapshot, &name, failover.as_deref()),
                &request,
            )
        }
        Err(error) => PageError::from(error).page(&view, &request, reader),
    }
}

fn render(
    frame: Frame,
    snapshot: &Snapshot,
    group: &str,
    failover: Option<&Failover>,
) -> GroupPage {
    let locale = &frame.locale;
    let ranking = rank(snapshot, Some(group), locale);
    let chosen = ranking.as_ref().and_then(|r| r.endpoint.clone());
    let first = snapshot
        .endpoints
        .iter()
        .find(|e| e.group.as_deref() == Some(group))
        .map(|e| e.name.clone());

    let ranks = ranking.iter().flat_map(|r| &r.ranking);
    let members = ranks.filter_map(|r| {
        let is_chosen = chosen.as_ref() == Some(&r.endpoint);
        let view = snapshot.endpoints.iter().find(|e| e.name == r.endpoint)?;
        Some(member(
            view,
            is_chosen,
            why(view, r, snapshot, locale),
            locale,
        ))
    });
    let (class, sentence, advice) = match (&chosen, first) {
        (None, _) => (
            "bad",
            text!(locale, "{group}: no endpoint is healthy.", group),
            String::new(),
        ),
        (Some(name), Some(first)) if *name != first => (
            "slow",
            text!(locale, "{group}: use {name}.", group, name),
            text!(locale, "The first choice is {first}.", first),
        ),
        (Some(name), _) => (
            "ok",
            text!(locale, "{group}: use {name}.", group, name),
            locale
                .say("It is the first choice of the group.")
                .to_owned(),
        ),
    };
    GroupPage {
        members: members.collect(),
        shared: snapshot
            .shared_fate
            .iter()
            .filter(|fate| fate.group == group)
            .map(|fate| shared_fate::sentence(fate, locale))
            .collect(),
        failover: failover.map(|f| saved(f, locale)),
        class,
        sentence,
        advice,
        frame,
    }
}

/// The reason for the rank, unless other columns show it: the cause of the incident, otherwise the
/// reason from the routing.
fn why(view: &EndpointView, place: &Rank, snapshot: &Snapshot, locale: &Locale) -> String {
    let incident = snapshot
        .incidents
        .iter()
        .find(|i| i.endpoints.contains(&view.name));
    let cause = incident.map(|i| format::cause(i, locale));
    if let Some(cause) = cause.filter(|c| !c.is_empty()) {
        return cause;
    }
    let first = "";
    let first_token = text!(locale, "first token {first}", first);
    let rest: Vec<_> = place
        .reasons
        .iter()
        .filter(|reason| {
            !reason.starts_with(locale.status(view.status))
                && !reason.starts_with(first_token.trim())
        })
        .cloned()
        .collect();
    rest.join(", ")
}

fn member(
    endpoint: &EndpointView,
    is_chosen: bool,
    reasons: String,
    locale: &Locale,
) -> GroupMember {
    GroupMember {
        name: endpoint.name.to_string(),
        is_chosen,
        class: match endpoint.status {
            Status::Operational => "ok",
            status => class(status),
        },
        status: locale.status(endpoint.status),
        first_token: endpoint
            .first_token_ms_p50
            .map_or(NONE.to_owned(), |ms| locale.latency(ms)),
        availability: endpoint
            .availability_24h
            .map_or(NONE.to_owned(), |a| locale.percent(a)),
        reasons,
    }
}

fn saved(failover: &Failover, locale: &Locale) -> Saved {
    let alone = failover.alone.iter().find(|a| a.name == failover.first);
    let first = &failover.first;
    let switches = failover.switchovers.len();
    let samples = locale.number(failover.samples);
    let mut figures = vec![
        (
            locale.say("First choice alone"),
            percent(alone.and_then(|a| a.availability), locale),
            first.to_string(),
        ),
        (
            locale.say("With the group"),
            percent(failover.with_group.availability, locale),
            text!(locale, switches => "{switches} switchover", "{switches} switchovers"; switches),
        ),
        (
            locale.say("All down together"),
            locale.duration(failover.down_together_s),
            failover.independence_ratio.map_or_else(
                || locale.say("too little data").to_owned(),
                |ratio| {
                    let ratio = locale.decimal(ratio, 1);
                    text!(locale, "{ratio}× what chance would give", ratio)
                },
            ),
        ),
    ];
    if let Some(usd) = failover.extra_cost_usd.filter(|usd| usd.abs() >= LEAST_USD) {
        figures.push((
            locale.say("Extra cost"),
            locale.money(usd),
            locale.say("of the alternatives' probes").to_owned(),
        ));
    }
    Saved {
        figures,
        basis: text!(
            locale,
            "The last 7 days, replayed through the routing of /api/v1/route: {samples} samples. Faults of your account and of this machine do not count.",
            samples
        ),
        pairs: failover
            .pairs
            .iter()
            .map(|pair| pair_line(pair, locale))
            .collect(),
    }
}

fn percent(share: Option<f64>, locale: &Locale) -> String {
    share.map_or(NONE.to_owned(), |s| locale.percent(s))
}

fn pair_line(pair: &Pair, locale: &Locale) -> PairLine {
    PairLine {
        with: pair.with.to_string(),
        availability: pair
            .availability
            .map_or(NONE.to_owned(), |a| locale.percent(a)),
        down: locale.duration(pair.down_together_s),
        together: together(pair.independence, locale),
    }
}

/// Describes how often two endpoints fail in the same minute: "3.1× chance (1.2 to 8): they are not
/// independent".
pub(crate) fn together(independence: Option<Independence>, locale: &Locale) -> String {
    let Some(i) = independence else {
        return locale.say("too little data").to_owned();
    };
    let ratio = locale.decimal(i.ratio, 1);
    let low = locale.decimal(i.low, 1);
    let high = locale.decimal(i.high, 1);
    let text = text!(
        locale,
        "{ratio}× chance ({low} to {high})",
        ratio,
        low,
        high
    );
    if i.is_shared_fate() {
        text + locale.say(": they are not independent alternatives")
    } else {
        text
    }
}
