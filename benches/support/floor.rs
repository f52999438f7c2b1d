//! Servers that answer with as little work as possible, and the floor: a bare client that does only
//! the same requests.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::Process;

/// Makes a benchmark the floor: then come the address, the kind of work, how many endpoints, their
/// interval in milliseconds, and the file with the server's certificate.
pub(crate) const FLOOR: &str = "--floor";
/// The tokens of a streamed answer, and how long each takes.
const TOKENS: usize = 10;
const TOKEN_GAP: Duration = Duration::from_millis(5);

/// The requests of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Plain HTTP on connections that are kept.
    Kept,
    /// Plain HTTP, each time on a new connection.
    Fresh,
    /// HTTPS, each time on a new connection with a full handshake.
    Https,
    /// A streamed answer of ten tokens on a connection that is kept.
    Streamed,
}

impl Work {
    pub(crate) const ALL: [Self; 4] = [Self::Kept, Self::Fresh, Self::Https, Self::Streamed];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Fresh => "fresh",
            Self::Https => "https",
            Self::Streamed => "streamed",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|work| work.as_str() == text)
    }

    fn keeps(self) -> bool {
        matches!(self, Self::Kept | Self::Streamed)
    }
}

/// A server and, where it speaks TLS, the file with its certificate.
pub(crate) struct Server {
    pub(crate) address: String,
    pub(crate) certificate: Option<PathBuf>,
}

/// Answers with the same few bytes.
async fn serve(work: Work, directory: &Path) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (tls, certificate) = match work {
        Work::Https => {
            let (config, file) = server_tls(directory);
            (Some(TlsAcceptor::from(Arc::new(config))), Some(file))
        }
        _ => (None, None),
    };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // As every web server does.
            let _ = stream.set_nodelay(true);
            let tls = tls.clone();
            tokio::spawn(async move {
                match tls {
                    None => answer_on(stream, work).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            answer_on(stream, work).await;
                        }
                    }
                }
            });
        }
    });
    Server {
        address: address.to_string(),
        certificate,
    }
}

async fn answer_on(stream: impl AsyncRead + AsyncWrite + Unpin, work: Work) {
    let answer = move |request: Request<Incoming>| async move {
        let _ = request.into_body().collect().await;
        Ok::<_, Infallible>(if work == Work::Streamed {
            Response::builder()
                .header("content-type", "text/event-stream")
                .body(tokens())
                .unwrap_or_default()
        } else {
            Response::new(Full::new(Bytes::from_static(b"pong\n")).boxed_unsync())
        })
    };
    let connection = hyper::server::conn::http1::Builder::new();
    let connection = connection.serve_connection(TokioIo::new(stream), service_fn(answer));
    // The client may go whenever it likes.
    let _ = connection.await;
}

/// The answer of a chat, token by token.
fn tokens() -> UnsyncBoxBody<Bytes, Infallible> {
    let frames = futures_util::stream::unfold(0, |n| async move {
        if n > TOKENS {
            return None;
        }
        tokio::time::sleep(TOKEN_GAP).await;
        let word = if n == 0 { "pong" } else { " and" };
        let mut text = if n < TOKENS {
            event(&format!("{{\"content\":\"{word}\"}}"), "null")
        } else {
            event("{}", "\"stop\"")
        };
        if n == TOKENS {
            text += "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[],\
                     \"usage\":{\"prompt_tokens\":14,\"completion_tokens\":10,\"total_tokens\":24}}\n\ndata: [DONE]\n\n";
        }
        Some((Ok(Frame::data(Bytes::from(text))), n + 1))
    });
    StreamBody::new(frames).boxed_unsync()
}

fn event(delta: &str, finish: &str) -> String {
    format!(
        "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{{\"index\":0,\
         \"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
    )
}

/// A self-signed certificate for the server, and the file in `directory` that holds it.
fn server_tls(directory: &Path) -> (ServerConfig, PathBuf) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]);
    let made = made.expect("a certificate");
    let file = directory.join("ca.pem");
    std::fs::write(&file, made.cert.pem()).expect("room");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key);
    (config.expect("a configuration"), file)
}

/// Starts this program as the floor of `count` endpoints that are asked every `interval`.
pub(crate) fn start_floor(
    server: &Server,
    work: Work,
    count: usize,
    interval: Duration,
) -> Process {
    let program = std::env::current_exe().expect("this program");
    let certificate = server.certificate.clone().unwrap_or_default();
    let floor = Command::new(program)
        .args([FLOOR, &server.address, work.as_str()])
        .args([count.to_string(), interval.as_millis().to_string()])
        .arg(certificate)
        .spawn();
    Process(floor.expect("the floor"))
}

/// Is the floor, if the arguments of the program say so; never ends then.
pub(crate) async fn be_floor(arguments: &[String]) {
    let Some(at) = arguments.iter().position(|a| a == FLOOR) else {
        return;
    };
    let [address, work, count, interval, certificate] = &arguments[at + 1..] else {
        panic!("the floor takes five arguments");
    };
    let work = Work::parse(work).expect("a kind of work");
    let count: u32 = count.parse().expect("a number");
    let interval = Duration::from_millis(interval.parse().expect("a number"));
    let tls = (work == Work::Https).then(|| client_tls(Path::new(certificate)));
    for n in 0..count {
        tokio::spawn(asking(
            address.clone(),
            work,
            interval,
            n,
            count,
            tls.clone(),
        ));
    }
    std::future::pending::<()>().await;
}

/// Trusts one certificate and resumes no session, as a probe.
fn client_tls(certificate: &Path) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(certificate).expect("a certificate");
    roots.add(certificate).expect("a certificate");
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    TlsConnector::from(Arc::new(config))
}

/// Does the requests of the endpoint number `n` of `count`, and nothing else.
async fn asking(
    address: String,
    work: Work,
    interval: Duration,
    n: u32,
    count: u32,
    tls: Option<TlsConnector>,
) {
    tokio::time::sleep(interval * n / count).await;
    let mut ticks = tokio::time::interval(interval);
    let mut kept = None;
    loop {
        ticks.tick().await;
        let mut sender = match kept.take() {
            Some(sender) => sender,
            None => connect(&address, tls.as_ref()).await,
        };
        let request = Request::get("/")
            .header("host", &address)
            .body(Full::<Bytes>::default())
            .expect("a request");
        let answer = sender.send_request(request).await.expect("an answer");
        let mut body = answer.into_body();
        while let Some(frame) = body.frame().await {
            frame.expect("a frame");
        }
        kept = work.keeps().then_some(sender);
    }
}

async fn connect(address: &str, tls: Option<&TlsConnector>) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.expect("a connection");
    stream.set_nodelay(true).expect("a socket");
    let Some(tls) = tls else {
        return speak(stream).await;
    };
    let name = ServerName::try_from("127.0.0.1").expect("a name");
    speak(tls.connect(name, stream).await.expect("TLS")).await
}

async fn speak<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
) -> SendRequest<Full<Bytes>> {
    let (sender, connection) = handshake(TokioIo::new(stream)).await.expect("a handshake");
    tokio::spawn(connection);
    sender
}

/// Starts the server that answers `work`, and writes the configuration of a daemon that asks it
/// `count` times every `interval`; `log` is the value of `[log] samples`.
pub(crate) async fn set_up(
    directory: &Path,
    work: Work,
    count: usize,
    interval: Duration,
    log: &str,
) -> (Server, PathBuf) {
    let server = serve(work, directory).await;
    let config = configure(directory, &server, work, count, interval, log);
    (server, config)
}

/// A configuration of `count` endpoints on `server` in `directory`.
fn configure(
    directory: &Path,
    server: &Server,
    work: Work,
    count: usize,
    interval: Duration,
    log: &str,
) -> PathBuf {
    let (scheme, ca) = match &server.certificate {
        Some(file) => ("https", format!("ca_file = \"{}\"\n", file.display())),
        None => ("http", String::new()),
    };
    let connection = if work.keeps() { "reuse" } else { "fresh" };
    let mut text = format!(
        "[monitor]\nlocation = \"fra1\"\nstate_dir = \"{}\"\nlisten = \"127.0.0.1:0\"\n{ca}\
         max_concurrent_probes = 1000\n[log]\nsamples = \"{log}\"\n\
         [defaults]\ninterval = \"{}ms\"\nconnection = \"{connection}\"\n",
        directory.display(),
        interval.as_millis()
    );
    let address = &server.address;
    for n in 0..count {
        text += &match work {
            Work::Streamed => format!(
                "[[endpoint]]\nname = \"e{n}\"\nprovider = \"openai\"\nmodel = \"m\"\napi_key = \"none\"\n\
                 base_url = \"{scheme}://{address}/v1\"\nprice = {{ input = 0.0, output = 0.0 }}\n"
            ),
            _ => format!(
                "[[endpoint]]\nname = \"e{n}\"\nprovider = \"http\"\nbase_url = \"{scheme}://{address}\"\n"
            ),
        };
    }
    let path = directory.join("monitor.toml");
    std::fs::write(&path, text).expect("room");
    path
}
