//! Slots: of several daemons at one location, one probes each slot of an endpoint.

use std::time::Duration;

use tokio_postgres::types::Type;

use super::{NOW, SharedError, SharedStore};
use llmwatch_core::model::Timestamp;

/// Time limit of a claim: after this the probe is late anyway.
const LIMIT: Duration = Duration::from_secs(3);

impl SharedStore {
    /// Claims the slot `at` of `endpoint` for this daemon. Returns false if another daemon at the
    /// location has claimed it, or a later one. A claim may be taken over after `lease`.
    ///
    /// # Errors
    /// When the store does not respond in time.
    pub async fn claim_slot(
        &self,
        endpoint: &str,
        location: &str,
        at: Timestamp,
        lease: Duration,
    ) -> Result<bool, SharedError> {
        self.repeated_within(LIMIT, || self.try_slot(endpoint, location, at, lease))
            .await
    }

    async fn try_slot(
        &self,
        endpoint: &str,
        location: &str,
        at: Timestamp,
        lease: Duration,
    ) -> Result<bool, SharedError> {
        let lease = lease.as_millis() as i64;
        let me = self.me();
        let beside = self.beside().await?;
        let rows = beside
            .client
            .execute_typed(
                &format!(
                    "INSERT INTO llmwatch_slot (endpoint, location, slot, owner, leased_until)
                     VALUES ($1, $2, $3, $4, {NOW} + $5)
                     ON CONFLICT (endpoint, location) DO UPDATE SET slot = excluded.slot,
                        owner = excluded.owner, leased_until = excluded.leased_until
                     WHERE llmwatch_slot.slot < excluded.slot OR llmwatch_slot.leased_until < {NOW}"
                ),
                &[
                    (&endpoint, Type::TEXT),
                    (&location, Type::TEXT),
                    (&at.0, Type::INT8),
                    (&me, Type::UUID),
                    (&lease, Type::INT8),
                ],
            )
            .await
            .map_err(|e| self.error(&e))?;
        beside.give_back();
        Ok(rows > 0)
    }
}
