//! Webhooks: one request, signed according to Standard Webhooks.
//!
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Response, StatusCode};
use ring::hmac;
use serde_json::Value;

use super::{Attempt, Obstacle, Progress};
use crate::config::{Webhook, WebhookKind, signing_key};
use crate::http_client;
use crate::redact::Redactor;
use llmwatch_core::message::receivers::{self, Call};
use llmwatch_core::message::render::Setting;
use llmwatch_core::model::{Notice, Timestamp};

/// The text by which Teams reports a failed delivery in a 200 response.
const TEAMS_FAILURE: &str = "Webhook message delivery failed";
/// How much of an error response is shown, in characters, and read, in bytes.
const MAX_SHOWN: usize = 300;
const MAX_BODY: usize = 2 * 1024;

/// A webhook channel.
#[derive(Debug)]
pub(super) struct WebhookClient {
    client: Client,
    webhook: Webhook,
    key: Option<hmac::Key>,
    redactor: Redactor,
}

impl WebhookClient {
    /// Sets up the channel.
    pub(super) fn new(webhook: &Webhook, client: Client, redactor: Redactor) -> Self {
        let key = webhook
            .secret
            .as_ref()
            .and_then(signing_key)
            .map(|k| hmac::Key::new(hmac::HMAC_SHA256, &k));
        Self {
            client,
            webhook: webhook.clone(),
            key,
            redactor,
        }
    }

    /// Makes one attempt.
    pub(super) async fn attempt(
        &self,
        notice: &Notice,
        setting: Setting<'_>,
        mut progress: Progress,
    ) -> Attempt {
        let call = receivers::call(&self.webhook, notice, setting);
        let headers = self.headers(
            &call,
            &notice.id.to_string(),
            setting.now.0.div_euclid(1000),
        );
        let method = match call.method {
            "PUT" => Method::PUT,
            _ => Method::POST,
        };
        let request = self
            .client
            .request(method, call.url.expose())
            .headers(headers)
            .body(call.body);
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                progress.perhaps |= error.is_timeout() && !error.is_connect();
                let obstacle = if http_client::is_refused(&error) {
                    Obstacle::Refused
                } else {
                    Obstacle::Other
                };
                return Attempt::Retry {
                    progress,
                    error: self.redactor.clean(&describe(&error)),
                    retry_after: None,
                    obstacle,
                };
            }
        };
        let status = response.status();
        let location = redirect_target(&response);
        if status.is_success() {
            return self.accepted(response, progress).await;
        }
        // After a gateway timeout the receiver may still have it.
        progress.perhaps |= status == StatusCode::GATEWAY_TIMEOUT;
        let asked = retry_after(&response, setting.now);
        let transient = status.is_server_error()
            || matches!(
                status,
                StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
            );
        let body = beginning(response).await;
        let retry_after = asked.or_else(|| retry_after_in(&body));
        let body = self.redactor.clean_cut(&body);
        let mut error = format!("HTTP {}{}", status.as_u16(), refusal(&body));
        if let Some(location) = location {
            error += &format!(": it redirects to {location}, which is not followed; change `url`");
        }
        if transient {
            Attempt::Retry {
                progress,
                error,
                retry_after,
                obstacle: Obstacle::Other,
            }
        } else {
            Attempt::Failed { progress, error }
        }
    }

    /// Checks that the receiver's address accepts connections. Any response will do.
    pub(super) async fn open(&self) -> Result<(), String> {
        let url = receivers::address(&self.webhook);
        self.client
            .head(url.expose())
            .send()
            .await
            .map(drop)
            .map_err(|e| self.redactor.clean(&describe(&e)))
    }

    fn headers(&self, call: &Call, id: &str, timestamp: i64) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut put = |name: &str, value: &str| {
            if let (Ok(name), Ok(value)) =
                (name.parse::<HeaderName>(), HeaderValue::from_str(value))
            {
                headers.insert(name, value);
            }
        };
        put("content-type", &call.content_type);
        put("webhook-id", id);
        put("webhook-timestamp", &timestamp.to_string());
        if let Some(key) = &self.key {
            put(
                "webhook-signature",
                &signature(key, id, timestamp, &call.body),
            );
        }
        for (name, value) in self.webhook.headers.iter().chain(&call.headers) {
            put(name, value.expose());
        }
        headers
    }

    /// Handles a success status; some receivers report a failure in its body.
    async fn accepted(&self, response: Response, progress: Progress) -> Attempt {
        if !reports_in_body(self.webhook.kind) {
            return Attempt::Delivered { progress };
        }
        let body = beginning(response).await;
        let error = format!(
            "HTTP 200 that reports a failure{}",
            refusal(&self.redactor.clean_cut(&body))
        );
        if self.webhook.kind == WebhookKind::Teams && body.contains(TEAMS_FAILURE) {
            // It contains the status of the service behind it: "… failed with error: … HTTP error
            // 429 …".
            return Attempt::Retry {
                progress,
                error,
                retry_after: None,
                obstacle: Obstacle::Other,
            };
        }
        if is_refused_in_body(&body) {
            return Attempt::Failed { progress, error };
        }
        Attempt::Delivered { progress }
    }
}

/// Reports whether receivers of this kind may answer 200 and report a failure in the body.
fn reports_in_body(kind: WebhookKind) -> bool {
    matches!(
        kind,
        WebhookKind::Teams
            | WebhookKind::Slack
            | WebhookKind::Telegram
            | WebhookKind::Rocketchat
            | WebhookKind::Zulip
            | WebhookKind::Pushover
    )
}

/// Reports whether a body is JSON that says no: `"ok": false`, `"success": false`, `"result":
/// "error"` or `"status": 0`.
fn is_refused_in_body(body: &str) -> bool {
    let Ok(Value::Object(body)) = serde_json::from_str(body) else {
        return false;
    };
    let is = |key: &str, no: &Value| body.get(key) == Some(no);
    is("ok", &Value::Bool(false))
        || is("success", &Value::Bool(false))
        || is("result", &Value::from("error"))
        || is("status", &Value::from(0))
}

/// Returns the origin of a redirect's target.
fn redirect_target(response: &Response) -> Option<String> {
    if !response.status().is_redirection() {
        return None;
    }
    let target = response.headers().get("location")?.to_str().ok()?;
    let target = response.url().join(target).ok()?;
    // The path of a receiver's URL may be a secret.
    Some(target.origin().ascii_serialization())
}

fn signature(key: &hmac::Key, id: &str, timestamp: i64, body: &str) -> String {
    let tag = hmac::sign(key, format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(tag))
}

/// Parses `Retry-After` (RFC 9110): seconds, or a date.
fn retry_after(response: &Response, now: Timestamp) -> Option<Duration> {
    let text = response.headers().get("retry-after")?.to_str().ok()?;
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = chrono::DateTime::parse_from_rfc2822(text)
        .ok()?
        .timestamp_millis();
    Some(Duration::from_millis(
        u64::try_from(at - now.0).unwrap_or(0),
    ))
}

/// Reads how long Telegram (`parameters.retry_after`) and Discord (`retry_after`) ask to wait, in
/// seconds.
fn retry_after_in(body: &str) -> Option<Duration> {
    let body: serde_json::Value = serde_json::from_str(body).ok()?;
    let seconds = body["parameters"]["retry_after"]
        .as_f64()
        .or(body["retry_after"].as_f64())?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Reads the beginning of a response body.
async fn beginning(mut response: Response) -> String {
    let mut body = Vec::new();
    while body.len() < MAX_BODY {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                body.extend_from_slice(&chunk[..chunk.len().min(MAX_BODY - body.len())]);
            }
            _ => break,
        }
    }
    String::from_utf8_lossy(&body).into_owned()
}

/// Formats the beginning of an error response, after a colon.
fn refusal(body: &str) -> String {
    let text: String = body
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_SHOWN)
        .collect();
    if text.trim().is_empty() {
        String::new()
    } else {
        format!(": {}", text.trim())
    }
}

/// Describes an error without the URL, which often contains a secret.
fn describe(error: &reqwest::Error) -> String {
    http_client::error_text(error, "the receiver")
}

#[cfg(test)]
mod tests {
    use super::*;
    use llmwatch_core::model::Secret;

    #[test]
    fn the_published_test_vector_of_standard_webhooks() {
        let key = signing_key(&Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")).unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let signed = signature(
            &key,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            "{\"test\": 2432232314}",
        );
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn success_status_with_a_refusal_in_the_body_is_a_failure() {
        for refused in [
            r#"{"ok": false, "error": "channel_not_found"}"#,
            r#"{"ok": false, "description": "no such chat"}"#,
            r#"{"success": false, "error": "no such integration"}"#,
            r#"{"result": "error", "msg": "no such stream"}"#,
            r#"{"status": 0, "errors": ["no such user"]}"#,
        ] {
            assert!(is_refused_in_body(refused), "{refused}");
        }
        for taken in [
            "ok",
            "1",
            "",
            r#"{"ok": true}"#,
            r#"{"status": 1, "request": "r"}"#,
            r#"{"result": "success", "id": 7}"#,
            "[]",
        ] {
            assert!(!is_refused_in_body(taken), "{taken}");
        }
    }

    #[test]
    fn telegram_and_discord_say_how_long_to_wait_in_the_body() {
        let telegram = r#"{"ok": false, "error_code": 429, "parameters": {"retry_after": 31}}"#;
        assert_eq!(retry_after_in(telegram), Some(Duration::from_secs(31)));
        assert_eq!(
            retry_after_in(r#"{"retry_after": 0.5, "global": false}"#),
            Some(Duration::from_millis(500))
        );
        assert_eq!(retry_after_in(r#"{"retry_after": -1}"#), None);
        assert_eq!(retry_after_in("<html>"), None);
    }
}
