//! A string that is never printed.

use std::fmt;

/// A key, a password or a URL with credentials. `Debug` and `Display` print `***`. Only
/// [`Secret::expose`] returns the value, so that a search finds every use.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `value`.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// Returns the value, to send it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns `text` with every occurrence of this secret replaced by `***`. Secrets shorter than
    /// six bytes are skipped, because they may be part of ordinary words.
    pub fn redact(&self, text: &str) -> String {
        if self.0.len() < 6 {
            text.to_owned()
        } else {
            text.replace(&self.0, "***")
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
