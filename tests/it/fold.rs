//! Invariants of the fold: restart, checkpoint, reload and replay are the same function of the same
//! samples.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use llmwatch::config::{self, Config, Environment};
use llmwatch_core::model::{
    Attribution, Fault, Incident, IncidentState, NoticeKind, Outcome, Sample, Timestamp,
};
use llmwatch_core::monitor::{Effects, MonitorState};
use llmwatch_core::report::backtest::Samples;
use proptest::prelude::*;
use serde_json::Value;
use uuid::Uuid;

use crate::support::good;

const START: Timestamp = Timestamp(1_795_510_800_000);
/// The first three share a provider.
pub(crate) const ENDPOINTS: [(&str, &str); 4] = [
    ("e0", "openai"),
    ("e1", "openai"),
    ("e2", "openai"),
    ("e3", "anthropic"),
];

pub(crate) fn configuration(detection: &str) -> Arc<Config> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("monitor.toml");
    let mut text =
        "[monitor]\nlocation = \"fra1\"\nlisten = \"off\"\n[budget]\ndaily_usd = 100.0\n"
            .to_owned();
    text += &format!(
        "[detection]\n{detection}\n[[webhook]]\nname = \"hook\"\nurl = \"http://127.0.0.1:9/\"\n"
    );
    for (name, provider) in ENDPOINTS {
        text += &format!(
            "[[endpoint]]\nname = \"{name}\"\nprovider = \"{provider}\"\nmodel = \"m\"\napi_key = \"k\"\n"
        );
    }
    std::fs::write(&path, text).unwrap();
    config::load(&path, &Environment::default()).unwrap().config
}

/// One probe of a random history: seconds since the previous one, endpoint, milliseconds, fault.
type Shot = (i64, usize, f64, Option<Fault>);

fn shot() -> impl Strategy<Value = Shot> {
    let fault = prop_oneof![
        6 => Just(None),
        5 => Just(Some(Fault::Http5xx)),
        1 => Just(Some(Fault::TimeoutFirstToken)),
        1 => Just(Some(Fault::AccountAuth)),
        1 => Just(Some(Fault::TcpTimeout)),
    ];
    (
        prop_oneof![20 => 0_i64..40, 1 => 100_i64..2_000],
        0_usize..4,
        50.0..5_000.0_f64,
        fault,
    )
}

/// Periods in which one endpoint, or all of a provider, behaves in one way. Independent random
/// samples rarely produce them.
pub(crate) fn history() -> impl Strategy<Value = Vec<Sample>> {
    let period = (
        prop::collection::vec(shot(), 1..60),
        prop::option::of((0_usize..4, prop::option::of(shot()))),
    );
    prop::collection::vec(period, 1..6).prop_map(|periods| {
        let mut at = START;
        let mut samples = Vec::new();
        for (shots, same) in periods {
            for (seconds, endpoint, ms, fault) in shots {
                at = at + Duration::from_secs(seconds.unsigned_abs());
                let (endpoint, ms, fault) = match &same {
                    Some((e, Some((_, _, ms, fault)))) => (*e, *ms, *fault),
                    Some((e, None)) => (*e, ms, fault),
                    None => (endpoint, ms, fault),
                };
                samples.push(sample(samples.len(), at, endpoint, ms, fault));
            }
        }
        samples
    })
}

fn sample(n: usize, at: Timestamp, endpoint: usize, ms: f64, fault: Option<Fault>) -> Sample {
    let (name, provider) = ENDPOINTS[endpoint];
    let provider = serde_json::from_value(provider.into()).unwrap();
    let ms = ms.round();
    Sample {
        // Deterministic, so that a failing case can be reproduced.
        id: Uuid::from_u128(n as u128 + 1),
        provider,
        outcome: if fault.is_some() {
            Outcome::Failed
        } else {
            Outcome::Ok
        },
        fault,
        attribution: fault.map(Fault::attribution),
        first_token_ms: fault.is_none().then_some(ms),
        total_ms: Some(ms * 1.5),
        cost_usd: None,
        ..good(name, at)
    }
}

/// Formats the effects of a step without the checkpoint, which depends on the time of the last one.
fn trace(step: &Effects) -> String {
    format!(
        "{:?} {:?} {:?}",
        step.incidents().collect::<Vec<_>>(),
        step.announcements().collect::<Vec<_>>(),
        step.rechecks().collect::<Vec<_>>()
    )
}

/// Shifts every timestamp in `state` by `by_ms`: RFC 3339, or integers of the years 2001 to 5138 in
/// milliseconds. Fields that follow the calendar, and everything below them, are not shifted.
fn shift_moments(state: &mut Value, by_ms: i64) {
    const CALENDAR: [&str; 4] = ["pages", "official", "advisor", "fingerprints"];
    let is_moment = |ms: &i64| (1_000_000_000_000..100_000_000_000_000).contains(ms);
    match state {
        Value::Object(fields) => {
            let moving = fields
                .iter_mut()
                .filter(|(name, _)| !CALENDAR.contains(&name.as_str()));
            moving.for_each(|(_, value)| shift_moments(value, by_ms));
        }
        Value::Array(values) => values.iter_mut().for_each(|v| shift_moments(v, by_ms)),
        Value::Number(number) => {
            if let Some(ms) = number.as_i64().filter(is_moment) {
                *state = Value::from(ms + by_ms);
            }
        }
        Value::String(text) => {
            if let Ok(at) = Timestamp::parse(text)
                && at.to_string() == *text
            {
                *text = Timestamp(at.0 + by_ms).to_string();
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A daemon that is killed and restarted from its checkpoint produces the same effects.
    #[test]
    fn a_restart_changes_nothing(samples in history(), cut in 0.0..1.0_f64) {
        let config = configuration("");
        let cut = (samples.len() as f64 * cut) as usize;
        let mut uninterrupted = MonitorState::new(config.clone(), 1.0);
        let mut parts = MonitorState::new(config.clone(), 1.0);
        for (i, sample) in samples.iter().enumerate() {
            if i == cut {
                parts = MonitorState::resume(config.clone(), 1.0, &parts.checkpoint(), sample.started_at).unwrap();
            }
            let (a, b) = (uninterrupted.step(sample.clone()), parts.step(sample.clone()));
            prop_assert_eq!(trace(&a), trace(&b));
        }
        prop_assert_eq!(uninterrupted.checkpoint(), parts.checkpoint());
    }

    /// Changing the settings gives the same result by a reload as by a restart.
    #[test]
    fn a_reload_is_a_restart_with_other_settings(samples in history(), cut in 0.0..1.0_f64) {
        let (before, after) = (configuration(""), configuration("alert_after = \"30s\"\nsensitivity = \"high\""));
        let cut = (samples.len() as f64 * cut) as usize;
        let mut reloaded = MonitorState::new(before.clone(), 1.0);
        for sample in &samples[..cut] {
            reloaded.step(sample.clone());
        }
        let checkpoint = reloaded.checkpoint();
        let at = samples[..cut].last().map_or(START, Sample::ended_at);
        let mut restarted = MonitorState::resume(after.clone(), 1.0, &checkpoint, at).unwrap();
        reloaded.follow(after, 1.0, at);
        for sample in &samples[cut..] {
            prop_assert_eq!(trace(&reloaded.step(sample.clone())), trace(&restarted.step(sample.clone())));
        }
    }

    /// Setting the clock shifts every timestamp in the state, except those that follow the
    /// calendar.
    #[test]
    fn a_set_clock_shifts_every_moment(samples in history(), minutes in -600_i64..600) {
        let mut core = MonitorState::new(configuration(""), 1.0);
        for sample in samples {
            core.step(sample);
        }
        let state = |core: &MonitorState| {
            serde_json::from_str::<Value>(&core.checkpoint()).unwrap()["state"].take()
        };
        let mut expected = state(&core);
        shift_moments(&mut expected, minutes * 60_000);
        core.follow_clock(START, Timestamp(START.0 + minutes * 60_000));
        prop_assert_eq!(state(&core), expected);
    }

    /// Every incident is opened once, and is resolved once or stays open. An endpoint is never in
    /// two of the same kind.
    #[test]
    fn incidents_are_opened_once_and_end_once(samples in history()) {
        let mut core = MonitorState::new(configuration(""), 1.0);
        let mut known: BTreeMap<Uuid, IncidentState> = BTreeMap::new();
        let mut last = START;
        for sample in samples {
            last = sample.ended_at();
            let step = core.step(sample);
            for (_, incident, _) in step.incidents() {
                let before = known.insert(incident.id, incident.state);
                prop_assert!(before != Some(IncidentState::Resolved), "changed after its end: {}", incident.title);
                prop_assert!(before.is_some() || incident.state == IncidentState::Open, "{}", incident.title);
            }
            let open: Vec<Incident> = core.snapshot(last).incidents;
            let mut concerned: BTreeSet<(Attribution, &str)> = BTreeSet::new();
            for incident in &open {
                for endpoint in &incident.endpoints {
                    prop_assert!(concerned.insert((incident.attribution, endpoint)), "{endpoint} is in two incidents");
                }
            }
        }
        let open: BTreeSet<_> = core.snapshot(last).incidents.iter().map(|i| i.id).collect();
        let left: BTreeSet<_> =
            known.iter().filter(|(_, state)| **state == IncidentState::Open).map(|(id, _)| *id).collect();
        prop_assert_eq!(open, left);
    }

    /// The order of samples in the file does not matter: a replay sorts them by their end, and
    /// simultaneous ones by name.
    #[test]
    fn the_order_of_the_file_decides_nothing(samples in history(), seed in any::<u64>()) {
        let mut shuffled = samples.clone();
        fastrand::Rng::with_seed(seed).shuffle(&mut shuffled);
        // Only one probe of an endpoint can end at the same instant.
        let mut ends = BTreeSet::new();
        let alone = |s: &&Sample| ends.insert((s.endpoint.clone(), s.ended_at()));
        let alone: BTreeSet<Uuid> = samples.iter().filter(alone).map(|s| s.id).collect();
        let replay = |samples: &[Sample]| {
            let mut replayed = Samples::new("t", &configuration("").endpoints, true);
            samples.iter().filter(|s| alone.contains(&s.id)).for_each(|s| replayed.push(s));
            replayed.replay(None).events
        };
        prop_assert_eq!(replay(&samples), replay(&shuffled));
    }
}

/// A budget reset at midnight is expected; only a pager has to resolve its alert about the budget.
#[test]
fn budget_reset_is_sent_only_to_stateful_receivers() {
    let pager = "[[webhook]]\nname = \"pager\"\nkind = \"pagerduty\"\nrouting_key = \"0123456789abcdef0123456789abcdef\"\n";
    let mut core = MonitorState::new(configuration(pager), 1.0);
    let costly = Sample {
        cost_usd: Some(200.0),
        ..sample(0, START, 0, 300.0, None)
    };
    let step = core.step(costly);
    let said = step.announcements();
    assert_eq!(
        said.map(|a| (a.kind, a.only.is_none())).collect::<Vec<_>>(),
        [(NoticeKind::Budget, true)]
    );
    let step = core.step(sample(1, START + Duration::from_hours(24), 0, 300.0, None));
    let said: Vec<_> = step
        .announcements()
        .map(|a| (a.kind, a.only.clone(), a.condition.clone().unwrap().over))
        .collect();
    assert_eq!(
        said,
        [(NoticeKind::Budget, Some(vec!["pager".into()]), true)]
    );
}

/// The budget of a reloaded configuration is compared with what was spent already.
#[test]
fn a_reloaded_budget_pauses_and_resumes_probing() {
    let with_budget = |usd: f64| {
        let mut config = Config::clone(&configuration(""));
        config.budget.daily_usd = usd;
        Arc::new(config)
    };
    let mut core = MonitorState::new(with_budget(10.0), 1.0);
    let costly = Sample {
        cost_usd: Some(5.0),
        ..sample(0, START, 0, 300.0, None)
    };
    assert_eq!(core.step(costly).pause_until(), None);

    let lowered = core.follow(with_budget(1.0), 1.0, START);
    assert!(lowered.pause_until() > Some(START));
    let said: Vec<_> = lowered.announcements().map(|a| a.kind).collect();
    assert_eq!(said, [NoticeKind::Budget]);
    assert!(core.snapshot(START).budget_spent);
    let again = core.follow(with_budget(2.0), 1.0, START);
    assert_eq!(again.announcements().count(), 0, "once");

    let raised = core.follow(with_budget(20.0), 1.0, START);
    assert_eq!(raised.pause_until(), Some(START), "probing resumes now");
    assert!(!core.snapshot(START).budget_spent);
}
