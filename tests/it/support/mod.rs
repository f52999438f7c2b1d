//! Shared by many tests: samples, notices, and a sandbox with the binary in it.

pub(crate) mod link;
pub(crate) mod postgres;
pub(crate) mod site;
mod world;

pub(crate) use world::{Daemon, KEY, PATIENCE, World, eventually};

use llmwatch_core::model::{
    Api, Incident, Notice, NoticeKind, Outcome, Provider, Sample, Timestamp, Trigger,
};
use uuid::Uuid;

/// Returns a loopback port on which nothing listens, for a program that must be given one. It is
/// below the ephemeral range, so that the system gives it to no other program. Each port is
/// returned only once.
pub(crate) fn free_port() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    // Other test processes start elsewhere.
    let start = u16::try_from(std::process::id() % 180).unwrap() * 100;
    loop {
        let port = 12_000 + (start + GIVEN.fetch_add(1, Ordering::Relaxed)) % 18_000;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Reports that `what` is not tested on this machine. libtest hides the output of a passing test,
/// so this writes past it. `.ci/run` collects these lines and, in strict mode, fails on them.
pub(crate) fn skipped(what: &str, why: &str) {
    use std::io::Write as _;
    let line = format!("\nskipped: {what}: {why}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// Returns a good sample of `endpoint` that began at `at`.
pub(crate) fn good(endpoint: &str, at: Timestamp) -> Sample {
    Sample {
        id: Uuid::now_v7(),
        endpoint: endpoint.into(),
        provider: Provider::OpenAi,
        api: Api::Chat,
        model: Some("gpt-6-luna".to_owned()),
        location: "fra1".to_owned(),
        scheduled_at: at,
        started_at: at,
        trigger: Trigger::Schedule,
        outcome: Outcome::Ok,
        fault: None,
        attribution: None,
        attributed_first: None,
        http_status: Some(200),
        auth_ms: None,
        dns_ms: Some(1.25),
        tcp_ms: Some(8.5),
        tls_ms: Some(17.003),
        headers_ms: Some(180.0),
        first_event_ms: Some(200.0),
        first_token_ms: Some(412.345),
        first_any_token_ms: Some(412.345),
        max_gap_ms: Some(20.0),
        tpot_ms: Some(9.9),
        total_ms: Some(450.0),
        schedule_lag_ms: 0.2,
        events: Some(5),
        input_tokens: Some(14),
        output_tokens: Some(3),
        reasoning_tokens: None,
        cost_usd: Some(0.000_002_9),
        finish_reason: Some("stop".to_owned()),
        response_model: Some("gpt-6-luna".to_owned()),
        system_fingerprint: None,
        request_id: Some("req_1".to_owned()),
        server_ms: Some(81.0),
        edge: Some("FRA".to_owned()),
        ratelimit_remaining_requests: Some(9999),
        ratelimit_remaining_tokens: None,
        retry_after_ms: None,
        remote_addr: Some("127.0.0.1:443".to_owned()),
        http_version: Some("HTTP/2".to_owned()),
        tls_expires_at: Some(Timestamp(1_900_000_000_000)),
        model_retires_at: None,
        model_successor: None,
        credit_left: None,
        credit_currency: None,
        ratelimit_headroom: Some(0.5),
        organization: None,
        load_ms: Some(38.0),
        proxy_ms: None,
        warnings: Vec::new(),
        error: None,
        answer: None,
    }
}

/// Returns a notice of `kind` about `incident`, decided at `at`.
pub(crate) fn notice(kind: NoticeKind, incident: Option<Incident>, at: Timestamp) -> Notice {
    Notice {
        id: Uuid::now_v7(),
        kind,
        decided_at: at,
        location: "fra1".to_owned(),
        incident,
        subject: "OpenAI".to_owned(),
        title: "OpenAI: 9 of the last 10 probes failed (http.5xx)".to_owned(),
        alternatives: Vec::new(),
        monitors_alternative: None,
        also_failing: Vec::new(),
        url: None,
        thread: None,
        already_over: false,
        recent: Vec::new(),
        test: false,
        instead_of: None,
        failing_otherwise: std::collections::BTreeMap::new(),
        failover: None,
        document: None,
        condition: None,
        before: None,
    }
}
