//! Each API's request and answer: bytes in, result out.

pub mod answer_schema;
mod assertions;
pub mod catalog;
pub mod certificate;
mod decoder;
pub mod dialect;
pub mod entra_token;
pub mod error;
mod ndjson;
pub mod presets;
mod ratelimit_reset;
pub mod response;
pub mod response_head;
mod sse;
pub mod status_page;
