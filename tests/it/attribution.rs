//! Attribution and grouping: samples go into the daemon's state, incidents come out. No time
//! passes, and there is no network.

use std::collections::BTreeMap;

use llmwatch::config::{self, Environment, Settings};
use llmwatch::log::record::LogRecord;
use llmwatch_core::incident::Change;
use llmwatch_core::incident::vendor_status::FeedSnapshot;
use llmwatch_core::model::Announcement;
use llmwatch_core::model::{
    Attribution, Block, ConnectivityCheckResult, Fault, Incident, IncidentState, NoticeKind,
    Outcome, Provider, Sample, Status, Timestamp, VendorIncident, VendorPage,
};
use llmwatch_core::monitor::MonitorState;
use proptest::prelude::*;
use uuid::Uuid;

use crate::support::good;

pub(crate) const START: i64 = 1_795_510_800_000;
const CUT_OFF: Option<ConnectivityCheckResult> = Some(ConnectivityCheckResult {
    any: false,
    by_name: false,
});
const CONNECTED: Option<ConnectivityCheckResult> = Some(ConnectivityCheckResult {
    any: true,
    by_name: true,
});

/// The state of a daemon in simulated time: every endpoint is probed once a minute, and when the
/// detector requests it.
pub(crate) struct Watch {
    pub(crate) core: MonitorState,
    /// Seconds since the start.
    pub(crate) now: i64,
    /// The factor by which good answers are slower than usual.
    pub(crate) slower: f64,
    /// The organization named in an endpoint's answers.
    pub(crate) organizations: BTreeMap<&'static str, &'static str>,
    /// The remaining share of the rate limits, according to the headers.
    pub(crate) headroom: Option<f64>,
    next_id: u128,
    pub(crate) changes: Vec<(Change, Incident)>,
    announcements: Vec<Announcement>,
    pub(crate) log: Vec<String>,
    /// As they are stored, with the attributions as revised.
    pub(crate) samples: Vec<Sample>,
}

pub(crate) fn configuration(text: &str) -> Settings {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("monitor.toml");
    std::fs::write(
        &path,
        format!("[monitor]\nlocation = \"fra1\"\nlisten = \"off\"\n{text}"),
    )
    .unwrap();
    config::load(&path, &Environment::from_process()).unwrap_or_else(|e| panic!("{e}"))
}

pub(crate) fn endpoint(name: &str, provider: &str, extra: &str) -> String {
    let key = if extra.contains("api_key") {
        ""
    } else {
        "api_key = \"k-0000000\"\n"
    };
    let key = if provider == "http" { "" } else { key };
    format!("[[endpoint]]\nname = \"{name}\"\nprovider = \"{provider}\"\n{key}{extra}\n")
}

pub(crate) fn azure(name: &str, resource: &str, model: &str) -> String {
    let base = format!(
        "base_url = \"https://{resource}.openai.azure.com\"\ndeployment = \"{model}\"\nmodel = \"{model}\""
    );
    endpoint(name, "azure-openai", &base)
}

impl Watch {
    pub(crate) fn new(text: &str) -> Self {
        Self {
            core: MonitorState::new(configuration(text).config, 1.0),
            now: 0,
            slower: 1.0,
            organizations: BTreeMap::new(),
            headroom: None,
            next_id: 1,
            changes: Vec::new(),
            announcements: Vec::new(),
            log: Vec::new(),
            samples: Vec::new(),
        }
    }

    fn sample(&mut self, name: &str, fault: Option<Fault>) -> Sample {
        let endpoint = self
            .core
            .config()
            .endpoints
            .iter()
            .find(|e| e.name == name)
            .unwrap()
            .clone();
        self.next_id += 1;
        let good = Sample {
            id: Uuid::from_u128(self.next_id),
            provider: endpoint.provider,
            api: endpoint.api,
            model: endpoint.model.clone(),
            organization: self.organizations.get(name).map(|o| (*o).to_owned()),
            ratelimit_headroom: self.headroom,
            ..good(name, Timestamp(START + self.now * 1000))
        };
        let slower = |ms: Option<f64>| ms.map(|ms| ms * self.slower);
        match fault {
            None => Sample {
                first_token_ms: slower(good.first_token_ms),
                total_ms: slower(good.total_ms),
                ..good
            },
            Some(fault) => Sample {
                outcome: Outcome::Failed,
                fault: Some(fault),
                first_token_ms: None,
                dns_ms: good.dns_ms.filter(|_| fault != Fault::LocalDns),
                http_status: match fault {
                    Fault::AccountAuth => Some(401),
                    Fault::Http5xx => Some(503),
                    Fault::LocalProxy => Some(502),
                    _ => None,
                },
                error: (fault == Fault::AccountAuth)
                    .then(|| "Incorrect API key provided".to_owned()),
                ..good
            },
        }
    }

    /// Runs one probe. Returns the endpoints to recheck.
    pub(crate) fn probe(
        &mut self,
        name: &str,
        fault: Option<Fault>,
        connectivity: Option<ConnectivityCheckResult>,
    ) -> Vec<String> {
        let sample = self.sample(name, fault);
        let sample = self.core.complete(
            sample,
            connectivity.filter(|_| fault.is_some_and(Fault::is_transport)),
        );
        let step = self.core.step(sample);
        self.changes.extend(
            step.incidents()
                .map(|(change, incident, _)| (change, incident.clone())),
        );
        self.announcements.extend(step.announcements().cloned());
        self.log.extend(
            step.iter()
                .filter_map(|effect| LogRecord::of(effect, "fra1"))
                .map(|record| format!("{record:?}")),
        );
        self.samples.extend(step.sample().cloned());
        for revision in step.revisions() {
            for sample in self.samples.iter_mut().filter(|s| revision.covers(s)) {
                *sample = revision.revise(sample);
            }
        }
        step.rechecks().map(|(name, _)| name.to_owned()).collect()
    }

    /// Probes everything once a minute for this many minutes. `fault` returns each endpoint's
    /// fault. Rechecks follow ten seconds later.
    pub(crate) fn minutes(
        &mut self,
        minutes: i64,
        connectivity: Option<ConnectivityCheckResult>,
        fault: impl Fn(&str) -> Option<Fault>,
    ) {
        let names: Vec<_> = self
            .core
            .config()
            .endpoints
            .iter()
            .map(|e| e.name.clone())
            .collect();
        for _ in 0..minutes {
            let mut again = Vec::new();
            for name in &names {
                again.extend(self.probe(name, fault(name), connectivity));
                self.now += 1;
            }
            self.now += 10;
            for _ in 0..3 {
                for name in std::mem::take(&mut again) {
                    again.extend(self.probe(&name, fault(&name), connectivity));
                }
                self.now += 10;
            }
            self.now += (60 - 40 - names.len() as i64).max(0);
        }
    }

    pub(crate) fn well(&mut self, minutes: i64) {
        self.minutes(minutes, None, |_| None);
    }

    pub(crate) fn open(&self) -> Vec<Incident> {
        self.core
            .snapshot(Timestamp(START + self.now * 1000))
            .incidents
    }

    pub(crate) fn opened(&self) -> Vec<&Incident> {
        self.changes
            .iter()
            .filter(|(c, _)| *c == Change::Opened)
            .map(|(_, i)| i)
            .collect()
    }

    fn status(&self, name: &str) -> (Status, String) {
        let snapshot = self.core.snapshot(Timestamp(START + self.now * 1000));
        let view = snapshot
            .endpoints
            .into_iter()
            .find(|e| e.name == name)
            .unwrap();
        (view.status, view.reason.unwrap_or_default())
    }
}

pub(crate) fn chat_and_azure() -> String {
    endpoint("openai-chat", "openai", "model = \"gpt-6-luna\"")
        + &azure("azure-chat", "one", "gpt-6-luna")
}

#[test]
fn offline_machine_opens_no_vendor_incident() {
    let mut watch = Watch::new(&chat_and_azure());
    watch.well(5);
    watch.minutes(5, CUT_OFF, |_| Some(Fault::TcpTimeout));
    assert_eq!(watch.open(), [], "nobody's downtime");
    assert_eq!(watch.status("openai-chat").0, Status::Unknown);
    let reported: Vec<_> = watch.announcements.iter().map(|a| a.kind).collect();
    assert_eq!(reported, [NoticeKind::Offline]);
    watch.well(2);
    let reported: Vec<_> = watch.announcements.iter().map(|a| a.kind).collect();
    assert_eq!(reported, [NoticeKind::Offline, NoticeKind::Online]);
    let title = &watch.announcements[1].title;
    assert!(
        title.starts_with("fra1 is online again after ") && title.ends_with("probes missed"),
        "{title}"
    );
    assert_eq!(watch.status("openai-chat").0, Status::Operational);
    let back = watch
        .log
        .iter()
        .filter(|l| l.contains("StatusChanged") && l.contains("operational (was unknown)"));
    assert!(
        back.count() >= 2,
        "sight is regained for all at once: {:?}",
        watch.log
    );
}

#[test]
fn where_no_name_is_resolved_the_notice_says_that() {
    let nameless = Some(ConnectivityCheckResult {
        any: true,
        by_name: false,
    });
    let mut watch = Watch::new(&chat_and_azure());
    watch.well(5);
    watch.minutes(5, nameless, |_| Some(Fault::LocalDns));
    assert_eq!(watch.open(), [], "nobody's downtime");
    assert_eq!(watch.status("openai-chat").0, Status::Unknown);
    watch.well(2);
    let titles: Vec<_> = watch
        .announcements
        .iter()
        .map(|a| a.title.as_str())
        .collect();
    let [lost, back] = titles[..] else {
        panic!("{titles:?}")
    };
    assert_eq!(lost, "fra1 is offline");
    assert!(
        watch
            .log
            .iter()
            .any(|l| l.contains("fra1 is offline: no host name resolves here"))
    );
    assert!(
        watch.announcements[0].document.is_some(),
        "it says that it may be the resolver alone"
    );
    assert!(back.starts_with("fra1 is online again after "), "{back}");
    let Some(Block::Text(text)) = watch.announcements[1]
        .document
        .as_ref()
        .and_then(|d| d.blocks.first())
    else {
        panic!("{:?}", watch.announcements)
    };
    assert!(
        text.contains("was offline: no host name resolved"),
        "{text}"
    );
}

#[test]
fn stream_broken_by_the_local_network_is_a_local_fault() {
    let mut watch = Watch::new(&chat_and_azure());
    watch.well(5);
    watch.probe("openai-chat", Some(Fault::TcpTimeout), CUT_OFF);
    for _ in 0..6 {
        watch.now += 20;
        watch.probe("azure-chat", Some(Fault::TimeoutTokenGap), None);
    }
    assert_eq!(watch.opened(), Vec::<&Incident>::new());
}

#[test]
fn unreachable_vendor_opens_an_incident_while_checks_answer() {
    let mut watch = Watch::new(&chat_and_azure());
    watch.well(5);
    watch.minutes(5, CONNECTED, |name| {
        (name == "openai-chat").then_some(Fault::TcpTimeout)
    });
    let [incident] = watch.open().try_into().unwrap();
    assert_eq!(
        (incident.provider.as_str(), incident.attribution),
        ("openai", Attribution::Provider)
    );
    assert!(
        incident
            .explanation
            .contains("The same model answers at azure-chat (Azure)"),
        "{}",
        incident.explanation
    );
    assert_eq!(
        incident.attribution_reason,
        "azure-chat answers from here at the same time."
    );
}

#[test]
fn blocked_connectivity_checks_do_not_hide_an_outage() {
    let mut watch = Watch::new(&chat_and_azure());
    watch.well(5);
    watch.minutes(8, CUT_OFF, |name| {
        (name == "openai-chat").then_some(Fault::TcpTimeout)
    });
    let [incident] = watch.open().try_into().unwrap();
    assert_eq!(
        (incident.provider.as_str(), incident.attribution),
        ("openai", Attribution::Provider)
    );
}

#[test]
fn unresolved_name_is_a_provider_fault_while_others_resolve() {
    let mut watch = Watch::new(&endpoint("openai-chat", "openai", "model = \"gpt-6-luna\""));
    watch.well(5);
    watch.minutes(5, CONNECTED, |_| Some(Fault::LocalDns));
    let [incident] = watch.open().try_into().unwrap();
    assert_eq!(
        (incident.attribution, incident.cause.as_str()),
        (Attribution::Provider, "local.dns")
    );
    assert_eq!(
        incident.attribution_reason,
        "Its host name does not resolve, while other names do."
    );
}

#[test]
fn loopback_endpoint_says_nothing_about_the_network() {
    let local = endpoint(
        "ollama",
        "openai-compatible",
        "base_url = \"http://127.0.0.1:11434/v1\"\nmodel = \"m\"",
    );
    let mut watch = Watch::new(&(chat_and_azure() + &local));
    watch.well(5);
    watch.minutes(5, CUT_OFF, |name| {
        (name != "ollama").then_some(Fault::TcpTimeout)
    });
    let offline = watch
        .log
        .iter()
        .filter(|l| l.contains("MonitorOffline"))
        .count();
    let online = watch
        .log
        .iter()
        .filter(|l| l.contains("MonitorOnline"))
        .count();
    assert_eq!(
        (offline, online),
        (1, 0),
        "what answers from this machine is no view of the world"
    );
    assert_eq!(watch.open(), []);
    watch.well(2);
    assert_eq!(
        watch
            .log
            .iter()
            .filter(|l| l.contains("MonitorOnline"))
            .count(),
        1
    );
}

#[test]
fn rejected_key_has_its_own_title_and_advice() {
    let mut watch = Watch::new(&chat_and_azure());
    watch.well(5);
    watch.minutes(3, None, |name| {
        (name == "openai-chat").then_some(Fault::AccountAuth)
    });
    let [incident] = watch.open().try_into().unwrap();
    assert_eq!(
        (incident.attribution, incident.cause.as_str()),
        (Attribution::Account, "account.auth")
    );
    insta::assert_snapshot!(incident.title, @"OpenAI: the API key for openai-chat was rejected (account.auth)");
    insta::assert_snapshot!(incident.explanation, @r#"The provider has been rejecting openai-chat since 2026-11-24 09:05:00 UTC: API key rejected (account.auth). 3 of the last 3 probes failed: HTTP 401, "Incorrect API key provided". Azure is not affected. Check whether the key was revoked, has expired or was replaced, and whether it belongs to this organization. Then change `api_key` and reload."#);
    assert_eq!(
        watch.status("openai-chat").0,
        Status::Unknown,
        "the provider's health is not known"
    );
    watch.well(6);
    assert_eq!(watch.open(), []);
    let (change, over) = watch.changes.last().unwrap();
    assert_eq!(
        (*change, over.state),
        (Change::Resolved, IncidentState::Resolved)
    );
    assert!(
        over.explanation.starts_with("openai-chat recovered at "),
        "{}",
        over.explanation
    );
}

#[test]
fn keys_of_two_accounts_rejected_at_once_suspect_it() {
    let both = endpoint("opus", "anthropic", "model = \"claude-opus\"")
        + &endpoint(
            "haiku",
            "anthropic",
            "model = \"claude-haiku\"\napi_key = \"k-1111111\"",
        );
    let mut watch = Watch::new(&(both + &azure("azure-chat", "one", "gpt-6-luna")));
    watch.organizations = [("opus", "a"), ("haiku", "b")].into();
    watch.well(5);
    watch.minutes(4, None, |name| {
        (name != "azure-chat").then_some(Fault::AccountAuth)
    });
    let [incident] = watch.open().try_into().unwrap();
    assert_eq!(
        (incident.attribution, incident.cause.as_str()),
        (Attribution::Provider, "account.auth")
    );
    assert!(
        incident
            .title
            .starts_with("Anthropic: suspected provider fault, "),
        "{}",
        incident.title
    );
    assert!(
        incident
            .attribution_reason
            .starts_with("A key that worked before is rejected, and so is the key of another "),
        "{}",
        incident.attribution_reason
    );
    assert_eq!(
        watch.opened().len(),
        1,
        "nobody is notified that the account is at fault: {:?}",
        watch.opened()
    );
}

#[test]
fn accepted_sibling_key_clears_the_provider() {
    let both = endpoint("opus", "anthropic", "model = \"claude-opus\"")
        + &endpoint(
            "haiku",
            "anthropic",
            "model = \"claude-haiku\"\napi_key = \"k-1111111\"",
        );
    let mut watch = Watch::new(&both);
    watch.well(5);
    watch.minutes(4, None, |name| {
        (name == "opus").then_some(Fault::AccountAuth)
    });
    let [incident] = watch.open().try_into().unwrap();
    assert_eq!(incident.attribution, Attribution::Account);
    assert!(
        incident
            .explanation
            .contains("haiku at the same provider is not affected"),
        "{}",
        incident.explanation
    );
}

#[test]
fn a_key_that_was_changed_a_moment_ago_is_the_accounts_own() {
    let both = |key: &str| {
        let key = format!("\napi_key = \"{key}\"");
        endpoint(
            "opus",
            "anthropic",
            &format!("model = \"claude-opus\"{key}"),
        ) + &endpoint(
            "haiku",
            "anthropic",
            &format!("model = \"claude-haiku\"{key}"),
        )
    };
    let mut watch = Watch::new(&both("k-0000000"));
    watch.well(5);
    let at = Timestamp(START + watch.now * 1000);
    watch
        .core
        .follow(configuration(&both("k-typing-error")).config, 1.0, at);
    watch.minutes(4, None, |_| Some(Fault::AccountAuth));
    assert_eq!(
        watch
            .open()
            .iter()
            .map(|i| i.attribution)
            .collect::<Vec<_>>(),
        [Attribution::Account]
    );

    for restarts in [1, 2] {
        let mut watch = Watch::new(&both("k-0000000"));
        watch.well(5);
        for _ in 0..restarts {
            let (checkpoint, at) = (watch.core.checkpoint(), Timestamp(START + watch.now * 1000));
            watch.core = MonitorState::resume(
                configuration(&both("k-typing-error")).config,
                1.0,
                &checkpoint,
                at,
            )
            .unwrap();
        }
        watch.minutes(4, None, |_| Some(Fault::AccountAuth));
        assert_eq!(
            watch
                .open()
                .iter()
                .map(|i| i.attribution)
                .collect::<Vec<_>>(),
            [Attribution::Account],
            "nor after {restarts} restarts"
        );
    }
}

#[test]
fn a_model_that_was_there_until_now_may_have_been_retired() {
    let mut watch = Watch::new(&chat_and_azure());
    watch.well(5);
    watch.minutes(3, None, |name| {
        (name == "openai-chat").then_some(Fault::RequestModelNotFound)
    });
    let [incident] = watch.open().try_into().unwrap();
    assert_eq!(
        incident.title,
        "OpenAI: the model gpt-6-luna of openai-chat was not found (request.model_not_found)"
    );
    assert!(
        incident
            .explanation
            .contains("The model was found until now; it may have been retired."),
        "{}",
        incident.explanation
    );
}

#[test]
fn fault_of_one_model_names_it_and_the_unaffected() {
    let models = [
        "gpt-6-luna",
        "gpt-6-mini",
        "gpt-6-sol",
        "gpt-6-nano",
        "gpt-5",
    ];
    let text: String = models
        .iter()
        .map(|m| endpoint(m, "openai", &format!("model = \"{m}\"")))
        .collect();
    let mut watch = Watch::new(&text);
    watch.well(5);
    watch.minutes(5, None, |name| {
        (name == "gpt-6-sol").then_some(Fault::Http5xx)
    });
    let [incident] = watch.open().try_into().unwrap();
    assert!(
        incident.title.ends_with("(http.5xx), gpt-6-sol only"),
        "{}",
        incident.title
    );
    assert!(
        incident
            .explanation
            .contains("Only gpt-6-sol is affected; 4 other models answer."),
        "{}",
        incident.explanation
    );
}

#[test]
fn trouble_of_one_region_says_which_answers() {
    let text = azure("sweden", "swe", "gpt-6-luna") + &azure("virginia", "vir", "gpt-6-luna");
    let mut watch = Watch::new(&text);
    watch.well(5);
    watch.minutes(5, None, |name| (name == "sweden").then_some(Fault::Http5xx));
    let [incident] = watch.open().try_into().unwrap();
    assert!(
        incident
            .explanation
            .contains("Regional: only swe.openai.azure.com is affected; vir.openai.azure.com of Azure answers."),
        "{}",
        incident.explanation
    );
}

#[test]
fn endpoints_failing_in_turn_join_one_incident() {
    let text: String = ["a", "b", "c"]
        .iter()
        .map(|m| {
            endpoint(
                m,
                "openai",
                &format!("model = \"{m}\"\ndetection = {{ siblings = false }}"),
            )
        })
        .collect();
    let mut watch = Watch::new(&text);
    watch.well(5);
    watch.minutes(5, None, |name| (name == "a").then_some(Fault::Http5xx));
    watch.minutes(5, None, |name| (name != "c").then_some(Fault::Http5xx));
    watch.minutes(5, None, |_| Some(Fault::Http5xx));
    let [incident] = watch.open().try_into().unwrap();
    assert_eq!(incident.endpoints, ["a", "b", "c"]);
    let reported: Vec<_> = watch.changes.iter().map(|(c, _)| *c).collect();
    assert_eq!(
        reported,
        [Change::Opened, Change::Escalated, Change::Updated],
        "it turns out to be the provider's once"
    );
}

#[test]
fn a_refused_key_and_a_dead_api_are_two_incidents() {
    let text = endpoint("a", "openai", "model = \"a\"") + &endpoint("b", "openai", "model = \"b\"");
    let mut watch = Watch::new(&text);
    watch.well(5);
    watch.minutes(6, None, |name| {
        Some(if name == "a" {
            Fault::RequestModelNotFound
        } else {
            Fault::Http5xx
        })
    });
    let mut open: Vec<_> = watch
        .open()
        .into_iter()
        .map(|i| (i.attribution, i.cause.to_string()))
        .collect();
    open.sort();
    assert_eq!(
        open,
        [
            (Attribution::Provider, "http.5xx".to_owned()),
            (Attribution::Account, "request.model_not_found".to_owned())
        ]
    );
}

fn shop() -> String {
    let app = "base_url = \"https://shop.example.com\"\ndepends_on = [\"openai\"]";
    chat_and_azure() + &endpoint("shop", "http", app)
}

#[test]
fn dependent_endpoint_is_inhibited_by_its_vendor() {
    let mut watch = Watch::new(&shop());
    watch.well(5);
    watch.minutes(5, None, |name| {
        (name == "openai-chat").then_some(Fault::Http5xx)
    });
    assert_eq!(watch.open().len(), 1);
    watch.minutes(6, None, |name| {
        (name != "azure-chat").then_some(Fault::Http5xx)
    });
    let [incident] = watch.open().try_into().unwrap();
    assert_eq!(
        (incident.provider.as_str(), incident.explains.as_slice()),
        ("openai", ["shop".into()].as_slice())
    );
    assert!(
        incident
            .explanation
            .contains("shop depends on it and fails as well."),
        "{}",
        incident.explanation
    );
    let (status, why) = watch.status("shop");
    assert!(
        status == Status::Outage && why.starts_with("caused by incident 1 "),
        "{status:?} {why}"
    );
    watch.well(12);
    assert_eq!(watch.open(), []);
    assert_eq!(watch.status("shop").0, Status::Operational);
    assert_eq!(watch.opened().len(), 1, "one mail for one cause");
}

#[test]
fn dependent_still_failing_gets_its_own_incident() {
    let mut watch = Watch::new(&shop());
    watch.well(5);
    watch.minutes(9, None, |name| {
        (name != "azure-chat").then_some(Fault::Http5xx)
    });
    watch.minutes(12, None, |name| (name == "shop").then_some(Fault::Http5xx));
    let [incident] = watch.open().try_into().unwrap();
    assert_eq!(
        (incident.provider.as_str(), incident.endpoints.as_slice()),
        ("shop.example.com", ["shop".into()].as_slice())
    );
    assert_eq!(incident.status, Status::Outage);
    watch.well(12);
    assert_eq!(watch.open(), []);
}

#[test]
fn removed_endpoint_closes_its_incident_as_removed() {
    let mut watch = Watch::new(&chat_and_azure());
    watch.well(5);
    watch.minutes(5, None, |name| {
        (name == "openai-chat").then_some(Fault::Http5xx)
    });
    let at = Timestamp(START + watch.now * 1000);
    let step = watch.core.follow(
        configuration(&azure("azure-chat", "one", "gpt-6-luna")).config,
        1.0,
        at,
    );
    let (change, incident, _) = step.incidents().next().unwrap();
    assert_eq!((change, incident.resolved_at), (Change::Resolved, Some(at)));
    assert!(
        incident.title.contains("removed")
            && incident.explanation.contains("the incident is closed"),
        "{incident:?}"
    );
}

/// The content of the vendor's status page.
pub(crate) fn page(provider: Provider, published_at: Option<&str>) -> FeedSnapshot {
    let incidents = published_at.map(|at| VendorIncident {
        id: "theirs".to_owned(),
        name: "Elevated error rates".to_owned(),
        status: Status::Degraded,
        phase: "investigating".to_owned(),
        published_at: Some(Timestamp::parse(at).unwrap()),
        url: None,
        components: Vec::new(),
    });
    FeedSnapshot {
        feed: match provider {
            Provider::Anthropic => {
                "anthropic https://status.claude.com/api/v2/summary.json".to_owned()
            }
            _ => "openai https://status.openai.com/api/v2/summary.json".to_owned(),
        },
        provider,
        page: Some(VendorPage {
            status: if incidents.is_some() {
                Status::Degraded
            } else {
                Status::Operational
            },
            incidents: incidents.into_iter().collect(),
            url: "https://status.openai.com".to_owned(),
        }),
    }
}

#[test]
fn a_vendor_that_speaks_first_has_a_negative_lead() {
    let mut watch = Watch::new(&chat_and_azure());
    watch.well(5);
    let at = Timestamp(START + watch.now * 1000);
    watch
        .core
        .apply_status_feed(page(Provider::OpenAi, Some(&at.to_string())), at);
    watch.minutes(5, None, |name| {
        (name == "openai-chat").then_some(Fault::Http5xx)
    });
    let [incident] = watch.open().try_into().unwrap();
    assert_eq!(
        incident.official.incident.as_deref(),
        Some("Elevated error rates")
    );
    assert!(incident.official.lead_s.unwrap() < 0.0);
}

/// Random faults of random endpoints, each for a random time.
fn troubles() -> impl Strategy<Value = Vec<(usize, i64, Fault)>> {
    let fault = prop::sample::select(vec![
        Fault::Http5xx,
        Fault::TcpTimeout,
        Fault::AccountAuth,
        Fault::AccountQuota,
        Fault::RequestModelNotFound,
        Fault::LocalDns,
        Fault::LocalClock,
        Fault::TimeoutFirstToken,
    ]);
    prop::collection::vec((0_usize..6, 1_i64..8, fault), 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn one_open_incident_per_cause_and_each_ends_or_stays_open(
        troubles in troubles(),
        cut_off in any::<bool>(),
        siblings in any::<bool>(),
    ) {
        let detection = format!("detection = {{ siblings = {siblings} }}");
        let text = format!(
            "{}{}{}{}{}",
            endpoint("a", "openai", &format!("model = \"a\"\n{detection}")),
            endpoint("b", "openai", &format!("model = \"b\"\n{detection}")),
            endpoint("c", "anthropic", &detection),
            azure("d", "one", "a"),
            endpoint("e", "http", "base_url = \"https://shop.example.com\"\ndepends_on = [\"a\", \"anthropic\"]"),
        );
        let names = ["a", "b", "c", "d", "e"];
        let mut watch = Watch::new(&text);
        watch.well(3);
        let connectivity = if cut_off { CUT_OFF } else { CONNECTED };
        for (which, minutes, fault) in troubles {
            // Number five stands for all endpoints.
            watch.minutes(minutes, connectivity, |name| (which == 5 || names[which] == name).then_some(fault));
            let mut keys: BTreeMap<_, u32> = BTreeMap::new();
            for incident in watch.open() {
                let family = if incident.attribution == Attribution::Provider { "" } else { incident.cause.as_str() };
                *keys.entry((incident.provider.clone(), incident.attribution, family.to_owned())).or_default() += 1;
            }
            prop_assert!(keys.values().all(|n| *n == 1), "{keys:?}");
        }
        let checkpoint = watch.core.checkpoint();
        let at = Timestamp(START + watch.now * 1000);
        let again = MonitorState::resume(watch.core.config().clone(), 1.0, &checkpoint, at).unwrap();
        prop_assert_eq!(again.checkpoint(), checkpoint, "a checkpoint holds all of it");

        let mut state: BTreeMap<Uuid, &str> = BTreeMap::new();
        for (change, incident) in &watch.changes {
            let known = state.get(&incident.id).copied();
            let expected = (*change != Change::Opened).then_some("open");
            prop_assert_eq!(known, expected, "{:?} of {}", change, incident.number);
            state.insert(incident.id, if *change == Change::Resolved { "over" } else { "open" });
        }
        let mut open: Vec<_> = watch.open().iter().map(|i| i.id).collect();
        let mut believed: Vec<_> = state.iter().filter(|(_, s)| **s == "open").map(|(id, _)| *id).collect();
        open.sort();
        believed.sort();
        prop_assert_eq!(open, believed);
        watch.well(40);
        prop_assert_eq!(watch.open(), Vec::new(), "and in the end all is well");
    }
}
