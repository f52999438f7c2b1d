//! A web server over a snapshot and a store that the test fills, without a daemon.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use llmwatch::config::{self, Environment, Settings};
use llmwatch::metrics::Counters;
use llmwatch::store::{Commit, IncidentRow, Store};
use llmwatch::web::{self, View};
use llmwatch_core::model::Snapshot;
use llmwatch_core::model::{Sample, Timestamp};
use llmwatch_core::monitor::MonitorState;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::PATIENCE;

pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    pub(crate) store: Store,
    pub(crate) snapshot: watch::Sender<Arc<Snapshot>>,
    pub(crate) stop: CancellationToken,
    pub(crate) server: tokio::task::JoinHandle<()>,
    core: MonitorState,
    counters: Counters,
    now: Timestamp,
    _directory: tempfile::TempDir,
    _config: watch::Sender<Arc<Settings>>,
}

/// An HTTP response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

pub(crate) fn config(toml: &str) -> Settings {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("monitor.toml");
    std::fs::write(&path, toml).unwrap();
    let surroundings = Environment {
        hostname: "fra1".to_owned(),
        ..Environment::default()
    };
    config::load(Path::new(&path), &surroundings).unwrap()
}

impl Site {
    /// Serves a site with the configuration `toml` at the time `now`.
    pub(crate) async fn new(toml: &str, now: Timestamp) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("llmwatch.db");
        let store = Store::open(&path).unwrap();
        let config = Arc::new(config(toml));
        let core = MonitorState::new(config.config.clone(), 1.0);
        let (snapshot, snapshot_in) = watch::channel(Arc::new(core.snapshot(now)));
        let (config_out, config_in) = watch::channel(config);
        let stop = CancellationToken::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let counters = Counters::default();
        let view = View {
            commands: llmwatch::command::Commands::channel().0,
            subscriptions: llmwatch::subscriptions::Subscriptions::channel().0,
            snapshot: snapshot_in,
            config: config_in,
            wall: Arc::new(move || now),
            started_at: now,
            store_id: None,
            store: Store::open_read_only(&path).unwrap(),
            stop: stop.clone(),
            history: web::pages::HistoryCache::default(),
            replays: web::pages::ReplayCache::default(),
            traffic: web::traffic::Traffic::default(),
            links: llmwatch::links::Links::new(&[7; 32].into()),
            reload: web::Reload::default(),
            broadcast: llmwatch::log::broadcast::Broadcast::new(now),
            counters: counters.clone(),
        };
        let server = tokio::spawn(web::run(listener, view));
        Self {
            address,
            store,
            snapshot,
            stop,
            server,
            core,
            counters,
            now,
            _directory: directory,
            _config: config_out,
        }
    }

    /// Records samples as the pipeline does.
    pub(crate) fn record(&mut self, samples: impl IntoIterator<Item = Sample>) {
        for sample in samples {
            let sample = self.core.complete(sample, None);
            self.counters.count(&sample);
            let step = self.core.step(sample);
            let commit = Commit {
                sample: step.sample().cloned(),
                incidents: step
                    .incidents()
                    .map(|(_, incident, _)| IncidentRow::of(incident))
                    .collect(),
                ..Commit::default()
            };
            self.store.commit(&[commit]).unwrap();
        }
        let mut snapshot = self.core.snapshot(self.now);
        snapshot.leaders.clone_from(&self.snapshot.borrow().leaders);
        snapshot.leaders = llmwatch_core::report::routing::leaders(&snapshot);
        self.snapshot.send_replace(Arc::new(snapshot));
    }

    /// Sends these bytes and reads until the server closes the connection.
    pub(crate) async fn raw(&self, bytes: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The server may answer and close before everything was sent.
        let _ = stream.write_all(bytes.as_bytes()).await;
        let mut answer = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        let _ = read.expect("an answer comes");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|s| s.parse().ok())
            .unwrap_or(0);
        Answer {
            status,
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    /// Sends one request with these header lines (each ends in CR LF).
    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &str) -> Answer {
        let host = if headers.contains("host:") {
            String::new()
        } else {
            format!("host: {}\r\n", self.address)
        };
        self.raw(&format!(
            "{method} {path} HTTP/1.1\r\n{host}connection: close\r\n{headers}\r\n"
        ))
        .await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "").await
    }
}
