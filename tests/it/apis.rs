//! APIs other than chat (Realtime over WebSocket, MCP servers, speech, transcription, embedding
//! batches) and the second, long probe. Through the binary, against the simulator.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use llmwatch::config::Settings;
use llmwatch::probe::{Due, Prober};
use llmwatch_core::model::Warning;
use llmwatch_simulator::Simulator;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::simulate::{prompt, simulator};
use crate::support::{KEY, World, site};

async fn probe_all(world: &World, text: &str) -> Vec<Value> {
    world.write(text);
    let output = world.llmwatch(&["probe", "--json"]).output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let talk = String::from_utf8_lossy(&output.stderr);
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {text}{talk}")))
        .collect()
}

async fn probe(world: &World, endpoint: &str) -> Value {
    let samples = probe_all(world, &format!("[[endpoint]]\n{endpoint}\n")).await;
    samples.into_iter().next().unwrap()
}

/// The configuration `text`, its prober, and a probe of the schedule that is due now.
fn scheduled(text: &str) -> (Settings, Prober, Due) {
    let config = site::config(text);
    let prober = Prober::new(&config).unwrap();
    let now = llmwatch::clock::now();
    let due = Due {
        scheduled_at: now,
        started_at: now,
        trigger: llmwatch_core::model::Trigger::Schedule,
    };
    (config, prober, due)
}

/// Starts a provider that requires the key.
async fn keyed(rules: &str) -> Simulator {
    let healthy =
        "[healthy]\nheaders_after = \"0s\"\nfirst_token_after = \"20ms\"\ntoken_gap = \"0s\"\n";
    let scenario = format!("api_key = \"{KEY}\"\n{healthy}{rules}");
    simulator(llmwatch_simulator::Scenario::parse(&scenario).unwrap()).await
}

fn openai(simulator: &Simulator, api: &str, key: &str) -> String {
    format!(
        "provider = \"openai\"\napi = \"{api}\"\napi_key = \"{key}\"\nbase_url = \"http://{}/v1\"",
        simulator.addr()
    )
}

#[tokio::test]
async fn realtime_answers_over_a_websocket() {
    let (world, simulator) = (World::new().await, keyed("").await);
    let sample = probe(&world, &openai(&simulator, "realtime", KEY)).await;
    assert_eq!(sample["outcome"], "ok", "{sample}");
    assert_eq!(sample["http_status"], 101);
    assert_eq!(sample["finish_reason"], "completed");
    assert_eq!(
        (&sample["input_tokens"], &sample["output_tokens"]),
        (&json!(14), &json!(2))
    );
    let ms = |key: &str| {
        sample[key]
            .as_f64()
            .unwrap_or_else(|| panic!("{key}: {sample}"))
    };
    assert!(
        ms("first_event_ms") <= ms("first_token_ms"),
        "the session comes first"
    );
    assert!(ms("first_token_ms") >= 20.0 && ms("first_token_ms") <= ms("total_ms"));
    assert!(sample["cost_usd"].as_f64().unwrap() > 0.0);
    assert_eq!(sample["response_model"], "gpt-realtime-2.1-mini");
    let sample = probe(&world, &openai(&simulator, "realtime", "sk-wrong-key")).await;
    assert_eq!(sample["fault"], "account.auth", "{sample}");
    // Azure uses another path.
    let azure = format!(
        "provider = \"azure-openai\"\napi = \"realtime\"\napi_key = \"{KEY}\"\ndeployment = \"gpt-realtime\"\nbase_url = \"http://{}\"",
        simulator.addr()
    );
    let sample = probe(&world, &azure).await;
    assert_eq!(sample["outcome"], "ok", "{sample}");
    assert_eq!(simulator.log().last().unwrap().path, "/openai/v1/realtime");
}

#[tokio::test]
async fn realtime_faults_are_distinguished() {
    let world = World::new().await;
    for (rule, fault) in [
        ("stream_error = { after_tokens = 1 }", "stream.error"),
        ("truncate_after_tokens = 1", "stream.truncated"),
        ("close_after_tokens = 1", "stream.truncated"),
        ("reset_at = \"token:1\"", "tcp.reset"),
        ("stall_after_tokens = 1", "timeout.token_gap"),
        ("stall_after_tokens = 0", "timeout.first_token"),
        ("invalid_utf8 = true", "stream.malformed"),
        ("finish_reason = \"content_filter\"", "answer.filtered"),
        ("answer = \"ping\"", "answer.wrong"),
        ("fault = \"openai_503\"", "overloaded"),
    ] {
        let simulator = keyed(&format!("[[rule]]\n{rule}\n")).await;
        let limits = if rule.starts_with("stall") {
            "timeout = { first_token = \"500ms\", token_gap = \"500ms\" }"
        } else {
            ""
        };
        let endpoint = format!("{}\n{limits}", openai(&simulator, "realtime", KEY));
        let sample = probe(&world, &endpoint).await;
        assert_eq!(sample["fault"], fault, "{rule}: {sample}");
    }
}

#[tokio::test]
async fn an_mcp_server_is_initialized_listed_and_called() {
    let (world, simulator) = (World::new().await, keyed("").await);
    let target = format!(
        "provider = \"mcp\"\nbase_url = \"http://{}/mcp\"\napi_key = \"{KEY}\"",
        simulator.addr()
    );
    let sample = probe(&world, &target).await;
    assert_eq!(sample["outcome"], "ok", "{sample}");
    assert_eq!(sample["api"], "mcp");
    assert!(sample["first_token_ms"].as_f64() >= sample["first_event_ms"].as_f64());
    let requests: Vec<String> = simulator.log().iter().map(|e| e.method.clone()).collect();
    assert_eq!(
        requests,
        ["POST", "POST", "POST"],
        "each on a connection of its own"
    );
    for (more, fault) in [
        ("expect = { tool = \"get_time\" }", Value::Null),
        ("expect = { tool = \"get_weather\" }", json!("answer.wrong")),
        ("expect = { contains = \"echo\" }", Value::Null),
        (
            "expect = { tool = \"echo\", contains = \"pong\" }\nbody = \"{}\"",
            Value::Null,
        ),
        (
            "expect = { tool = \"get_time\", contains = \"13:00\" }\nbody = '{\"zone\":\"UTC\"}'",
            json!("answer.wrong"),
        ),
    ] {
        let sample = probe(&world, &format!("{target}\n{more}")).await;
        assert_eq!(sample["fault"], fault, "{more}: {sample}");
        if more.contains("get_weather") {
            assert_eq!(
                sample["error"],
                "expected the server to offer the tool `get_weather`, but it lists `echo`, `get_time`"
            );
        }
    }
    let wrong = target.replace(KEY, "another-key");
    let sample = probe(&world, &wrong).await;
    assert_eq!(sample["fault"], "account.auth", "{sample}");
}

/// A server as strict as the specification allows: sessions, versions in headers, answers as
/// events, one connection.
async fn strict(
    State(seen): State<Arc<Mutex<Vec<String>>>>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let message: Value = serde_json::from_str(&body).unwrap_or_default();
    let method = message["method"].as_str().unwrap_or("end").to_owned();
    seen.lock().unwrap().push(method.clone());
    let shown = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    assert_eq!(shown("accept"), Some("application/json, text/event-stream"));
    if method == "initialize" {
        let result = json!({"protocolVersion": "2025-03-26", "capabilities": {}, "serverInfo": {"name": "strict", "version": "1"}});
        let answer = json!({"jsonrpc": "2.0", "id": message["id"], "result": result});
        let notice = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {}});
        let events =
            format!("event: message\ndata: {notice}\n\nevent: message\ndata: {answer}\n\n");
        return (
            [
                ("content-type", "text/event-stream"),
                ("mcp-session-id", "s-1"),
            ],
            events,
        )
            .into_response();
    }
    if (shown("mcp-session-id"), shown("mcp-protocol-version")) != (Some("s-1"), Some("2025-03-26"))
    {
        return StatusCode::BAD_REQUEST.into_response();
    }
    match method.as_str() {
        "notifications/initialized" => StatusCode::ACCEPTED.into_response(),
        "ping" => {
            axum::Json(json!({"jsonrpc": "2.0", "id": message["id"], "result": {}})).into_response()
        }
        _ => StatusCode::NO_CONTENT.into_response(),
    }
}

#[tokio::test]
async fn an_mcp_server_without_tools_is_pinged_in_its_session() {
    let (world, seen) = (World::new().await, Arc::new(Mutex::new(Vec::new())));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().fallback(strict).with_state(seen.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let sample = probe(
        &world,
        &format!("provider = \"mcp\"\nbase_url = \"http://{address}/mcp\""),
    )
    .await;
    assert_eq!(sample["outcome"], "ok", "{sample}");
    assert_eq!(
        *seen.lock().unwrap(),
        ["initialize", "notifications/initialized", "ping", "end"]
    );
    let wants = format!(
        "provider = \"mcp\"\nbase_url = \"http://{address}/mcp\"\nexpect = {{ tool = \"search\" }}"
    );
    let sample = probe(&world, &wants).await;
    assert_eq!(sample["fault"], "answer.wrong", "{sample}");
    assert_eq!(
        sample["error"],
        "expected the server to offer the tool `search`, but it has no tools"
    );
}

#[tokio::test]
async fn speech_transcripts_and_batches_are_answered() {
    let (world, simulator) = (World::new().await, keyed("").await);
    let sample = probe(&world, &openai(&simulator, "speech", KEY)).await;
    assert_eq!(sample["outcome"], "ok", "{sample}");
    assert!(
        sample["first_token_ms"].is_number(),
        "the first sound is timed"
    );
    let sample = probe(&world, &openai(&simulator, "transcription", KEY)).await;
    assert_eq!(sample["outcome"], "ok", "{sample}");
    assert_eq!(sample["input_tokens"], 5);
    let batch = "body = '{\"model\":\"text-embedding-3-small\",\"input\":[\"ping {nonce}\",\"pong\"],\"dimensions\":8}'\n\
                 expect = { contains = \"2 embeddings of 8\" }";
    let sample = probe(
        &world,
        &format!("{}\n{batch}", openai(&simulator, "embeddings", KEY)),
    )
    .await;
    assert_eq!(sample["outcome"], "ok", "{sample}");
    // An image must be in a custom body.
    let image = "body = '{\"model\":\"gpt-6-luna\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"{nonce}\"},\
                 {\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,iVBORw0KGgo=\"}}]}]}'\nexpect = { contains = \"pong\" }";
    let sample = probe(
        &world,
        &format!("{}\n{image}", openai(&simulator, "chat", KEY)),
    )
    .await;
    assert_eq!(sample["outcome"], "ok", "{sample}");

    let simulator = simulator_with("[[rule]]\nstatus = 200\nbody = \"{\\\"error\\\":{\\\"message\\\":\\\"boom\\\",\\\"type\\\":\\\"server_error\\\"}}\"\n").await;
    for api in ["speech", "transcription"] {
        let sample = probe(&world, &openai(&simulator, api, KEY)).await;
        assert_eq!(sample["outcome"], "failed", "{sample}");
        assert_eq!(sample["attribution"], "provider", "{sample}");
    }
}

async fn simulator_with(rules: &str) -> Simulator {
    simulator(prompt(rules)).await
}

#[tokio::test]
async fn a_form_with_a_file_is_what_a_transcript_asks_for() {
    let world = World::new().await;
    let seen = Arc::new(Mutex::new((String::new(), Vec::new())));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let keep = seen.clone();
    let answer = move |headers: HeaderMap, body: axum::body::Bytes| async move {
        let kind = headers["content-type"].to_str().unwrap().to_owned();
        *keep.lock().unwrap() = (kind, body.to_vec());
        axum::Json(json!({"text": ""}))
    };
    let app = Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, app).await });
    let endpoint = format!(
        "provider = \"openai-compatible\"\napi = \"transcription\"\nmodel = \"whisper-1\"\nbase_url = \"http://{address}/v1\""
    );
    let sample = probe(&world, &endpoint).await;
    assert_eq!(sample["outcome"], "ok", "a tone has no words: {sample}");
    let (kind, body) = seen.lock().unwrap().clone();
    let boundary = kind.strip_prefix("multipart/form-data; boundary=").unwrap();
    let text = String::from_utf8_lossy(&body);
    assert_eq!(text.matches(boundary).count(), 4, "three parts and an end");
    assert!(
        text.contains("name=\"model\"\r\n\r\nwhisper-1\r\n"),
        "{text}"
    );
    let wav = body.windows(4).position(|w| w == b"RIFF").unwrap();
    let length = u32::from_le_bytes(body[wav + 4..wav + 8].try_into().unwrap()) as usize;
    assert_eq!(&body[wav + 8 + length..wav + 12 + length], b"\r\n--");
}

#[tokio::test]
async fn a_long_probe_measures_the_rate_of_tokens_apart() {
    let world = World::new().await;
    let simulator = simulator_with(
        "[[rule]]\nname = \"long\"\nprobability = 1.0\ntokens = 101\ntoken_gap = \"20ms\"\n",
    )
    .await;
    let text = format!(
        "[[endpoint]]\nname = \"chat\"\nprovider = \"openai\"\nbase_url = \"http://{}/v1\"\nlong = {{ every = \"1h\", max_tokens = 150 }}\nslow = {{ tokens_per_second = 100000 }}\n",
        simulator.addr()
    );
    let samples = probe_all(&world, &text).await;
    let names: Vec<&str> = samples
        .iter()
        .filter_map(|s| s["endpoint"].as_str())
        .collect();
    assert_eq!(names, ["chat", "chat-long"]);
    let long = &samples[1];
    // If the first token is late, its delay does not add to the gaps between the others.
    let total = long["total_ms"].as_f64().unwrap();
    assert!(total >= 2_000.0, "101 tokens, 20 ms apart: {long}");
    assert_eq!(
        long["outcome"], "slow",
        "fewer tokens a second than the limit"
    );
    let check = world.llmwatch(&["check", "--json"]).output().await.unwrap();
    let plan: Value = serde_json::from_slice(&check.stdout).unwrap();
    let shown = plan.to_string();
    assert!(shown.contains("chat-long"), "the plan counts it: {shown}");
    world
        .write("[[endpoint]]\nprovider = \"openai\"\napi_key = \"k\"\nstream = false\nlong = {}\n");
    let check = world.llmwatch(&["check"]).output().await.unwrap();
    assert_eq!(check.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&check.stderr).contains("needs a streamed answer"));
}

#[tokio::test]
async fn model_retirement_is_looked_up_once_a_day() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let log = asked.clone();
    let answer = move |uri: axum::http::Uri| async move {
        log.lock().unwrap().push(uri.path().to_owned());
        if uri.path().ends_with("/models") {
            return axum::Json(json!({"data": [
                {"id": "ministral-3b-latest", "deprecation": "2027-02-28T12:00:00Z", "deprecation_replacement_model": "ministral-4b-latest"},
            ]}))
            .into_response();
        }
        "data: {\"choices\":[{\"delta\":{\"content\":\"pong\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n".into_response()
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    for (keys, end, requests) in [
        ("provider = \"mistral\"", Some("2027-02-28T12:00:00Z"), 3),
        (
            "provider = \"azure-openai\"\ndeployment = \"d\"\nmodel = \"gpt-4.1-nano\"",
            Some("2027-04-14T00:00:00Z"),
            2,
        ),
        ("provider = \"groq\"", None, 2),
    ] {
        asked.lock().unwrap().clear();
        let text = format!("[[endpoint]]\n{keys}\nbase_url = \"http://{address}/v1\"\n");
        let (config, prober, due) = scheduled(&text);
        let first = prober.probe(&config.endpoints[0], due).await;
        assert_eq!(first.fault, None, "{first:?}");
        let wanted = end.map(|end| llmwatch_core::model::Timestamp::parse(end).unwrap());
        assert_eq!(first.model_retires_at, wanted, "{keys}");
        let successor = first.model_successor.as_deref();
        assert_eq!(
            successor,
            keys.contains("mistral").then_some("ministral-4b-latest")
        );
        let second = prober.probe(&config.endpoints[0], due).await;
        assert_eq!(second.model_retires_at, None, "once a day");
        assert_eq!(asked.lock().unwrap().len(), requests, "{keys}");
    }
}

#[tokio::test]
async fn prepaid_credit_is_looked_up_where_the_provider_says_it() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let log = asked.clone();
    let answer = move |uri: axum::http::Uri, headers: axum::http::HeaderMap| async move {
        let key = headers["authorization"].to_str().unwrap().to_owned();
        log.lock().unwrap().push(format!("{} {key}", uri.path()));
        match uri.path() {
            "/api/v1/credits" => axum::Json(json!({"data": {"total_credits": 25.0, "total_usage": 4.5}})).into_response(),
            "/limited/credits" | "/unlimited/credits" => axum::http::StatusCode::FORBIDDEN.into_response(),
            "/limited/key" => axum::Json(json!({"data": {"label": "sk-or-v1-abc", "limit": 10.0, "limit_remaining": 7.25, "usage": 2.75}})).into_response(),
            "/unlimited/key" => axum::Json(json!({"data": {"label": "sk-or-v1-abc", "limit": null, "limit_remaining": null, "usage": 2.75}})).into_response(),
            "/user/balance" => axum::Json(json!({"is_available": true, "balance_infos": [
                {"currency": "USD", "total_balance": "0.00"},
                {"currency": "CNY", "total_balance": "110.00", "granted_balance": "10.00"},
            ]}))
            .into_response(),
            path if path.ends_with("/models") => axum::Json(json!({"data": []})).into_response(),
            _ => "data: {\"choices\":[{\"delta\":{\"content\":\"pong\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n".into_response(),
        }
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    for (provider, base, path, left, currency) in [
        ("openrouter", "/api/v1", "/api/v1/credits", 20.5, "USD"),
        ("openrouter", "/limited", "/limited/key", 7.25, "USD"),
        ("deepseek", "/v1", "/user/balance", 110.0, "CNY"),
        ("deepseek", "", "/user/balance", 110.0, "CNY"),
    ] {
        asked.lock().unwrap().clear();
        let text = format!(
            "[[endpoint]]\nprovider = \"{provider}\"\napi_key = \"k\"\nbase_url = \"http://{address}{base}\"\n"
        );
        let (config, prober, due) = scheduled(&text);
        let sample = prober.probe(&config.endpoints[0], due).await;
        assert_eq!(sample.fault, None, "{sample:?}");
        assert_eq!(sample.credit_left, Some(left), "{provider}");
        assert_eq!(sample.credit_currency.as_deref(), Some(currency));
        let again = prober.probe(&config.endpoints[0], due).await;
        assert_eq!(again.credit_left, None, "once an hour");
        let asked = asked.lock().unwrap().clone();
        let wanted = format!("{path} Bearer k");
        assert_eq!(
            asked.iter().filter(|a| **a == wanted).count(),
            1,
            "{asked:?}"
        );
    }
    // A key without a limit that may not read the account's credit.
    let text = format!(
        "[[endpoint]]\nprovider = \"openrouter\"\napi_key = \"k\"\nbase_url = \"http://{address}/unlimited\"\n"
    );
    let (config, prober, due) = scheduled(&text);
    let sample = prober.probe(&config.endpoints[0], due).await;
    assert_eq!(sample.fault, None, "{sample:?}");
    assert_eq!(sample.credit_left, None);
    assert_eq!(sample.warnings, [Warning::CreditHidden]);
}
