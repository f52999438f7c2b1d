//! Real outages, replayed in simulated time: each is noticed, by whom it was caused is said as the public record has it,
//! and how far we were ahead of the vendor's own page is what the record lets one expect.
//!
//! The facts (times, what failed and how, when the vendor's page first said so) are in `tests/fixtures/incidents_facts.json`
//! with their sources. The acts below say what of it a probe of the API would have met.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use llmwatch::config::{self, Config, Surroundings};
use llmwatch::model::{
    Attribution, Fault, Incident, IncidentState, Outcome, Provider, Reach, Sample, Timestamp, Trigger,
};
use llmwatch::pipeline::fold::Core;
use llmwatch::schedule::next_tick;
use serde_json::Value;

use crate::support::good;

const MINUTE_MS: i64 = 60_000;
/// How long everything is well before: enough to learn what is normal.
const BEFORE: Duration = Duration::from_hours(3);

/// The endpoints that watch: three models of OpenAI, the same model on Azure, and Anthropic.
const ENDPOINTS: [(&str, Provider); 6] = [
    ("chat", Provider::OpenAi),
    ("mini", Provider::OpenAi),
    ("embed", Provider::OpenAi),
    ("azure", Provider::AzureOpenAi),
    ("claude", Provider::Anthropic),
    ("haiku", Provider::Anthropic),
];
const OPENAI: &[&str] = &["chat", "mini", "embed"];

/// What a probe meets.
#[derive(Clone, Copy)]
enum Effect {
    /// A fault after so many milliseconds, in this share of the probes; with an HTTP status if there was one.
    Fails(Fault, u16, f64, f64),
    /// The first token takes so many milliseconds.
    Stalls(f64),
    /// The first token takes so many times as long.
    Slower(f64),
}

/// Who meets it, from which minute after the start to which.
struct Act(&'static [&'static str], f64, f64, Effect);

fn configuration() -> Config {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("monitor.toml");
    let mut text = "[monitor]\nlocation = \"fra1\"\nlisten = \"off\"\n[budget]\ndaily_usd = 100.0\n".to_owned();
    for (name, provider) in ENDPOINTS {
        text += &format!("[[endpoint]]\nname = \"{name}\"\nprovider = \"{provider}\"\napi_key = \"k\"\n");
        text += match provider {
            Provider::AzureOpenAi => "base_url = \"https://r.example.com\"\ndeployment = \"d\"\nmodel = \"gpt-5.2\"\n",
            _ => "model = \"m\"\n",
        };
    }
    std::fs::write(&path, text).unwrap();
    config::load(&path, &Surroundings::default()).unwrap()
}

/// A share that depends on nothing but the endpoint and the time.
fn dice(endpoint: &str, at: i64) -> f64 {
    let mut z = endpoint.bytes().fold(at.cast_unsigned(), |z, b| z.wrapping_mul(31).wrapping_add(u64::from(b)));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / 9_007_199_254_740_992.0
}

fn probe(
    endpoint: &str,
    provider: Provider,
    at: Timestamp,
    trigger: Trigger,
    acts: &[Act],
    start: Timestamp,
) -> Sample {
    let usual = 400.0 * (0.8 + 0.4 * dice(endpoint, at.0));
    let mut sample = Sample { provider, trigger, ..good(endpoint, at) };
    (sample.first_token_ms, sample.total_ms) = (Some(usual), Some(usual + 100.0));
    let minute = at.since_ms(start) as f64 / MINUTE_MS as f64;
    for Act(who, from, to, effect) in acts {
        if !who.contains(&endpoint) || !(*from..*to).contains(&minute) {
            continue;
        }
        match *effect {
            Effect::Fails(fault, status, after_ms, share) if dice(endpoint, at.0 + 1) < share => {
                sample.outcome = Outcome::Failed;
                (sample.fault, sample.attribution) = (Some(fault), Some(fault.attribution()));
                sample.http_status = (status > 0).then_some(status);
                (sample.first_token_ms, sample.total_ms) = (None, Some(after_ms));
            }
            Effect::Stalls(ms) => (sample.first_token_ms, sample.total_ms) = (Some(ms), Some(ms + 100.0)),
            Effect::Slower(x) => (sample.first_token_ms, sample.total_ms) = (Some(usual * x), Some(usual * x + 100.0)),
            Effect::Fails(..) => {}
        }
    }
    sample
}

/// What became of the endpoints: the incidents as they ended, oldest first, and what was still open.
fn watch(start: Timestamp, acts: &[Act], minutes: f64) -> Vec<Incident> {
    let config = Arc::new(configuration());
    let mut core = Core::new(config, 1.0);
    let end = start + Duration::from_secs_f64(minutes * 60.0);
    let interval = Duration::from_mins(1);
    // What is in flight, by when it ends.
    let mut flights: BTreeMap<(Timestamp, &str), Sample> = BTreeMap::new();
    let launch = |name: &'static str, provider, at, trigger| {
        let sample = probe(name, provider, at, trigger, acts, start);
        ((sample.ended_at(), name), sample)
    };
    for (name, provider) in ENDPOINTS {
        flights.extend([launch(name, provider, next_tick(name, interval, start - BEFORE), Trigger::Schedule)]);
    }
    let mut incidents: BTreeMap<u64, Incident> = BTreeMap::new();
    while let Some(((at, name), sample)) = flights.pop_first() {
        if at > end {
            break;
        }
        let sample = core.complete(sample, Some(Reach { any: true, by_name: true }));
        let step = core.step(sample);
        incidents.extend(step.changes.into_iter().map(|(_, incident, _)| (incident.number, incident)));
        let tick = next_tick(name, interval, at);
        let own = step.look_again.iter().find(|(n, _)| n == name).map(|(_, at)| *at);
        let trigger = if own.is_some() { Trigger::Recheck } else { Trigger::Schedule };
        let provider = ENDPOINTS.iter().find(|e| e.0 == name).unwrap().1;
        flights.extend([launch(name, provider, own.unwrap_or(tick), trigger)]);
        for (other, at) in step.look_again.iter().filter(|(n, _)| n != name) {
            // Only what has not begun can be asked for sooner.
            let waiting = flights.iter().find(|((_, n), s)| n == other && s.started_at > *at).map(|(key, _)| *key);
            if let Some(key) = waiting {
                let provider = flights.remove(&key).unwrap().provider;
                flights.extend([launch(key.1, provider, *at, Trigger::Recheck)]);
            }
        }
    }
    incidents.into_values().collect()
}

struct Facts(Value);

impl Facts {
    fn of(id: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/incidents_facts.json");
        let all: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        Self(all.into_iter().find(|f| f["id"] == id).unwrap_or_else(|| panic!("there are no facts of {id}")))
    }

    fn at(&self, key: &str) -> Timestamp {
        Timestamp::parse(self.0[key].as_str().unwrap()).unwrap()
    }

    /// From the start to `key`, in minutes.
    fn minutes_to(&self, key: &str) -> f64 {
        self.at(key).since_ms(self.at("start")) as f64 / MINUTE_MS as f64
    }

    fn watch(&self, acts: &[Act], minutes: f64) -> Vec<Incident> {
        watch(self.at("start"), acts, minutes)
    }

    /// How soon it was noticed, in seconds after the real start.
    fn delay_s(&self, incident: &Incident) -> f64 {
        incident.opened_at.since_ms(self.at("start")) as f64 / 1000.0
    }

    /// How far ahead of the vendor's page it was noticed, in minutes.
    fn lead_min(&self, incident: &Incident, said_at: &str) -> f64 {
        self.at(said_at).since_ms(incident.opened_at) as f64 / MINUTE_MS as f64
    }
}

/// The one incident, which is the provider's and over.
fn only(incidents: &[Incident], provider: &str) -> Incident {
    let [incident] = incidents else {
        let titles: Vec<_> = incidents.iter().map(|i| (i.opened_at.to_string(), &i.title)).collect();
        panic!("one incident is wanted: {titles:#?}")
    };
    assert_eq!((incident.attribution, incident.provider.as_str()), (Attribution::Provider, provider));
    assert_eq!(incident.state, IncidentState::Resolved, "{}", incident.title);
    incident.clone()
}

#[test]
fn a_broken_load_balancer_2022_08_19() {
    let facts = Facts::of("openai-2022-08-19");
    let over = facts.minutes_to("end");
    let acts = [
        Act(OPENAI, 0.0, 60.0, Effect::Fails(Fault::TcpTimeout, 0, 5000.0, 1.0)),
        Act(OPENAI, 60.0, over, Effect::Fails(Fault::TcpTimeout, 0, 5000.0, 0.5)),
    ];
    let incident = only(&facts.watch(&acts, over + 60.0), "openai");
    assert!(facts.delay_s(&incident) < 90.0, "{}", facts.delay_s(&incident));
    assert_eq!(incident.cause, "tcp.timeout");
    assert_eq!(incident.endpoints.len(), 3, "the controls answered: it is not this machine");
}

/// 502, 503 from the edge, then 429 while the load was let back in; one success in the middle. One incident.
#[test]
fn a_routing_layer_out_of_memory_2023_11_08() {
    let facts = Facts::of("openai-2023-11-08");
    let (over, shed) = (facts.minutes_to("observed_end"), 81.0);
    let acts = [
        Act(&["chat", "mini"], 0.0, 61.0, Effect::Fails(Fault::HttpEdge, 502, 300.0, 1.0)),
        Act(&["chat", "mini"], 62.0, shed, Effect::Fails(Fault::HttpEdge, 503, 300.0, 1.0)),
        Act(&["chat", "mini"], shed, over, Effect::Fails(Fault::Overloaded, 429, 200.0, 0.95)),
    ];
    let incident = only(&facts.watch(&acts, over + 30.0), "openai");
    assert!(facts.delay_s(&incident) < 90.0, "{}", facts.delay_s(&incident));
    assert!(incident.resolved_at.unwrap() >= facts.at("observed_end"), "one lucky success is no recovery");
    assert!(!incident.endpoints.contains(&"embed".to_owned()), "what works is not in it");
}

#[test]
fn two_waves_2024_08_16() {
    let facts = Facts::of("openai-2024-08-16");
    let over = facts.minutes_to("end");
    let half = Effect::Fails(Fault::Http5xx, 503, 400.0, 0.5);
    let acts = [Act(OPENAI, 0.0, 44.0, half), Act(OPENAI, over - 15.0, over, half)];
    let incidents = facts.watch(&acts, over + 40.0);
    assert_eq!(incidents.len(), 2, "two waves, half an hour apart");
    assert!(incidents.iter().all(|i| i.attribution == Attribution::Provider && i.endpoints.len() == 3));
    assert!(facts.delay_s(&incidents[0]) < 240.0, "{}", facts.delay_s(&incidents[0]));
}

/// Four minutes, everything: too short for most rules.
#[test]
fn four_minutes_of_530_2024_12_04() {
    let facts = Facts::of("openai-2024-12-04a");
    let over = facts.minutes_to("end");
    let acts = [Act(OPENAI, 0.0, over, Effect::Fails(Fault::HttpEdge, 530, 100.0, 1.0))];
    let incident = only(&facts.watch(&acts, over + 20.0), "openai");
    assert!(facts.delay_s(&incident) < 90.0, "{}", facts.delay_s(&incident));
}

/// Every request stalled for half a minute and then succeeded: no error anywhere.
#[test]
fn thirty_seconds_of_silence_then_success_2024_12_04() {
    let facts = Facts::of("openai-2024-12-04b");
    let over = facts.minutes_to("end");
    let acts = [Act(OPENAI, 0.0, over, Effect::Stalls(30_000.0))];
    let incident = only(&facts.watch(&acts, over + 30.0), "openai");
    assert_eq!(incident.cause, "slow");
    assert!(facts.delay_s(&incident) < 400.0, "{}", facts.delay_s(&incident));
}

#[test]
fn control_planes_overwhelmed_2024_12_11() {
    let facts = Facts::of("openai-2024-12-11");
    let (most, over) = (facts.minutes_to("substantial_recovery"), facts.minutes_to("end"));
    let acts = [
        Act(OPENAI, 0.0, most, Effect::Fails(Fault::Http5xx, 500, 2000.0, 1.0)),
        // Recovery went model by model.
        Act(&["mini"], most, over, Effect::Fails(Fault::Http5xx, 500, 2000.0, 0.6)),
    ];
    let incidents = facts.watch(&acts, over + 30.0);
    assert!(facts.delay_s(&incidents[0]) < 90.0, "{}", facts.delay_s(&incidents[0]));
    assert_eq!(incidents[0].endpoints.len(), 3);
    // The last model answers four times in ten: that can look like a recovery for a moment.
    assert!(incidents.len() <= 3 && incidents[1..].iter().all(|i| i.endpoints == ["mini"]));
    assert!(incidents.last().unwrap().resolved_at.unwrap() >= facts.at("end"), "over when the last model is back");
}

/// One API of a provider fails while text completions go on.
#[test]
fn one_api_without_power_2024_12_26() {
    let facts = Facts::of("openai-2024-12-26");
    let over = facts.minutes_to("end");
    let acts = [Act(&["embed"], 0.0, over, Effect::Fails(Fault::Http5xx, 500, 800.0, 0.92))];
    let incident = only(&facts.watch(&acts, over + 30.0), "openai");
    assert_eq!(incident.endpoints, ["embed"]);
    let lead = facts.lead_min(&incident, "status_page_first_post");
    assert!((15.0..20.0).contains(&lead), "the page was 20 minutes late, we lead by {lead}");
}

#[test]
fn bad_gateway_2025_01_23() {
    let facts = Facts::of("openai-2025-01-23");
    let over = facts.minutes_to("end");
    let acts = [Act(OPENAI, 0.0, over, Effect::Fails(Fault::HttpEdge, 502, 500.0, 0.8))];
    let incident = only(&facts.watch(&acts, over + 30.0), "openai");
    assert!(facts.delay_s(&incident) < 120.0, "{}", facts.delay_s(&incident));
}

/// A few per cent of errors for hours, a quarter at the peak, and slow with it. The page came after 35 minutes.
#[test]
fn capacity_lost_slowly_2025_06_10() {
    let facts = Facts::of("openai-2025-06-10");
    let over = facts.minutes_to("api_end");
    let peak = (Timestamp::parse("2025-06-10T09:00:00Z").unwrap().since_ms(facts.at("start")) / MINUTE_MS) as f64;
    let acts = [
        Act(OPENAI, 0.0, over, Effect::Slower(2.5)),
        Act(OPENAI, 0.0, peak, Effect::Fails(Fault::Http5xx, 500, 1500.0, 0.05)),
        Act(OPENAI, peak, over, Effect::Fails(Fault::Http5xx, 500, 1500.0, 0.25)),
    ];
    let incident = only(&facts.watch(&acts, over + 60.0), "openai");
    let lead = facts.lead_min(&incident, "status_incident_created");
    assert!((25.0..35.5).contains(&lead), "the page was 35.5 minutes late, we lead by {lead}");
}

/// The Responses API took long to the first token, and nothing failed.
#[test]
fn first_token_only_2026_06_03() {
    let facts = Facts::of("openai-2026-06-03");
    let over = facts.minutes_to("end");
    let acts = [Act(&["chat"], 0.0, over, Effect::Slower(6.0))];
    let incident = only(&facts.watch(&acts, over + 40.0), "openai");
    assert_eq!((incident.cause.as_str(), incident.endpoints.len()), ("slow", 1));
    let lead = facts.lead_min(&incident, "status_incident_created");
    assert!((5.0..12.7).contains(&lead), "the page was 12.7 minutes late, we lead by {lead}");
}

#[test]
fn elevated_errors_2026_04_15() {
    let facts = Facts::of("anthropic-2026-04-15");
    let over = facts.minutes_to("end");
    let acts = [Act(&["claude", "haiku"], 0.0, over, Effect::Fails(Fault::Http5xx, 500, 700.0, 0.4))];
    let incident = only(&facts.watch(&acts, over + 40.0), "anthropic");
    assert!(facts.delay_s(&incident) < 300.0, "{}", facts.delay_s(&incident));
}

/// Valid keys were refused: on all endpoints of the provider at once, so it is not our key. The page came after 7 minutes.
#[test]
fn valid_keys_refused_2026_04_28() {
    let facts = Facts::of("anthropic-2026-04-28");
    let over = facts.minutes_to("end");
    let acts = [Act(&["claude", "haiku"], 0.0, over, Effect::Fails(Fault::AccountAuth, 401, 200.0, 1.0))];
    let incidents = facts.watch(&acts, over + 30.0);
    let first = &incidents[0];
    assert!(incidents.iter().all(|i| i.provider == "anthropic" && i.state == IncidentState::Resolved));
    let lead = facts.lead_min(first, "status_incident_created");
    assert!((5.0..7.0).contains(&lead), "the page was 7 minutes late, we lead by {lead}");
}

/// One model of Azure answered a slice of the traffic with 429 while every other model was fine.
#[test]
fn one_model_of_azure_2026_03_09() {
    let facts = Facts::of("azure-2026-03-09");
    let acts = [Act(&["azure"], 0.0, 300.0, Effect::Fails(Fault::Overloaded, 429, 150.0, 0.4))];
    let incidents = facts.watch(&acts, 360.0);
    assert!(incidents.len() <= 5 && incidents.iter().all(|i| i.endpoints == ["azure"] && i.cause == "overloaded"));
    assert!(incidents.iter().all(|i| i.attribution == Attribution::Provider));
    assert!(facts.delay_s(&incidents[0]) < 600.0, "{}", facts.delay_s(&incidents[0]));
}
