//! Responses of the clouds: Bedrock's Converse with its binary framing and signatures, Vertex AI's
//! `generateContent`, and Google's access tokens.

use serde_json::{Value, json};
use url::Url;

use crate::request::Request;
use llmwatch_core::model::{AwsKeys, Secret, Timestamp};
use llmwatch_core::protocol::dialect;
use llmwatch_core::protocol::sigv4;

/// Encodes one message of AWS's event stream: an event with this name, or an exception.
pub(crate) fn message(name: &str, payload: &Value, is_exception: bool) -> Vec<u8> {
    let (message_type, name_header) = if is_exception {
        ("exception", ":exception-type")
    } else {
        ("event", ":event-type")
    };
    let mut headers = Vec::new();
    for (key, value) in [
        (name_header, name),
        (":content-type", "application/json"),
        (":message-type", message_type),
    ] {
        headers.push(u8::try_from(key.len()).unwrap_or(u8::MAX));
        headers.extend_from_slice(key.as_bytes());
        // Header type: string.
        headers.push(7);
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        headers.extend_from_slice(&length.to_be_bytes());
        headers.extend_from_slice(value.as_bytes());
    }
    let payload = payload.to_string().into_bytes();
    // Two lengths, their checksum, headers, payload, and a checksum of everything.
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&length_field(16 + headers.len() + payload.len()));
    bytes.extend_from_slice(&length_field(headers.len()));
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
    bytes.extend_from_slice(&headers);
    bytes.extend_from_slice(&payload);
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
    bytes
}

/// Reports whether a request to Bedrock is signed with `secret`.
pub(crate) fn is_signed_with(request: &Request, secret: &Secret) -> bool {
    let shown = request.header("authorization");
    shown.is_some() && signature(request, secret).as_deref() == shown
}

/// Signs the request again with `secret`. Returns the `Authorization` header that it should have.
fn signature(request: &Request, secret: &Secret) -> Option<String> {
    let shown = request.header("authorization")?;
    let (_, credential) = shown.split_once("Credential=")?;
    let mut parts = credential.split([',', '/']);
    let id = parts.next()?;
    let _date = parts.next()?;
    let region = parts.next()?;
    let service = parts.next()?;
    let time =
        chrono::NaiveDateTime::parse_from_str(request.header("x-amz-date")?, "%Y%m%dT%H%M%SZ")
            .ok()?;
    let host = request.header("host")?;
    let target = match &request.query {
        Some(query) => format!("{}?{query}", request.path),
        None => request.path.clone(),
    };
    let content_type = request
        .header("content-type")
        .map(|value| ("content-type".to_owned(), value.to_owned()));
    let signed = dialect::Request {
        method: request.method.clone(),
        url: Url::parse(&format!("http://{host}{target}")).ok()?,
        headers: content_type.into_iter().collect(),
        body: request.body.clone(),
    };
    let keys = AwsKeys {
        access_key_id: Secret::new(id),
        secret_access_key: secret.clone(),
        session_token: request.header("x-amz-security-token").map(Secret::new),
    };
    let scope = sigv4::SigningScope { region, service };
    let now = Timestamp(time.and_utc().timestamp_millis());
    sigv4::headers(&signed, &keys, scope, now)
        .into_iter()
        .find(|(name, _)| name == "authorization")
        .map(|(_, value)| value)
}

fn length_field(n: usize) -> [u8; 4] {
    u32::try_from(n).unwrap_or(u32::MAX).to_be_bytes()
}

/// Returns the event of a `ConverseStream` response that precedes its text.
pub(crate) fn converse_start() -> Value {
    json!({"messageStart": {"role": "assistant"}})
}

/// Returns an event with a piece of the text.
pub(crate) fn converse_delta(text: &str) -> Value {
    json!({"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": text}}})
}

/// Returns the event that ends the text.
pub(crate) fn converse_stop(reason: &str) -> Value {
    json!({"messageStop": {"stopReason": converse_reason(reason)}})
}

/// Returns the event with the token counts.
pub(crate) fn converse_metadata(usage: &Value) -> Value {
    json!({"metadata": {"usage": usage, "metrics": {"latencyMs": 120}}})
}

/// Returns a complete response of Converse.
pub(crate) fn converse(text: &str, reason: &str, usage: &Value) -> Value {
    json!({
        "output": {"message": {"role": "assistant", "content": [{"text": text}]}},
        "stopReason": converse_reason(reason),
        "usage": usage,
        "metrics": {"latencyMs": 120},
    })
}

/// Maps OpenAI's finish reasons, which scenarios use, to Bedrock's.
fn converse_reason(reason: &str) -> &str {
    match reason {
        "stop" => "end_turn",
        "length" => "max_tokens",
        "content_filter" => "content_filtered",
        other => other,
    }
}

/// Returns a complete response of `generateContent`, or a chunk of a stream; only the last has
/// `reason` and `usage`.
pub(crate) fn generate(model: &str, text: &str, reason: Option<&str>, usage: &Value) -> Value {
    let mut candidate =
        json!({"content": {"role": "model", "parts": [{"text": text}]}, "index": 0});
    let mut answer = json!({"modelVersion": model, "responseId": "simulated"});
    if let Some(reason) = reason {
        candidate["finishReason"] = json!(match reason {
            "stop" => "STOP",
            "length" => "MAX_TOKENS",
            "content_filter" => "SAFETY",
            other => other,
        });
        answer["usageMetadata"] = usage.clone();
    }
    answer["candidates"] = json!([candidate]);
    answer
}

/// Returns Google's response to a token request.
pub(crate) fn token(key: Option<&Secret>) -> Value {
    let token = key.map_or("simulated-token", Secret::expose);
    json!({"access_token": token, "expires_in": 3599, "token_type": "Bearer"})
}
