//! Renders typed facts as the texts that people read. All sentences live in this module.

pub mod document;
pub mod fault;
pub mod headline;
pub mod incident;
pub mod monitor_notice;
pub mod place;
pub mod receivers;
pub mod render;
pub mod severity;
mod spanish;
pub mod subscriber;
pub mod test_notice;
pub mod text;
pub mod timeline;
pub mod values;
