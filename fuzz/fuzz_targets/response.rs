//! Answers of providers in every format, in pieces of any size. The last two bytes choose the
//! endpoint, the status and the size of the pieces.
#![no_main]

use std::sync::LazyLock;

use hyper::{HeaderMap, Version};
use libfuzzer_sys::fuzz_target;
use llmwatch::config::{self, Environment};
use llmwatch_core::model::{Endpoint, Timestamp};
use llmwatch_core::protocol::dialect::Dialect;
use llmwatch_core::protocol::response::ResponseReader;
use llmwatch_core::protocol::response_head;

const STATUSES: [u16; 8] = [200, 201, 400, 401, 404, 429, 503, 529];
const MEDIA_TYPES: [&str; 4] = [
    "application/json",
    "text/event-stream",
    "application/vnd.amazon.eventstream",
    "application/x-ndjson",
];
/// The most bytes of a text that is kept.
const MAX_TEXT: usize = 1 << 20;

/// One endpoint of each API, streamed and not.
static ENDPOINTS: LazyLock<Vec<Endpoint>> = LazyLock::new(|| {
    let kinds = [
        "provider = \"openai\"\napi = \"chat\"",
        "provider = \"openai\"\napi = \"responses\"",
        "provider = \"openai\"\napi = \"embeddings\"",
        "provider = \"openai\"\napi = \"moderations\"",
        "provider = \"openai\"\napi = \"models\"",
        "provider = \"openai\"\napi = \"realtime\"",
        "provider = \"anthropic\"",
        "provider = \"gemini\"",
        "provider = \"bedrock\"\naws = { region = \"us-east-1\" }",
        "provider = \"vertex\"\ngoogle = { project = \"p\" }",
        "provider = \"openai-compatible\"\napi = \"ollama\"\nmodel = \"m\"",
        "provider = \"mcp\"",
        "provider = \"http\"\nexpect = { contains = \"pong\" }",
    ];
    let mut text = String::new();
    for kind in kinds {
        text += &format!("[[endpoint]]\n{kind}\napi_key = \"k\"\nbase_url = \"http://127.0.0.1:1/v1\"\n");
    }
    let path = std::env::temp_dir().join(format!("llmwatch-fuzz-{}.toml", std::process::id()));
    std::fs::write(&path, text).expect("the temporary directory can be written");
    let settings = config::load(&path, &Environment::default());
    let _ = std::fs::remove_file(&path);
    let settings = settings.unwrap_or_else(|error| panic!("{error}"));
    settings.endpoints.iter().map(|e| (**e).clone()).collect()
});

fuzz_target!(|data: &[u8]| {
    let [body @ .., kind, piece] = data else {
        return;
    };
    let endpoint = &ENDPOINTS[usize::from(*kind) % ENDPOINTS.len()];
    let status = STATUSES[usize::from(*kind >> 5)];
    let mut headers = HeaderMap::new();
    let media = MEDIA_TYPES[usize::from(*piece & 3)].parse().expect("a media type is a value");
    headers.insert("content-type", media);
    let head = response_head::read(status, Version::HTTP_11, &headers, Timestamp(0));
    let mut reader = ResponseReader::new(endpoint, Dialect::of(endpoint), head);
    let size = usize::from(*piece >> 2) + 1;
    for (n, part) in body.chunks(size * size).enumerate() {
        if reader.is_over() {
            break;
        }
        reader.take(part, n as f64);
    }
    reader.end(body.len() as f64);
    let ended = reader.outcome();
    assert!(ended.answer.visible_text().len() <= MAX_TEXT);
    if let Some((_, Some(words))) = ended.fault {
        assert!(words.len() <= MAX_TEXT);
    }
});
