//! Connects to a writable server and migrates its schema.

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::time::Duration;

use rustls::ClientConfig;
use tokio_postgres::config::{ChannelBinding, SslMode, SslNegotiation};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::task::AbortOnDropHandle;

use super::error::{SharedError, is_race};
use super::guard::{GuardedPlain, GuardedTls};
use crate::config::PostgresUrl;
use crate::http_client;

/// Time limit for connecting to one host.
const HOST_TIMEOUT: Duration = Duration::from_secs(4);
/// Time limit for all hosts together, so that a start does not hang.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(8);
/// Longer statements are canceled: the connection hangs, or the server is overloaded.
const STATEMENT_TIMEOUT_MS: u32 = 10_000;
/// How often a migration is attempted while other daemons migrate.
const MIGRATION_ATTEMPTS: u32 = 20;

/// The schema migrations. A store of version `n` has run the first `n`. A released step is never
/// edited.
const MIGRATIONS: &[&str] = &[include_str!("schema_1.sql"), include_str!("schema_2.sql")];

/// Connects to the store.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) url: std::sync::Arc<PostgresUrl>,
    tls: Option<GuardedTls>,
}

/// A connection to a server. It is closed when this is dropped: the driver itself would wait for
/// the end of an answer that was given up, which may never come.
#[derive(Debug)]
pub(super) struct ServerConnection {
    client: Client,
    #[expect(dead_code, reason = "held so that the connection ends with it")]
    connection: AbortOnDropHandle<()>,
}

impl ServerConnection {
    fn new(
        client: Client,
        connection: impl Future<Output = Result<(), tokio_postgres::Error>> + Send + 'static,
    ) -> Self {
        let connection = tokio::spawn(async move { drop(connection.await) });
        Self {
            client,
            connection: AbortOnDropHandle::new(connection),
        }
    }
}

impl Deref for ServerConnection {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for ServerConnection {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Connector").field(&self.url.shown()).finish()
    }
}

impl Connector {
    pub(super) fn new(
        url: std::sync::Arc<PostgresUrl>,
        ca_file: Option<&Path>,
    ) -> Result<Self, SharedError> {
        let tls = if url.tls {
            let config: ClientConfig =
                http_client::tls_config(ca_file).map_err(|why| SharedError::refused(&url, why))?;
            Some(GuardedTls(MakeRustlsConnect::new(config)))
        } else {
            None
        };
        Ok(Self { url, tls })
    }

    /// Connects to the first writable host.
    pub(super) async fn connect(&self) -> Result<ServerConnection, SharedError> {
        let url = &self.url;
        match tokio::time::timeout(TOTAL_TIMEOUT, self.try_hosts()).await {
            Ok(result) => result,
            Err(_) => Err(SharedError::unreachable(
                url,
                format!("no answer within {} s", TOTAL_TIMEOUT.as_secs()),
            )),
        }
    }

    async fn try_hosts(&self) -> Result<ServerConnection, SharedError> {
        let url = &self.url;
        let mut unreachable = None;
        let mut refused = None;
        let mut read_only = 0;
        for (host, port) in &url.hosts {
            let tried = async {
                let client = self.connect_to(host, *port).await?;
                let state = async {
                    let answer = client
                        .query_typed_one("SHOW transaction_read_only", &[])
                        .await?;
                    answer.try_get::<_, String>(0)
                };
                let state = state.await.map_err(|e| SharedError::of(url, &e))?;
                Ok::<_, SharedError>((client, state == "on"))
            };
            match tokio::time::timeout(HOST_TIMEOUT, tried).await {
                Ok(Ok((client, is_read_only))) if !(is_read_only && url.read_write) => {
                    return Ok(client);
                }
                Ok(Ok(_)) => read_only += 1,
                Ok(Err(error)) if error.is_misconfiguration() => refused = Some(error),
                Ok(Err(error)) => unreachable = Some(error),
                Err(_) => {
                    unreachable = Some(SharedError::unreachable(
                        url,
                        format!(
                            "{host}:{port} does not answer within {} s",
                            HOST_TIMEOUT.as_secs()
                        ),
                    ));
                }
            }
        }
        // A host that does not respond may be the primary.
        if let Some(error) = refused.or(unreachable) {
            return Err(error);
        }
        let hosts = if read_only == 1 {
            "the server is a read-only standby".to_owned()
        } else {
            format!("all {read_only} servers are read-only standbys")
        };
        Err(SharedError::refused(
            url,
            format!("{hosts}: name the primary as well, or promote a standby (`pg_ctl promote`)"),
        ))
    }

    async fn connect_to(&self, host: &str, port: u16) -> Result<ServerConnection, SharedError> {
        let url = &self.url;
        let mut config = Config::new();
        config
            .host(host)
            .port(port)
            .user(&url.user)
            .dbname(&url.database)
            .application_name("llmwatch")
            .connect_timeout(HOST_TIMEOUT)
            .tcp_user_timeout(Duration::from_secs(15))
            .keepalives_idle(Duration::from_secs(15));
        if let Some(password) = &url.password {
            config.password(password.expose());
        }
        let link = if let Some(tls) = &self.tls {
            config.ssl_mode(SslMode::Require);
            let connected = config.connect(tls.clone()).await;
            let (client, connection) = connected.map_err(|e| SharedError::of(url, &e))?;
            ServerConnection::new(client, connection)
        } else if !host.starts_with('/') {
            // The driver takes the connection as it is from what stands for the TLS handshake.
            config
                .ssl_mode(SslMode::Require)
                .ssl_negotiation(SslNegotiation::Direct)
                .channel_binding(ChannelBinding::Disable);
            let connected = config.connect(GuardedPlain).await;
            let (client, connection) = connected.map_err(|e| SharedError::of(url, &e))?;
            ServerConnection::new(client, connection)
        } else {
            // A socket of this machine has no name for a handshake, and is trusted.
            config
                .ssl_mode(SslMode::Disable)
                .channel_binding(ChannelBinding::Disable);
            let connected = config.connect(NoTls).await;
            let (client, connection) = connected.map_err(|e| SharedError::of(url, &e))?;
            ServerConnection::new(client, connection)
        };
        Ok(link)
    }

    /// Connects, checks the encoding, migrates the schema and checks the role's privileges.
    pub(super) async fn open(&self) -> Result<ServerConnection, SharedError> {
        let client = self.connect().await?;
        let url = &self.url;
        let of = |e: tokio_postgres::Error| SharedError::of(url, &e);
        let encoding = client
            .query_typed_one("SHOW server_encoding", &[])
            .await
            .map_err(of)?;
        let encoding: String = encoding.try_get(0).map_err(of)?;
        if !encoding.eq_ignore_ascii_case("UTF8") {
            let database = &url.database;
            return Err(SharedError::refused(
                url,
                format!(
                    "the database `{database}` is encoded as {encoding}, and texts need UTF8: create one with `createdb \
                     --encoding=UTF8 --template=template0`"
                ),
            ));
        }
        let mut client = client;
        for attempt in 1.. {
            match self.migrate(&mut client).await {
                Ok(()) => break,
                Err(Migration::Refused(error)) => return Err(error),
                Err(Migration::Failed(error))
                    if is_race(&error) && attempt < MIGRATION_ATTEMPTS =>
                {
                    let wait = Duration::from_millis(fastrand::u64(20..200));
                    tokio::time::sleep(wait).await;
                }
                Err(Migration::Failed(error)) => return Err(of(error)),
            }
        }
        self.check_rights(&client).await?;
        Ok(client)
    }

    /// Checks that the role has all privileges on the tables: another role may have created them.
    async fn check_rights(&self, client: &Client) -> Result<(), SharedError> {
        let of = |e: tokio_postgres::Error| SharedError::of(&self.url, &e);
        let rows = client
            .query_typed(
                "SELECT t.table_name::TEXT, p.name FROM information_schema.tables t,
                    unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p(name)
                 WHERE t.table_schema = current_schema() AND t.table_name LIKE 'llmwatch%'
                    AND NOT has_table_privilege(t.table_name, p.name) ORDER BY 1, 2 LIMIT 1",
                &[],
            )
            .await
            .map_err(of)?;
        let Some(row) = rows.first() else {
            return Ok(());
        };
        let (table, right): (String, String) =
            (row.try_get(0).map_err(of)?, row.try_get(1).map_err(of)?);
        Err(SharedError::lacks_rights(
            &self.url,
            &format!("no {right} on `{table}`"),
        ))
    }

    async fn migrate(&self, client: &mut Client) -> Result<(), Migration> {
        let known = MIGRATIONS.len() as i64;
        let found = client
            .query_typed_one(
                "SELECT count(*) FROM information_schema.tables
                 WHERE table_schema = current_schema() AND table_name = 'llmwatch_schema'",
                &[],
            )
            .await?;
        if found.try_get::<_, i64>(0)? == 0 {
            client
                .batch_execute(
                    "CREATE TABLE IF NOT EXISTS llmwatch_schema (
                        id INT8 PRIMARY KEY CHECK (id = 1), version INT8 NOT NULL, store UUID NOT NULL);",
                )
                .await?;
        }
        let version = client
            .query_typed_opt("SELECT version FROM llmwatch_schema WHERE id = 1", &[])
            .await?;
        let version = if let Some(row) = version {
            row.try_get::<_, i64>(0)?
        } else {
            // The daemon that created the table may not have inserted the row yet.
            client
                .execute_typed(
                    "INSERT INTO llmwatch_schema VALUES (1, 0, $1) ON CONFLICT (id) DO NOTHING",
                    &[(&uuid::Uuid::now_v7(), Type::UUID)],
                )
                .await?;
            0
        };
        if version > known {
            return Err(Migration::Refused(SharedError::refused(
                &self.url,
                format!(
                    "its schema has version {version}, but this release reads only versions up to {known}: install the \
                     newer release here as well"
                ),
            )));
        }
        if version == known {
            return Ok(());
        }
        // The row is the lock: the first daemon migrates, the others then find it done.
        let tx = client.transaction().await?;
        let row = tx
            .query_typed_one(
                "SELECT version FROM llmwatch_schema WHERE id = 1 FOR UPDATE",
                &[],
            )
            .await?;
        let version = row.try_get::<_, i64>(0)?;
        for step in MIGRATIONS.iter().skip(version.max(0) as usize) {
            tx.batch_execute(step).await?;
        }
        if version == 0 {
            // Samples arrive in the order of this column, so a small BRIN index suffices. Other
            // databases that speak the protocol do not have it.
            let brin = "USING brin (recorded_at) WITH (autosummarize = on, pages_per_range = 16)";
            let kind = if is_postgres(&tx).await? {
                brin
            } else {
                "(recorded_at)"
            };
            tx.batch_execute(&format!(
                "CREATE INDEX llmwatch_sample_recorded ON llmwatch_sample {kind}"
            ))
            .await?;
        }
        if version < known {
            tx.execute_typed(
                "UPDATE llmwatch_schema SET version = $1 WHERE id = 1",
                &[(&known, Type::INT8)],
            )
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

/// Reports whether this is PostgreSQL itself and not a database that speaks its protocol.
async fn is_postgres(tx: &tokio_postgres::Transaction<'_>) -> Result<bool, tokio_postgres::Error> {
    let row = tx.query_typed_one("SELECT version()", &[]).await?;
    let version: String = row.try_get(0)?;
    Ok(version.starts_with("PostgreSQL") && !version.contains("-YB-"))
}

/// Begins a transaction with a statement timeout. The timeout is local to the transaction, so that
/// it also works behind a pooler.
pub(super) async fn begin(
    client: &mut Client,
) -> Result<tokio_postgres::Transaction<'_>, tokio_postgres::Error> {
    let tx = client.transaction().await?;
    tx.batch_execute(&format!(
        "SET LOCAL statement_timeout = {STATEMENT_TIMEOUT_MS}"
    ))
    .await?;
    Ok(tx)
}

enum Migration {
    Refused(SharedError),
    Failed(tokio_postgres::Error),
}

impl From<tokio_postgres::Error> for Migration {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Failed(error)
    }
}
