//! Decompresses a body that was compressed without being asked for, in bounded steps. Pure.
//!
//! Probes ask for `identity`. Some front ends compress anyway and the vendors' own clients accept
//! that, so a monitor must too.

use std::io::Write;

use flate2::write::{GzDecoder, ZlibDecoder};

/// The number of compressed bytes per step. Deflate expands a byte to at most about a thousand.
const STEP: usize = 256;

/// The decompressor of one body.
pub(super) enum Decoder {
    Gzip(GzDecoder<Vec<u8>>),
    Zlib(ZlibDecoder<Vec<u8>>),
}

impl Decoder {
    /// Returns the decoder for a `content-encoding` in lower case; `None` if it is not supported.
    pub(super) fn of(encoding: &str) -> Option<Self> {
        match encoding {
            "gzip" | "x-gzip" => Some(Self::Gzip(GzDecoder::new(Vec::new()))),
            "deflate" => Some(Self::Zlib(ZlibDecoder::new(Vec::new()))),
            _ => None,
        }
    }

    /// Decodes one step and removes it from `part`. The result holds at most about 256 KB.
    ///
    /// # Errors
    /// When the bytes are not valid compressed data.
    pub(super) fn step(&mut self, part: &mut &[u8]) -> Result<Vec<u8>, String> {
        let (now, later) = part.split_at(part.len().min(STEP));
        *part = later;
        let (written, decoded) = match self {
            Self::Gzip(decoder) => (decoder.write_all(now), std::mem::take(decoder.get_mut())),
            Self::Zlib(decoder) => (decoder.write_all(now), std::mem::take(decoder.get_mut())),
        };
        written.map_err(|error| error.to_string())?;
        Ok(decoded)
    }

    /// Returns the remaining output at the end of the body.
    pub(super) fn end(&mut self) -> Vec<u8> {
        // For a truncated body, return what was decoded.
        match self {
            Self::Gzip(decoder) => {
                let _ = decoder.try_finish();
                std::mem::take(decoder.get_mut())
            }
            Self::Zlib(decoder) => {
                let _ = decoder.try_finish();
                std::mem::take(decoder.get_mut())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    fn decoded(encoding: &str, bytes: &[u8], piece: usize) -> Result<Vec<u8>, String> {
        let mut decoder = Decoder::of(encoding).unwrap();
        let mut all = Vec::new();
        for mut part in bytes.chunks(piece) {
            while !part.is_empty() {
                all.extend(decoder.step(&mut part)?);
            }
        }
        all.extend(decoder.end());
        Ok(all)
    }

    #[test]
    fn bodies_are_decoded_in_pieces_of_every_size() {
        let text = b"data: {\"choices\":[]}\n\n".repeat(50);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(&text).unwrap();
        let gzip = gzip.finish().unwrap();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(&text).unwrap();
        let zlib = zlib.finish().unwrap();
        for piece in [1, 7, 4096] {
            assert_eq!(decoded("gzip", &gzip, piece).unwrap(), text);
            assert_eq!(decoded("deflate", &zlib, piece).unwrap(), text);
        }
        assert!(decoded("gzip", b"not compressed at all", 7).is_err());
        assert!(Decoder::of("br").is_none());
    }

    #[test]
    fn a_step_of_a_bomb_is_bounded() {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(&vec![0; 50_000_000]).unwrap();
        let bomb = gzip.finish().unwrap();
        let mut decoder = Decoder::of("gzip").unwrap();
        let mut part = bomb.as_slice();
        while !part.is_empty() {
            assert!(decoder.step(&mut part).unwrap().len() < 1_000_000);
        }
    }
}
