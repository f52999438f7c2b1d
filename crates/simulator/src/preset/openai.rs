//! OpenAI's error replies.

use serde_json::json;

use super::json;
use crate::reply::Reply;

/// The fields of OpenAI's error envelope.
struct ErrorBody<'a> {
    message: &'a str,
    kind: &'a str,
    param: Option<&'a str>,
    code: Option<&'a str>,
}

impl ErrorBody<'_> {
    fn reply(&self, status: u16) -> Reply {
        let Self {
            message,
            kind,
            param,
            code,
        } = self;
        json(
            status,
            &json!({"error": {"message": message, "type": kind, "param": param, "code": code}}),
        )
    }
}

const BEARER: &[(&str, &str)] = &[("www-authenticate", r#"Bearer realm="OpenAI API""#)];

pub(super) fn unsupported_parameter() -> Reply {
    ErrorBody {
        message: "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        kind: "invalid_request_error",
        param: Some("max_tokens"),
        code: Some("unsupported_parameter"),
    }
    .reply(400)
}

pub(super) fn incorrect_key() -> Reply {
    ErrorBody {
        message: "Incorrect API key provided: sk-sim*****0000. You can find your API key in your account settings.",
        kind: "invalid_request_error",
        param: None,
        code: Some("invalid_api_key"),
    }
    .reply(401)
    .with(BEARER)
}

pub(super) fn missing_key() -> Reply {
    ErrorBody {
        message: "Missing bearer authentication in header",
        kind: "invalid_request_error",
        param: None,
        code: None,
    }
    .reply(401)
    .with(BEARER)
}

pub(super) fn unsupported_region() -> Reply {
    ErrorBody {
        message: "Country, region, or territory not supported",
        kind: "request_forbidden",
        param: None,
        code: Some("unsupported_country_region_territory"),
    }
    .reply(403)
}

pub(super) fn unknown_model(model: &str) -> Reply {
    ErrorBody {
        message: &format!("The model `{model}` does not exist or you do not have access to it."),
        kind: "invalid_request_error",
        param: None,
        code: Some("model_not_found"),
    }
    .reply(404)
}

pub(super) fn rate_limit(model: &str) -> Reply {
    ErrorBody {
        message: &format!(
            "Rate limit reached for {model} in organization org-simulated on requests per min (RPM): Limit 500, \
             Used 500, Requested 1. Please try again in 120ms."
        ),
        kind: "requests",
        param: None,
        code: Some("rate_limit_exceeded"),
    }
    .reply(429)
    .with(&[
        ("retry-after", "1"),
        ("retry-after-ms", "120"),
        ("x-ratelimit-limit-requests", "500"),
        ("x-ratelimit-remaining-requests", "0"),
        ("x-ratelimit-reset-requests", "120ms"),
    ])
}

pub(super) fn quota_exceeded() -> Reply {
    ErrorBody {
        message: "You exceeded your current quota, please check your plan and billing details.",
        kind: "insufficient_quota",
        param: None,
        code: Some("insufficient_quota"),
    }
    .reply(429)
}

pub(super) fn server_error() -> Reply {
    ErrorBody {
        message: "The server had an error while processing your request. Sorry about that!",
        kind: "server_error",
        param: None,
        code: None,
    }
    .reply(500)
}

pub(super) fn overloaded() -> Reply {
    ErrorBody {
        message: "Our servers are currently overloaded. Please try again later.",
        kind: "service_unavailable_error",
        param: None,
        code: Some("server_is_overloaded"),
    }
    .reply(503)
}
