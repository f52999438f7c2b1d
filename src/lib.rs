//! llmwatch: a synthetic uptime monitor for LLM APIs. This crate is the I/O shell around the
//! decision logic in `llmwatch_core`.
//!
//! Modules are declared in dependency order: a module uses only modules declared above it.
//! `tests/it/tidy.rs` enforces this.
//!
//! ```text
//! monitor.toml ─► config ─► schedule ─► probe ─► Sample ─► daemon::pipeline ──► store
//!                                        ▲                    │  one transaction:
//!                                  core::protocol             │  sample + rollups + state + incident + outbox
//!                                                             ├─► core::monitor: detect ─► incident ─► alerting
//!                                                             └─► snapshot ─► web
//!                                  store.outbox ─► notify ─► email, webhooks
//!                                  store (read-only) ─► cli
//! ```

pub mod clock;

pub mod files;

pub mod config;

pub mod http_client;

pub mod redact;

pub mod log;

pub mod systemd;

pub mod probe;

pub mod metrics;

pub mod store;

pub mod failover;

pub mod links;

pub mod shared_view;

pub mod command;

pub mod subscriptions;

pub mod feeds;

pub mod notify;

pub mod web;

pub mod daemon;

pub mod cli;
