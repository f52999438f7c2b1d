//! Where subscribers and their emails are kept: in the daemon's own file, or in the store that
//! several daemons share.

use std::time::Duration;

use uuid::Uuid;

use super::postgres::{SharedError, SharedStore};
use super::{Announced, SignUp, Store, StoreError, SubscriberMail, Subscription};
use llmwatch_core::message::subscriber::SubscriberText;
use llmwatch_core::model::Timestamp;

/// Why subscribers could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SubscriberError {
    /// An error of the daemon's own file.
    #[error(transparent)]
    Own(#[from] StoreError),
    /// An error of the shared store.
    #[error(transparent)]
    Shared(#[from] SharedError),
}

/// The subscribers of one daemon, or of all daemons of a shared store. Times in a shared store are
/// by its server's clock.
#[derive(Debug, Clone)]
pub enum SubscriberStore {
    /// The daemon's own file.
    Own(Store),
    /// The shared store.
    Shared(SharedStore),
}

impl SubscriberStore {
    /// Signs `address` up, and queues a confirmation email unless one was sent within the hour.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn sign_up(
        &self,
        address: String,
        mail: SubscriberText,
        now: Timestamp,
    ) -> Result<SignUp, SubscriberError> {
        match self {
            Self::Own(store) => Ok(store
                .run_blocking(move |store| store.sign_up(&address, &mail, now))
                .await?),
            Self::Shared(shared) => Ok(shared.sign_up(&address, &mail).await?),
        }
    }

    /// Returns the state of the subscription with this ID.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn subscription(&self, id: Uuid) -> Result<Subscription, SubscriberError> {
        match self {
            Self::Own(store) => Ok(store.run_blocking(move |s| s.subscription(id)).await?),
            Self::Shared(shared) => Ok(shared.subscription(id).await?),
        }
    }

    /// Confirms a subscription. Returns its previous state.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn confirm(&self, id: Uuid, now: Timestamp) -> Result<Subscription, SubscriberError> {
        match self {
            Self::Own(store) => Ok(store
                .run_blocking(move |store| store.confirm_subscription(id, now))
                .await?),
            Self::Shared(shared) => Ok(shared.confirm_subscription(id).await?),
        }
    }

    /// Ends a subscription and deletes its address. Returns its previous state.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn unsubscribe(&self, id: Uuid) -> Result<Subscription, SubscriberError> {
        match self {
            Self::Own(store) => Ok(store.run_blocking(move |s| s.unsubscribe(id)).await?),
            Self::Shared(shared) => Ok(shared.unsubscribe(id).await?),
        }
    }

    /// Queues emails to every subscriber, and records that `known` was announced, where `before` was
    /// until now. Nothing is queued if another daemon was first.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn announce(
        &self,
        before: Option<Announced>,
        known: Announced,
        mails: Vec<SubscriberText>,
        now: Timestamp,
    ) -> Result<(), SubscriberError> {
        match self {
            Self::Own(store) => Ok(store
                .run_blocking(move |store| store.announce(known, &mails, now))
                .await?),
            Self::Shared(shared) => Ok(shared.announce(before, known, &mails).await.map(drop)?),
        }
    }

    /// Returns the due emails, oldest first, at most `most`. In a shared store they are claimed for
    /// this daemon.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn due_mails(
        &self,
        now: Timestamp,
        most: u32,
    ) -> Result<Vec<SubscriberMail>, SubscriberError> {
        match self {
            Self::Own(store) => Ok(store
                .run_blocking(move |store| store.due_subscriber_mails(now, most))
                .await?),
            Self::Shared(shared) => Ok(shared.claim_subscriber_mails(most).await?),
        }
    }

    /// Deletes an email that was delivered or given up.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn finish_mail(&self, id: Uuid) -> Result<(), SubscriberError> {
        match self {
            Self::Own(store) => Ok(store
                .run_blocking(move |store| store.finish_subscriber_mail(id))
                .await?),
            Self::Shared(shared) => Ok(shared.finish_subscriber_mail(id).await?),
        }
    }

    /// Postpones an email by `wait`, after a failed attempt.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn retry_mail(
        &self,
        id: Uuid,
        now: Timestamp,
        wait: Duration,
    ) -> Result<(), SubscriberError> {
        match self {
            Self::Own(store) => Ok(store
                .run_blocking(move |store| store.retry_subscriber_mail(id, now + wait))
                .await?),
            Self::Shared(shared) => Ok(shared.retry_subscriber_mail(id, wait).await?),
        }
    }

    /// Renews the claims on emails; needed while they are delivered. A file has no claims.
    ///
    /// # Errors
    /// When the store does not respond.
    pub async fn renew_claims(&self) -> Result<(), SubscriberError> {
        match self {
            Self::Own(_) => Ok(()),
            Self::Shared(shared) => Ok(shared.renew_mail_claims().await?),
        }
    }

    /// Releases the claims on emails that were not sent.
    ///
    /// # Errors
    /// When the store does not respond.
    pub async fn release_claims(&self) -> Result<(), SubscriberError> {
        match self {
            Self::Own(_) => Ok(()),
            Self::Shared(shared) => Ok(shared.release_mail_claims().await?),
        }
    }
}
