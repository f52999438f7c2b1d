//! Paths to a target: fixed addresses, a source address, client certificates, and proxies over TLS
//! and SOCKS, all through the binary.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::support::World;

const NAME: &str = "api.example.test";
const ANSWER: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"pong\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

/// A CA, with its certificate in `root.pem` and a client certificate in `client.pem` and
/// `client.key`.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: rcgen::Certificate,
}

impl Authority {
    fn new(directory: &Path) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).unwrap();
        let authority = Self {
            issuer: Issuer::new(params, key),
            root,
        };
        std::fs::write(directory.join("root.pem"), authority.root.pem()).unwrap();
        let (certificate, key) = authority.issue("probe");
        std::fs::write(directory.join("client.pem"), certificate.pem()).unwrap();
        std::fs::write(directory.join("client.key"), key.serialize_pem()).unwrap();
        authority
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// Returns an acceptor of TLS connections as `name`; requires a client certificate of this CA
    /// if `mutual`.
    fn acceptor(&self, name: &str, mutual: bool) -> TlsAcceptor {
        let (certificate, key) = self.issue(name);
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if mutual {
            let mut roots = RootCertStore::empty();
            roots.add(self.root.der().clone()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let config = builder.with_single_cert(vec![certificate.der().clone()], key);
        TlsAcceptor::from(Arc::new(config.unwrap()))
    }
}

type Seen = Arc<Mutex<Vec<(SocketAddr, String)>>>;

/// A provider that records clients and requests; over TLS if it is given an acceptor.
async fn provider(tls: Option<TlsAcceptor>) -> (u16, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Seen::default();
    let written = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, from)) = listener.accept().await {
            let (written, tls) = (written.clone(), tls.clone());
            tokio::spawn(async move {
                match tls {
                    None => answer(stream, from, &written).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            answer(stream, from, &written).await;
                        }
                    }
                }
            });
        }
    });
    (port, seen)
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, from: SocketAddr, seen: &Seen) {
    let mut head = vec![0; 64 * 1024];
    let count = stream.read(&mut head).await.unwrap_or(0);
    let head = String::from_utf8_lossy(&head[..count]).into_owned();
    seen.lock().unwrap().push((from, head));
    let reply = format!(
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{ANSWER}",
        ANSWER.len()
    );
    let _ = stream.write_all(reply.as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// Starts a proxy on its own port; `serve` handles one connection.
async fn proxy<F: Future<Output = ()> + Send + 'static>(
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    port
}

/// SOCKS version 5 with the login `me:p@ss`; every name resolves to this machine.
async fn socks(mut client: TcpStream, target: u16, asked: Arc<Mutex<Vec<String>>>) {
    let mut greeting = [0; 2];
    client.read_exact(&mut greeting).await.unwrap();
    let mut methods = vec![0; usize::from(greeting[1])];
    client.read_exact(&mut methods).await.unwrap();
    if !methods.contains(&2) {
        let _ = client.write_all(&[5, 0xff]).await;
        return;
    }
    client.write_all(&[5, 2]).await.unwrap();
    let mut login = vec![0; 1 + 1 + 2 + 1 + 4];
    client.read_exact(&mut login).await.unwrap();
    if login != b"\x01\x02me\x04p@ss" {
        let _ = client.write_all(&[1, 1]).await;
        return;
    }
    client.write_all(&[1, 0]).await.unwrap();
    let mut request = [0; 5];
    client.read_exact(&mut request).await.unwrap();
    assert_eq!(request[..4], [5, 1, 0, 3], "the proxy resolves the name");
    let mut name = vec![0; usize::from(request[4]) + 2];
    client.read_exact(&mut name).await.unwrap();
    let port = name.split_off(name.len() - 2);
    let name = String::from_utf8(name).unwrap();
    asked.lock().unwrap().push(name.clone());
    if name.starts_with("closed") {
        let _ = client.write_all(&[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]).await;
        return;
    }
    assert_eq!(port, target.to_be_bytes());
    let mut server = TcpStream::connect(("127.0.0.1", target)).await.unwrap();
    let _ = client.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 80]).await;
    let _ = copy_bidirectional(&mut client, &mut server).await;
}

/// An HTTP proxy that only tunnels; every name resolves to this machine.
async fn tunnel(mut client: impl AsyncRead + AsyncWrite + Unpin, target: u16) {
    let mut head = vec![0; 8 * 1024];
    let count = client.read(&mut head).await.unwrap();
    let head = String::from_utf8_lossy(&head[..count]).into_owned();
    assert!(
        head.starts_with(&format!("CONNECT {NAME}:{target} HTTP/1.1")),
        "{head}"
    );
    assert!(
        head.contains("proxy-authorization: Basic bWU6cEBzcw=="),
        "{head}"
    );
    let mut server = TcpStream::connect(("127.0.0.1", target)).await.unwrap();
    let _ = client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
    let _ = copy_bidirectional(&mut client, &mut server).await;
}

async fn probe(world: &World, monitor: &str, endpoint: &str) -> Value {
    world.write(&format!(
        "[monitor]\nca_file = \"root.pem\"\n{monitor}\n[[endpoint]]\nprovider = \"openai-compatible\"\nmodel = \"m\"\n{endpoint}\n"
    ));
    let output = world.llmwatch(&["probe", "--json"]).output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let value: Value = serde_json::from_str(&text)
        .unwrap_or_else(|e| panic!("{e}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    value.get(0).cloned().unwrap_or(value)
}

#[tokio::test]
async fn fixed_addresses_keep_sni_and_source_address_is_used() {
    let world = World::new().await;
    let authority = Authority::new(world.directory.path());
    let (port, seen) = provider(None).await;
    let sample = probe(
        &world,
        "",
        &format!(
            "base_url = \"http://{NAME}:{port}/v1\"\nresolve = [\"127.0.0.1\"]\nsource_address = \"127.0.0.9\""
        ),
    )
    .await;
    assert_eq!(sample["outcome"], "ok", "{sample}");
    assert!(sample["dns_ms"].is_null(), "nothing was resolved");
    let (from, head) = seen.lock().unwrap()[0].clone();
    assert_eq!(from.ip().to_string(), "127.0.0.9");
    assert!(head.contains(&format!("host: {NAME}:{port}\r\n")), "{head}");

    // The first address refuses the connection, the second answers; the certificate is for the
    // name.
    let (port, _) = provider(Some(authority.acceptor(NAME, false))).await;
    let endpoint =
        |resolve: &str| format!("base_url = \"https://{NAME}:{port}/v1\"\nresolve = [{resolve}]");
    let sample = probe(&world, "", &endpoint("\"127.0.0.250\", \"127.0.0.1\"")).await;
    assert_eq!(sample["outcome"], "ok", "{sample}");
    assert_eq!(sample["remote_addr"], format!("127.0.0.1:{port}"));
    let (port, _) = provider(Some(authority.acceptor("another.example.test", false))).await;
    let endpoint = format!("base_url = \"https://{NAME}:{port}/v1\"\nresolve = [\"127.0.0.1\"]");
    let sample = probe(&world, "", &endpoint).await;
    assert_eq!(sample["fault"], "tls.certificate", "{sample}");
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_it_is_wanted() {
    let world = World::new().await;
    let authority = Authority::new(world.directory.path());
    let (port, _) = provider(Some(authority.acceptor(NAME, true))).await;
    let target = format!("base_url = \"https://{NAME}:{port}/v1\"\nresolve = [\"127.0.0.1\"]\n");
    let with = format!("{target}client_cert = \"client.pem\"\nclient_key = \"client.key\"");
    let sample = probe(&world, "", &with).await;
    assert_eq!(sample["outcome"], "ok", "{sample}");
    let sample = probe(&world, "", &target).await;
    assert_eq!(sample["outcome"], "failed", "{sample}");
    let error = sample["error"].as_str().unwrap();
    assert!(error.contains("client_cert"), "{error}");

    let other = KeyPair::generate().unwrap().serialize_pem();
    std::fs::write(world.directory.path().join("other.key"), other).unwrap();
    for (keys, said) in [
        (
            "client_cert = \"client.pem\"",
            "only one of `client_cert` and `client_key` is set",
        ),
        (
            "client_cert = \"none.pem\"\nclient_key = \"client.key\"",
            "none.pem",
        ),
        (
            "client_cert = \"client.key\"\nclient_key = \"client.key\"",
            "holds no certificate",
        ),
        (
            "client_cert = \"client.pem\"\nclient_key = \"other.key\"",
            "cannot use `client_cert` and `client_key`",
        ),
    ] {
        world.write(&format!(
            "[[endpoint]]\nprovider = \"openai-compatible\"\nmodel = \"m\"\n{target}{keys}\n"
        ));
        let output = world.llmwatch(&["check"]).output().await.unwrap();
        let shown = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{keys}: {shown}");
        assert!(shown.contains(said), "{keys}: {shown}");
    }
}

#[tokio::test]
async fn a_socks_proxy_is_passed_and_its_failures_are_its_own() {
    let world = World::new().await;
    let authority = Authority::new(world.directory.path());
    let (plain, seen) = provider(None).await;
    let (secure, _) = provider(Some(authority.acceptor(NAME, false))).await;
    let asked = Arc::new(Mutex::new(Vec::new()));
    for (target, scheme) in [(plain, "http"), (secure, "https")] {
        let log = asked.clone();
        let port = proxy(move |stream| socks(stream, target, log.clone())).await;
        let endpoint = format!("base_url = \"{scheme}://{NAME}:{target}/v1\"");
        let via = |login: &str| format!("proxy = \"socks5://{login}127.0.0.1:{port}\"");
        let sample = probe(&world, &via("me:p%40ss@"), &endpoint).await;
        assert_eq!(sample["outcome"], "ok", "{sample}");
        assert!(sample["proxy_ms"].as_f64().unwrap() > 0.0);
        assert_eq!(sample["tls_ms"].is_number(), scheme == "https");
        for (login, said) in [
            (
                "",
                "it requires another login than a user name and password",
            ),
            ("me:wong@", "it rejects the user name or password"),
        ] {
            let sample = probe(&world, &via(login), &endpoint).await;
            assert_eq!(sample["fault"], "local.proxy", "{sample}");
            let error = sample["error"].as_str().unwrap();
            assert!(error.contains(said), "{error}");
        }
        let endpoint = format!("base_url = \"{scheme}://closed.example.test:{target}/v1\"");
        let sample = probe(&world, &via("me:p%40ss@"), &endpoint).await;
        assert_eq!(sample["fault"], "local.proxy");
        let error = sample["error"].as_str().unwrap();
        assert!(
            error.contains("the target refuses its connection"),
            "{error}"
        );
    }
    let (_, head) = seen.lock().unwrap()[0].clone();
    assert!(
        head.starts_with("POST /v1/chat/completions HTTP/1.1"),
        "as to the target itself: {head}"
    );
    assert!(!head.contains("proxy-authorization"), "{head}");
}

#[tokio::test]
async fn a_proxy_over_tls_is_passed() {
    let world = World::new().await;
    let authority = Authority::new(world.directory.path());
    let (target, _) = provider(Some(authority.acceptor(NAME, false))).await;
    for (certificate, fault) in [
        ("localhost", Value::Null),
        ("other.example.test", "local.proxy".into()),
    ] {
        let acceptor = authority.acceptor(certificate, false);
        let port = proxy(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    tunnel(stream, target).await;
                }
            }
        })
        .await;
        let sample = probe(
            &world,
            &format!("proxy = \"https://me:p%40ss@localhost:{port}\""),
            &format!("base_url = \"https://{NAME}:{target}/v1\""),
        )
        .await;
        assert_eq!(sample["fault"], fault, "{sample}");
        assert!(!sample.to_string().contains("p@ss"), "{sample}");
        if fault.is_string() {
            let error = sample["error"].as_str().unwrap();
            assert!(
                error.contains("the certificate is for another name"),
                "{error}"
            );
        }
    }
}

#[tokio::test]
async fn messages_pass_a_socks_proxy_too() {
    let world = World::new().await;
    let target = world.hook.addr().port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    let port = proxy(move |stream| socks(stream, target, log.clone())).await;
    world.write(&format!(
        "[monitor]\nproxy = \"socks5://me:p%40ss@127.0.0.1:{port}\"\nstate_dir = \"state\"\n\
         [[webhook]]\nname = \"far\"\nurl = \"http://hooks.example.test:{target}/alerts\"\n"
    ));
    let output = world.llmwatch(&["test-alert"]).output().await.unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(*asked.lock().unwrap(), ["hooks.example.test"]);
}
