//! Bytes that no healthy server sends, in blocks small enough to repeat forever.

use std::time::Duration;

use crate::act::{Act, WriteKind};

/// The size of a repeated block, large enough that our overhead does not limit the rate.
const BLOCK: usize = 16 * 1024;

/// Returns the response to a client that begins a TLS handshake.
pub(crate) fn not_tls() -> Act {
    let bytes = b"220 this port does not speak TLS\r\n".to_vec();
    Act::Write {
        due: Duration::ZERO,
        kind: WriteKind::Hostile,
        bytes,
    }
}

/// Returns `bytes` spaces, which every JSON parser skips.
pub(crate) fn spaces(bytes: u64) -> Vec<Act> {
    filler(&[b' '; BLOCK], bytes)
}

/// Returns header lines of about `bytes` in total, without the end of the head.
pub(crate) fn header_lines(bytes: u64) -> Vec<Act> {
    let line = format!("x-padding: {}\r\n", "x".repeat(1000));
    filler(line.repeat(BLOCK / line.len()).as_bytes(), bytes)
}

/// Returns a gzip stream that decompresses to at least `bytes` spaces. It has no valid end, because
/// no client should read that far.
///
/// It is one deflate block (RFC 1951 §3.2.6, fixed codes): the literal space, then copies of 258
/// bytes at distance 1. A copy takes 13 bits, 8 for length symbol 285 and 5 for distance symbol 0,
/// so 8 copies are exactly 13 bytes. The start (3 bits of block header, 8 of the literal and one
/// copy) is 24 bits, so the repeated part begins on a byte boundary.
pub(crate) fn gzip_bomb(bytes: u64) -> Vec<Act> {
    const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    const COPY: (u16, u32) = (0b1_1000_1010_0000, 13);
    const SPACE: (u16, u32) = (0b0101_0000, 8);
    // The block header's bits in order: final block, then "fixed codes" (01), lower bit first.
    const BLOCK_HEAD: (u16, u32) = (0b110, 3);

    let mut start = GZIP_HEAD.to_vec();
    start.extend(pack(&[BLOCK_HEAD, SPACE, COPY]));
    let eight_copies = pack(&[COPY; 8]);
    let block = eight_copies.repeat(BLOCK / eight_copies.len());
    let swollen = (BLOCK / eight_copies.len() * 8 * 258) as u64;
    vec![
        Act::Write {
            due: Duration::ZERO,
            kind: WriteKind::Hostile,
            bytes: start,
        },
        Act::Repeat {
            bytes: block,
            times: bytes.div_ceil(swollen),
            every: Duration::ZERO,
        },
    ]
}

/// Packs codes (bits, count) as deflate does: the highest bit of a code first, from the lowest bit
/// of each byte.
fn pack(codes: &[(u16, u32)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let bits = codes
        .iter()
        .flat_map(|&(code, length)| (0..length).rev().map(move |n| code >> n & 1 == 1));
    for (n, bit) in bits.enumerate() {
        if n % 8 == 0 {
            bytes.push(0);
        }
        if let Some(last) = bytes.last_mut() {
            *last |= u8::from(bit) << (n % 8);
        }
    }
    bytes
}

/// Repeats `block` as often as it fits into `bytes`, then adds the remainder.
fn filler(block: &[u8], bytes: u64) -> Vec<Act> {
    let rest = (bytes % block.len() as u64) as usize;
    vec![
        Act::Repeat {
            bytes: block.to_vec(),
            times: bytes / block.len() as u64,
            every: Duration::ZERO,
        },
        Act::Write {
            due: Duration::ZERO,
            kind: WriteKind::Hostile,
            bytes: block[..rest].to_vec(),
        },
    ]
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn the_gzip_bomb_swells_to_its_size_from_a_hundredth_of_it() {
        let mut packed = Vec::new();
        for act in gzip_bomb(1_000_000) {
            match act {
                Act::Write { bytes, .. } => packed.extend(bytes),
                Act::Repeat { bytes, times, .. } => packed.extend(bytes.repeat(times as usize)),
                Act::Stall | Act::Reset { .. } => unreachable!("a bomb is only bytes"),
            }
        }
        let mut swollen = vec![0; 1_000_000];
        flate2::read::GzDecoder::new(&packed[..])
            .read_exact(&mut swollen)
            .unwrap();
        assert!(swollen.iter().all(|&b| b == b' '));
        assert!(packed.len() < 20_000);
    }

    #[test]
    fn a_huge_body_is_as_long_as_it_says() {
        let length: u64 = spaces(100_001)
            .iter()
            .map(|act| match act {
                Act::Repeat { bytes, times, .. } => bytes.len() as u64 * times,
                Act::Write { bytes, .. } => bytes.len() as u64,
                Act::Stall | Act::Reset { .. } => 0,
            })
            .sum();
        assert_eq!(length, 100_001);
    }
}
