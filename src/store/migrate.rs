//! Migration of a store from an earlier release.

use rusqlite::Transaction;
use uuid::Uuid;

use super::blocks;
use super::sample_rows::{KnownSeries, SampleWriter, read_version_1};

/// The schema migrations. A store of version `n` has run the first `n`. A released step is never
/// edited.
pub(super) const MIGRATIONS: &[MigrationStep] = &[
    MigrationStep {
        sql: include_str!("schema_1.sql"),
        then: None,
    },
    MigrationStep {
        sql: include_str!("schema_2.sql"),
        then: Some(compact_samples),
    },
    MigrationStep {
        sql: include_str!("schema_3.sql"),
        then: Some(identify),
    },
];

/// One step from a version of the schema to the next, in one transaction.
#[derive(Debug, Clone, Copy)]
pub(super) struct MigrationStep {
    pub(super) sql: &'static str,
    /// The part that SQL alone cannot do.
    pub(super) then: Option<fn(&Transaction<'_>) -> rusqlite::Result<()>>,
}

impl MigrationStep {
    pub(super) fn run(self, tx: &Transaction<'_>) -> rusqlite::Result<()> {
        tx.execute_batch(self.sql)?;
        self.then.map_or(Ok(()), |then| then(tx))
    }
}

/// Gives the store an identity of its own, unless it has one.
pub(super) fn identify(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    tx.execute(
        "INSERT OR IGNORE INTO identity VALUES (1, ?1)",
        [Uuid::now_v7()],
    )
    .map(drop)
}

/// Converts the samples of release 0.1 to the new format.
fn compact_samples(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    let mut known = KnownSeries::default();
    let mut after = 0;
    loop {
        // In batches, so that profiles found in one are known in the next.
        let mut writer = SampleWriter::new(tx, &known);
        let mut rows = tx.prepare_cached(
            "SELECT * FROM sample_1 JOIN series ON series.id = sample_1.series
             WHERE seq > ?1 ORDER BY seq LIMIT 1000",
        )?;
        let mut rows = rows.query([after])?;
        let before = after;
        while let Some(row) = rows.next()? {
            after = row.get("seq")?;
            writer.insert(after, row.get("series")?, &read_version_1(row)?)?;
        }
        known.extend(writer.finish());
        if after == before {
            break;
        }
    }
    tx.execute_batch(
        "DROP TABLE sample_1;
         CREATE INDEX sample_bad ON sample (series, outcome, seq) WHERE outcome <> 0;",
    )?;
    blocks::rebuild(tx)
}
