//! What the monitor announces about itself and about vendors.

use serde_json::json;

use super::values::Locale;
use crate::alerting::Announcement;
use crate::model::{Block, Document, Fault, NoticeType, Provider, Timestamp, VendorIncident};

/// This machine has lost its network since `since`; with `dns_only`, names are not resolved.
pub fn offline(
    location: &str,
    since: Timestamp,
    fault: Option<Fault>,
    dns_only: bool,
    at: Timestamp,
) -> Announcement {
    let document = dns_only.then(|| {
        let text = "If addresses can be reached (`ping`), only the resolver is broken: see `/etc/resolv.conf` and \
                    `resolvectl status`.";
        Document {
            blocks: vec![Block::Text(text.to_owned())],
            data: json!({"since": since, "fault": fault}),
        }
    });
    Announcement {
        document,
        ..Announcement::new(
            NoticeType::Offline,
            format!("{location} has lost its network"),
            at,
        )
    }
}

/// This machine has its network back, which it lost at `since`.
pub fn online(
    location: &str,
    since: Timestamp,
    missed_probes: u32,
    dns_only: bool,
    at: Timestamp,
) -> Announcement {
    let duration_s = at.since_ms(since) as f64 / 1000.0;
    let text = format!(
        "From {since} to {at} this machine could reach nobody: {}. {} measured nothing: what happened meanwhile is \
         unknown, not down, and counts as nobody's downtime.",
        if dns_only {
            "no name was resolved"
        } else {
            "neither the providers nor the connectivity checks answered"
        },
        probes(missed_probes)
    );
    let document = Document {
        blocks: vec![Block::Text(text)],
        data: json!({"since": since, "duration_s": duration_s, "missed_probes": missed_probes}),
    };
    Announcement {
        document: Some(document),
        ..Announcement::new(
            NoticeType::Online,
            online_title(location, duration_s, missed_probes),
            at,
        )
    }
}

/// That this machine has its network back, in one line.
pub fn online_title(location: &str, duration_s: f64, missed_probes: u32) -> String {
    format!(
        "{location} has its network back after {}; {} missed",
        Locale::default().duration(duration_s),
        probes(missed_probes)
    )
}

fn probes(count: u32) -> String {
    if count == 1 {
        "1 probe".to_owned()
    } else {
        format!("{count} probes")
    }
}

/// The day's probing budget is used up.
pub fn budget_exhausted(location: &str, at: Timestamp) -> Announcement {
    Announcement::new(NoticeType::Budget, budget_exhausted_title(location), at)
}

/// The same in one line.
pub fn budget_exhausted_title(location: &str) -> String {
    format!("{location} has spent its probing budget of the day")
}

/// A new day has a new budget; only the channels in `only` need to know.
pub fn budget_reset(location: &str, only: Vec<String>, at: Timestamp) -> Announcement {
    let title = format!("{location} probes again: a new day, a new budget");
    Announcement {
        only: Some(only),
        ..Announcement::new(NoticeType::Budget, title, at).over()
    }
}

/// The database cannot be written.
pub fn database_failing(location: &str, error: &str, at: Timestamp) -> Announcement {
    let title = format!("{location} cannot write its store: {error}");
    Announcement::new(NoticeType::Store, title, at)
}

/// The database is written again, after `duration_s` seconds.
pub fn database_recovered(location: &str, duration_s: f64, at: Timestamp) -> Announcement {
    let lasted = Locale::default().duration(duration_s);
    let title = format!("{location} writes its store again after {lasted}");
    Announcement::new(NoticeType::Store, title, at).over()
}

/// An incident on the page of the vendor `whose` began or is over; only the channels in `only` asked for it.
pub fn vendor(
    provider: Provider,
    whose: &str,
    theirs: &VendorIncident,
    began: bool,
    only: Vec<String>,
    at: Timestamp,
) -> Announcement {
    Announcement {
        document: Some(vendor_document(provider, whose, theirs, began)),
        only: Some(only),
        ..Announcement::new(NoticeType::Official, vendor_title(whose, theirs, began), at)
    }
}

fn vendor_title(whose: &str, theirs: &VendorIncident, began: bool) -> String {
    let name = &theirs.name;
    if began {
        format!("{whose}'s own status page: {name}; the probes from here feel nothing of it")
    } else {
        format!("{whose}'s own status page: {name} is over")
    }
}

fn vendor_document(
    provider: Provider,
    whose: &str,
    theirs: &VendorIncident,
    began: bool,
) -> Document {
    let text = if began {
        format!(
            "{whose} has published this on its own status page. It is information: the probes from here do not feel it, and no incident is open."
        )
    } else {
        "It is not on the vendor's own status page any more.".to_owned()
    };
    let facts = [
        theirs.published_at.map(|at| format!("published at {at}")),
        (!theirs.components.is_empty())
            .then(|| format!("concerns {}", theirs.components.join(", "))),
        theirs.url.clone(),
    ];
    let facts: Vec<_> = facts.into_iter().flatten().collect();
    let mut blocks = vec![Block::Text(text)];
    if !facts.is_empty() {
        blocks.push(Block::List(facts));
    }
    let data = json!({
        "provider": provider, "official": {"status": theirs.status, "incident": theirs.name, "phase": theirs.phase,
            "published_at": theirs.published_at, "url": theirs.url, "components": theirs.components, "open": began},
    });
    Document { blocks, data }
}
