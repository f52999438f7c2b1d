//! A webhook receiver that stores what it receives and responds as configured.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::accept::accept;
use crate::act::{Act, WriteKind};
use crate::hostile;
use crate::inbox::Inbox;
use crate::perform::perform;
use crate::request::{Request, read, write_head};

/// The body length of [`WebhookBehavior::HugeBody`]: 10 GB, generated while sending.
const HUGE: u64 = 10_000_000_000;

/// A running HTTP server that records requests. Dropping it stops it.
#[derive(Debug)]
pub struct WebhookSink {
    addr: SocketAddr,
    next: usize,
    state: Arc<SinkState>,
    task: AbortOnDropHandle<()>,
}

/// How requests are answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum WebhookBehavior {
    /// 200 and `ok`.
    #[default]
    Ok,
    /// This status, with these headers and no body.
    Status(u16, Vec<(String, String)>),
    /// No response.
    Hang,
    /// A TCP reset.
    Reset,
    /// 307 to this URL.
    Redirect(String),
    /// 200 and a body of 10 GB.
    HugeBody,
}

#[derive(Debug)]
struct SinkState {
    requests: Inbox<Request>,
    behavior: Mutex<WebhookBehavior>,
}

impl WebhookSink {
    /// Serves every connection to `listener`. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the listener has no local address.
    pub fn start(listener: TcpListener) -> io::Result<Self> {
        let addr = listener.local_addr()?;
        let state = Arc::new(SinkState {
            requests: Inbox::new(),
            behavior: Mutex::default(),
        });
        let served = Arc::clone(&state);
        let task = tokio::spawn(accept(listener, move |stream| {
            serve(stream, Arc::clone(&served))
        }));
        Ok(Self {
            addr,
            next: 0,
            state,
            task: AbortOnDropHandle::new(task),
        })
    }

    /// Stops the server. Afterwards its address refuses connections and can be reused.
    pub async fn stop(self) {
        self.task.abort();
        // The error only says that the task was aborted.
        let _ = self.task.await;
    }

    /// Returns the address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Sets the response to requests recorded from now on.
    pub fn set_behavior(&self, behavior: WebhookBehavior) {
        *self
            .state
            .behavior
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = behavior;
    }

    /// Waits for the next request that this method has not returned yet, whatever its response.
    pub async fn next(&mut self) -> Arc<Request> {
        let (request, next) = self.state.requests.nth(self.next).await;
        self.next = next;
        request
    }

    /// Returns all received requests in order, at most the last 10,000.
    pub fn requests(&self) -> Vec<Arc<Request>> {
        self.state.requests.all()
    }
}

async fn serve(mut stream: TcpStream, state: Arc<SinkState>) {
    // A request that cannot be parsed gets no response.
    let Ok(request) = read(&mut stream).await else {
        return;
    };
    // Read before the request becomes visible, so that a test that sees it can change the next
    // response.
    let behavior = state
        .behavior
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    state.requests.push(request);
    let acts = match behavior {
        WebhookBehavior::Ok => vec![head(200, &[], 3), body(b"ok\n")],
        WebhookBehavior::Status(status, headers) => vec![head(status, &headers, 0)],
        WebhookBehavior::Hang => pending().await,
        WebhookBehavior::Reset => vec![Act::Reset {
            due: Duration::ZERO,
        }],
        WebhookBehavior::Redirect(to) => vec![head(307, &[("location".to_owned(), to)], 0)],
        WebhookBehavior::HugeBody => std::iter::once(head(200, &[], HUGE))
            .chain(hostile::spaces(HUGE))
            .collect(),
    };
    drop(perform(stream, acts, Instant::now(), None).await);
}

fn head(status: u16, headers: &[(String, String)], content_length: u64) -> Act {
    let own = [
        ("content-length", content_length.to_string()),
        ("connection", "close".to_owned()),
    ];
    let headers: Vec<_> = headers
        .iter()
        .cloned()
        .chain(own.map(|(name, value)| (name.to_owned(), value)))
        .collect();
    Act::Write {
        due: Duration::ZERO,
        kind: WriteKind::Headers,
        bytes: write_head(status, &headers),
    }
}

fn body(bytes: &[u8]) -> Act {
    Act::Write {
        due: Duration::ZERO,
        kind: WriteKind::Body,
        bytes: bytes.to_vec(),
    }
}
