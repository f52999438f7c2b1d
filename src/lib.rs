//! llmwatch: a synthetic uptime monitor for LLM APIs.
//!
//! The modules stand in reading order, which is the order of dependence and of the data flow at once: a module uses
//! only modules declared above it (`tests/it/tidy.rs` keeps it so).
//!
//! ```text
//! monitor.toml ─► config ─► schedule ─► probe ─► Sample ─► pipeline ──► store
//!                                        ▲                    │  one transaction:
//!                                  dialect (pure)             │  sample + detector + incident + outbox
//!                                                             ├─► detect ─► attribute ─► incident   (pure)
//!                                                             └─► snapshot ─► web
//!                                  store.outbox ─► notify ─► email, webhooks
//!                                  store (read-only) ─► cli
//! ```

pub use llmwatch_core::alerting::{self as desk, maintenance};
pub use llmwatch_core::incident::{self, attribution as attribute, vendor_status as official};
pub use llmwatch_core::message::document;
pub use llmwatch_core::report::{self, backtest, rollup, routing as route};
pub use llmwatch_core::{alerting, detect, message, model, monitor, protocol, schedule};
pub use llmwatch_simulator as simulate;

pub mod clock;

pub mod config;

pub mod http_client;

pub mod redact;

pub mod log;

pub mod systemd;

pub mod probe;

pub use llmwatch_core::config::matchers as audience;

pub mod metrics;

pub mod failover;

pub mod store;

pub mod links;

pub use llmwatch_core::protocol::status_page as status_feed;

pub mod feeds;

pub mod notify;

pub mod web;

pub mod daemon;

pub use self::daemon::pipeline;

pub mod cli;
