//! Commands to the pipeline, which is the only writer, and its replies.

use std::sync::Arc;

use llmwatch_core::alerting::DrillConfirmation;
use llmwatch_core::incident::vendor_status::FeedSnapshot;
use llmwatch_core::model::{
    Acknowledgement, Annotation, ChannelName, DrillMessage, Incident, Note, Silence,
};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::config::Settings;
use crate::shared_view::Update;

/// The number of commands that may wait for the pipeline. Beyond that, senders block.
const QUEUE: usize = 4;

/// A command to the pipeline. The reply is sent once the change is committed.
#[derive(Debug)]
pub enum Command {
    /// Switch to this configuration, with each interval multiplied by the factor (1 or more).
    Reload(Arc<Settings>, f64),
    /// Create a silence.
    CreateSilence(Silence, ReplySender<Silence>),
    /// Expire the silence with this id. The reply is the silence, or `None` if it is not active.
    ExpireSilence(Uuid, ReplySender<Option<Silence>>),
    /// Acknowledge the incident with this number. The reply is the incident, or `None` if it is not
    /// open.
    Acknowledge(u64, Acknowledgement, ReplySender<Option<Incident>>),
    /// Add a note to the incident with this number. The reply is the incident, or `None` if it is
    /// not open.
    AddNote(u64, Note, ReplySender<Option<Incident>>),
    /// Add a note that belongs to no incident.
    AddAnnotation(Annotation, ReplySender<Annotation>),
    /// Start a drill of these channels, or of those in `[drill]` if the list is empty. The reply is
    /// the messages, or why none was sent.
    Drill(
        Vec<ChannelName>,
        ReplySender<Result<Vec<DrillMessage>, String>>,
    ),
    /// Record that the named person received the drill message of this notification.
    ConfirmDrill(Uuid, String, ReplySender<DrillConfirmation>),
    /// Apply a newly read vendor status page.
    UpdateVendorPage(Box<FeedSnapshot>),
    /// Apply what is new in the store that several daemons share.
    Shared(Box<Update>),
    /// Commit pending writes now, because a reader needs them.
    Flush(ReplySender<()>),
}

/// Where the reply to a command goes.
#[derive(Debug)]
pub struct ReplySender<T>(oneshot::Sender<T>);

impl<T> ReplySender<T> {
    /// Sends the reply. If nobody waits for it any more, the change remains in effect.
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
    /// Creates a sender and the pipeline's receiver.
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
