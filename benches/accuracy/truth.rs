//! The server that is measured, in a process of its own, and what it says that it did.

use std::collections::HashMap;
use std::io::{self, BufRead as _, BufReader, IoSliceMut, Write as _};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use llmwatch_simulator::{Scenario, Simulator};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Headers and first token leave together, so that curl's first byte is the first token's.
const SCENARIO: &str = "seed = 1\n[healthy]\nheaders_after = \"60ms\"\nfirst_token_after = \"60ms\"\ntoken_gap = \"10ms\"\ntokens = 8\n";
/// What the server with TLS answers.
const ANSWER: &str =
    r#"{"choices":[{"message":{"role":"assistant","content":"pong"},"finish_reason":"stop"}]}"#;

/// How long handshakes took, in milliseconds.
type Handshakes = Arc<Mutex<Vec<f64>>>;

/// The server's process, which ends with this.
pub(crate) struct Server {
    child: Child,
    /// Where the simulator listens.
    pub(crate) plain: String,
    /// Where the server with TLS listens, by name.
    pub(crate) secure: String,
    /// Where it says how long handshakes took.
    spans: String,
    /// The certificate of its authority.
    pub(crate) root: PathBuf,
    _directory: tempfile::TempDir,
}

/// When the server wrote what, in milliseconds after the request's arrival.
pub(crate) struct Truth {
    /// The head.
    pub(crate) headers: Option<f64>,
    /// Each token.
    pub(crate) tokens: Vec<f64>,
    /// The terminal.
    pub(crate) done: Option<f64>,
}

impl Server {
    /// Starts this program again, as the server.
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().join("root.pem");
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program)
            .arg("--serve")
            .env("ROOT", &root)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a server");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output"))
            .read_line(&mut line)
            .expect("its addresses");
        let addresses: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        let [plain, secure, spans] = addresses.try_into().expect("three addresses");
        Self {
            child,
            plain,
            secure,
            spans,
            root,
            _directory: directory,
        }
    }

    /// What it did, by model, once it has noted the end of all of these.
    pub(crate) async fn truths(&self, models: &[String]) -> HashMap<String, Truth> {
        loop {
            let mut stream = TcpStream::connect(&self.plain).await.expect("the server");
            stream
                .write_all(b"GET /_log HTTP/1.1\r\nhost: sim\r\n\r\n")
                .await
                .expect("the server");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("its log");
            let (_, log) = answer.split_once("\r\n\r\n").expect("a body");
            let log: Vec<Value> = serde_json::from_str(log).expect("a list");
            let by_model = log
                .iter()
                .filter_map(|e| Some((e["model"].as_str()?.to_owned(), Truth::of(e))));
            let truths: HashMap<_, _> = by_model.collect();
            if models.iter().all(|model| truths.contains_key(model)) {
                return truths;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// How long each TLS handshake since the last call took, from the arrival of the client's first
    /// bytes to that of its last, both by the kernel's clock, in milliseconds: so much of it
    /// neither side's reporting can change.
    pub(crate) async fn spans(&self) -> Vec<f64> {
        let mut stream = TcpStream::connect(&self.spans).await.expect("the server");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("its list");
        answer
            .lines()
            .filter_map(|line| line.parse().ok())
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Truth {
    fn of(exchange: &Value) -> Self {
        let writes = exchange["writes"].as_array().into_iter().flatten();
        let of_kind = |kind: &'static str| {
            let one = move |w: &Value| {
                (w["kind"] == kind).then(|| w["after_us"].as_f64().map(|us| us / 1000.0))?
            };
            writes.clone().filter_map(one)
        };
        Self {
            headers: of_kind("headers").next(),
            tokens: of_kind("token").collect(),
            done: of_kind("done").next(),
        }
    }
}

/// Serves until the input ends.
pub(crate) fn serve() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        // A longer queue than is usual: all who come at once are let in at once.
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a port");
        let listener = socket.listen(1024).expect("a listener");
        let simulator = Simulator::start(listener, Scenario::parse(SCENARIO).expect("a scenario"))
            .expect("a server");
        let name = a_name();
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a port");
        let secure = socket.listen(1024).expect("a listener");
        let port = secure.local_addr().expect("its address").port();
        let acceptor = tls(&name);
        let spans = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let spans_at = spans.local_addr().expect("its address");
        let handshakes = Handshakes::default();
        let kept = handshakes.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = spans.accept().await {
                let list = std::mem::take(&mut *kept.lock().expect("the list"));
                let _ = stream
                    .write_all(
                        list.iter()
                            .map(f64::to_string)
                            .collect::<Vec<_>>()
                            .join("\n")
                            .as_bytes(),
                    )
                    .await;
            }
        });
        tokio::spawn(async move {
            while let Ok((stream, _)) = secure.accept().await {
                let (acceptor, handshakes) = (acceptor.clone(), handshakes.clone());
                // Or the second part of its greeting waits for a client that is slow to acknowledge
                // the first.
                let _ = stream.set_nodelay(true);
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(Stamped::new(stream)).await else {
                        return;
                    };
                    handshakes
                        .lock()
                        .expect("the list")
                        .extend(stream.get_ref().0.span());
                    let mut request = vec![0; 64 * 1024];
                    let _ = stream.read(&mut request).await;
                    let head = format!(
                        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
                        ANSWER.len()
                    );
                    let _ = stream.write_all(format!("{head}{ANSWER}").as_bytes()).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        println!("{} {name}:{port} {spans_at}", simulator.addr());
        std::io::stdout().flush().expect("somebody who waits");
        let mut rest = Vec::new();
        let _ = tokio::io::stdin().read_to_end(&mut rest).await;
    });
}

/// A stream that keeps the kernel's stamps of the first and the last bytes that were read.
struct Stamped {
    stream: TcpStream,
    first: Option<Duration>,
    last: Option<Duration>,
}

impl Stamped {
    fn new(stream: TcpStream) -> Self {
        setsockopt(&stream, sockopt::ReceiveTimestampns, &true).expect("stamps");
        Self {
            stream,
            first: None,
            last: None,
        }
    }

    fn span(&self) -> Option<f64> {
        Some(self.last?.saturating_sub(self.first?).as_secs_f64() * 1000.0)
    }
}

impl AsyncRead for Stamped {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self {
            stream,
            first,
            last,
        } = self.get_mut();
        loop {
            ready!(stream.poll_read_ready(cx))?;
            let room = buf.initialize_unfilled();
            let mut control = nix::cmsg_space!(TimeSpec);
            let read = stream.try_io(Interest::READABLE, || {
                let mut parts = [IoSliceMut::new(room)];
                let message = recvmsg::<()>(
                    stream.as_raw_fd(),
                    &mut parts,
                    Some(&mut control),
                    MsgFlags::empty(),
                )?;
                let stamp = message.cmsgs()?.find_map(|c| match c {
                    ControlMessageOwned::ScmTimestampns(at) => Some(Duration::from(at)),
                    _ => None,
                });
                Ok((message.bytes, stamp))
            });
            match read {
                Ok((count, stamp)) => {
                    buf.advance(count);
                    *first = first.or(stamp);
                    *last = stamp.or(*last);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Stamped {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// A name of this machine that has to be looked up: `localhost` is known to curl itself.
fn a_name() -> String {
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let mut names = hosts
        .lines()
        .filter_map(|line| line.strip_prefix("127.0.0.1"))
        .flat_map(str::split_whitespace);
    names
        .rfind(|name| !name.starts_with("localhost"))
        .unwrap_or("localhost")
        .to_owned()
}

fn tls(name: &str) -> TlsAcceptor {
    let key = rcgen::KeyPair::generate().expect("a key");
    let wanted = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let certificate = wanted.self_signed(&key).expect("a certificate");
    std::fs::write(std::env::var_os("ROOT").expect("a path"), certificate.pem()).expect("a file");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .expect("versions")
    .with_no_client_auth()
    .with_single_cert(vec![certificate.der().clone()], key)
    .expect("a server");
    TlsAcceptor::from(Arc::new(config))
}
