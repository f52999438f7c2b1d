//! Polls the status pages of the vendors.
//!
//! [`Poller`] fetches each page at its own interval and passes what [`crate::status_feed`] reads from it to the pipeline.

mod fetch;
mod poller;

pub use self::poller::Poller;
