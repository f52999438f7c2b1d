//! Subscribers: handles their requests, notifies them of incidents and sends their emails. Separate
//! from probing and from the operators' channels.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use llmwatch_core::message::subscriber::{self, PublicEvent, SubscriberLink};
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::{Incident, Snapshot, Timestamp};
use serde_json::json;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Level;
use uuid::Uuid;

use crate::clock::WallClock;
use crate::config::Settings;
use crate::links::{Action, Links};
use crate::log::{self, Event, emit};
use crate::notify::subscriber_mail::{Refusal, SubscriberMailer};
use crate::notify::{Obstacle, backoff};
use crate::store::postgres::{LEASE, RENEW, SharedStore};
use crate::store::{
    Announced, PublicIncident, SignUp, Store, StoreError, SubscriberError, SubscriberMail,
    SubscriberStore,
};
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
    /// The daemon's own store.
    pub(super) local: Store,
    /// Where the subscribers are kept.
    pub(super) store: SubscriberStore,
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
            polled_at: None,
            has_adopted: false,
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
                match Box::pin(self.send_due(mailer, &settings)).await {
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
    ) -> Result<bool, SubscriberError> {
        let due = self.store.due_mails((self.wall)(), BATCH).await?;
        if due.is_empty() {
            return Ok(false);
        }
        let is_full = due.len() == BATCH as usize;
        let sent = tokio::select! {
            sent = self.send_batch(mailer, due, settings) => sent,
            () = self.hold_claims() => Ok(()),
        };
        mailer.rest().await;
        self.store.release_claims().await?;
        sent.map(|()| is_full)
    }

    async fn send_batch(
        &self,
        mailer: &mut SubscriberMailer,
        due: Vec<SubscriberMail>,
        settings: &Settings,
    ) -> Result<(), SubscriberError> {
        for mail in due {
            if self.stop.is_cancelled() {
                break;
            }
            let sent = mailer.send(&mail, &self.link(&mail, settings)).await;
            let reached = !matches!(&sent, Err(refusal) if refusal.is_unreachable);
            self.record(mail, sent).await?;
            if !reached {
                break;
            }
        }
        Ok(())
    }

    /// Renews the claims on emails during their delivery. Returns once they have expired, because a
    /// shared store does not respond.
    async fn hold_claims(&self) {
        let mut renewed_at = Instant::now();
        while renewed_at.elapsed() < LEASE {
            tokio::time::sleep(RENEW).await;
            if self.store.renew_claims().await.is_ok() {
                renewed_at = Instant::now();
            }
        }
    }

    /// Returns the subscriber's link for the end of the mail.
    fn link(&self, mail: &SubscriberMail, settings: &Settings) -> SubscriberLink {
        let base = base_url(settings);
        if mail.incident.is_none() {
            // The link's age counts from the sign-up, however late the email is.
            return SubscriberLink::Confirm(self.links.url(
                &base,
                Action::Subscribe,
                mail.subscriber,
                mail.queued_at,
            ));
        }
        let url = self.links.unsubscribe_url(&base, mail.subscriber);
        SubscriberLink::unsubscribe(url, site(settings), &locale(settings))
    }

    async fn record(
        &self,
        mail: SubscriberMail,
        sent: Result<(), Refusal>,
    ) -> Result<(), SubscriberError> {
        let Err(refusal) = sent else {
            return self.store.finish_mail(mail.id).await;
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
            return self.store.retry_mail(mail.id, now, wait).await;
        }
        let event = if refusal.is_transient {
            Event::NotificationExpired
        } else {
            Event::NotificationFailed
        };
        let message = format!("a mail to a subscriber was not delivered: {}", refusal.text);
        emit(event, Level::WARN, &message, &fields);
        self.store.finish_mail(mail.id).await
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

fn store_failed(error: &SubscriberError) {
    // The coordinator reports a shared store that cannot be reached.
    if matches!(error, SubscriberError::Shared(error) if !error.is_misconfiguration()) {
        return;
    }
    let message = format!("subscriptions cannot be used: {error}");
    log::store_failed("subscriptions", &message, error);
}

/// Handles requests and announces incidents.
struct Announcer {
    context: Subscribers,
    queued: Arc<Notify>,
    /// The start of the counting hour and the number of sign-ups, by client.
    clients: HashMap<IpAddr, (Timestamp, u32)>,
    /// What was announced of each incident in the daemon's own store whose end was not.
    known: HashMap<Uuid, Announced>,
    /// When a shared store was last asked for incidents.
    polled_at: Option<Instant>,
    /// Whether a shared store has the subscribers of the daemon's own file.
    has_adopted: bool,
}

impl Announcer {
    async fn run(
        mut self,
        mut requests: mpsc::Receiver<SubscriptionRequest>,
        mut snapshot: watch::Receiver<Arc<Snapshot>>,
    ) {
        match self.context.local.run_blocking(Store::announced).await {
            Ok(known) => self.known = known.into_iter().map(|a| (a.incident, a)).collect(),
            Err(error) => store_failed(&error.into()),
        }
        let stop = self.context.stop.clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(request) = requests.recv() => self.answer(request).await,
                changed = snapshot.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(POLL) => {}
            }
            let settings = self.context.config.borrow().clone();
            if settings.web.subscribe {
                let current = snapshot.borrow().clone();
                // A shared store that hangs does not delay the shutdown.
                let announced = tokio::select! {
                    announced = self.announce(&current, &settings) => announced,
                    () = stop.cancelled() => return,
                };
                if let Err(error) = announced {
                    store_failed(&error);
                }
            }
        }
    }

    async fn answer(&mut self, request: SubscriptionRequest) {
        let store = self.context.store.clone();
        let now = (self.context.wall)();
        // The client may have disconnected; a failed reply needs no handling.
        match request {
            SubscriptionRequest::SignUp(address, client, reply) => {
                let _ = reply.send(self.sign_up(&address, client, now).await);
            }
            SubscriptionRequest::Look(id, reply) => {
                let _ = reply.send(usable(store.subscription(id).await));
            }
            SubscriptionRequest::Confirm(id, reply) => {
                let _ = reply.send(usable(store.confirm(id, now).await));
            }
            SubscriptionRequest::End(id, reply) => {
                let _ = reply.send(usable(store.unsubscribe(id).await));
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
        let done = self.context.store.sign_up(address, mail, now).await;
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
    ) -> Result<(), SubscriberError> {
        let public = match self.context.store.clone() {
            SubscriberStore::Own(store) => self.own_incidents(&store, snapshot).await?,
            SubscriberStore::Shared(shared) => self.shared_incidents(&shared).await?,
        };
        for one in public {
            let events = unannounced(&one);
            if !events.is_empty() {
                self.queue(&one, &events, settings).await?;
            }
        }
        Ok(())
    }

    /// Returns the open incidents of this daemon, and those whose end was not announced.
    async fn own_incidents(
        &self,
        store: &Store,
        snapshot: &Snapshot,
    ) -> Result<Vec<PublicIncident>, StoreError> {
        let mut public: Vec<_> = snapshot
            .incidents
            .iter()
            .map(|incident| PublicIncident {
                announced: self.known.get(&incident.id).copied(),
                incident: incident.clone(),
            })
            .collect();
        let is_open = |id: &Uuid| snapshot.incidents.iter().any(|i| i.id == *id);
        for (id, known) in self.known.iter().filter(|(id, _)| !is_open(id)) {
            let id = *id;
            let data = store
                .run_blocking(move |store| store.incident_data_by_id(id))
                .await?;
            let incident = data.and_then(|data| serde_json::from_str::<Incident>(&data).ok());
            // An end that is not committed yet is picked up next time.
            if let Some(incident) = incident.filter(|i| i.resolved_at.is_some()) {
                public.push(PublicIncident {
                    incident,
                    announced: Some(*known),
                });
            }
        }
        Ok(public)
    }

    /// Returns the joint incidents with something to announce; nothing if they were read a moment
    /// ago.
    async fn shared_incidents(
        &mut self,
        shared: &SharedStore,
    ) -> Result<Vec<PublicIncident>, SubscriberError> {
        if self.polled_at.is_some_and(|at| at.elapsed() < POLL) {
            return Ok(Vec::new());
        }
        self.polled_at = Some(Instant::now());
        if !self.has_adopted {
            self.hand_over(shared).await?;
            self.has_adopted = true;
        }
        Ok(shared.public_incidents().await?)
    }

    /// Moves the subscribers that this daemon had before it shared a store.
    async fn hand_over(&self, shared: &SharedStore) -> Result<(), SubscriberError> {
        let local = &self.context.local;
        let subscribers = local.run_blocking(Store::subscribers).await?;
        if !subscribers.is_empty() {
            shared.adopt_subscribers(&subscribers).await?;
            local.run_blocking(Store::forget_subscribers).await?;
        }
        Ok(())
    }

    async fn queue(
        &mut self,
        one: &PublicIncident,
        events: &[PublicEvent<'_>],
        settings: &Settings,
    ) -> Result<(), SubscriberError> {
        let locale = locale(settings);
        let incident = &one.incident;
        let page = format!("{}/incidents/{}", base_url(settings), incident.number);
        let mails: Vec<_> = events
            .iter()
            .map(|event| {
                subscriber::incident(incident, *event, site(settings), Some(&page), &locale)
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
            .announce(one.announced, known, mails, now)
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

/// Returns the events of an incident that were not announced yet.
fn unannounced(one: &PublicIncident) -> Vec<PublicEvent<'_>> {
    let mut events = Vec::new();
    if one.announced.is_none() {
        events.push(PublicEvent::Opened);
    }
    let notes = one.announced.map_or(0, |known| known.notes as usize);
    events.extend(
        one.incident
            .notes
            .iter()
            .skip(notes)
            .map(PublicEvent::Noted),
    );
    if one.incident.resolved_at.is_some() {
        events.push(PublicEvent::Resolved);
    }
    events
}

fn usable<T>(done: Result<T, SubscriberError>) -> Option<T> {
    done.inspect_err(store_failed).ok()
}
