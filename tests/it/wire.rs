//! Response bodies as vendors send them, over a real socket in pieces of one, seven and 4096 bytes,
//! read by the real prober.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt;
use llmwatch::clock;
use llmwatch::config::{self, Environment, Settings};
use llmwatch::probe::{Due, Prober};
use llmwatch_core::model::{Attribution, Outcome, Provider, Sample, Trigger};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::PATIENCE;

#[derive(Deserialize)]
struct Fixture {
    provider: String,
    api: String,
    status: u16,
    headers: BTreeMap<String, String>,
    outcome: String,
    fault: Option<String>,
    usage: Option<[u32; 2]>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fixture_over_a_socket_in_pieces() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/wire");
    let manifest = std::fs::read(folder.join("manifest.json")).unwrap();
    let manifest: BTreeMap<String, Fixture> = serde_json::from_slice(&manifest).unwrap();
    let prober = prober();
    let mut cases = Vec::new();
    for (name, fixture) in manifest {
        let (fixture, body) = (
            Arc::new(fixture),
            Arc::new(std::fs::read(folder.join(&name)).unwrap()),
        );
        for piece in [1, 7, 4096] {
            cases.push((name.clone(), fixture.clone(), body.clone(), piece));
        }
    }
    let samples = futures_util::stream::iter(cases.into_iter().filter_map(
        |(name, fixture, body, piece)| {
            let keys = endpoint(&name, &fixture)?;
            let prober = &prober;
            Some(async move {
                let sample = replay(prober, &keys, &fixture, body, piece).await;
                check(&format!("{name} in pieces of {piece}"), &fixture, &sample);
            })
        },
    ));
    let count = samples.buffer_unordered(16).count().await;
    assert!(count > 270, "{count}");
}

fn load(text: &str) -> Settings {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("monitor.toml");
    std::fs::write(&path, text).unwrap();
    config::load(&path, &Environment::default()).unwrap()
}

fn prober() -> Prober {
    Prober::new(&load("")).unwrap()
}

/// Returns the keys of an endpoint that sends such a request; `None` if no probe does.
fn endpoint(name: &str, fixture: &Fixture) -> Option<String> {
    let provider = match fixture.provider.as_str() {
        "openai" | "anthropic" | "gemini" => fixture.provider.as_str(),
        "azure" => "azure-openai\"\ndeployment = \"d",
        "bedrock" => "bedrock\"\naws.region = \"us-east-1",
        "vertex" => "vertex\"\ngoogle.project = \"p",
        "openrouter" | "vllm" | "litellm" | "ollama" => "openai-compatible\"\nmodel = \"m",
        name if name.parse().is_ok_and(Provider::is_preset) => name,
        _ => return None,
    };
    let api = match (fixture.provider.as_str(), fixture.api.as_str()) {
        ("ollama", "chat") => "ollama",
        (_, "generateContent" | "streamGenerateContent" | "interactions") => "generate",
        (_, "tags") => "models",
        (_, "realtime") => return None,
        (_, api) => api,
    };
    let stream = !name.contains(".200.");
    Some(format!(
        "provider = \"{provider}\"\napi = \"{api}\"\nstream = {stream}\nexpect = {{}}\n"
    ))
}

async fn replay(
    prober: &Prober,
    keys: &str,
    fixture: &Arc<Fixture>,
    body: Arc<Vec<u8>>,
    piece: usize,
) -> Sample {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = load(&format!(
        "[[endpoint]]\n{keys}base_url = \"http://{}\"\n",
        listener.local_addr().unwrap()
    ));
    let answering = fixture.clone();
    let answer = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut request = vec![0; 64 * 1024];
        let _ = stream.read(&mut request).await;
        let mut head = format!(
            "HTTP/1.1 {} Reason\r\ntransfer-encoding: chunked\r\n",
            answering.status
        );
        for (name, value) in &answering.headers {
            head += &format!("{name}: {value}\r\n");
        }
        stream
            .write_all(format!("{head}\r\n").as_bytes())
            .await
            .unwrap();
        for part in body.chunks(piece) {
            let framed = [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat();
            // The prober hangs up when it has read enough.
            if stream.write_all(&framed).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        let _ = stream.write_all(b"0\r\n\r\n").await;
    });
    let now = clock::now();
    let due = Due {
        scheduled_at: now,
        started_at: now,
        trigger: Trigger::Manual,
    };
    let sample = tokio::time::timeout(PATIENCE, prober.probe(&config.endpoints[0], due))
        .await
        .unwrap();
    answer.abort();
    sample
}

/// Compares the manifest's terms with the sample.
fn check(name: &str, fixture: &Fixture, sample: &Sample) {
    let attribution = match (fixture.outcome.as_str(), fixture.fault.as_deref()) {
        ("ok", _) => None,
        ("ok_empty_length" | "content_filtered" | "refused", _) => Some(Attribution::Account),
        ("stream_truncated", _) | (_, Some("provider" | "upstream_provider")) => {
            Some(Attribution::Provider)
        }
        (_, Some(_)) => Some(Attribution::Account),
        (outcome, None) => panic!("{name}: {outcome} without a fault"),
    };
    assert_eq!(
        sample.attribution, attribution,
        "{name}: {:?} {:?}",
        sample.fault, sample.error
    );
    assert_eq!(
        sample.outcome == Outcome::Failed,
        attribution.is_some(),
        "{name}"
    );
    assert_eq!(sample.http_status, Some(fixture.status), "{name}");
    if let Some([input, output]) = fixture.usage {
        assert_eq!(
            (sample.input_tokens, sample.output_tokens),
            (Some(input), Some(output)),
            "{name}"
        );
    }
}
