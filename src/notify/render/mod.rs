//! A notice in words. Pure: the same notice and the same time give the same bytes.
//!
//! [`Letter`] says what there is to say and in which order; the mail's templates stand in `templates/mail`, the other
//! receivers' formats in [`super::format`].

mod json;
mod letter;
mod mail;
mod remarks;
mod subject;

pub use self::json::json;
pub use self::letter::Setting;
pub(super) use self::letter::{Letter, Mood, clean};
pub use self::mail::{html, text};
pub use self::subject::subject;
