//! The simulated provider: accepts connections and responds as the scenario says.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::accept::accept;
use crate::act::{Act, WriteKind};
use crate::arrival::{TimestampedStream, TimestampingSocket};
use crate::clock;
use crate::compose::Order;
use crate::exchange::{End, Exchange};
use crate::hostile;
use crate::inbox::Inbox;
use crate::perform::{perform, reset};
use crate::reply::ResetAt;
use crate::request::{ReadError, Request, read, write_head};
use crate::rule::{Arrival, Fault, Rule};
use crate::scenario::Scenario;
use crate::speech::model;
use crate::status_page::StatusPage;
use llmwatch_core::model::Timestamp;

/// A running simulator. Dropping it stops it and closes its connections.
#[derive(Debug)]
pub struct Simulator {
    addr: SocketAddr,
    stage: Arc<Stage>,
    task: AbortOnDropHandle<()>,
    _stamping: TimestampingSocket,
}

impl Simulator {
    /// Serves `scenario` on every connection to `listener`. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the listener has no local address.
    pub fn start(listener: TcpListener, scenario: Scenario) -> io::Result<Self> {
        Self::start_as("simulated", listener, scenario)
    }

    /// Like [`Self::start`], with the label that the scenario's `vendor` keys refer to.
    ///
    /// # Errors
    /// When the listener has no local address.
    pub fn start_as(vendor: &str, listener: TcpListener, scenario: Scenario) -> io::Result<Self> {
        let addr = listener.local_addr()?;
        let stage = Arc::new(Stage {
            vendor: vendor.to_owned(),
            script: Mutex::new(Script::new(scenario)),
            log: Inbox::new(),
        });
        let served = Arc::clone(&stage);
        let task = tokio::spawn(accept(listener, move |stream| {
            Arc::clone(&served).serve(stream)
        }));
        Ok(Self {
            addr,
            stage,
            task: AbortOnDropHandle::new(task),
            _stamping: TimestampingSocket::begin(),
        })
    }

    /// Stops the simulator. Afterwards its address refuses connections and can be reused.
    pub async fn stop(self) {
        self.task.abort();
        // The error only says that the task was aborted.
        let _ = self.task.await;
    }

    /// Returns the address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Activates another scenario. Its windows count from now; exchanges in progress are not
    /// affected.
    pub fn set_scenario(&self, scenario: Scenario) {
        self.stage.set_scenario(scenario);
    }

    /// Returns the exchanges that have ended, oldest first; at most the last 10,000.
    pub fn log(&self) -> Vec<Arc<Exchange>> {
        self.stage.log.all()
    }

    /// Waits until this many exchanges have ended since the start.
    pub async fn answered(&self, count: usize) {
        self.stage.log.reached(count).await;
    }
}

/// Serves `scenario` on `listen` until `shutdown`.
///
/// # Errors
/// When the address cannot be bound.
pub async fn run(
    listen: SocketAddr,
    scenario: Scenario,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let simulator = Simulator::start(TcpListener::bind(listen).await?, scenario)?;
    shutdown.cancelled().await;
    simulator.stop().await;
    Ok(())
}

/// The state that all connections of a simulator share.
#[derive(Debug)]
struct Stage {
    vendor: String,
    script: Mutex<Script>,
    log: Inbox<Exchange>,
}

/// The active scenario.
#[derive(Debug)]
struct Script {
    scenario: Arc<Scenario>,
    since: Instant,
    rng: Rng,
}

impl Script {
    fn new(scenario: Scenario) -> Self {
        let rng = Rng::with_seed(scenario.seed);
        Self {
            scenario: Arc::new(scenario),
            since: Instant::now(),
            rng,
        }
    }
}

/// The scenario's instructions for one arrival.
struct Instructions {
    scenario: Arc<Scenario>,
    elapsed: Duration,
    rule: Option<Rule>,
    /// The source of randomness for this response.
    rng: Rng,
}

impl Instructions {
    fn rule_name(&self) -> Option<String> {
        self.rule.as_ref().map(|rule| rule.name.clone())
    }
}

impl Stage {
    async fn serve(self: Arc<Self>, stream: TcpStream) {
        let at = clock::now();
        // Send each write at once, so that tokens do not wait for each other.
        let _ = stream.set_nodelay(true);
        let instructions = self.instructions(&Arrival::Connection {
            vendor: &self.vendor,
        });
        match instructions.rule.as_ref().map(|rule| &rule.fault) {
            Some(Fault::Reset(ResetAt::Accept)) => {
                reset(&stream);
                self.record(Exchange {
                    end: End::Reset,
                    ..self.unread(at, instructions.rule_name())
                });
            }
            Some(Fault::RefuseTls) => {
                self.answer_garbage(stream, at, instructions.rule_name())
                    .await;
            }
            _ => self.serve_request(stream, at).await,
        }
    }

    async fn serve_request(&self, stream: TcpStream, at: Timestamp) {
        let accepted = Instant::now();
        // Delays count from the request's arrival, even if it is read late.
        let mut stream = TimestampedStream::new(stream);
        let read = read(&mut stream).await;
        let (stream, arrived) = stream.into_parts();
        let request = match read {
            Ok(request) => request,
            Err(error) => return self.refuse(stream, at, accepted, &error).await,
        };
        if let Some(acts) = self.administer(&request) {
            drop(perform(stream, acts, arrived, None).await);
            return;
        }
        let asked = request.json().unwrap_or_default();
        let model = model(&request.path, &asked).map(str::to_owned);
        let arrival = Arrival::Request {
            vendor: &self.vendor,
            path: &request.path,
            model: model.as_deref(),
        };
        let mut instructions = self.instructions(&arrival);
        let healthy = &instructions.scenario.healthy;
        let profile = instructions.rule.as_ref().map_or_else(
            || healthy.clone(),
            |rule| rule.profile(healthy, instructions.elapsed),
        );
        let order = Order {
            request: &request,
            asked: &asked,
            api_key: instructions.scenario.api_key.as_ref(),
            profile: &profile,
            fault: instructions
                .rule
                .as_ref()
                .map_or(&Fault::None, |rule| &rule.fault),
            headers: instructions.rule.as_ref().map_or(&[], |rule| &rule.headers),
            page: StatusPage {
                notices: &instructions.scenario.status_page,
                vendor: &self.vendor,
                elapsed: instructions.elapsed,
                now: clock::now(),
            },
        };
        let acts = order.compose(&mut instructions.rng);
        let (writes, end) = perform(stream, acts, arrived, profile.drip).await;
        self.record(Exchange {
            streaming: asked["stream"] == true,
            authorization_present: request.shown_key().is_some(),
            method: request.method,
            path: request.path,
            model,
            request_after: arrived.saturating_duration_since(accepted),
            writes,
            end,
            ..self.unread(at, instructions.rule_name())
        });
    }

    /// Answers the client's first bytes, usually a TLS `ClientHello`, with something else.
    async fn answer_garbage(&self, mut stream: TcpStream, at: Timestamp, rule: Option<String>) {
        let mut scratch = [0; 1024];
        let _ = stream.read(&mut scratch).await;
        let (writes, end) = perform(stream, vec![hostile::not_tls()], Instant::now(), None).await;
        self.record(Exchange {
            writes,
            end,
            ..self.unread(at, rule)
        });
    }

    /// Answers an unparsable request, if the client still reads.
    async fn refuse(&self, stream: TcpStream, at: Timestamp, accepted: Instant, error: &ReadError) {
        let arrived = Instant::now();
        let status = match error {
            ReadError::HungUp | ReadError::Io(_) => None,
            ReadError::Malformed(_) => Some(400),
            ReadError::TooLarge => Some(413),
        };
        let acts = status.map(|status| plain(status, "text/plain", &error.to_string()));
        let gone = acts.is_none();
        let (writes, end) = perform(stream, acts.unwrap_or_default(), arrived, None).await;
        let end = if gone { End::ClientGone } else { end };
        self.record(Exchange {
            writes,
            end,
            request_after: arrived - accepted,
            ..self.unread(at, None)
        });
    }

    /// Handles the simulator's own paths, which bypass rules and the log: `GET /_log` and `POST
    /// /_scenario`.
    fn administer(&self, request: &Request) -> Option<Vec<Act>> {
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/_log") => {
                let log = json!(
                    self.log
                        .all()
                        .iter()
                        .map(|exchange| json!(**exchange))
                        .collect::<Vec<Value>>()
                );
                Some(plain(200, "application/json", &log.to_string()))
            }
            ("POST", "/_scenario") => Some(
                match Scenario::parse(&String::from_utf8_lossy(&request.body)) {
                    Ok(scenario) => {
                        self.set_scenario(scenario);
                        plain(200, "text/plain", "in force\n")
                    }
                    Err(error) => plain(400, "text/plain", &error.to_string()),
                },
            ),
            _ => None,
        }
    }

    fn set_scenario(&self, scenario: Scenario) {
        *self.script.lock().unwrap_or_else(PoisonError::into_inner) = Script::new(scenario);
    }

    fn instructions(&self, arrival: &Arrival<'_>) -> Instructions {
        let mut script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        let Script {
            scenario,
            since,
            rng,
        } = &mut *script;
        let elapsed = since.elapsed();
        let rule = scenario.rule_at(elapsed, arrival, rng);
        Instructions {
            rule: rule.cloned(),
            elapsed,
            rng: rng.fork(),
            scenario: Arc::clone(scenario),
        }
    }

    fn record(&self, exchange: Exchange) {
        self.log.push(exchange);
    }

    /// Returns the record of a connection before anything has been read.
    fn unread(&self, at: Timestamp, rule: Option<String>) -> Exchange {
        Exchange {
            at,
            vendor: self.vendor.clone(),
            method: String::new(),
            path: String::new(),
            model: None,
            streaming: false,
            authorization_present: false,
            rule,
            request_after: Duration::ZERO,
            writes: Vec::new(),
            end: End::Closed,
        }
    }
}

/// Builds a reply without vendor headers.
fn plain(status: u16, content_type: &str, body: &str) -> Vec<Act> {
    let headers = [
        ("content-type", content_type.to_owned()),
        ("content-length", body.len().to_string()),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value));
    let kind = if status >= 400 {
        WriteKind::Error
    } else {
        WriteKind::Body
    };
    vec![
        Act::Write {
            due: Duration::ZERO,
            kind: WriteKind::Headers,
            bytes: write_head(status, &headers),
        },
        Act::Write {
            due: Duration::ZERO,
            kind,
            bytes: body.as_bytes().to_vec(),
        },
    ]
}
