//! The settings of the process: what the shell needs besides the decisions' [`Config`].

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use llmwatch_core::config::Config;

use super::PostgresUrl;
use llmwatch_core::model::Secret;

/// A checked configuration file. It reads as the [`Config`] in it, which is what the decisions get.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What the decisions need.
    pub config: Arc<Config>,
    /// The file it came from.
    pub path: PathBuf,
    /// What the process needs of `[monitor]`.
    pub process: ProcessSettings,
    /// `[log]`
    pub log: Log,
    /// `[store]`
    pub store: StoreSettings,
    /// `[heartbeat]`
    pub heartbeat: Option<Heartbeat>,
    /// `[otlp]`
    pub otlp: Option<Otlp>,
    /// `[web]`
    pub web: Web,
    /// `[route]`
    pub route: RouteSettings,
    /// Early warnings about what is valid: keys without effect, literal keys, no channel.
    pub warnings: Vec<String>,
}

impl Deref for Settings {
    type Target = Config;

    fn deref(&self) -> &Config {
        &self.config
    }
}

impl DerefMut for Settings {
    fn deref_mut(&mut self) -> &mut Config {
        Arc::make_mut(&mut self.config)
    }
}

/// What the process needs of `[monitor]`.
#[derive(Debug, Clone)]
pub struct ProcessSettings {
    /// The directory of the store.
    pub state_dir: PathBuf,
    /// Where the pages and the API listen; `None` when off.
    pub listen: Option<SocketAddr>,
    /// The most probes in flight at once.
    pub max_concurrent_probes: usize,
    /// Extra trusted roots, PEM.
    pub ca_file: Option<PathBuf>,
}

/// The shape of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Journal fields under systemd, pretty on a terminal, else JSON.
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
    /// Native journal fields.
    Journald,
}

/// `[log]`
#[derive(Debug, Clone)]
pub struct Log {
    /// The shape.
    pub format: LogFormat,
    /// The least severe level that is written.
    pub level: tracing::Level,
    /// Whether good samples are logged as well.
    pub all_samples: bool,
}

/// `[store]`
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// The SQLite file. Beside a shared store it is this daemon's own record, from which it starts and which it serves.
    pub path: PathBuf,
    /// The PostgreSQL database that several daemons share.
    pub shared: Option<Arc<PostgresUrl>>,
    /// Whether its URL holds a secret that is not at hand here.
    pub is_url_unknown: bool,
    /// How long samples are kept.
    pub keep_samples: Duration,
    /// How long rollups are kept.
    pub keep_rollups: Duration,
    /// How long incidents are kept; `None` is for ever.
    pub keep_incidents: Option<Duration>,
}

/// `[heartbeat]`
#[derive(Debug, Clone)]
pub struct Heartbeat {
    /// Pinged while recording.
    pub url: Secret,
    /// At most each.
    pub interval: Duration,
    /// Pinged when recording fails.
    pub fail_url: Option<Secret>,
}

/// `[otlp]`
#[derive(Debug, Clone)]
pub struct Otlp {
    /// Where metrics are posted to, with its path.
    pub endpoint: url::Url,
    /// How often.
    pub interval: Duration,
    /// Sent along, for a collector that asks who we are.
    pub headers: Vec<(String, Secret)>,
}

/// `[web]`
#[derive(Debug, Clone, Default)]
pub struct Web {
    /// The bearer token.
    pub token: Option<Secret>,
    /// The title of the pages.
    pub title: Option<String>,
    /// Host headers that are answered besides loopback names and the public URL's.
    pub trusted_hosts: Vec<String>,
    /// What a visitor without the token sees, where there is one.
    pub public: Public,
    /// Whether visitors may subscribe by email.
    pub subscribe: bool,
    /// The email channel that sends to subscribers; the first one if not given.
    pub subscribe_via: Option<String>,
    /// Origins whose pages may read `/api/v1/health` and embed `/embed`.
    pub cors_origins: Vec<String>,
}

/// What a visitor without the token sees, where there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Public {
    /// Nothing.
    #[default]
    Off,
    /// States, availability, incidents, notes and maintenance.
    Summary,
    /// Everything but recipients and receivers' answers.
    All,
}

/// `[route]`
#[derive(Debug, Clone, Copy)]
pub struct RouteSettings {
    /// Where HAProxy's agent checks are answered.
    pub agent_listen: Option<SocketAddr>,
    /// How long a recovered endpoint takes to get its full weight back.
    pub ramp: Duration,
}

impl Default for RouteSettings {
    fn default() -> Self {
        Self {
            agent_listen: None,
            ramp: Duration::from_mins(5),
        }
    }
}
