//! Vertex AI's error replies.

use serde_json::json;

use super::json;
use crate::reply::Reply;

/// Google Cloud's error envelope.
fn error(code: u16, status: &str, message: &str) -> Reply {
    json(
        code,
        &json!({"error": {"code": code, "message": message, "status": status}}),
    )
}

pub(super) fn invalid_credentials() -> Reply {
    error(
        401,
        "UNAUTHENTICATED",
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other \
         valid authentication credential.",
    )
}

pub(super) fn billing_disabled() -> Reply {
    error(
        403,
        "PERMISSION_DENIED",
        "This API method requires billing to be enabled. Please enable billing on project #simulated by visiting \
         https://console.developers.google.com/billing/enable?project=simulated then retry.",
    )
}

pub(super) fn exhausted() -> Reply {
    error(
        429,
        "RESOURCE_EXHAUSTED",
        "Resource exhausted. Please try again later. Please refer to \
         https://cloud.google.com/vertex-ai/generative-ai/docs/error-code-429 for more details.",
    )
}

pub(super) fn unavailable() -> Reply {
    error(503, "UNAVAILABLE", "The service is currently unavailable.")
}
