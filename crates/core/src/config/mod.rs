//! The configuration as types: every default filled in, every reference resolved, nothing left to check. The reader of
//! `monitor.toml` is the shell's.

mod channel;
mod distance;
pub mod matchers;
mod proxy;
mod template;
pub mod units;

use std::sync::Arc;
use std::time::Duration;

use chrono_tz::Tz;
use url::Url;

pub use self::channel::{
    Channel, ChannelKind, Dkim, Email, Filters, Smtp, SmtpTls, Webhook, WebhookKind,
};
pub use self::distance::{Distance, address_of, is_local};
pub use self::proxy::{Proxy, no_proxy_rules};
pub use self::template::{Syntax, Template};
pub use self::units::{duration, show};
use crate::model::{ChannelName, Endpoint, EndpointName, Language, Provider, Timestamp};

/// What the decisions need of the configuration, checked and with every default filled in.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[monitor]`
    pub monitor: Monitor,
    /// `[budget]`
    pub budget: Budget,
    /// `[quorum]`
    pub quorum: Quorum,
    /// `[[endpoint]]`, the enabled ones, in the order of the file.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// `[[connectivity_check]]`; empty when turned off or not needed.
    pub connectivity_checks: Vec<ConnectivityCheck>,
    /// `[[status_feed]]`
    pub status_feeds: Vec<StatusFeed>,
    /// `[[email]]` and `[[webhook]]`, in the order of the file.
    pub channels: Vec<Arc<Channel>>,
    /// `[[maintenance]]`
    pub maintenance: Vec<Maintenance>,
    /// `[report]`
    pub report: Option<ReportSettings>,
    /// `[drill]`
    pub drill: Drill,
}

/// What the decisions need of `[monitor]`.
#[derive(Debug, Clone)]
pub struct Monitor {
    /// The place the daemon probes from.
    pub location: String,
    /// The address under which people reach the pages, without a trailing slash.
    pub public_url: Option<String>,
    /// For days, reports and quiet hours.
    pub timezone: Tz,
    /// Of messages, pages, reports and the terminal.
    pub language: Language,
    /// The proxy that probes use.
    pub proxy: Proxy,
    /// Whether this daemon probes at all.
    pub probe: bool,
}

/// `[budget]`
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// The most that probing may cost a day, over all endpoints.
    pub daily_usd: f64,
    /// The most tokens that probing may use a day, over all endpoints.
    pub daily_tokens: Option<u64>,
    /// Whether both limits are for all daemons of one store together.
    pub shared: bool,
}

/// `[quorum]`: when several locations agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quorum {
    /// How many locations have to agree that an endpoint is down.
    pub agree: Agree,
    /// A location that has not probed for this long does not count; `None` for three intervals.
    pub stale_after: Option<Duration>,
    /// A daemon that cannot reach the shared store for this long notifies by its own verdict.
    pub alone_after: Duration,
}

impl Default for Quorum {
    fn default() -> Self {
        Self {
            agree: Agree::Majority,
            stale_after: None,
            alone_after: Duration::from_mins(5),
        }
    }
}

/// How many locations have to agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agree {
    /// More than half of those that count.
    Majority,
    /// One.
    Any,
    /// All that count.
    All,
    /// This many, or all if fewer count.
    Count(u32),
}

impl Agree {
    /// How many of `live` locations are needed; at least 1.
    pub fn needed(self, live: usize) -> usize {
        let needed = match self {
            Self::Majority => live / 2 + 1,
            Self::Any => 1,
            Self::All => live,
            Self::Count(n) => (n as usize).min(live),
        };
        needed.max(1)
    }
}

impl Config {
    /// Whether the connectivity checks say something about the network path to `endpoint`.
    pub fn checks_cover(&self, endpoint: &Endpoint) -> bool {
        self.connectivity_checks
            .iter()
            .any(|c| ConnectivityCheck::covers(&c.url, &endpoint.base_url))
    }

    /// Whether `endpoint` is reached through what this machine can lose sight of: the world, and what is nearer when a
    /// control is as near.
    pub fn is_outside(&self, endpoint: &Endpoint) -> bool {
        !is_local(&endpoint.base_url) || self.checks_cover(endpoint)
    }
}

/// One `[[connectivity_check]]`: a target unrelated to any provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectivityCheck {
    /// `tcp://host:port` or `https://…`.
    pub url: Url,
    /// A host name that is looked up to recognize a resolver failure.
    pub name: Option<String>,
}

impl ConnectivityCheck {
    /// Whether the silence of the target at `check` can say something of an endpoint at `endpoint`: it can when the way
    /// to the endpoint is no shorter. A lost network explains nothing that happens on this machine.
    pub fn covers(check: &Url, endpoint: &Url) -> bool {
        Distance::of(check) <= Distance::of(endpoint)
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
    /// Instatus.
    Instatus,
    /// Better Stack.
    BetterStack,
    /// A feed of any page, RSS or Atom.
    Rss,
    /// AWS Health's public events.
    AwsHealth,
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
    pub endpoints: Vec<EndpointName>,
    /// How often it is asked.
    pub interval: Duration,
}

impl StatusFeed {
    /// What distinguishes it from the other feeds.
    pub fn key(&self) -> String {
        format!("{} {}", self.provider, self.url)
    }

    /// Whether it speaks of this endpoint.
    pub fn is_about(&self, endpoint: &Endpoint) -> bool {
        self.provider == endpoint.provider
            && (self.endpoints.is_empty() || self.endpoints.contains(&endpoint.name))
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
    pub endpoints: Vec<EndpointName>,
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
        start: Timestamp,
        /// To.
        end: Timestamp,
    },
    /// Again and again.
    Every {
        /// When each begins.
        cron: Box<croner::Cron>,
        /// How long each lasts.
        length: Duration,
    },
}

/// `[drill]`
#[derive(Debug, Clone)]
pub struct Drill {
    /// When drills are started; `None` for only when asked.
    pub every: Option<Box<croner::Cron>>,
    /// The channels that are drilled; empty for all.
    pub channels: Vec<ChannelName>,
    /// How long a person has to confirm.
    pub confirm_within: Duration,
    /// The channels that are notified when nobody confirms.
    pub escalate_to: Vec<ChannelName>,
}

impl Default for Drill {
    fn default() -> Self {
        Self {
            every: None,
            channels: Vec::new(),
            confirm_within: Duration::from_hours(24),
            escalate_to: Vec::new(),
        }
    }
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
pub struct ReportSettings {
    /// How often.
    pub every: ReportEvery,
    /// At which minute of the local day.
    pub at: u16,
    /// The channels that get it.
    pub to: Vec<ChannelName>,
}
