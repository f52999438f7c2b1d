//! What the configuration means: every default filled in, every reference resolved, nothing left to check downstream.
//!
//! Reading has two stages: `raw` walks the parsed TOML with its spans and collects every problem; `check` turns what
//! was written into what it means. [`diagnostic`] words the problems.

pub(crate) mod answer_schema;
pub mod catalog;
mod channel;
mod check;
mod diagnostic;
mod endpoint;
mod feed;
pub mod plan;
mod proxy;
mod raw;
mod rules;
mod state_dir;
mod template;
mod value;
mod webhook;

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono_tz::Tz;
use url::Url;

pub use self::check::load;
pub use self::diagnostic::{ConfigError, Diagnostic};
use self::endpoint::Distance;
pub(crate) use self::endpoint::{address_of, is_local};
pub use self::rules::load_rules;
pub use self::template::{Syntax, Template};
pub use self::value::{duration, show};
pub use self::webhook::signing_key;
use crate::model::{Attribution, Endpoint, Provider, Secret, Status};

/// What the configuration may refer to besides its own file: an argument, so that a test can make its own.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The environment variables.
    pub vars: HashMap<String, String>,
    /// The machine's name, in the characters of a location.
    pub hostname: String,
    /// Secrets that cannot be read are taken for granted: for who only reads the store, and for a check where systemd
    /// gives no credentials.
    pub without_secrets: bool,
}

impl Surroundings {
    /// Those of this process.
    pub fn from_process() -> Self {
        let vars = std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        let node = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        let fits = |c: char| {
            if c.is_ascii_alphanumeric() || "._-".contains(c) {
                c
            } else {
                '-'
            }
        };
        let hostname: String = node
            .split('.')
            .next()
            .unwrap_or_default()
            .chars()
            .map(fits)
            .take(64)
            .collect();
        let hostname = if hostname.is_empty() {
            "here".to_owned()
        } else {
            hostname
        };
        Self {
            vars: vars.collect(),
            hostname,
            without_secrets: false,
        }
    }
}

/// Every table once, so that all its keys are asked for.
const EVERY_TABLE: &str = include_str!("every_table.toml");

/// Every key that the configuration knows, as `table.key`: what the reader asks for when every table is written.
///
/// # Errors
/// Nothing but a mistake in the list of tables.
pub fn known_keys(surroundings: &Surroundings) -> Result<BTreeSet<String>, ConfigError> {
    let path = Path::new("monitor.toml");
    match check::parse(path, EVERY_TABLE, surroundings) {
        Ok((_, asked)) => Ok(asked
            .into_iter()
            .flat_map(|(table, keys)| keys.into_iter().map(move |key| format!("{table}.{key}")))
            .collect()),
        Err(all) => Err(ConfigError::new(path, EVERY_TABLE.to_owned(), all)),
    }
}

/// A whole, checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it came from.
    pub path: PathBuf,
    /// `[monitor]`
    pub monitor: Monitor,
    /// `[log]`
    pub log: Log,
    /// `[store]`
    pub store: Store,
    /// `[budget]`
    pub budget: Budget,
    /// `[[endpoint]]`, the enabled ones, in the order of the file.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// `[[control]]`; empty when turned off or not needed.
    pub controls: Vec<Control>,
    /// `[[status_feed]]`
    pub status_feeds: Vec<StatusFeed>,
    /// `[[email]]` and `[[webhook]]`, in the order of the file.
    pub channels: Vec<Arc<Channel>>,
    /// `[[maintenance]]`
    pub maintenance: Vec<Maintenance>,
    /// `[heartbeat]`
    pub heartbeat: Option<Heartbeat>,
    /// `[report]`
    pub report: Option<Report>,
    /// `[otlp]`
    pub otlp: Option<Otlp>,
    /// `[web]`
    pub web: Web,
    /// What is valid but deserves a word: keys not yet in effect, literal keys, no channel.
    pub warnings: Vec<String>,
}

/// `[monitor]`
#[derive(Debug, Clone)]
pub struct Monitor {
    /// The place the daemon probes from.
    pub location: String,
    /// Where the store lies.
    pub state_dir: PathBuf,
    /// Where the pages and the API listen; `None` when off.
    pub listen: Option<SocketAddr>,
    /// The address under which people reach the pages, without a trailing slash.
    pub public_url: Option<String>,
    /// For days, reports and quiet hours.
    pub timezone: Tz,
    /// The most probes in flight at once.
    pub max_concurrent_probes: usize,
    /// The proxy that probes use.
    pub proxy: Proxy,
    /// Extra trusted roots, PEM.
    pub ca_file: Option<PathBuf>,
}

/// Which proxy probes use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proxy {
    /// None, whatever the environment says: a probe measures the direct way.
    None,
    /// What the environment's `HTTPS_PROXY`, `http_proxy`, `ALL_PROXY` and `NO_PROXY` said when the file was read: http
    /// URLs.
    Env {
        /// For plain HTTP.
        http: Option<Secret>,
        /// For HTTPS.
        https: Option<Secret>,
        /// Hosts and domains that are reached directly.
        except: Vec<String>,
    },
    /// This one.
    Url(Secret),
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
pub struct Store {
    /// The SQLite file.
    pub path: PathBuf,
    /// How long samples are kept.
    pub keep_samples: Duration,
    /// How long rollups are kept.
    pub keep_rollups: Duration,
    /// How long incidents are kept; `None` is for ever.
    pub keep_incidents: Option<Duration>,
}

/// `[budget]`
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// The most that probing may cost a day, over all endpoints.
    pub daily_usd: f64,
    /// The most tokens that probing may use a day, over all endpoints.
    pub daily_tokens: Option<u64>,
}

impl Config {
    /// Whether the controls' silence can say something of `endpoint`.
    pub(crate) fn controls_tell_of(&self, endpoint: &Endpoint) -> bool {
        self.controls
            .iter()
            .any(|c| Control::tells_of(&c.url, &endpoint.base_url))
    }

    /// Whether `endpoint` is reached through what this machine can lose sight of: the world, and what is nearer when a
    /// control is as near.
    pub(crate) fn is_outside(&self, endpoint: &Endpoint) -> bool {
        !is_local(&endpoint.base_url) || self.controls_tell_of(endpoint)
    }
}

/// One `[[control]]`: a target unrelated to any provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// `tcp://host:port` or `https://…`.
    pub url: Url,
}

impl Control {
    /// Whether the silence of the control at `control` can say something of an endpoint at `endpoint`: it can when the way
    /// to the endpoint is no shorter. A lost network explains nothing that happens on this machine.
    pub(crate) fn tells_of(control: &Url, endpoint: &Url) -> bool {
        Distance::of(control) <= Distance::of(endpoint)
    }
}

/// The platform of a vendor's status page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedKind {
    /// Atlassian Statuspage.
    Statuspage,
    /// incident.io.
    IncidentIo,
    /// Azure's RSS feed.
    AzureRss,
    /// Google Cloud's incidents.
    GoogleCloud,
}

/// One `[[status_feed]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusFeed {
    /// Whose.
    pub provider: Provider,
    /// Where.
    pub url: Url,
    /// Where else, when that cannot be read.
    pub fallback: Option<Url>,
    /// Which platform.
    pub kind: FeedKind,
    /// The components that matter, by parts of their names or by id; empty for all.
    pub components: Vec<String>,
    /// The endpoints that it speaks of; empty for all of the provider.
    pub endpoints: Vec<String>,
    /// How often it is asked.
    pub interval: Duration,
}

impl StatusFeed {
    /// What tells it from the other feeds.
    pub fn key(&self) -> String {
        format!("{} {}", self.provider, self.url)
    }

    /// Whether it speaks of this endpoint.
    pub fn is_about(&self, endpoint: &Endpoint) -> bool {
        self.provider == endpoint.provider
            && (self.endpoints.is_empty() || self.endpoints.contains(&endpoint.name))
    }
}

/// Where notifications go.
#[derive(Debug, Clone)]
pub struct Channel {
    /// Unique over emails and webhooks.
    pub name: String,
    /// How they get there.
    pub kind: ChannelKind,
    /// Which ones.
    pub filters: Filters,
}

/// How notifications get there.
#[derive(Debug, Clone)]
pub enum ChannelKind {
    /// By mail.
    Email(Email),
    /// By HTTP.
    Webhook(Webhook),
}

/// One `[[email]]`.
#[derive(Debug, Clone)]
pub struct Email {
    /// Recipients.
    pub to: Vec<String>,
    /// More recipients.
    pub cc: Vec<String>,
    /// The sender.
    pub from: String,
    /// Where answers go.
    pub reply_to: Option<String>,
    /// The mail server.
    pub smtp: Smtp,
    /// DKIM signing.
    pub dkim: Option<Dkim>,
}

/// How the connection to the mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpTls {
    /// TLS from the first byte (`smtps://`).
    Implicit,
    /// STARTTLS, or nothing is sent.
    Required,
    /// Plain: to loopback, or because `?tls=none` says so.
    None,
}

/// The mail server.
#[derive(Debug, Clone)]
pub struct Smtp {
    /// Its name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: SmtpTls,
    /// Name and password.
    pub credentials: Option<(String, Secret)>,
}

/// DKIM signing.
#[derive(Debug, Clone)]
pub struct Dkim {
    /// The selector.
    pub selector: String,
    /// The signing domain.
    pub domain: String,
    /// The private key, PEM.
    pub key_file: PathBuf,
}

/// The format of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the receiver's own name")]
pub enum WebhookKind {
    Json,
    Slack,
    Discord,
    Teams,
    Telegram,
    Ntfy,
    Pagerduty,
    Opsgenie,
    Alertmanager,
    GoogleChat,
    Mattermost,
    Pushover,
    Template,
}

/// One `[[webhook]]`.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// The receiver's format.
    pub kind: WebhookKind,
    /// Where; often a secret in itself. Empty for the receiver's own address.
    pub url: Secret,
    /// The Standard Webhooks signing key (`whsec_…`).
    pub secret: Option<Secret>,
    /// Extra headers.
    pub headers: Vec<(String, Secret)>,
    /// The limit for one attempt.
    pub timeout: Duration,
    /// Keys that only one kind knows, such as `routing_key`.
    pub extra: Vec<(String, Secret)>,
    /// The body of a `template`.
    pub template: Option<Template>,
}

impl Webhook {
    /// A key that only one kind knows; empty when it was not written.
    pub fn key(&self, name: &str) -> &str {
        self.extra
            .iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value.expose())
    }

    /// The same with `***` for what only the receiver may know, for showing.
    #[must_use]
    pub fn masked(&self) -> Self {
        let shown = |(key, value): &(String, Secret)| match key.as_str() {
            "routing_key" | "token" | "user" | "api_key" => (key.clone(), Secret::new("***")),
            _ => (key.clone(), value.clone()),
        };
        Self {
            extra: self.extra.iter().map(shown).collect(),
            ..self.clone()
        }
    }

    /// The media type of a `template`'s body.
    pub fn content_type(&self) -> &str {
        match self.key("content_type") {
            "" => "application/json",
            written => written,
        }
    }
}

/// Which notifications a channel gets, and how.
#[derive(Debug, Clone)]
pub struct Filters {
    /// The reasons, such as `opened`.
    pub on: Vec<String>,
    /// The least bad status that is told.
    pub min_status: Status,
    /// Whose faults are told.
    pub attribution: Vec<Attribution>,
    /// Only these endpoints; empty for all.
    pub endpoints: Vec<String>,
    /// Only these providers; empty for all.
    pub providers: Vec<Provider>,
    /// Only these groups; empty for all.
    pub groups: Vec<String>,
    /// From one reminder to the next, doubling to 24 h; `None` is off.
    pub remind_every: Option<Duration>,
    /// Only if the incident is still open then.
    pub after: Duration,
    /// How long a first message waits for others to join it.
    pub group_wait: Duration,
    /// How long delivery is tried.
    pub give_up_after: Duration,
    /// The channel to use after that.
    pub fallback: Option<String>,
    /// When only outages are told, as local `(start, end)` minutes of the day.
    pub quiet_hours: Option<(u16, u16)>,
    /// Whether quiet hours hold back outages too.
    pub quiet_hours_all: bool,
}

impl Default for Filters {
    fn default() -> Self {
        Self {
            on: ["opened", "escalated", "resolved", "reminder", "monitor"]
                .map(str::to_owned)
                .to_vec(),
            min_status: Status::Degraded,
            attribution: vec![
                Attribution::Provider,
                Attribution::Account,
                Attribution::Local,
            ],
            endpoints: Vec::new(),
            providers: Vec::new(),
            groups: Vec::new(),
            remind_every: Some(Duration::from_hours(4)),
            after: Duration::ZERO,
            group_wait: Duration::from_secs(20),
            give_up_after: Duration::from_hours(24),
            fallback: None,
            quiet_hours: None,
            quiet_hours_all: false,
        }
    }
}

/// One `[[maintenance]]`.
#[derive(Debug, Clone)]
pub struct Maintenance {
    /// What people call it.
    pub name: String,
    /// When.
    pub window: Window,
    /// Only these endpoints; empty for all.
    pub endpoints: Vec<String>,
    /// Only these providers; empty for all.
    pub providers: Vec<Provider>,
    /// Only these groups; empty for all.
    pub groups: Vec<String>,
}

/// When a maintenance is.
#[derive(Debug, Clone)]
pub enum Window {
    /// Once.
    Once {
        /// From.
        start: crate::model::Timestamp,
        /// To.
        end: crate::model::Timestamp,
    },
    /// Again and again.
    Every {
        /// When each begins.
        cron: Box<croner::Cron>,
        /// How long each lasts.
        length: Duration,
    },
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

/// How often a report is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ReportEvery {
    Daily,
    Weekly,
    Monthly,
}

/// `[report]`
#[derive(Debug, Clone)]
pub struct Report {
    /// How often.
    pub every: ReportEvery,
    /// At which minute of the local day.
    pub at: u16,
    /// The channels that get it.
    pub to: Vec<String>,
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
}
