//! The keys of the links in messages. They are kept in the store, so that every daemon of a shared
//! store accepts the links of all.

use ring::rand::{SecureRandom as _, SystemRandom};
use rusqlite::Transaction;

use super::{Store, StoreError};

/// The length of a key, in bytes.
pub const LINK_KEY_BYTES: usize = 32;

/// The table of the keys.
pub(super) const TABLE: &str =
    "CREATE TABLE IF NOT EXISTS secret (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT";

/// The name of the key that signs. Names of the other keys begin with it.
pub(super) const SIGNING: &str = "links";

const NO_RANDOMNESS: &str =
    "the system's random number generator failed: no key for signed links was created";

/// The keys of the links in messages.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkKeys {
    /// The key that signs new links.
    pub signing: [u8; LINK_KEY_BYTES],
    /// Keys whose links are accepted as well: those of daemons that signed before they had reached
    /// the shared store. Sorted.
    pub accepted: Vec<[u8; LINK_KEY_BYTES]>,
}

impl From<[u8; LINK_KEY_BYTES]> for LinkKeys {
    fn from(signing: [u8; LINK_KEY_BYTES]) -> Self {
        Self {
            signing,
            accepted: Vec::new(),
        }
    }
}

impl std::fmt::Debug for LinkKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LinkKeys({} accepted)", self.accepted.len())
    }
}

impl LinkKeys {
    /// Sorts named keys into the signing one and the others; `None` without a signing key. Broken
    /// keys are left out.
    pub(super) fn of(named: impl IntoIterator<Item = (String, Vec<u8>)>) -> Option<Self> {
        let mut signing = None;
        let mut accepted = Vec::new();
        for (name, value) in named {
            match value.try_into() {
                Ok(key) if name == SIGNING => signing = Some(key),
                Ok(key) => accepted.push(key),
                Err(_) => {}
            }
        }
        accepted.sort_unstable();
        signing.map(|signing| Self { signing, accepted })
    }

    /// All keys.
    pub fn all(&self) -> impl Iterator<Item = &[u8; LINK_KEY_BYTES]> {
        std::iter::once(&self.signing).chain(&self.accepted)
    }
}

impl Store {
    /// Returns the keys, creating the signing key on first use.
    ///
    /// # Errors
    /// When the store cannot be written, or a new key is due and the system has no random numbers.
    pub fn link_keys(&self) -> Result<LinkKeys, StoreError> {
        self.transaction(|tx| {
            if let Some(keys) = read(tx)? {
                return Ok(keys);
            }
            let mut fresh = [0; LINK_KEY_BYTES];
            SystemRandom::new()
                .fill(&mut fresh)
                .map_err(|_| rusqlite::Error::ToSqlConversionFailure(NO_RANDOMNESS.into()))?;
            write(tx, &fresh.into())?;
            Ok(fresh.into())
        })
    }

    /// Replaces the keys with those of the shared store.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn set_link_keys(&self, keys: &LinkKeys) -> Result<(), StoreError> {
        self.transaction(|tx| write(tx, keys))
    }
}

fn read(tx: &Transaction<'_>) -> rusqlite::Result<Option<LinkKeys>> {
    tx.execute_batch(TABLE)?;
    let mut named =
        tx.prepare("SELECT name, value FROM secret WHERE name LIKE 'links%' ORDER BY name")?;
    let named: Vec<(String, Vec<u8>)> = named
        .query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(LinkKeys::of(named))
}

fn write(tx: &Transaction<'_>, keys: &LinkKeys) -> rusqlite::Result<()> {
    tx.execute("DELETE FROM secret WHERE name LIKE 'links%'", [])?;
    let mut insert = tx.prepare("INSERT INTO secret (name, value) VALUES (?1, ?2)")?;
    insert.execute((SIGNING, keys.signing.as_slice()))?;
    for (n, key) in keys.accepted.iter().enumerate() {
        insert.execute((format!("{SIGNING}/{n}"), key.as_slice()))?;
    }
    Ok(())
}
