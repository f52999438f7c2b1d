//! One binary for all integration tests, so that they link once.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod advice;
mod alerting;
mod attribution;
mod backtest;
mod clouds;
mod config;
mod connection;
mod daemon;
mod delivery;
mod detect;
mod emails;
mod exec_channels;
mod fold;
mod formats;
mod hostile_servers;
mod links;
mod memory;
mod notification_policy;
mod otlp;
mod outbox;
mod pages;
mod postfix;
mod reattribution;
mod receivers;
mod rollups;
mod scenarios;
mod secrets;
mod simulate;
mod simulate_faults;
mod simulated;
mod sinks;
mod smtp;
mod status_feed;
mod store;
mod store_maintenance;
mod support;
mod tidy;
mod web_api;
mod web_metrics;
mod web_public;
mod web_safety;
mod wire;
mod wire_compat;
mod wire_fixtures;
