//! Sample notices of every kind, clearly marked as tests: for `llmwatch test-alert`, and to see
//! what each receiver gets. Pure.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::message;
use crate::message::monitor_notice::MonitorNotice;
use crate::message::values::Locale;
use crate::model::AdviceKind;
use crate::model::Announcement;
use crate::model::{
    Alternative, Attribution, Block, Cause, Condition, Document, Elsewhere, Evidence,
    EvidenceSample, Fault, Incident, IncidentFacts, IncidentState, Measure, Notice, NoticeKind,
    Official, Provider, Sparkline, Status, Timestamp, TypicalAndNow,
};
use crate::text;

/// The incident of every sample. It is always the same, so that a resolve matches an opening sent
/// on another day.
const INCIDENT: Uuid = Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0001);
/// The marker at the start of one-line texts.
const MARK: &str = "TEST: ";

/// Returns a sample notice of `kind` at `now`, about a made-up outage.
pub fn sample_notice(
    kind: NoticeKind,
    id: Uuid,
    location: &str,
    public_url: Option<&str>,
    now: Timestamp,
    locale: &Locale,
) -> Notice {
    let incident = kind
        .is_about_incident()
        .then(|| incident(kind, now, locale));
    let url = public_url.map(|url| match &incident {
        Some(incident) => format!("{url}/incidents/{}", incident.number),
        None => url.to_owned(),
    });
    Notice {
        id,
        kind,
        decided_at: now,
        location: location.to_owned(),
        subject: if incident.is_some() {
            "OpenAI".to_owned()
        } else {
            location.to_owned()
        },
        title: match &incident {
            Some(incident) => incident.title.clone(),
            None => title(kind, location, locale),
        },
        alternatives: vec![
            alternative("azure-chat", Provider::AzureOpenAi, "Azure", 380.0, 1.0),
            alternative(
                "anthropic-chat",
                Provider::Anthropic,
                "Anthropic",
                510.0,
                0.9993,
            ),
        ],
        monitors_alternative: Some(true),
        also_failing: Vec::new(),
        before: None,
        url,
        thread: None,
        already_over: false,
        recent: vec![Sparkline {
            endpoint: "openai-chat".into(),
            until: now,
            minutes: format!(
                "{}~~x{}",
                ".".repeat(44),
                if kind == NoticeKind::Resolved {
                    "xxxxxxxxxx..."
                } else {
                    "xxxxxxxxxxxxx"
                }
            ),
        }],
        test: true,
        instead_of: None,
        failing_otherwise: BTreeMap::new(),
        failover: None,
        document: document(kind, locale),
        condition: match kind {
            NoticeKind::Delivery => Some(Condition {
                key: "delivery".to_owned(),
                over: false,
            }),
            other => Announcement::new(other, String::new(), now).condition,
        },
        incident,
    }
}

/// Returns the title of a test of a message that is about no incident.
fn title(kind: NoticeKind, location: &str, locale: &Locale) -> String {
    let notice = match kind {
        NoticeKind::Offline => MonitorNotice::Offline,
        NoticeKind::Online => MonitorNotice::Online {
            after_s: 372.0,
            missed_probes: 12,
        },
        NoticeKind::Budget => MonitorNotice::BudgetExhausted,
        NoticeKind::Store => MonitorNotice::DatabaseFailing {
            error: locale.say("the disk is full"),
        },
        NoticeKind::Delivery => MonitorNotice::ChannelFailing {
            channel: "slack",
            error: Some("HTTP 500"),
        },
        NoticeKind::Digest => MonitorNotice::Digest { open: 2, ended: 0 },
        NoticeKind::Official => MonitorNotice::VendorIncident {
            vendor: "OpenAI",
            name: "Elevated errors",
            ended: false,
        },
        NoticeKind::Advice => {
            let advice = locale
                .say("openai-chat: the model gpt-4o will be shut down in 13 days, on 2026-12-06");
            return format!("{MARK}{advice}");
        }
        NoticeKind::Report => {
            let lowest = locale.percent(0.9993);
            let title = text!(
                locale,
                "{location} 2026-11-16 to 2026-11-23: lowest availability {lowest}, 1 incident",
                location,
                lowest
            );
            return format!("{MARK}{title}");
        }
        _ => return text!(locale, "test notification from {location}", location),
    };
    let title = message::monitor_notice::title(&notice, location, locale);
    format!("{MARK}{title}")
}

fn translated(list: &[&'static str], locale: &Locale) -> Vec<String> {
    list.iter()
        .map(|text| locale.say(text).to_owned())
        .collect()
}

fn availability_row(
    name: &str,
    share: f64,
    left: f64,
    incidents: u32,
    locale: &Locale,
) -> Vec<String> {
    vec![
        name.to_owned(),
        locale.percent(share),
        locale.percent(0.999),
        locale.percent(left),
        incidents.to_string(),
    ]
}

fn latency_row(name: &str, ms: [u32; 5], locale: &Locale) -> Vec<String> {
    let figures = ms.map(|ms| locale.number(ms));
    std::iter::once(name.to_owned()).chain(figures).collect()
}

fn document(kind: NoticeKind, locale: &Locale) -> Option<Document> {
    let open = locale.say("Open");
    let availability = locale.say("Availability");
    let latency = locale.say("Latency of successful probes (ms)");
    let incidents = locale.say("Incidents");
    let cost = locale.say("Cost of probing");
    let blocks = match kind {
        NoticeKind::Digest => vec![
            Block::Heading(format!("{open} (2)")),
            Block::List(translated(&[
                "#42 outage: OpenAI: 9 of the last 10 probes failed (http.5xx) [openai-chat]",
                "#43 degradation: Anthropic: 6 of the last 10 probes were slow [anthropic-chat]",
            ], locale)),
        ],
        NoticeKind::Official => {
            let vendor = "OpenAI";
            vec![Block::Text(text!(
                locale,
                "{vendor} has published this on its status page. This is for information only: our probes are \
                 unaffected and no incident is open.",
                vendor
            ))]
        }
        NoticeKind::Advice => vec![Block::Text(
            locale.say(AdviceKind::ModelRetires.remedy()).to_owned(),
        )],
        NoticeKind::Report => vec![
            Block::Text(locale.say("From 2026-11-16 08:00:00 UTC to 2026-11-23 08:00:00 UTC; 20,160 probes from fra1.").to_owned()),
            Block::Heading(availability.to_owned()),
            Block::Table {
                head: translated(&["", "availability", "SLO", "budget left", "incidents"], locale),
                rows: vec![
                    availability_row("openai-chat", 0.9993, 0.3, 1, locale),
                    availability_row("azure-chat", 1.0, 1.0, 0, locale),
                ],
            },
            Block::Heading(latency.to_owned()),
            Block::Table {
                head: translated(&["", "first token p50", "previous period", "p95", "p99", "total p50"], locale),
                rows: vec![
                    latency_row("openai-chat", [420, 431, 910, 1_630, 740], locale),
                    latency_row("azure-chat", [380, 377, 702, 985, 690], locale),
                ],
            },
            Block::Heading(format!("{incidents} (1)")),
            Block::List(translated(&["#42 2026-11-19 09:18:00 UTC, 11 min: OpenAI: 9 of 10 probes failed (http.5xx)"], locale)),
            Block::Heading(cost.to_owned()),
            Block::Text(locale.say("Probing cost $0.806 for 483,840 tokens; the budget is $1.00 a day.").to_owned()),
        ],
        _ => return None,
    };
    let mut data = serde_json::json!({"test": true});
    if kind == NoticeKind::Digest {
        data["incidents"] = serde_json::json!([
            {"number": 42, "status": "outage", "attribution": "provider", "endpoints": ["openai-chat"], "resolved_at": null},
            {"number": 43, "status": "degraded", "attribution": "provider", "endpoints": ["anthropic-chat"], "resolved_at": null},
        ]);
    }
    Some(Document { blocks, data })
}

fn minutes_before(now: Timestamp, minutes: i64) -> Timestamp {
    Timestamp(now.0 - minutes * 60_000)
}

fn incident(kind: NoticeKind, now: Timestamp, locale: &Locale) -> Incident {
    let over = kind == NoticeKind::Resolved;
    let resolved_at = over.then(|| minutes_before(now, 3));
    let mut incident = Incident {
        id: INCIDENT,
        number: 42,
        state: if over {
            IncidentState::Resolved
        } else {
            IncidentState::Open
        },
        status: Status::Outage,
        attribution: Attribution::Provider,
        attribution_reason: String::new(),
        recovered: Vec::new(),
        explains: Vec::new(),
        explained_by: None,
        locations: Vec::new(),
        scope: crate::model::Scope::All,
        reached_from: Vec::new(),
        alone: false,
        new_normal: Vec::new(),
        removed: false,
        cause: Cause::Fault(Fault::Http5xx),
        measure: Measure::Errors,
        title: String::new(),
        provider: "openai".into(),
        endpoints: vec!["openai-chat".into()],
        started_at: minutes_before(now, 14),
        opened_at: minutes_before(now, 13),
        acknowledged: None,
        ended_at: over.then(|| minutes_before(now, 4)),
        notes: Vec::new(),
        resolved_at,
        duration_s: if over { 600.0 } else { 840.0 },
        explanation: String::new(),
        official: Official {
            status: Some(if over {
                Status::Degraded
            } else {
                Status::Operational
            }),
            incident: over.then(|| "Elevated error rates on the API".to_owned()),
            lead_s: over.then_some(720.0),
            url: Some("https://status.openai.com".to_owned()),
            published_at: over.then(|| minutes_before(now, 1)),
        },
        evidence: Evidence {
            probes: 10,
            failed: 9,
            typical_failure_rate: Some(0.003),
            first_token_ms: TypicalAndNow {
                typical: Some(420.0),
                now: over.then_some(433.0),
            },
            total_ms: TypicalAndNow::default(),
            tokens_per_second: TypicalAndNow::default(),
            samples: (0..3)
                .map(|n| sample(n, minutes_before(now, 12 - n)))
                .collect(),
            faults: BTreeMap::from([(Fault::Http5xx, 8), (Fault::TimeoutHeaders, 1)]),
            worst_first_token_ms: Some(3210.0),
            worst_total_ms: Some(20_004.0),
            request_ids: (0..3).map(|n| format!("req_test{n}")).collect(),
        },
        facts: Some(facts()),
    };
    message::incident::narrate(&mut incident, locale);
    incident.title = format!("{MARK}{}", incident.title);
    incident
}

fn facts() -> IncidentFacts {
    IncidentFacts {
        vendor: "OpenAI".to_owned(),
        models: vec!["gpt-4o-mini".to_owned()],
        other_vendors: vec!["Anthropic".to_owned(), "Azure".to_owned()],
        answers_elsewhere: Some(Elsewhere {
            endpoint: "azure-chat".into(),
            vendor: "Azure".to_owned(),
            same_model: true,
        }),
        worked_before: true,
        ..IncidentFacts::default()
    }
}

fn sample(n: i64, at: Timestamp) -> EvidenceSample {
    EvidenceSample {
        endpoint: "openai-chat".into(),
        started_at: at,
        fault: Some(Fault::Http5xx),
        http_status: Some(503),
        first_token_ms: None,
        request_id: Some(format!("req_test{n}")),
        error: Some("The server is overloaded or not ready yet.".to_owned()),
        answer: None,
    }
}

fn alternative(
    endpoint: &str,
    provider: Provider,
    title: &str,
    first_token: f64,
    availability: f64,
) -> Alternative {
    Alternative {
        endpoint: endpoint.into(),
        provider,
        title: title.to_owned(),
        status: Status::Operational,
        first_token_ms_p50: Some(first_token),
        availability_24h: Some(availability),
    }
}
