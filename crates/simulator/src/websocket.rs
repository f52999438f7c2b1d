//! A minimal WebSocket server (RFC 6455) that only sends: the handshake and unmasked frames.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::request::Request;

const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The frame that closes a connection normally (1000).
pub(crate) const CLOSE: &[u8] = &[0x88, 2, 0x03, 0xe8];

/// Returns the headers that accept a WebSocket upgrade; `None` if the request does not ask for one.
pub(crate) fn accept(request: &Request) -> Option<Vec<(String, String)>> {
    let key = request.header("sec-websocket-key")?;
    let is_asked = request
        .header("upgrade")
        .is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
    let accepted = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes());
    is_asked.then(|| {
        let headers = [
            ("connection", "Upgrade".to_owned()),
            ("upgrade", "websocket".to_owned()),
            ("sec-websocket-accept", STANDARD.encode(accepted)),
        ];
        headers
            .map(|(name, value)| (name.to_owned(), value))
            .to_vec()
    })
}

/// Encodes a text as one frame.
pub(crate) fn text(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    let length = text.len();
    if let Ok(short) = u8::try_from(length)
        && short <= 125
    {
        frame.push(short);
    } else if let Ok(length) = u16::try_from(length) {
        frame.push(126);
        frame.extend_from_slice(&length.to_be_bytes());
    } else {
        frame.push(127);
        frame.extend_from_slice(&(length as u64).to_be_bytes());
    }
    frame.extend_from_slice(text.as_bytes());
    frame
}
