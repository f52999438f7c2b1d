//! Google access tokens: for a service account (RFC 7523), a signed-in user, or a machine on Google
//! Cloud. The responses follow OAuth 2.0 and are parsed by
//! [`entra_token::read`](super::entra_token::read).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use url::Url;

use super::dialect::Request;
use crate::model::{Secret, Timestamp};

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// The maximum lifetime that Google allows for a signed assertion, in seconds.
const LIFE: i64 = 3600;
/// How far to backdate an assertion, in seconds, because Google rejects one from the future when
/// clocks differ.
const BEFORE: i64 = 30;

/// Returns the signed part of an assertion: header and claims.
pub fn unsigned(client_email: &str, key_id: &str, token_url: &Url, now: Timestamp) -> String {
    let issued = now.0 / 1000 - BEFORE;
    let header = json!({"alg": "RS256", "typ": "JWT", "kid": key_id});
    let claims = json!({
        "iss": client_email,
        "scope": SCOPE,
        "aud": token_url.as_str(),
        "iat": issued,
        "exp": issued + LIFE,
    });
    let [header, claims] = [header, claims].map(|value| URL_SAFE_NO_PAD.encode(value.to_string()));
    format!("{header}.{claims}")
}

/// Builds the request that exchanges a signed assertion for a token.
pub fn exchange(token_url: &Url, assertion: &str) -> Request {
    form(
        token_url,
        &[
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("assertion", assertion),
        ],
    )
}

/// Builds the token request for a signed-in user.
pub fn refresh(
    token_url: &Url,
    client_id: &str,
    client_secret: &Secret,
    refresh_token: &Secret,
) -> Request {
    form(
        token_url,
        &[
            ("grant_type", "refresh_token"),
            ("client_id", client_id),
            ("client_secret", client_secret.expose()),
            ("refresh_token", refresh_token.expose()),
        ],
    )
}

/// Builds the token request for this machine's own service account.
pub fn of_metadata(base: &Url) -> Request {
    let mut url = base.clone();
    url.set_path("/computeMetadata/v1/instance/service-accounts/default/token");
    Request {
        method: "GET".to_owned(),
        url,
        headers: vec![("metadata-flavor".to_owned(), "Google".to_owned())],
        body: Vec::new(),
    }
}

fn form(url: &Url, fields: &[(&str, &str)]) -> Request {
    let body = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    Request {
        method: "POST".to_owned(),
        url: url.clone(),
        headers: vec![
            (
                "content-type".to_owned(),
                "application/x-www-form-urlencoded".to_owned(),
            ),
            ("accept".to_owned(), "application/json".to_owned()),
        ],
        body: body.into_bytes(),
    }
}
