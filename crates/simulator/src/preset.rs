//! Named error replies with the vendors' texts: one file a vendor, with its envelope.
//!
//! Statuses, codes and envelopes follow the vendors' public error references. The parts that error
//! classification uses are exact: the envelope's shape, `code`, the words "high demand", who
//! answers. The rest is representative.

mod azure;
mod bedrock;
mod edge;
mod openai;
mod vertex;

use serde::Deserialize;

use crate::reply::Reply;

/// A well-known error reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[allow(
    missing_docs,
    reason = "each name gives the vendor, the status and the meaning"
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
            Self::OpenAi400UnsupportedParameter => openai::unsupported_parameter(),
            Self::OpenAi401 => openai::incorrect_key(),
            Self::OpenAi401MissingKey => openai::missing_key(),
            Self::OpenAi403Region => openai::unsupported_region(),
            Self::OpenAi404Model => openai::unknown_model(model),
            Self::OpenAi429RateLimit => openai::rate_limit(model),
            Self::OpenAi429Quota => openai::quota_exceeded(),
            Self::OpenAi429LoadShedding => edge::load_shedding(),
            Self::OpenAi500 => openai::server_error(),
            Self::OpenAi502Edge => edge::bad_gateway_json(),
            Self::OpenAi503 => openai::overloaded(),
            Self::Azure400ContentFilter => azure::content_filter(),
            Self::Azure401 => azure::incorrect_key(),
            Self::Azure404Deployment => azure::unknown_deployment(),
            Self::Azure429RateLimit => azure::rate_limit(),
            Self::Azure429HighDemand => azure::high_demand(),
            Self::Azure500 => azure::server_error(),
            Self::Azure503 => azure::unavailable(),
            Self::Bedrock403Signature => bedrock::wrong_signature(),
            Self::Bedrock403Access => bedrock::no_model_access(),
            Self::Bedrock429Throttling => bedrock::throttled(),
            Self::Bedrock429DailyQuota => bedrock::daily_quota_exceeded(),
            Self::Bedrock503 => bedrock::unavailable(),
            Self::Vertex401 => vertex::invalid_credentials(),
            Self::Vertex403Billing => vertex::billing_disabled(),
            Self::Vertex429Exhausted => vertex::exhausted(),
            Self::Vertex503 => vertex::unavailable(),
            Self::Cloudflare403Challenge => edge::challenge(),
            Self::Cloudflare502 => edge::bad_gateway_page(),
            Self::Cloudflare520 => edge::unknown_error(),
            Self::Cloudflare524 => edge::timeout(),
            Self::Cloudflare530 => edge::tunnel_error(),
        }
    }
}

/// A reply of the vendor's own servers, with a JSON body.
fn json(status: u16, body: &serde_json::Value) -> Reply {
    Reply {
        status,
        body: body.to_string(),
        headers: Vec::new(),
        from_edge: false,
    }
    .with(&[("content-type", "application/json")])
}

impl Reply {
    fn with(mut self, headers: &[(&str, &str)]) -> Self {
        for &(name, value) in headers {
            self.headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }
}
