//! A provider that fails on command, and sinks for the monitor's notifications.
//!
//! Tests, benchmarks, the demo and the `simulate` subcommand share it. [`Simulator`] serves OpenAI
//! chat completions, other vendors' variants and a status page over plain HTTP/1.1. A [`Scenario`]
//! defines which requests fail, how and when. A log records when each byte was really written, so
//! that the monitor's accuracy can be measured. [`MailSink`] and [`WebhookSink`] receive
//! notifications over the real protocols, or reject them as real receivers do.
//!
//! Everything is written to raw TCP streams. HTTP frameworks exist to prevent most of these faults:
//! a reset between two tokens, a body that is one byte short, garbage instead of TLS. A pure
//! function turns the response into a list of [`Act`]s, and `perform` executes them.
//!
//! ```text
//! connection ─► request ─► scenario: which rule? ─► compose: acts ─► perform ─► exchange log
//!                                                     ▲
//!                                     speech, preset, status_page, hostile
//! ```

mod accept;
mod act;
mod arrival;
mod clock;
mod clouds;
mod compose;
mod exchange;
mod hostile;
mod inbox;
mod latency_profile;
mod mail;
mod mail_sink;
mod mcp;
mod perform;
mod preset;
mod provider;
mod quantity;
mod reply;
mod request;
mod rule;
mod scenario;
mod smtp;
mod speech;
mod status_page;
mod webhook_sink;
mod websocket;
mod written;

pub use act::{Act, WriteKind};
pub use arrival::TimestampedStream;
pub use exchange::{End, Exchange, Write};
pub use latency_profile::ResponseProfile;
pub use mail::{Mail, MailFault, MailStage};
pub use mail_sink::{MailSink, MailTls};
pub use preset::Preset;
pub use provider::{Simulator, run};
pub use reply::{Reply, ResetAt};
pub use request::Request;
pub use rule::{Arrival, Fault, Ramp, Rule, RuleMatch};
pub use scenario::{Scenario, ScenarioError};
pub use status_page::{ComponentStatus, Impact, IncidentPhase, Notice};
pub use webhook_sink::{WebhookBehavior, WebhookSink};
