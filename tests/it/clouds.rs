//! Bedrock and Vertex AI through the binary: credentials from every place where the clouds' own
//! clients look, signatures, tokens, streams, and vendor errors.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use llmwatch_simulator::Simulator;
use ring::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::simulate::{prompt, simulator};
use crate::support::World;

const SECRET: &str = "wJalrXUtnFEMI-K7MDENG-bPxRfiCYSENTINEL";
const ACCOUNT: &str = include_str!("../fixtures/keys/google_service_account.json");

/// Starts a provider that requires requests to be signed with this key, or to contain it.
async fn provider(rules: &str) -> Simulator {
    // Top-level keys come first in TOML.
    let scenario = llmwatch_simulator::Scenario::parse(&format!(
        "api_key = \"{SECRET}\"\n[healthy]\nheaders_after = \"0s\"\nfirst_token_after = \"0s\"\ntoken_gap = \"0s\"\n{rules}"
    ));
    simulator(scenario.unwrap()).await
}

/// Returns the output of `llmwatch probe` for the only endpoint. Of the clouds' environment
/// variables, only these are set.
async fn probe(world: &World, vars: &[(&str, String)]) -> Value {
    let mut command = world.llmwatch(&["probe", "--json"]);
    for name in [
        "HOME",
        "AWS_PROFILE",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_ACCESS_KEY_ID",
    ] {
        command.env_remove(name);
    }
    for (name, value) in vars {
        command.env(name, value);
    }
    let output = command.output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let talk = String::from_utf8_lossy(&output.stderr);
    for shown in [text.as_str(), &talk] {
        assert!(!shown.contains(SECRET), "a secret shows: {shown}");
    }
    let value: Value =
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}\n{talk}"));
    value.get(0).cloned().unwrap_or(value)
}

fn bedrock(address: impl std::fmt::Display, more: &str) -> String {
    format!("[[endpoint]]\nprovider = \"bedrock\"\nbase_url = \"http://{address}\"\n{more}\n")
}

fn keys(secret: &str) -> String {
    format!(
        "aws = {{ region = \"us-east-1\", access_key_id = \"AKIDEXAMPLE\", secret_access_key = \"{secret}\" }}"
    )
}

#[tokio::test]
async fn bedrock_answers_signed_requests_with_and_without_stream() {
    let (world, simulator) = (World::new().await, provider("").await);
    for stream in ["true", "false"] {
        world.write(&bedrock(
            simulator.addr(),
            &format!("{}\nstream = {stream}", keys(SECRET)),
        ));
        let sample = probe(&world, &[]).await;
        assert_eq!(sample["outcome"], "ok", "{sample}");
        assert_eq!(sample["input_tokens"], 14);
        assert_eq!(sample["finish_reason"], "end_turn");
        assert_eq!(sample["first_token_ms"].is_number(), stream == "true");
        assert!(sample["cost_usd"].as_f64().unwrap() > 0.0);
        assert!(sample["request_id"].is_string());
    }
    world.write(&bedrock(simulator.addr(), &keys("another-secret-key")));
    let sample = probe(&world, &[]).await;
    assert_eq!(sample["fault"], "account.auth", "{sample}");
    assert!(sample["error"].as_str().unwrap().contains("signature"));
    // A Bedrock API key is sent unsigned.
    world.write(&bedrock(
        simulator.addr(),
        &format!("api_key = \"{SECRET}\"\naws = {{ region = \"us-east-1\" }}"),
    ));
    assert_eq!(probe(&world, &[]).await["outcome"], "ok");
    let log = simulator.log();
    assert_eq!(
        log[0].path, "/model/amazon.nova-micro-v1%3A0/converse-stream",
        "the colon is encoded, as in AWS's own clients"
    );
}

#[tokio::test]
async fn bedrock_faults_are_distinguished() {
    let world = World::new().await;
    for (rule, fault, words) in [
        (
            "fault = \"bedrock_429_throttling\"",
            "account.rate_limit",
            "Too many requests",
        ),
        (
            "fault = \"bedrock_429_daily_quota\"",
            "account.rate_limit",
            "per day",
        ),
        ("fault = \"bedrock_503\"", "http.5xx", "unable to process"),
        (
            "fault = \"bedrock_403_access\"",
            "account.permission",
            "access to the model",
        ),
        (
            "stream_error = { after_tokens = 1 }",
            "stream.error",
            "unexpected error",
        ),
        ("truncate_after_tokens = 1", "stream.truncated", ""),
        ("invalid_utf8 = true", "stream.malformed", "checksum"),
    ] {
        let simulator = provider(&format!("[[rule]]\n{rule}\n")).await;
        world.write(&bedrock(simulator.addr(), &keys(SECRET)));
        let sample = probe(&world, &[]).await;
        assert_eq!(sample["fault"], fault, "{rule}: {sample}");
        let error = sample["error"].as_str().unwrap_or_default();
        assert!(error.contains(words), "{rule}: {error}");
    }
}

const ROLES: &str = "/latest/meta-data/iam/security-credentials/";

type Seen = Arc<Mutex<Vec<String>>>;

/// The metadata service of an instance, the agent of a container, and AWS STS in one.
async fn metadata(
    State(seen): State<Seen>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> Response {
    seen.lock().unwrap().push(format!("{method} {uri}"));
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let keys = json!({
        "AccessKeyId": "ASIATEMPORARY", "SecretAccessKey": SECRET, "Token": "session-token",
        "Expiration": "2126-11-30T07:00:00Z",
    });
    match (method.as_str(), uri.path()) {
        ("PUT", "/latest/api/token")
            if header("x-aws-ec2-metadata-token-ttl-seconds").is_some() =>
        {
            "session".into_response()
        }
        ("GET", ROLES) if header("x-aws-ec2-metadata-token") == Some("session") => {
            "probe-role\n".into_response()
        }
        ("GET", path)
            if path == format!("{ROLES}probe-role")
                && header("x-aws-ec2-metadata-token") == Some("session") =>
        {
            keys.to_string().into_response()
        }
        ("GET", "/agent") if header("authorization") == Some("agent-token") => {
            keys.to_string().into_response()
        }
        ("POST", "/") if body.contains("WebIdentityToken=identity-token") => format!(
            "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
             <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIATEMPORARY</AccessKeyId>\
             <SecretAccessKey>{SECRET}</SecretAccessKey><SessionToken>session-token</SessionToken>\
             <Expiration>2126-11-30T07:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>\
             </AssumeRoleWithWebIdentityResponse>"
        )
        .into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn serve(app: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}")
}

#[tokio::test]
async fn aws_keys_come_from_where_awss_own_clients_look() {
    let (world, simulator) = (World::new().await, provider("").await);
    let seen = Seen::default();
    let service = serve(Router::new().fallback(metadata).with_state(seen.clone())).await;
    let file = |name: &str, text: &str| {
        let path = world.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let profile = file(
        "credentials",
        &format!(
            "[default]\naws_access_key_id=AKIAOTHER\naws_secret_access_key=no\n[ops]\naws_access_key_id = AKIAOPS\naws_secret_access_key = {SECRET}\n"
        ),
    );
    let token = file("token", "identity-token\n");
    let region = "aws = { region = \"us-east-1\" }".to_owned();
    let text = |pairs: &[(&'static str, &str)]| {
        pairs
            .iter()
            .map(|(k, v)| (*k, (*v).to_owned()))
            .collect::<Vec<_>>()
    };
    let cases = [
        (
            "environment",
            region.clone(),
            text(&[
                ("AWS_ACCESS_KEY_ID", "AKIAENV"),
                ("AWS_SECRET_ACCESS_KEY", SECRET),
            ]),
        ),
        (
            "profile_file",
            "aws = { region = \"us-east-1\", profile_file = \"credentials\", profile = \"ops\" }"
                .to_owned(),
            Vec::new(),
        ),
        (
            "shared credentials file",
            region.clone(),
            text(&[
                ("AWS_SHARED_CREDENTIALS_FILE", &profile),
                ("AWS_PROFILE", "ops"),
            ]),
        ),
        (
            "web identity",
            region.clone(),
            text(&[
                ("AWS_WEB_IDENTITY_TOKEN_FILE", &token),
                ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/probe"),
                ("AWS_ENDPOINT_URL_STS", &format!("{service}/")),
            ]),
        ),
        (
            "container",
            region.clone(),
            text(&[
                (
                    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                    &format!("{service}/agent"),
                ),
                ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "agent-token"),
            ]),
        ),
    ];
    for (what, more, vars) in cases {
        world.write(&bedrock(simulator.addr(), &more));
        let sample = probe(&world, &vars).await;
        assert_eq!(sample["outcome"], "ok", "{what}: {sample}");
    }
    let asked = seen.lock().unwrap().clone();
    assert_eq!(asked, ["POST /", "GET /agent"]);
}

#[tokio::test]
async fn the_metadata_service_of_an_instance_is_asked_last() {
    let (world, simulator) = (World::new().await, provider("").await);
    let seen = Seen::default();
    let service = serve(Router::new().fallback(metadata).with_state(seen.clone())).await;
    // A host name, because the metadata service is not used for a local address.
    let host = format!("bedrock.example:{}", simulator.addr().port());
    world.write(&bedrock(
        host,
        "resolve = [\"127.0.0.1\"]\naws = { region = \"us-east-1\" }",
    ));
    let vars = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", service)];
    let sample = probe(&world, &vars).await;
    assert_eq!(sample["outcome"], "ok", "{sample}");
    assert!(sample["auth_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(seen.lock().unwrap().len(), 3, "session, role, keys");
    let vars = [(
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "http://127.0.0.1:1".to_owned(),
    )];
    let sample = probe(&world, &vars).await;
    assert_eq!(sample["fault"], "account.auth");
    let error = sample["error"].as_str().unwrap();
    assert!(
        error.starts_with("no AWS credentials: none are configured"),
        "{error}"
    );
}

#[tokio::test]
async fn mistakes_in_the_tables_of_the_clouds_are_explained() {
    let world = World::new().await;
    std::fs::write(
        world.directory.path().join("odd.json"),
        "{\"type\":\"external_account\"}",
    )
    .unwrap();
    for (text, said) in [
        ("provider = \"bedrock\"", "missing key `region` in `aws`"),
        (
            "provider = \"bedrock\"\naws = { region = \"Frankfurt\" }",
            "is not an AWS region",
        ),
        (
            "provider = \"bedrock\"\naws = { region = \"us-east-1\", access_key_id = \"${NO}\" }",
            "NO",
        ),
        (
            "provider = \"bedrock\"\naws = { region = \"us-east-1\", profile_file = \"none\" }",
            "cannot use `profile_file`",
        ),
        (
            "provider = \"openai\"\napi_key = \"${K}\"\naws = { region = \"us-east-1\" }",
            "`aws` does not apply to provider `openai`",
        ),
        (
            "provider = \"vertex\"\nbase_url = \"http://127.0.0.1:1\"",
            "missing key `project` in `google`",
        ),
        (
            "provider = \"vertex\"\ngoogle = { credentials_file = \"odd.json\" }",
            "credentials of type `external_account` are not supported",
        ),
        (
            "provider = \"vertex\"\napi = \"embeddings\"\ngoogle = { project = \"p\" }\napi_key = \"${K}\"",
            "provider `vertex` has no api `embeddings`",
        ),
    ] {
        world.write(&format!("[[endpoint]]\n{text}\n"));
        let mut command = world.llmwatch(&["check"]);
        command.env("K", "k-of-mine").env_remove("HOME");
        let output = command.output().await.unwrap();
        let shown = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{text}: {shown}");
        assert!(shown.contains(said), "{text}: {shown}");
    }
}

/// Google's token service: verifies the signed request as Google does, and returns a token.
async fn google_tokens(State(seen): State<Seen>, body: String) -> Response {
    let form: Vec<(String, String)> = url::form_urlencoded::parse(body.as_bytes())
        .into_owned()
        .collect();
    let field = |name: &str| {
        form.iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
            .unwrap_or_default()
    };
    let grant = field("grant_type");
    seen.lock().unwrap().push(grant.clone());
    if grant == "refresh_token" {
        assert_eq!(field("refresh_token"), "refresh-of-mine");
        return axum::Json(json!({"access_token": SECRET, "expires_in": 3599})).into_response();
    }
    let assertion = field("assertion");
    let (signed, signature) = assertion.rsplit_once('.').unwrap();
    let account: Value = serde_json::from_str(ACCOUNT).unwrap();
    let pem = account["private_key"].as_str().unwrap();
    let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    let key = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap();
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key());
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    public.verify(signed.as_bytes(), &signature).unwrap();
    let claims = signed.split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    assert_eq!(claims["iss"], account["client_email"]);
    assert_eq!(
        claims["scope"],
        "https://www.googleapis.com/auth/cloud-platform"
    );
    assert_eq!(
        claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
        3600
    );
    axum::Json(json!({"access_token": SECRET, "expires_in": 3599, "token_type": "Bearer"}))
        .into_response()
}

#[tokio::test]
async fn vertex_takes_a_token_for_a_signed_request_and_keeps_it() {
    let (world, simulator) = (World::new().await, provider("").await);
    let seen = Seen::default();
    let app = Router::new()
        .fallback(google_tokens)
        .with_state(seen.clone());
    let service = serve(app).await;
    let account = ACCOUNT.replace(
        "https://oauth2.googleapis.com/token",
        &format!("{service}/token"),
    );
    std::fs::write(world.directory.path().join("account.json"), account).unwrap();
    for stream in ["true", "false"] {
        world.write(&format!(
            "[[endpoint]]\nprovider = \"vertex\"\nbase_url = \"http://{}\"\nstream = {stream}\n\
             google = {{ credentials_file = \"account.json\", location = \"europe-west4\" }}\n",
            simulator.addr()
        ));
        let sample = probe(&world, &[]).await;
        assert_eq!(sample["outcome"], "ok", "{sample}");
        assert_eq!(sample["output_tokens"], 2);
        assert!(sample["auth_ms"].as_f64().unwrap() > 0.0);
    }
    let path = &simulator.log()[0].path;
    assert_eq!(
        path,
        "/v1/projects/example-project/locations/europe-west4/publishers/google/models/gemini-2.5-flash-lite:streamGenerateContent"
    );
    seen.lock().unwrap().clear();
    let mut command = world.llmwatch(&["probe", "--count", "3"]);
    assert!(command.output().await.unwrap().status.success());
    assert_eq!(
        seen.lock().unwrap().len(),
        1,
        "the token is kept between probes"
    );
}

#[tokio::test]
async fn vertex_uses_application_default_credentials() {
    let (world, simulator) = (World::new().await, provider("").await);
    let seen = Seen::default();
    let app = Router::new()
        .fallback(google_tokens)
        .with_state(seen.clone());
    let service = serve(app).await;
    let user = json!({
        "type": "authorized_user", "client_id": "c.apps.googleusercontent.com", "client_secret": "s-of-gcloud",
        "refresh_token": "refresh-of-mine", "quota_project_id": "quota-project", "token_uri": format!("{service}/token"),
    });
    let gcloud = world.directory.path().join("gcloud");
    std::fs::create_dir(&gcloud).unwrap();
    std::fs::write(
        gcloud.join("application_default_credentials.json"),
        user.to_string(),
    )
    .unwrap();
    world.write(&format!(
        "[[endpoint]]\nprovider = \"vertex\"\nbase_url = \"http://{}\"\n",
        simulator.addr()
    ));
    let vars = [("CLOUDSDK_CONFIG", gcloud.display().to_string())];
    let sample = probe(&world, &vars).await;
    assert_eq!(sample["outcome"], "ok", "{sample}");
    assert_eq!(*seen.lock().unwrap(), ["refresh_token"]);
    assert!(
        simulator.log()[0]
            .path
            .starts_with("/v1/projects/quota-project/locations/us-central1/")
    );
}

/// What the server of Vertex AI was asked: the path, the authorization and the body.
type Asked = Arc<Mutex<Vec<(String, String, Value)>>>;

/// Answers as models of other vendors do on Vertex AI: with what these vendors' own APIs answer.
async fn partners(
    State(asked): State<Asked>,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> Response {
    let shown = headers["authorization"].to_str().unwrap().to_owned();
    let body: Value = serde_json::from_str(&body).unwrap();
    let path = uri.path().to_owned();
    asked.lock().unwrap().push((path.clone(), shown, body));
    let (kind, answer) = if path.ends_with("/openapi/chat/completions") {
        let answer = include_str!("../fixtures/wire/vllm_chat_stream_ok.sse");
        ("text/event-stream", answer)
    } else if path.contains("/publishers/mistralai/") && path.ends_with(":streamRawPredict") {
        let answer = include_str!("../fixtures/wire/mistral_stream_ok.sse");
        ("text/event-stream", answer)
    } else if path.ends_with(":streamRawPredict") {
        let answer = include_str!("../fixtures/wire/anthropic_stream_ok.sse");
        ("text/event-stream", answer)
    } else {
        let answer = include_str!("../fixtures/wire/anthropic_message_ok.200.json");
        ("application/json", answer)
    };
    ([("content-type", kind)], answer).into_response()
}

#[tokio::test]
async fn vertex_speaks_the_apis_of_other_vendors() {
    let world = World::new().await;
    let (seen, asked) = (Seen::default(), Asked::default());
    let tokens = Router::new().fallback(google_tokens).with_state(seen);
    let tokens = serve(tokens).await;
    let vertex = Router::new().fallback(partners).with_state(asked.clone());
    let vertex = serve(vertex).await;
    let account = ACCOUNT.replace(
        "https://oauth2.googleapis.com/token",
        &format!("{tokens}/token"),
    );
    std::fs::write(world.directory.path().join("account.json"), account).unwrap();
    for (api, model, stream, path) in [
        (
            "messages",
            "claude-haiku-4-5@20251001",
            true,
            "publishers/anthropic/models/claude-haiku-4-5@20251001:streamRawPredict",
        ),
        (
            "messages",
            "claude-haiku-4-5@20251001",
            false,
            "publishers/anthropic/models/claude-haiku-4-5@20251001:rawPredict",
        ),
        (
            "chat",
            "meta/llama-3.3-70b-instruct-maas",
            true,
            "endpoints/openapi/chat/completions",
        ),
        (
            "chat",
            "mistralai/mistral-small-2503",
            true,
            "publishers/mistralai/models/mistral-small-2503:streamRawPredict",
        ),
    ] {
        world.write(&format!(
            "[[endpoint]]\nprovider = \"vertex\"\napi = \"{api}\"\nmodel = \"{model}\"\nstream = {stream}\n\
             base_url = \"{vertex}\"\ngoogle = {{ credentials_file = \"account.json\", location = \"europe-west4\" }}\n"
        ));
        let sample = probe(&world, &[]).await;
        assert_eq!(sample["outcome"], "ok", "{model}: {sample}");
        assert_eq!(sample["first_token_ms"].is_number(), stream, "{model}");
        assert!(sample["auth_ms"].as_f64().unwrap() > 0.0);
        let (at, shown, body) = asked.lock().unwrap().pop().unwrap();
        let below = "/v1/projects/example-project/locations/europe-west4";
        assert_eq!(at, format!("{below}/{path}"));
        assert_eq!(shown, format!("Bearer {SECRET}"));
        match api {
            "messages" => {
                assert_eq!(body["anthropic_version"], "vertex-2023-10-16");
                assert!(body.get("model").is_none(), "it is in the URL: {body}");
            }
            _ => assert_eq!(body["model"], model.trim_start_matches("mistralai/")),
        }
        assert!(body["max_tokens"].is_u64(), "{body}");
    }
    world.write(
        "[[endpoint]]\nprovider = \"vertex\"\napi = \"messages\"\ngoogle = { project = \"p\" }\n",
    );
    let output = world.llmwatch(&["check"]).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("missing key `model`"), "{said}");
}

/// The metadata service of a machine at Google.
async fn google_metadata(State(seen): State<Seen>, uri: Uri, headers: HeaderMap) -> Response {
    seen.lock().unwrap().push(uri.to_string());
    if headers.get("metadata-flavor").is_none_or(|f| f != "Google") {
        return StatusCode::FORBIDDEN.into_response();
    }
    axum::Json(json!({"access_token": SECRET, "expires_in": 3599, "token_type": "Bearer"}))
        .into_response()
}

#[tokio::test]
async fn vertex_asks_the_metadata_service_of_its_machine_last() {
    let (world, simulator) = (World::new().await, provider("").await);
    let seen = Seen::default();
    let app = Router::new()
        .fallback(google_metadata)
        .with_state(seen.clone());
    let service = serve(app).await;
    // A host name, because the metadata service is not used for a local address.
    world.write(&format!(
        "[[endpoint]]\nprovider = \"vertex\"\nbase_url = \"http://vertex.example:{}\"\nresolve = [\"127.0.0.1\"]\n\
         google = {{ project = \"p\" }}\n",
        simulator.addr().port()
    ));
    let host = service.trim_start_matches("http://").to_owned();
    let sample = probe(&world, &[("GCE_METADATA_HOST", host)]).await;
    assert_eq!(sample["outcome"], "ok", "{sample}");
    assert!(sample["auth_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(
        *seen.lock().unwrap(),
        ["/computeMetadata/v1/instance/service-accounts/default/token"]
    );
    let nobody = ("GCE_METADATA_HOST", "127.0.0.1:1".to_owned());
    let sample = probe(&world, &[nobody]).await;
    assert_eq!(sample["fault"], "account.auth", "{sample}");
    let error = sample["error"].as_str().unwrap();
    assert!(error.starts_with("no Google credentials"), "{error}");
}

#[tokio::test]
async fn vertex_faults_are_distinguished() {
    let world = World::new().await;
    for (name, fault) in [
        ("vertex_401", "account.auth"),
        ("vertex_403_billing", "account.quota"),
        ("vertex_429_exhausted", "overloaded"),
        ("vertex_503", "overloaded"),
    ] {
        let simulator = simulator(prompt(&format!("[[rule]]\nfault = \"{name}\"\n"))).await;
        world.write(&format!(
            "[[endpoint]]\nprovider = \"vertex\"\nbase_url = \"http://{}\"\ngoogle = {{ project = \"p\" }}\n",
            simulator.addr()
        ));
        let sample = probe(&world, &[]).await;
        assert_eq!(sample["fault"], fault, "{name}: {sample}");
    }
}
