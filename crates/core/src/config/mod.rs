//! The configuration as types: every default filled in, every reference resolved, everything
//! validated. The shell reads `monitor.toml`.

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

/// The part of the configuration that core needs, validated and with every default filled in.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[monitor]`
    pub monitor: Monitor,
    /// `[budget]`
    pub budget: Budget,
    /// `[quorum]`
    pub quorum: Quorum,
    /// `[[endpoint]]`: the enabled ones, in the order of the file.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// `[[connectivity_check]]`; empty if turned off or not needed.
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

/// The part of `[monitor]` that core needs.
#[derive(Debug, Clone)]
pub struct Monitor {
    /// The location that the daemon probes from.
    pub location: String,
    /// The public URL of the pages, without a trailing slash.
    pub public_url: Option<String>,
    /// The time zone of days, reports and quiet hours.
    pub timezone: Tz,
    /// The language of messages, pages, reports and the terminal.
    pub language: Language,
    /// The proxy that probes use.
    pub proxy: Proxy,
    /// Whether this daemon probes.
    pub probe: bool,
}

/// `[budget]`
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// The maximum cost of probing per day, over all endpoints.
    pub daily_usd: f64,
    /// The maximum number of tokens per day, over all endpoints.
    pub daily_tokens: Option<u64>,
    /// Whether all daemons of one store share both limits.
    pub shared: bool,
}

/// `[quorum]`: when several locations agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quorum {
    /// How many locations have to agree that an endpoint is down.
    pub agree: Agree,
    /// A location without a probe for this long does not count; `None` means three intervals.
    pub stale_after: Option<Duration>,
    /// A daemon that cannot reach the shared store for this long notifies on its own verdict.
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
    /// More than half of the live locations.
    Majority,
    /// One location.
    Any,
    /// All live locations.
    All,
    /// This many locations, or all live ones if there are fewer.
    Count(u32),
}

impl Agree {
    /// Returns how many of `live` locations are needed; at least 1.
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
    /// Reports whether a channel has this name.
    pub fn has_channel(&self, name: &ChannelName) -> bool {
        self.channels.iter().any(|c| c.name == *name)
    }

    /// Reports whether the connectivity checks cover the network path to `endpoint`.
    pub fn checks_cover(&self, endpoint: &Endpoint) -> bool {
        self.connectivity_checks
            .iter()
            .any(|c| ConnectivityCheck::covers(&c.url, &endpoint.base_url))
    }

    /// Reports whether a connectivity loss of this machine can affect `endpoint`: always for a
    /// public endpoint, otherwise only if a connectivity check covers it.
    pub fn is_outside(&self, endpoint: &Endpoint) -> bool {
        !is_local(&endpoint.base_url) || self.checks_cover(endpoint)
    }
}

/// One `[[connectivity_check]]`: a target unrelated to any provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectivityCheck {
    /// `tcp://host:port` or `https://…`.
    pub url: Url,
    /// A host name to look up, to recognize a resolver failure.
    pub name: Option<String>,
}

impl ConnectivityCheck {
    /// Reports whether a failure of the check target `check` can explain a failure of `endpoint`.
    /// It can if the endpoint is at least as far away: a lost network cannot explain a failure on
    /// this machine.
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
    /// A generic RSS or Atom feed.
    Rss,
    /// AWS Health's public events.
    AwsHealth,
}

/// One `[[status_feed]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusFeed {
    /// The provider.
    pub provider: Provider,
    /// The URL of the feed.
    pub url: Url,
    /// The URL to use when that one cannot be read.
    pub fallback: Option<Url>,
    /// The platform of the page.
    pub kind: FeedKind,
    /// The relevant components, by ID or part of the name; empty for all.
    pub components: Vec<String>,
    /// The endpoints that it covers; empty for all of the provider.
    pub endpoints: Vec<EndpointName>,
    /// The polling interval.
    pub interval: Duration,
}

impl StatusFeed {
    /// Returns a key that is unique among the feeds.
    pub fn key(&self) -> String {
        format!("{} {}", self.provider, self.url)
    }

    /// Reports whether it covers this endpoint.
    pub fn is_about(&self, endpoint: &Endpoint) -> bool {
        self.provider == endpoint.provider
            && (self.endpoints.is_empty() || self.endpoints.contains(&endpoint.name))
    }
}

/// One `[[maintenance]]`.
#[derive(Debug, Clone)]
pub struct Maintenance {
    /// The display name.
    pub name: String,
    /// The time window.
    pub window: Window,
    /// Only these endpoints; empty for all.
    pub endpoints: Vec<EndpointName>,
    /// Only these providers; empty for all.
    pub providers: Vec<Provider>,
    /// Only these groups; empty for all.
    pub groups: Vec<String>,
}

/// The time window of a maintenance.
#[derive(Debug, Clone)]
pub enum Window {
    /// Once.
    Once {
        /// The start.
        start: Timestamp,
        /// The end.
        end: Timestamp,
    },
    /// Recurring.
    Every {
        /// When each window begins.
        cron: Box<croner::Cron>,
        /// The duration of each window.
        length: Duration,
    },
}

/// `[drill]`
#[derive(Debug, Clone)]
pub struct Drill {
    /// The schedule; `None` means only on request.
    pub every: Option<Box<croner::Cron>>,
    /// The channels to test; empty for all.
    pub channels: Vec<ChannelName>,
    /// How long a person has to confirm.
    pub confirm_within: Duration,
    /// The channels to notify when nobody confirms.
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
    /// The frequency.
    pub every: ReportEvery,
    /// The minute of the local day.
    pub at: u16,
    /// The channels that get it.
    pub to: Vec<ChannelName>,
}
