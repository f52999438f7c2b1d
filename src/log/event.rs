//! The closed set of log events.

macro_rules! events {
    ($($(#[$doc:meta])* $variant:ident = $name:literal;)*) => {
        /// The kind of an event: a closed set of stable names.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Event { $($(#[$doc])* $variant,)* }

        impl Event {
            /// Every event, in the order of the reference table.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Returns the stable name, for instance `probe.completed`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

events! {
    /// The process has started.
    MonitorStarted = "monitor.started";
    /// The store is open, the listener is bound, and probing has started.
    MonitorReady = "monitor.ready";
    /// Shutdown has started, or a part of the daemon has ended.
    MonitorStopping = "monitor.stopping";
    /// The process is about to exit.
    MonitorStopped = "monitor.stopped";
    /// The configuration is valid but has a likely mistake.
    ConfigWarning = "config.warning";
    /// A new configuration is in force.
    ConfigReloaded = "config.reloaded";
    /// A new configuration is invalid; the old one stays in force.
    ConfigRejected = "config.rejected";
    /// A probe has completed.
    ProbeCompleted = "probe.completed";
    /// A probe was not run, or its result was discarded.
    ProbeSkipped = "probe.skipped";
    /// Probes were bad, but there is not enough evidence for an alert yet.
    DetectionPending = "detection.pending";
    /// A pending alert has cleared without firing.
    DetectionCleared = "detection.cleared";
    /// Earlier failures turned out to be the fault of someone else.
    AttributionRevised = "attribution.revised";
    /// An endpoint is probed in another way from now on, because its server requires it.
    ProbeAdapted = "probe.adapted";
    /// Something needs attention before it fails.
    AdviceGiven = "advice.given";
    /// An endpoint's status has changed.
    StatusChanged = "status.changed";
    /// An incident was opened.
    IncidentOpened = "incident.opened";
    /// The extent of an incident has changed.
    IncidentUpdated = "incident.updated";
    /// An incident became worse.
    IncidentEscalated = "incident.escalated";
    /// An incident was resolved.
    IncidentResolved = "incident.resolved";
    /// A notification is in the outbox.
    NotificationQueued = "notification.queued";
    /// A notification was delivered.
    NotificationSent = "notification.sent";
    /// A delivery attempt failed and will be retried.
    NotificationRetry = "notification.retry";
    /// The receiver permanently rejected a notification.
    NotificationFailed = "notification.failed";
    /// A notification was retried until it expired.
    NotificationExpired = "notification.expired";
    /// A vendor's status page has changed.
    FeedChanged = "feed.changed";
    /// A vendor's status page cannot be read.
    FeedFailed = "feed.failed";
    /// A drill of the channels or of a route has started.
    DrillStarted = "drill.started";
    /// A person has confirmed a drill.
    DrillConfirmed = "drill.confirmed";
    /// Nobody has confirmed a drill in time.
    DrillUnconfirmed = "drill.unconfirmed";
    /// A drill of a route has ended.
    DrillEnded = "drill.ended";
    /// The day's probing budget is exhausted.
    BudgetSpent = "budget.spent";
    /// A write to the store was slow.
    StoreSlow = "store.slow";
    /// The store has failed.
    StoreFailed = "store.failed";
    /// The store is writable again, and the buffered records were written.
    StoreRecovered = "store.recovered";
    /// The shared database is unreachable.
    StoreUnreachable = "store.unreachable";
    /// The shared database is reachable again.
    StoreReachable = "store.reachable";
    /// Spooled samples were written to the shared database.
    StoreSpooled = "store.spooled";
    /// Nothing answers, not even the connectivity checks: this machine is offline.
    MonitorOffline = "monitor.offline";
    /// This machine is online again.
    MonitorOnline = "monitor.online";
    /// The machine or the process was suspended.
    MonitorAsleep = "monitor.asleep";
    /// The machine's clock was set.
    MonitorClockSet = "monitor.clock_set";
    /// A heartbeat ping failed.
    HeartbeatFailed = "heartbeat.failed";
    /// The OTLP collector rejects metrics or is unreachable.
    OtlpFailed = "otlp.failed";
    /// The OTLP collector accepts metrics again.
    OtlpRecovered = "otlp.recovered";
    /// The web server is listening.
    WebListening = "web.listening";
    /// A request was answered.
    WebRequest = "web.request";
    /// A library logged a message; written only at level debug or more verbose.
    Library = "log";
}
