//! One-click links in messages: a signed token for one thing and one action, valid for seven days.
//!
//! The token is `base64url(version ‖ action ‖ id ‖ end ‖ first 16 bytes of HMAC-SHA256)`. It is a
//! secret: anyone who has it can act, so it is never logged.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use uuid::Uuid;

use crate::store::{LINK_KEY_BYTES, LinkKeys};
use llmwatch_core::model::Timestamp;

/// How long a link is valid.
pub const VALID: Duration = Duration::from_hours(7 * 24);
const VERSION: u8 = 1;
/// Version, action, id and end.
const BODY_BYTES: usize = 1 + 1 + 16 + 8;
/// The signature is truncated to 128 bits.
const MAC_BYTES: usize = 16;
/// Longer texts are not our tokens.
const LONGEST: usize = 128;

/// What a link does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Acknowledges the incident of this id.
    Acknowledge,
    /// Confirms the notification of this id, a drill's.
    ConfirmDrill,
    /// Confirms the subscription of this id.
    Subscribe,
    /// Ends the subscription of this id.
    Unsubscribe,
}

impl Action {
    const ALL: [Self; 4] = [
        Self::Acknowledge,
        Self::ConfirmDrill,
        Self::Subscribe,
        Self::Unsubscribe,
    ];

    fn code(self) -> u8 {
        match self {
            Self::Acknowledge => 1,
            Self::ConfirmDrill => 2,
            Self::Subscribe => 3,
            Self::Unsubscribe => 4,
        }
    }
}

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// It was not signed by this monitor.
    #[error("this link is not valid")]
    Invalid,
    /// It has expired.
    #[error("this link has expired")]
    Expired,
}

/// Signs and verifies tokens. Clones share their keys.
#[derive(Clone)]
pub struct Links(Arc<RwLock<Keys>>);

struct Keys {
    signing: hmac::Key,
    /// Keys of daemons that signed links before they reached the shared store.
    accepted: Vec<hmac::Key>,
}

impl Keys {
    fn of(keys: &LinkKeys) -> Self {
        Self {
            signing: key(&keys.signing),
            accepted: keys.accepted.iter().map(key).collect(),
        }
    }
}

fn key(bytes: &[u8; LINK_KEY_BYTES]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, bytes)
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Links(…)")
    }
}

impl Links {
    /// Creates a signer with the store's keys.
    pub fn new(keys: &LinkKeys) -> Self {
        Self(Arc::new(RwLock::new(Keys::of(keys))))
    }

    /// Replaces the keys, here and in every clone.
    pub fn replace_keys(&self, keys: &LinkKeys) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Keys::of(keys);
    }

    fn sign(&self, body: &[u8]) -> hmac::Tag {
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        hmac::sign(&keys.signing, body)
    }

    /// Reports whether `mac` is the signature of `body` by one of the keys.
    fn is_signed(&self, body: &[u8], mac: &[u8]) -> bool {
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut all = std::iter::once(&keys.signing).chain(&keys.accepted);
        all.any(|key| {
            let signed = hmac::sign(key, body);
            let pairs = signed.as_ref()[..MAC_BYTES].iter().zip(mac);
            // Every byte is compared, so that the time says nothing about them.
            pairs.fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
        })
    }

    /// Signs a token for `action` on `id`, valid until `end`.
    pub fn token(&self, action: Action, id: Uuid, end: Timestamp) -> String {
        let mut bytes = Vec::with_capacity(BODY_BYTES + MAC_BYTES);
        bytes.extend([VERSION, action.code()]);
        bytes.extend(id.as_bytes());
        bytes.extend(end.0.to_be_bytes());
        let mac = self.sign(&bytes);
        bytes.extend(&mac.as_ref()[..MAC_BYTES]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Returns the link below `public_url` for `action` on `id`, valid for seven days from `now`.
    pub fn url(&self, public_url: &str, action: Action, id: Uuid, now: Timestamp) -> String {
        let token = self.token(action, id, now + VALID);
        format!("{}/a/{token}", public_url.trim_end_matches('/'))
    }

    /// Returns the link below `public_url` that ends the subscription `id`. It never expires,
    /// because people keep mails for years.
    pub fn unsubscribe_url(&self, public_url: &str, id: Uuid) -> String {
        let token = self.token(Action::Unsubscribe, id, Timestamp(i64::MAX));
        format!("{}/unsubscribe/{token}", public_url.trim_end_matches('/'))
    }

    /// Verifies `token` and returns its action and id.
    ///
    /// # Errors
    /// When this monitor did not sign it, or it has expired.
    pub fn read(&self, token: &str, now: Timestamp) -> Result<(Action, Uuid), LinkError> {
        let bytes = Some(token)
            .filter(|t| t.len() <= LONGEST)
            .and_then(|t| URL_SAFE_NO_PAD.decode(t).ok())
            .filter(|b| b.len() == BODY_BYTES + MAC_BYTES)
            .ok_or(LinkError::Invalid)?;
        let (body, mac) = bytes.split_at(BODY_BYTES);
        if !self.is_signed(body, mac) || body[0] != VERSION {
            return Err(LinkError::Invalid);
        }
        let action = Action::ALL.into_iter().find(|a| a.code() == body[1]);
        let id = Uuid::from_slice(&body[2..18]).map_err(|_| LinkError::Invalid)?;
        let end = body[18..26].try_into().map_err(|_| LinkError::Invalid)?;
        if now.0 > i64::from_be_bytes(end) {
            return Err(LinkError::Expired);
        }
        Ok((action.ok_or(LinkError::Invalid)?, id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    #[test]
    fn a_token_is_for_one_thing_until_its_end() {
        let links = Links::new(&[7; LINK_KEY_BYTES].into());
        let id = Uuid::from_u128(42);
        let token = links.token(Action::Acknowledge, id, NOW + VALID);
        assert_eq!(links.read(&token, NOW), Ok((Action::Acknowledge, id)));
        let late = NOW + VALID + Duration::from_millis(1);
        assert_eq!(links.read(&token, late), Err(LinkError::Expired));
        let others = Links::new(&[8; LINK_KEY_BYTES].into());
        assert_eq!(others.read(&token, NOW), Err(LinkError::Invalid));
    }

    #[test]
    fn links_signed_before_the_keys_were_shared_stay_valid() {
        let links = Links::new(&[7; LINK_KEY_BYTES].into());
        let page = links.clone();
        let id = Uuid::from_u128(42);
        let before = links.token(Action::Acknowledge, id, NOW + VALID);
        links.replace_keys(&LinkKeys {
            signing: [8; LINK_KEY_BYTES],
            accepted: vec![[6; LINK_KEY_BYTES], [7; LINK_KEY_BYTES]],
        });
        let after = links.token(Action::Acknowledge, id, NOW + VALID);
        assert_ne!(before, after);
        for token in [&before, &after] {
            assert_eq!(page.read(token, NOW), Ok((Action::Acknowledge, id)));
        }
        let foreign = Links::new(&[9; LINK_KEY_BYTES].into());
        let foreign = foreign.token(Action::Acknowledge, id, NOW + VALID);
        assert_eq!(page.read(&foreign, NOW), Err(LinkError::Invalid));
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let links = Links::new(&[7; LINK_KEY_BYTES].into());
        let token = links.token(Action::Acknowledge, Uuid::from_u128(42), NOW + VALID);
        let bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            let changed = URL_SAFE_NO_PAD.encode(changed);
            assert_eq!(
                links.read(&changed, NOW),
                Err(LinkError::Invalid),
                "{place}"
            );
        }
        for odd in ["", "x", "../../etc/passwd", &"A".repeat(4096)] {
            assert_eq!(links.read(odd, NOW), Err(LinkError::Invalid));
        }
    }
}
