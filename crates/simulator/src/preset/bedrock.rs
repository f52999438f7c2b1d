//! Amazon Bedrock's error replies.

use serde_json::json;

use super::json;
use crate::reply::Reply;

/// AWS's error envelope: a header holds the error type.
fn error(status: u16, kind: &str, message: &str) -> Reply {
    json(status, &json!({"message": message})).with(&[("x-amzn-errortype", kind)])
}

pub(super) fn wrong_signature() -> Reply {
    error(
        403,
        "InvalidSignatureException",
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
         Access Key and signing method. Consult the service documentation for details.",
    )
}

pub(super) fn no_model_access() -> Reply {
    error(
        403,
        "AccessDeniedException",
        "You don't have access to the model with the specified model ID.",
    )
}

pub(super) fn throttled() -> Reply {
    error(
        429,
        "ThrottlingException",
        "Too many requests, please wait before trying again. You have sent too many requests.  Wait before \
         trying again.",
    )
}

pub(super) fn daily_quota_exceeded() -> Reply {
    error(
        429,
        "ThrottlingException",
        "Too many tokens per day, please wait before trying again.",
    )
}

pub(super) fn unavailable() -> Reply {
    error(
        503,
        "ServiceUnavailableException",
        "Bedrock is unable to process your request.",
    )
}
