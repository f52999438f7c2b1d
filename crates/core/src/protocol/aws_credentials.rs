//! Sources of AWS keys: a profile file, AWS STS, a container's agent, an instance's metadata
//! service. Builds the requests and parses the responses. Pure.

use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::dialect::Request;
use crate::model::{AwsKeys, Secret, Timestamp};

/// The lifetime of keys that do not say how long they are valid.
const LIFE: Duration = Duration::from_hours(1);
/// The maximum time to keep keys, whatever the response says.
const MAX_LIFE: Duration = Duration::from_hours(24);
/// How long a session with the metadata service lasts, in seconds.
const SESSION_SECONDS: &str = "60";
/// The maximum size of a session token or a role name, in bytes.
const MAX_LINE: usize = 4096;

/// Returns the value of `key` in a profile, whose section is named `profile` in a credentials file
/// and `profile NAME` in a configuration file.
pub fn in_profile<'t>(text: &'t str, profile: &str, key: &str) -> Option<&'t str> {
    let mut is_in = false;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            let name = name.trim();
            is_in = name.strip_prefix("profile ").unwrap_or(name).trim() == profile;
        } else if is_in
            && let Some((name, value)) = line.split_once('=')
            && name.trim() == key
        {
            return Some(value.trim());
        }
    }
    None
}

/// As [`in_profile`], without empty values.
fn value_in_profile<'t>(text: &'t str, profile: &str, key: &str) -> Option<&'t str> {
    in_profile(text, profile, key).filter(|value| !value.is_empty())
}

/// Returns the keys of a profile.
///
/// # Errors
/// What is missing, without any secret from the file.
pub fn of_profile(text: &str, profile: &str) -> Result<AwsKeys, String> {
    let id = value_in_profile(text, profile, "aws_access_key_id");
    let secret = value_in_profile(text, profile, "aws_secret_access_key");
    if let (Some(id), Some(secret)) = (id, secret) {
        return Ok(AwsKeys {
            access_key_id: Secret::new(id),
            secret_access_key: Secret::new(secret),
            session_token: value_in_profile(text, profile, "aws_session_token").map(Secret::new),
        });
    }
    let indirect = [
        "credential_process",
        "sso_session",
        "sso_start_url",
        "role_arn",
    ]
    .iter()
    .find(|key| value_in_profile(text, profile, key).is_some());
    Err(match indirect {
        Some(key) => format!(
            "profile `{profile}` uses `{key}`, which is not supported: write `aws_access_key_id` and \
             `aws_secret_access_key`"
        ),
        None => {
            format!("profile `{profile}` has no `aws_access_key_id` and `aws_secret_access_key`")
        }
    })
}

/// Builds the request to AWS STS for a role's keys.
pub fn assume_role(sts_url: &Url, role_arn: &str, session_name: &str, token: &Secret) -> Request {
    let body = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("Action", "AssumeRoleWithWebIdentity")
        .append_pair("Version", "2011-06-15")
        .append_pair("RoleArn", role_arn)
        .append_pair("RoleSessionName", session_name)
        .append_pair("WebIdentityToken", token.expose())
        .finish();
    Request {
        method: "POST".to_owned(),
        url: sts_url.clone(),
        headers: vec![(
            "content-type".to_owned(),
            "application/x-www-form-urlencoded; charset=utf-8".to_owned(),
        )],
        body: body.into_bytes(),
    }
}

/// Parses the keys in the XML response of AWS STS.
///
/// # Errors
/// The error message from AWS.
pub fn of_sts(status: u16, body: &str, now: Timestamp) -> Result<(AwsKeys, Duration), String> {
    let (Some(id), Some(secret)) = (
        element(body, "AccessKeyId"),
        element(body, "SecretAccessKey"),
    ) else {
        let message = element(body, "Message").unwrap_or("no keys in the answer");
        return Err(format!("AWS STS (HTTP {status}): {message}"));
    };
    let keys = AwsKeys {
        access_key_id: Secret::new(id),
        secret_access_key: Secret::new(secret),
        session_token: element(body, "SessionToken").map(Secret::new),
    };
    Ok((keys, life(element(body, "Expiration"), now)))
}

/// Returns the text of the first element with this name. Keys and times contain no characters that
/// XML escapes.
fn element<'t>(xml: &'t str, name: &str) -> Option<&'t str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text.trim()).filter(|text| !text.is_empty())
}

/// Builds the request to a container's agent.
pub fn of_container(url: &Url, token: Option<&Secret>) -> Request {
    let header = token.map(|token| ("authorization".to_owned(), token.expose().to_owned()));
    get(url.clone(), header.into_iter().collect())
}

/// Builds the request that starts a session with an instance's metadata service.
pub fn session(base: &Url) -> Request {
    Request {
        method: "PUT".to_owned(),
        ..get(
            at(base, "/latest/api/token"),
            vec![(
                "x-aws-ec2-metadata-token-ttl-seconds".to_owned(),
                SESSION_SECONDS.to_owned(),
            )],
        )
    }
}

/// Builds the request for the name of the instance's role.
pub fn role(base: &Url, session: &str) -> Request {
    get(at(base, ROLES), with(session))
}

/// Builds the request for the keys of the instance's role.
pub fn of_role(base: &Url, session: &str, role: &str) -> Request {
    get(at(base, &format!("{ROLES}{role}")), with(session))
}

const ROLES: &str = "/latest/meta-data/iam/security-credentials/";

fn with(session: &str) -> Vec<(String, String)> {
    vec![("x-aws-ec2-metadata-token".to_owned(), session.to_owned())]
}

fn at(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(path);
    url
}

fn get(url: Url, headers: Vec<(String, String)>) -> Request {
    Request {
        method: "GET".to_owned(),
        url,
        headers,
        body: Vec::new(),
    }
}

/// Returns a response of the metadata service that is a single line.
///
/// # Errors
/// When the response is not a single line.
pub fn one_line(status: u16, body: &str) -> Result<String, String> {
    let line = body.lines().next().unwrap_or_default().trim();
    let is_line =
        !line.is_empty() && line.len() <= MAX_LINE && line.chars().all(|c| c.is_ascii_graphic());
    if status == 200 && is_line {
        Ok(line.to_owned())
    } else {
        Err(format!(
            "the instance's metadata service answers with HTTP {status}: does the instance have a role?"
        ))
    }
}

/// Parses the keys in a response of a metadata service or a container's agent.
///
/// # Errors
/// When there are no keys.
pub fn of_json(status: u16, body: &str, now: Timestamp) -> Result<(AwsKeys, Duration), String> {
    let value: Value = serde_json::from_str(body.trim()).unwrap_or_default();
    let (Some(id), Some(secret)) = (
        text_of(&value, "AccessKeyId"),
        text_of(&value, "SecretAccessKey"),
    ) else {
        let message = text_of(&value, "Message")
            .or(text_of(&value, "message"))
            .unwrap_or("no keys in the answer");
        return Err(format!("the metadata service (HTTP {status}): {message}"));
    };
    let keys = AwsKeys {
        access_key_id: Secret::new(id),
        secret_access_key: Secret::new(secret),
        session_token: text_of(&value, "Token").map(Secret::new),
    };
    Ok((keys, life(text_of(&value, "Expiration"), now)))
}

fn text_of<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value[key].as_str().filter(|text| !text.is_empty())
}

fn life(expiration: Option<&str>, now: Timestamp) -> Duration {
    let at = expiration.and_then(|text| Timestamp::parse(text).ok());
    at.map_or(LIFE, |at| {
        let left = u64::try_from(at.0.saturating_sub(now.0)).unwrap_or_default();
        Duration::from_millis(left).min(MAX_LIFE)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_profile_is_found_by_its_name() {
        let text = "[default]\naws_access_key_id = AKIADEFAULT\naws_secret_access_key=s1\n\n\
                    [profile ops]\naws_access_key_id=AKIAOPS\naws_secret_access_key = s2\naws_session_token = t\n\
                    [sso]\nsso_session = corp\n";
        let keys = of_profile(text, "ops").unwrap();
        assert_eq!(keys.access_key_id.expose(), "AKIAOPS");
        assert_eq!(keys.secret_access_key.expose(), "s2");
        assert_eq!(keys.session_token.unwrap().expose(), "t");
        assert_eq!(
            of_profile(text, "default").unwrap().access_key_id.expose(),
            "AKIADEFAULT"
        );
        assert!(of_profile(text, "sso").unwrap_err().contains("sso_session"));
        assert!(of_profile(text, "no").unwrap_err().contains("has no"));
    }

    #[test]
    fn keys_are_kept_until_they_expire_and_no_longer_than_a_day() {
        let now = Timestamp::parse("2026-11-30T06:00:00Z").unwrap();
        let keys = |expiration: &str| {
            let body = format!(
                r#"{{"AccessKeyId":"ASIA","SecretAccessKey":"s","Token":"t","Expiration":"{expiration}"}}"#
            );
            of_json(200, &body, now).unwrap().1
        };
        assert_eq!(keys("2026-11-30T07:30:00Z"), Duration::from_mins(90));
        assert_eq!(keys("2126-11-30T07:30:00Z"), MAX_LIFE);
        assert_eq!(keys("soon"), LIFE);
        assert_eq!(keys("2025-11-30T07:30:00Z"), Duration::ZERO);
        let xml = "<AssumeRoleWithWebIdentityResponse><Credentials><AccessKeyId>ASIA</AccessKeyId>\
                   <SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>\
                   <Expiration>2026-11-30T07:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResponse>";
        assert_eq!(of_sts(200, xml, now).unwrap().1, Duration::from_hours(1));
        let refused = "<ErrorResponse><Error><Code>ExpiredTokenException</Code><Message>Token expired</Message></Error></ErrorResponse>";
        assert!(
            of_sts(400, refused, now)
                .unwrap_err()
                .contains("Token expired")
        );
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(status in 100u16..600, body in "\\PC{0,200}") {
            let now = Timestamp(0);
            let _ = of_json(status, &body, now);
            let _ = of_sts(status, &body, now);
            let _ = one_line(status, &body);
            let _ = of_profile(&body, "default");
        }
    }
}
