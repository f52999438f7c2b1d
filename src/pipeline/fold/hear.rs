//! What a vendor's own page says, taken into the state: logged, shown beside what goes on here, told to those who ask.

use serde_json::json;

use super::Core;
use crate::audience::wants_type;
use crate::desk::Announcement;
use crate::incident::{Change, Said};
use crate::log;
use crate::model::{Attribution, Block, Document, Incident, NoticeType, Provider, Status, Timestamp, VendorIncident};
use crate::official::{Heard, News};
use crate::pipeline::{Line, Step};

impl Core {
    /// Takes in what a vendor's own page says. It changes what is told about the incidents that go on, never what is
    /// healthy.
    pub fn hear(&mut self, heard: Heard, at: Timestamp) -> Step {
        let mut step = Step::default();
        let (feed, provider) = (heard.feed.clone(), heard.provider);
        if !self.config.status_feeds.iter().any(|f| f.key() == feed) {
            // It was on its way when the configuration changed.
            return step;
        }
        let Some(news) = self.state.pages.hear(heard) else { return step };
        step.lines.push(line(provider, &news));
        let config = &self.config;
        let of_provider = |incident: &Incident| {
            let of = |name: &String| config.endpoints.iter().find(|e| e.name == *name).map(|e| e.provider);
            incident.endpoints.iter().find_map(of) == Some(provider)
        };
        let felt = self.state.book.open().any(|i| i.attribution == Attribution::Provider && of_provider(i));
        let asking: Vec<_> = config
            .channels
            .iter()
            .filter(|c| wants_type(&c.filters, NoticeType::Official))
            .filter(|c| c.filters.providers.is_empty() || c.filters.providers.contains(&provider))
            .map(|c| c.name.clone())
            .collect();
        if !asking.is_empty() {
            let tell = |theirs: &VendorIncident, began: bool| Announcement {
                document: Some(document(provider, theirs, began)),
                only: Some(asking.clone()),
                ..Announcement::new(NoticeType::Official, title(provider, theirs, began), at)
            };
            for theirs in news.published.iter().filter(|_| !felt) {
                step.announcements.push(tell(theirs, true));
                self.state.pages.was_told(&feed, &theirs.id);
            }
            step.announcements
                .extend(news.closed.iter().filter(|(_, told)| *told).map(|(theirs, _)| tell(theirs, false)));
        }
        let pages = &self.state.pages;
        let said = self.state.book.hear(at, |incident| {
            if of_provider(incident) { pages.about(incident, provider) } else { incident.official.clone() }
        });
        for Said { incident, published } in said {
            step.commit.officials.push((incident.id, incident.official.clone()));
            match (published, incident.resolved_at) {
                (false, _) => {}
                (true, None) => step.tell(vec![(Change::Updated, incident)], at),
                // Whoever was told of it has heard that it is over; the record is completed.
                (true, Some(_)) => step.lines.push(Line::incident(Change::Updated, &incident)),
            }
        }
        step.commit.checkpoint = Some(self.checkpoint());
        step
    }
}

fn line(provider: Provider, news: &News) -> Line {
    let word = |status: Option<Status>| status.map_or("unknown", Status::as_str);
    let title = provider.title();
    let mut message = format!("the status page of {title} says {} (was {})", word(news.now), word(news.was));
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
    Line::new(log::Event::FeedChanged, tracing::Level::INFO, message, fields)
}

fn title(provider: Provider, theirs: &VendorIncident, began: bool) -> String {
    let (whose, name) = (provider.title(), &theirs.name);
    if began {
        format!("{whose}'s own status page: {name}; the probes from here feel nothing of it")
    } else {
        format!("{whose}'s own status page: {name} is over")
    }
}

fn document(provider: Provider, theirs: &VendorIncident, began: bool) -> Document {
    let text = if began {
        format!(
            "{} has published this on its own status page. It is information: the probes from here do not feel it, and no incident is open.",
            provider.title()
        )
    } else {
        "It is not on the vendor's own status page any more.".to_owned()
    };
    let facts = [
        theirs.published_at.map(|at| format!("published at {at}")),
        (!theirs.components.is_empty()).then(|| format!("concerns {}", theirs.components.join(", "))),
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
