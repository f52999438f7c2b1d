//! Response bodies as vendors send them, read in pieces of every size: each gives the outcome in
//! its manifest.

use std::collections::BTreeMap;
use std::path::Path;

use hyper::{HeaderMap, Version};
use proptest::prelude::*;
use serde::Deserialize;

use llmwatch::config::{self, Environment};
use llmwatch_core::model::{Api, Attribution, Endpoint, Expect, Fault, Provider, Timestamp};
use llmwatch_core::protocol::dialect::{Answer, Dialect};
use llmwatch_core::protocol::error::{ErrorContext, error_answer};
use llmwatch_core::protocol::presets;
use llmwatch_core::protocol::response::{ResponseOutcome, ResponseReader, Times};
use llmwatch_core::protocol::response_head as head;

#[derive(Deserialize)]
struct Fixture {
    provider: String,
    api: String,
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    outcome: String,
    fault: Option<String>,
    first_token_event: Option<u32>,
    first_reasoning_event: Option<u32>,
    usage: Option<[u32; 2]>,
}

fn fixtures() -> Vec<(String, Fixture, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/wire");
    let manifest = std::fs::read(folder.join("manifest.json")).unwrap();
    let manifest: BTreeMap<String, Fixture> = serde_json::from_slice(&manifest).unwrap();
    manifest
        .into_iter()
        .map(|(name, fixture)| {
            let body = std::fs::read(folder.join(&name)).unwrap();
            (name, fixture, body)
        })
        .collect()
}

/// Returns an endpoint of the fixture's provider and API that accepts any answer; `None` if no
/// probe sends such a request.
fn endpoint(name: &str, fixture: &Fixture) -> Option<Endpoint> {
    let preset = format!("provider = \"{}\"", fixture.provider);
    let kind = match fixture.provider.as_str() {
        "openai" => "provider = \"openai\"",
        "azure" => "provider = \"azure-openai\"\ndeployment = \"d\"",
        "anthropic" => "provider = \"anthropic\"",
        "gemini" => "provider = \"gemini\"",
        "openrouter" | "vllm" | "litellm" | "ollama" => {
            "provider = \"openai-compatible\"\nmodel = \"m\""
        }
        "bedrock" => "provider = \"bedrock\"\naws = { region = \"us-east-1\" }",
        "vertex" => "provider = \"vertex\"\ngoogle = { project = \"p\" }",
        // Other tests read the vendors' status pages.
        "azure-status" | "gcloud" | "incident.io" | "statuspage" => return None,
        other if other.parse().is_ok_and(Provider::is_preset) => &preset,
        other => panic!("{name}: provider {other}"),
    };
    let api = match (fixture.provider.as_str(), fixture.api.as_str()) {
        ("ollama", "chat") => "ollama",
        (_, "generateContent" | "streamGenerateContent" | "interactions") => "generate",
        (_, "tags") => "models",
        // WebSocket frames are not HTTP responses.
        (_, "realtime") => return None,
        (_, api) => api,
    };
    let stream = !name.contains(".200.");
    let text = format!(
        "[[endpoint]]\n{kind}\napi = \"{api}\"\nbase_url = \"http://127.0.0.1:1/v1\"\nstream = {stream}\n"
    );
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("monitor.toml");
    std::fs::write(&path, text).unwrap();
    let config =
        config::load(&path, &Environment::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
    Some(Endpoint {
        expect: Expect::default(),
        ..(*config.endpoints[0]).clone()
    })
}

fn headers(fixture: &Fixture) -> HeaderMap {
    let pair = |(name, value): (&String, &String)| {
        Some((
            name.parse::<hyper::header::HeaderName>().ok()?,
            value.parse().ok()?,
        ))
    };
    fixture.headers.iter().filter_map(pair).collect()
}

fn replay(
    endpoint: &Endpoint,
    fixture: &Fixture,
    body: &[u8],
    piece: usize,
) -> (Times, ResponseOutcome) {
    let head = head::read(
        fixture.status,
        Version::HTTP_11,
        &headers(fixture),
        Timestamp(0),
    );
    let mut exchange = ResponseReader::new(endpoint, Dialect::of(endpoint), head);
    for (i, part) in body.chunks(piece).enumerate() {
        exchange.take(part, i as f64);
    }
    exchange.end(body.len() as f64);
    // The bytes read beyond the end depend on the piece size.
    exchange.times.bytes = 0;
    (exchange.times, exchange.outcome())
}

/// Compares the manifest's terms with ours.
fn check(name: &str, fixture: &Fixture, fault: Option<Fault>) {
    let attribution = fault.map(Fault::attribution);
    let wanted = match (fixture.outcome.as_str(), fixture.fault.as_deref()) {
        ("ok", _) => None,
        ("ok_empty_length", _) => {
            return assert_eq!(fault, Some(Fault::RequestTooFewTokens), "{name}");
        }
        ("content_filtered", _) => return assert_eq!(fault, Some(Fault::AnswerFiltered), "{name}"),
        ("refused", _) => return assert_eq!(fault, Some(Fault::AnswerRefused), "{name}"),
        ("stream_truncated", _) => {
            return assert_eq!(fault, Some(Fault::StreamTruncated), "{name}");
        }
        (_, Some("provider" | "upstream_provider")) => Some(Attribution::Provider),
        (_, Some(_)) => Some(Attribution::Account),
        (outcome, None) => panic!("{name}: {outcome} without a fault"),
    };
    assert_eq!(attribution, wanted, "{name}: {fault:?}");
    let family: &[Fault] = match fixture.fault.as_deref() {
        Some("account_rate") => &[Fault::AccountRateLimit],
        Some("account_billing") => &[Fault::AccountQuota],
        Some("credentials") => &[Fault::AccountAuth, Fault::AccountPermission],
        Some("egress") => &[Fault::AccountRegion],
        Some("config") => &[
            Fault::RequestRejected,
            Fault::RequestModelNotFound,
            Fault::AnswerFiltered,
        ],
        _ => return,
    };
    assert!(
        fault.is_some_and(|f| family.contains(&f)),
        "{name}: {fault:?} is none of {family:?}"
    );
}

#[test]
fn recorded_answers_parse_at_every_chunk_size() {
    let mut read = 0;
    for (name, fixture, body) in fixtures() {
        let Some(endpoint) = endpoint(&name, &fixture) else {
            continue;
        };
        read += 1;
        for piece in (1..=64).chain([4096, body.len().max(1)]) {
            let (times, ended) = replay(&endpoint, &fixture, &body, piece);
            check(
                &name,
                &fixture,
                ended.fault.as_ref().map(|(fault, _)| *fault),
            );
            if fixture.first_token_event.is_some() {
                assert_eq!(times.first_token_event, fixture.first_token_event, "{name}");
            }
            if fixture.first_reasoning_event.is_some() {
                assert_eq!(
                    times.first_any_token_event, fixture.first_reasoning_event,
                    "{name}"
                );
            }
            if let Some([input, output]) = fixture.usage {
                assert_eq!(
                    (ended.answer.input_tokens, ended.answer.output_tokens),
                    (Some(input), Some(output)),
                    "{name}"
                );
            }
        }
    }
    assert!(read > 90, "{read}");
}

/// Each vendor with a preset has an answer and an error for a limit, for money and for overload,
/// and its row in `docs/providers.md` has its address and model.
#[test]
fn every_preset_has_its_fixtures_and_its_row() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/providers.md");
    let page = std::fs::read_to_string(page).unwrap();
    let all = fixtures();
    let presets = Provider::ALL.iter().filter_map(|p| presets::of(*p));
    for preset in presets {
        let vendor = preset.provider.as_str();
        let has = |fault: Option<&str>| {
            let mut own = all.iter().filter(|(_, f, _)| f.provider == vendor);
            own.any(|(_, f, _)| f.fault.as_deref() == fault)
        };
        assert!(has(None), "{vendor}: no answer");
        assert!(has(Some("account_rate")), "{vendor}: no limit");
        assert!(has(Some("account_billing")), "{vendor}: no lack of money");
        assert!(
            has(Some("provider")) || has(Some("upstream_provider")),
            "{vendor}: no overload"
        );
        let row = format!("| `{vendor}` | `{}`", preset.base_url);
        let row = page.lines().find(|line| line.starts_with(&row));
        assert!(
            row.is_some_and(|row| row.contains(&format!("| `{}` |", preset.model))),
            "{vendor}: {row:?}"
        );
    }
}

#[test]
fn document_instead_of_a_stream_is_read() {
    for (name, fixture, body) in fixtures()
        .into_iter()
        .filter(|(n, f, _)| n.contains(".200.") && f.outcome == "ok")
    {
        let Some(endpoint) = endpoint(&name, &fixture) else {
            continue;
        };
        let endpoint = Endpoint {
            stream: true,
            ..endpoint
        };
        let (_, ended) = replay(&endpoint, &fixture, &body, 7);
        assert_eq!(ended.fault, None, "{name}");
        assert!(!ended.answer.text.is_empty(), "{name}");
    }
}

#[test]
fn cut_stream_is_truncated_never_malformed() {
    for (name, fixture, body) in fixtures().into_iter().filter(|(_, f, _)| f.outcome == "ok") {
        let Some(endpoint) = endpoint(&name, &fixture).filter(|e| e.stream && e.api != Api::Models)
        else {
            continue;
        };
        for end in 0..body.len() {
            let (_, ended) = replay(&endpoint, &fixture, &body[..end], 7);
            let fault = ended.fault.map(|(fault, _)| fault);
            assert!(
                matches!(fault, None | Some(Fault::StreamTruncated)),
                "{name} cut at {end}: {fault:?}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Inputs like those of a fuzzer: fixtures of every dialect with bytes changed, removed or
    /// duplicated, in pieces of any size.
    #[test]
    fn mutated_answers_parse_the_same_at_any_chunking(
        choice in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..4u8, any::<u8>()), 0..12),
        piece in 1..200usize,
    ) {
        thread_local!(static ALL: Vec<(Endpoint, Fixture, Vec<u8>)> = fixtures()
            .into_iter()
            .filter_map(|(name, fixture, body)| Some((endpoint(&name, &fixture)?, fixture, body)))
            .collect());
        ALL.with(|all| {
            let (endpoint, fixture, body) = choice.get(all);
            let mut body = body.clone();
            for (place, kind, byte) in &edits {
                let place = place.index(body.len().max(1));
                match kind {
                    0 if place < body.len() => body[place] = *byte,
                    1 if place < body.len() => drop(body.remove(place)),
                    2 => body.insert(place.min(body.len()), *byte),
                    _ => {
                        let part = body[place.min(body.len())..].iter().take(usize::from(*byte)).copied().collect::<Vec<_>>();
                        body.extend(part);
                    }
                }
            }
            let (_, in_pieces) = replay(endpoint, fixture, &body, piece);
            let (_, at_once) = replay(endpoint, fixture, &body, body.len().max(1));
            prop_assert_eq!(in_pieces, at_once);
            Ok(())
        })?;
    }

    #[test]
    fn no_json_makes_a_dialect_panic(value in json_value(), dialect in 0..13usize, as_event in any::<bool>()) {
        let dialect = [
            Dialect::Chat, Dialect::Responses, Dialect::Embeddings, Dialect::Moderations, Dialect::Models,
            Dialect::Messages, Dialect::Generate, Dialect::Ollama, Dialect::Converse, Dialect::Http, Dialect::Realtime,
            Dialect::Transcription, Dialect::Mcp,
        ][dialect];
        let mut answer = Answer::default();
        if as_event {
            dialect.event(&mut answer, &value.to_string());
        } else {
            dialect.body(&mut answer, &value.to_string());
        }
        error_answer(200, &value.to_string(), ErrorContext::default());
    }
}

/// Arbitrary JSON with field names that the dialects know.
fn json_value() -> impl Strategy<Value = serde_json::Value> {
    const NAMES: [&str; 43] = [
        "contentBlockDelta",
        "contentBlockStart",
        "toolUse",
        "reasoningContent",
        "messageStop",
        "stopReason",
        "inputTokens",
        "error",
        "choices",
        "delta",
        "message",
        "content",
        "text",
        "type",
        "code",
        "status",
        "usage",
        "finish_reason",
        "candidates",
        "parts",
        "output",
        "response",
        "data",
        "embedding",
        "models",
        "id",
        "shutdown_date",
        "results",
        "done",
        "thinking",
        "details",
        "metadata",
        "raw",
        "prompt_tokens",
        "output_tokens",
        "stop_reason",
        "incomplete_details",
        "reason",
        "event_type",
        "interaction",
        "promptFeedback",
        "item",
        "load_duration",
    ];
    const WORDS: [&str; 10] = [
        "error",
        "response.completed",
        "response.output_text.delta",
        "message_start",
        "content_block_delta",
        "text_delta",
        "message_delta",
        "STOP",
        "step.delta",
        "interaction.completed",
    ];
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        prop::sample::select(&WORDS[..]).prop_map(Into::into),
        "\\PC{0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::vec((prop::sample::select(&NAMES[..]), inner), 0..6).prop_map(
                |pairs| pairs
                    .into_iter()
                    .map(|(k, v)| (k.to_owned(), v))
                    .collect::<serde_json::Map<_, _>>()
                    .into()
            ),
        ]
    })
}

#[test]
fn recorded_error_bodies_are_classified() {
    for (name, fixture, body) in fixtures()
        .into_iter()
        .filter(|(_, f, _)| f.outcome == "http_error" && f.status != 200)
    {
        let head = head::read(
            fixture.status,
            Version::HTTP_11,
            &headers(&fixture),
            Timestamp(0),
        );
        let said = error_answer(
            fixture.status,
            &String::from_utf8_lossy(&body),
            head.error_context(),
        );
        check(&name, &fixture, Some(said.fault));
        assert!(!said.message.is_empty(), "{name}");
    }
}
