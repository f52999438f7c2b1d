//! Everything that people read, made from typed facts.

pub mod values;
