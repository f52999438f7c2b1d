//! The load and cost of a configuration: probes, tokens and money a day. Pure.

use std::fmt;

use serde::Serialize;

use super::{ChannelKind, Settings, WebhookKind, show, webhook};
use llmwatch_core::model::Endpoint;
use llmwatch_core::schedule::budget::{Load, interval_multiplier, load, total};

/// The plan of a configuration.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// Where the daemon probes from.
    pub location: String,
    /// The SQLite file.
    pub store: String,
    /// Where the pages are served; `None` when off.
    pub listen: Option<String>,
    /// Each endpoint.
    pub endpoints: Vec<EndpointPlan>,
    /// The total of all endpoints, at their configured intervals.
    pub total: Load,
    /// The daily limit, in USD.
    pub budget_usd: f64,
    /// The daily limit, in tokens.
    pub budget_tokens: Option<u64>,
    /// The factor by which every interval is multiplied to stay within the budget; 1 if it fits.
    pub interval_multiplier: f64,
    /// Each channel.
    pub channels: Vec<ChannelPlan>,
    /// The vendors' status pages that will be read.
    pub status_pages: Vec<StatusPagePlan>,
    /// The warnings.
    pub warnings: Vec<String>,
}

/// The plan of one endpoint.
#[derive(Debug, Clone, Serialize)]
pub struct EndpointPlan {
    /// Its name.
    pub name: String,
    /// Its provider.
    pub provider: String,
    /// Its API.
    pub api: String,
    /// Its model.
    pub model: Option<String>,
    /// Its URL.
    pub url: String,
    /// The probe interval.
    pub interval: String,
    /// Its load.
    #[serde(flatten)]
    pub load: Load,
    /// Whether its price is known.
    pub priced: bool,
}

/// The plan of one channel, without secrets.
#[derive(Debug, Clone, Serialize)]
pub struct ChannelPlan {
    /// Its name.
    pub name: String,
    /// `email` or the kind of webhook.
    pub kind: String,
    /// The recipients, or the host of the webhook.
    pub to: String,
    /// The reasons for which it notifies.
    pub on: Vec<String>,
}

/// The plan of one vendor's status page.
#[derive(Debug, Clone, Serialize)]
pub struct StatusPagePlan {
    /// The vendor.
    pub provider: String,
    /// The document that is read.
    pub url: String,
    /// The endpoints that it is about.
    pub endpoints: Vec<String>,
}

impl Plan {
    /// Computes the plan of `config`.
    pub fn of(config: &Settings) -> Self {
        let endpoints: Vec<_> = config.endpoints.iter().map(|e| endpoint_plan(e)).collect();
        let mut warnings = config.warnings.clone();
        let interval_multiplier = interval_multiplier(config);
        if interval_multiplier > 1.0 {
            warnings.push(format!(
                "probing as configured exceeds the budget: every interval is multiplied by {interval_multiplier:.1}; raise \
                 `[budget]`, lengthen `interval` or probe a cheaper model"
            ));
        }
        for e in endpoints
            .iter()
            .filter(|e| !e.priced && e.load.tokens_per_day > 0.0)
        {
            warnings.push(format!(
                "the price of `{}` is unknown, so the budget cannot count it: add `price`",
                e.name
            ));
        }
        Self {
            location: config.monitor.location.clone(),
            store: config.store.path.display().to_string(),
            listen: config.process.listen.map(|a| a.to_string()),
            total: total(config),
            budget_usd: config.budget.daily_usd,
            budget_tokens: config.budget.daily_tokens,
            interval_multiplier,
            channels: config.channels.iter().map(|c| channel_plan(c)).collect(),
            status_pages: status_pages(config),
            endpoints,
            warnings,
        }
    }
}

fn endpoint_plan(e: &Endpoint) -> EndpointPlan {
    EndpointPlan {
        name: e.name.to_string(),
        provider: e.provider.to_string(),
        api: e.api.to_string(),
        model: e.model.clone(),
        url: e.base_url.to_string(),
        interval: show(e.interval),
        load: load(e),
        priced: e.price.is_some(),
    }
}

fn status_pages(config: &Settings) -> Vec<StatusPagePlan> {
    let pages = config.status_feeds.iter();
    pages
        .map(|feed| {
            let endpoints = config.endpoints.iter().filter(|e| feed.is_about(e));
            StatusPagePlan {
                provider: feed.provider.to_string(),
                url: feed.url.to_string(),
                endpoints: endpoints.map(|e| e.name.to_string()).collect(),
            }
        })
        .collect()
}

fn channel_plan(c: &super::Channel) -> ChannelPlan {
    let (kind, to) = match &c.kind {
        ChannelKind::Email(email) => (
            "email",
            [email.to.clone(), email.cc.clone()].concat().join(", "),
        ),
        ChannelKind::Webhook(webhook) => {
            let name = webhook::KINDS
                .iter()
                .find(|(_, k)| *k == webhook.kind)
                .map_or("json", |(name, _)| name);
            let host = url::Url::parse(webhook.url.expose())
                .ok()
                .and_then(|u| u.host_str().map(str::to_owned));
            let own = if webhook.kind == WebhookKind::Json {
                ""
            } else {
                "the receiver's own address"
            };
            let to = webhook.command.first().cloned().or(host);
            (name, to.unwrap_or_else(|| own.to_owned()))
        }
    };
    ChannelPlan {
        name: c.name.to_string(),
        kind: kind.to_owned(),
        to,
        on: c.filters.on.clone(),
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let page = self
            .listen
            .as_ref()
            .map_or("off".to_owned(), |a| format!("http://{a}/"));
        writeln!(
            f,
            "location {}, store {}, page {page}\n",
            self.location, self.store
        )?;
        let name = self
            .endpoints
            .iter()
            .map(|e| e.name.len())
            .max()
            .unwrap_or(0)
            .max("endpoint".len());
        writeln!(
            f,
            "{:name$}  {:>8}  {:>10}  {:>12}  {:>10}  url",
            "endpoint", "interval", "probes/day", "tokens/day", "USD/day"
        )?;
        for e in &self.endpoints {
            let l = e.load;
            let usd = if e.priced {
                format!("{:.4}", l.usd_per_day)
            } else {
                "?".to_owned()
            };
            writeln!(
                f,
                "{:name$}  {:>8}  {:>10.0}  {:>12.0}  {usd:>10}  {}",
                e.name, e.interval, l.probes_per_day, l.tokens_per_day, e.url
            )?;
        }
        let t = &self.total;
        writeln!(
            f,
            "{:name$}  {:>8}  {:>10.0}  {:>12.0}  {:>10.4}  of {:.2} USD a day",
            "all", "", t.probes_per_day, t.tokens_per_day, t.usd_per_day, self.budget_usd
        )?;
        if !self.channels.is_empty() {
            writeln!(f, "\nchannels")?;
        }
        for c in &self.channels {
            writeln!(
                f,
                "  {} ({}) to {}, on {}",
                c.name,
                c.kind,
                c.to,
                c.on.join(", ")
            )?;
        }
        if !self.status_pages.is_empty() {
            writeln!(f, "\nstatus pages")?;
        }
        for page in &self.status_pages {
            let endpoints = page.endpoints.join(", ");
            writeln!(f, "  {} for {endpoints}: {}", page.provider, page.url)?;
        }
        for warning in &self.warnings {
            writeln!(f, "\nwarning: {warning}")?;
        }
        Ok(())
    }
}
