//! How far the daemon has synced samples with the shared store, in both directions.

use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::files;
use crate::store::Store;
use llmwatch_core::model::Timestamp;

/// How many sample IDs are remembered to detect duplicates.
pub(super) const REMEMBERED: usize = 200_000;

/// The sync position as saved on disk.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct SyncPosition {
    /// The store that the position belongs to.
    pub(super) store: Option<Uuid>,
    /// The number of the last sample of the daemon's own file that was pushed.
    pub(super) pushed: i64,
    /// Samples of other daemons were pulled up to this time of the store's clock.
    pub(super) pulled: Timestamp,
    /// The same of revised attributions.
    #[serde(default)]
    pub(super) revised: Timestamp,
}

impl SyncPosition {
    fn path(state_dir: &Path) -> PathBuf {
        state_dir.join("shared.json")
    }

    pub(super) fn load(state_dir: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(Self::path(state_dir)).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Starts at the current end of the file. Older samples are copied by `llmwatch store copy`.
    pub(super) fn fresh(store: &Store) -> Self {
        Self {
            pushed: store.last_seq().unwrap_or(0),
            ..Self::default()
        }
    }

    pub(super) fn save(&self, state_dir: &Path) -> std::io::Result<()> {
        let text = serde_json::to_string(self).unwrap_or_default();
        files::write_private(&Self::path(state_dir), text.as_bytes())
    }
}

/// The IDs of the last pulled samples, to detect duplicates.
pub(super) struct TakenSamples {
    ids: HashSet<Uuid>,
    oldest_first: VecDeque<Uuid>,
}

impl TakenSamples {
    /// Starts with `ids`, oldest first.
    pub(super) fn new(ids: VecDeque<Uuid>) -> Self {
        Self {
            ids: ids.iter().copied().collect(),
            oldest_first: ids,
        }
    }

    pub(super) fn contains(&self, id: &Uuid) -> bool {
        self.ids.contains(id)
    }

    /// Remembers a sample, dropping the oldest if full. Returns whether it is new.
    pub(super) fn insert(&mut self, id: Uuid) -> bool {
        let is_new = self.ids.insert(id);
        if is_new {
            self.oldest_first.push_back(id);
        }
        if self.oldest_first.len() > REMEMBERED
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.ids.remove(&oldest);
        }
        is_new
    }
}
