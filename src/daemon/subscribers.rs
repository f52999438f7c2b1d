//! Subscribers: handles their requests, notifies them of incidents and sends their emails. Separate
//! from probing and from the operators' channels.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use llmwatch_core::message::subscriber::{self, PublicEvent};
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::{Incident, Snapshot, Timestamp};
use serde_json::json;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::Level;
use uuid::Uuid;

use crate::clock::WallClock;
use crate::config::Settings;
use crate::links::{Action, Links};
use crate::log::{self, Event, emit};
use crate::notify::subscriber_mail::{Refusal, SubscriberMailer};
use crate::notify::{Obstacle, backoff};
use crate::store::{Announced, SignUp, Store, StoreError, SubscriberMail};
use crate::subscriptions::{self, SubscriptionRequest};

/// Sign-ups allowed per client and hour.
const PER_CLIENT: u32 = 10;
const HOUR_MS: i64 = 3_600_000;
/// How many clients are tracked; beyond that all counts start over.
const MAX_CLIENTS: usize = 10_000;
/// How often the store is polled while nothing else happens.
const POLL: Duration = Duration::from_secs(5);
/// Emails sent per query of the store.
const BATCH: u32 = 50;
/// How long delivery of an email is retried before giving up.
const GIVE_UP_AFTER: Duration = Duration::from_hours(24);
/// The name of the channel in log events.
const CHANNEL: &str = "subscribers";

/// The context of the tasks.
#[derive(Clone)]
pub(super) struct Subscribers {
    pub(super) store: Store,
    pub(super) links: Links,
    pub(super) wall: WallClock,
    pub(super) config: watch::Receiver<Arc<Settings>>,
    pub(super) stop: CancellationToken,
}

impl Subscribers {
    /// Runs until `stop` is cancelled.
    pub(super) async fn run(
        self,
        requests: mpsc::Receiver<SubscriptionRequest>,
        snapshot: watch::Receiver<Arc<Snapshot>>,
    ) {
        let queued = Arc::new(Notify::new());
        let announcer = Announcer {
            context: self.clone(),
            queued: queued.clone(),
            clients: HashMap::new(),
            known: HashMap::new(),
        };
        tokio::join!(announcer.run(requests, snapshot), self.send_all(&queued));
    }

    /// Sends due emails until the shutdown.
    async fn send_all(&self, queued: &Notify) {
        let mut config = self.config.clone();
        let mut mailer = SubscriberMailer::new(&config.borrow_and_update().clone());
        while !self.stop.is_cancelled() {
            if config.has_changed().unwrap_or(false) {
                mailer = SubscriberMailer::new(&config.borrow_and_update().clone());
            }
            let settings = config.borrow().clone();
            let mut sent_all = true;
            if let (Some(mailer), true) = (&mut mailer, settings.web.subscribe) {
                match self.send_due(mailer, &settings).await {
                    Ok(more) => sent_all = !more,
                    Err(error) => store_failed(&error),
                }
            }
            if sent_all {
                tokio::select! {
                    () = self.stop.cancelled() => {}
                    () = queued.notified() => {}
                    () = tokio::time::sleep(POLL) => {}
                }
            }
        }
    }

    /// Sends a batch of due emails. Returns whether there may be more.
    async fn send_due(
        &self,
        mailer: &mut SubscriberMailer,
        settings: &Settings,
    ) -> Result<bool, StoreError> {
        let now = (self.wall)();
        let due = self
            .store
            .run_blocking(move |store| store.due_subscriber_mails(now, BATCH))
            .await?;
        let is_full = due.len() == BATCH as usize;
        for mail in due {
            if self.stop.is_cancelled() {
                break;
            }
            let (text, unsubscribe) = self.text(&mail, settings);
            let sent = mailer.send(&mail, text, unsubscribe.as_deref()).await;
            let reached = !matches!(&sent, Err(refusal) if refusal.is_unreachable);
            self.record(mail, sent).await?;
            if !reached {
                break;
            }
        }
        mailer.rest().await;
        Ok(is_full)
    }

    /// Returns the text with this subscriber's links, and the unsubscribe link.
    fn text(&self, mail: &SubscriberMail, settings: &Settings) -> (String, Option<String>) {
        let base = base_url(settings);
        let locale = locale(settings);
        if mail.incident.is_none() {
            // The link's age counts from the sign-up, however late the email is.
            let url = self
                .links
                .url(&base, Action::Subscribe, mail.subscriber, mail.queued_at);
            return (format!("{}\n{url}\n", mail.body), None);
        }
        let url = self.links.unsubscribe_url(&base, mail.subscriber);
        let line = subscriber::unsubscribe_line(site(settings), &locale);
        let text = format!("{}\n-- \n{line}\n{url}\n", mail.body);
        (text, Some(url))
    }

    async fn record(
        &self,
        mail: SubscriberMail,
        sent: Result<(), Refusal>,
    ) -> Result<(), StoreError> {
        let Err(refusal) = sent else {
            return self
                .store
                .run_blocking(move |store| store.finish_subscriber_mail(mail.id))
                .await;
        };
        let now = (self.wall)();
        let obstacle = if refusal.is_unreachable {
            Obstacle::Refused
        } else {
            Obstacle::Other
        };
        let failing_for = Duration::from_millis(now.since_ms(mail.queued_at).max(0).unsigned_abs());
        let wait = backoff(
            mail.attempts + 1,
            obstacle,
            failing_for,
            None,
            fastrand::f64(),
        );
        let at = now + wait;
        let fields = json!({
            "notification": mail.id, "channel": CHANNEL, "attempt": mail.attempts + 1, "error": refusal.text,
        });
        if refusal.is_transient && at < mail.queued_at + GIVE_UP_AFTER {
            if mail.attempts == 0 {
                let message = format!(
                    "cannot send a mail to a subscriber, will retry: {}",
                    refusal.text
                );
                // A mail server outage affects the emails of all subscribers.
                log::emit_limited(
                    Event::NotificationRetry,
                    Level::WARN,
                    CHANNEL,
                    &message,
                    fields,
                );
            }
            return self
                .store
                .run_blocking(move |store| store.retry_subscriber_mail(mail.id, at))
                .await;
        }
        let event = if refusal.is_transient {
            Event::NotificationExpired
        } else {
            Event::NotificationFailed
        };
        let message = format!("a mail to a subscriber was not delivered: {}", refusal.text);
        emit(event, Level::WARN, &message, &fields);
        self.store
            .run_blocking(move |store| store.finish_subscriber_mail(mail.id))
            .await
    }
}

/// Returns the public URL of the pages.
fn base_url(settings: &Settings) -> String {
    match (&settings.monitor.public_url, settings.process.listen) {
        (Some(url), _) => url.clone(),
        (None, Some(address)) => format!("http://{address}"),
        (None, None) => String::new(),
    }
}

fn site(settings: &Settings) -> &str {
    settings.web.title.as_deref().unwrap_or("llmwatch")
}

fn locale(settings: &Settings) -> Locale {
    Locale::of(settings)
}

fn store_failed(error: &StoreError) {
    let message = format!("subscriptions cannot be used: {error}");
    log::store_failed("subscriptions", &message, error);
}

/// Handles requests and announces incidents.
struct Announcer {
    context: Subscribers,
    queued: Arc<Notify>,
    /// The start of the counting hour and the number of sign-ups, by client.
    clients: HashMap<IpAddr, (Timestamp, u32)>,
    /// What was announced of each incident whose end was not.
    known: HashMap<Uuid, Announced>,
}

impl Announcer {
    async fn run(
        mut self,
        mut requests: mpsc::Receiver<SubscriptionRequest>,
        mut snapshot: watch::Receiver<Arc<Snapshot>>,
    ) {
        match self.context.store.run_blocking(Store::announced).await {
            Ok(known) => self.known = known.into_iter().map(|a| (a.incident, a)).collect(),
            Err(error) => store_failed(&error),
        }
        loop {
            tokio::select! {
                () = self.context.stop.cancelled() => return,
                Some(request) = requests.recv() => self.answer(request).await,
                changed = snapshot.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(POLL) => {}
            }
            let settings = self.context.config.borrow().clone();
            if settings.web.subscribe {
                let current = snapshot.borrow().clone();
                if let Err(error) = self.announce(&current, &settings).await {
                    store_failed(&error);
                }
            }
        }
    }

    async fn answer(&mut self, request: SubscriptionRequest) {
        let (store, now) = (self.context.store.clone(), (self.context.wall)());
        // The client may have disconnected; a failed reply needs no handling.
        match request {
            SubscriptionRequest::SignUp(address, client, reply) => {
                let _ = reply.send(self.sign_up(&address, client, now).await);
            }
            SubscriptionRequest::Look(id, reply) => {
                let found = store
                    .run_blocking(move |store| store.subscription(id))
                    .await;
                let _ = reply.send(usable(found));
            }
            SubscriptionRequest::Confirm(id, reply) => {
                let done = store
                    .run_blocking(move |store| store.confirm_subscription(id, now))
                    .await;
                let _ = reply.send(usable(done));
            }
            SubscriptionRequest::End(id, reply) => {
                let done = store.run_blocking(move |store| store.unsubscribe(id)).await;
                let _ = reply.send(usable(done));
            }
        }
    }

    async fn sign_up(
        &mut self,
        address: &str,
        client: Option<IpAddr>,
        now: Timestamp,
    ) -> Option<SignUp> {
        // Check this before the address, so that the reply reveals nothing about it.
        if client.is_some_and(|client| !self.admits(client, now)) {
            return Some(SignUp::TooMany);
        }
        let settings = self.context.config.borrow().clone();
        let mail = subscriber::confirmation(site(&settings), &locale(&settings));
        let address = subscriptions::address(address)?;
        let done = self
            .context
            .store
            .run_blocking(move |store| store.sign_up(&address, &mail.subject, &mail.body, now))
            .await;
        self.queued.notify_one();
        usable(done)
    }

    /// Counts a sign-up of `client`. Returns whether it is within the limit.
    fn admits(&mut self, client: IpAddr, now: Timestamp) -> bool {
        if self.clients.len() >= MAX_CLIENTS {
            self.clients.clear();
        }
        let (since, count) = self.clients.entry(client).or_insert((now, 0));
        // A clock that was set back also starts a new hour.
        if !(0..HOUR_MS).contains(&now.since_ms(*since)) {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count <= PER_CLIENT
    }

    /// Queues emails for everything that was not announced yet.
    async fn announce(
        &mut self,
        snapshot: &Snapshot,
        settings: &Settings,
    ) -> Result<(), StoreError> {
        for incident in &snapshot.incidents {
            let known = self.known.get(&incident.id).copied();
            let announced = known.map_or(0, |k| k.notes as usize);
            let mut events: Vec<_> = if known.is_none() {
                vec![PublicEvent::Opened]
            } else {
                Vec::new()
            };
            events.extend(
                incident
                    .notes
                    .iter()
                    .skip(announced)
                    .map(PublicEvent::Noted),
            );
            if !events.is_empty() {
                self.queue(incident, &events, settings).await?;
            }
        }
        let is_open = |id: &Uuid| snapshot.incidents.iter().any(|i| i.id == *id);
        let ended: Vec<_> = self
            .known
            .keys()
            .copied()
            .filter(|id| !is_open(id))
            .collect();
        for id in ended {
            let data = self
                .context
                .store
                .run_blocking(move |store| store.incident_data_by_id(id))
                .await?;
            let incident = data.and_then(|data| serde_json::from_str::<Incident>(&data).ok());
            // An end that is not committed yet is picked up next time.
            if let Some(incident) = incident.filter(|i| i.resolved_at.is_some()) {
                self.queue(&incident, &[PublicEvent::Resolved], settings)
                    .await?;
            }
        }
        Ok(())
    }

    async fn queue(
        &mut self,
        incident: &Incident,
        events: &[PublicEvent<'_>],
        settings: &Settings,
    ) -> Result<(), StoreError> {
        let locale = locale(settings);
        let page = format!("{}/incidents/{}", base_url(settings), incident.number);
        let mails: Vec<_> = events
            .iter()
            .map(|event| {
                let mail =
                    subscriber::incident(incident, *event, site(settings), Some(&page), &locale);
                (mail.subject, mail.body)
            })
            .collect();
        let known = Announced {
            incident: incident.id,
            notes: u32::try_from(incident.notes.len()).unwrap_or(u32::MAX),
            over: events.contains(&PublicEvent::Resolved),
        };
        let now = (self.context.wall)();
        self.context
            .store
            .run_blocking(move |store| store.announce(known, &mails, now))
            .await?;
        if known.over {
            self.known.remove(&known.incident);
        } else {
            self.known.insert(known.incident, known);
        }
        self.queued.notify_one();
        Ok(())
    }
}

fn usable<T>(done: Result<T, StoreError>) -> Option<T> {
    done.inspect_err(store_failed).ok()
}
