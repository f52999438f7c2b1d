//! What the workers of the outbox share.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock::WallClock;
use crate::store::Store;
use crate::store::postgres::SharedStore;

/// What every worker needs.
#[derive(Clone)]
pub struct WorkerContext {
    /// The outbox.
    pub store: Store,
    /// The machine's wall clock.
    pub wall: WallClock,
    /// Woken when rows were added.
    pub wake: Arc<Notify>,
    /// When to stop.
    pub stop: CancellationToken,
    /// The store that several daemons share: what is queued there is delivered by one of them.
    pub shared: Option<SharedStore>,
}
