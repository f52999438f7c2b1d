//! Renders a notice as text. Pure: the same notice and time give the same bytes.
//!
//! [`Message`] holds the parts in order. The mail templates are in `templates/mail`, the formats of
//! other receivers in [`super::receivers`].

mod json;
mod mail;
mod message;
mod notes;
mod subject;
mod tag;

pub use self::json::json;
pub use self::mail::{html, text};
pub(super) use self::message::Message;
pub use self::message::{RenderContext, RenderContext as Setting};
pub use self::subject::subject;
pub(super) use self::tag::Tag;
pub(super) use crate::message::values::clean;
