//! Commands to the pipeline, which is the one writer, and its replies.

use std::sync::Arc;

use llmwatch_core::alerting::DrillConfirmation;
use llmwatch_core::incident::vendor_status::FeedSnapshot;
use llmwatch_core::model::{Acknowledgement, ChannelName, DrillMessage, Incident, Note, Silence};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::config::Settings;
use crate::shared_view::Update;

/// So many commands wait for the pipeline; a sender of more waits for room.
const QUEUE: usize = 4;

/// A command to the pipeline. A reply comes once the change is committed.
#[derive(Debug)]
pub enum Command {
    /// Follow this configuration from now on, with each interval multiplied by the factor (1 or more).
    Reload(Arc<Settings>, f64),
    /// Create a silence.
    CreateSilence(Silence, ReplySender<Silence>),
    /// Expire the silence of this id. The reply is the silence, or `None` if no silence of this id is active.
    ExpireSilence(Uuid, ReplySender<Option<Silence>>),
    /// Acknowledge the incident of this number. The reply is the incident, or `None` if it is not open.
    Acknowledge(u64, Acknowledgement, ReplySender<Option<Incident>>),
    /// Add a note to the incident of this number. The reply is the incident, or `None` if it is not open.
    AddNote(u64, Note, ReplySender<Option<Incident>>),
    /// Drill these channels, or those of `[drill]` if there are none. The reply is the messages, or why none was sent.
    Drill(
        Vec<ChannelName>,
        ReplySender<Result<Vec<DrillMessage>, String>>,
    ),
    /// A person, by this name, has received the drill message of this notification.
    ConfirmDrill(Uuid, String, ReplySender<DrillConfirmation>),
    /// A vendor's status page was read.
    UpdateVendorPage(Box<FeedSnapshot>),
    /// What the store that several daemons share has that is new.
    Shared(Box<Update>),
    /// Commit at once what waits: somebody is about to read the store.
    Flush(ReplySender<()>),
}

/// Where the reply to a command goes.
#[derive(Debug)]
pub struct ReplySender<T>(oneshot::Sender<T>);

impl<T> ReplySender<T> {
    /// Replies. The change stays made if nobody waits for the reply any more.
    pub fn send(self, reply: T) {
        drop(self.0.send(reply));
    }
}

/// The pipeline has ended: the daemon is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the daemon is stopping")]
pub struct Stopping;

/// Sends commands to the pipeline.
#[derive(Debug, Clone)]
pub struct Commands(mpsc::Sender<Command>);

impl Commands {
    /// A sender and what the pipeline receives from.
    pub fn channel() -> (Self, mpsc::Receiver<Command>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), receiver)
    }

    /// Sends a command that has no reply.
    ///
    /// # Errors
    /// When the pipeline has ended.
    pub async fn send(&self, command: Command) -> Result<(), Stopping> {
        self.0.send(command).await.map_err(|_| Stopping)
    }

    /// Sends the command made by `command` and waits for its reply.
    ///
    /// # Errors
    /// When the pipeline has ended.
    pub async fn request<T>(
        &self,
        command: impl FnOnce(ReplySender<T>) -> Command,
    ) -> Result<T, Stopping> {
        let (sender, reply) = oneshot::channel();
        self.send(command(ReplySender(sender))).await?;
        reply.await.map_err(|_| Stopping)
    }
}
