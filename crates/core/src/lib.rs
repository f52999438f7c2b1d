//! The decisions of llmwatch: pure and synchronous.
//!
//! Nothing here opens a socket or a file, reads the clock or the environment, or starts a thread.
//! Values and the time go in; what should happen comes out. The modules stand in the order of
//! dependence: each uses only modules declared above it.

pub mod model;

pub mod config;

pub mod protocol;

pub mod schedule;

pub mod message;

pub mod detect;

pub mod incident;

pub mod alerting;

pub mod locations;

pub mod report;

pub mod monitor;
