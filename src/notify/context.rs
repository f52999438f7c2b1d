//! The context that the outbox workers share.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock::WallClock;
use crate::links::Links;
use crate::store::Store;
use crate::store::postgres::SharedStore;

/// The context of a worker.
#[derive(Clone)]
pub struct WorkerContext {
    /// The outbox.
    pub store: Store,
    /// The machine's wall clock.
    pub wall: WallClock,
    /// Notified when rows were added.
    pub wake: Arc<Notify>,
    /// When to stop.
    pub stop: CancellationToken,
    /// Signs the links in emails.
    pub links: Links,
    /// The shared store, if one is configured: each notification there is delivered by one daemon.
    pub shared: Option<SharedStore>,
}
