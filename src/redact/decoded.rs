//! A text with its escapes decoded, which still knows where each byte came from. Servers repeat
//! what they got as a URL, as HTML, as JSON, or as one within another.

use std::ops::Range;

/// How often escapes within escapes are decoded.
const MAX_LEVELS: usize = 4;
/// Named character references that stand for a character of a secret.
const NAMED: [(&str, char); 6] = [
    ("amp", '&'),
    ("lt", '<'),
    ("gt", '>'),
    ("quot", '"'),
    ("apos", '\''),
    ("sol", '/'),
];
/// The longest character reference, such as `&#x0000002F;`, in bytes.
const MAX_REFERENCE: usize = 12;

/// A decoded text.
pub(super) struct Decoded {
    pub(super) bytes: Vec<u8>,
    /// Where each byte begins in the original text, and the length of the original text at the end.
    from: Vec<usize>,
}

impl Decoded {
    /// Returns the range of the original text that the decoded `range` stands for.
    pub(super) fn original(&self, range: Range<usize>) -> Range<usize> {
        self.from[range.start]..self.from[range.end]
    }
}

/// Returns `text` as it is, then decoded once, and so on until nothing is left to decode.
pub(super) fn levels(text: &str) -> impl Iterator<Item = Decoded> {
    let plain = Decoded {
        bytes: text.as_bytes().to_vec(),
        from: (0..=text.len()).collect(),
    };
    std::iter::successors(Some(plain), decode).take(MAX_LEVELS)
}

/// Decodes each escape once. Returns `None` if there is none.
fn decode(text: &Decoded) -> Option<Decoded> {
    if !text.bytes.iter().any(|byte| b"%&\\".contains(byte)) {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.bytes.len());
    let mut from = Vec::with_capacity(text.from.len());
    let mut at = 0;
    while at < text.bytes.len() {
        let mut buffer = [0; 4];
        let (decoded, length) = match escape(&text.bytes[at..]) {
            Some((Unit::Byte(byte), length)) => {
                buffer[0] = byte;
                (&buffer[..1], length)
            }
            Some((Unit::Char(c), length)) => (c.encode_utf8(&mut buffer).as_bytes(), length),
            None => (&text.bytes[at..=at], 1),
        };
        bytes.extend_from_slice(decoded);
        from.extend(std::iter::repeat_n(text.from[at], decoded.len()));
        at += length;
    }
    from.push(text.from[text.bytes.len()]);
    (bytes != text.bytes).then_some(Decoded { bytes, from })
}

/// What an escape stands for.
enum Unit {
    Byte(u8),
    Char(char),
}

/// Returns what the escape at the beginning of `text` stands for, and its length.
fn escape(text: &[u8]) -> Option<(Unit, usize)> {
    match text {
        [b'%', rest @ ..] => Some((Unit::Byte(u8::try_from(hex(rest, 2)?).ok()?), 3)),
        [b'&', rest @ ..] => reference(rest),
        [b'\\', b'x', rest @ ..] => Some((Unit::Byte(u8::try_from(hex(rest, 2)?).ok()?), 4)),
        [b'\\', b'u', rest @ ..] => utf16(rest),
        [b'\\', c @ (b'"' | b'\'' | b'/' | b'\\'), ..] => Some((Unit::Byte(*c), 2)),
        _ => None,
    }
}

/// Reads the rest of `\uXXXX`, or of a pair of surrogates.
fn utf16(rest: &[u8]) -> Option<(Unit, usize)> {
    let first = u16::try_from(hex(rest, 4)?).ok()?;
    let second = rest
        .get(4..)
        .and_then(|next| next.strip_prefix(b"\\u"))
        .and_then(|next| u16::try_from(hex(next, 4)?).ok());
    let units = [Some(first), second];
    let mut chars = char::decode_utf16(units.into_iter().flatten());
    let c = chars.next()?.ok()?;
    Some((Unit::Char(c), if c.len_utf16() == 2 { 12 } else { 6 }))
}

/// Reads the rest of a character reference of HTML, such as `&#x2F;`, `&#47;` and `&amp;`.
fn reference(rest: &[u8]) -> Option<(Unit, usize)> {
    let end = rest.iter().take(MAX_REFERENCE).position(|b| *b == b';')?;
    let name = std::str::from_utf8(&rest[..end]).ok()?;
    let number = match name.strip_prefix('#') {
        Some(number) => number.strip_prefix(['x', 'X']).map_or_else(
            || number.parse().ok(),
            |number| u32::from_str_radix(number, 16).ok(),
        ),
        None => NAMED
            .iter()
            .find_map(|(known, c)| (*known == name).then_some(u32::from(*c))),
    };
    Some((Unit::Char(char::from_u32(number?)?), end + 2))
}

/// Reads `digits` hexadecimal digits.
fn hex(text: &[u8], digits: usize) -> Option<u32> {
    let text = text.get(..digits)?;
    let is_hex = text.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(text).ok().filter(|_| is_hex)?;
    u32::from_str_radix(text, 16).ok()
}
