//! Hostile responses that no healthy server sends: each takes bounded time and memory, and gets the
//! right fault.

use std::sync::Arc;

use llmwatch::clock;
use llmwatch::config::{self, Environment, Settings};
use llmwatch::probe::{Due, Prober};
use llmwatch_core::model::{Endpoint, Fault, Sample, Trigger};
use llmwatch_simulator::{Scenario, Simulator};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::PATIENCE;

/// The most bytes in transit when the reader hangs up: those it has read, and the buffers on both
/// sides.
const MAX_UNDER_WAY: u64 = 32 * 1024 * 1024;

/// Limits of an answer short enough to wait for.
const SHORT: &str = "timeout = { connect = \"60s\", headers = \"60s\", first_token = \"3s\", token_gap = \"2s\", total = \"5s\" }";
/// The same for headers that never come.
const SHORT_HEADERS: &str = "timeout = { connect = \"60s\", headers = \"2s\", first_token = \"60s\", token_gap = \"60s\", total = \"90s\" }";
/// Limits that only an answer without end reaches.
const LONG: &str = "timeout = { connect = \"60s\", headers = \"60s\", first_token = \"60s\", token_gap = \"60s\", total = \"90s\" }";

/// Several timeouts are close together; whichever comes first.
const SLOW: &[Fault] = &[
    Fault::TimeoutFirstToken,
    Fault::TimeoutTokenGap,
    Fault::TimeoutTotal,
];

/// Returns the configuration of one endpoint at `address`, with additional keys `more`.
fn configuration(address: &str, more: &str) -> Settings {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("monitor.toml");
    let text = format!(
        "[[endpoint]]\nname = \"target\"\nprovider = \"openai-compatible\"\nmodel = \"m\"\nbase_url = \"http://{address}/v1\"\n{more}\n"
    );
    std::fs::write(&path, text).unwrap();
    config::load(&path, &Environment::default()).unwrap()
}

async fn probed(config: &Settings, endpoint: &Endpoint) -> Sample {
    let prober = Prober::new(config).unwrap();
    let now = clock::now();
    let due = Due {
        scheduled_at: now,
        started_at: now,
        trigger: Trigger::Manual,
    };
    tokio::time::timeout(PATIENCE, prober.probe(endpoint, due))
        .await
        .expect("a probe always ends")
}

/// Probes a server that answers every request with exactly these bytes and closes.
async fn probed_raw(answer: Vec<u8>, more: &str) -> Sample {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let config = configuration(&address, &format!("{LONG}\n{more}"));
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut request = vec![0; 64 * 1024];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(&answer).await;
                let _ = stream.shutdown().await;
                // Reads the remaining input, so that closing does not reset the connection.
                let _ = stream.read_to_end(&mut request).await;
            });
        }
    });
    probed(&config, &config.endpoints[0]).await
}

#[tokio::test]
async fn every_hostile_answer_is_survived_and_named() {
    let scenario = Scenario::parse(include_str!("../../scenarios/hostile.toml")).unwrap();
    let simulator =
        Simulator::start(TcpListener::bind("127.0.0.1:0").await.unwrap(), scenario).unwrap();
    let address = simulator.addr().to_string();
    let with = |limits| configuration(&address, limits);
    let (short, headers, long) = (with(SHORT), with(SHORT_HEADERS), with(LONG));
    let cases: [(&str, &Settings, &[Fault]); 10] = [
        ("no-headers", &headers, &[Fault::TimeoutHeaders]),
        ("silence", &short, SLOW),
        // Comments do not count as progress.
        (
            "comments",
            &short,
            &[
                Fault::TimeoutFirstToken,
                Fault::TimeoutTotal,
                Fault::BodyTooLarge,
            ],
        ),
        ("huge-body", &long, &[Fault::BodyTooLarge]),
        ("header-bomb", &long, &[Fault::BodyTooLarge]),
        ("gzip-bomb", &long, &[Fault::BodyTooLarge]),
        ("not-utf8", &long, &[Fault::StreamMalformed]),
        ("drip", &short, SLOW),
        ("cut-off", &long, &[Fault::StreamTruncated]),
        ("reset", &long, &[Fault::TcpReset]),
    ];
    let probes = cases.iter().map(|(model, config, _)| {
        let endpoint = Endpoint {
            model: Some((*model).to_owned()),
            ..(*config.endpoints[0]).clone()
        };
        async move { probed(config, &endpoint).await }
    });
    let samples = futures_util::future::join_all(probes).await;
    for ((model, _, wanted), sample) in cases.iter().zip(&samples) {
        let fault = sample
            .fault
            .unwrap_or_else(|| panic!("{model}: {sample:?}"));
        assert!(
            wanted.contains(&fault),
            "{model}: {fault} {:?}",
            sample.error
        );
        assert!(sample.total_ms.is_some_and(|ms| ms > 0.0), "{model}");
        assert!(
            sample.error.as_ref().is_none_or(|words| words.len() <= 500),
            "{model}"
        );
    }
    simulator.answered(cases.len()).await;
    for exchange in simulator.log() {
        let written: u64 = exchange.writes.iter().map(|w| w.bytes).sum();
        assert!(
            written < MAX_UNDER_WAY,
            "{:?}: {written} bytes were taken",
            exchange.model
        );
    }
}

#[tokio::test]
async fn answers_that_are_no_http_are_named() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n";
    let event =
        "data: {\"choices\":[{\"delta\":{\"content\":\"pong\"},\"finish_reason\":\"stop\"}]}\n\n";
    let chunk = |extension: &str| {
        let size = event.len();
        format!(
            "{head}transfer-encoding: chunked\r\n\r\n{size:x}{extension}\r\n{event}\r\n0\r\n\r\n"
        )
        .into_bytes()
    };
    let good = probed_raw(chunk(";name=\"value\""), "").await;
    assert_eq!(good.fault, None, "chunk extensions are allowed: {good:?}");

    let long = |n: usize| format!(";x={}", "y".repeat(n));
    let cases: [(&str, Vec<u8>, &[Fault]); 10] = [
        ("nothing", Vec::new(), &[Fault::TcpReset]),
        (
            "no http",
            b"220 smtp.example.com ESMTP\r\n".to_vec(),
            &[Fault::BodyMalformed],
        ),
        (
            "a bomb of chunk extensions",
            chunk(&long(1 << 20)),
            &[Fault::StreamTruncated, Fault::BodyMalformed],
        ),
        (
            "a bad chunk size",
            format!("{head}transfer-encoding: chunked\r\n\r\nzz\r\n").into_bytes(),
            &[Fault::StreamTruncated, Fault::BodyMalformed],
        ),
        (
            "a body shorter than it says",
            format!("{head}content-length: 9999\r\n\r\n: wait\n\n").into_bytes(),
            &[Fault::StreamTruncated],
        ),
        (
            "a length that is no number",
            format!("{head}content-length: -1\r\n\r\n").into_bytes(),
            &[Fault::BodyMalformed],
        ),
        (
            "a header with a null",
            b"HTTP/1.1 200 OK\r\nx: \0\r\n\r\n".to_vec(),
            &[Fault::BodyMalformed],
        ),
        (
            "interim answers only",
            "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(1000).into_bytes(),
            &[Fault::TcpReset],
        ),
        (
            "too many headers",
            format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(1000)).into_bytes(),
            &[Fault::BodyTooLarge, Fault::BodyMalformed],
        ),
        (
            "a page where a stream was asked for",
            b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n<html><title>Log in</title></html>"
                .to_vec(),
            &[Fault::BodyMalformed],
        ),
    ];
    for (name, answer, wanted) in cases {
        let sample = probed_raw(answer, "").await;
        let fault = sample.fault.unwrap_or_else(|| panic!("{name}: {sample:?}"));
        assert!(
            wanted.contains(&fault),
            "{name}: {fault} {:?}",
            sample.error
        );
    }
}

#[tokio::test]
async fn an_answer_may_hold_the_key_without_its_being_repeated() {
    let key = "sk-sentinel-0123456789";
    let body = format!(
        "{{\"error\":{{\"message\":\"no such key: {key}\",\"code\":\"invalid_api_key\"}}}}"
    );
    let head = format!(
        "HTTP/1.1 401 Unauthorized\r\nx-request-id: {key}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let sample = probed_raw(
        format!("{head}{body}").into_bytes(),
        &format!("api_key = \"{key}\""),
    )
    .await;
    assert_eq!(sample.fault, Some(Fault::AccountAuth));
    assert!(
        !serde_json::to_string(&sample).unwrap().contains(key),
        "{sample:?}"
    );
}
