//! The settings of the process: what the I/O shell needs in addition to the core's [`Config`].

use std::net::SocketAddr;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use llmwatch_core::config::Config;

use super::PostgresUrl;
use llmwatch_core::model::Secret;

/// A checked configuration file. It dereferences to the core's [`Config`], read-only.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The settings of the core.
    pub config: Arc<Config>,
    /// The file it came from.
    pub path: PathBuf,
    /// The process settings in `[monitor]`.
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
    /// Warnings about a valid configuration: keys without effect, literal keys, no channel.
    pub warnings: Vec<String>,
}

impl Deref for Settings {
    type Target = Config;

    fn deref(&self) -> &Config {
        &self.config
    }
}

/// The process settings in `[monitor]`.
#[derive(Debug, Clone)]
pub struct ProcessSettings {
    /// The directory of the store.
    pub state_dir: PathBuf,
    /// The address of the pages and the API; `None` when off.
    pub listen: Option<SocketAddr>,
    /// The most concurrent probes.
    pub max_concurrent_probes: usize,
    /// Extra trusted root certificates, in PEM form.
    pub ca_file: Option<PathBuf>,
}

/// The format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Journal fields under systemd, pretty on a terminal, else JSON.
    Auto,
    /// One JSON object per line.
    Json,
    /// For people.
    Pretty,
    /// Native journal fields.
    Journald,
}

/// `[log]`
#[derive(Debug, Clone)]
pub struct Log {
    /// The format.
    pub format: LogFormat,
    /// The minimum level.
    pub level: tracing::Level,
    /// Whether successful samples are logged as well.
    pub all_samples: bool,
}

/// `[store]`
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// The SQLite file. With a shared store, it is this daemon's local copy, from which it starts
    /// and which it serves.
    pub path: PathBuf,
    /// The PostgreSQL database that several daemons share.
    pub shared: Option<Arc<PostgresUrl>>,
    /// Whether the URL contains a secret that is not available here.
    pub is_url_unknown: bool,
    /// How long samples are kept.
    pub keep_samples: Duration,
    /// How long rollups are kept.
    pub keep_rollups: Duration,
    /// How long incidents are kept; `None` means forever.
    pub keep_incidents: Option<Duration>,
}

/// `[heartbeat]`
#[derive(Debug, Clone)]
pub struct Heartbeat {
    /// Pinged while samples are recorded.
    pub url: Secret,
    /// The ping interval.
    pub interval: Duration,
    /// Pinged when recording fails.
    pub fail_url: Option<Secret>,
}

/// `[otlp]`
#[derive(Debug, Clone)]
pub struct Otlp {
    /// The URL that metrics are posted to, with its path.
    pub endpoint: url::Url,
    /// The export interval.
    pub interval: Duration,
    /// Extra headers, for instance for authentication.
    pub headers: Vec<(String, Secret)>,
}

/// `[web]`
#[derive(Debug, Clone, Default)]
pub struct Web {
    /// The bearer token.
    pub token: Option<Secret>,
    /// The title of the pages.
    pub title: Option<String>,
    /// Host headers that are accepted in addition to loopback names and the public URL's host.
    pub trusted_hosts: Vec<String>,
    /// What visitors without the token see, if a token is set.
    pub public: Public,
    /// Whether visitors may subscribe by email.
    pub subscribe: bool,
    /// The email channel that sends to subscribers; the first one by default.
    pub subscribe_via: Option<String>,
    /// Origins whose pages may read `/api/v1/health` and embed `/embed`.
    pub cors_origins: Vec<String>,
}

/// What visitors without the token see, if a token is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Public {
    /// Nothing.
    #[default]
    Off,
    /// States, availability, incidents, notes and maintenance.
    Summary,
    /// Everything except recipients and receivers' answers.
    All,
}

/// `[route]`
#[derive(Debug, Clone, Copy)]
pub struct RouteSettings {
    /// The listen address for HAProxy agent checks.
    pub agent_listen: Option<SocketAddr>,
    /// How long a recovered endpoint takes to return to full weight.
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
