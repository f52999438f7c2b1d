//! Polls the status pages of the vendors.
//!
//! [`Poller`] fetches each page at its own interval and passes what [`llmwatch_core::protocol::status_page`] reads from it to the pipeline.

mod fetch;
mod poller;

pub use self::poller::Poller;
