//! What people read in a mail, for each type of notice and on each occasion that changes its words: as snapshots to be
//! read by people.

use llmwatch::model::{Acknowledgement, Attribution, Condition, Notice, NoticeType, Status};
use llmwatch::notify::render;

use crate::formats::{notice, now, setting};

/// Messages that differ by more than their type, real ones rather than tests.
fn occasions() -> Vec<(&'static str, Notice)> {
    let opened = || Notice {
        test: false,
        ..notice(NoticeType::Opened)
    };
    let with = |change: &dyn Fn(&mut llmwatch::model::Incident)| {
        let mut notice = opened();
        change(notice.incident.as_mut().unwrap());
        notice
    };
    let ended = |change: &dyn Fn(&mut llmwatch::model::Incident)| {
        let mut notice = Notice {
            test: false,
            ..notice(NoticeType::Resolved)
        };
        change(notice.incident.as_mut().unwrap());
        notice
    };
    let taken = Acknowledgement {
        at: now(),
        by: "ann".to_owned(),
        comment: "calling them".to_owned(),
    };
    let resolved = notice(NoticeType::Resolved).incident;
    let delivered = Some(Condition {
        key: "delivery/slack".to_owned(),
        over: true,
    });
    let title = "the channel `slack` delivers again after 12 min".to_owned();
    vec![
        (
            "late",
            Notice {
                decided_at: now() - std::time::Duration::from_mins(17),
                ..opened()
            },
        ),
        (
            "over before it was told",
            Notice {
                already_over: true,
                incident: resolved,
                ..opened()
            },
        ),
        (
            "through the fallback",
            Notice {
                instead_of: Some("slack".to_owned()),
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
                r#type: NoticeType::Updated,
                ..with(&|i| i.acknowledged = Some(taken.clone()))
            },
        ),
        (
            "slow",
            with(&|i| {
                (i.status, i.cause) = (Status::Degraded, "slow".to_owned());
                i.title = "OpenAI: 8 of the last 10 probes were slow".to_owned();
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
                (i.status, i.cause) = (Status::Degraded, "slow".to_owned());
                (i.evidence.first_token_ms.now, i.evidence.faults) =
                    (Some(430.0), std::collections::BTreeMap::new());
            }),
        ),
        (
            "ten endpoints, and over",
            ended(&|i| i.endpoints = (0..10).map(|n| format!("openai-{n}")).collect()),
        ),
        (
            "the account's",
            with(&|i| {
                (i.attribution, i.cause) = (Attribution::Account, "account.quota".to_owned());
                i.title = "OpenAI: the quota or credit that openai-chat uses is exhausted (account.quota)".to_owned();
                i.explanation = "Since 09:18:00 UTC the quota or credit that openai-chat uses is exhausted (9 of the last 10 \
                                 probes failed): HTTP 429, You exceeded your current quota. Azure is not affected. Add credit or \
                                 raise the spending limit; asking again does not help."
                    .to_owned();
            }),
        ),
        (
            "this machine's",
            with(&|i| {
                (i.attribution, i.cause) = (Attribution::Local, "local.dns".to_owned());
                i.title = "This machine cannot resolve names (local.dns): openai-chat not reached"
                    .to_owned();
                i.explanation = "This machine cannot resolve names since 09:18:00 UTC, so openai-chat cannot be reached from here: \
                                 9 of the last 10 probes failed. The cause lies on this machine or its network, not at the \
                                 provider. See to the resolver (`/etc/resolv.conf`, `resolvectl status`)."
                    .to_owned();
            }),
        ),
        (
            "delivers again",
            Notice {
                title,
                condition: delivered,
                test: false,
                ..notice(NoticeType::Delivery)
            },
        ),
    ]
}

#[test]
fn a_mail_says_it_all_in_order() {
    insta::with_settings!({filters => vec![(r"llmwatch \d+\.\d+\.\d+", "llmwatch VERSION")]}, {
        let mut shown = String::new();
        for r#type in NoticeType::ALL {
            let notice = notice(*r#type);
            shown += &format!("### {}\nSubject: {}\n\n{}\n", r#type.as_str(), render::subject(&notice), render::text(&notice, setting()));
        }
        insta::assert_snapshot!("mail_text", shown);
        insta::assert_snapshot!("mail_html", render::html(&notice(NoticeType::Resolved), setting()));
        insta::assert_snapshot!("mail_html_report", render::html(&notice(NoticeType::Report), setting()));
        let mut shown = String::new();
        for (what, notice) in occasions() {
            shown += &format!("### {what}\nSubject: {}\n\n{}\n", render::subject(&notice), render::text(&notice, setting()));
        }
        insta::assert_snapshot!("mail_occasions", shown);
    });
}

#[test]
fn who_did_not_become_faster_is_not_said_to_have() {
    let mut over = Notice {
        test: false,
        ..notice(NoticeType::Resolved)
    };
    let incident = over.incident.as_mut().unwrap();
    (incident.status, incident.cause) = (Status::Degraded, "slow".to_owned());
    incident.endpoints = ["a", "b"].map(str::to_owned).to_vec();
    incident.new_normal = vec!["b".to_owned()];
    let text = render::text(&over, setting())
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(
        text.contains("a answers in its usual time again since") && !text.contains("a, b answer"),
        "{text}"
    );
    assert!(
        text.contains("b stays slow, which counts as the new normal."),
        "{text}"
    );
}
