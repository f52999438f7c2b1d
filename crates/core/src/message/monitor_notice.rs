//! Notices about the monitor itself, its channels and the vendors' status pages.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::values::Locale;
use crate::model::Announcement;
use crate::model::{
    Block, ChannelName, Condition, Document, DrillMessage, Fault, NoticeKind, Provider, Timestamp,
    VendorIncident,
};
use crate::text;

/// The most channels that a title names.
const MAX_NAMED: usize = 5;
/// The most channels whose errors a message lists.
const MAX_DETAILED: usize = 20;

/// An event of the monitor itself, or one that is not tied to an incident.
#[derive(Debug, Clone, PartialEq)]
pub enum MonitorNotice<'a> {
    /// The monitor has no network connectivity.
    Offline,
    /// The network is back.
    Online {
        /// How long the network was down, in seconds.
        after_s: f64,
        /// The number of probes that measured nothing.
        missed_probes: u32,
    },
    /// Today's probing budget is used up.
    BudgetExhausted,
    /// A new day has begun and probing has resumed.
    BudgetReset,
    /// The database cannot be written.
    DatabaseFailing {
        /// The error.
        error: &'a str,
    },
    /// The database is writable again.
    DatabaseRecovered {
        /// How long writes failed, in seconds.
        after_s: f64,
    },
    /// A channel fails to deliver.
    ChannelFailing {
        /// The channel's name.
        channel: &'a str,
        /// The last error, if known.
        error: Option<&'a str>,
    },
    /// A channel delivers again.
    ChannelRecovered {
        /// The channel's name.
        channel: &'a str,
        /// How long deliveries failed, in seconds.
        after_s: f64,
    },
    /// Several channels fail to deliver.
    ChannelsFailing {
        /// Their names.
        channels: &'a [&'a str],
    },
    /// Several channels deliver again, and none fails.
    ChannelsRecovered {
        /// Their names.
        channels: &'a [&'a str],
    },
    /// Some channels deliver again, and others still fail.
    ChannelsPartlyRecovered {
        /// The names of those that deliver.
        recovered: &'a [&'a str],
        /// The names of those that fail.
        failing: &'a [&'a str],
    },
    /// Several channels rejected some recipients but accepted others.
    ChannelsRejecting {
        /// Their names.
        channels: &'a [&'a str],
    },
    /// A channel rejected some recipients but accepted others.
    RecipientsRejected {
        /// The channel's name.
        channel: &'a str,
        /// The recipients and the server's reply.
        who: &'a str,
    },
    /// A vendor has posted or closed an incident that the probes do not see.
    VendorIncident {
        /// The vendor's display name.
        vendor: &'a str,
        /// The vendor's title of the incident.
        name: &'a str,
        /// Whether it was closed.
        ended: bool,
    },
    /// One message for many incidents.
    Digest {
        /// The number of open incidents.
        open: usize,
        /// The number of resolved incidents.
        ended: usize,
    },
    /// Nobody has confirmed a drill.
    DrillUnconfirmed {
        /// The channel's name.
        channel: &'a str,
    },
    /// Several early warnings in one message.
    EarlyWarnings {
        /// The number of warnings.
        count: usize,
    },
}

/// Returns the title of a notice of the monitor at `location`.
pub fn title(notice: &MonitorNotice<'_>, location: &str, locale: &Locale) -> String {
    match notice {
        MonitorNotice::Offline => text!(locale, "{location} is offline", location),
        MonitorNotice::Online {
            after_s,
            missed_probes,
        } => {
            let n = locale.number(missed_probes);
            let after = locale.duration(*after_s);
            text!(
                locale,
                *missed_probes => "{location} is online again after {after}; {n} probe missed",
                "{location} is online again after {after}; {n} probes missed";
                location, after, n
            )
        }
        MonitorNotice::BudgetExhausted => text!(
            locale,
            "{location}: daily probing budget exhausted",
            location
        ),
        MonitorNotice::BudgetReset => {
            text!(
                locale,
                "{location}: probing resumed, daily budget reset",
                location
            )
        }
        MonitorNotice::DatabaseFailing { error } => {
            text!(
                locale,
                "{location} cannot write its database: {error}",
                location,
                error
            )
        }
        MonitorNotice::DatabaseRecovered { after_s } => {
            let after = locale.duration(*after_s);
            text!(
                locale,
                "{location}: database writes recovered after {after}",
                location,
                after
            )
        }
        MonitorNotice::ChannelFailing { channel, error } => match error {
            Some(error) => text!(
                locale,
                "the channel `{channel}` is failing: {error}",
                channel,
                error
            ),
            None => text!(locale, "the channel `{channel}` is failing", channel),
        },
        MonitorNotice::ChannelRecovered { channel, after_s } => {
            let after = locale.duration(*after_s);
            text!(
                locale,
                "the channel `{channel}` recovered after {after}",
                channel,
                after
            )
        }
        MonitorNotice::ChannelsFailing { channels } => {
            let n = locale.number(channels.len());
            let list = locale.list_at_most(channels, MAX_NAMED);
            text!(locale, "{n} channels are failing: {list}", n, list)
        }
        MonitorNotice::ChannelsRecovered { channels } => {
            let n = locale.number(channels.len());
            let list = locale.list_at_most(channels, MAX_NAMED);
            text!(locale, "{n} channels recovered: {list}", n, list)
        }
        MonitorNotice::ChannelsPartlyRecovered { recovered, failing } => {
            let list = locale.list_at_most(recovered, MAX_NAMED);
            let rest = locale.list_at_most(failing, MAX_NAMED);
            text!(
                locale,
                "recovered channels: {list}; still failing: {rest}",
                list,
                rest
            )
        }
        MonitorNotice::ChannelsRejecting { channels } => {
            let n = locale.number(channels.len());
            let list = locale.list_at_most(channels, MAX_NAMED);
            text!(
                locale,
                "{n} channels do not reach every recipient: {list}",
                n,
                list
            )
        }
        MonitorNotice::RecipientsRejected { channel, who } => {
            text!(
                locale,
                "the channel `{channel}` does not reach every recipient: {who}",
                channel,
                who
            )
        }
        MonitorNotice::VendorIncident {
            vendor,
            name,
            ended: false,
        } => text!(
            locale,
            "{vendor}'s status page: {name}; our probes are unaffected",
            vendor,
            name
        ),
        MonitorNotice::VendorIncident {
            vendor,
            name,
            ended: true,
        } => text!(
            locale,
            "{vendor}'s status page: {name} has ended",
            vendor,
            name
        ),
        MonitorNotice::DrillUnconfirmed { channel } => text!(
            locale,
            "nobody confirmed the drill of the channel `{channel}`",
            channel
        ),
        MonitorNotice::Digest { open, ended } => digest(*open, *ended, locale),
        MonitorNotice::EarlyWarnings { count } => {
            let n = locale.number(count);
            text!(
                locale,
                *count => "{n} early warning at {location}", "{n} early warnings at {location}";
                n, location
            )
        }
    }
}

fn digest(open: usize, ended: usize, locale: &Locale) -> String {
    let n = locale.number(open);
    let opened = text!(locale, open => "{n} open incident", "{n} open incidents"; n);
    match (open, ended) {
        (0, ended) => {
            let n = locale.number(ended);
            text!(locale, ended => "{n} incident ended", "{n} incidents ended"; n)
        }
        (_, 0) => opened,
        (_, more) => {
            let n = locale.number(more);
            text!(locale, more => "{opened}, {n} more ended", "{opened}, {n} more ended "; opened, n)
                .trim_end()
                .to_owned()
        }
    }
}

/// Announces the channels that fail to deliver, each with its last error, and those that recovered
/// since the last report, each with how long it had failed in seconds. `has_failed` tells whether
/// one began to fail since then.
pub fn delivery(
    failing: &[(&str, Option<&str>)],
    recovered: &[(&str, f64)],
    has_failed: bool,
    at: Timestamp,
    locale: &Locale,
) -> Announcement {
    let failing_names: Vec<_> = failing.iter().map(|(name, _)| *name).collect();
    let recovered_names: Vec<_> = recovered.iter().map(|(name, _)| *name).collect();
    let notice = match (failing, recovered) {
        ([(channel, error)], _) if has_failed => MonitorNotice::ChannelFailing {
            channel,
            error: *error,
        },
        (_, _) if has_failed => MonitorNotice::ChannelsFailing {
            channels: &failing_names,
        },
        ([], [(channel, after_s)]) => MonitorNotice::ChannelRecovered {
            channel,
            after_s: *after_s,
        },
        ([], _) => MonitorNotice::ChannelsRecovered {
            channels: &recovered_names,
        },
        _ => MonitorNotice::ChannelsPartlyRecovered {
            recovered: &recovered_names,
            failing: &failing_names,
        },
    };
    let errors = failing
        .iter()
        .filter_map(|(name, error)| Some((*name, (*error)?)));
    Announcement {
        document: (failing.len() > 1).then(|| channels_document(errors)),
        condition: Some(Condition {
            key: "delivery".to_owned(),
            over: failing.is_empty(),
        }),
        ..Announcement::new(NoticeKind::Delivery, title(&notice, "", locale), at)
    }
}

/// Announces channels that delivered to some recipients but not to those in `rejected`.
pub fn recipients_rejected(
    rejected: &BTreeMap<ChannelName, String>,
    at: Timestamp,
    locale: &Locale,
) -> Announcement {
    let names: Vec<_> = rejected.keys().map(ChannelName::as_str).collect();
    let notice = match rejected.first_key_value() {
        Some((channel, who)) if rejected.len() == 1 => {
            MonitorNotice::RecipientsRejected { channel, who }
        }
        _ => MonitorNotice::ChannelsRejecting { channels: &names },
    };
    let replies = rejected
        .iter()
        .map(|(name, who)| (name.as_str(), who.as_str()));
    Announcement {
        document: (rejected.len() > 1).then(|| channels_document(replies)),
        ..Announcement::new(NoticeKind::Delivery, title(&notice, "", locale), at)
    }
}

/// Lists channels with what their receivers said.
fn channels_document<'a>(channels: impl Iterator<Item = (&'a str, &'a str)>) -> Document {
    let channels: Vec<_> = channels.take(MAX_DETAILED).collect();
    let lines = channels
        .iter()
        .map(|(name, said)| format!("{name}: {said}"));
    let details: Vec<_> = channels
        .iter()
        .map(|(name, said)| json!({"channel": name, "error": said}))
        .collect();
    Document {
        blocks: vec![Block::List(lines.collect())],
        data: json!({"channels": details}),
    }
}

/// Announces that nobody confirmed the drill `message` within `confirm_within` of `[drill]`.
pub fn drill_unconfirmed(
    message: &DrillMessage,
    within: Duration,
    only: Vec<ChannelName>,
    at: Timestamp,
    locale: &Locale,
) -> Announcement {
    let channel = message.channel.as_str();
    let title = title(&MonitorNotice::DrillUnconfirmed { channel }, "", locale);
    let sent_at = locale.time(message.sent_at);
    let within = locale.duration(within.as_secs_f64());
    let text = text!(
        locale,
        "The drill was sent at {sent_at} and had {within} for its confirmation. Alerts through this channel may reach nobody: check who \
         reads it, and `llmwatch outbox`. `llmwatch drill {channel}` repeats the drill.",
        sent_at,
        within,
        channel
    );
    let data = json!({"channel": channel, "drill": message.drill, "sent_at": message.sent_at});
    Announcement {
        document: Some(Document {
            blocks: vec![Block::Text(text)],
            data,
        }),
        only: Some(only),
        ..Announcement::new(NoticeKind::Delivery, title, at)
    }
}

/// Announces that this machine has been offline since `since`. With `dns_only`, only name
/// resolution failed.
pub fn offline(
    location: &str,
    since: Timestamp,
    fault: Option<Fault>,
    dns_only: bool,
    at: Timestamp,
    locale: &Locale,
) -> Announcement {
    let document = dns_only.then(|| {
        let text = "No host name resolves on this machine. If IP addresses answer (`ping`), only the \
                    resolver is broken: check `/etc/resolv.conf` and `resolvectl status`.";
        Document {
            blocks: vec![Block::Text(locale.say(text).to_owned())],
            data: json!({"since": since, "fault": fault}),
        }
    });
    let title = title(&MonitorNotice::Offline, location, locale);
    Announcement {
        document,
        ..Announcement::new(NoticeKind::Offline, title, at)
    }
}

/// Announces that this machine is online again after being offline since `since`.
pub fn online(
    location: &str,
    since: Timestamp,
    missed_probes: u32,
    dns_only: bool,
    at: Timestamp,
    locale: &Locale,
) -> Announcement {
    let duration_s = at.since_ms(since) as f64 / 1000.0;
    let notice = MonitorNotice::Online {
        after_s: duration_s,
        missed_probes,
    };
    let from = locale.time(since);
    let to = locale.time(at);
    let why = locale.say(if dns_only {
        "no host name resolved"
    } else {
        "neither the providers nor the connectivity checks answered"
    });
    let n = locale.number(missed_probes);
    let text = text!(
        locale,
        missed_probes => "From {from} to {to} this machine was offline: {why}. {n} probe measured nothing. The gap is recorded as unknown, not as downtime.",
        "From {from} to {to} this machine was offline: {why}. {n} probes measured nothing. The gap is recorded as unknown, not as downtime.";
        from, to, why, n
    );
    let document = Document {
        blocks: vec![Block::Text(text)],
        data: json!({"since": since, "duration_s": duration_s, "missed_probes": missed_probes}),
    };
    Announcement {
        document: Some(document),
        ..Announcement::new(NoticeKind::Online, title(&notice, location, locale), at)
    }
}

/// Announces that the daily probing budget is exhausted.
pub fn budget_exhausted(location: &str, at: Timestamp, locale: &Locale) -> Announcement {
    let title = title(&MonitorNotice::BudgetExhausted, location, locale);
    Announcement::new(NoticeKind::Budget, title, at)
}

/// Announces that the daily budget was reset, to the channels in `only`.
pub fn budget_reset(
    location: &str,
    only: Vec<ChannelName>,
    at: Timestamp,
    locale: &Locale,
) -> Announcement {
    let title = title(&MonitorNotice::BudgetReset, location, locale);
    Announcement {
        only: Some(only),
        ..Announcement::new(NoticeKind::Budget, title, at).over()
    }
}

/// Announces that the database cannot be written.
pub fn database_failing(
    location: &str,
    error: &str,
    at: Timestamp,
    locale: &Locale,
) -> Announcement {
    let title = title(&MonitorNotice::DatabaseFailing { error }, location, locale);
    Announcement::new(NoticeKind::Store, title, at)
}

/// Announces that the database is writable again after `after_s` seconds.
pub fn database_recovered(
    location: &str,
    after_s: f64,
    at: Timestamp,
    locale: &Locale,
) -> Announcement {
    let notice = MonitorNotice::DatabaseRecovered { after_s };
    let title = title(&notice, location, locale);
    Announcement::new(NoticeKind::Store, title, at).over()
}

/// Announces that an incident on the status page of `vendor` began or ended, to the channels in
/// `only`.
pub fn vendor(
    provider: Provider,
    vendor: &str,
    published: &VendorIncident,
    began: bool,
    only: Vec<ChannelName>,
    at: Timestamp,
    locale: &Locale,
) -> Announcement {
    let notice = MonitorNotice::VendorIncident {
        vendor,
        name: &published.name,
        ended: !began,
    };
    Announcement {
        document: Some(vendor_document(provider, vendor, published, began, locale)),
        only: Some(only),
        ..Announcement::new(NoticeKind::Official, title(&notice, "", locale), at)
    }
}

fn vendor_document(
    provider: Provider,
    vendor: &str,
    published: &VendorIncident,
    began: bool,
    locale: &Locale,
) -> Document {
    let text = if began {
        text!(
            locale,
            "{vendor} has published this on its status page. This is for information only: our probes \
             are unaffected and no incident is open.",
            vendor
        )
    } else {
        locale
            .say("It is no longer on the vendor's status page.")
            .to_owned()
    };
    let facts = [
        published.published_at.map(|at| {
            let at = locale.time(at);
            text!(locale, "published at {at}", at)
        }),
        (!published.components.is_empty()).then(|| {
            let list = published.components.join(", ");
            text!(locale, "components: {list}", list)
        }),
        published.url.clone(),
    ];
    let facts: Vec<_> = facts.into_iter().flatten().collect();
    let mut blocks = vec![Block::Text(text)];
    if !facts.is_empty() {
        blocks.push(Block::List(facts));
    }
    let data = json!({
        "provider": provider,
        "official": {
            "status": published.status, "incident": published.name, "phase": published.phase,
            "published_at": published.published_at, "url": published.url,
            "components": published.components, "open": began,
        },
    });
    Document { blocks, data }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_agree_with_their_numbers() {
        let title = |notice| title(&notice, "fra1", &Locale::default());
        let online = |missed_probes| MonitorNotice::Online {
            after_s: 372.0,
            missed_probes,
        };
        assert_eq!(
            title(online(1)),
            "fra1 is online again after 6 min 12 s; 1 probe missed"
        );
        assert_eq!(
            title(online(1200)),
            "fra1 is online again after 6 min 12 s; 1,200 probes missed"
        );
        let digest = |open, ended| title(MonitorNotice::Digest { open, ended });
        assert_eq!(
            [digest(1, 0), digest(3, 2), digest(0, 1)],
            [
                "1 open incident",
                "3 open incidents, 2 more ended",
                "1 incident ended"
            ]
        );
    }
}
