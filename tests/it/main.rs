//! One binary for all integration tests, so that they link once.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot continue should stop"
)]

mod advice;
mod alerting;
mod apis;
mod attribution;
mod backtest;
mod bad_day;
mod clouds;
mod config;
mod connection;
mod costs;
mod daemon;
mod delivery;
mod detect;
mod drill;
mod emails;
mod examples;
mod exec_channels;
mod first_minutes;
mod fold;
mod formats;
mod full_disk;
mod hostile_servers;
mod links;
mod locations;
mod locations_failures;
mod locations_revision;
mod locations_sharing;
mod mailbox;
mod memory;
mod notification_policy;
mod otlp;
mod outbox;
mod outside_limits;
mod pages;
mod postfix;
mod quorum;
mod reattribution;
mod receivers;
mod report;
mod revision;
mod rollups;
mod route_command;
mod scenarios;
mod second_source;
mod secrets;
mod simulate;
mod simulate_faults;
mod simulated;
mod sinks;
mod smtp;
mod spanish;
mod status_feed;
mod store;
mod store_backends;
mod store_maintenance;
mod subscriptions;
mod support;
mod tidy;
mod upgrade;
mod vendor_errors;
mod watch;
mod ways;
mod web_api;
mod web_metrics;
mod web_public;
mod web_safety;
mod wire;
mod wire_compat;
mod wire_fixtures;
