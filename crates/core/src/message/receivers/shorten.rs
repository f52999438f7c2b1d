//! Truncates texts to a receiver's limits. Lengths are counted in UTF-16 units. No receiver counts
//! more strictly, because there are never fewer units than characters.

/// The marker for truncated text.
const MORE: char = '…';

/// Returns the length of `text` in UTF-16 units.
pub(super) fn length(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// Truncates `text` to at most `limit` units.
pub(super) fn shorten(text: &str, limit: usize) -> String {
    escaped(text, limit, |c, out| out.push(c))
}

/// Truncates `text` to at most `limit` bytes.
pub(super) fn shorten_bytes(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let end = (0..=limit.saturating_sub(MORE.len_utf8()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    let mut short = text[..end].to_owned();
    if limit >= MORE.len_utf8() {
        short.push(MORE);
    }
    short
}

/// Escapes `text` and truncates it to at most `limit` units, never within an escape.
pub(super) fn escaped(text: &str, limit: usize, escape: impl Fn(char, &mut String)) -> String {
    let mut out = String::new();
    let mut used = 0;
    // The length at which to truncate so that the ellipsis still fits.
    let mut cut = 0;
    for c in text.chars() {
        let before = out.len();
        escape(c, &mut out);
        used += length(&out[before..]);
        if used > limit {
            out.truncate(cut);
            if limit > 0 {
                out.push(MORE);
            }
            return out;
        }
        if used < limit {
            cut = out.len();
        }
    }
    out
}

/// Joins as many of `parts` as fit into `limit` units, separated by `between`. Parts are never
/// truncated. `last` goes at the end, and room is reserved for it.
pub(super) fn fitting(parts: &[String], last: Option<&str>, between: &str, limit: usize) -> String {
    let last = last.filter(|last| length(last) + length(between) < limit);
    let reserved = last.map_or(0, |last| length(last) + length(between));
    let mut out = String::new();
    let mut used = 0;
    for part in parts {
        let more = length(part) + if out.is_empty() { 0 } else { length(between) };
        if used + more + reserved > limit {
            break;
        }
        if !out.is_empty() {
            out += between;
        }
        out += part;
        used += more;
    }
    if let Some(last) = last {
        if !out.is_empty() {
            out += between;
        }
        out += last;
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_fits_stays_as_it_is() {
        assert_eq!(shorten("twelve chars", 12), "twelve chars");
        assert_eq!(shorten("thirteen char", 12), "thirteen ch…");
        assert_eq!(shorten("🟥🟥🟥", 5), "🟥🟥…");
        assert_eq!(
            escaped("<<<", 9, |_, out| out.push_str("&lt;")),
            "&lt;&lt;…"
        );
        assert_eq!(
            fitting(
                &["one".into(), "two".into(), "three".into()],
                Some("end"),
                " ",
                12
            ),
            "one two end"
        );
    }

    proptest! {
        #[test]
        fn a_limit_is_kept(text in "\\PC{0,40}", limit in 0usize..40) {
            prop_assert!(length(&shorten(&text, limit)) <= limit);
            prop_assert!(shorten_bytes(&text, limit).len() <= limit);
            let entity = |c: char, out: &mut String| if c < 'm' { out.push_str("&amp;") } else { out.push(c) };
            let escaped = escaped(&text, limit, entity);
            prop_assert!(length(&escaped) <= limit);
            prop_assert_eq!(escaped.matches('&').count(), escaped.matches("&amp;").count());
            prop_assert!(length(&fitting(&[text.clone(), text.clone()], Some(&text), "\n\n", limit)) <= limit);
        }
    }
}
