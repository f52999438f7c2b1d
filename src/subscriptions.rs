//! Requests about subscriptions, and the replies: pages send requests to the one task that writes.

use std::net::IpAddr;

use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::command::Stopping;
pub use crate::store::{SignUp, Subscription};

/// The number of requests that may wait. Beyond that, senders block.
const QUEUE: usize = 16;

/// Where the reply to a request goes. `None` means that the store failed.
pub type SubscriptionReply<T> = oneshot::Sender<Option<T>>;

/// A visitor's request.
#[derive(Debug)]
pub enum SubscriptionRequest {
    /// Sign up this address; the client's IP address counts toward a limit.
    SignUp(String, Option<IpAddr>, SubscriptionReply<SignUp>),
    /// Look up the subscription with this id.
    Look(Uuid, SubscriptionReply<Subscription>),
    /// Confirm it. The reply is its previous state.
    Confirm(Uuid, SubscriptionReply<Subscription>),
    /// End it. The reply is its previous state.
    End(Uuid, SubscriptionReply<Subscription>),
}

/// Sends requests about subscriptions.
#[derive(Debug, Clone)]
pub struct Subscriptions(mpsc::Sender<SubscriptionRequest>);

impl Subscriptions {
    /// Creates a sender and the task's receiver.
    pub fn channel() -> (Self, mpsc::Receiver<SubscriptionRequest>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), receiver)
    }

    /// Sends a request and waits for its reply; `None` if the store failed.
    ///
    /// # Errors
    /// When the daemon is stopping.
    pub async fn request<T>(
        &self,
        request: impl FnOnce(SubscriptionReply<T>) -> SubscriptionRequest,
    ) -> Result<Option<T>, Stopping> {
        let (sender, reply) = oneshot::channel();
        self.0.send(request(sender)).await.map_err(|_| Stopping)?;
        reply.await.map_err(|_| Stopping)
    }
}

/// Returns `text` if it is a mail address that is safe to put into a mail: plain ASCII, no quotes,
/// no line breaks.
pub fn address(text: &str) -> Option<String> {
    const MAX_BYTES: usize = 254;
    const MAX_LOCAL_BYTES: usize = 64;
    let text = text.trim();
    let (local, domain) = text.rsplit_once('@')?;
    let is_dotted = !local.starts_with('.') && !local.ends_with('.') && !local.contains("..");
    let fits_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    let is_valid = text.len() <= MAX_BYTES
        && (1..=MAX_LOCAL_BYTES).contains(&local.len())
        && local
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+/=?^_`{|}~.-".contains(c))
        && is_dotted
        && domain.contains('.')
        && domain.split('.').all(fits_label);
    is_valid.then(|| format!("{local}@{}", domain.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn only_plain_addresses_are_taken() {
        let good = [
            "ann@example.com",
            " a.b+c@Mail.Example.COM ",
            "x@xn--e1afmkfd.example",
        ];
        for text in good {
            assert!(address(text).is_some(), "{text}");
        }
        assert_eq!(address("A@EXAMPLE.com").as_deref(), Some("A@example.com"));
        let long = format!("{}@example.com", "a".repeat(65));
        let bad = [
            "",
            "@",
            "ann",
            "ann@",
            "@example.com",
            "ann@localhost",
            "a b@example.com",
            "ann@example.com\r\nBcc: eve@example.com",
            "ann@example.com\nx",
            "ann@-a.com",
            "\"ann\"@example.com",
            "ann@example..com",
            ".ann@example.com",
            "a..b@example.com",
            "ann@example.com,eve@example.com",
            "<ann@example.com>",
            "änn@example.com",
            &long,
        ];
        for text in bad {
            assert_eq!(address(text), None, "{text}");
        }
    }
}
