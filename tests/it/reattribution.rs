//! A rejected account may be the provider's mistake, a vendor's page may report late, and slowness
//! may never end. Tests that the reported attribution is correct.

use llmwatch_core::incident::Change;
use llmwatch_core::message::headline::headline;
use llmwatch_core::message::render;
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::{
    AlertState, Attribution, EndpointName, Fault, Incident, IncidentState, Notice, NoticeKind,
    Outcome, Provider, Status, Timestamp,
};
use llmwatch_core::monitor::MonitorState;

use crate::attribution::{START, Watch, azure, configuration, endpoint, page};
use crate::formats::{notice, setting};

fn one_key() -> String {
    endpoint("opus", "anthropic", "model = \"claude-opus\"")
        + &endpoint("haiku", "anthropic", "model = \"claude-haiku\"")
}

fn two_keys() -> String {
    endpoint("opus", "anthropic", "model = \"claude-opus\"")
        + &endpoint(
            "haiku",
            "anthropic",
            "model = \"claude-haiku\"\napi_key = \"k-1111111\"",
        )
}

/// Two endpoints with keys of two organizations, and the additional configuration `text`.
fn two_accounts(text: &str) -> Watch {
    let mut watch = Watch::new(&(two_keys() + text));
    watch.organizations = [("opus", "a"), ("haiku", "b"), ("sonnet", "c")].into();
    watch
}

fn sorted(mut names: Vec<EndpointName>) -> Vec<EndpointName> {
    names.sort();
    names
}

fn reported(watch: &Watch) -> Vec<(Change, u64, Attribution)> {
    watch
        .changes
        .iter()
        .map(|(change, i)| (*change, i.number, i.attribution))
        .collect()
}

fn mail(kind: NoticeKind, incident: &Incident) -> Notice {
    let title = incident.title.clone();
    Notice {
        incident: Some(incident.clone()),
        title,
        test: false,
        ..notice(kind)
    }
}

#[test]
fn two_accounts_rejected_together_suspect_the_provider() {
    let refusals = Fault::ALL
        .iter()
        .filter(|f| f.as_str().starts_with("account.") && **f != Fault::AccountQuota);
    for fault in refusals {
        let mut watch = two_accounts("");
        watch.well(5);
        watch.minutes(6, None, |_| Some(*fault));
        let [incident] = watch.open().try_into().unwrap();
        assert_eq!(
            (incident.attribution, incident.endpoints.len()),
            (Attribution::Provider, 2),
            "{fault}"
        );
        assert!(
            incident
                .attribution_reason
                .contains("so is the key of another organization at "),
            "{}",
            incident.attribution_reason
        );
        let subject = render::subject(&mail(NoticeKind::Opened, &incident), &Locale::default());
        assert!(
            subject.contains(&format!("failing ({fault}), suspected provider fault")),
            "{subject}"
        );
        let text = render::text(&mail(NoticeKind::Opened, &incident), setting());
        assert!(text.contains("Probably the provider."), "{text}");
        watch.well(10);
        assert_eq!(watch.open(), [], "{fault}");
        assert_eq!(watch.opened().len(), 1, "{fault}: {:?}", reported(&watch));
    }
}

#[test]
fn without_independent_confirmation_it_stays_the_accounts() {
    let anonymous = || Watch::new(&two_keys());
    let one_named = || {
        let mut watch = Watch::new(&two_keys());
        watch.organizations = [("opus", "a")].into();
        watch
    };
    let same = || {
        let mut watch = Watch::new(&two_keys());
        watch.organizations = [("opus", "a"), ("haiku", "a")].into();
        watch
    };
    let one_key = || {
        let mut watch = Watch::new(&one_key());
        watch.organizations = [("opus", "a"), ("haiku", "b")].into();
        watch
    };
    for fault in Fault::ALL
        .iter()
        .filter(|f| f.as_str().starts_with("account."))
    {
        for mut watch in [anonymous(), one_named(), same(), one_key()] {
            watch.well(5);
            watch.minutes(10, None, |_| Some(*fault));
            let [incident] = watch.open().try_into().unwrap();
            assert_eq!(incident.attribution, Attribution::Account, "{fault}");
            assert_eq!(incident.endpoints.len(), 2, "{fault}");
        }
    }
    // Never for quota: two accounts may well be exhausted at the same time.
    let mut watch = two_accounts("");
    watch.well(5);
    watch.minutes(10, None, |_| Some(Fault::AccountQuota));
    assert_eq!(watch.open()[0].attribution, Attribution::Account);
}

#[test]
fn headers_that_refute_a_rate_limit_make_it_the_providers() {
    for (headroom, expected) in [
        (Some(0.9996), Attribution::Provider),
        (Some(0.1), Attribution::Provider),
        (Some(0.02), Attribution::Account),
        (None, Attribution::Account),
    ] {
        let mut watch = Watch::new(&endpoint("opus", "anthropic", "model = \"claude-opus\""));
        watch.headroom = headroom;
        watch.well(5);
        watch.minutes(6, None, |_| Some(Fault::AccountRateLimit));
        let [incident] = watch.open().try_into().unwrap();
        assert_eq!(incident.attribution, expected, "{headroom:?}");
        if headroom == Some(0.9996) {
            insta::assert_snapshot!(incident.attribution_reason, @"The provider's own headers refute it: 99.96% or more of every limit that they name is left.");
        }
        watch.well(10);
        assert_eq!(watch.open(), [], "{headroom:?}");
    }
}

#[test]
fn a_page_that_admits_it_makes_it_the_providers() {
    for (title, fault, expected) in [
        (
            "API requests incorrectly rate limited",
            Fault::AccountRateLimit,
            Attribution::Provider,
        ),
        (
            "Billing: credits shown as exhausted",
            Fault::AccountQuota,
            Attribution::Provider,
        ),
        (
            "Elevated authentication errors",
            Fault::AccountAuth,
            Attribution::Provider,
        ),
        (
            "Image generation is degraded",
            Fault::AccountAuth,
            Attribution::Account,
        ),
    ] {
        let mut watch = Watch::new(&endpoint("openai-chat", "openai", "model = \"m\""));
        watch.well(5);
        watch.minutes(6, None, |_| Some(fault));
        let [before] = watch.open().try_into().unwrap();
        assert_eq!(before.attribution, Attribution::Account, "{title}");
        let at = Timestamp(START + watch.now * 1000);
        let mut snapshot = page(Provider::OpenAi, Some(&at.to_string()));
        if let Some(page) = &mut snapshot.page {
            page.incidents[0].name = title.to_owned();
        }
        let step = watch.core.apply_status_feed(snapshot, at);
        let escalated = step.incidents().any(|(change, incident, _)| {
            change == Change::Escalated && incident.attribution == Attribution::Provider
        });
        assert_eq!(escalated, expected == Attribution::Provider, "{title}");
        watch.minutes(6, None, |_| Some(fault));
        let [incident] = watch.open().try_into().unwrap();
        assert_eq!(
            (incident.number, incident.attribution),
            (before.number, expected),
            "{title}"
        );
        assert_eq!(
            incident.attribution_reason.contains(title),
            expected == Attribution::Provider,
            "{}",
            incident.attribution_reason
        );
        watch.well(10);
        assert_eq!(watch.open(), [], "{title}");
    }
}

#[test]
fn another_kind_of_trouble_is_another_incident() {
    let names = ["a1", "a2", "b1", "b2"];
    let text: String = names
        .iter()
        .map(|name| endpoint(name, "anthropic", "model = \"claude-opus\""))
        .collect();
    let mut watch = Watch::new(&text);
    watch.well(5);
    watch.minutes(6, None, |name| {
        name.starts_with('a').then_some(Fault::Http5xx)
    });
    watch.minutes(6, None, |name| {
        Some(if name.starts_with('a') {
            Fault::Http5xx
        } else {
            Fault::AccountAuth
        })
    });
    let open: Vec<_> = watch
        .open()
        .into_iter()
        .map(|i| (i.cause, sorted(i.endpoints)))
        .collect();
    let owned = |names: &[&str]| {
        names
            .iter()
            .map(|n| EndpointName::from(*n))
            .collect::<Vec<_>>()
    };
    let fault = llmwatch_core::model::Cause::Fault;
    assert_eq!(
        open,
        [
            (fault(Fault::Http5xx), owned(&["a1", "a2"])),
            (fault(Fault::AccountAuth), owned(&["b1", "b2"]))
        ]
    );
    watch.minutes(8, None, |name| {
        name.starts_with('b').then_some(Fault::AccountAuth)
    });
    let [left] = watch.open().try_into().unwrap();
    assert_eq!(
        (left.cause, sorted(left.endpoints)),
        (fault(Fault::AccountAuth), owned(&["b1", "b2"]))
    );
}

#[test]
fn an_endpoint_that_fails_in_another_way_has_not_recovered() {
    let text: String = ["a1", "a2"]
        .iter()
        .map(|name| endpoint(name, "anthropic", "model = \"claude-opus\""))
        .collect();
    let mut watch = Watch::new(&text);
    watch.well(5);
    watch.minutes(6, None, |_| Some(Fault::Http5xx));
    let [before] = watch.open().try_into().unwrap();
    watch.minutes(6, None, |name| {
        Some(match name {
            "a1" => Fault::AccountAuth,
            _ => Fault::Http5xx,
        })
    });
    let update = watch
        .changes
        .iter()
        .rev()
        .find(|(_, incident)| incident.number == before.number && incident.recovered == ["a1"]);
    let (_, update) = update.unwrap();
    let notice = Notice {
        before: Some(llmwatch_core::model::Extent::from(&before)),
        failing_otherwise: [("a1".into(), Fault::AccountAuth)].into(),
        ..mail(NoticeKind::Updated, update)
    };
    let subject = render::subject(&notice, &Locale::default());
    assert!(
        subject.ends_with("a1 now fails in another way: account.auth; a2 still fails: http.5xx"),
        "{subject}"
    );
    watch.minutes(8, None, |name| (name == "a1").then_some(Fault::AccountAuth));
    let over = watch
        .changes
        .iter()
        .find(|(change, incident)| *change == Change::Resolved && incident.number == before.number);
    let notice = Notice {
        failing_otherwise: [("a1".into(), Fault::AccountAuth)].into(),
        ..mail(NoticeKind::Resolved, &over.unwrap().1)
    };
    let text = render::text(&notice, setting());
    assert!(
        text.contains("a1 now fails in another way: account.auth."),
        "{text}"
    );
}

#[test]
fn an_incident_is_about_the_endpoints_that_fail_now() {
    let text: String = ["a1", "a2", "b1"]
        .iter()
        .map(|name| endpoint(name, "anthropic", "model = \"claude-opus\""))
        .collect();
    let mut watch = Watch::new(&text);
    watch.well(5);
    watch.minutes(6, None, |name| {
        Some(if name == "b1" {
            Fault::Overloaded
        } else {
            Fault::Http5xx
        })
    });
    let [before] = watch.open().try_into().unwrap();
    assert_eq!(
        (before.cause.as_str(), before.endpoints.len()),
        ("http.5xx", 3)
    );
    watch.minutes(10, None, |name| (name == "b1").then_some(Fault::Overloaded));
    let [mut incident] = watch.open().try_into().unwrap();
    incident.recovered.sort();
    assert_eq!(incident.endpoints, ["b1"]);
    assert_eq!(incident.recovered, ["a1", "a2"]);
    assert_eq!(incident.cause.as_str(), "overloaded");
    assert_eq!(
        incident.evidence.failed, incident.evidence.probes,
        "{:?}",
        incident.evidence
    );
    let (_, update) = watch
        .changes
        .iter()
        .rfind(|(change, _)| *change == Change::Updated)
        .unwrap();
    let notice = Notice {
        before: Some(llmwatch_core::model::Extent::from(&before)),
        ..mail(NoticeKind::Updated, update)
    };
    let subject = render::subject(&notice, &Locale::default());
    assert!(
        subject.starts_with("[UPDATE] ")
            && subject.contains("recovered; b1 still fails: overloaded"),
        "{subject}"
    );
    watch.well(10);
    let (change, over) = watch.changes.last().unwrap();
    assert_eq!((*change, over.endpoints.len()), (Change::Resolved, 3));
}

#[test]
fn an_outage_ends_with_the_first_good_probe() {
    let mut watch = Watch::new(&endpoint("opus", "anthropic", "model = \"claude-opus\""));
    watch.well(5);
    let started = watch.now;
    watch.minutes(10, None, |_| Some(Fault::Http5xx));
    let recovered = watch.now;
    watch.well(10);
    let (change, over) = watch.changes.last().unwrap();
    assert_eq!(*change, Change::Resolved);
    let at = |seconds: i64| Timestamp(START + seconds * 1000);
    assert_eq!(over.started_at, at(started));
    assert_eq!(over.ended_at, Some(at(recovered)));
    assert!(over.resolved_at > over.ended_at);
    // The good probes during the recovery do not count as part of the outage.
    assert_eq!(over.evidence.probes, over.evidence.failed);
    assert!(
        (over.duration_s - (recovered - started) as f64).abs() < 0.001,
        "{}",
        over.duration_s
    );
}

#[test]
fn an_outage_that_turns_into_a_rejected_key_is_over() {
    let mut watch = Watch::new(&endpoint("opus", "anthropic", "model = \"claude-opus\""));
    watch.well(5);
    watch.minutes(10, None, |_| Some(Fault::Http5xx));
    let rejected = Timestamp(START + watch.now * 1000);
    watch.minutes(10, None, |_| Some(Fault::AccountAuth));
    let [incident] = watch.open().try_into().unwrap();
    assert_eq!(
        incident.attribution,
        Attribution::Account,
        "{}",
        incident.title
    );
    let (_, over) = watch
        .changes
        .iter()
        .find(|(change, _)| *change == Change::Resolved)
        .unwrap();
    assert_eq!(over.ended_at, Some(rejected));
    assert_eq!(over.cause.as_str(), "http.5xx");
    assert!(
        over.explanation
            .ends_with("rejects the account: incident 2."),
        "{}",
        over.explanation
    );
    watch.well(5);
    assert_eq!(watch.open(), []);
}

#[test]
fn bad_probes_are_pending_until_there_is_evidence() {
    let mut watch = Watch::new(&endpoint("opus", "anthropic", "model = \"claude-opus\""));
    watch.well(5);
    let view = |watch: &Watch| {
        let now = Timestamp(START + watch.now * 1000);
        watch.core.snapshot(now).endpoints.remove(0)
    };
    assert_eq!(view(&watch).alert.state, AlertState::Inactive);
    let began = Timestamp(START + watch.now * 1000);
    for _ in 0..4 {
        watch.probe("opus", Some(Fault::Http5xx), None);
        watch.now += 10;
    }
    let pending = view(&watch);
    assert_eq!(
        (
            pending.alert.state,
            pending.alert.failed,
            pending.alert.probes
        ),
        (AlertState::Pending, 4, 4)
    );
    assert_eq!(pending.alert.since, Some(began));
    assert_eq!(
        pending.alert.earliest_alert_at,
        Some(Timestamp(began.0 + 60_000)),
        "the vendor's page may still confirm it"
    );
    assert_ne!(pending.status, Status::Operational);
    assert_eq!(
        pending.reason.as_deref(),
        Some("checking: 4 of the last 4 probes failed")
    );
    let noted = |watch: &Watch, event: &str| watch.log.iter().filter(|l| l.contains(event)).count();
    assert_eq!(noted(&watch, "DetectionPending"), 1, "{:?}", watch.log);
    watch.minutes(6, None, |_| Some(Fault::Http5xx));
    assert_eq!(view(&watch).alert.state, AlertState::Firing);
    watch.well(10);
    let over = view(&watch);
    assert_eq!(
        (over.alert.state, over.status),
        (AlertState::Inactive, Status::Operational)
    );

    // A single failure is rechecked, and clears soon.
    watch.well(60);
    watch.probe("opus", Some(Fault::Http5xx), None);
    watch.now += 5;
    assert_eq!(view(&watch).alert.state, AlertState::Pending);
    watch.well(3);
    let over = view(&watch);
    assert_eq!(
        (over.alert.state, over.status),
        (AlertState::Inactive, Status::Operational)
    );
}

#[test]
fn a_rejected_key_is_pending_after_its_first_probe() {
    let mut watch = Watch::new(&endpoint("opus", "anthropic", "model = \"claude-opus\""));
    watch.well(5);
    watch.probe("opus", Some(Fault::AccountAuth), None);
    let now = Timestamp(START + watch.now * 1000);
    let view = watch.core.snapshot(now).endpoints.remove(0);
    assert_eq!(
        (view.alert.state, view.alert.failed),
        (AlertState::Pending, 1)
    );
}

#[test]
fn alert_after_binds_for_account_faults_once_it_is_set() {
    let opus = endpoint("opus", "anthropic", "model = \"claude-opus\"");
    let opens_within = |settings: &str, minutes: i64| {
        let mut watch = Watch::new(&(opus.clone() + settings));
        watch.well(5);
        watch.minutes(minutes, None, |_| Some(Fault::AccountAuth));
        let now = Timestamp(START + watch.now * 1000);
        let alert = watch.core.snapshot(now).endpoints.remove(0).alert;
        let is_open = !watch.open().is_empty();
        assert_eq!(is_open, alert.earliest_alert_at.is_none(), "{alert:?}");
        is_open
    };
    assert!(opens_within("", 2), "two rejections are certain");
    let set = "[detection]\nalert_after = \"10m\"\n";
    assert!(!opens_within(set, 9));
    assert!(opens_within(set, 11));
}

/// Slow probes have not failed, and a failure long before the slowness is not its beginning.
#[test]
fn an_incident_that_turns_to_failures_counts_only_those() {
    let mut watch = Watch::new(&endpoint("opus", "anthropic", "model = \"claude-opus\""));
    watch.well(200);
    watch.probe("opus", Some(Fault::Http5xx), None);
    watch.now += 60;
    watch.well(2);
    let slow_from = Timestamp(START + watch.now * 1000);
    watch.slower = 4.0;
    watch.well(10);
    let [slow] = watch.open().try_into().unwrap();
    assert_eq!(
        (slow.status, slow.started_at),
        (Status::Degraded, slow_from)
    );
    assert_eq!(slow.evidence.failed, slow.evidence.probes);

    watch.minutes(4, None, |_| Some(Fault::Http5xx));
    let [failing] = watch.open().try_into().unwrap();
    assert_eq!(failing.number, slow.number);
    assert_eq!(failing.status, Status::Outage);
    assert_eq!(failing.cause.as_str(), "http.5xx");
    assert_eq!(failing.started_at, slow_from);
    let failures = watch.samples.iter().filter(|s| s.started_at >= slow_from);
    let failures = failures.filter(|s| s.outcome == Outcome::Failed).count();
    assert_eq!(failing.evidence.failed as usize, failures);
    assert_eq!(
        failing.evidence.faults.values().sum::<u32>(),
        failing.evidence.failed
    );
}

/// In the format of release 0.1, shortened to one endpoint.
const CHECKPOINT_0_1: &str = r#"{"detector":{"endpoints":{"opus":{"seen":1795510800000,"day":20781,
    "errors":{"s":0.0,"since":null,"k":0,"n":0,"blip_k":0,"blip_since":0,"blip_last":0,"blip_s":0.0,"last_failed":null,
        "pending":[0.0,0.0],"learned":[0.0,500.0],"run":0},
    "slow":{"l":0.0,"since":null,"k":0,"n":0,"last_slow":null,"peak":0.0,"level":[[[52,300.0],[53,200.0]],[[54,500.0]]],
        "incident":[[],[]],"learned":500,"stale":0.0,"median":[420.0,480.0],"sigma":0.2,"recent":[6.04,6.17],
        "recent_at":1795510800000},
    "looking":{"next_start":0,"suspicious":false,"goods":0,"needed":0,"tokens":3.0,"tokens_at":1795510800000},
    "alert":null,"closed":null,"flaps":0,"first_open":0,"account":{"run":0,"since":0,"open":false,"clear":0}}},
    "domains":{"anthropic":{"open":0,"escalated":false,"down":false}},"offline":false},
    "book":{"open":[],"last_number":7},"blind":null,
    "spent":{"day":"2026-11-24","usd":0.1,"tokens":10,"over":false}}"#;

#[test]
fn a_checkpoint_of_release_0_1_keeps_what_was_learned() {
    let text = endpoint("opus", "anthropic", "model = \"claude-opus\"");
    let (config, now) = (configuration(&text).config, Timestamp(START));
    let core = MonitorState::resume(config, 1.0, CHECKPOINT_0_1, now).unwrap();
    assert_eq!(
        core.snapshot(now).endpoints[0].typical_first_token_ms,
        Some(420.0)
    );
    let again = MonitorState::resume(core.config().clone(), 1.0, &core.checkpoint(), now).unwrap();
    assert_eq!(again.checkpoint(), core.checkpoint());
}

#[test]
fn a_refused_model_or_request_is_never_the_providers_fault() {
    for fault in [
        Fault::RequestModelNotFound,
        Fault::RequestRejected,
        Fault::AnswerFiltered,
    ] {
        let mut watch = Watch::new(&one_key());
        watch.well(5);
        watch.minutes(4, None, |_| Some(fault));
        assert!(
            watch
                .open()
                .iter()
                .all(|i| i.attribution == Attribution::Account),
            "{fault}"
        );
    }
}

#[test]
fn account_fault_is_reattributed_when_others_are_rejected() {
    let mut watch = two_accounts("");
    watch.well(5);
    watch.minutes(2, None, |name| {
        (name == "opus").then_some(Fault::AccountAuth)
    });
    assert_eq!(
        reported(&watch),
        [(Change::Opened, 1, Attribution::Account)]
    );
    watch.minutes(4, None, |_| Some(Fault::AccountAuth));
    let [incident] = watch.open().try_into().unwrap();
    assert_eq!(
        (incident.attribution, incident.number),
        (Attribution::Provider, 1),
        "the same incident, not one beside it"
    );
    assert_eq!(incident.endpoints, ["opus", "haiku"]);
    assert!(
        incident
            .title
            .starts_with("Anthropic: suspected provider fault, "),
        "{}",
        incident.title
    );
    assert_eq!(
        reported(&watch)[1],
        (Change::Escalated, 1, Attribution::Provider),
        "notified channels learn of it"
    );
    watch.well(10);
    assert_eq!(watch.open(), []);
    assert_eq!(watch.changes.last().unwrap().0, Change::Resolved);
}

#[test]
fn a_suspicion_that_passes_at_once_leaves_nothing_open() {
    let mut watch = two_accounts("");
    watch.well(5);
    watch.minutes(2, None, |name| {
        (name == "opus").then_some(Fault::AccountAuth)
    });
    let at_last = watch.now;
    watch.minutes(1, None, |name| {
        (name == "haiku").then_some(Fault::AccountAuth)
    });
    watch.well(10);
    assert_eq!(
        watch.open(),
        [],
        "refused from {at_last} on: {:?}",
        reported(&watch)
    );
}

#[test]
fn reattribution_reverts_when_only_one_account_is_rejected() {
    let mut watch = two_accounts("");
    watch.well(5);
    watch.minutes(6, None, |_| Some(Fault::AccountAuth));
    let [suspected] = watch.open().try_into().unwrap();
    assert_eq!(
        (suspected.attribution, suspected.endpoints.len()),
        (Attribution::Provider, 2)
    );
    let told_before = watch.changes.len();
    watch.minutes(12, None, |name| {
        (name == "opus").then_some(Fault::AccountAuth)
    });
    let [incident] = watch.open().try_into().unwrap();
    assert_eq!(
        (incident.number, incident.attribution),
        (suspected.number, Attribution::Account),
        "the same incident"
    );
    assert_eq!(
        (incident.endpoints.as_slice(), incident.cause.as_str()),
        (["opus".into()].as_slice(), "account.auth")
    );
    let wording = incident.attribution_reason.as_str();
    assert!(
        wording.starts_with("No longer attributed to the provider: haiku recovered at ")
            && wording.ends_with(", and opus did not."),
        "{wording}"
    );
    assert!(
        incident
            .explanation
            .contains("Until now this was attributed to the provider: "),
        "{}",
        incident.explanation
    );
    let since = &watch.changes[told_before..];
    let turned = since
        .iter()
        .find(|(_, i)| i.attribution == Attribution::Account)
        .unwrap();
    assert_eq!(
        turned.0,
        Change::Escalated,
        "channels notified of the provider learn of it"
    );
    let subject = render::subject(&mail(NoticeKind::Escalated, &turned.1), &Locale::default());
    assert!(subject.starts_with("[YOUR ACCOUNT] "), "{subject}");
    let text = render::text(&mail(NoticeKind::Escalated, &turned.1), setting());
    assert!(
        text.contains("Correction: this is not the provider's fault.")
            && !text.contains("become worse"),
        "{text}"
    );
    assert_eq!(watch.opened().len(), 1, "{:?}", reported(&watch));

    // Later changes are notified as usual.
    watch.minutes(8, None, |name| (name == "opus").then_some(Fault::Http5xx));
    let [outage] = watch.open().try_into().unwrap();
    assert_eq!(
        (outage.attribution, outage.cause.as_str()),
        (Attribution::Provider, "http.5xx")
    );
    watch.well(12);
    assert_eq!(watch.open(), [], "{:?}", reported(&watch));
}

#[test]
fn reattribution_ends_when_another_key_is_accepted() {
    let sonnet = "model = \"claude-sonnet\"\napi_key = \"k-2222222\"";
    let mut watch = two_accounts(&endpoint("sonnet", "anthropic", sonnet));
    watch.well(5);
    watch.minutes(6, None, |_| Some(Fault::AccountAuth));
    let [suspected] = watch.open().try_into().unwrap();
    assert_eq!(
        (suspected.attribution, suspected.endpoints.len()),
        (Attribution::Provider, 3)
    );
    watch.minutes(12, None, |name| {
        (name != "sonnet").then_some(Fault::AccountAuth)
    });
    let [incident] = watch.open().try_into().unwrap();
    assert_eq!(
        (incident.attribution, incident.endpoints.len()),
        (Attribution::Account, 2),
        "{}",
        incident.explanation
    );
    assert!(
        incident.attribution_reason.contains("sonnet recovered at "),
        "{}",
        incident.attribution_reason
    );
    watch.well(3);
    assert_eq!(watch.open(), []);
    assert_eq!(watch.opened().len(), 1, "{:?}", reported(&watch));
}

#[test]
fn a_suspicion_stands_beside_the_outage_of_the_provider() {
    let sonnet = endpoint("sonnet", "anthropic", "model = \"claude-sonnet\"");
    let mut watch = two_accounts(&sonnet);
    watch.well(5);
    watch.minutes(8, None, |name| {
        Some(if name == "sonnet" {
            Fault::Http5xx
        } else {
            Fault::AccountAuth
        })
    });
    let open: Vec<_> = watch
        .open()
        .iter()
        .map(|i| (i.attribution, i.cause.as_str(), i.endpoints.len()))
        .collect();
    assert!(
        open.contains(&(Attribution::Provider, "account.auth", 2))
            && open.contains(&(Attribution::Provider, "http.5xx", 1)),
        "{open:?}"
    );
    watch.well(12);
    assert_eq!(watch.open(), []);
}

#[test]
fn brief_sibling_rejections_do_not_pin_reattribution() {
    let mut watch = two_accounts("");
    watch.well(5);
    watch.minutes(4, None, |name| {
        (name == "opus").then_some(Fault::AccountAuth)
    });
    watch.probe("haiku", Some(Fault::AccountAuth), None);
    watch.probe("opus", Some(Fault::AccountAuth), None);
    assert_eq!(
        watch.open()[0].attribution,
        Attribution::Provider,
        "{:?}",
        reported(&watch)
    );
    watch.minutes(6, None, |name| {
        (name == "opus").then_some(Fault::AccountAuth)
    });
    let [incident] = watch.open().try_into().unwrap();
    assert_eq!(
        (incident.attribution, incident.number),
        (Attribution::Account, 1),
        "{}",
        incident.explanation
    );
    let wording = &incident.attribution_reason;
    assert!(
        wording.ends_with(" nothing points to the provider."),
        "nobody was let in again: {wording}"
    );
    watch.well(3);
    assert_eq!(watch.open(), []);
    assert_eq!(watch.opened().len(), 1, "{:?}", reported(&watch));
}

#[test]
fn one_good_probe_in_between_does_not_keep_a_suspicion_up() {
    let mut watch = two_accounts("");
    watch.well(5);
    watch.minutes(6, None, |_| Some(Fault::AccountAuth));
    let only_opus = |name: &str| (name == "opus").then_some(Fault::AccountAuth);
    watch.minutes(2, None, only_opus);
    watch.probe("opus", None, None);
    watch.minutes(12, None, only_opus);
    let [incident] = watch.open().try_into().unwrap();
    assert_eq!(
        (incident.attribution, incident.endpoints.len()),
        (Attribution::Account, 1),
        "{}",
        incident.title
    );
}

#[test]
fn one_accepted_probe_does_not_split_a_reattribution() {
    let mut watch = two_accounts("");
    watch.well(5);
    watch.minutes(30, None, |_| Some(Fault::AccountAuth));
    let told_before = watch.changes.len();
    watch.probe("opus", None, None);
    watch.minutes(30, None, |_| Some(Fault::AccountAuth));
    let [incident] = watch.open().try_into().unwrap();
    assert_eq!(
        (incident.attribution, incident.endpoints.len()),
        (Attribution::Provider, 2),
        "{}",
        incident.title
    );
    assert!(
        watch.changes[told_before..]
            .iter()
            .all(|(change, _)| *change == Change::Updated),
        "{:?}",
        reported(&watch)
    );
}

#[test]
fn removed_endpoint_is_not_reported_as_accepted() {
    let sonnet = "model = \"claude-sonnet\"\napi_key = \"k-2222222\"";
    let sonnet = endpoint("sonnet", "anthropic", sonnet);
    let mut watch = two_accounts(&sonnet);
    watch.well(5);
    watch.minutes(6, None, |_| Some(Fault::AccountAuth));
    let without_haiku = endpoint("opus", "anthropic", "model = \"claude-opus\"") + &sonnet;
    let at = Timestamp(START + watch.now * 1000);
    watch
        .core
        .follow(configuration(&without_haiku).config, 1.0, at);
    watch.minutes(12, None, |name| {
        (name == "opus").then_some(Fault::AccountAuth)
    });
    let [incident] = watch.open().try_into().unwrap();
    assert_eq!(
        (incident.attribution, incident.endpoints.len()),
        (Attribution::Account, 1),
        "{}",
        incident.title
    );
    let wording = &incident.attribution_reason;
    assert!(
        wording.starts_with("No longer attributed to the provider: sonnet recovered at "),
        "{wording}"
    );
}

#[test]
fn a_refused_key_of_what_is_slow_is_a_trouble_of_its_own() {
    let opus = endpoint("opus", "anthropic", "model = \"claude-opus\"");
    for text in [opus, one_key()] {
        let mut watch = Watch::new(&text);
        watch.well(180);
        watch.slower = 4.0;
        watch.well(20);
        let [slow] = watch.open().try_into().unwrap();
        assert!(slow.cause.is_slow());
        watch.minutes(6, None, |name| {
            (name == "opus").then_some(Fault::AccountAuth)
        });
        let [still, refused] = watch.open().try_into().unwrap();
        assert_eq!(
            (still.number, still.attribution, still.cause.as_str()),
            (slow.number, Attribution::Provider, "slow")
        );
        assert!(
            !still.explanation.contains("account.auth"),
            "{}",
            still.explanation
        );
        assert_eq!(
            (refused.attribution, refused.endpoints.as_slice()),
            (Attribution::Account, ["opus".into()].as_slice())
        );
        watch.slower = 1.0;
        watch.well(30);
        assert_eq!(watch.open(), []);
    }
}

#[test]
fn inhibited_incident_stands_alone_after_reattribution() {
    let sonnet = endpoint(
        "sonnet",
        "anthropic",
        "model = \"claude-sonnet\"\napi_key = \"k-2222222\"",
    );
    let shop = endpoint(
        "shop",
        "http",
        "base_url = \"https://shop.example.com\"\ndepends_on = [\"opus\"]",
    );
    let mut watch = two_accounts(&(sonnet + &shop));
    watch.well(5);
    let fault = |name: &str, refused: &[&str], fails: bool| match name {
        "shop" => fails.then_some(Fault::Http5xx),
        _ => refused.contains(&name).then_some(Fault::AccountAuth),
    };
    watch.minutes(60, None, |name| fault(name, &["sonnet"], false));
    watch.minutes(6, None, |name| {
        fault(name, &["sonnet", "opus", "haiku"], false)
    });
    watch.minutes(6, None, |name| {
        fault(name, &["sonnet", "opus", "haiku"], true)
    });
    let [_, suspected] = watch.open().try_into().unwrap();
    assert_eq!(
        (suspected.attribution, suspected.explains.as_slice()),
        (Attribution::Provider, ["shop".into()].as_slice())
    );

    watch.minutes(12, None, |name| fault(name, &["sonnet", "opus"], true));
    let open: Vec<_> = watch
        .open()
        .iter()
        .map(|i| (i.attribution, i.endpoints.clone()))
        .collect();
    let names = |names: &[&str]| {
        names
            .iter()
            .map(|n| EndpointName::from(*n))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        open,
        [
            (Attribution::Account, names(&["sonnet", "opus"])),
            (Attribution::Provider, names(&["shop"]))
        ],
        "{:?}",
        reported(&watch)
    );
    let (_, part) = watch
        .changes
        .iter()
        .find(|(change, _)| *change == Change::Resolved)
        .unwrap();
    assert!(
        part.explanation.contains("haiku recovered at ")
            && part.explanation.contains("continues as part of incident 1"),
        "{}",
        part.explanation
    );
    let lines: Vec<_> = watch
        .log
        .iter()
        .filter(|l| l.contains("IncidentResolved"))
        .collect();
    assert!(
        !lines.is_empty() && lines.iter().all(|l| !l.contains("recovered after")),
        "it continues: {lines:?}"
    );
    watch.well(12);
    assert_eq!(watch.open(), []);
    assert!(
        watch
            .log
            .iter()
            .any(|l| l.contains("IncidentResolved") && l.contains("; recovered after "))
    );
}

#[test]
fn target_only_the_proxy_cannot_reach_is_a_provider_fault() {
    let text = "proxy = \"http://proxy.example.com:3128\"\n".to_owned()
        + &endpoint("opus", "anthropic", "model = \"claude-opus\"")
        + &endpoint("openai-chat", "openai", "model = \"m\"");
    let mut watch = Watch::new(&text);
    watch.well(5);
    watch.minutes(8, None, |name| {
        (name == "opus").then_some(Fault::LocalProxy)
    });
    let [incident] = watch.open().try_into().unwrap();
    assert_eq!(
        (incident.provider.as_str(), incident.attribution),
        ("anthropic", Attribution::Provider)
    );
    insta::assert_snapshot!(incident.attribution_reason, @"The proxy does not reach it, while it reaches others.");
    watch.well(12);
    assert_eq!(watch.open(), []);

    watch.minutes(8, None, |_| Some(Fault::LocalProxy));
    assert!(
        watch
            .open()
            .iter()
            .all(|i| i.attribution == Attribution::Local),
        "{:?}",
        watch.open()
    );
    let now = Timestamp(START + watch.now * 1000);
    let headline = headline(&watch.core.snapshot(now), now, &Locale::default());
    assert!(
        headline.starts_with("2 endpoints, 1 local fault; "),
        "no vendor's name stands beside it: {headline}"
    );
}

#[test]
fn rejections_hours_apart_are_not_connected() {
    let mut watch = Watch::new(&two_keys());
    watch.well(5);
    watch.minutes(90, None, |name| {
        (name == "opus").then_some(Fault::AccountAuth)
    });
    watch.minutes(10, None, |_| Some(Fault::AccountAuth));
    let open = watch.open();
    assert!(
        open.iter().all(|i| i.attribution == Attribution::Account),
        "{open:?}"
    );
}

#[test]
fn new_baseline_is_not_reported_as_recovery() {
    let mut watch = Watch::new(
        &(endpoint("openai-chat", "openai", "model = \"m\"") + &azure("azure-chat", "one", "m")),
    );
    watch.well(180);
    watch.slower = 4.0;
    watch.well(26 * 60);
    assert_eq!(watch.open(), []);
    let over: Vec<_> = watch
        .changes
        .iter()
        .filter(|(c, _)| *c == Change::Resolved)
        .map(|(_, i)| i.clone())
        .collect();
    let incident = over
        .iter()
        .find(|i| i.endpoints == ["openai-chat"])
        .unwrap();
    assert_eq!(
        (incident.state, incident.new_normal.as_slice()),
        (IncidentState::Resolved, ["openai-chat".into()].as_slice())
    );
    insta::assert_snapshot!(incident.title, @"OpenAI: openai-chat still slow; this is the new baseline");
    let line = watch
        .log
        .iter()
        .find(|l| l.contains("IncidentResolved") && l.contains("openai-chat still slow"))
        .unwrap();
    assert!(!line.contains("recovered after"), "{line}");
    let mail = mail(NoticeKind::Resolved, incident);
    insta::assert_snapshot!(render::subject(&mail, &Locale::default()), @"[RESOLVED after 24 h 8 min] OpenAI: openai-chat still slow, now the baseline");
    let text = render::text(&mail, setting());
    assert!(
        !text.contains("again") && !text.contains("recovered"),
        "{text}"
    );
    let json = serde_json::to_value(incident).unwrap();
    assert_eq!(
        json["new_normal"],
        serde_json::json!(["openai-chat"]),
        "a machine can distinguish it from a recovery"
    );
    watch.well(60);
    assert_eq!(watch.opened().len(), over.len(), "notified once");
}

#[test]
fn late_vendor_incident_still_gives_the_lead() {
    let mut watch = Watch::new(&endpoint("openai-chat", "openai", "model = \"m\""));
    watch.well(5);
    let now = |watch: &Watch| Timestamp(START + watch.now * 1000);
    watch
        .core
        .apply_status_feed(page(Provider::OpenAi, None), now(&watch));
    watch.minutes(5, None, |_| Some(Fault::Http5xx));
    let [incident] = watch.open().try_into().unwrap();
    watch.well(8);
    assert_eq!(watch.open(), []);
    let at = now(&watch);
    let step = watch
        .core
        .apply_status_feed(page(Provider::OpenAi, Some(&at.to_string())), at);
    let statuses: Vec<_> = step.vendor_statuses().collect();
    let [(id, official)] = statuses.as_slice() else {
        panic!("{statuses:?}")
    };
    assert_eq!(
        (*id, official.incident.as_deref()),
        (incident.id, Some("Elevated error rates"))
    );
    assert_eq!(
        official.lead_s,
        Some(at.since_ms(incident.opened_at) as f64 / 1000.0)
    );
    assert!(
        step.incidents().next().is_none(),
        "it is over: nobody is notified again"
    );
    let later = watch
        .core
        .apply_status_feed(page(Provider::OpenAi, None), at);
    assert!(
        later.vendor_statuses().next().is_none(),
        "what was published stays in the record"
    );
}

#[test]
fn status_page_color_change_notifies_nobody() {
    let mut watch = Watch::new(&endpoint("openai-chat", "openai", "model = \"m\""));
    watch.well(5);
    let at = |watch: &Watch| Timestamp(START + watch.now * 1000);
    watch.minutes(5, None, |_| Some(Fault::Http5xx));
    let mut snapshot = page(Provider::OpenAi, None);
    snapshot.page.as_mut().unwrap().status = Status::Degraded;
    let step = watch.core.apply_status_feed(snapshot, at(&watch));
    let statuses: Vec<_> = step.vendor_statuses().collect();
    let [(_, official)] = statuses.as_slice() else {
        panic!("{statuses:?}")
    };
    assert_eq!(
        (official.status, official.lead_s),
        (Some(Status::Degraded), None)
    );
    assert!(step.incidents().next().is_none());
}

/// There are more failures than samples kept as evidence.
#[test]
fn every_failure_before_the_alert_is_in_the_counts() {
    let slow_to_alert = "[detection]\nalert_after = \"30m\"\n";
    let mut watch = Watch::new(&(azure("azure-chat", "contoso", "gpt-5") + slow_to_alert));
    watch.well(5);
    let faults = [Fault::Http5xx, Fault::Http5xx, Fault::TimeoutHeaders];
    for minute in 0..40 {
        watch.minutes(1, None, |_| Some(faults[minute % 3]));
    }
    let [incident] = watch.open().try_into().unwrap();
    let counted = &incident.evidence.faults;
    assert!(
        incident.evidence.failed > 30,
        "{}",
        incident.evidence.failed
    );
    assert_eq!(counted.values().sum::<u32>(), incident.evidence.failed);
    assert!(counted[&Fault::Http5xx] > counted[&Fault::TimeoutHeaders]);
}
