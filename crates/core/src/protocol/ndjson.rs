//! Parses newline-delimited JSON (NDJSON). Pure, and independent of chunk boundaries.

use super::sse::NotText;

/// Collects bytes and yields each complete line that is not blank.
#[derive(Debug, Default)]
pub(super) struct NdjsonReader {
    line: Vec<u8>,
}

impl NdjsonReader {
    /// Reads a chunk and passes every completed line to `each`.
    pub(super) fn feed(&mut self, chunk: &[u8], mut each: impl FnMut(&str)) -> Result<(), NotText> {
        let mut rest = chunk;
        while let Some(end) = rest.iter().position(|b| matches!(b, b'\n' | b'\r')) {
            self.line.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            self.hand_over(&mut each)?;
        }
        self.line.extend_from_slice(rest);
        Ok(())
    }

    /// Handles the end of the body; the last line needs no line feed.
    pub(super) fn end(&mut self, mut each: impl FnMut(&str)) -> Result<(), NotText> {
        self.hand_over(&mut each)
    }

    fn hand_over(&mut self, each: &mut impl FnMut(&str)) -> Result<(), NotText> {
        let line = std::mem::take(&mut self.line);
        let text = std::str::from_utf8(&line)
            .map_err(|_| NotText::of(&line))?
            .trim();
        if !text.is_empty() {
            each(text);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(chunks: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut all) = (NdjsonReader::default(), Vec::new());
        for chunk in chunks {
            lines.feed(chunk, |line| all.push(line.to_owned())).unwrap();
        }
        lines.end(|line| all.push(line.to_owned())).unwrap();
        all
    }

    proptest! {
        #[test]
        fn chunk_borders_do_not_matter(text in "([a-zé{}\"]{0,6}(\r\n|\n)){0,12}[a-z]{0,3}", piece in 1usize..20) {
            let chunks: Vec<_> = text.as_bytes().chunks(piece).collect();
            prop_assert_eq!(lines(&chunks), text.split('\n').map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut lines = NdjsonReader::default();
            let _ = lines.feed(&bytes, |_| ()).and_then(|()| lines.end(|_| ()));
        }
    }
}
