//! Parses server-sent events as the WHATWG specifies. Pure, and independent of chunk boundaries.
//!
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>

/// Collects bytes and yields the data of each complete event, and whether its name is `error`.
/// Other names only repeat what the data says.
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a bit of the reader's state of its own"
)]
pub(super) struct Sse {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    is_error: bool,
    /// Whether the last byte was a carriage return, so that a following line feed belongs to it.
    after_cr: bool,
    started: bool,
}

/// The bytes are not UTF-8. Holds them decoded as far as possible.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotText(pub(super) String);

impl NotText {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self(String::from_utf8_lossy(bytes).into_owned())
    }
}

impl Sse {
    /// Reads a chunk and passes the data of every completed event to `each`. Comments, other fields
    /// and empty events are skipped.
    pub(super) fn feed(
        &mut self,
        chunk: &[u8],
        mut each: impl FnMut(&str, bool),
    ) -> Result<(), NotText> {
        let mut rest = chunk;
        if self.after_cr && !rest.is_empty() {
            self.after_cr = false;
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        while let Some(at) = rest.iter().position(|b| matches!(b, b'\n' | b'\r')) {
            let line = &rest[..at];
            let end = rest[at];
            rest = &rest[at + 1..];
            if end == b'\r' {
                self.after_cr = rest.is_empty();
                rest = rest.strip_prefix(b"\n").unwrap_or(rest);
            }
            if self.line.is_empty() {
                self.end_line(line, &mut each)?;
            } else {
                // Reuse the buffer, so that a long stream allocates only once.
                let mut joined = std::mem::take(&mut self.line);
                joined.extend_from_slice(line);
                let ended = self.end_line(&joined, &mut each);
                joined.clear();
                self.line = joined;
                ended?;
            }
        }
        self.line.extend_from_slice(rest);
        Ok(())
    }

    /// Handles the end of the stream. The specification discards an incomplete last event, but a
    /// monitor needs it because it may be an error.
    pub(super) fn end(&mut self, mut each: impl FnMut(&str, bool)) -> Result<(), NotText> {
        if !self.line.is_empty() {
            let line = std::mem::take(&mut self.line);
            self.end_line(&line, &mut each)?;
        }
        self.dispatch(&mut each)
    }

    fn end_line(&mut self, line: &[u8], each: &mut impl FnMut(&str, bool)) -> Result<(), NotText> {
        let mut line = line;
        if !std::mem::replace(&mut self.started, true) {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            return self.dispatch(each);
        }
        let (field, value) = match line.iter().position(|b| *b == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &line[line.len()..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        // llama.cpp names the field of an error after it.
        let is_error_line = field == b"error" && value.starts_with(b"{");
        if field == b"data" || is_error_line {
            if self.has_data {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(value);
            self.has_data = true;
            self.is_error |= is_error_line;
        } else if field == b"event" {
            self.is_error = value == b"error";
        }
        Ok(())
    }

    fn dispatch(&mut self, each: &mut impl FnMut(&str, bool)) -> Result<(), NotText> {
        self.has_data = false;
        let is_error = std::mem::take(&mut self.is_error);
        if self.data.is_empty() {
            return Ok(());
        }
        let mut data = std::mem::take(&mut self.data);
        match std::str::from_utf8(&data) {
            Ok(text) => each(text, is_error),
            Err(_) => return Err(NotText::of(&data)),
        }
        data.clear();
        self.data = data;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn events(chunks: &[&[u8]]) -> Vec<String> {
        let (mut sse, mut events) = (Sse::default(), Vec::new());
        for chunk in chunks {
            sse.feed(chunk, |e, _| events.push(e.to_owned())).unwrap();
        }
        sse.end(|e, _| events.push(e.to_owned())).unwrap();
        events
    }

    #[test]
    fn the_rules_of_the_specification() {
        assert_eq!(
            events(&[
                b"\xef\xbb\xbfdata: a\n\ndata:b\r\n\r\n: comment\n\ndata\n\ndata:  c\rdata: d\r\r"
            ]),
            ["a", "b", " c\nd"]
        );
        assert_eq!(
            events(&[b"event: x\nid: 1\nretry: 5\ndata: {}\n\n"]),
            ["{}"]
        );
        assert_eq!(
            events(&[b"data: cut off"]),
            ["cut off"],
            "a last error is worth seeing"
        );
        assert_eq!(
            Sse::default().feed(b"data: \xff\n\n", |_, _| ()),
            Err(NotText("\u{fffd}".to_owned()))
        );
        let mut errors = Vec::new();
        let stream = b"event: error\ndata: a\n\ndata: b\n\nevent:error\n\ndata: c\n\ndata: d\nevent: error\r\n\r\n";
        Sse::default()
            .feed(stream, |data, is_error| {
                errors.push((data.to_owned(), is_error));
            })
            .unwrap();
        let wanted = [("a", true), ("b", false), ("c", false), ("d", true)];
        assert_eq!(
            errors,
            wanted.map(|(data, is_error)| (data.to_owned(), is_error))
        );
    }

    #[test]
    fn field_named_error_is_an_error() {
        let mut seen = Vec::new();
        Sse::default()
            .feed(
                b"error: {\"code\":500}\n\nerror: words\n\ndata: a\n\n",
                |data, is_error| seen.push((data.to_owned(), is_error)),
            )
            .unwrap();
        let wanted = [("{\"code\":500}", true), ("a", false)];
        assert_eq!(
            seen,
            wanted.map(|(data, is_error)| (data.to_owned(), is_error))
        );
    }

    proptest! {
        #[test]
        fn chunk_borders_do_not_matter(
            text in "((data|event|:)? ?[a-zé{}\"]{0,6}(\r\n|\n|\r|\r\n\r\n|\n\n)){0,12}",
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<_> = cuts.iter().map(|c| c.index(bytes.len() + 1)).collect();
            cuts.push(0);
            cuts.push(bytes.len());
            cuts.sort_unstable();
            let chunks: Vec<_> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            prop_assert_eq!(events(&chunks), events(&[bytes]));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut sse = Sse::default();
            let _ = sse.feed(&bytes, |_, _| ()).and_then(|()| sse.end(|_, _| ()));
        }
    }
}
