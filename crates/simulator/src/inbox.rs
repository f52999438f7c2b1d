//! A bounded list to wait on: what a sink received, or what the simulator answered.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::watch;

/// The number of items to keep: enough for hours of a demo, at little memory.
const KEPT: usize = 10_000;

/// The newest [`KEPT`] items, numbered from the first ever. Clones share one list.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    list: Arc<watch::Sender<List<T>>>,
}

#[derive(Debug)]
struct List<T> {
    items: VecDeque<Arc<T>>,
    forgotten: usize,
}

impl<T> Clone for Inbox<T> {
    fn clone(&self) -> Self {
        Self {
            list: Arc::clone(&self.list),
        }
    }
}

impl<T> Inbox<T> {
    pub(crate) fn new() -> Self {
        Self {
            list: Arc::new(watch::Sender::new(List {
                items: VecDeque::new(),
                forgotten: 0,
            })),
        }
    }

    /// Adds an item and wakes waiting tasks.
    pub(crate) fn push(&self, item: T) {
        self.list.send_modify(|list| {
            list.items.push_back(Arc::new(item));
            if list.items.len() > KEPT {
                list.items.pop_front();
                list.forgotten += 1;
            }
        });
    }

    /// Returns all kept items, oldest first.
    pub(crate) fn all(&self) -> Vec<Arc<T>> {
        self.list.borrow().items.iter().cloned().collect()
    }

    /// Waits until at least `count` items have ever arrived.
    pub(crate) async fn reached(&self, count: usize) {
        let mut seen = self.list.subscribe();
        // Cannot fail: `self` holds the sender.
        let _ = seen
            .wait_for(|list| list.forgotten + list.items.len() >= count)
            .await;
    }

    /// Waits for the item with this number (from 0), or returns the oldest kept item if that one is
    /// no longer kept. Also returns the number to ask for next.
    pub(crate) async fn nth(&self, number: usize) -> (Arc<T>, usize) {
        loop {
            self.reached(number + 1).await;
            let list = self.list.borrow();
            let index = number.saturating_sub(list.forgotten);
            if let Some(item) = list.items.get(index) {
                return (Arc::clone(item), list.forgotten + index + 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_late_reader_gets_the_oldest_item_that_is_kept() {
        let inbox = Inbox::new();
        for n in 0..KEPT + 3 {
            inbox.push(n);
        }
        let (item, next) = inbox.nth(0).await;
        assert_eq!((*item, next), (3, 4));
        assert_eq!(*inbox.nth(next).await.0, 4);
        assert_eq!(inbox.all().len(), KEPT);
    }

    #[tokio::test]
    async fn waiting_ends_when_the_item_arrives() {
        let inbox = Inbox::new();
        let sender = inbox.clone();
        let (item, ()) = tokio::join!(inbox.nth(0), async move { sender.push("mail") });
        assert_eq!(*item.0, "mail");
    }
}
