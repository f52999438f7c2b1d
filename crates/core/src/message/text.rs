//! Translates sentences. The English sentence is the key and is written where it is used. Each
//! other language is a file with a translation of every key. A test finds missing translations.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::LazyLock;

use super::spanish;
use super::values::{Language, Locale};

static SPANISH: LazyLock<HashMap<&str, &str>> =
    LazyLock::new(|| spanish::TEXTS.iter().copied().collect());

/// Reports whether every other language has a translation of `english`.
pub fn is_translated(english: &str) -> bool {
    SPANISH.contains_key(english)
}

/// Formats a sentence in the language of a [`Locale`]. Each `{name}` in it is replaced by the
/// variable of that name: `text!(locale, "{names} recovered", names)`. With a number, the first
/// form is the singular and the second the plural: `text!(locale, count => "{names} is slow",
/// "{names} are slow"; names)`.
#[macro_export]
macro_rules! text {
    ($locale:expr, $count:expr => $one:literal, $many:literal $(; $($name:ident),*)?) => {
        $locale.fill(
            if $count == 1 { $one } else { $many },
            &[$($((stringify!($name), &$name as &dyn std::fmt::Display)),*)?],
        )
    };
    ($locale:expr, $english:literal $(, $name:ident)* $(,)?) => {
        $locale.fill($english, &[$((stringify!($name), &$name as &dyn std::fmt::Display)),*])
    };
}

impl Locale {
    /// Translates `english`, or returns it if there is no translation.
    pub fn say(&self, english: &'static str) -> &'static str {
        match self.language {
            Language::English => english,
            Language::Spanish => SPANISH.get(english).copied().unwrap_or(english),
        }
    }

    /// Translates `english` and substitutes the values for their names. See [`text!`](crate::text).
    pub fn fill(&self, english: &'static str, values: &[(&str, &dyn Display)]) -> String {
        let mut rest = self.say(english);
        let mut out = String::with_capacity(rest.len() + 32);
        while let Some(start) = rest.find('{') {
            let (before, after) = rest.split_at(start);
            out.push_str(before);
            let Some(end) = after.find('}') else { break };
            let value = values.iter().find(|(name, _)| *name == &after[1..end]);
            match value {
                Some((_, value)) => out.push_str(&value.to_string()),
                None => out.push_str(&after[..=end]),
            }
            rest = &after[end + 1..];
        }
        out.push_str(rest);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_put_in_once_and_never_read_again() {
        let locale = Locale::default();
        let (names, n) = ("{n} {x", 2);
        assert_eq!(
            text!(locale, "{names} and {n} of {other}", names, n),
            "{n} {x and 2 of {other}"
        );
        assert_eq!(text!(locale, n => "{n} probe", "{n} probes"; n), "2 probes");
    }

    #[test]
    fn a_translation_has_the_values_of_its_key() {
        let placeholders = |text: &str| {
            let mut names: Vec<_> = text
                .split('{')
                .skip(1)
                .filter_map(|part| part.split_once('}').map(|(name, _)| name.to_owned()))
                .collect();
            names.sort();
            names.dedup();
            names
        };
        for (english, spanish) in spanish::TEXTS {
            assert_eq!(placeholders(english), placeholders(spanish), "{english}");
        }
        assert_eq!(SPANISH.len(), spanish::TEXTS.len(), "a key stands twice");
    }
}
