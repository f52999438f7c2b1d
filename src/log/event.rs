//! The closed set of log events.

macro_rules! events {
    ($($(#[$doc:meta])* $variant:ident = $name:literal;)*) => {
        /// What happened: a closed set of stable names.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Event { $($(#[$doc])* $variant,)* }

        impl Event {
            /// Every event, in the order of the reference table.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The stable name, for instance `probe.completed`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

events! {
    /// The process begins.
    MonitorStarted = "monitor.started";
    /// Store open, listener bound, probing.
    MonitorReady = "monitor.ready";
    /// The shutdown has begun, or a part has ended.
    MonitorStopping = "monitor.stopping";
    /// The end.
    MonitorStopped = "monitor.stopped";
    /// Something in the configuration deserves a word.
    ConfigWarning = "config.warning";
    /// A new configuration is in force.
    ConfigReloaded = "config.reloaded";
    /// A new configuration is bad; the old one stays in force.
    ConfigRejected = "config.rejected";
    /// A probe has run.
    ProbeCompleted = "probe.completed";
    /// A probe was not made, or its result thrown away.
    ProbeSkipped = "probe.skipped";
    /// Probes were bad, and there is not enough evidence for an alert yet.
    DetectionPending = "detection.pending";
    /// Something looked bad for a moment and has passed without an alert.
    DetectionCleared = "detection.cleared";
    /// An endpoint is asked in another way from now on, because its server wants it so.
    ProbeAdapted = "probe.adapted";
    /// Something deserves a word before it becomes a failure.
    AdviceGiven = "advice.given";
    /// An endpoint's status is another one now.
    StatusChanged = "status.changed";
    /// An incident began.
    IncidentOpened = "incident.opened";
    /// Its extent changed.
    IncidentUpdated = "incident.updated";
    /// It became worse.
    IncidentEscalated = "incident.escalated";
    /// It is over.
    IncidentResolved = "incident.resolved";
    /// A notification is in the outbox.
    NotificationQueued = "notification.queued";
    /// It was delivered.
    NotificationSent = "notification.sent";
    /// An attempt failed; there will be another.
    NotificationRetry = "notification.retry";
    /// The receiver refused it for good.
    NotificationFailed = "notification.failed";
    /// It was tried for as long as it is worth.
    NotificationExpired = "notification.expired";
    /// A vendor's status page says something else now.
    FeedChanged = "feed.changed";
    /// A vendor's status page cannot be read.
    FeedFailed = "feed.failed";
    /// A drill of the channels or of a route has begun.
    DrillStarted = "drill.started";
    /// A person has confirmed a drill.
    DrillConfirmed = "drill.confirmed";
    /// Nobody has confirmed a drill in time.
    DrillUnconfirmed = "drill.unconfirmed";
    /// A drill of a route has ended.
    DrillEnded = "drill.ended";
    /// The day's probing budget is spent.
    BudgetSpent = "budget.spent";
    /// A write took long.
    StoreSlow = "store.slow";
    /// The store cannot be used.
    StoreFailed = "store.failed";
    /// The store is written again, with everything that waited.
    StoreRecovered = "store.recovered";
    /// The database that several daemons share does not answer.
    StoreUnreachable = "store.unreachable";
    /// It answers again.
    StoreReachable = "store.reachable";
    /// Samples that had waited for it are in it.
    StoreSpooled = "store.spooled";
    /// Nothing answers, connectivity checks included: this machine has no network.
    MonitorOffline = "monitor.offline";
    /// It has it back.
    MonitorOnline = "monitor.online";
    /// The machine or the process slept.
    MonitorAsleep = "monitor.asleep";
    /// Somebody set the machine's clock.
    MonitorClockSet = "monitor.clock_set";
    /// The dead-man's switch could not be reached.
    HeartbeatFailed = "heartbeat.failed";
    /// The collector does not take metrics.
    OtlpFailed = "otlp.failed";
    /// It takes them again.
    OtlpRecovered = "otlp.recovered";
    /// The page has an address.
    WebListening = "web.listening";
    /// A request was answered.
    WebRequest = "web.request";
    /// A library has something to say (from level debug on).
    Library = "log";
}
