//! AWS Signature Version 4: the headers that sign a request. Pure; the time is an argument.
//!
//! AWS's crates for this would add 17 others to the build, so these hundred lines are our own.
//! Tests compare them with the signatures of botocore, AWS's Python client.

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use url::Url;

use super::request::Request;
use crate::model::{AwsKeys, Timestamp};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// Headers to sign if present; a proxy may change others.
const SIGNED: [&str; 2] = ["content-type", "host"];

/// The scope of a signature.
#[derive(Debug, Clone, Copy)]
pub struct SigningScope<'a> {
    /// The region, such as `eu-central-1`.
    pub region: &'a str,
    /// The service's signing name, such as `bedrock`.
    pub service: &'a str,
}

/// Returns the headers that sign `request` with `keys` at the time `now`.
pub fn headers(
    request: &Request,
    keys: &AwsKeys,
    scope: SigningScope<'_>,
    now: Timestamp,
) -> Vec<(String, String)> {
    let time = now.to_datetime().format("%Y%m%dT%H%M%SZ").to_string();
    let date = &time[..8];
    let mut added = vec![("x-amz-date".to_owned(), time.clone())];
    if let Some(token) = &keys.session_token {
        added.push(("x-amz-security-token".to_owned(), token.expose().to_owned()));
    }
    let authority = &request.url[url::Position::BeforeHost..url::Position::AfterPort];
    let mut signed = vec![("host".to_owned(), authority.to_owned())];
    signed.extend(
        request
            .headers
            .iter()
            .filter(|(name, _)| SIGNED.contains(&name.as_str()))
            .cloned(),
    );
    signed.extend(added.iter().cloned());
    signed.sort();
    let names: Vec<&str> = signed.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(";");
    let canonical_headers: String = signed
        .iter()
        .map(|(name, value)| format!("{name}:{}\n", value.trim()))
        .collect();
    let canonical = format!(
        "{}\n{}\n{}\n{canonical_headers}\n{names}\n{}",
        request.method,
        canonical_path(&request.url),
        canonical_query(&request.url),
        hex(&Sha256::digest(&request.body)),
    );
    let SigningScope { region, service } = scope;
    let credential_scope = format!("{date}/{region}/{service}/aws4_request");
    let to_sign = format!(
        "{ALGORITHM}\n{time}\n{credential_scope}\n{}",
        hex(&Sha256::digest(canonical.as_bytes()))
    );
    let start = format!("AWS4{}", keys.secret_access_key.expose());
    let key = [date, region, service, "aws4_request"]
        .iter()
        .fold(start.into_bytes(), |key, part| hmac(&key, part));
    let signature = hex(&hmac(&key, &to_sign));
    let id = keys.access_key_id.expose();
    added.push((
        "authorization".to_owned(),
        format!(
            "{ALGORITHM} Credential={id}/{credential_scope}, SignedHeaders={names}, Signature={signature}"
        ),
    ));
    added
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    // HMAC accepts keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return Vec::new();
    };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// Returns the path as sent, encoded a second time, as every service except S3 requires.
fn canonical_path(url: &Url) -> String {
    encoded(url.path(), b"/")
}

/// Returns the query parameters, encoded and sorted.
fn canonical_query(url: &Url) -> String {
    let mut pairs: Vec<(String, String)> = url
        .query_pairs()
        .map(|(key, value)| (encoded(&key, b""), encoded(&value, b"")))
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs.iter().map(|(k, v)| format!("{k}={v}")).collect();
    pairs.join("&")
}

/// Percent-encodes everything in `text` except unreserved characters (RFC 3986) and those in
/// `also`.
pub(super) fn encoded(text: &str, also: &[u8]) -> String {
    let mut out = String::new();
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) || also.contains(&b) {
            out.push(char::from(b));
        } else {
            out += &format!("%{b:02X}");
        }
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Secret;

    /// Signed by botocore 1.44 at the same time with the same keys.
    #[test]
    fn signatures_are_those_of_botocore() {
        let keys = |token: Option<&str>| AwsKeys {
            access_key_id: Secret::new("AKIDEXAMPLE"),
            secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            session_token: token.map(Secret::new),
        };
        let now = Timestamp::parse("2026-11-30T06:24:40Z").unwrap();
        for (url, body, token, region, signature) in [
            (
                "https://bedrock-runtime.us-east-1.amazonaws.com/model/amazon.nova-micro-v1%3A0/converse-stream",
                "{\"a\":1}",
                None,
                "us-east-1",
                "84eb88939cd65e670da5718b8fbf2bc8b2cb81f1fff6db4050a658dc93244200",
            ),
            (
                "https://bedrock-runtime.eu-central-1.amazonaws.com/model/arn%3Aaws%3Abedrock%3Aeu-central-1%3A123456789012%3Ainference-profile%2Feu.amazon.nova-micro-v1%3A0/converse",
                "",
                Some("IQoJb3JpZ2luX2VjEXAMPLE=="),
                "eu-central-1",
                "ce9d803eceb25f0ecfe71c289480390e23de8531761922b1199437152fc7bbf8",
            ),
            (
                "http://127.0.0.1:8787/model/m/converse?b=2&a=x%20y",
                "{\"t\":\"ä\"}",
                None,
                "us-west-2",
                "d7055d88140a140dd2f910e389e0955d321c5be048cdb7c24e8af4cf65cbb46e",
            ),
        ] {
            let request = Request {
                method: "POST".to_owned(),
                url: Url::parse(url).unwrap(),
                headers: vec![
                    ("accept".to_owned(), "*/*".to_owned()),
                    ("content-type".to_owned(), "application/json".to_owned()),
                ],
                body: body.as_bytes().to_vec(),
            };
            let scope = SigningScope {
                region,
                service: "bedrock",
            };
            let headers = headers(&request, &keys(token), scope, now);
            let (_, authorization) = headers.last().unwrap();
            assert!(authorization.ends_with(signature), "{url}: {authorization}");
        }
    }
}
