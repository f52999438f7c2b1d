//! Requests and responses of each API. Pure: bytes in, result out.

pub mod answer_schema;
mod assertions;
pub mod aws_credentials;
pub mod catalog;
pub mod certificate;
mod decoder;
pub mod der;
pub mod dialect;
pub mod entra_token;
pub mod error;
mod event_stream;
pub mod google_token;
mod ndjson;
pub mod presets;
mod ratelimit_reset;
pub mod request;
pub mod response;
pub mod response_head;
pub mod sigv4;
mod sse;
pub mod status_page;
