//! The time in a ULID: its first ten characters are milliseconds since the Unix epoch
//! (<https://github.com/ulid/spec>). incident.io's IDs reveal when something was really published.

use crate::model::Timestamp;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// The year 2014. No current status page is older, so an earlier time is not from a ULID.
const EARLIEST_MS: i64 = 1_388_534_400_000;
/// The year 2100.
const LATEST_MS: i64 = 4_102_444_800_000;

/// Returns when the ID was created; `None` if it is not a ULID.
pub(super) fn made_at(id: &str) -> Option<Timestamp> {
    if id.len() != 26 {
        return None;
    }
    let digits: Vec<usize> = id
        .bytes()
        .map(|b| ALPHABET.iter().position(|a| *a == b.to_ascii_uppercase()))
        .collect::<Option<_>>()?;
    let ms = digits
        .iter()
        .take(10)
        .fold(0_i64, |ms, d| ms * 32 + *d as i64);
    (EARLIEST_MS..LATEST_MS)
        .contains(&ms)
        .then_some(Timestamp(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ulids_of_real_incidents_carry_the_publishing_time() {
        let when = |id| made_at(id).map(|t| t.to_string());
        assert_eq!(
            when("01JXCAW3K3JAE0EP56AEZ7CBG3").as_deref(),
            Some("2025-06-10T07:11:31.427Z")
        );
        assert_eq!(
            when("01KT5XJ5ATD6RMYP908WS69FVD").as_deref(),
            Some("2026-06-03T04:58:40.346Z")
        );
        assert_eq!(when("01KEXAMPLE0000000000000001"), None, "L is no digit");
        assert_eq!(when("inc000000001"), None);
        assert_eq!(when("00000000000000000000000001"), None, "1970");
        assert_eq!(when("éééééééééééééé"), None);
    }
}
