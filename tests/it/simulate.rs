//! The simulated provider when healthy: it responds like the vendors, and records its responses.

use llmwatch_simulator::{End, Scenario, Simulator, WriteKind};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A scenario with these rules and without delays.
pub(crate) fn prompt(rules: &str) -> Scenario {
    let healthy =
        "[healthy]\nheaders_after = \"0s\"\nfirst_token_after = \"0s\"\ntoken_gap = \"0s\"\n";
    Scenario::parse(&format!("{healthy}{rules}")).unwrap()
}

/// Starts a simulator on a free port.
pub(crate) async fn simulator(scenario: Scenario) -> Simulator {
    Simulator::start(TcpListener::bind("127.0.0.1:0").await.unwrap(), scenario).unwrap()
}

/// Formats a chat request as sent on the wire.
pub(crate) fn chat(path: &str, body: &Value) -> String {
    let body = body.to_string();
    format!(
        "POST {path} HTTP/1.1\r\nhost: simulator\r\nauthorization: Bearer sk-right\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A chat request for a stream with token counts.
pub(crate) fn streaming() -> String {
    chat(
        "/v1/chat/completions",
        &json!({
            "model": "gpt-6-luna", "stream": true, "stream_options": {"include_usage": true},
            "messages": [{"role": "user", "content": "Reply with the single word: pong"}],
        }),
    )
}

/// Everything that a raw client received until the connection ended.
pub(crate) struct ClientTranscript {
    pub(crate) bytes: Vec<u8>,
    /// The error that ended the connection; `None` for an orderly close.
    pub(crate) broken: Option<std::io::ErrorKind>,
}

impl ClientTranscript {
    pub(crate) fn head(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        text.split("\r\n\r\n").next().unwrap_or_default().to_owned()
    }

    /// The body as sent, with its chunk framing.
    pub(crate) fn body(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        text.split_once("\r\n\r\n")
            .map(|(_, body)| body.to_owned())
            .unwrap_or_default()
    }

    /// The data of each event.
    pub(crate) fn events(&self) -> Vec<String> {
        self.body()
            .lines()
            .filter_map(|line| line.strip_prefix("data: ").map(str::to_owned))
            .collect()
    }

    /// The model's text in the events.
    pub(crate) fn text(&self) -> String {
        let events = self.events();
        let chunks = events
            .iter()
            .filter_map(|event| serde_json::from_str::<Value>(event).ok());
        chunks
            .filter_map(|chunk| {
                chunk["choices"][0]["delta"]["content"]
                    .as_str()
                    .map(str::to_owned)
            })
            .collect()
    }
}

/// Sends `request` and reads until the connection ends.
pub(crate) async fn send(simulator: &Simulator, request: &str) -> ClientTranscript {
    let mut stream = TcpStream::connect(simulator.addr()).await.unwrap();
    // If the connection is reset at once, writing may fail; reading then reports the same error.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut bytes = Vec::new();
    let broken = stream
        .read_to_end(&mut bytes)
        .await
        .err()
        .map(|error| error.kind());
    ClientTranscript { bytes, broken }
}

async fn ask(simulator: &Simulator, path: &str) -> (String, Value) {
    let got = send(simulator, &format!("GET {path} HTTP/1.1\r\n\r\n")).await;
    (
        got.head(),
        serde_json::from_str(&got.body()).unwrap_or_default(),
    )
}

#[tokio::test]
async fn a_stream_is_what_openai_sends() {
    let simulator = simulator(prompt("")).await;
    let got = send(&simulator, &streaming()).await;
    assert!(got.head().starts_with("HTTP/1.1 200 OK\r\n"));
    for header in [
        "text/event-stream",
        "x-request-id: req_",
        "openai-processing-ms: 0",
        "cf-ray: ",
        "x-ratelimit-",
    ] {
        assert!(
            got.head().contains(header),
            "{header} is missing in {}",
            got.head()
        );
    }
    let mut events = got.events();
    assert_eq!(events.pop().as_deref(), Some("[DONE]"));
    let shapes: Vec<String> = events
        .iter()
        .map(|event| {
            let chunk: Value = serde_json::from_str(event).unwrap();
            assert_eq!(
                (&chunk["object"], &chunk["model"]),
                (&json!("chat.completion.chunk"), &json!("gpt-6-luna"))
            );
            let choice = &chunk["choices"][0];
            format!(
                "{} {} {}",
                choice["delta"], choice["finish_reason"], chunk["usage"]["completion_tokens"]
            )
        })
        .collect();
    insta::assert_snapshot!(shapes.join("\n"), @r#"
    {"role":"assistant","content":"","refusal":null} null null
    {"content":"po"} null null
    {"content":"ng"} null null
    {} "stop" null
    null null 2
    "#);
}

#[tokio::test]
async fn the_record_accounts_for_every_byte() {
    use WriteKind::{Done, Finish, Headers, Role, Token, Usage};

    let simulator = simulator(Scenario::healthy()).await;
    let got = send(&simulator, &streaming()).await;
    simulator.answered(1).await;
    let exchange = &simulator.log()[0];
    let kinds: Vec<WriteKind> = exchange.writes.iter().map(|write| write.kind).collect();
    assert_eq!(kinds, [Headers, Role, Token, Token, Finish, Usage, Done]);
    assert_eq!(
        exchange.writes.iter().map(|write| write.bytes).sum::<u64>(),
        got.bytes.len() as u64
    );
    assert!(exchange.writes.is_sorted_by_key(|write| write.after));
    assert!(exchange.first(Token).unwrap() >= Scenario::healthy().healthy.first_token_after);
    assert_eq!(
        (exchange.path.as_str(), exchange.model.as_deref()),
        ("/v1/chat/completions", Some("gpt-6-luna"))
    );
    assert!(exchange.authorization_present && exchange.streaming);
    assert_eq!(
        (exchange.rule.as_deref(), exchange.end),
        (None, End::Closed)
    );
}

#[tokio::test]
async fn azure_begins_with_filter_results_and_says_its_region() {
    let simulator = simulator(prompt("")).await;
    let body = json!({"stream": true, "messages": []});
    for path in [
        "/openai/deployments/luna/chat/completions?api-version=2024-10-21",
        "/openai/v1/chat/completions",
    ] {
        let got = send(&simulator, &chat(path, &body)).await;
        assert!(
            got.head().contains("x-ms-region: Sweden Central")
                && got.head().contains("apim-request-id: ")
        );
        let events: Vec<Value> = got
            .events()
            .iter()
            .filter_map(|event| serde_json::from_str(event).ok())
            .collect();
        assert_eq!(events[0]["choices"], json!([]));
        assert_eq!(events[0]["prompt_filter_results"][0]["prompt_index"], 0);
        assert_eq!(
            events[2]["choices"][0]["content_filter_results"]["hate"]["severity"],
            "safe"
        );
        assert_eq!(got.text(), "pong");
    }
    simulator.answered(2).await;
    assert_eq!(
        simulator.log()[0].model.as_deref(),
        Some("luna"),
        "the deployment stands for the model"
    );
}

#[tokio::test]
async fn without_streaming_the_answer_is_one_body() {
    let simulator = simulator(prompt(
        "[[rule]]\nanswer = \"fine\"\ntokens = 3\nfinish_reason = \"length\"",
    ))
    .await;
    let got = send(
        &simulator,
        &chat(
            "/v1/chat/completions",
            &json!({"model": "m", "messages": []}),
        ),
    )
    .await;
    let body: Value = serde_json::from_str(&got.body()).unwrap();
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["choices"][0]["message"]["content"], "fine");
    assert_eq!(body["choices"][0]["finish_reason"], "length");
    assert_eq!(body["usage"]["completion_tokens"], 3);
}

#[tokio::test]
async fn there_are_models_a_status_page_and_a_web_page() {
    let simulator = simulator(prompt("[[status_page]]\nstatus = \"major_outage\"")).await;
    let (head, models) = ask(&simulator, "/v1/models").await;
    assert!(head.starts_with("HTTP/1.1 200"));
    assert_eq!(
        (&models["object"], &models["data"][0]["object"]),
        (&json!("list"), &json!("model"))
    );
    let (_, status) = ask(&simulator, "/api/v2/status.json").await;
    assert_eq!(status["status"]["indicator"], "critical");
    for (path, key) in [
        ("summary", "scheduled_maintenances"),
        ("components", "components"),
        ("incidents", "incidents"),
    ] {
        let (_, document) = ask(&simulator, &format!("/api/v2/{path}.json")).await;
        assert!(document[key].is_array(), "{path} has no {key}: {document}");
    }
    let page = send(&simulator, "GET / HTTP/1.1\r\n\r\n").await;
    assert!(page.head().contains("content-type: text/html") && page.body().contains("It works"));
    assert!(
        send(&simulator, "HEAD / HTTP/1.1\r\n\r\n")
            .await
            .bytes
            .ends_with(b"\r\n\r\n")
    );
    let page = send(&simulator, "GET /any/other/path HTTP/1.1\r\n\r\n").await;
    assert!(page.body().contains("It works"));
    let nothing = send(
        &simulator,
        "POST /nothing HTTP/1.1\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    assert!(
        nothing.head().starts_with("HTTP/1.1 404")
            && nothing.body().contains("invalid_request_error")
    );
}

#[tokio::test]
async fn a_key_can_be_asked_for() {
    let scenario = |key: &str| Scenario {
        api_key: Some(llmwatch_core::model::Secret::new(key)),
        ..prompt("")
    };
    let right = simulator(scenario("sk-right")).await;
    assert_eq!(send(&right, &streaming()).await.text(), "pong");
    let (head, missing) = ask(&right, "/v1/models").await;
    assert!(head.starts_with("HTTP/1.1 401") && head.contains("www-authenticate: Bearer"));
    assert_eq!(missing["error"]["code"], Value::Null);
    assert!(
        send(&right, "GET / HTTP/1.1\r\n\r\n")
            .await
            .head()
            .starts_with("HTTP/1.1 200"),
        "pages need no key"
    );

    let other = simulator(scenario("sk-other")).await;
    assert!(
        send(&other, &streaming())
            .await
            .body()
            .contains("invalid_api_key")
    );
    let azure = chat("/openai/v1/chat/completions", &json!({"messages": []}));
    assert!(send(&other, &azure).await.body().contains("Access denied"));
}

#[tokio::test]
async fn a_client_library_reads_it() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let simulator = simulator(prompt("")).await;
    let url = format!("http://{}/v1/chat/completions", simulator.addr());
    let body = json!({"model": "m", "stream": true, "messages": []}).to_string();
    let response = reqwest::Client::new()
        .post(url)
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.text().await.unwrap().ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn the_scenario_can_be_changed_and_the_log_read_over_http() {
    let simulator = simulator(prompt("")).await;
    let post = |scenario: &str| {
        format!(
            "POST /_scenario HTTP/1.1\r\ncontent-length: {}\r\n\r\n{scenario}",
            scenario.len()
        )
    };
    assert!(
        send(&simulator, &post("[[rule]]\nstatus = 503"))
            .await
            .head()
            .starts_with("HTTP/1.1 200")
    );
    assert!(
        send(&simulator, &streaming())
            .await
            .head()
            .starts_with("HTTP/1.1 503 Service Unavailable")
    );
    let refused = send(&simulator, &post("[[rule]]\nstatus = 42")).await;
    assert!(
        refused.head().starts_with("HTTP/1.1 400") && refused.body().contains("line 2"),
        "{}",
        refused.body()
    );
    simulator.set_scenario(prompt(""));
    assert_eq!(send(&simulator, &streaming()).await.text(), "pong");

    simulator.answered(2).await;
    let (_, log) = ask(&simulator, "/_log").await;
    assert_eq!(log.as_array().map(Vec::len), Some(2));
    assert_eq!(
        (&log[0]["rule"], &log[0]["writes"][1]["kind"]),
        (&json!("rule 1"), &json!("error"))
    );
    assert!(log[0]["writes"][0]["after_us"].is_u64());
    assert!(
        !log.to_string().contains("sk-right"),
        "a log never shows a key"
    );
}

#[tokio::test]
async fn the_scenarios_that_are_shipped_are_valid() {
    let folder =
        |name: &str| std::fs::read_dir(format!("{}/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let files = folder("scenarios")
        .chain(folder("scenarios/outages"))
        .map(|entry| entry.unwrap().path());
    for path in files.filter(|path| path.is_file()) {
        let scenario = Scenario::parse(&std::fs::read_to_string(&path).unwrap());
        assert!(
            scenario.is_ok_and(|scenario| !scenario.rules.is_empty()),
            "{}",
            path.display()
        );
    }
}

#[tokio::test]
async fn one_that_was_stopped_refuses_connections() {
    let simulator = simulator(prompt("")).await;
    let addr = simulator.addr();
    simulator.stop().await;
    assert_eq!(
        TcpStream::connect(addr).await.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionRefused
    );
}
