//! Microsoft Entra ID tokens, used in place of a key on Azure: the token request and its response
//! (OAuth 2.0 client credentials, RFC 6749 §4.4).

use std::time::Duration;

use serde_json::Value;

use super::dialect::Request;
use crate::model::{Entra, Fault, Secret};

/// The lifetime of a token that does not say how long it is valid.
const LIFE: Duration = Duration::from_hours(1);
/// The maximum time to keep a token, whatever the response says.
const MAX_LIFE: Duration = Duration::from_hours(24);

/// Builds the token request.
pub fn request(entra: &Entra) -> Request {
    let form = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("client_id", &entra.client_id)
        .append_pair("client_secret", entra.client_secret.expose())
        .append_pair("grant_type", "client_credentials")
        .append_pair("scope", &entra.scope)
        .finish();
    Request {
        method: "POST".to_owned(),
        url: entra.token_url.clone(),
        headers: vec![
            (
                "content-type".to_owned(),
                "application/x-www-form-urlencoded".to_owned(),
            ),
            ("accept".to_owned(), "application/json".to_owned()),
        ],
        body: form.into_bytes(),
    }
}

/// The longest fetched secret, in bytes. Servers refuse longer headers, and the patterns that mask
/// one take seventy times its size.
const MAX_SECRET: usize = 8 << 10;

/// Refuses a fetched key or token that is too long for a request header.
///
/// # Errors
/// The fault, and a text that gives the limit.
pub fn check_length(secret: &Secret) -> Result<(), (Fault, String)> {
    if secret.expose().len() <= MAX_SECRET {
        return Ok(());
    }
    let limit = MAX_SECRET >> 10;
    let text = format!("the fetched key or token has more than {limit} KiB");
    Err((Fault::AccountAuth, text))
}

/// Parses the token and its lifetime from a response, or returns why there is none.
pub fn read(status: u16, body: &str) -> Result<(Secret, Duration), (Fault, String)> {
    let value: Value = serde_json::from_str(body.trim()).unwrap_or_default();
    if let Some(token) = value["access_token"].as_str().filter(|t| !t.is_empty()) {
        let token = Secret::new(token);
        check_length(&token)?;
        // A number, or a string of digits.
        let seconds = value["expires_in"]
            .as_u64()
            .or_else(|| value["expires_in"].as_str()?.parse().ok());
        return Ok((
            token,
            seconds.map_or(LIFE, |s| Duration::from_secs(s).min(MAX_LIFE)),
        ));
    }
    let message = value["error_description"]
        .as_str()
        .or(value["error"].as_str())
        .unwrap_or("no token in the answer");
    let fault = match status {
        429 => Fault::AccountRateLimit,
        500.. => Fault::Http5xx,
        _ => Fault::AccountAuth,
    };
    Err((
        fault,
        format!("no token from the identity provider (HTTP {status}): {message}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_token_or_why_there_is_none() {
        let (token, life) = read(
            200,
            r#"{"token_type":"Bearer","expires_in":3599,"access_token":"t"}"#,
        )
        .unwrap();
        assert_eq!((token.expose(), life.as_secs()), ("t", 3599));
        let long = "x".repeat(MAX_SECRET + 1);
        let body = format!(r#"{{"expires_in":60,"access_token":"{long}"}}"#);
        assert!(read(200, &body).is_err());
        for forever in ["18446744073709551615", "\"18446744073709551615\""] {
            let body = format!(r#"{{"expires_in":{forever},"access_token":"t"}}"#);
            assert_eq!(read(200, &body).unwrap().1, MAX_LIFE);
        }
        let (fault, message) = read(
            401,
            r#"{"error":"invalid_client","error_description":"AADSTS7000215"}"#,
        )
        .unwrap_err();
        assert_eq!(fault, Fault::AccountAuth);
        assert!(message.contains("AADSTS7000215"));
        assert_eq!(read(503, "busy").unwrap_err().0, Fault::Http5xx);
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(status in 100u16..600, body in "\\PC{0,100}") {
            let _ = read(status, &body);
        }
    }
}
