//! From an error answer to a fault: the body first, the status second. Pure.
//!
//! The words of each provider stand in its error documentation; what they share is larger than what sets them apart, so
//! one table reads them all. `error` comes in five shapes (an object, a text, missing, wrapped in a list, not JSON at
//! all), and its code as a text, a number or null.

use serde_json::Value;

use crate::model::Fault;

/// What an error answer says.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// What went wrong.
    pub fault: Fault,
    /// The provider's own words.
    pub words: String,
}

/// What is known of an error answer besides its body.
#[derive(Debug, Clone, Copy, Default)]
pub struct Around {
    /// A challenge page of the edge (`cf-mitigated`).
    pub challenged: bool,
    /// The vendor's own id of the request is there: the API answered and not its edge.
    pub has_request_id: bool,
    /// The head says when to come back, or that a limit of ours is used up.
    pub has_limit: bool,
}

const QUOTA: [&str; 13] = [
    "billing_not_active",
    "budget_exceeded",
    "insufficient_balance",
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
    "enforced_spend_limit_reached",
    "contract_spend_limit_reached",
    "billing_hard_limit_reached",
    "billing_error",
    "organization_on_hold",
];
const AUTH: [&str; 6] = [
    "invalid_api_key",
    "authentication_error",
    "unauthenticated",
    "api_key_invalid",
    "invalid_authentication",
    "authenticationtypedisabled",
];
const FILTERED: [&str; 7] = [
    "bio_policy",
    "content_filter",
    "content_policy_violation",
    "invalid_prompt",
    "misalignment_policy_violation",
    "moderation_blocked",
    "responsibleaipolicyviolation",
];
const REGION: [&str; 3] = [
    "unsupported_country_region_territory",
    "request_forbidden",
    "ip_not_authorized",
];
const MODEL: [&str; 5] = [
    "model_not_found",
    "deploymentnotfound",
    "not_found_error",
    "notfounderror",
    "model_not_exist",
];
const OVERLOADED: [&str; 4] = [
    "server_is_overloaded",
    "overloaded_error",
    "service_unavailable_error",
    "service_unavailable",
];
const EDGE: [&str; 2] = ["cf_bad_gateway", "cf_service_unavailable"];
/// Codes of a 429 that name a limit of the account's.
const OWN_LIMIT: [&str; 9] = [
    "rate_limit_exceeded",
    "rate_limit_error",
    "ramp_limit_exceeded",
    "slow_down",
    "requests",
    "tokens",
    "ratelimitreached",
    "too_many_requests",
    "throttling_error",
];
/// Words of a 429 that do. "Too many requests" is only the status over again: a front end that sheds load says it too.
const OWN_LIMIT_WORDS: [&str; 4] = ["rate limit", "ratelimit", "rate_limit", "quota"];
/// Codes of a request that the API does not take. In a stream they are all there is; elsewhere the status says it too.
const REJECTED: [&str; 12] = [
    "data_residency_mismatch",
    "invalid_request_error",
    "invalid_argument",
    "invalid_request",
    "unsupported_parameter",
    "unsupported_value",
    "integer_below_min_value",
    "context_length_exceeded",
    "string_above_max_length",
    "conflict_error",
    "request_too_large",
    "badrequesterror",
];

/// What an answer with `status` and `body` says that is not what was asked for.
pub fn error_answer(status: u16, body: &str, around: Around) -> Said {
    match parse(body) {
        Some(value) => error_value(status, &value, around),
        None => Said {
            fault: page(status, body, around),
            words: page_words(status, body),
        },
    }
}

/// What an error object says that arrived with `status`; inside a stream that began well, that is 200.
pub fn error_value(status: u16, value: &Value, around: Around) -> Said {
    let value = value.get(0).unwrap_or(value);
    let error = &value["error"];
    let error = if error.is_object() { error } else { value };
    let words = words(value, error);
    let codes = codes(value, error);
    // An edge that answers 200 may still name the real status inside, as a number or as its digits.
    let inner = [&error["code"], &error["status"]]
        .into_iter()
        .find_map(|v| match v {
            Value::String(digits) => digits.parse::<u16>().ok(),
            number => number.as_u64().and_then(|n| u16::try_from(n).ok()),
        });
    let status = if status == 200 {
        inner.filter(|s| (400..600).contains(s)).unwrap_or(200)
    } else {
        status
    };
    let upstream = !error["metadata"]["provider_name"].is_null();
    let has = |names: &[&str]| codes.iter().any(|c| names.contains(&c.as_str()));
    let lower = words.to_ascii_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|p| lower.contains(p));
    let in_stream = status == 200;

    let crowded = says(&[
        "high demand",
        "temporarily unable to process",
        "currently overloaded",
        "out of capacity",
        "model is overloaded",
    ]);
    let fault = if has(&EDGE) {
        Fault::HttpEdge
    } else if has(&QUOTA)
        || status == 402
        || says(&[
            "spend limit",
            "credit balance is too low",
            "specified api usage limits",
        ])
    {
        Fault::AccountQuota
    } else if has(&AUTH) || status == 401 {
        Fault::AccountAuth
    } else if has(&FILTERED) || is_moderated(error) {
        Fault::AnswerFiltered
    } else if has(&REGION)
        || says(&["user location is not supported", "virtual network/firewall"])
        || (status == 400 && has(&["failed_precondition"]))
    {
        Fault::AccountRegion
    } else if status == 529 || has(&["overloaded_error"]) || crowded {
        Fault::Overloaded
    } else if status == 429 {
        // Without any sign of a limit of ours the provider sheds load, whatever number it has put on it.
        let exhausted =
            !has(&["resource_exhausted"]) || names_a_quota(error) || lower.contains("quota");
        let named =
            has(&OWN_LIMIT) || says(&OWN_LIMIT_WORDS) || around.has_limit || names_a_quota(error);
        if named && exhausted && !upstream {
            Fault::AccountRateLimit
        } else {
            Fault::Overloaded
        }
    } else if status == 503
        || ((in_stream || status >= 500) && (has(&OVERLOADED) || says(&["overloaded"])))
    {
        if has(&OVERLOADED) || has(&["slow_down", "unavailable"]) || says(&["overloaded", "busy"]) {
            Fault::Overloaded
        } else {
            Fault::Http5xx
        }
    } else if has(&OWN_LIMIT) && status < 500 {
        Fault::AccountRateLimit
    } else if has(&MODEL) && status < 500 {
        Fault::RequestModelNotFound
    } else if has(&["permission_error", "permission_denied"]) && status < 500 {
        Fault::AccountPermission
    } else if (in_stream && has(&REJECTED)) || has(&["conflict_error"]) {
        Fault::RequestRejected
    } else {
        by_status(status, &words)
    };
    // Cloudflare's own refusals, for whoever accepts JSON.
    let from_edge = (value["cloudflare_error"] == Value::Bool(true)).then_some(if status >= 500 {
        Fault::HttpEdge
    } else {
        Fault::AccountRegion
    });
    let fault = if around.challenged {
        Fault::AccountRegion
    } else {
        from_edge.unwrap_or(fault)
    };
    Said { fault, words }
}

/// Which of the two names for a chat's token budget the words of an error complain of, if they do: the one that is named
/// first, for the other may follow as advice.
pub fn refused_budget(status: u16, words: &str) -> Option<&'static str> {
    const COMPLAINTS: [&str; 7] = [
        "unsupported",
        "not supported",
        "unrecognized",
        "unknown",
        "unexpected",
        "not permitted",
        "instead",
    ];
    let lower = words.to_ascii_lowercase();
    if !matches!(status, 400 | 422) || !COMPLAINTS.iter().any(|c| lower.contains(c)) {
        return None;
    }
    ["max_tokens", "max_completion_tokens"]
        .into_iter()
        .filter_map(|name| Some((lower.find(name)?, name)))
        .min()
        .map(|(_, name)| name)
}

/// A router's own moderation of what was asked.
fn is_moderated(error: &Value) -> bool {
    error["metadata"]["reasons"].is_array() || error["metadata"]["flagged_input"].is_string()
}

/// Google names the quota that is used up; its shared capacity has none.
fn names_a_quota(error: &Value) -> bool {
    let details = error["details"].as_array().into_iter().flatten();
    details
        .filter_map(|d| d["@type"].as_str())
        .any(|kind| kind.ends_with("QuotaFailure"))
}

/// What the status alone says.
fn by_status(status: u16, words: &str) -> Fault {
    let about_model = ["model", "deployment"]
        .iter()
        .any(|w| words.to_ascii_lowercase().contains(w));
    match status {
        200 => Fault::StreamError,
        300..=399 => Fault::HttpRedirect,
        401 => Fault::AccountAuth,
        402 => Fault::AccountQuota,
        407 => Fault::LocalProxy,
        403 => Fault::AccountPermission,
        // A retired model may be gone (410) and not unknown.
        404 | 410 if about_model => Fault::RequestModelNotFound,
        // The server gave up waiting, on itself (408, 424) or on us (499): its clients retry these as server errors.
        408 | 409 | 424 | 499 | 500..=519 | 528 | 531..=599 => Fault::Http5xx,
        // Anthropic's number for it.
        529 => Fault::Overloaded,
        400 | 404 | 405 | 410 | 413 | 415 | 422 => Fault::RequestRejected,
        429 => Fault::AccountRateLimit,
        520..=527 | 530 => Fault::HttpEdge,
        _ => Fault::HttpUnexpected,
    }
}

/// What a body that is no JSON says: a page of the edge, or a few plain words.
fn page(status: u16, body: &str, around: Around) -> Fault {
    let lower = body.to_ascii_lowercase();
    let from_edge =
        lower.contains("cloudflare") || lower.contains("<html") || lower.contains("error code:");
    match status {
        _ if around.challenged => Fault::AccountRegion,
        403 if from_edge => Fault::AccountRegion,
        // Cloudflare's own limit per address.
        429 if from_edge && lower.contains("1015") => Fault::AccountRegion,
        429 if around.has_limit || OWN_LIMIT_WORDS.iter().any(|w| lower.contains(w)) => {
            Fault::AccountRateLimit
        }
        429 | 529 => Fault::Overloaded,
        502..=504 | 520..=527 | 530 if from_edge => Fault::HttpEdge,
        500..=599 if from_edge && !around.has_request_id => Fault::HttpEdge,
        200 => Fault::BodyMalformed,
        other => by_status(other, body),
    }
}

/// The body as JSON, or that of the first event if it is a stream of them all the same.
fn parse(body: &str) -> Option<Value> {
    let body = body.trim_start_matches('\u{feff}').trim();
    let json = |text: &str| {
        serde_json::from_str::<Value>(text)
            .ok()
            .filter(|v| v.is_object() || v.is_array())
    };
    json(body).or_else(|| {
        body.lines()
            .find_map(|line| json(line.strip_prefix("data:")?.trim()))
    })
}

/// Every code-like word of an error, in lower case.
fn codes(value: &Value, error: &Value) -> Vec<String> {
    let mut codes = Vec::new();
    let mut add = |v: &Value| {
        if let Some(text) = v.as_str() {
            codes.push(text.to_ascii_lowercase());
        }
    };
    for place in [
        &error["details"]["error_code"],
        &error["code"],
        &error["type"],
        &error["status"],
        &error["innererror"]["code"],
    ] {
        add(place);
    }
    for detail in error["details"].as_array().into_iter().flatten() {
        add(&detail["reason"]);
    }
    add(&value["code"]);
    codes
}

/// The provider's own words, wherever they stand.
fn words(value: &Value, error: &Value) -> String {
    let places = [
        &error["message"],
        &value["error"],
        &value["message"],
        &value["detail"],
        &value["status"],
        error,
    ];
    let found = places.iter().find_map(|v| v.as_str()).map(str::to_owned);
    let text = found.unwrap_or_else(|| error.to_string());
    match error["metadata"]["raw"].as_str() {
        Some(raw) => format!("{text}: {raw}"),
        None => text,
    }
}

/// The title of a page, or the beginning of whatever it is: more than is kept of it, since a secret must not be cut before
/// it was recognised.
pub fn page_words(status: u16, body: &str) -> String {
    let lower = body.to_ascii_lowercase();
    let title = lower.find("<title>").and_then(|from| {
        let from = from + "<title>".len();
        Some(
            body.get(from..from + lower[from..].find("</title>")?)?
                .trim()
                .to_owned(),
        )
    });
    title.filter(|t| !t.is_empty()).unwrap_or_else(|| {
        let start: String = body.trim().chars().take(2000).collect();
        if start.is_empty() {
            format!("HTTP {status} without a body")
        } else {
            start
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the vendors' own tables of errors say, in the shapes in which they say it.
    #[test]
    fn errors_that_vendors_document() {
        let openai = |kind: &str, code: &str| {
            format!(r#"{{"error":{{"message":"m","type":"{kind}","param":null,"code":"{code}"}}}}"#)
        };
        let anthropic =
            |kind: &str| format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"m"}}}}"#);
        let gemini = |code: u16, status: &str, more: &str| {
            format!(
                r#"{{"error":{{"code":{code},"message":"m","status":"{status}","details":[{more}]}}}}"#
            )
        };
        let invalid = "invalid_request_error";
        for (status, body, fault) in [
            (400, openai(invalid, "unsupported_parameter"), Fault::RequestRejected),
            (400, openai(invalid, "content_policy_violation"), Fault::AnswerFiltered),
            (401, openai(invalid, "ip_not_authorized"), Fault::AccountAuth),
            (403, openai(invalid, "model_not_found"), Fault::RequestModelNotFound),
            (408, String::new(), Fault::Http5xx),
            (429, openai("rate_limit_error", "slow_down"), Fault::AccountRateLimit),
            (429, openai("insufficient_quota", "credit_balance_exhausted"), Fault::AccountQuota),
            (429, r#"{"status":"come back later"}"#.to_owned(), Fault::Overloaded),
            (429, "busy".to_owned(), Fault::Overloaded),
            (429, r#"{"statusCode":429,"message":"Rate limit is exceeded."}"#.to_owned(), Fault::AccountRateLimit),
            (503, openai("service_unavailable_error", "server_is_overloaded"), Fault::Overloaded),
            (200, openai("server_error", "server_is_overloaded"), Fault::Overloaded),
            (200, openai(invalid, "context_length_exceeded"), Fault::RequestRejected),
            (200, openai("server_error", "rate_limit_exceeded"), Fault::AccountRateLimit),
            (400, openai("x", "content_filter"), Fault::AnswerFiltered),
            (401, openai("x", "AuthenticationTypeDisabled"), Fault::AccountAuth),
            (404, openai("x", "DeploymentNotFound"), Fault::RequestModelNotFound),
            (424, openai("x", "424"), Fault::Http5xx),
            (401, anthropic("authentication_error"), Fault::AccountAuth),
            (409, anthropic("conflict_error"), Fault::RequestRejected),
            (413, anthropic("request_too_large"), Fault::RequestRejected),
            (504, anthropic("timeout_error"), Fault::Http5xx),
            (529, anthropic("overloaded_error"), Fault::Overloaded),
            (200, anthropic("api_error"), Fault::StreamError),
            (200, anthropic("permission_error"), Fault::AccountPermission),
            (400, gemini(400, "INVALID_ARGUMENT", ""), Fault::RequestRejected),
            (400, gemini(400, "FAILED_PRECONDITION", ""), Fault::AccountRegion),
            (401, gemini(401, "UNAUTHENTICATED", ""), Fault::AccountAuth),
            (429, gemini(429, "RESOURCE_EXHAUSTED", ""), Fault::Overloaded),
            (
                429,
                gemini(429, "RESOURCE_EXHAUSTED", r#"{"@type":"type.googleapis.com/google.rpc.QuotaFailure"}"#),
                Fault::AccountRateLimit,
            ),
            (200, format!("[{}]", gemini(503, "UNAVAILABLE", "")), Fault::Overloaded),
            (500, gemini(500, "INTERNAL", ""), Fault::Http5xx),
            (404, r#"{"error":"model 'm' not found"}"#.to_owned(), Fault::RequestModelNotFound),
            (200, r#"{"error":{"code":402,"message":"Insufficient credits"}}"#.to_owned(), Fault::AccountQuota),
            (200, r#"{"error":{"code":"502","message":"m"}}"#.to_owned(), Fault::Http5xx),
            (
                403,
                r#"{"error":{"code":403,"message":"m","metadata":{"reasons":["x"],"flagged_input":"y"}}}"#.to_owned(),
                Fault::AnswerFiltered,
            ),
            (503, r#"{"error":{"code":503,"message":"No provider"}}"#.to_owned(), Fault::Http5xx),
            (
                404,
                r#"{"object":"error","message":"The model `m` does not exist.","type":"NotFoundError","code":404}"#
                    .to_owned(),
                Fault::RequestModelNotFound,
            ),
            (422, r#"{"detail":[{"msg":"field required"}]}"#.to_owned(), Fault::RequestRejected),
            (521, "error code: 521".to_owned(), Fault::HttpEdge),
            (429, "<html>Error 1015 cloudflare</html>".to_owned(), Fault::AccountRegion),
        ] {
            assert_eq!(error_answer(status, &body, Around::default()).fault, fault, "{status} {body}");
        }
    }

    #[test]
    fn the_one_complaint_that_is_mended_by_another_name() {
        let old = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.";
        assert_eq!(refused_budget(400, old), Some("max_tokens"));
        assert_eq!(
            refused_budget(
                400,
                "Unrecognized request argument supplied: max_completion_tokens"
            ),
            Some("max_completion_tokens")
        );
        assert_eq!(refused_budget(400, "max_tokens is too large: 64"), None);
        assert_eq!(refused_budget(500, old), None);
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(status in 100u16..600, body in "\\PC{0,200}") {
            error_answer(status, &body, Around::default());
        }

        #[test]
        fn no_json_makes_it_panic(
            status in 100u16..600,
            code in prop_oneof![Just("null".to_owned()), "[0-9]{1,4}", "\"[a-z_]{0,20}\""],
            wrap in 0..4,
        ) {
            let error = format!("{{\"code\":{code},\"message\":{code},\"details\":[{{\"reason\":{code}}}]}}");
            let body = match wrap {
                0 => format!("{{\"error\":{error}}}"),
                1 => format!("[{{\"error\":{error}}}]"),
                2 => format!("{{\"error\":{code}}}"),
                _ => error,
            };
            error_answer(status, &body, Around::default());
        }
    }
}
