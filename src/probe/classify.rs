//! From an error answer to a fault: the body first, the status second. Pure.
//!
//! The words of each provider stand in its error documentation; what they share is larger than what sets them apart, so
//! one table reads them all. `error` comes in five shapes (an object, a text, missing, wrapped in a list, not JSON at
//! all), and its code as a text, a number or null.

use serde_json::Value;

use crate::model::Fault;

/// What an error answer says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Said {
    pub(super) fault: Fault,
    /// The provider's own words.
    pub(super) words: String,
}

/// What is known of an error answer besides its body.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Around {
    /// A challenge page of the edge (`cf-mitigated`).
    pub(super) challenged: bool,
    /// The vendor's own id of the request is there: the API answered and not its edge.
    pub(super) has_request_id: bool,
}

const QUOTA: [&str; 10] = [
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
const FILTERED: [&str; 5] = [
    "content_filter",
    "content_policy_violation",
    "invalid_prompt",
    "moderation_blocked",
    "responsibleaipolicyviolation",
];
const REGION: [&str; 3] = ["unsupported_country_region_territory", "request_forbidden", "ip_not_authorized"];
const MODEL: [&str; 4] = ["model_not_found", "deploymentnotfound", "not_found_error", "notfounderror"];
const OVERLOADED: [&str; 3] = ["server_is_overloaded", "overloaded_error", "service_unavailable_error"];
const EDGE: [&str; 2] = ["cf_bad_gateway", "cf_service_unavailable"];

/// What an answer with `status` and `body` says that is not what was asked for.
pub(super) fn error_answer(status: u16, body: &str, around: Around) -> Said {
    match parse(body) {
        Some(value) => error_value(status, &value, around),
        None => Said { fault: page(status, body, around), words: page_words(status, body) },
    }
}

/// What an error object says that arrived with `status`; inside a stream that began well, that is 200.
pub(super) fn error_value(status: u16, value: &Value, around: Around) -> Said {
    let value = value.get(0).unwrap_or(value);
    let error = &value["error"];
    let error = if error.is_object() { error } else { value };
    let words = words(value, error);
    let codes = codes(value, error);
    // An edge that answers 200 may still name the real status inside.
    let inner = error["code"].as_u64().or(error["status"].as_u64()).and_then(|n| u16::try_from(n).ok());
    let status = if status == 200 { inner.filter(|s| (400..600).contains(s)).unwrap_or(200) } else { status };
    let enveloped = !value["error"].is_null() || value["type"] == "error" || value["object"] == "error";
    let upstream = !error["metadata"]["provider_name"].is_null();
    let has = |names: &[&str]| codes.iter().any(|c| names.contains(&c.as_str()));
    let says = |parts: &[&str]| parts.iter().any(|p| words.to_ascii_lowercase().contains(p));

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
        || says(&["spend limit", "credit balance is too low", "specified api usage limits"])
    {
        Fault::AccountQuota
    } else if has(&AUTH) || status == 401 {
        Fault::AccountAuth
    } else if has(&FILTERED) {
        Fault::AnswerFiltered
    } else if has(&REGION) || says(&["user location is not supported", "virtual network/firewall"]) {
        Fault::AccountRegion
    } else if status == 529 || has(&["overloaded_error"]) || crowded {
        Fault::Overloaded
    } else if status == 429 {
        if !enveloped || upstream { Fault::Overloaded } else { Fault::AccountRateLimit }
    } else if status == 503 || has(&OVERLOADED) {
        if has(&OVERLOADED) || has(&["slow_down", "unavailable"]) || says(&["overloaded", "busy"]) {
            Fault::Overloaded
        } else {
            Fault::Http5xx
        }
    } else if has(&["rate_limit_exceeded", "rate_limit_error", "slow_down"]) && status < 500 {
        Fault::AccountRateLimit
    } else if has(&MODEL) && (status < 500 || status == 200) {
        Fault::RequestModelNotFound
    } else {
        by_status(status, &words)
    };
    let fault = if around.challenged { Fault::AccountRegion } else { fault };
    Said { fault, words }
}

/// What the status alone says.
fn by_status(status: u16, words: &str) -> Fault {
    let about_model = ["model", "deployment"].iter().any(|w| words.to_ascii_lowercase().contains(w));
    match status {
        200 => Fault::StreamError,
        300..=399 => Fault::HttpRedirect,
        401 => Fault::AccountAuth,
        402 => Fault::AccountQuota,
        403 => Fault::AccountPermission,
        404 if about_model => Fault::RequestModelNotFound,
        // The server gave up waiting, on itself (408, 424) or on us (499): its clients retry these as server errors.
        408 | 409 | 424 | 499 | 500..=519 | 528 | 529 | 531..=599 => Fault::Http5xx,
        400 | 404 | 405 | 413 | 415 | 422 => Fault::RequestRejected,
        429 => Fault::AccountRateLimit,
        520..=527 | 530 => Fault::HttpEdge,
        _ => Fault::HttpUnexpected,
    }
}

/// What a body that is no JSON says: a page of the edge, or a few plain words.
fn page(status: u16, body: &str, around: Around) -> Fault {
    let lower = body.to_ascii_lowercase();
    let from_edge = lower.contains("cloudflare") || lower.contains("<html") || lower.contains("error code:");
    match status {
        403 if around.challenged || from_edge => Fault::AccountRegion,
        429 => Fault::Overloaded,
        502..=504 | 520..=527 | 530 if from_edge => Fault::HttpEdge,
        500..=599 if from_edge && !around.has_request_id => Fault::HttpEdge,
        200 => Fault::BodyMalformed,
        other => by_status(other, body),
    }
}

fn parse(body: &str) -> Option<Value> {
    serde_json::from_str::<Value>(body.trim()).ok().filter(|v| v.is_object() || v.is_array())
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
    let places = [&error["message"], &value["error"], &value["message"], &value["detail"], &value["status"], error];
    let found = places.iter().find_map(|v| v.as_str()).map(str::to_owned);
    let text = found.unwrap_or_else(|| error.to_string());
    match error["metadata"]["raw"].as_str() {
        Some(raw) => format!("{text}: {raw}"),
        None => text,
    }
}

/// The title of a page, or the beginning of whatever it is.
fn page_words(status: u16, body: &str) -> String {
    let lower = body.to_ascii_lowercase();
    let title = lower.find("<title>").and_then(|from| {
        let from = from + "<title>".len();
        Some(body.get(from..from + lower[from..].find("</title>")?)?.trim().to_owned())
    });
    title.filter(|t| !t.is_empty()).unwrap_or_else(|| {
        let start: String = body.trim().chars().take(200).collect();
        if start.is_empty() { format!("HTTP {status} without a body") } else { start }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
