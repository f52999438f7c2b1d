//! What a vendor's own page says, taken into the state: logged, shown beside what goes on here, told to those who ask.

use std::collections::BTreeSet;

use serde_json::json;

use super::Core;
use crate::audience::wants_type;
use crate::config::{Config, StatusFeed};
use crate::desk::Announcement;
use crate::incident::{Change, Said};
use crate::log;
use crate::model::VendorView;
use crate::model::{
    Attribution, Block, Document, Incident, NoticeType, Provider, Status, Timestamp, VendorIncident,
};
use crate::official::{Heard, News};
use crate::pipeline::{Line, Step};

impl Core {
    /// Takes in what a vendor's own page says. It changes what is told about the incidents that go on, never what is
    /// healthy.
    pub fn hear(&mut self, heard: Heard, at: Timestamp) -> Step {
        let mut step = Step::default();
        let (feed, provider) = (heard.feed.clone(), heard.provider);
        let config = &self.config;
        let Some(configured) = config.status_feeds.iter().find(|f| f.key() == feed) else {
            // It was on its way when the configuration changed.
            return step;
        };
        let whose = titles(config, configured)
            .into_iter()
            .collect::<Vec<_>>()
            .join(", ");
        let Some(news) = self.state.pages.hear(heard) else {
            return step;
        };
        step.lines.push(line(provider, &whose, &news));
        let concerned = |incident: &Incident| {
            feeds_about(config, incident).filter(|feeds| feeds.contains(&feed))
        };
        let felt = self
            .state
            .book
            .open()
            .any(|i| i.attribution == Attribution::Provider && concerned(i).is_some());
        let asking: Vec<_> = config
            .channels
            .iter()
            .filter(|c| wants_type(&c.filters, NoticeType::Official))
            .filter(|c| c.filters.providers.is_empty() || c.filters.providers.contains(&provider))
            .map(|c| c.name.clone())
            .collect();
        if !asking.is_empty() {
            let tell = |theirs: &VendorIncident, began: bool| Announcement {
                document: Some(document(provider, &whose, theirs, began)),
                only: Some(asking.clone()),
                ..Announcement::new(NoticeType::Official, title(&whose, theirs, began), at)
            };
            for theirs in news.published.iter().filter(|_| !felt) {
                step.announcements.push(tell(theirs, true));
                self.state.pages.was_told(&feed, &theirs.id);
            }
            step.announcements.extend(
                news.closed
                    .iter()
                    .filter(|(_, told)| *told)
                    .map(|(theirs, _)| tell(theirs, false)),
            );
        }
        let pages = &self.state.pages;
        let said = self.state.book.hear(at, |incident| {
            concerned(incident).map_or_else(
                || incident.official.clone(),
                |feeds| pages.about(incident, &feeds),
            )
        });
        for Said {
            incident,
            published,
        } in said
        {
            step.commit
                .officials
                .push((incident.id, incident.official.clone()));
            match (published, incident.resolved_at) {
                (false, _) => {}
                (true, None) => step.tell(vec![(Change::Updated, incident)], at, &self.locale()),
                // Whoever was told of it has heard that it is over; the record is completed.
                (true, Some(_)) => step.lines.push(Line::incident(Change::Updated, &incident)),
            }
        }
        step.commit.checkpoint = Some(self.checkpoint());
        step
    }

    /// What the vendors' pages say, once for each that they speak of.
    pub(super) fn vendors(&self) -> Vec<VendorView> {
        let feeds = &self.config.status_feeds;
        let pages = self.state.pages.all().filter_map(|(key, provider, page)| {
            let feed = feeds.iter().find(|f| f.key() == key)?;
            let view = move |title| VendorView {
                provider,
                title,
                page: page.clone(),
            };
            Some(titles(&self.config, feed).into_iter().map(view))
        });
        pages.flatten().collect()
    }
}

/// The feeds that speak of one of an incident's endpoints; `None` when none of those is configured any more.
pub(super) fn feeds_about(config: &Config, incident: &Incident) -> Option<Vec<String>> {
    let known = |name: &String| config.endpoints.iter().find(|e| e.name == *name);
    let endpoints: Vec<_> = incident.endpoints.iter().filter_map(known).collect();
    // An incident of several providers is this machine's own.
    let provider = endpoints.first()?.provider;
    let speaks = |feed: &&StatusFeed| {
        feed.provider == provider && endpoints.iter().any(|e| feed.is_about(e))
    };
    Some(
        config
            .status_feeds
            .iter()
            .filter(speaks)
            .map(StatusFeed::key)
            .collect(),
    )
}

/// Whom a feed speaks of, as people say it: the vendor, or the servers that have no other name.
fn titles(config: &Config, feed: &StatusFeed) -> BTreeSet<String> {
    let mut titles: BTreeSet<_> = config
        .endpoints
        .iter()
        .filter(|e| feed.is_about(e))
        .map(|e| e.domain_title())
        .collect();
    if titles.is_empty() {
        titles.insert(feed.provider.title().to_owned());
    }
    titles
}

fn line(provider: Provider, title: &str, news: &News) -> Line {
    let word = |status: Option<Status>| status.map_or("unknown", Status::as_str);
    let mut message = format!(
        "the status page of {title} says {} (was {})",
        word(news.now),
        word(news.was)
    );
    let first = news.published.first();
    if let Some(theirs) = first {
        message += &format!(": {}", theirs.name);
    }
    let fields = json!({
        "provider": provider, "status": word(news.now), "was": word(news.was), "url": news.url,
        "official_incident": first.map(|i| &i.name), "published_at": first.and_then(|i| i.published_at),
        "published": news.published.iter().map(|i| &i.name).collect::<Vec<_>>(),
        "closed": news.closed.iter().map(|(i, _)| &i.name).collect::<Vec<_>>(),
    });
    Line::new(
        log::Event::FeedChanged,
        tracing::Level::INFO,
        message,
        fields,
    )
}

fn title(whose: &str, theirs: &VendorIncident, began: bool) -> String {
    let name = &theirs.name;
    if began {
        format!("{whose}'s own status page: {name}; the probes from here feel nothing of it")
    } else {
        format!("{whose}'s own status page: {name} is over")
    }
}

fn document(provider: Provider, whose: &str, theirs: &VendorIncident, began: bool) -> Document {
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
