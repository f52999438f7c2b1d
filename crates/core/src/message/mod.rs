//! Everything that people read, made from typed facts. The only module with sentences.

pub mod fault;
pub mod incident;
pub mod severity;
pub mod values;
