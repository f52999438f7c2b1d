//! AWS's binary stream framing (`application/vnd.amazon.eventstream`): messages with headers and a
//! payload, a checksum over the lengths and one over the entire message. Pure.

/// The maximum size of a message.
const MAX_MESSAGE: usize = 1024 * 1024;
/// Total length, length of the headers, checksum of both: four bytes each.
const PRELUDE: usize = 12;
const CHECKSUM: usize = 4;
/// The shortest message has neither headers nor payload.
const MIN_MESSAGE: usize = PRELUDE + CHECKSUM;

/// Splits a stream into messages.
#[derive(Debug, Default)]
pub(super) struct EventStream {
    buffer: Vec<u8>,
}

/// The headers that identify a message.
#[derive(Debug, Default)]
struct MessageHeaders {
    message: String,
    name: String,
    text: String,
}

impl EventStream {
    /// Reads a part and passes each complete message to `sink`: a JSON object whose only key is the
    /// event's name, and whether it is an error.
    ///
    /// # Errors
    /// When the bytes are not such a message, with the reason.
    pub(super) fn feed(
        &mut self,
        part: &[u8],
        mut sink: impl FnMut(&str, bool),
    ) -> Result<(), String> {
        self.buffer.extend_from_slice(part);
        let mut start = 0;
        while let Some(length) = message_length(&self.buffer[start..])? {
            let Some(message) = self.buffer.get(start..start + length) else {
                break;
            };
            let (data, is_error) = read(message)?;
            start += length;
            sink(&data, is_error);
        }
        self.buffer.drain(..start);
        Ok(())
    }
}

fn number(bytes: &[u8]) -> Option<usize> {
    Some(u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?) as usize)
}

/// Returns the length of the message that begins here; `None` until its prelude is complete.
fn message_length(bytes: &[u8]) -> Result<Option<usize>, String> {
    let (Some(length), Some(headers), Some(checksum)) = (
        number(bytes),
        number(bytes.get(4..).unwrap_or_default()),
        number(bytes.get(8..).unwrap_or_default()),
    ) else {
        return Ok(None);
    };
    if crc32fast::hash(&bytes[..8]) as usize != checksum {
        return Err("an event-stream message whose lengths have a wrong checksum".to_owned());
    }
    if !(MIN_MESSAGE..=MAX_MESSAGE).contains(&length) || headers > length - MIN_MESSAGE {
        return Err(format!(
            "an event-stream message of {length} bytes with {headers} bytes of headers"
        ));
    }
    Ok(Some(length))
}

/// Reads one complete message.
fn read(message: &[u8]) -> Result<(String, bool), String> {
    let (content, checksum) = message.split_at(message.len() - CHECKSUM);
    if number(checksum) != Some(crc32fast::hash(content) as usize) {
        return Err("an event-stream message with a wrong checksum".to_owned());
    }
    let headers = number(&message[4..]).unwrap_or_default();
    let (headers, payload) = content[PRELUDE..].split_at(headers);
    let kind = kind(headers).ok_or("an event-stream message with unreadable headers")?;
    let payload = std::str::from_utf8(payload)
        .map_err(|_| "an event-stream message whose payload is not UTF-8".to_owned())?;
    let name = serde_json::Value::from(kind.name.as_str());
    if kind.message == "event" {
        let payload = if payload.trim().is_empty() {
            "{}"
        } else {
            payload
        };
        return Ok((format!("{{{name}:{payload}}}"), false));
    }
    // An exception has its own payload, an error only headers.
    let content = serde_json::from_str::<serde_json::Value>(payload).ok();
    let text = content
        .as_ref()
        .and_then(|m| m["message"].as_str().or(m["Message"].as_str()))
        .unwrap_or(&kind.text);
    let error = serde_json::json!({"__type": kind.name, "message": text});
    Ok((error.to_string(), true))
}

/// Parses the headers; `None` if they are invalid.
fn kind(mut bytes: &[u8]) -> Option<MessageHeaders> {
    let mut kind = MessageHeaders::default();
    while let Some((name_length, rest)) = bytes.split_first() {
        let (name, rest) = rest.split_at_checked(usize::from(*name_length))?;
        let (value_type, rest) = rest.split_first()?;
        // Booleans, integers of four sizes, bytes, text, a timestamp and a UUID.
        let (length, rest) = match value_type {
            0 | 1 => (0, rest),
            2 => (1, rest),
            3 => (2, rest),
            4 => (4, rest),
            5 | 8 => (8, rest),
            6 | 7 => {
                let (length, rest) = rest.split_at_checked(2)?;
                (
                    usize::from(u16::from_be_bytes(length.try_into().ok()?)),
                    rest,
                )
            }
            9 => (16, rest),
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        if *value_type == 7 {
            let text = std::str::from_utf8(value).ok()?;
            match name {
                b":message-type" => text.clone_into(&mut kind.message),
                b":event-type" | b":exception-type" | b":error-code" => {
                    text.clone_into(&mut kind.name);
                }
                b":error-message" => text.clone_into(&mut kind.text),
                _ => {}
            }
        }
        bytes = rest;
    }
    Some(kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_all(bytes: &[u8], piece: usize) -> Result<Vec<(String, bool)>, String> {
        let mut stream = EventStream::default();
        let mut all = Vec::new();
        for part in bytes.chunks(piece) {
            stream.feed(part, |data, is_error| all.push((data.to_owned(), is_error)))?;
        }
        Ok(all)
    }

    /// The first two vectors of AWS's test suite for this framing: an empty message and one with a
    /// payload.
    #[test]
    fn messages_are_those_of_aws() {
        let empty = [
            0, 0, 0, 0x10, 0, 0, 0, 0, 0x05, 0xc2, 0x48, 0xeb, 0x7d, 0x98, 0xc8, 0xff,
        ];
        let payload = b"\0\0\0\x1d\0\0\0\0\xfd\x52\x8c\x5a{'foo':'bar'}\xc3\x65\x39\x36";
        assert_eq!(read_all(&empty, 1).unwrap().len(), 1);
        assert_eq!(read_all(payload, 5).unwrap().len(), 1);
        for at in 0..payload.len() {
            let mut wrong = *payload;
            wrong[at] ^= 1;
            assert!(read_all(&wrong, 7).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_message_that_is_too_long_is_refused_by_its_prelude() {
        let mut prelude = [0xff_u8, 0xff, 0xff, 0xff, 0, 0, 0, 0].to_vec();
        prelude.extend(crc32fast::hash(&prelude).to_be_bytes());
        assert!(read_all(&prelude, 12).unwrap_err().contains("4294967295"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), piece in 1..50usize) {
            let _ = read_all(&bytes, piece);
            let mut framed = (u32::try_from(bytes.len()).unwrap_or_default() + 16).to_be_bytes().to_vec();
            framed.extend((bytes.len() as u32 / 2).to_be_bytes());
            framed.extend(crc32fast::hash(&framed).to_be_bytes());
            framed.extend(&bytes);
            framed.extend(crc32fast::hash(&framed).to_be_bytes());
            let _ = read_all(&framed, piece);
        }
    }
}
