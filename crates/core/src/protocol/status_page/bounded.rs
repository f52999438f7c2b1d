//! Bounded parts of a vendor's document: every text and every list has a limit, and a value of an
//! unexpected type is read as empty. Vendors write null for empty lists, and omit or retype fields
//! without notice.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A text of at most `MAX` characters. A longer one is truncated, and any other type is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Text<const MAX: usize>(Box<str>);

/// A platform's ID.
pub(super) type Id = Text<100>;
/// The name of a component, product or incident.
pub(super) type Name = Text<200>;
/// One of the platform's own codes, such as `degraded_performance`.
pub(super) type Code = Text<50>;
/// A time, unparsed.
pub(super) type Moment = Text<40>;
/// A URL. The limit is one above the maximum, so that a longer URL can be recognized.
pub(super) type Address = Text<501>;

impl<const MAX: usize> Text<MAX> {
    /// Returns the first `MAX` characters of `text`.
    pub(super) fn new(text: &str) -> Self {
        Self(text.chars().take(MAX).collect::<String>().into())
    }

    /// Returns the text.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the text; `None` if it is empty.
    pub(super) fn some(&self) -> Option<&str> {
        (!self.0.is_empty()).then_some(&self.0)
    }
}

impl<const MAX: usize> From<&Text<MAX>> for String {
    fn from(text: &Text<MAX>) -> Self {
        text.as_str().to_owned()
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Text<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor<const MAX: usize>;

impl<'de, const MAX: usize> Visitor<'de> for TextVisitor<MAX> {
    type Value = Text<MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Text::new(text))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Text::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Text::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Text::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Text::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Text::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Text::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Text::default())
    }
}

/// A list of at most `MAX` items. Others are skipped without being stored, and null is an empty
/// list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct List<T, const MAX: usize> {
    items: Vec<T>,
    /// Whether the document has the field.
    pub(super) given: bool,
}

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            given: false,
        }
    }
}

impl<T, const MAX: usize> std::ops::Deref for List<T, MAX> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.items
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListVisitor(PhantomData))
    }
}

struct ListVisitor<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for ListVisitor<T, MAX> {
    type Value = List<T, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(List {
            items: Vec::new(),
            given: true,
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut source: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while items.len() < MAX {
            match source.next_element()? {
                Some(item) => items.push(item),
                None => return Ok(List { items, given: true }),
            }
        }
        while source.next_element::<IgnoredAny>()?.is_some() {}
        Ok(List { items, given: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_lists_are_cut_at_their_limit() {
        let read: Vec<Text<3>> =
            serde_json::from_str(r#"["abcd","ééé é",null,7,1.5,true,[[1]],{"a":{}}]"#).unwrap();
        let read: Vec<_> = read.iter().map(Text::as_str).collect();
        assert_eq!(read, ["abc", "ééé", "", "", "", "", "", ""]);
        let list: List<Text<3>, 2> = serde_json::from_str(r#"["a","b","c",[[]],{"d":1}]"#).unwrap();
        assert_eq!(
            list.iter().map(Text::as_str).collect::<Vec<_>>(),
            ["a", "b"]
        );
        let list: List<Text<3>, 2> = serde_json::from_str("null").unwrap();
        assert!(list.given && list.is_empty());
        assert!(serde_json::from_str::<List<Text<3>, 2>>("{}").is_err());
    }
}
