//! The fold: a sample in, what should happen out.

mod recent;

pub use self::recent::Recent;
