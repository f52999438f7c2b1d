//! Simulates the outage of a drill. A fictitious endpoint fails in a separate monitor, in simulated
//! time. The real detector with the real settings decides when an alert is due. The real state is
//! not affected.

use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::{Effect, MonitorState};
use crate::config::Config;
use crate::incident::Change;
use crate::model::{Api, Endpoint, Fault, Incident, Outcome, Provider, Sample, Timestamp, Trigger};
use crate::schedule::next_tick;

/// Name of the fictitious endpoint.
const NAME: &str = "simulated-endpoint";
/// Good probes before the outage: enough to learn every baseline.
const GOOD_PROBES: i64 = 120;
/// The longest simulated outage. Settings that need longer open no incident in a drill.
const LONGEST_MS: i64 = 24 * 3_600_000;
const INTERVAL: Duration = Duration::from_mins(1);
const TYPICAL_MS: f64 = 420.0;
const FAILED_MS: f64 = 85.0;

/// Returns the incident that such an outage opens at `now`, within one probe. `None` if no endpoint
/// is configured, or if the settings need an outage of more than a day.
pub fn rehearse(config: &Config, now: Timestamp) -> Option<Incident> {
    let template = config.endpoints.first()?;
    let private = Arc::new(private_config(config, template)?);
    // The first run measures how long the detector takes; the second one ends now.
    let first = run(&private, Timestamp(now.0 - 2 * LONGEST_MS))?;
    let took = first.opened_at.since_ms(first.started_at);
    let step = INTERVAL.as_millis() as i64;
    let opened = run(&private, Timestamp(now.0 - took - step)).unwrap_or(first);
    Some(Incident {
        // Only real incidents have numbers.
        number: 0,
        ..opened
    })
}

/// Returns the configuration of the separate monitor: one endpoint with the detection settings of
/// the first real one.
fn private_config(config: &Config, template: &Endpoint) -> Option<Config> {
    let endpoint = Endpoint {
        name: NAME.into(),
        provider: Provider::OpenAiCompatible,
        api: Api::Chat,
        base_url: Url::parse("https://simulated.invalid/v1").ok()?,
        group: None,
        depends_on: Vec::new(),
        interval: INTERVAL,
        api_key: None,
        ..template.clone()
    };
    Some(Config {
        endpoints: vec![Arc::new(endpoint)],
        connectivity_checks: Vec::new(),
        status_feeds: Vec::new(),
        channels: Vec::new(),
        maintenance: Vec::new(),
        report: None,
        ..config.clone()
    })
}

/// Feeds a monitor good probes, then failing ones from the first tick after `from`, until it opens
/// an incident.
fn run(config: &Arc<Config>, from: Timestamp) -> Option<Incident> {
    let outage = next_tick(NAME, INTERVAL, from);
    let mut monitor = MonitorState::new(config.clone(), 1.0);
    let step = INTERVAL.as_millis() as i64;
    for before in (1..=GOOD_PROBES).rev() {
        let at = Timestamp(outage.0 - before * step);
        monitor.step(sample(config, at, Trigger::Schedule, None));
    }
    let mut at = outage;
    let mut next_scheduled = outage;
    while at.since_ms(outage) <= LONGEST_MS {
        let trigger = if at < next_scheduled {
            Trigger::Recheck
        } else {
            Trigger::Schedule
        };
        let failed = sample(config, at, trigger, Some(Fault::Http5xx));
        let failed = monitor.complete(failed, None);
        let effects = monitor.step(failed);
        let opened = effects
            .incidents()
            .find_map(|(change, incident, _)| (change == Change::Opened).then(|| incident.clone()));
        if opened.is_some() {
            return opened;
        }
        next_scheduled = next_tick(NAME, INTERVAL, at);
        // Rechecks happen as for a real endpoint.
        let recheck = effects.iter().find_map(|effect| match effect {
            Effect::Recheck { at, .. } => Some(*at),
            _ => None,
        });
        at = recheck.map_or(next_scheduled, |recheck| recheck.min(next_scheduled));
    }
    None
}

fn sample(config: &Config, at: Timestamp, trigger: Trigger, fault: Option<Fault>) -> Sample {
    let blank = Sample::unmeasured(
        NAME,
        Provider::OpenAiCompatible,
        Api::Chat,
        &config.monitor.location,
        at,
        trigger,
    );
    let connected = Sample {
        dns_ms: Some(1.0),
        tcp_ms: Some(8.0),
        tls_ms: Some(16.0),
        headers_ms: Some(80.0),
        ..blank
    };
    if fault.is_some() {
        return Sample {
            outcome: Outcome::Failed,
            fault,
            http_status: Some(503),
            total_ms: Some(FAILED_MS),
            error: Some("made up by the drill".to_owned()),
            ..connected
        };
    }
    let first_token_ms = Some(TYPICAL_MS - 20.0);
    Sample {
        http_status: Some(200),
        first_event_ms: first_token_ms,
        first_token_ms,
        first_any_token_ms: first_token_ms,
        total_ms: Some(TYPICAL_MS),
        ..connected
    }
}
