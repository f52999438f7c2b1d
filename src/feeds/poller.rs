//! Polls each status page at its own interval and passes the result to the pipeline.
//!
//! Each feed has its own task, so that a page that hangs does not delay the others. A failing page
//! is polled with backoff and logged once. After a few failures the pipeline drops its last state,
//! which may be outdated.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Client;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Level;
use url::Url;

use super::fetch::{self, Document, Trouble};
use crate::command::{Command, Commands};
use crate::config::{FeedKind, Proxy, Settings, StatusFeed};
use crate::log::{Event, emit};
use crate::redact::Redactor;
use llmwatch_core::incident::vendor_status::FeedSnapshot;
use llmwatch_core::model::{Provider, VendorPage};
use llmwatch_core::protocol::status_page;

/// The first polls of all feeds are spread over this time.
const FIRST_WITHIN: Duration = Duration::from_millis(500);
/// After this many failures in a row the last known state of a page is dropped.
const LOST_AFTER: u32 = 3;
/// The longest backoff of a failing page.
const LONGEST_WAIT: Duration = Duration::from_mins(30);
/// Polls are jittered by up to this share of the interval.
const JITTER: f64 = 0.1;

/// Polls the vendors' status pages.
pub struct Poller {
    /// The configuration in force.
    pub config: watch::Receiver<Arc<Settings>>,
    /// Sends the results to the pipeline.
    pub commands: Commands,
    /// When to stop.
    pub stop: CancellationToken,
}

/// All settings of a poll: a reload restarts only feeds whose settings changed.
type FeedRequest = (StatusFeed, Proxy, Option<std::path::PathBuf>);

impl Poller {
    /// Polls until `stop` is cancelled.
    pub async fn run(mut self) {
        let mut tasks = JoinSet::new();
        let mut running: BTreeMap<(Provider, Url), (FeedRequest, AbortHandle)> = BTreeMap::new();
        loop {
            let config = self.config.borrow_and_update().clone();
            let tools = Tools::new(&config);
            let asked = |feed: &StatusFeed| {
                (
                    feed.clone(),
                    config.monitor.proxy.clone(),
                    config.process.ca_file.clone(),
                )
            };
            running.retain(|_, (before, task)| {
                let stays = config.status_feeds.iter().any(|f| asked(f) == *before);
                if !stays {
                    task.abort();
                }
                stays
            });
            for feed in &config.status_feeds {
                running
                    .entry((feed.provider, feed.url.clone()))
                    .or_insert_with(|| {
                        let task = follow(feed.clone(), tools.clone(), self.commands.clone());
                        (asked(feed), tasks.spawn(task))
                    });
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                changed = self.config.changed() => if changed.is_err() { return },
                Some(Err(ended)) = tasks.join_next() => {
                    if let Ok(panic) = ended.try_into_panic() {
                        std::panic::resume_unwind(panic);
                    }
                }
            }
        }
    }
}

/// What all feeds share: certificates and patterns take a megabyte or more.
#[derive(Clone)]
struct Tools {
    client: Result<Client, Trouble>,
    redactor: Redactor,
}

impl Tools {
    fn new(settings: &Settings) -> Self {
        Self {
            client: fetch::client(settings),
            redactor: Redactor::new(settings),
        }
    }
}

/// Polls one feed forever.
async fn follow(feed: StatusFeed, tools: Tools, commands: Commands) {
    let mut source = FeedDocuments::new(&feed);
    let Tools { client, redactor } = tools;
    let mut failures = 0_u32;
    tokio::time::sleep(FIRST_WITHIN.mul_f64(fastrand::f64())).await;
    loop {
        let page = match &client {
            Ok(client) => source.fetch(client, &feed).await,
            Err(trouble) => Err(trouble.clone()),
        };
        let mut asked = None;
        let page = match page {
            Ok(mut page) => {
                failures = 0;
                redactor.clean_page(&mut page);
                Some(Some(page))
            }
            Err(mut trouble) => {
                trouble.message = redactor.clean(&trouble.message);
                failures += 1;
                asked = trouble.retry_after;
                if failures == 1 {
                    let message = format!(
                        "cannot read the status page of {}: {}",
                        feed.provider, trouble.message
                    );
                    let url = redactor.clean(feed.url.as_str());
                    let fields =
                        json!({"provider": feed.provider, "url": url, "error": trouble.message});
                    emit(Event::FeedFailed, Level::WARN, &message, &fields);
                }
                (failures == LOST_AFTER).then_some(None)
            }
        };
        if let Some(page) = page {
            let snapshot = FeedSnapshot {
                feed: feed.key(),
                provider: feed.provider,
                page,
            };
            // The pipeline ends only when the process is about to exit.
            let _ = commands
                .send(Command::UpdateVendorPage(Box::new(snapshot)))
                .await;
        }
        tokio::time::sleep(wait(feed.interval, failures, asked, fastrand::f64())).await;
    }
}

/// Returns the time until the next poll: the interval, doubled for each failure, with jitter.
/// `random` is uniform over 0 to 1.
fn wait(interval: Duration, failures: u32, asked: Option<Duration>, random: f64) -> Duration {
    let doubled = interval.saturating_mul(1 << failures.min(10));
    let wait = doubled
        .min(LONGEST_WAIT.max(interval))
        .max(asked.unwrap_or_default().min(LONGEST_WAIT));
    wait.mul_f64(1.0 - JITTER + 2.0 * JITTER * random)
}

/// The documents of one feed.
struct FeedDocuments {
    main: Document,
    /// incident.io's summary omits components that its component list has.
    components: Option<Document>,
    /// The status platform's own URL of the page, for when the vendor's front end rejects us.
    fallback: Option<Document>,
}

impl FeedDocuments {
    fn new(feed: &StatusFeed) -> Self {
        let max_bytes = status_page::max_bytes(feed.kind);
        let components = match feed.kind {
            FeedKind::IncidentIo => component_list(&feed.url),
            _ => None,
        };
        Self {
            main: Document::at(feed.url.clone(), max_bytes),
            components: components.map(|url| Document::at(url, max_bytes)),
            fallback: (feed.fallback.clone()).map(|url| Document::at(url, max_bytes)),
        }
    }

    async fn fetch(&mut self, client: &Client, feed: &StatusFeed) -> Result<VendorPage, Trouble> {
        let list = match &mut self.components {
            // Without it the summary's own list is used.
            Some(document) => document.fetch(client).await.ok(),
            None => None,
        };
        let first = match self.main.fetch(client).await {
            Ok(body) => read(feed, body, list.clone()).await,
            Err(trouble) => Err(trouble),
        };
        match (first, &mut self.fallback) {
            (Err(trouble), Some(fallback)) => {
                let Ok(body) = fallback.fetch(client).await else {
                    return Err(trouble);
                };
                read(feed, body, list).await.map_err(|_| trouble)
            }
            (first, _) => first,
        }
    }
}

/// Returns the URL of the list of components beside a summary.
fn component_list(summary: &Url) -> Option<Url> {
    let path = summary.path().strip_suffix("/summary.json")?;
    let mut list = summary.clone();
    list.set_path(&format!("{path}/components.json"));
    Some(list)
}

/// Parses a document on a blocking thread: a large one takes milliseconds, which would delay other
/// tasks.
async fn read(
    feed: &StatusFeed,
    body: Arc<[u8]>,
    list: Option<Arc<[u8]>>,
) -> Result<VendorPage, Trouble> {
    let kind = feed.kind;
    let wanted = feed.components.clone();
    let address = fetch::shown(&feed.url);
    let reading = tokio::task::spawn_blocking(move || {
        status_page::read(kind, &body, list.as_deref(), &wanted, &address)
    });
    match reading.await {
        Ok(page) => page.map_err(|why| Trouble::new(why.to_string())),
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Trouble::new("the daemon is stopping")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_fails_is_asked_more_and_more_rarely() {
        let minute = Duration::from_mins(1);
        assert_eq!(wait(minute, 0, None, 0.5), minute);
        assert_eq!(wait(minute, 0, None, 0.0), Duration::from_secs(54));
        assert_eq!(wait(minute, 3, None, 0.5), Duration::from_mins(8));
        assert_eq!(wait(minute, 40, None, 0.5), LONGEST_WAIT);
        assert_eq!(
            wait(minute, 1, Some(Duration::from_mins(10)), 0.5),
            Duration::from_mins(10)
        );
        assert_eq!(
            wait(Duration::from_hours(1), 5, None, 0.5),
            Duration::from_hours(1)
        );
    }
}
