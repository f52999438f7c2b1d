//! Named error replies with the vendors' texts.
//!
//! Statuses, codes and envelopes follow the vendors' public error references. The parts that error
//! classification uses are exact: the envelope's shape, `code`, the words "high demand", who
//! answers. The rest is representative.

use serde::Deserialize;

use crate::reply::Reply;

/// A well-known error reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[allow(
    missing_docs,
    reason = "vendor, status and what it means: the names say it"
)]
pub enum Preset {
    #[serde(rename = "openai_400_unsupported_parameter")]
    OpenAi400UnsupportedParameter,
    #[serde(rename = "openai_401")]
    OpenAi401,
    #[serde(rename = "openai_401_missing_key")]
    OpenAi401MissingKey,
    #[serde(rename = "openai_403_region")]
    OpenAi403Region,
    #[serde(rename = "openai_404_model")]
    OpenAi404Model,
    #[serde(rename = "openai_429_rate_limit")]
    OpenAi429RateLimit,
    #[serde(rename = "openai_429_quota")]
    OpenAi429Quota,
    #[serde(rename = "openai_429_load_shedding")]
    OpenAi429LoadShedding,
    #[serde(rename = "openai_500")]
    OpenAi500,
    #[serde(rename = "openai_502_edge")]
    OpenAi502Edge,
    #[serde(rename = "openai_503")]
    OpenAi503,
    #[serde(rename = "azure_400_content_filter")]
    Azure400ContentFilter,
    #[serde(rename = "azure_401")]
    Azure401,
    #[serde(rename = "azure_404_deployment")]
    Azure404Deployment,
    #[serde(rename = "azure_429_rate_limit")]
    Azure429RateLimit,
    #[serde(rename = "azure_429_high_demand")]
    Azure429HighDemand,
    #[serde(rename = "azure_500")]
    Azure500,
    #[serde(rename = "azure_503")]
    Azure503,
    #[serde(rename = "bedrock_403_signature")]
    Bedrock403Signature,
    #[serde(rename = "bedrock_403_access")]
    Bedrock403Access,
    #[serde(rename = "bedrock_429_throttling")]
    Bedrock429Throttling,
    #[serde(rename = "bedrock_429_daily_quota")]
    Bedrock429DailyQuota,
    #[serde(rename = "bedrock_503")]
    Bedrock503,
    #[serde(rename = "vertex_401")]
    Vertex401,
    #[serde(rename = "vertex_403_billing")]
    Vertex403Billing,
    #[serde(rename = "vertex_429_exhausted")]
    Vertex429Exhausted,
    #[serde(rename = "vertex_503")]
    Vertex503,
    #[serde(rename = "cloudflare_403_challenge")]
    Cloudflare403Challenge,
    #[serde(rename = "cloudflare_502")]
    Cloudflare502,
    #[serde(rename = "cloudflare_520")]
    Cloudflare520,
    #[serde(rename = "cloudflare_524")]
    Cloudflare524,
    #[serde(rename = "cloudflare_530")]
    Cloudflare530,
}

impl Preset {
    /// Returns the reply to a request for `model`.
    pub fn reply(self, model: &str) -> Reply {
        match self {
            Self::OpenAi400UnsupportedParameter => openai(
                400,
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
                "invalid_request_error",
                Some("max_tokens"),
                Some("unsupported_parameter"),
            ),
            Self::OpenAi401 => openai(
                401,
                "Incorrect API key provided: sk-sim*****0000. You can find your API key in your account settings.",
                "invalid_request_error",
                None,
                Some("invalid_api_key"),
            )
            .with(&[("www-authenticate", r#"Bearer realm="OpenAI API""#)]),
            Self::OpenAi401MissingKey => {
                openai(401, "Missing bearer authentication in header", "invalid_request_error", None, None)
                    .with(&[("www-authenticate", r#"Bearer realm="OpenAI API""#)])
            }
            Self::OpenAi403Region => openai(
                403,
                "Country, region, or territory not supported",
                "request_forbidden",
                None,
                Some("unsupported_country_region_territory"),
            ),
            Self::OpenAi404Model => openai(
                404,
                &format!("The model `{model}` does not exist or you do not have access to it."),
                "invalid_request_error",
                None,
                Some("model_not_found"),
            ),
            Self::OpenAi429RateLimit => openai(
                429,
                &format!(
                    "Rate limit reached for {model} in organization org-simulated on requests per min (RPM): Limit 500, \
                     Used 500, Requested 1. Please try again in 120ms."
                ),
                "requests",
                None,
                Some("rate_limit_exceeded"),
            )
            .with(&[
                ("retry-after", "1"),
                ("retry-after-ms", "120"),
                ("x-ratelimit-limit-requests", "500"),
                ("x-ratelimit-remaining-requests", "0"),
                ("x-ratelimit-reset-requests", "120ms"),
            ]),
            Self::OpenAi429Quota => openai(
                429,
                "You exceeded your current quota, please check your plan and billing details.",
                "insufficient_quota",
                None,
                Some("insufficient_quota"),
            ),
            Self::OpenAi429LoadShedding => edge(429, JSON, r#"{"status":"come back later"}"#),
            Self::OpenAi500 => openai(
                500,
                "The server had an error while processing your request. Sorry about that!",
                "server_error",
                None,
                None,
            ),
            Self::OpenAi502Edge => edge(
                502,
                JSON,
                r#"{"error":{"code":502,"message":"Bad gateway.","param":null,"type":"cf_bad_gateway"}}"#,
            ),
            Self::OpenAi503 => openai(
                503,
                "Our servers are currently overloaded. Please try again later.",
                "service_unavailable_error",
                None,
                Some("server_is_overloaded"),
            ),
            Self::Azure400ContentFilter => json(
                400,
                &serde_json::json!({"error": {
                    "message": "The response was filtered due to the prompt triggering the content management policy.",
                    "type": null, "param": "prompt", "code": "content_filter", "status": 400,
                    "innererror": {
                        "code": "ResponsibleAIPolicyViolation",
                        "content_filter_result": {"violence": {"filtered": true, "severity": "medium"}},
                    },
                }}),
            ),
            Self::Azure401 => azure(
                401,
                "401",
                "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key \
                 for an active subscription and use a correct regional API endpoint for your resource.",
            ),
            Self::Azure404Deployment => azure(
                404,
                "DeploymentNotFound",
                "The API deployment for this resource does not exist. If you created the deployment within the last 5 \
                 minutes, please wait a moment and try again.",
            ),
            Self::Azure429RateLimit => azure(
                429,
                "RateLimitReached",
                "Your requests to the deployment have exceeded the call rate limit of your current pricing tier. Please \
                 retry after 6 seconds.",
            )
            .with(&[("retry-after", "6"), ("retry-after-ms", "6000"), ("x-ratelimit-remaining-requests", "0")]),
            Self::Azure429HighDemand => azure(
                429,
                "429",
                "The system is currently experiencing high demand and cannot process your request. Please retry after \
                 6 seconds.",
            )
            .with(&[("retry-after", "6")]),
            Self::Azure500 => azure(500, "InternalServerError", "The server had an error while processing your request."),
            Self::Azure503 => azure(503, "ServiceUnavailable", "The service is temporarily unable to process your request."),
            Self::Bedrock403Signature => bedrock(
                403,
                "InvalidSignatureException",
                "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
                 Access Key and signing method. Consult the service documentation for details.",
            ),
            Self::Bedrock403Access => bedrock(
                403,
                "AccessDeniedException",
                "You don't have access to the model with the specified model ID.",
            ),
            Self::Bedrock429Throttling => bedrock(
                429,
                "ThrottlingException",
                "Too many requests, please wait before trying again. You have sent too many requests.  Wait before \
                 trying again.",
            ),
            Self::Bedrock429DailyQuota => bedrock(
                429,
                "ThrottlingException",
                "Too many tokens per day, please wait before trying again.",
            ),
            Self::Bedrock503 => bedrock(
                503,
                "ServiceUnavailableException",
                "Bedrock is unable to process your request.",
            ),
            Self::Vertex401 => google(
                401,
                "UNAUTHENTICATED",
                "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other \
                 valid authentication credential.",
            ),
            Self::Vertex403Billing => google(
                403,
                "PERMISSION_DENIED",
                "This API method requires billing to be enabled. Please enable billing on project #simulated by visiting \
                 https://console.developers.google.com/billing/enable?project=simulated then retry.",
            ),
            Self::Vertex429Exhausted => google(
                429,
                "RESOURCE_EXHAUSTED",
                "Resource exhausted. Please try again later. Please refer to \
                 https://cloud.google.com/vertex-ai/generative-ai/docs/error-code-429 for more details.",
            ),
            Self::Vertex503 => google(503, "UNAVAILABLE", "The service is currently unavailable."),
            Self::Cloudflare403Challenge => {
                edge(403, HTML, &cloudflare_page("Just a moment...", "Checking if the site connection is secure"))
                    .with(&[("cf-mitigated", "challenge")])
            }
            Self::Cloudflare502 => {
                edge(502, HTML, &cloudflare_page("api.simulated.test | 502: Bad gateway", "Error code 502"))
            }
            Self::Cloudflare520 => edge(
                520,
                HTML,
                &cloudflare_page(
                    "api.simulated.test | 520: Web server is returning an unknown error",
                    "Error code 520",
                ),
            ),
            Self::Cloudflare524 => {
                edge(524, HTML, &cloudflare_page("api.simulated.test | 524: A timeout occurred", "Error code 524"))
            }
            Self::Cloudflare530 => edge(530, "text/plain; charset=UTF-8", "error code: 1033"),
        }
    }
}

const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=UTF-8";

/// OpenAI's error envelope.
fn openai(
    status: u16,
    message: &str,
    kind: &str,
    param: Option<&str>,
    code: Option<&str>,
) -> Reply {
    json(
        status,
        &serde_json::json!({"error": {"message": message, "type": kind, "param": param, "code": code}}),
    )
}

/// AWS's error envelope: a header holds the error type.
fn bedrock(status: u16, kind: &str, message: &str) -> Reply {
    json(status, &serde_json::json!({"message": message})).with(&[("x-amzn-errortype", kind)])
}

/// Google Cloud's error envelope.
fn google(code: u16, status: &str, message: &str) -> Reply {
    json(
        code,
        &serde_json::json!({"error": {"code": code, "message": message, "status": status}}),
    )
}

/// Azure's error envelope.
fn azure(status: u16, code: &str, message: &str) -> Reply {
    json(
        status,
        &serde_json::json!({"error": {"code": code, "message": message}}),
    )
}

fn json(status: u16, body: &serde_json::Value) -> Reply {
    Reply {
        status,
        body: body.to_string(),
        headers: Vec::new(),
        from_edge: false,
    }
    .with(&[("content-type", JSON)])
}

/// Builds a reply of the front end, sent without reaching the vendor's servers.
fn edge(status: u16, content_type: &str, body: &str) -> Reply {
    Reply {
        status,
        body: body.to_owned(),
        headers: Vec::new(),
        from_edge: true,
    }
    .with(&[("content-type", content_type)])
}

fn cloudflare_page(title: &str, text: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en-US\">\n<head><title>{title}</title></head>\n\
         <body><h1>{text}</h1><p>Performance &amp; security by Cloudflare</p></body>\n</html>\n"
    )
}

impl Reply {
    fn with(mut self, headers: &[(&str, &str)]) -> Self {
        self.headers.extend(
            headers
                .iter()
                .map(|&(name, value)| (name.to_owned(), value.to_owned())),
        );
        self
    }
}
