//! Each fault behaves on the wire as its name says.

use std::io::{ErrorKind, Read};
use std::sync::Arc;

use llmwatch_simulator::{End, Exchange, Simulator, WriteKind};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::simulate::{ClientTranscript, chat, prompt, send, simulator, streaming};

/// Returns what a client receives that requests a stream while only this rule applies.
async fn with_rule(keys: &str) -> ClientTranscript {
    send(
        &simulator(prompt(&format!("[[rule]]\n{keys}"))).await,
        &streaming(),
    )
    .await
}

/// Like [`with_rule`], but without streaming.
async fn at_once_with_rule(keys: &str) -> ClientTranscript {
    let request = chat(
        "/v1/chat/completions",
        &json!({"model": "m", "messages": []}),
    );
    send(
        &simulator(prompt(&format!("[[rule]]\n{keys}"))).await,
        &request,
    )
    .await
}

/// Reads `count` bytes of the answer, then hangs up.
async fn hang_up_after(simulator: &Simulator, count: usize) -> Vec<u8> {
    let mut stream = TcpStream::connect(simulator.addr()).await.unwrap();
    stream.write_all(streaming().as_bytes()).await.unwrap();
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes
}

/// The simulator's record of a client that requests a stream, reads `count` bytes and hangs up.
async fn abandoned(keys: &str, count: usize) -> (Vec<u8>, Arc<Exchange>) {
    let simulator = simulator(prompt(&format!("[[rule]]\n{keys}"))).await;
    let bytes = hang_up_after(&simulator, count).await;
    simulator.answered(1).await;
    (bytes, Arc::clone(&simulator.log()[0]))
}

const LAST_CHUNK: &str = "0\r\n\r\n";

#[tokio::test]
async fn error_replies_are_those_of_the_vendors() {
    for (fault, status, says) in [
        (
            "openai_400_unsupported_parameter",
            400,
            "unsupported_parameter",
        ),
        ("openai_401", 401, "invalid_api_key"),
        ("openai_401_missing_key", 401, "Missing bearer"),
        (
            "openai_403_region",
            403,
            "unsupported_country_region_territory",
        ),
        (
            "openai_404_model",
            404,
            "The model `gpt-6-luna` does not exist",
        ),
        ("openai_429_rate_limit", 429, "rate_limit_exceeded"),
        ("openai_429_quota", 429, "insufficient_quota"),
        ("openai_429_load_shedding", 429, "come back later"),
        ("openai_500", 500, "server_error"),
        ("openai_502_edge", 502, "cf_bad_gateway"),
        ("openai_503", 503, "server_is_overloaded"),
        (
            "azure_400_content_filter",
            400,
            "ResponsibleAIPolicyViolation",
        ),
        ("azure_401", 401, "Access denied"),
        ("azure_404_deployment", 404, "DeploymentNotFound"),
        ("azure_429_rate_limit", 429, "call rate limit"),
        ("azure_429_high_demand", 429, "high demand"),
        ("azure_500", 500, "InternalServerError"),
        ("azure_503", 503, "ServiceUnavailable"),
        ("cloudflare_403_challenge", 403, "Just a moment"),
        (
            "cloudflare_502",
            502,
            "<title>api.simulated.test | 502: Bad gateway",
        ),
        ("cloudflare_520", 520, "Error code 520"),
        ("cloudflare_524", 524, "A timeout occurred"),
        ("cloudflare_530", 530, "error code: 1033"),
    ] {
        let got = with_rule(&format!("fault = \"{fault}\"")).await;
        assert!(
            got.head().starts_with(&format!("HTTP/1.1 {status} ")),
            "{fault}: {}",
            got.head()
        );
        assert!(got.body().contains(says), "{fault}: {}", got.body());
        let from_edge = fault.starts_with("cloudflare")
            || fault.ends_with("edge")
            || fault.ends_with("shedding");
        assert_eq!(
            got.head().contains("x-request-id"),
            !from_edge,
            "{fault}: {}",
            got.head()
        );
    }
}

#[tokio::test]
async fn any_reply_can_be_scripted() {
    let got = with_rule(
        "status = 418\nbody = \"short\"\nresponse_headers = { retry-after = \"7\", x-request-id = \"\", server = \"pot\" }",
    )
    .await;
    assert!(got.head().starts_with("HTTP/1.1 418 I'm a teapot\r\n"));
    assert!(got.head().contains("retry-after: 7") && got.head().contains("server: pot"));
    assert!(!got.head().contains("x-request-id") && !got.head().contains("cloudflare"));
    assert_eq!(got.body(), "short");
    let error: Value = serde_json::from_str(&with_rule("status = 500").await.body()).unwrap();
    assert_eq!(
        error["error"]["type"], "server_error",
        "an error without a body gets an envelope"
    );
}

#[tokio::test]
async fn an_error_can_come_in_the_stream() {
    let got = with_rule("stream_error = { after_tokens = 1 }").await;
    assert!(got.head().starts_with("HTTP/1.1 200"));
    assert_eq!(got.text(), "po");
    assert!(
        got.events()
            .last()
            .is_some_and(|event| event.starts_with(r#"{"error":"#))
    );
    assert!(got.body().ends_with(LAST_CHUNK));

    let own = at_once_with_rule(r#"stream_error = { body = '{"error":{"code":502}}' }"#).await;
    assert!(own.head().starts_with("HTTP/1.1 200"));
    assert_eq!(own.body(), r#"{"error":{"code":502}}"#);
}

#[tokio::test]
async fn truncated_stream_closes_cleanly_without_terminal_event() {
    let got = with_rule("truncate_after_tokens = 1").await;
    assert_eq!(got.text(), "po");
    assert!(got.body().ends_with(LAST_CHUNK) && !got.body().contains("[DONE]"));

    let all_but_the_end = with_rule("truncate_after_tokens = 9").await;
    assert_eq!(all_but_the_end.text(), "pong");
    assert!(!all_but_the_end.body().contains(r#""finish_reason":"stop""#));

    let cut = at_once_with_rule("truncate_after_tokens = 1").await;
    assert!(
        cut.head()
            .contains(&format!("content-length: {}", cut.body().len()))
    );
    assert!(serde_json::from_str::<Value>(&cut.body()).is_err());
}

#[tokio::test]
async fn a_closed_stream_ends_inside_its_http_body() {
    let got = with_rule("close_after_tokens = 1").await;
    assert_eq!((got.text().as_str(), got.broken), ("po", None));
    assert!(!got.body().ends_with(LAST_CHUNK));

    let cut = at_once_with_rule("close_after_tokens = 0").await;
    assert!(cut.body().is_empty() && !cut.head().contains("content-length: 0"));
}

#[tokio::test]
async fn reset_happens_at_the_configured_place() {
    let after_a_token = with_rule("reset_at = \"token:1\"").await;
    assert_eq!(
        (after_a_token.text().as_str(), after_a_token.broken),
        ("po", Some(ErrorKind::ConnectionReset))
    );
    for at in ["accept", "headers"] {
        let got = with_rule(&format!("reset_at = \"{at}\"")).await;
        assert_eq!(
            (got.bytes.len(), got.broken),
            (0, Some(ErrorKind::ConnectionReset)),
            "{at}"
        );
    }
}

#[tokio::test]
async fn a_stalled_stream_waits_for_the_client_to_leave() {
    let before_the_stall = with_rule("close_after_tokens = 1").await.bytes.len();
    let (bytes, exchange) = abandoned("stall_after_tokens = 1", before_the_stall).await;
    assert!(String::from_utf8_lossy(&bytes).contains(r#""content":"po""#));
    assert_eq!(exchange.end, End::ClientGone);
    assert_eq!(
        exchange.writes.last().map(|write| write.kind),
        Some(WriteKind::Token)
    );
}

#[tokio::test]
async fn headers_can_take_for_ever() {
    let (_, exchange) = abandoned("headers_after = \"1h\"", 0).await;
    assert_eq!((exchange.end, exchange.writes.len()), (End::ClientGone, 0));
}

#[tokio::test]
async fn bytes_can_drip() {
    let got = with_rule("drip = \"1ms\"\nbody = \"drop by drop\"").await;
    assert_eq!(got.body(), "drop by drop");
}

#[tokio::test]
async fn endless_sse_comments_are_survived() {
    let (bytes, exchange) = abandoned("endless_comments = true", 100_000).await;
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("\r\n: still working on it\n\n") && !text.contains("data:"));
    assert_eq!((exchange.end, exchange.writes.len()), (End::ClientGone, 2));
}

#[tokio::test]
async fn a_body_can_be_of_any_length() {
    let intact = with_rule("huge_body = \"100KB\"").await;
    assert_eq!(intact.body(), " ".repeat(100_000));
    let (bytes, exchange) = abandoned("huge_body = \"10GB\"", 1_000_000).await;
    assert!(String::from_utf8_lossy(&bytes).contains("content-length: 10000000000"));
    assert_eq!(exchange.end, End::ClientGone);
}

#[tokio::test]
async fn headers_can_be_without_end() {
    let (bytes, exchange) = abandoned("header_bomb = \"10GB\"", 1_000_000).await;
    assert!(!bytes.windows(4).any(|four| four == b"\r\n\r\n"));
    assert_eq!(exchange.end, End::ClientGone);
}

#[tokio::test]
async fn a_small_body_can_swell() {
    let got = with_rule("gzip_bomb = \"1MB\"").await;
    assert!(got.head().contains("content-encoding: gzip"));
    let start = got
        .bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap()
        + 4;
    let mut swollen = vec![0; 1_000_000];
    flate2::read::GzDecoder::new(&got.bytes[start..])
        .read_exact(&mut swollen)
        .unwrap();
    assert!(got.bytes.len() < 25_000);
}

#[tokio::test]
async fn the_text_can_be_no_utf8() {
    for got in [
        with_rule("invalid_utf8 = true").await,
        at_once_with_rule("invalid_utf8 = true").await,
    ] {
        assert!(String::from_utf8(got.bytes).is_err());
        assert_eq!(got.broken, None);
    }
}

#[tokio::test]
async fn tls_can_be_refused() {
    let simulator = simulator(prompt("[[rule]]\nrefuse_tls = true")).await;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let stream = TcpStream::connect(simulator.addr()).await.unwrap();
    let name = "api.simulated.test".try_into().unwrap();
    let error = tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
}

#[tokio::test]
async fn what_is_no_request_is_answered_with_400() {
    let simulator = simulator(prompt("")).await;
    assert!(
        send(&simulator, "\x16\x03\x01 hello")
            .await
            .head()
            .starts_with("HTTP/1.1 400")
    );
    assert!(
        send(
            &simulator,
            "POST / HTTP/1.1\r\ncontent-length: 99999999\r\n\r\n"
        )
        .await
        .head()
        .contains(" 413 ")
    );
}
