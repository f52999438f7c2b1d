//! Each API's request and answer: bytes in, result out.

pub mod answer_schema;
pub mod catalog;
