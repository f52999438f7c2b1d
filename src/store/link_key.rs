//! The key that signs the links in messages. It is kept in the store, so that every daemon of a
//! shared store accepts the links of all.

use ring::rand::{SecureRandom as _, SystemRandom};
use rusqlite::OptionalExtension as _;

use super::{Store, StoreError};

/// The length of the key, in bytes.
pub const LINK_KEY_BYTES: usize = 32;

/// The table of the key.
pub(super) const TABLE: &str =
    "CREATE TABLE IF NOT EXISTS secret (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT";

const NO_RANDOMNESS: &str =
    "the system's random number generator failed: no key for signed links was created";

impl Store {
    /// Returns the key, creating it on first use.
    ///
    /// # Errors
    /// When the store cannot be written, or a new key is due and the system has no random numbers.
    pub fn link_key(&self) -> Result<[u8; LINK_KEY_BYTES], StoreError> {
        self.transaction(|tx| {
            tx.execute_batch(TABLE)?;
            let known: Option<Vec<u8>> = tx
                .query_row("SELECT value FROM secret WHERE name = 'links'", [], |r| {
                    r.get(0)
                })
                .optional()?;
            if let Some(known) = known.and_then(|k| <[u8; LINK_KEY_BYTES]>::try_from(k).ok()) {
                return Ok(known);
            }
            let mut fresh = [0; LINK_KEY_BYTES];
            SystemRandom::new()
                .fill(&mut fresh)
                .map_err(|_| rusqlite::Error::ToSqlConversionFailure(NO_RANDOMNESS.into()))?;
            tx.execute(
                "INSERT OR REPLACE INTO secret (name, value) VALUES ('links', ?1)",
                [fresh.as_slice()],
            )?;
            Ok(fresh)
        })
    }

    /// Replaces the key with the one of the shared store.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn set_link_key(&self, key: &[u8; LINK_KEY_BYTES]) -> Result<(), StoreError> {
        self.link_key()?;
        self.transaction(|tx| {
            tx.execute(
                "UPDATE secret SET value = ?1 WHERE name = 'links'",
                [key.as_slice()],
            )
            .map(drop)
        })
    }
}
