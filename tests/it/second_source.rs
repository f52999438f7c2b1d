//! How soon a complete outage of one endpoint is reported, with each source that may confirm it:
//! outages that begin at every fourth second of a minute, through the state of the daemon, with the
//! rechecks that it asks for.

use llmwatch_core::model::{
    AlertState, Attribution, ConnectivityCheckResult, Fault, Outcome, Provider, Sample, Timestamp,
    Trigger,
};
use llmwatch_core::monitor::MonitorState;
use llmwatch_core::schedule::next_tick;

use crate::attribution::{START, Watch, configuration, endpoint, page};
use crate::support::good;

const NAME: &str = "chat";
/// 12:00 UTC, on a full minute.
const NOON: Timestamp = Timestamp(1_795_521_600_000);
const MINUTE: std::time::Duration = std::time::Duration::from_mins(1);

/// What an outage looks like.
struct Outage {
    /// How a probe fails.
    fault: Fault,
    /// How long it takes to fail, in milliseconds.
    took_ms: f64,
    /// When the vendor's page shows an incident, in seconds after the beginning.
    on_page_after_s: Option<i64>,
    /// Settings of the endpoint.
    detection: &'static str,
}

const UNCONFIRMED: Outage = Outage {
    fault: Fault::Http5xx,
    took_ms: 300.0,
    on_page_after_s: None,
    detection: "",
};

impl Outage {
    fn sample(&self, n: u128, at: Timestamp, start: Timestamp) -> Sample {
        let healthy = Sample {
            id: uuid::Uuid::from_u128(n),
            ..good(NAME, at)
        };
        if at < start {
            return healthy;
        }
        Sample {
            outcome: Outcome::Failed,
            fault: Some(self.fault),
            attribution: Some(Attribution::Provider),
            dns_ms: healthy.dns_ms.filter(|_| self.fault != Fault::LocalDns),
            first_token_ms: None,
            total_ms: Some(self.took_ms),
            ..healthy
        }
    }

    /// Seconds from the beginning of the outage, `offset_s` after a full minute, to the alert.
    fn delay_s(&self, offset_s: i64) -> f64 {
        let settings = format!("model = \"m\"\n{}", self.detection);
        let config = configuration(&endpoint(NAME, "openai", &settings)).config;
        let mut core = MonitorState::new(config, 1.0);
        let start = Timestamp(NOON.0 + 3_600_000 + offset_s * 1000);
        let mut at = next_tick(NAME, MINUTE, NOON);
        let mut trigger = Trigger::Schedule;
        let mut promised = None;
        for n in 1.. {
            assert!(at.since_ms(start) < 600_000, "never reported");
            let shown_at = self.on_page_after_s.map(|s| Timestamp(start.0 + s * 1000));
            if let Some(published) = shown_at.filter(|published| at >= *published) {
                let text = published.to_string();
                core.apply_status_feed(page(Provider::OpenAi, Some(&text)), at);
            }
            let sample = Sample {
                trigger,
                ..self.sample(n, at, start)
            };
            let reach = ConnectivityCheckResult {
                any: true,
                by_name: true,
            };
            let is_transport = sample.fault.is_some_and(Fault::is_transport);
            let sample = core.complete(sample, Some(reach).filter(|_| is_transport));
            let end = sample.ended_at();
            let step = core.step(sample);
            if let Some((_, incident, _)) = step.incidents().next() {
                assert_eq!(incident.attribution, Attribution::Provider);
                assert!(
                    promised <= Some(incident.opened_at),
                    "earlier than promised"
                );
                return incident.opened_at.since_ms(start) as f64 / 1000.0;
            }
            let alert = core.snapshot(end).endpoints.remove(0).alert;
            promised = promised.max(alert.earliest_alert_at);
            let recheck = step.rechecks().find(|(name, _)| *name == NAME);
            (at, trigger) = match recheck {
                Some((_, at)) => (at, Trigger::Recheck),
                None => (next_tick(NAME, MINUTE, end), Trigger::Schedule),
            };
        }
        unreachable!("the loop ends with an alert")
    }

    /// The median and the longest delay, in seconds.
    fn delays_s(&self) -> (f64, f64) {
        let mut all: Vec<f64> = (0..60).step_by(4).map(|s| self.delay_s(s)).collect();
        all.sort_by(f64::total_cmp);
        (all[all.len() / 2], all[all.len() - 1])
    }
}

/// Another endpoint of the provider brings the alert forward to half a minute.
#[test]
fn no_alert_comes_before_the_earliest_time_that_is_shown() {
    let names = ["chat", "mini"];
    let two = names
        .map(|name| endpoint(name, "openai", "model = \"m\""))
        .concat();
    let mut watch = Watch::new(&two);
    watch.well(60);
    let mut promised = None;
    let opened_at = loop {
        for name in names {
            watch.probe(name, Some(Fault::Http5xx), None);
        }
        let snapshot = watch.core.snapshot(Timestamp(START + watch.now * 1000));
        if let Some(incident) = snapshot.incidents.first() {
            break incident.opened_at;
        }
        for endpoint in snapshot.endpoints {
            assert_eq!(endpoint.alert.state, AlertState::Pending);
            let since = endpoint.alert.since.unwrap();
            let earliest = endpoint.alert.earliest_alert_at;
            assert_eq!(earliest, Some(Timestamp(since.0 + 30_000)));
            promised = promised.max(earliest);
        }
        watch.now += 10;
    };
    assert!(promised <= Some(opened_at), "{promised:?}, {opened_at}");
}

#[test]
fn a_confirmed_outage_is_reported_within_a_hundred_seconds() {
    let refused = Outage {
        fault: Fault::TcpRefused,
        took_ms: 3.0,
        ..UNCONFIRMED
    };
    let nameless = Outage {
        fault: Fault::LocalDns,
        took_ms: 20.0,
        ..UNCONFIRMED
    };
    let admitted = Outage {
        on_page_after_s: Some(-300),
        ..UNCONFIRMED
    };
    let admitted_soon = Outage {
        on_page_after_s: Some(50),
        ..UNCONFIRMED
    };
    let hangs = Outage {
        fault: Fault::TimeoutFirstToken,
        took_ms: 15_000.0,
        on_page_after_s: Some(0),
        ..UNCONFIRMED
    };
    let hangs_long = Outage {
        took_ms: 45_000.0,
        ..hangs
    };
    for (name, outage, limit) in [
        ("refused", refused, 100.0),
        ("nameless", nameless, 100.0),
        ("admitted", admitted, 100.0),
        ("admitted soon", admitted_soon, 100.0),
        ("hangs", hangs, 100.0),
        // Two probes that wait for the default limit take a minute and a half.
        ("hangs long", hangs_long, 125.0),
    ] {
        let (median, longest) = outage.delays_s();
        // The figures of docs/detection.md.
        println!("{name}: median {median:.0} s, longest {longest:.0} s");
        assert!(median <= limit, "{name}: {median}");
        // From the first bad probe on it takes a minute and a recheck.
        assert!(longest <= median + 32.0, "{name}: {longest}");
    }
}

#[test]
fn without_a_second_source_or_with_a_setting_it_takes_alert_after() {
    let (median, _) = UNCONFIRMED.delays_s();
    assert!((115.0..130.0).contains(&median), "{median}");
    for detection in [
        "detection = { alert_after = \"90s\" }",
        "detection = { alert_after = \"3m\" }",
    ] {
        let set = Outage {
            fault: Fault::TcpRefused,
            took_ms: 3.0,
            detection,
            ..UNCONFIRMED
        };
        let (median, _) = set.delays_s();
        let least = if detection.contains("90s") {
            115.0
        } else {
            205.0
        };
        assert!(median >= least, "{detection}: {median}");
    }
}
