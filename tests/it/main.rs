//! One binary for all integration tests, so that they link once.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod advice;
mod attribution;
mod backtest;
mod config;
mod connection;
mod daemon;
mod delivery;
mod desk;
mod detect;
mod duty;
mod fold;
mod formats;
mod hostile;
mod links;
mod mails;
mod memory;
mod otlp;
mod outbox;
mod pages;
mod postfix;
mod programs;
mod receivers;
mod replays;
mod rollups;
mod secrets;
mod simulate;
mod simulate_faults;
mod simulated;
mod sinks;
mod smtp;
mod status_feed;
mod store;
mod support;
mod suspicion;
mod tidy;
mod upkeep;
mod web_api;
mod web_metrics;
mod web_public;
mod web_safety;
mod wire;
mod wire_fixtures;
mod wire_oddities;
