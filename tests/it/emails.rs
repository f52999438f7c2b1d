//! Mails, for each type of notice and each variation of its text, as snapshots for review by
//! people.

use llmwatch_core::message::render;
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::{
    Acknowledgement, Attribution, Cause, Condition, Extent, Fault, Measure, Note, Notice,
    NoticeKind, Status,
};

use crate::formats::{notice, now, setting};

/// Messages that differ in more than their type, real ones rather than tests.
fn occasions() -> Vec<(&'static str, Notice)> {
    let opened = || Notice {
        test: false,
        ..notice(NoticeKind::Opened)
    };
    let with = |change: &dyn Fn(&mut llmwatch_core::model::Incident)| {
        let mut notice = opened();
        change(notice.incident.as_mut().unwrap());
        notice
    };
    let ended = |change: &dyn Fn(&mut llmwatch_core::model::Incident)| {
        let mut notice = Notice {
            test: false,
            ..notice(NoticeKind::Resolved)
        };
        change(notice.incident.as_mut().unwrap());
        notice
    };
    let taken = Acknowledgement {
        at: now(),
        by: "ann".to_owned(),
        note: "calling them".to_owned(),
    };
    let resolved = notice(NoticeKind::Resolved).incident;
    let delivered = Some(Condition {
        key: "delivery".to_owned(),
        over: true,
    });
    let title = "The channel `slack` delivers again after 12 min".to_owned();
    vec![
        (
            "late",
            Notice {
                decided_at: now() - std::time::Duration::from_mins(17),
                ..opened()
            },
        ),
        (
            "over before it was sent",
            Notice {
                already_over: true,
                incident: resolved,
                ..opened()
            },
        ),
        (
            "through the fallback",
            Notice {
                instead_of: Some("slack".into()),
                ..opened()
            },
        ),
        (
            "nothing else works",
            Notice {
                alternatives: Vec::new(),
                recent: Vec::new(),
                ..opened()
            },
        ),
        (
            "somebody is on it",
            Notice {
                kind: NoticeKind::Updated,
                ..with(&|i| i.acknowledged = Some(taken.clone()))
            },
        ),
        (
            "slow",
            with(&|i| {
                (i.status, i.cause) = (Status::Degraded, Cause::Slow);
                i.measure = Measure::FirstToken;
                (i.evidence.first_token_ms.now, i.evidence.faults) =
                    (Some(2730.0), std::collections::BTreeMap::new());
                i.evidence.samples.iter_mut().for_each(|s| {
                    (s.fault, s.http_status, s.error, s.first_token_ms) =
                        (None, Some(200), None, Some(2730.0));
                });
            }),
        ),
        (
            "slow, and over",
            ended(&|i| {
                (i.status, i.cause) = (Status::Degraded, Cause::Slow);
                (i.evidence.first_token_ms.now, i.evidence.faults) =
                    (Some(430.0), std::collections::BTreeMap::new());
            }),
        ),
        (
            "ten endpoints, and over",
            ended(&|i| i.endpoints = (0..10).map(|n| format!("openai-{n}").into()).collect()),
        ),
        (
            "the account's",
            with(&|i| {
                (i.attribution, i.cause) =
                    (Attribution::Account, Cause::Fault(Fault::AccountQuota));
                i.evidence.samples.iter_mut().for_each(|s| {
                    (s.fault, s.http_status) = (Some(Fault::AccountQuota), Some(429));
                    s.error = Some("You exceeded your current quota.".to_owned());
                });
                i.evidence.faults = std::collections::BTreeMap::from([(Fault::AccountQuota, 9)]);
            }),
        ),
        (
            "this machine's",
            with(&|i| {
                (i.attribution, i.cause) = (Attribution::Local, Cause::Fault(Fault::LocalDns));
                i.evidence.samples.iter_mut().for_each(|s| {
                    (s.fault, s.http_status) = (Some(Fault::LocalDns), None);
                    s.request_id = None;
                    s.error = Some("the resolver does not answer".to_owned());
                });
                i.evidence.faults = std::collections::BTreeMap::from([(Fault::LocalDns, 9)]);
            }),
        ),
        (
            "delivers again",
            Notice {
                title,
                condition: delivered,
                test: false,
                ..notice(NoticeKind::Delivery)
            },
        ),
    ]
}

#[test]
fn a_mail_says_it_all_in_order() {
    insta::with_settings!({filters => vec![(r"llmwatch \d+\.\d+\.\d+", "llmwatch VERSION")]}, {
        let mut shown = String::new();
        for kind in NoticeKind::ALL {
            let notice = notice(*kind);
            shown += &format!("### {}\nSubject: {}\n\n{}\n", kind.as_str(), render::subject(&notice, &Locale::default()), render::text(&notice, setting()));
        }
        insta::assert_snapshot!("mail_text", shown);
        insta::assert_snapshot!("mail_html", render::html(&notice(NoticeKind::Resolved), setting()));
        insta::assert_snapshot!("mail_html_report", render::html(&notice(NoticeKind::Report), setting()));
        let mut shown = String::new();
        for (what, notice) in occasions() {
            shown += &format!("### {what}\nSubject: {}\n\n{}\n", render::subject(&notice, &Locale::default()), render::text(&notice, setting()));
        }
        insta::assert_snapshot!("mail_occasions", shown);
    });
}

#[test]
fn the_end_says_what_was_noted_since_the_last_message() {
    let mut over = Notice {
        test: false,
        ..notice(NoticeKind::Resolved)
    };
    let incident = over.incident.as_mut().unwrap();
    let note = |text: &str| Note {
        at: now(),
        by: "kim".to_owned(),
        text: text.to_owned(),
    };
    incident.notes = vec![note("an old one"), note("the vendor confirmed it")];
    over.before = Some(Extent {
        notes: 1,
        ..Extent::from(&*incident)
    });
    let text = render::text(&over, setting());
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        text.contains("Note by kim at 2026-11-23 10:32:00 CET: the vendor confirmed it"),
        "{text}"
    );
    assert!(!text.contains("an old one"), "{text}");
}

#[test]
fn an_endpoint_with_a_new_baseline_has_not_recovered() {
    let mut over = Notice {
        test: false,
        ..notice(NoticeKind::Resolved)
    };
    let incident = over.incident.as_mut().unwrap();
    (incident.status, incident.cause) = (Status::Degraded, Cause::Slow);
    incident.endpoints = ["a", "b"].map(Into::into).to_vec();
    incident.new_normal = vec!["b".into()];
    let text = render::text(&over, setting())
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(
        text.contains("a recovered at") && !text.contains("a and b recovered"),
        "{text}"
    );
    assert!(
        text.contains("b is still slow, which counts as the new baseline."),
        "{text}"
    );
}

/// Request ids of OpenAI and Azure have 36 characters; each probe must still fit on one line.
#[test]
fn failed_probes_stand_in_one_line_each_though_request_ids_are_long() {
    let id = "d3d864b1-9313-43fb-b085-8a6e0737cbc2";
    let mut notice = notice(NoticeKind::Opened);
    let samples = &mut notice.incident.as_mut().unwrap().evidence.samples;
    for sample in samples.iter_mut() {
        sample.request_id = Some(id.to_owned());
    }
    let line = format!("http.5xx (HTTP 503)  {id}");
    let text = render::text(&notice, setting());
    assert_eq!(text.matches(&line).count(), 3, "{text}");
    // Two endpoints must be distinguishable.
    let samples = &mut notice.incident.as_mut().unwrap().evidence.samples;
    samples[0].endpoint = "openai-responses".into();
    let text = render::text(&notice, setting());
    assert!(
        text.contains(&format!("openai-responses  {line}")),
        "{text}"
    );
}
