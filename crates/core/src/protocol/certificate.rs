//! Reads the expiry date of an X.509 certificate (RFC 5280 §4.1), the only field that a monitor
//! needs. Pure.

use chrono::{DateTime, NaiveDateTime, Utc};

use super::der::{SEQUENCE, element, element_of};
use crate::model::Timestamp;

/// The version field, `[0]`, which version 1 omits.
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Returns the `notAfter` of a DER certificate; `None` if it cannot be parsed.
pub fn expires_at(certificate: &[u8]) -> Option<Timestamp> {
    let (certificate, _) = element_of(SEQUENCE, certificate)?;
    let (mut rest, _) = element_of(SEQUENCE, certificate)?;
    if rest.first() == Some(&VERSION) {
        rest = element(rest)?.2;
    }
    // Skip the serial number, the signature algorithm and the issuer.
    for _ in 0..3 {
        rest = element(rest)?.2;
    }
    let (validity, _) = element_of(SEQUENCE, rest)?;
    let (_, _, not_after) = element(validity)?;
    let (tag, text, _) = element(not_after)?;
    moment(tag, std::str::from_utf8(text).ok()?)
}

/// Parses `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ`; two-digit years mean 1950 to 2049.
fn moment(tag: u8, text: &str) -> Option<Timestamp> {
    let digits = text
        .strip_suffix('Z')
        .filter(|t| t.bytes().all(|b| b.is_ascii_digit()))?;
    let full = match (tag, digits.len()) {
        (UTC_TIME, 12) => format!("{}{digits}", if digits < "50" { "20" } else { "19" }),
        (GENERALIZED_TIME, 14) => digits.to_owned(),
        _ => return None,
    };
    let at = NaiveDateTime::parse_from_str(&full, "%Y%m%d%H%M%S").ok()?;
    Some(Timestamp(
        DateTime::<Utc>::from_naive_utc_and_offset(at, Utc).timestamp_millis(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_certificate_expires_when_it_says() {
        for (year, text) in [
            (2031, "2031-02-03T00:00:00Z"),
            (2061, "2061-02-03T00:00:00Z"),
        ] {
            let mut wanted = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            wanted.not_after = rcgen::date_time_ymd(year, 2, 3);
            let made = wanted
                .self_signed(&rcgen::KeyPair::generate().unwrap())
                .unwrap();
            assert_eq!(expires_at(made.der()), Timestamp::parse(text).ok());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = expires_at(&bytes);
        }

        #[test]
        fn no_time_makes_it_panic(tag in any::<u8>(), text in "\\PC{0,16}") {
            let _ = moment(tag, &text);
        }
    }
}
