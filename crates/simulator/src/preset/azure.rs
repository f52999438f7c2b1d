//! Azure OpenAI's error replies.

use serde_json::json;

use super::json;
use crate::reply::Reply;

/// Azure's error envelope.
fn error(status: u16, code: &str, message: &str) -> Reply {
    json(
        status,
        &json!({"error": {"code": code, "message": message}}),
    )
}

pub(super) fn content_filter() -> Reply {
    json(
        400,
        &json!({"error": {
            "message": "The response was filtered due to the prompt triggering the content management policy.",
            "type": null, "param": "prompt", "code": "content_filter", "status": 400,
            "innererror": {
                "code": "ResponsibleAIPolicyViolation",
                "content_filter_result": {"violence": {"filtered": true, "severity": "medium"}},
            },
        }}),
    )
}

pub(super) fn incorrect_key() -> Reply {
    error(
        401,
        "401",
        "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key \
         for an active subscription and use a correct regional API endpoint for your resource.",
    )
}

pub(super) fn unknown_deployment() -> Reply {
    error(
        404,
        "DeploymentNotFound",
        "The API deployment for this resource does not exist. If you created the deployment within the last 5 \
         minutes, please wait a moment and try again.",
    )
}

pub(super) fn rate_limit() -> Reply {
    error(
        429,
        "RateLimitReached",
        "Your requests to the deployment have exceeded the call rate limit of your current pricing tier. Please \
         retry after 6 seconds.",
    )
    .with(&[
        ("retry-after", "6"),
        ("retry-after-ms", "6000"),
        ("x-ratelimit-remaining-requests", "0"),
    ])
}

pub(super) fn high_demand() -> Reply {
    error(
        429,
        "429",
        "The system is currently experiencing high demand and cannot process your request. Please retry after \
         6 seconds.",
    )
    .with(&[("retry-after", "6")])
}

pub(super) fn server_error() -> Reply {
    error(
        500,
        "InternalServerError",
        "The server had an error while processing your request.",
    )
}

pub(super) fn unavailable() -> Reply {
    error(
        503,
        "ServiceUnavailable",
        "The service is temporarily unable to process your request.",
    )
}
