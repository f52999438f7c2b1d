//! Polls the status pages of the vendors.
//!
//! [`Poller`] fetches each page at its own interval and passes what
//! [`llmwatch_core::protocol::status_page`] parses to the pipeline.

mod fetch;
mod poller;

pub use self::poller::Poller;
