//! The store that several daemons share: PostgreSQL, or a database that speaks its protocol.
//!
//! Plain SQL only: no LISTEN, no advisory locks, no extensions, so that CockroachDB and YugabyteDB
//! work too. Every transaction can be repeated, and is when the server requests it. There are no
//! named prepared statements, so a connection pooler may stand in between.

mod connection;
mod copy;
mod error;
mod guard;
mod outbox;
mod slots;
mod subscribers;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono_tz::Tz;
use tokio::sync::{Mutex, MutexGuard};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row, Transaction};
use uuid::Uuid;

use self::connection::{Connector, ServerConnection, begin};
pub use self::copy::{Checksum, source_of};
pub use self::error::SharedError;
pub use self::outbox::{LEASE, RENEW};
use crate::config::PostgresUrl;
use crate::store::{LinkKeys, derived_id, link_key};
use llmwatch_core::locations::{Decided, LocationReport, LocationVerdict, SharedIncident};
use llmwatch_core::model::{EndpointName, Outgoing, Sample, Timestamp};

/// The server's clock in milliseconds.
const NOW: &str = "(extract(epoch from clock_timestamp()) * 1000)::INT8";
/// How often a transaction is attempted after serialization conflicts.
const ATTEMPTS: u32 = 8;
/// Time limit of an operation outside the coordinator.
const LIMIT: Duration = Duration::from_secs(10);
/// Readers of changes since a time look back this much further: a transaction with an earlier
/// timestamp may have committed later.
const OVERLAP_MS: i64 = 12_000;

/// The most keys of links that are accepted; each daemon that was set up while the store was away
/// adds one.
const MAX_LINK_KEYS: i64 = 64;

/// How many samples may wait on a daemon's machine; older ones are not pushed.
pub const SPOOL_LIMIT: i64 = 500_000;

type Param<'a> = (&'a (dyn ToSql + Sync), Type);

/// The shared store. Clones share one connection for work outside the coordinator: claims of
/// notifications and slots.
#[derive(Debug, Clone)]
pub struct SharedStore {
    connector: Connector,
    /// The ID of this run of the daemon.
    me: Uuid,
    /// This daemon, in every run.
    owner: Uuid,
    beside: Arc<Mutex<Option<ServerConnection>>>,
}

/// The coordinator's own connection.
pub struct Session {
    client: ServerConnection,
    connector: Connector,
    me: Uuid,
}

/// A daemon as the others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonRow {
    /// The ID of this run.
    pub id: Uuid,
    /// Its location.
    pub location: String,
    /// The hostname.
    pub host: String,
    /// Its release.
    pub version: String,
    /// Whether it probes.
    pub probes: bool,
    /// A hash of each endpoint's configuration, as JSON by name.
    pub endpoints: String,
    /// How many samples per hour it plans to record.
    pub samples_per_hour: u64,
    /// When it started, by its own clock.
    pub started_at: Timestamp,
    /// When it last reported, by the store's clock.
    pub seen_at: Timestamp,
}

/// The data that a daemon pushes in one transaction.
#[derive(Debug)]
pub struct Push<'a> {
    /// The daemon itself.
    pub daemon: &'a DaemonRow,
    /// New samples of its location.
    pub samples: &'a [Sample],
    /// Samples that may have been pushed before, with their revised attribution.
    pub revised: &'a [Sample],
    /// The time zone of the budget's days.
    pub zone: Tz,
    /// Its verdicts on endpoints probed since the last push, and whether the others should read
    /// each at once.
    pub verdicts: &'a [(LocationVerdict, bool)],
    /// Its incidents, if they changed.
    pub report: Option<&'a LocationReport>,
}

/// The changes read from the store.
#[derive(Debug, Default)]
pub struct Updates {
    /// The store's time.
    pub now: Timestamp,
    /// Verdicts that changed.
    pub verdicts: Vec<LocationVerdict>,
    /// Endpoints and locations whose unchanged verdict became stale, with the start of the last
    /// probe.
    pub lapsed: Vec<(EndpointName, String, Timestamp)>,
    /// Incidents that changed.
    pub incidents: Vec<SharedIncident>,
    /// Every daemon that has reported in the last ten minutes; `None` if not requested.
    pub daemons: Option<Vec<DaemonRow>>,
    /// Changed alerting states, by set of channels.
    pub alerting: Vec<(String, String)>,
    /// The spending of all locations on a day: US dollars and tokens.
    pub spent: (f64, u64),
    /// The highest incident number.
    pub last_number: u64,
}

impl SharedStore {
    /// Creates a handle for the store at `url` without connecting.
    ///
    /// # Errors
    /// When TLS cannot be set up, for instance because `ca_file` cannot be read.
    pub fn new(url: Arc<PostgresUrl>, ca_file: Option<&Path>) -> Result<Self, SharedError> {
        let me = Uuid::now_v7();
        Ok(Self {
            connector: Connector::new(url, ca_file)?,
            me,
            owner: me,
            beside: Arc::default(),
        })
    }

    /// Identifies the daemon as the one that keeps its files in
    /// `state_dir` of the machine `host`, in every run.
    #[must_use]
    pub fn of_daemon(self, host: &str, state_dir: &Path) -> Self {
        let place = format!("{host}\n{}", state_dir.display());
        let owner = derived_id(Uuid::nil(), &place);
        Self { owner, ..self }
    }

    /// Returns a handle with a connection of its own, for work that others must not wait for.
    #[must_use]
    pub fn with_own_connection(&self) -> Self {
        Self {
            beside: Arc::default(),
            ..self.clone()
        }
    }

    /// The ID of this run of the daemon.
    pub fn me(&self) -> Uuid {
        self.me
    }

    /// The URL without its password.
    pub fn shown(&self) -> String {
        self.connector.url.shown()
    }

    /// Connects, and creates or migrates the schema.
    ///
    /// # Errors
    /// When the store rejects the connection or does not respond.
    pub async fn open(&self) -> Result<Session, SharedError> {
        Ok(Session {
            client: self.connector.open().await?,
            connector: self.connector.clone(),
            me: self.me,
        })
    }

    /// Locks the connection outside the coordinator for one caller, reconnecting if necessary.
    async fn beside(&self) -> Result<Beside<'_>, SharedError> {
        let mut held = self.beside.lock().await;
        let client = match held.take().filter(|client| !client.is_closed()) {
            Some(client) => client,
            None => self.connector.connect().await?,
        };
        Ok(Beside { held, client })
    }

    /// Runs `work` with a time limit.
    async fn within<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, SharedError>>,
    ) -> Result<T, SharedError> {
        match tokio::time::timeout(limit, work).await {
            Ok(done) => done,
            Err(_) => Err(SharedError::unreachable(
                &self.connector.url,
                "no answer in time",
            )),
        }
    }

    /// Runs `work`, repeating it after serialization conflicts; each attempt has `limit`.
    async fn repeated_within<T, F>(
        &self,
        limit: Duration,
        mut work: impl FnMut() -> F,
    ) -> Result<T, SharedError>
    where
        F: Future<Output = Result<T, SharedError>>,
    {
        let mut attempt = 0;
        loop {
            match self.within(limit, work()).await {
                Err(SharedError::Busy { .. }) if may_repeat(&mut attempt).await => {}
                done => return done,
            }
        }
    }

    /// Returns the rows of one statement, with a time limit.
    async fn rows(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, SharedError> {
        let read = async {
            let beside = self.beside().await?;
            let rows = beside.client.query_typed(sql, params).await;
            let rows = rows.map_err(|e| self.error(&e))?;
            beside.give_back();
            Ok(rows)
        };
        self.within(LIMIT, read).await
    }

    fn error(&self, error: &tokio_postgres::Error) -> SharedError {
        SharedError::of(&self.connector.url, error)
    }
}

/// A borrowed connection. It is closed unless it is given back, which a failure prevents.
struct Beside<'a> {
    held: MutexGuard<'a, Option<ServerConnection>>,
    client: ServerConnection,
}

impl Beside<'_> {
    fn give_back(mut self) {
        *self.held = Some(self.client);
    }
}

/// Waits before a transaction is repeated. Returns false after [`ATTEMPTS`].
async fn may_repeat(attempt: &mut u32) -> bool {
    *attempt += 1;
    let wait = fastrand::u64(5..50 * u64::from(*attempt));
    tokio::time::sleep(Duration::from_millis(wait)).await;
    *attempt < ATTEMPTS
}

impl Session {
    fn error(&self, error: &tokio_postgres::Error) -> SharedError {
        SharedError::of(&self.connector.url, error)
    }

    /// Reports whether the connection is closed.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// The store's time.
    pub async fn now(&self) -> Result<Timestamp, SharedError> {
        let row = self
            .client
            .query_typed_one(&format!("SELECT {NOW}"), &[])
            .await;
        let now = row
            .and_then(|row| row.try_get(0))
            .map_err(|e| self.error(&e))?;
        Ok(Timestamp(now))
    }

    /// Returns the ID of this store, which is unique to the database.
    pub async fn identity(&self) -> Result<Uuid, SharedError> {
        let row = self
            .client
            .query_typed_one("SELECT store FROM llmwatch_schema WHERE id = 1", &[])
            .await;
        row.and_then(|row| row.try_get(0))
            .map_err(|e| self.error(&e))
    }

    /// Returns the keys of the links in messages. The first daemon's key becomes the one that
    /// signs. Other keys of `own` are added to those that are accepted: a daemon signs with its own
    /// key until it has reached the store for the first time.
    pub async fn link_keys(&self, own: &LinkKeys) -> Result<LinkKeys, SharedError> {
        let signing = own.signing.as_slice();
        let exchange = async {
            self.client
                .execute_typed(
                    "INSERT INTO llmwatch_secret VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
                    &[(&link_key::SIGNING, Type::TEXT), (&signing, Type::BYTEA)],
                )
                .await?;
            let keys = self.read_link_keys().await?;
            let mut missing = own.all().filter(|key| keys.iter().all(|(_, k)| k != key));
            let Some(first) = missing.next() else {
                return Ok(keys);
            };
            for key in std::iter::once(first).chain(missing) {
                // The names sort by time.
                let name = format!("{}/{}", link_key::SIGNING, Uuid::now_v7());
                self.client
                    .execute_typed(
                        // One that is too old to be read is there all the same.
                        "INSERT INTO llmwatch_secret SELECT $1, $2 WHERE NOT EXISTS
                             (SELECT 1 FROM llmwatch_secret WHERE name LIKE 'links%' AND value = $2)",
                        &[(&name, Type::TEXT), (&key.as_slice(), Type::BYTEA)],
                    )
                    .await?;
            }
            self.read_link_keys().await
        };
        let named = exchange
            .await
            .map_err(|e: tokio_postgres::Error| self.error(&e))?;
        LinkKeys::of(named).ok_or_else(|| {
            SharedError::unreachable(&self.connector.url, "its key for links is broken")
        })
    }

    async fn read_link_keys(&self) -> Result<Vec<(String, Vec<u8>)>, tokio_postgres::Error> {
        let rows = self
            .client
            .query_typed(
                "SELECT name, value FROM llmwatch_secret WHERE name LIKE 'links%' ORDER BY name = 'links' DESC, name DESC
                 LIMIT $1",
                &[(&MAX_LINK_KEYS, Type::INT8)],
            )
            .await?;
        rows.iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .collect()
    }

    /// Pushes a daemon's data. Returns how many of its samples were new.
    pub async fn push(&mut self, push: &Push<'_>) -> Result<u64, SharedError> {
        let written = write(&mut self.client, push).await;
        written.map_err(|e| SharedError::of(&self.connector.url, &e))
    }

    /// Locks the incidents. With `wait` it waits for the current holder. Otherwise it returns
    /// `None` if another daemon holds the lock, or decided less than `every` ago.
    pub async fn lock(
        &mut self,
        wait: bool,
        every: Duration,
    ) -> Result<Option<Decision<'_>>, SharedError> {
        let url = self.connector.url.clone();
        let of = |e: tokio_postgres::Error| SharedError::of(&url, &e);
        let tx = begin(&mut self.client).await.map_err(of)?;
        let skip = if wait { "" } else { " SKIP LOCKED" };
        let sql = format!(
            "SELECT next_number, decided_at, {NOW} FROM llmwatch_state WHERE id = 1 FOR UPDATE{skip}"
        );
        let Some(row) = tx.query_typed_opt(&sql, &[]).await.map_err(of)? else {
            return Ok(None);
        };
        let decided_at: i64 = row.try_get(1).map_err(of)?;
        let now: i64 = row.try_get(2).map_err(of)?;
        let age = now - decided_at;
        if !wait && (0..every.as_millis() as i64).contains(&age) {
            return Ok(None);
        }
        let next: i64 = row.try_get(0).map_err(of)?;
        let mut decision = Decision {
            url: url.clone(),
            tx,
            now: Timestamp(now),
            next_number: next.max(1).unsigned_abs(),
            verdicts: Vec::new(),
            reports: Vec::new(),
            open: Vec::new(),
            closed: Vec::new(),
            alerting: Vec::new(),
        };
        decision.load().await.map_err(of)?;
        Ok(Some(decision))
    }

    /// Reads verdicts and incidents that changed since the given times of the store's clock, or all
    /// with `None`. Reads the daemons as well if requested.
    pub async fn updates(
        &self,
        verdicts_since: Option<Timestamp>,
        incidents_since: Option<Timestamp>,
        with_daemons: bool,
        day: &str,
    ) -> Result<Updates, SharedError> {
        let since = (verdicts_since, incidents_since);
        let updates = self.read_updates(since, with_daemons, day).await;
        updates.map_err(|e| self.error(&e))
    }

    async fn read_updates(
        &self,
        (verdicts_since, incidents_since): (Option<Timestamp>, Option<Timestamp>),
        with_daemons: bool,
        day: &str,
    ) -> Result<Updates, tokio_postgres::Error> {
        let [verdicts_since, incidents_since] = [verdicts_since, incidents_since]
            .map(|since| since.map_or(i64::MIN / 2, |at| at.0 - OVERLAP_MS));
        let client = &self.client;
        let now = client
            .query_typed_one(&format!("SELECT {NOW}"), &[])
            .await?;
        let now: i64 = now.try_get(0)?;
        let verdicts = client
            .query_typed(
                "SELECT endpoint, location, probed_at, CASE WHEN changed_at >= $1 THEN data END FROM llmwatch_verdict
                 WHERE changed_at >= $1 OR (stale_at >= $1 AND stale_at < $2)",
                &[(&verdicts_since, Type::INT8), (&now, Type::INT8)],
            )
            .await?;
        let incidents = client
            .query_typed(
                "SELECT data FROM llmwatch_incident WHERE changed_at >= $1 OR open ORDER BY number",
                &[(&incidents_since, Type::INT8)],
            )
            .await?;
        let seen_after = now - 600_000;
        let daemons = if with_daemons {
            let rows = client
                .query_typed(
                    "SELECT id, location, host, version, probes, endpoints, started_at, seen_at, samples_per_hour
                     FROM llmwatch_daemon WHERE seen_at >= $1 ORDER BY started_at",
                    &[(&seen_after, Type::INT8)],
                )
                .await?;
            Some(rows.iter().map(read_daemon).collect::<Result<_, _>>()?)
        } else {
            None
        };
        let alerting = client
            .query_typed(
                "SELECT channels, data FROM llmwatch_alerting WHERE ticked_at >= $1",
                &[(&incidents_since, Type::INT8)],
            )
            .await?;
        let spent = client
            .query_typed_one(
                "SELECT coalesce(sum(usd), 0)::FLOAT8, coalesce(sum(tokens), 0)::INT8 FROM llmwatch_spent WHERE day = $1",
                &[(&day, Type::TEXT)],
            )
            .await?;
        let number = client
            .query_typed_one("SELECT next_number FROM llmwatch_state WHERE id = 1", &[])
            .await?;
        let tokens: i64 = spent.try_get(1)?;
        let next: i64 = number.try_get(0)?;
        let mut changed = Vec::new();
        let mut lapsed = Vec::new();
        for row in &verdicts {
            let data: Option<&str> = row.try_get(3)?;
            match data.map(serde_json::from_str) {
                Some(Ok(verdict)) => changed.push(verdict),
                // Another release may have written a format that this one cannot read.
                Some(Err(_)) => {}
                None => {
                    let endpoint: String = row.try_get(0)?;
                    let probed_at = Timestamp(row.try_get(2)?);
                    lapsed.push((endpoint.into(), row.try_get(1)?, probed_at));
                }
            }
        }
        Ok(Updates {
            now: Timestamp(now),
            verdicts: changed,
            lapsed,
            incidents: read_json(&incidents)?,
            daemons,
            alerting: read_pairs(&alerting)?,
            spent: (spent.try_get(0)?, tokens.max(0).unsigned_abs()),
            last_number: (next - 1).max(0).unsigned_abs(),
        })
    }

    /// Returns at most `limit` samples that other daemons recorded since `since` (the store's
    /// time), oldest first, with the times of recording. `location` limits them to one location.
    pub async fn samples_since(
        &self,
        since: Timestamp,
        location: Option<&str>,
        limit: i64,
    ) -> Result<Vec<(Timestamp, Sample)>, SharedError> {
        let rows = self
            .client
            .query_typed(
                "SELECT recorded_at, data FROM llmwatch_sample
                 WHERE recorded_at >= $1 AND daemon <> $2 AND ($3 IS NULL OR location = $3)
                 ORDER BY recorded_at LIMIT $4",
                &[
                    (&since.0, Type::INT8),
                    (&self.me, Type::UUID),
                    (&location, Type::TEXT),
                    (&limit, Type::INT8),
                ],
            )
            .await
            .map_err(|e| self.error(&e))?;
        self.read_samples(&rows)
    }

    /// Returns samples that [`Session::samples_since`] missed: stamped before `until`, but
    /// committed after samples with later stamps had been read. Skips those that are `known`.
    pub async fn late_samples(
        &self,
        until: Timestamp,
        location: Option<&str>,
        known: impl Fn(Uuid) -> bool,
    ) -> Result<Vec<(Timestamp, Sample)>, SharedError> {
        let since = until.0 - OVERLAP_MS;
        let ids = self
            .client
            .query_typed(
                "SELECT id FROM llmwatch_sample
                 WHERE recorded_at >= $1 AND recorded_at <= $2 AND daemon <> $3 AND ($4 IS NULL OR location = $4)",
                &[
                    (&since, Type::INT8),
                    (&until.0, Type::INT8),
                    (&self.me, Type::UUID),
                    (&location, Type::TEXT),
                ],
            )
            .await
            .map_err(|e| self.error(&e))?;
        let ids: Result<Vec<Uuid>, _> = ids.iter().map(|row| row.try_get(0)).collect();
        let mut late = ids.map_err(|e| self.error(&e))?;
        late.retain(|id| !known(*id));
        if late.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self
            .client
            .query_typed(
                "SELECT recorded_at, data FROM llmwatch_sample WHERE id = ANY($1) ORDER BY recorded_at",
                &[(&late, Type::UUID_ARRAY)],
            )
            .await
            .map_err(|e| self.error(&e))?;
        self.read_samples(&rows)
    }

    /// Returns at most `limit` samples of other daemons whose attribution was revised since `since`
    /// (the store's time), in the order of their revision, with its time. `location` limits them to
    /// one location.
    pub async fn revised_since(
        &self,
        since: Timestamp,
        location: Option<&str>,
        limit: i64,
    ) -> Result<Vec<(Timestamp, Sample)>, SharedError> {
        let rows = self
            .client
            .query_typed(
                "SELECT revised_at, data FROM llmwatch_sample
                 WHERE revised_at >= $1 AND daemon <> $2 AND ($3 IS NULL OR location = $3)
                 ORDER BY revised_at LIMIT $4",
                &[
                    (&since.0, Type::INT8),
                    (&self.me, Type::UUID),
                    (&location, Type::TEXT),
                    (&limit, Type::INT8),
                ],
            )
            .await
            .map_err(|e| self.error(&e))?;
        self.read_samples(&rows)
    }

    fn read_samples(&self, rows: &[Row]) -> Result<Vec<(Timestamp, Sample)>, SharedError> {
        let mut samples = Vec::with_capacity(rows.len());
        for row in rows {
            let recorded_at: i64 = row.try_get(0).map_err(|e| self.error(&e))?;
            let data: &str = row.try_get(1).map_err(|e| self.error(&e))?;
            // Another release may have written a format that this one cannot read.
            if let Ok(sample) = serde_json::from_str(data) {
                samples.push((Timestamp(recorded_at), sample));
            }
        }
        Ok(samples)
    }

    /// Deletes at most `limit` samples recorded before `before`, and other expired rows.
    pub async fn forget(&self, before: Timestamp, limit: i64) -> Result<u64, SharedError> {
        let forget = async {
            let samples = self
                .client
                .execute_typed(
                    "DELETE FROM llmwatch_sample WHERE id IN (
                        SELECT id FROM llmwatch_sample WHERE recorded_at < $1 ORDER BY recorded_at LIMIT $2)",
                    &[(&before.0, Type::INT8), (&limit, Type::INT8)],
                )
                .await?;
            self.client
                .execute_typed(
                    "WITH gone AS (
                        DELETE FROM llmwatch_outbox WHERE state <> 'pending' AND ended_at < $1 RETURNING channel, state)
                     INSERT INTO llmwatch_outbox_forgotten
                     SELECT channel, state, count(*) FROM gone GROUP BY channel, state
                     ON CONFLICT (channel, state)
                        DO UPDATE SET count = llmwatch_outbox_forgotten.count + excluded.count",
                    &[(&before.0, Type::INT8)],
                )
                .await?;
            // No daemon has this channel any more.
            self.client
                .execute_typed(
                    &format!(
                        "UPDATE llmwatch_outbox SET state = 'expired', ended_at = {NOW},
                            error = 'no daemon has this channel any more'
                         WHERE state = 'pending' AND next_attempt_at < $1"
                    ),
                    &[(&before.0, Type::INT8)],
                )
                .await?;
            let expired = ["daemon", "report", "advice"].map(|table| (table, "seen_at"));
            for (table, column) in expired.into_iter().chain([("verdict", "stale_at")]) {
                self.client
                    .execute_typed(
                        &format!("DELETE FROM llmwatch_{table} WHERE {column} < $1"),
                        &[(&before.0, Type::INT8)],
                    )
                    .await?;
            }
            Ok(samples)
        };
        forget
            .await
            .map_err(|e: tokio_postgres::Error| self.error(&e))
    }

    /// Deregisters this daemon and releases its claims.
    pub async fn leave(&self) -> Result<(), SharedError> {
        let leave = async {
            let me: [Param<'_>; 1] = [(&self.me, Type::UUID)];
            self.client
                .execute_typed(
                    "UPDATE llmwatch_outbox SET claimed_until = NULL WHERE claimed_by = $1 AND state = 'pending'",
                    &me,
                )
                .await?;
            self.client
                .execute_typed(
                    "UPDATE llmwatch_slot SET leased_until = 0 WHERE owner = $1",
                    &me,
                )
                .await?;
            self.client
                .execute_typed("DELETE FROM llmwatch_daemon WHERE id = $1", &me)
                .await
        };
        leave.await.map(drop).map_err(|e| self.error(&e))
    }
}

/// The locked incidents: a decision is recorded in the transaction that read its inputs.
pub struct Decision<'a> {
    url: Arc<PostgresUrl>,
    tx: Transaction<'a>,
    /// The store's time.
    pub now: Timestamp,
    /// The number of the next incident.
    pub next_number: u64,
    /// Each location's verdicts on the endpoints that are in an incident.
    pub verdicts: Vec<LocationVerdict>,
    /// The locations' own incidents.
    pub reports: Vec<LocationReport>,
    /// The open shared incidents.
    pub open: Vec<SharedIncident>,
    /// Shared incidents resolved in the last day, loaded if a location still has an unknown one
    /// open.
    pub closed: Vec<SharedIncident>,
    /// The alerting state of each set of channels.
    pub alerting: Vec<(String, String)>,
}

impl Decision<'_> {
    async fn load(&mut self) -> Result<(), tokio_postgres::Error> {
        let tx = &self.tx;
        let reports = tx
            .query_typed("SELECT data FROM llmwatch_report", &[])
            .await?;
        let open = tx
            .query_typed(
                "SELECT data FROM llmwatch_incident WHERE open ORDER BY number",
                &[],
            )
            .await?;
        let alerting = tx
            .query_typed(
                "SELECT channels, data FROM llmwatch_alerting ORDER BY channels",
                &[],
            )
            .await?;
        self.reports = read_json(&reports)?;
        self.open = read_json(&open)?;
        self.alerting = read_pairs(&alerting)?;
        let reported = self.reports.iter().flat_map(|r| &r.incidents);
        let shared = self.open.iter().map(|s| &s.incident);
        let endpoints: BTreeSet<EndpointName> = reported
            .clone()
            .chain(shared)
            .flat_map(|i| i.endpoints.iter().cloned())
            .collect();
        let mut unresolved = reported.filter(|i| i.resolved_at.is_none());
        if unresolved.any(|i| !self.open.iter().any(|s| s.members.contains_key(&i.id))) {
            let day_ago = self.now.0 - 86_400_000;
            let closed = self
                .tx
                .query_typed(
                    "SELECT data FROM llmwatch_incident WHERE NOT open AND changed_at >= $1",
                    &[(&day_ago, Type::INT8)],
                )
                .await?;
            self.closed = read_json(&closed)?;
        }
        if !endpoints.is_empty() {
            let endpoints: Vec<_> = endpoints.iter().map(EndpointName::as_str).collect();
            let verdicts = self
                .tx
                .query_typed(
                    "SELECT data FROM llmwatch_verdict WHERE endpoint = ANY($1)",
                    &[(&endpoints, Type::TEXT_ARRAY)],
                )
                .await?;
            self.verdicts = read_json(&verdicts)?;
        }
        Ok(())
    }

    /// Records the decisions. `alerting` replaces the rows that changed.
    ///
    /// # Errors
    /// When nothing was recorded.
    pub async fn record(
        self,
        decided: &[Decided],
        alerting: &[(String, String)],
        outgoing: &[Outgoing],
        offset_ms: i64,
    ) -> Result<(), SharedError> {
        let url = self.url.clone();
        self.write(decided, alerting, outgoing, offset_ms)
            .await
            .map_err(|e| SharedError::of(&url, &e))
    }

    async fn write(
        self,
        decided: &[Decided],
        alerting: &[(String, String)],
        outgoing: &[Outgoing],
        offset_ms: i64,
    ) -> Result<(), tokio_postgres::Error> {
        let tx = &self.tx;
        let now = self.now.0;
        for Decided { shared, .. } in decided {
            let incident = &shared.incident;
            let number = incident.number.cast_signed();
            let open = incident.resolved_at.is_none();
            let data = json(shared);
            tx.execute_typed(
                "INSERT INTO llmwatch_incident (id, number, open, started_at, changed_at, data)
                 VALUES ($1, $2, $3, $4, $5, $6)
                 ON CONFLICT (id) DO UPDATE SET open = excluded.open, started_at = excluded.started_at,
                    changed_at = excluded.changed_at, data = excluded.data",
                &[
                    (&incident.id, Type::UUID),
                    (&number, Type::INT8),
                    (&open, Type::BOOL),
                    (&incident.started_at.0, Type::INT8),
                    (&now, Type::INT8),
                    (&data, Type::TEXT),
                ],
            )
            .await?;
        }
        for (channels, data) in alerting {
            tx.execute_typed(
                "INSERT INTO llmwatch_alerting (channels, ticked_at, data) VALUES ($1, $2, $3)
                 ON CONFLICT (channels) DO UPDATE SET ticked_at = excluded.ticked_at, data = excluded.data",
                &[
                    (channels, Type::TEXT),
                    (&now, Type::INT8),
                    (data, Type::TEXT),
                ],
            )
            .await?;
        }
        outbox::insert(tx, outgoing, self.now, offset_ms).await?;
        let next = self.next_number.cast_signed();
        tx.execute_typed(
            "UPDATE llmwatch_state SET next_number = $1, decided_at = $2 WHERE id = 1",
            &[(&next, Type::INT8), (&now, Type::INT8)],
        )
        .await?;
        self.tx.commit().await
    }
}

async fn write(client: &mut Client, push: &Push<'_>) -> Result<u64, tokio_postgres::Error> {
    let tx = begin(client).await?;
    let daemon = push.daemon;
    tx.execute_typed(
        &format!(
            "INSERT INTO llmwatch_daemon
                (id, location, host, version, probes, endpoints, started_at, samples_per_hour, seen_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, {NOW})
             ON CONFLICT (id) DO UPDATE SET location = excluded.location, probes = excluded.probes,
                endpoints = excluded.endpoints, samples_per_hour = excluded.samples_per_hour,
                seen_at = excluded.seen_at"
        ),
        &[
            (&daemon.id, Type::UUID),
            (&daemon.location, Type::TEXT),
            (&daemon.host, Type::TEXT),
            (&daemon.version, Type::TEXT),
            (&daemon.probes, Type::BOOL),
            (&daemon.endpoints, Type::TEXT),
            (&daemon.started_at.0, Type::INT8),
            (&daemon.samples_per_hour.cast_signed(), Type::INT8),
        ],
    )
    .await?;
    let rows = SampleRows {
        daemon: daemon.id,
        samples: push.samples,
        zone: Some(push.zone),
    };
    let inserted = insert_samples(&tx, &rows).await?;
    revise_samples(&tx, push.revised, &push.daemon.location).await?;
    if !push.verdicts.is_empty() {
        let verdicts = push.verdicts.iter();
        let endpoints: Vec<&str> = verdicts.clone().map(|(v, _)| v.endpoint.as_str()).collect();
        let locations: Vec<&str> = verdicts.clone().map(|(v, _)| v.location.as_str()).collect();
        let data: Vec<_> = verdicts.clone().map(|(v, _)| json(v)).collect();
        let probed: Vec<_> = verdicts
            .clone()
            .map(|(v, _)| v.probed_at.unwrap_or_default().0)
            .collect();
        let stale: Vec<_> = verdicts
            .clone()
            .map(|(v, _)| v.probed_at.unwrap_or_default().0 + v.patience_ms)
            .collect();
        let changed: Vec<bool> = verdicts.map(|(_, is_changed)| *is_changed).collect();
        tx.execute_typed(
            &format!(
                "INSERT INTO llmwatch_verdict (endpoint, location, daemon, seen_at, data, probed_at, stale_at, changed_at)
                 SELECT e, l, $3, {NOW}, d, p, s, CASE WHEN c THEN {NOW} ELSE 0 END
                 FROM unnest($1, $2, $4, $5, $6, $7) AS t(e, l, d, p, s, c)
                 ON CONFLICT (endpoint, location) DO UPDATE SET daemon = excluded.daemon, seen_at = excluded.seen_at,
                    data = excluded.data, probed_at = excluded.probed_at, stale_at = excluded.stale_at,
                    changed_at = greatest(excluded.changed_at, llmwatch_verdict.changed_at)"
            ),
            &[
                (&endpoints, Type::TEXT_ARRAY),
                (&locations, Type::TEXT_ARRAY),
                (&daemon.id, Type::UUID),
                (&data, Type::TEXT_ARRAY),
                (&probed, Type::INT8_ARRAY),
                (&stale, Type::INT8_ARRAY),
                (&changed, Type::BOOL_ARRAY),
            ],
        )
        .await?;
    }
    if let Some(report) = push.report {
        let data = json(report);
        tx.execute_typed(
            &format!(
                "INSERT INTO llmwatch_report (location, daemon, seen_at, data) VALUES ($1, $2, {NOW}, $3)
                 ON CONFLICT (location) DO UPDATE SET daemon = excluded.daemon, seen_at = excluded.seen_at,
                    data = excluded.data"
            ),
            &[
                (&report.location, Type::TEXT),
                (&daemon.id, Type::UUID),
                (&data, Type::TEXT),
            ],
        )
        .await?;
    }
    tx.commit().await?;
    Ok(inserted)
}

/// Replaces samples of `location` whose attribution was revised. Only the location that recorded a
/// sample may replace it: the copies of the others may be older.
async fn revise_samples(
    tx: &Transaction<'_>,
    revised: &[Sample],
    location: &str,
) -> Result<(), tokio_postgres::Error> {
    if revised.is_empty() {
        return Ok(());
    }
    // A sample may have been revised more than once, and is then the same each time.
    let rows: std::collections::BTreeMap<Uuid, String> =
        revised.iter().map(|s| (s.id, compact(s))).collect();
    let ids: Vec<_> = rows.keys().copied().collect();
    let data: Vec<_> = rows.into_values().collect();
    tx.execute_typed(
        &format!(
            "UPDATE llmwatch_sample SET data = n.d, revised_at = {NOW}
             FROM unnest($1, $2) AS n(i, d) WHERE id = n.i AND data <> n.d AND location = $3"
        ),
        &[
            (&ids, Type::UUID_ARRAY),
            (&data, Type::TEXT_ARRAY),
            (&location, Type::TEXT),
        ],
    )
    .await
    .map(drop)
}

/// Samples to insert.
struct SampleRows<'a> {
    daemon: Uuid,
    samples: &'a [Sample],
    /// The time zone of the budget's days; `None` for copied history, which does not count against
    /// the budget.
    zone: Option<Tz>,
}

/// Inserts new samples and adds their cost to the spending. Returns how many were new.
async fn insert_samples(
    tx: &Transaction<'_>,
    rows: &SampleRows<'_>,
) -> Result<u64, tokio_postgres::Error> {
    let daemon = rows.daemon;
    let samples = rows.samples;
    if samples.is_empty() {
        return Ok(0);
    }
    let recorded: Vec<Option<i64>> = samples
        .iter()
        .map(|s| rows.zone.is_none().then(|| copy::recorded_at(s).0))
        .collect();
    let zone = rows.zone.unwrap_or(Tz::UTC);
    let ids: Vec<_> = samples.iter().map(|s| s.id).collect();
    let endpoints: Vec<_> = samples.iter().map(|s| s.endpoint.as_str()).collect();
    let locations: Vec<_> = samples.iter().map(|s| &s.location).collect();
    let triggers: Vec<_> = samples.iter().map(|s| s.trigger.as_str()).collect();
    let scheduled: Vec<_> = samples.iter().map(|s| s.scheduled_at.0).collect();
    let started: Vec<_> = samples.iter().map(|s| s.started_at.0).collect();
    let outcomes: Vec<_> = samples.iter().map(|s| s.outcome.as_str()).collect();
    let data: Vec<_> = samples.iter().map(compact).collect();
    let days: Vec<_> = samples.iter().map(|s| day_of(s.started_at, zone)).collect();
    let usd: Vec<_> = samples.iter().map(|s| s.cost_usd.unwrap_or(0.0)).collect();
    let tokens: Vec<_> = samples
        .iter()
        .map(|s| i64::from(s.input_tokens.unwrap_or(0)) + i64::from(s.output_tokens.unwrap_or(0)))
        .collect();
    let inserted = tx
        .query_typed(
            &format!(
                "INSERT INTO llmwatch_sample
                    (id, daemon, endpoint, location, trigger, scheduled_at, started_at, outcome, recorded_at, data)
                 SELECT i, $2, e, l, t, c, s, o, coalesce(r, {NOW}), d
                 FROM unnest($1, $3, $4, $5, $6, $7, $8, $9, $10) AS n(i, e, l, t, c, s, o, d, r)
                 ON CONFLICT DO NOTHING RETURNING id"
            ),
            &[
                (&ids, Type::UUID_ARRAY),
                (&daemon, Type::UUID),
                (&endpoints, Type::TEXT_ARRAY),
                (&locations, Type::TEXT_ARRAY),
                (&triggers, Type::TEXT_ARRAY),
                (&scheduled, Type::INT8_ARRAY),
                (&started, Type::INT8_ARRAY),
                (&outcomes, Type::TEXT_ARRAY),
                (&data, Type::TEXT_ARRAY),
                (&recorded, Type::INT8_ARRAY),
            ],
        )
        .await?;
    if rows.zone.is_none() {
        return Ok(inserted.len() as u64);
    }
    let new: BTreeSet<Uuid> = inserted
        .iter()
        .map(|row| row.try_get(0))
        .collect::<Result<_, _>>()?;
    let mut spent = std::collections::BTreeMap::<(&String, &String), (f64, i64)>::new();
    for (at, sample) in samples.iter().enumerate() {
        if new.contains(&sample.id) && (usd[at] > 0.0 || tokens[at] > 0) {
            let sum = spent.entry((&days[at], &sample.location)).or_default();
            sum.0 += usd[at];
            sum.1 += tokens[at];
        }
    }
    for ((day, location), (usd, tokens)) in &spent {
        tx.execute_typed(
            "INSERT INTO llmwatch_spent (day, location, usd, tokens) VALUES ($1, $2, $3, $4)
             ON CONFLICT (day, location) DO UPDATE SET usd = llmwatch_spent.usd + excluded.usd,
                tokens = llmwatch_spent.tokens + excluded.tokens",
            &[
                (day, Type::TEXT),
                (location, Type::TEXT),
                (usd, Type::FLOAT8),
                (tokens, Type::INT8),
            ],
        )
        .await?;
    }
    Ok(new.len() as u64)
}

/// Returns the local date of `at`.
pub fn day_of(at: Timestamp, zone: Tz) -> String {
    at.to_datetime()
        .with_timezone(&zone)
        .date_naive()
        .to_string()
}

/// Formats a sample as JSON without its null fields, which are most of it.
fn compact(sample: &Sample) -> String {
    // Plain data with string keys: serializing cannot fail.
    let mut value = serde_json::to_value(sample).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, v| !v.is_null());
    }
    value.to_string()
}

fn json(value: &impl serde::Serialize) -> String {
    // Plain data with string keys: serializing cannot fail.
    serde_json::to_string(value).unwrap_or_default()
}

/// Reads rows of one column of JSON, skipping values of another release that cannot be parsed.
fn read_json<T: serde::de::DeserializeOwned>(
    rows: &[Row],
) -> Result<Vec<T>, tokio_postgres::Error> {
    let mut all = Vec::with_capacity(rows.len());
    for row in rows {
        let data: &str = row.try_get(0)?;
        all.extend(serde_json::from_str(data).ok());
    }
    Ok(all)
}

fn read_pairs(rows: &[Row]) -> Result<Vec<(String, String)>, tokio_postgres::Error> {
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect()
}

fn read_daemon(row: &Row) -> Result<DaemonRow, tokio_postgres::Error> {
    Ok(DaemonRow {
        id: row.try_get(0)?,
        location: row.try_get(1)?,
        host: row.try_get(2)?,
        version: row.try_get(3)?,
        probes: row.try_get(4)?,
        endpoints: row.try_get(5)?,
        started_at: Timestamp(row.try_get(6)?),
        seen_at: Timestamp(row.try_get(7)?),
        samples_per_hour: row.try_get::<_, i64>(8)?.max(0).unsigned_abs(),
    })
}
