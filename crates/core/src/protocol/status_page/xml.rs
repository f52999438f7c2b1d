//! Parses RSS and Atom in linear time: one pass over the document, which keeps only the needed
//! texts and counts everything else against a limit. Only the five predefined entities are
//! expanded, and a document type declaration is rejected.

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};

use super::Unreadable;

/// The maximum number of nodes (elements, texts, comments); larger documents are rejected. A feed
/// of a hundred items has about a thousand.
const MAX_NODES: usize = 50_000;
/// The maximum number of attributes per element; more are rejected.
const MAX_ATTRIBUTES: usize = 64;
/// The maximum nesting depth; deeper documents are rejected. RSS needs four.
const MAX_DEPTH: usize = 32;
/// The maximum number of items per feed; others are dropped.
const MAX_ITEMS: usize = 1000;
/// The maximum length of a text, in bytes; longer ones are truncated.
const MAX_TEXT: usize = 2048;

/// The fields kept of an RSS channel.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct XmlChannel {
    pub(super) link: String,
    pub(super) items: Vec<XmlItem>,
}

/// The fields kept of an item.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct XmlItem {
    pub(super) title: String,
    pub(super) guid: String,
    pub(super) link: String,
    pub(super) published: String,
    pub(super) description: String,
}

/// Parses an RSS 2.0 or Atom document.
pub(super) fn channel(text: &str) -> Result<XmlChannel, Unreadable> {
    let mut reader = Reader::from_str(text);
    let mut tree = Tree::default();
    for _ in 0..MAX_NODES {
        match reader.read_event().map_err(|_| Unreadable::Syntax("XML"))? {
            Event::Start(element) => tree.open(&element)?,
            Event::Empty(element) => {
                tree.open(&element)?;
                tree.close();
            }
            Event::End(_) => tree.close(),
            Event::Text(text) => tree.text(&text),
            Event::CData(text) => tree.text(&text),
            Event::GeneralRef(name) => {
                let character = name
                    .resolve_char_ref()
                    .map_err(|_| Unreadable::Syntax("XML"))?;
                let mut buffer = [0; 4];
                let text = match character {
                    Some(character) => &*character.encode_utf8(&mut buffer),
                    None => resolve_predefined_entity(&name).ok_or(Unreadable::Syntax("XML"))?,
                };
                tree.text(text);
            }
            Event::DocType(_) => return Err(Unreadable::Shape("an RSS feed")),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => return tree.finish(),
        }
    }
    Err(Unreadable::TooMuch("XML elements", MAX_NODES))
}

/// The parser's position in the document, and the fields kept so far.
#[derive(Debug, Default)]
struct Tree {
    /// The names of the open elements.
    path: Vec<ElementKind>,
    channel: Option<XmlChannel>,
    /// Whether the first `<channel>` has ended; a second one is ignored.
    is_over: bool,
    /// Whether the root is Atom's `<feed>`, which is also the channel.
    is_atom: bool,
}

/// The relevant elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ElementKind {
    Channel,
    Item,
    Title,
    Guid,
    Link,
    Published,
    Description,
    Other,
}

impl ElementKind {
    fn of(name: &str) -> Self {
        match name {
            "channel" => Self::Channel,
            "item" | "entry" => Self::Item,
            "title" => Self::Title,
            "guid" | "id" => Self::Guid,
            "link" => Self::Link,
            "pubDate" | "published" | "updated" => Self::Published,
            "description" | "content" | "summary" => Self::Description,
            _ => Self::Other,
        }
    }
}

/// Returns the URL of an Atom link to the HTML page.
fn link_of(element: &BytesStart<'_>) -> Option<String> {
    let is_alternate = attribute(element, "rel").is_none_or(|rel| rel == "alternate");
    attribute(element, "href").filter(|_| is_alternate)
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Option<String> {
    let mut attributes = element.attributes();
    attributes
        .with_checks(false)
        .take(MAX_ATTRIBUTES)
        .filter_map(Result::ok)
        .find(|attribute| attribute.key.into_inner() == name)
        .map(|attribute| attribute.value.into_owned())
}

impl Tree {
    fn open(&mut self, element: &BytesStart<'_>) -> Result<(), Unreadable> {
        let mut attributes = element.attributes();
        // Checking for duplicates takes quadratic time and is not needed.
        let attributes = attributes.with_checks(false);
        if attributes.take(MAX_ATTRIBUTES + 1).count() > MAX_ATTRIBUTES {
            return Err(Unreadable::TooMuch(
                "attributes on one element",
                MAX_ATTRIBUTES,
            ));
        }
        if self.path.len() == MAX_DEPTH {
            return Err(Unreadable::TooMuch("nested elements", MAX_DEPTH));
        }
        // A prefixed name, such as `atom:link`, does not belong to RSS.
        let kind = ElementKind::of(element.name().into_inner());
        // Atom has its entries directly below the root, and links in an attribute.
        if self.path.is_empty() && element.name().into_inner() == "feed" {
            self.path.push(ElementKind::Other);
            self.path.push(ElementKind::Channel);
            self.channel = Some(XmlChannel::default());
            self.is_atom = true;
            return Ok(());
        }
        self.path.push(kind);
        if kind == ElementKind::Link
            && let Some(target) = link_of(element)
        {
            self.text(&target);
        }
        match (self.path.as_slice(), &mut self.channel) {
            ([_, ElementKind::Channel], channel) if !self.is_over => {
                *channel = Some(XmlChannel::default());
            }
            ([_, ElementKind::Channel, ElementKind::Item], Some(channel))
                if !self.is_over && channel.items.len() < MAX_ITEMS =>
            {
                channel.items.push(XmlItem::default());
            }
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self) {
        let is_channel = matches!(self.path.as_slice(), [_, ElementKind::Channel]);
        self.is_over |= is_channel;
        self.path.pop();
        if is_channel && self.is_atom {
            self.path.pop();
        }
    }

    fn text(&mut self, text: &str) {
        let (Some(channel), false) = (&mut self.channel, self.is_over) else {
            return;
        };
        let field = match self.path.as_slice() {
            [_, ElementKind::Channel, ElementKind::Link] => &mut channel.link,
            [_, ElementKind::Channel, ElementKind::Item, kind, ..] => {
                let Some(item) = channel.items.last_mut() else {
                    return;
                };
                match kind {
                    ElementKind::Title => &mut item.title,
                    ElementKind::Guid => &mut item.guid,
                    ElementKind::Link => &mut item.link,
                    // Atom has both dates; keep the first.
                    ElementKind::Published if self.is_atom && item.published.len() > 9 => return,
                    ElementKind::Published => &mut item.published,
                    ElementKind::Description => &mut item.description,
                    _ => return,
                }
            }
            _ => return,
        };
        let room = MAX_TEXT.saturating_sub(field.len());
        field.push_str(&text[..text.floor_char_boundary(room)]);
    }

    fn finish(mut self) -> Result<XmlChannel, Unreadable> {
        // The document is truncated.
        if !self.path.is_empty() {
            return Err(Unreadable::Syntax("XML"));
        }
        let mut channel = self
            .channel
            .take()
            .ok_or(Unreadable::Shape("an RSS feed"))?;
        channel.link = channel.link.trim().to_owned();
        for item in &mut channel.items {
            for text in [
                &mut item.title,
                &mut item.guid,
                &mut item.link,
                &mut item.published,
                &mut item.description,
            ] {
                *text = text.trim().to_owned();
            }
        }
        Ok(channel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(inside: &str) -> String {
        format!("<rss><channel>{inside}</channel></rss>")
    }

    #[test]
    fn texts_are_read_through_entities_and_cdata() {
        let text = feed(
            "<link> https://a.test </link><atom:link>no</atom:link><item><title>A &amp; <![CDATA[<B>]]>&#33;</title>\
             <guid isPermaLink='false'>1</guid><pubDate>now</pubDate><media:x><title>no</title></media:x></item><item/>",
        );
        let channel = channel(&text).unwrap();
        assert_eq!(channel.link, "https://a.test");
        assert_eq!(channel.items.len(), 2);
        assert_eq!(channel.items[0].title, "A & <B>!");
        assert_eq!(channel.items[0].guid, "1");
        assert_eq!(channel.items[0].published, "now");
        assert_eq!(channel.items[1], XmlItem::default());
    }

    #[test]
    fn oversized_documents_are_refused() {
        let attributes: String = (0..100_000).map(|n| format!(" a{n}='1'")).collect();
        let cases = [
            (
                feed(&format!("<item{attributes}/>")),
                "attributes on one element",
            ),
            (feed(&"<item/>".repeat(60_000)), "XML elements"),
            (feed(&"<a>".repeat(60_000)), "nested elements"),
        ];
        for (text, what) in cases {
            let error = channel(&text).unwrap_err();
            assert!(
                matches!(error, Unreadable::TooMuch(named, _) if named == what),
                "{error}"
            );
        }
        let long = channel(&feed(&format!("<link>{}</link>", "é".repeat(10_000)))).unwrap();
        assert_eq!(long.link.len(), MAX_TEXT);
        let many = channel(&feed(&"<item/>".repeat(2000))).unwrap();
        assert_eq!(many.items.len(), MAX_ITEMS);
    }

    #[test]
    fn broken_documents_are_refused() {
        for text in [
            "<rss><channel>",
            "<rss></channel>",
            "<rss><channel>&x;</channel></rss>",
            "a < b",
        ] {
            assert!(channel(text).is_err(), "{text}");
        }
        let bomb = "<!DOCTYPE a [<!ENTITY x \"y\">]><rss><channel/></rss>";
        assert!(channel(bomb).is_err());
    }
}
