//! How a probe reaches its target: negotiated parameters, reused connections, proxies, TLS with
//! HTTP/2.

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use llmwatch::clock;
use llmwatch::config::{self, Environment, Settings};
use llmwatch::notify::{Attempt, Progress, Sender};
use llmwatch::probe::{Due, Prober};
use llmwatch_core::message::test_notice::sample_notice;
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::{Attribution, Fault, NoticeKind, Sample, Timestamp, Trigger};
use llmwatch_simulator::WebhookSink;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use uuid::Uuid;

use crate::support::PATIENCE;

const ANSWER: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"pong\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

fn load(text: &str) -> Settings {
    load_in(text, &HashMap::new())
}

fn load_in(text: &str, vars: &HashMap<String, String>) -> Settings {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("monitor.toml");
    std::fs::write(&path, text).unwrap();
    let surroundings = Environment {
        vars: vars.clone(),
        hostname: "here".to_owned(),
        ..Environment::default()
    };
    config::load(&path, &surroundings).unwrap_or_else(|e| panic!("{e}"))
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

async fn probe(prober: &Prober, config: &Settings) -> Sample {
    let now = clock::now();
    let due = Due {
        scheduled_at: now,
        started_at: now,
        trigger: Trigger::Manual,
    };
    tokio::time::timeout(PATIENCE, prober.probe(&config.endpoints[0], due))
        .await
        .unwrap()
}

type Seen = Arc<Mutex<Vec<Value>>>;

/// A server that accepts only one name for the token limit, and records its requests.
async fn particular(State((refused, seen)): State<(&'static str, Seen)>, body: String) -> Response {
    let asked: Value = serde_json::from_str(&body).unwrap();
    let is_refused = asked.get(refused).is_some();
    seen.lock().unwrap().push(asked);
    if is_refused {
        let message =
            format!("Unsupported parameter: '{refused}' is not supported with this model.");
        let error = json!({"error": {"message": message, "type": "invalid_request_error", "param": refused, "code": "unsupported_parameter"}});
        return (StatusCode::BAD_REQUEST, axum::Json(error)).into_response();
    }
    ANSWER.into_response()
}

#[tokio::test]
async fn the_name_of_the_budget_is_agreed_on_once() {
    for (provider, refused, accepted) in [
        ("openai-compatible", "max_tokens", "max_completion_tokens"),
        ("openai", "max_completion_tokens", "max_tokens"),
    ] {
        let (listener, seen) = (listener().await, Seen::default());
        let address = listener.local_addr().unwrap();
        let app = Router::new()
            .fallback(particular)
            .with_state((refused, seen.clone()));
        tokio::spawn(async move { axum::serve(listener, app).await });
        let config = load(&format!(
            "[[endpoint]]\nprovider = \"{provider}\"\nmodel = \"m\"\nbase_url = \"http://{address}/v1\"\n"
        ));
        let prober = Prober::new(&config).unwrap();
        for _ in 0..2 {
            let sample = probe(&prober, &config).await;
            assert_eq!(sample.fault, None, "{sample:?}");
        }
        let seen = seen.lock().unwrap();
        let names: Vec<bool> = seen
            .iter()
            .map(|asked| asked.get(accepted).is_some())
            .collect();
        assert_eq!(
            names,
            [false, true, true],
            "asked once, remembered, and no third try"
        );
        let prompts: Vec<&str> = seen
            .iter()
            .filter_map(|asked| asked["messages"][0]["content"].as_str())
            .collect();
        assert_ne!(prompts[1], prompts[2], "no cache can answer for the model");
    }
}

#[tokio::test]
async fn a_kept_connection_has_no_stages_of_its_own() {
    let (listener, seen) = (listener().await, Seen::default());
    let address = listener.local_addr().unwrap();
    let app = Router::new()
        .fallback(particular)
        .with_state(("nothing", seen.clone()));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let config = load(&format!(
        "[[endpoint]]\nprovider = \"openai\"\nbase_url = \"http://{address}/v1\"\nconnection = \"reuse\"\n"
    ));
    let prober = Prober::new(&config).unwrap();
    let first = probe(&prober, &config).await;
    let second = probe(&prober, &config).await;
    assert!(first.tcp_ms.is_some() && first.fault.is_none(), "{first:?}");
    assert!(
        second.tcp_ms.is_none() && second.fault.is_none(),
        "{second:?}"
    );
    assert_eq!(first.remote_addr, second.remote_addr);
    assert!(second.first_token_ms.is_some());
}

#[tokio::test]
async fn closed_idle_connection_is_not_a_fault() {
    let listener = listener().await;
    let config = load(&format!(
        "[[endpoint]]\nprovider = \"openai\"\nbase_url = \"http://{}/v1\"\nconnection = \"reuse\"\n",
        listener.local_addr().unwrap()
    ));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 64 * 1024];
            let _ = stream.read(&mut request).await;
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
                ANSWER.len()
            );
            let _ = stream.write_all(format!("{head}{ANSWER}").as_bytes()).await;
            // Reads one more request and closes the connection, as a server does whose idle timeout
            // has just expired.
            let _ = stream.read(&mut request).await;
        }
    });
    let prober = Prober::new(&config).unwrap();
    for _ in 0..2 {
        let sample = probe(&prober, &config).await;
        assert_eq!(sample.fault, None, "{sample:?}");
        assert!(
            sample.tcp_ms.is_some(),
            "a connection of its own: {sample:?}"
        );
    }
}

/// A TLS server for `localhost` that speaks only HTTP/2, with its CA certificate.
async fn secured(directory: &Path) -> (u16, std::path::PathBuf) {
    let listener = listener().await;
    let port = listener.local_addr().unwrap().port();
    let mut wanted = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    wanted.not_after = rcgen::date_time_ymd(2060, 1, 2);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = wanted.self_signed(&key).unwrap();
    let root = directory.join("root.pem");
    std::fs::write(&root, certificate.pem()).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let answer = hyper::service::service_fn(|_| async {
                    Ok::<_, Infallible>(hyper::Response::new(Full::new(Bytes::from(ANSWER))))
                });
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    });
    (port, root)
}

fn secure(
    port: u16,
    root: Option<&Path>,
    monitor: &str,
    vars: &HashMap<String, String>,
) -> Settings {
    let root = root.map_or(String::new(), |path| {
        format!("ca_file = \"{}\"", path.display())
    });
    let text = format!(
        "[monitor]\n{root}\n{monitor}\n[[endpoint]]\nprovider = \"openai\"\nbase_url = \"https://localhost:{port}/v1\"\n"
    );
    load_in(&text, vars)
}

#[tokio::test]
async fn tls_with_a_root_of_ones_own_and_http_2_and_an_expiry() {
    let directory = tempfile::tempdir().unwrap();
    let (port, root) = secured(directory.path()).await;
    let config = secure(port, Some(&root), "", &HashMap::new());
    let sample = probe(&Prober::new(&config).unwrap(), &config).await;
    assert_eq!(sample.fault, None, "{sample:?}");
    assert_eq!(sample.http_version.as_deref(), Some("HTTP/2"));
    assert_eq!(
        sample.tls_expires_at,
        Timestamp::parse("2060-01-02T00:00:00Z").ok()
    );
    assert!(sample.dns_ms.is_some() && sample.tcp_ms.is_some() && sample.tls_ms.is_some());

    let config = secure(port, None, "", &HashMap::new());
    let sample = probe(&Prober::new(&config).unwrap(), &config).await;
    assert_eq!(
        sample.fault,
        Some(Fault::TlsCertificate),
        "nobody vouches for it: {sample:?}"
    );
}

#[tokio::test]
async fn an_address_of_ipv6_is_reached_and_recorded() {
    // Skip on a machine without IPv6.
    let Ok(listener) = TcpListener::bind("[::1]:0").await else {
        return;
    };
    let address = listener.local_addr().unwrap();
    tokio::spawn(
        async move { axum::serve(listener, Router::new().fallback(async || ANSWER)).await },
    );
    let config = load(&format!(
        "[[endpoint]]\nprovider = \"openai\"\nbase_url = \"http://{address}/v1\"\n"
    ));
    let sample = probe(&Prober::new(&config).unwrap(), &config).await;
    assert_eq!(
        (sample.fault, sample.remote_addr),
        (None, Some(address.to_string()))
    );
}

#[tokio::test]
async fn sni_carries_the_host_name() {
    let listener = listener().await;
    let port = listener.local_addr().unwrap().port();
    let named = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let hello =
            tokio_rustls::LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream)
                .await
                .unwrap();
        let offered: Vec<_> = hello
            .client_hello()
            .alpn()
            .into_iter()
            .flatten()
            .map(<[u8]>::to_vec)
            .collect();
        (
            hello.client_hello().server_name().map(str::to_owned),
            offered,
        )
    });
    let config = secure(port, None, "", &HashMap::new());
    let sample = probe(&Prober::new(&config).unwrap(), &config).await;
    assert_eq!(
        sample.fault,
        Some(Fault::TlsHandshake),
        "it hangs up once it knows: {sample:?}"
    );
    assert_eq!(
        named.await.unwrap(),
        (
            Some("localhost".to_owned()),
            vec![b"h2".to_vec(), b"http/1.1".to_vec()]
        )
    );
}

/// A proxy that tunnels for clients with this header. Returns its port and its log.
async fn proxy(wanted: &'static str) -> (u16, Arc<Mutex<Vec<String>>>) {
    let (listener, log) = (listener().await, Arc::new(Mutex::new(Vec::new())));
    let port = listener.local_addr().unwrap().port();
    let written = log.clone();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let written = written.clone();
            tokio::spawn(async move {
                let mut head = vec![0; 64 * 1024];
                let count = client.read(&mut head).await.unwrap();
                let head = String::from_utf8_lossy(&head[..count]).into_owned();
                written.lock().unwrap().push(head.clone());
                if !head.contains(wanted) {
                    let _ = client
                        .write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
                        .await;
                    return;
                }
                if let Some(target) = head
                    .strip_prefix("CONNECT ")
                    .and_then(|rest| rest.split(' ').next())
                {
                    let mut server = TcpStream::connect(target).await.unwrap();
                    client
                        .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
                        .await
                        .unwrap();
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                } else {
                    let head = format!(
                        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
                        ANSWER.len()
                    );
                    let _ = client.write_all(format!("{head}{ANSWER}").as_bytes()).await;
                }
            });
        }
    });
    (port, log)
}

#[tokio::test]
async fn messages_pass_the_proxy_too_but_not_to_what_is_near() {
    let (proxy_port, log) = proxy("proxy-authorization: Basic bWU6c2VjcmV0").await;
    let near = WebhookSink::start(listener().await).unwrap();
    let text = format!(
        "[monitor]\nproxy = \"http://me:secret@127.0.0.1:{proxy_port}\"\n\
         [[webhook]]\nname = \"far\"\nurl = \"http://hooks.test/alerts\"\n\
         [[webhook]]\nname = \"near\"\nurl = \"http://{}/\"\n\
         [[endpoint]]\nprovider = \"openai\"\napi_key = \"k\"\n",
        near.addr()
    );
    let config = load_in(&text, &HashMap::new());
    let sender = Sender::new(&config).unwrap();
    for channel in &config.channels {
        let notice = sample_notice(
            NoticeKind::Opened,
            Uuid::now_v7(),
            "here",
            None,
            clock::now(),
            &Locale::default(),
        );
        let attempt = sender
            .attempt(channel, &notice, Progress::default(), clock::now())
            .await;
        assert!(matches!(attempt, Attempt::Delivered { .. }), "{attempt:?}");
    }
    let asked = log.lock().unwrap();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(asked[0].starts_with("POST http://hooks.test/alerts HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_proxy_is_passed_and_its_failures_are_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let (port, root) = secured(directory.path()).await;
    // "me:secret" in Base64.
    let (proxy_port, log) = proxy("proxy-authorization: Basic bWU6c2VjcmV0").await;
    let none = HashMap::new();
    let through = |url: String| secure(port, Some(&root), &format!("proxy = \"{url}\""), &none);

    let config = through(format!("http://me:secret@127.0.0.1:{proxy_port}"));
    let sample = probe(&Prober::new(&config).unwrap(), &config).await;
    assert_eq!(sample.fault, None, "{sample:?}");
    assert_eq!(sample.http_version.as_deref(), Some("HTTP/2"));
    assert!(log.lock().unwrap()[0].starts_with(&format!("CONNECT localhost:{port} HTTP/1.1\r\n")));

    let config = through(format!("http://127.0.0.1:{proxy_port}"));
    let sample = probe(&Prober::new(&config).unwrap(), &config).await;
    assert_eq!(
        (sample.fault, sample.attribution),
        (Some(Fault::LocalProxy), Some(Attribution::Local))
    );
    assert_eq!(
        sample.http_status,
        Some(407),
        "it distinguishes a proxy that is up from one that is down"
    );
    assert!(sample.error.is_some_and(|words| words.contains("407")));

    let config = through("http://127.0.0.1:1".to_owned());
    let sample = probe(&Prober::new(&config).unwrap(), &config).await;
    assert_eq!(sample.fault, Some(Fault::LocalProxy));

    // Plain HTTP goes to the proxy from the environment unchanged.
    let vars = HashMap::from([(
        "http_proxy".to_owned(),
        format!("http://me:secret@127.0.0.1:{proxy_port}"),
    )]);
    let text = "[monitor]\nproxy = \"env\"\n[[endpoint]]\nprovider = \"openai\"\nbase_url = \"http://llm.test/v1\"\napi_key = \"k\"\n";
    let config = load_in(text, &vars);
    let sample = probe(&Prober::new(&config).unwrap(), &config).await;
    assert_eq!(sample.fault, None, "{sample:?}");
    assert!(
        log.lock()
            .unwrap()
            .iter()
            .any(|head| head.starts_with("POST http://llm.test/v1/chat/completions "))
    );

    // Targets that the environment excludes bypass the proxy.
    let before = log.lock().unwrap().len();
    let vars = HashMap::from([
        (
            "https_proxy".to_owned(),
            format!("http://me:secret@127.0.0.1:{proxy_port}"),
        ),
        ("no_proxy".to_owned(), "example.com, localhost".to_owned()),
    ]);
    let config = secure(port, Some(&root), "proxy = \"env\"", &vars);
    let sample = probe(&Prober::new(&config).unwrap(), &config).await;
    assert_eq!(
        (sample.fault, log.lock().unwrap().len()),
        (None, before),
        "{sample:?}"
    );
    let config = secure(
        port,
        Some(&root),
        "proxy = \"env\"",
        &HashMap::from([vars.into_iter().find(|(k, _)| k == "https_proxy").unwrap()]),
    );
    let sample = probe(&Prober::new(&config).unwrap(), &config).await;
    assert_eq!(
        (sample.fault, log.lock().unwrap().len()),
        (None, before + 1),
        "{sample:?}"
    );
}

#[test]
fn unusable_environment_proxy_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("monitor.toml");
    std::fs::write(
        &path,
        "[monitor]\nproxy = \"env\"\n[[endpoint]]\nprovider = \"openai\"\napi_key = \"k\"\n",
    )
    .unwrap();
    let vars = HashMap::from([(
        "ALL_PROXY".to_owned(),
        "socks4://me:s3cret@proxy.test:1080".to_owned(),
    )]);
    let surroundings = Environment {
        vars,
        hostname: "here".to_owned(),
        ..Environment::default()
    };
    let refused = config::load(&path, &surroundings).unwrap_err().to_string();
    let wanted =
        "`ALL_PROXY` of the environment is a proxy of kind `socks4://`, which is not supported";
    assert!(
        refused.contains(wanted) && refused.contains("monitor.toml:2:9"),
        "{refused}"
    );
    assert!(!refused.contains("s3cret"), "{refused}");
}

#[tokio::test]
async fn a_token_of_entra_id_is_fetched_once_and_timed_apart() {
    let (listener, seen) = (listener().await, Seen::default());
    let address = listener.local_addr().unwrap();
    let token = |State(seen): State<Seen>, body: String| async move {
        seen.lock().unwrap().push(json!({"token": body}));
        axum::Json(
            json!({"token_type": "Bearer", "expires_in": 3599, "access_token": "entra-token"}),
        )
    };
    let answer = |State(seen): State<Seen>, headers: axum::http::HeaderMap| async move {
        let shown = headers
            .get("authorization")
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        seen.lock()
            .unwrap()
            .push(json!({"shown": shown, "key": headers.contains_key("api-key")}));
        ANSWER
    };
    let app = Router::new()
        .route("/tenant/oauth2/v2.0/token", axum::routing::post(token))
        .fallback(answer)
        .with_state(seen.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let config = load(&format!(
        "[[endpoint]]\nprovider = \"azure-openai\"\ndeployment = \"d\"\nbase_url = \"http://{address}\"\n\
         entra = {{ client_id = \"app\", client_secret = \"${{SECRET}}\", token_url = \"http://{address}/tenant/oauth2/v2.0/token\" }}\n"
    ).replace("${SECRET}", "s3cret&more"));
    let prober = Prober::new(&config).unwrap();
    let first = probe(&prober, &config).await;
    let second = probe(&prober, &config).await;
    assert_eq!((first.fault, second.fault), (None, None), "{first:?}");
    assert!(
        first.auth_ms.is_some() && second.auth_ms.is_none(),
        "fetched once"
    );
    let seen = seen.lock().unwrap();
    let form = seen[0]["token"].as_str().unwrap();
    assert!(
        form.contains("client_secret=s3cret%26more")
            && form.contains("grant_type=client_credentials"),
        "{form}"
    );
    for asked in &seen[1..] {
        assert_eq!(asked, &json!({"shown": "Bearer entra-token", "key": false}));
    }
    assert_eq!(seen.len(), 3);
}
