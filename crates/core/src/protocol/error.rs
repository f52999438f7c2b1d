//! Classifies an error response as a fault: codes first, text second, the HTTP status last. Pure.
//!
//! Providers document their own codes but have most in common, so one set of tables covers them
//! all. An error may be an object, a text, a list, JSON inside a text, or no JSON. Its code may be
//! a text, a number or null. Codes and texts are collected wherever they appear ([`facts`]) and
//! then compared.

mod facts;
mod pages;

use serde_json::Value;

use self::facts::Facts;
pub(super) use self::facts::{MAX_ERROR_BYTES, page_message};
use crate::model::Fault;

/// The classification of an error response.
#[derive(Debug, Clone, PartialEq)]
pub struct Classified {
    /// The fault.
    pub fault: Fault,
    /// The provider's error text, or our own if there is none.
    pub message: String,
    /// The request parameter that the error names.
    pub param: Option<String>,
}

impl Classified {
    /// Returns a fault with our own text.
    pub fn new(fault: Fault, message: impl Into<String>) -> Self {
        Self {
            fault,
            message: message.into(),
            param: None,
        }
    }
}

/// What is known about an error response besides its body.
#[derive(Debug, Clone, Copy, Default)]
pub struct ErrorContext<'a> {
    /// The vendor whose bot challenge this is, according to the headers.
    pub challenger: Option<&'static str>,
    /// Whether a proxy sent the response (`x-squid-error`).
    pub from_proxy: bool,
    /// Whether the vendor's request ID is present: the API answered, not its edge.
    pub has_request_id: bool,
    /// Whether the headers say when to retry, or that a limit of the account is exhausted.
    pub has_limit: bool,
    /// The error's type in a header (`x-amzn-errortype`).
    pub error_type: Option<&'a str>,
}

/// Codes for exhausted credit or quota, in lower case.
const QUOTA: &[&str] = &[
    "accountoverdueerror",
    "allocationquota.freetieronly",
    "insufficient_user_balance",
    "not_enough_balance",
    "arrearage",
    "billing_disabled",
    "billing_error",
    "billing_hard_limit_reached",
    "billing_not_active",
    "blocked_api_access",
    "budget_exceeded",
    "consumer_suspended",
    "contract_spend_limit_reached",
    "credit_balance_exhausted",
    "credit_limit",
    "credits_exhausted",
    "enforced_spend_limit_reached",
    "exceeded_current_quota_error",
    "failedoperation.freeresourcepackexhausted",
    "failedoperation.resourcepackexhausted",
    "insufficient_balance",
    "insufficient_balance_error",
    "insufficient_credits",
    "insufficient_funds",
    "insufficient_quota",
    "insufficient_user_quota",
    "insufficientbalance",
    "insufficientquota",
    "invalid_payment_instrument",
    "monthly_limit_exceeded",
    "organization_on_hold",
    "organization_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
    "out_of_credits",
    "payment_required",
    "payment_required_error",
    "postpaidbilloverdue",
    "prepaidbilloverdue",
    "project_spend_limit_exceeded",
    "quota_exhausted",
    "resourceinsufficient.chargeresourceexhausted",
    "resourceunavailable.inarrears",
    "servicequotaexceededexception",
    "setlimitexceeded",
    // Zhipu's codes for an account that is overdue, has no plan, or whose plan is expired or used
    // up.
    "1113",
    "1309",
    "1310",
    "1316",
    "1317",
];
/// Common parts of such codes, without separators.
const QUOTA_PARTS: &[&str] = &[
    "arrear",
    "balanceinsufficient",
    "budgetexceeded",
    "creditexhausted",
    "creditsexhausted",
    "insufficientbalance",
    "insufficientcredit",
    "insufficientfund",
    "insufficientquota",
    "negativebalance",
    "notenoughbalance",
    "notenoughcredit",
    "outofcredit",
    "packexhausted",
    "spendinglimit",
    "spendlimit",
    "tokenquotareached",
];
const AUTH: &[&str] = &[
    "access_token_expired",
    "invalid_iam_token",
    "account_deactivated",
    "api_key_invalid",
    "authentication_error",
    "authenticationerror",
    "authenticationtypedisabled",
    "authfailure",
    "authfailure.secretidnotfound",
    "authfailure.signatureexpire",
    "authfailure.signaturefailure",
    "authfailure.tokenfailure",
    "expiredtokenexception",
    "incorrect_api_key_error",
    "invalid_api_key",
    "invalid_authentication",
    "invalid_authentication_error",
    "invalidapikey",
    "invalidsignatureexception",
    "missingauthenticationtokenexception",
    "token_not_match",
    "unauthenticated",
    "unauthorized",
    "unrecognizedclientexception",
    "wrong_api_key",
];
const PERMISSION: &[&str] = &[
    "accessdenied.unpurchased",
    "accessdeniedexception",
    "api_key_service_blocked",
    "key_model_access_denied",
    "model_terms_required",
    "organization_restricted",
    "permission_denied",
    "permission_denied_error",
    "permission_error",
    "service_disabled",
    "team_model_access_denied",
    "unauthorizedoperation",
];
/// Codes of a valid key that may not use this model, at any status: gateways send them with 401
/// too.
const KEY_WITHOUT_MODEL: &[&str] = &[
    "key_model_access_denied",
    "team_model_access_denied",
    // Zhipu's code for a model that is not part of the plan.
    "1311",
];
const FILTERED: &[&str] = &[
    "bio_policy",
    "content_filter",
    "content_filtered",
    "content_policy_violation",
    "data_inspection_failed",
    "datainspectionfailed",
    "inputtextriskdetection",
    "inputtextsensitivecontentdetected",
    "invalid_prompt",
    "misalignment_policy_violation",
    "moderation_blocked",
    "outputtextriskdetection",
    "outputtextsensitivecontentdetected",
    "responsibleaipolicyviolation",
    "sensitivecontentdetected",
    // Zhipu's code.
    "1301",
    "content_blocked",
    "content_policy",
    "safety_violation",
    "sensitive_content",
    "unsafe_content",
];
const REGION: &[&str] = &[
    "unsupported_country_region_territory",
    "request_forbidden",
    "ip_not_authorized",
    "country_not_supported",
    "region_not_supported",
    "unsupported_country",
    "unsupported_region",
];
const MODEL: &[&str] = &[
    "deploymentnotfound",
    "invalid_model",
    "invalid_model_error",
    "model_decommissioned",
    "model_not_available",
    "model_not_exist",
    "model_not_found",
    "model_not_supported",
    "modelerror",
    "modelnotfound",
    "unknown_model",
    // Zhipu's code.
    "1211",
    "model_deprecated",
    "model_retired",
    "resource_does_not_exist",
];
/// Codes for something that was not found. It is the model only if the text names one.
const NOT_FOUND: &[&str] = &[
    "not_found",
    "not_found_error",
    "notfounderror",
    "resource_not_found_error",
    "resourcenotfoundexception",
];
const OVERLOADED: &[&str] = &[
    "capacity_exceeded",
    "engine_overloaded",
    "engine_overloaded_error",
    "model_capacity_exhausted",
    "model_overloaded",
    "modelnotreadyexception",
    "over_capacity",
    "overloaded",
    "overloaded_error",
    "queue_exceeded",
    "server_is_overloaded",
    "server_overloaded",
    "serveroverloaded",
    // Zhipu's codes for an overloaded model.
    "1305",
    "1312",
];
/// Codes that count only with a 503 or inside a stream.
const UNAVAILABLE: &[&str] = &[
    "service_unavailable_error",
    "service_unavailable",
    "slow_down",
    "temporarily_unavailable",
    "unavailable",
];
const EDGE: &[&str] = &["cf_bad_gateway", "cf_service_unavailable"];
/// Codes for a rate limit of the account.
const OWN_LIMIT: &[&str] = &[
    "limit_burst_rate",
    "limit_requests",
    "limitexceeded",
    "limitexceededexception",
    "ramp_limit_exceeded",
    "rate_limit_error",
    "rate_limit_exceeded",
    "rate_limit_exceeded_error",
    "rate_limit_reached_error",
    "rate_limited",
    "ratelimiterror",
    "ratelimitreached",
    "request_limit_exceeded",
    "request_quota_exceeded",
    "requestlimitexceeded",
    "requests",
    "slow_down",
    "throttling",
    "throttling.allocationquota",
    "throttling.ratequota",
    "throttling_error",
    "throttlingexception",
    "token_quota_exceeded",
    "tokens",
    "too_many_requests",
    "toomanyrequestsexception",
    // Zhipu's codes for limits on concurrency, frequency and requests per day.
    "1302",
    "1303",
    "1304",
    "1308",
];
/// Codes for a rejected request. In a stream they are the only sign; elsewhere the status shows it
/// too.
const REJECTED: &[&str] = &[
    "data_residency_mismatch",
    "invalid_request_error",
    "invalid_argument",
    "invalid_request",
    "conflict_error",
    "request_too_large",
    "badrequesterror",
    "validationexception",
];
/// Codes for a rejected request, at any status: no failing server sends them by itself.
const REJECTED_ANYWHERE: &[&str] = &[
    "context_length_exceeded",
    "integer_below_min_value",
    "string_above_max_length",
    "unsupported_parameter",
    "unsupported_value",
];
/// MiniMax's codes (`base_resp.status_code`, or in parentheses after its text).
const MINIMAX: &[(i64, Fault)] = &[
    (1001, Fault::TimeoutHeaders),
    (1002, Fault::AccountRateLimit),
    (1004, Fault::AccountAuth),
    (1008, Fault::AccountQuota),
    (1026, Fault::AnswerFiltered),
    (1027, Fault::AnswerFiltered),
    (1039, Fault::AccountRateLimit),
    (1041, Fault::AccountRateLimit),
    (2013, Fault::RequestRejected),
    (2045, Fault::AccountRateLimit),
    (2049, Fault::AccountAuth),
    (2056, Fault::AccountQuota),
];

/// Texts that always mean exhausted credit or quota.
const MONEY: &[&str] = &[
    "account has been suspended",
    "account is suspended",
    "all available credits",
    "any credits",
    "api usage limits",
    "arrears",
    "balance is insufficient",
    "balance is not enough",
    "balance is too low",
    "balance not enough",
    "balance too low",
    "billing hard limit",
    "billing is disabled",
    "billing is not enabled",
    "billing to be enabled",
    "budget exceeded",
    "budget has been exceeded",
    "budget limit",
    "calls / month",
    "calls per month",
    "cloud credits",
    "credit has been",
    "credit balance",
    "credit limit",
    "credits are exhausted",
    "credits depleted",
    "credits exhausted",
    "credits have been",
    "exceeded budget",
    "exceededbudget",
    "exceeded your budget",
    "failure to pay",
    "free quota",
    "free trial quota",
    "free tier of the model has been exhausted",
    "good standing",
    "included credits",
    "insufficient account balance",
    "insufficient balance",
    "insufficient credit",
    "insufficient fund",
    "insufficient_balance",
    "insufficient_quota",
    "key limit exceeded",
    "monthly limit",
    "monthly quota",
    "monthly usage",
    "no credits",
    "not enough balance",
    "not enough credit",
    "out of call volume quota",
    "out of credit",
    "outstanding balance",
    "over budget",
    "outstanding invoice",
    "overdue",
    "past invoice",
    "payment instrument",
    "payment required",
    "premium request allowance",
    "prepaid balance",
    "purchase credits",
    "purchase more credits",
    "quota is not enough",
    "recharge",
    "remaining credits",
    "ran out of credits",
    "run out of credits",
    "service quota for your account",
    "spend limit",
    "spending cap",
    "spending limit",
    "subscription has expired",
    "subscription expired",
    "subscription has ended",
    "subscription is not active",
    "weekly usage limit",
    "top up",
    "top-up",
    "trial has",
    "trial ended",
    "trial expired",
    "unpaid",
    "usage cap",
    "used up your",
    "余额",
    "欠费",
    "充值",
    "额度不足",
    "额度已用",
    "额度用尽",
    "配额不足",
    "资源包",
    "套餐已",
    "账户已冻结",
    "add funds",
    "negative balance",
    "not enough funds",
    "plan expired",
    "plan has expired",
    "trial is over",
    "trial period",
    "budget cap",
    "max budget",
    "tokenbudget",
    "package used up",
    "saldo insuficiente",
    "saldo insufficiente",
    "sin saldo",
    "sem saldo",
    "créditos insuficientes",
    "crédito insuficiente",
    "credito insufficiente",
    "crediti insufficienti",
    "credito esaurito",
    "recargue su",
    "recargar su",
    "recarregue",
    "solde insuffisant",
    "crédits insuffisants",
    "crédit insuffisant",
    "crédits épuisés",
    "crédit épuisé",
    "guthaben",
    "недостаточно средств",
    "пополните",
    "残高",
    "クレジットが不足",
    "クレジット不足",
    "チャージ",
    "잔액",
    "잔고",
    "크레딧이 부족",
    "크레딧 부족",
    "충전",
    "餘額",
    "欠費",
    "儲值",
    "額度不足",
    "額度已用",
    "額度用盡",
];
/// Texts that mean exhausted credit or quota unless a time window is named: a rate limit's text may
/// offer a better plan.
const PERHAPS_MONEY: &[&str] = &[
    "billing",
    "credits",
    "current quota",
    "payment",
    "quota",
    "suspended",
    "usage limit",
    "upgrade your plan",
    "free tier",
    "credit card",
];
/// Texts for a rate limit of the account.
const RATE_LIMIT: &[&str] = &[
    "api calls / minute",
    "call rate",
    "concurrency",
    "concurrent request",
    "max organization",
    "max parallel request",
    "rate limit",
    "rate-limit",
    "rate_limit",
    "ratelimit",
    "request limit",
    "request rate",
    "requests limit",
    "throttl",
    "token limit exceeded",
    "too many tokens",
    "并发",
    "速率",
    "频率",
    "限流",
    "频繁",
    "每分钟",
    "已达上限",
    "达到上限",
    "rate exceeded",
    "simultaneous request",
    "límite de solicitudes",
    "límite de peticiones",
    "límite de tasa",
    "por minuto",
    "limite de requisições",
    "limite de solicitações",
    "limite de taxa",
    "limite di richieste",
    "al minuto",
    "limite de débit",
    "limite de requêtes",
    "par minute",
    "anfragelimit",
    "ratenlimit",
    "ratenbegrenzung",
    "pro minute",
    "лимит запросов",
    "в минуту",
    "レート制限",
    "レートリミット",
    "リクエスト数の上限",
    "毎分",
    "요청 한도",
    "속도 제한",
    "분당",
    "並發",
    "頻率",
    "每分鐘",
];
/// Time windows of rate limits, matched as whole words.
const WINDOWS: &[&str] = &[
    "rpm", "tpm", "rpd", "tpd", "rps", "qps", "ipm", "daily", "hourly",
];
const WINDOW_UNITS: &[&str] = &["second", "minute", "min", "hour", "day"];
/// Texts for shared capacity that is exhausted.
const CROWDED: &[&str] = &[
    "at capacity",
    "at its capacity",
    "capacity available",
    "capacity constraint",
    "capacity exceeded",
    "capacity temporarily",
    "currently overloaded",
    "degraded function cannot be invoked",
    "currently under load",
    "failed to find target pod",
    "heavy load",
    "heavy traffic",
    "high demand",
    "high load",
    "high traffic",
    "high volume",
    "insufficient capacity",
    "insufficient system resource",
    "is overloaded",
    "limited capacity",
    "model too busy",
    "no capacity",
    "no deployments available",
    "no healthy deployment",
    "no slot available",
    "not ready for inference",
    "out of capacity",
    "over capacity",
    "queue is full",
    "rate-limited upstream",
    "server is busy",
    "server busy",
    "server overload",
    "temporarily overloaded",
    "temporarily unable to process",
    "too busy",
    "worker local total request limit",
    "服务繁忙",
    "访问量过大",
    "负载",
    "系统繁忙",
    "请求过多",
    "拥挤",
    "is busy",
    "model busy",
    "请求量过",
    "繁忙",
    "過載",
    "擁擠",
    "saturado",
    "sobrecargado",
    "saturé",
    "surchargé",
    "en surcharge",
    "überlastet",
    "sovraccaric",
    "перегружен",
    "混雑",
    "混み合",
    "혼잡",
    "과부하",
];
/// The same, for texts that come with a 503.
const CROWDED_ON_503: &[&str] = &["overloaded", "busy", "capacity"];
/// Texts for a model that does not exist, is not served, or is not available to this account.
const NO_SUCH_MODEL: &[&str] = &[
    "could not resolve the foundation model",
    "does not exist or you do not have access",
    "has been decommissioned",
    "invalid model",
    "model identifier is invalid",
    "model not exist",
    "model not found",
    "no available channel",
    "no endpoints found for",
    "no such model",
    "not a valid model",
    // NVIDIA serves a model as a function of the account.
    "not found for account",
    "not found the model",
    "provider not provided",
    "reached the end of its life",
    "unknown model",
    "无可用渠道",
    "模型不存在",
    "no models loaded",
    "no model loaded",
    "no model is loaded",
    "unsupported model",
];
const BAD_KEY: &[&str] = &[
    "access token expired",
    "access token has expired",
    "access token invalid",
    "api key has expired",
    "api token has expired",
    "api key expired",
    "api key invalid",
    "api key is invalid",
    "api key not found",
    "api key not valid",
    "authentication error",
    "authentication failed",
    "expired api key",
    "incorrect api key",
    "invalid api key",
    "invalid api-key",
    "invalid access token",
    "invalid api_key",
    "invalid authentication",
    "invalid proxy server token",
    "invalid token",
    "key has expired",
    "no api key",
    "token has expired",
    "token invalid",
    "token is expired",
    "reported as leaked",
    "security token included in the request is",
    "signature we calculated does not match",
    "无效的令牌",
    "令牌已过期",
    "令牌无效",
    "身份验证",
    "鉴权失败",
    "clave de api no válida",
    "clave api no válida",
    "clave de api inválida",
    "chave de api inválida",
    "chave api inválida",
    "clé api invalide",
    "clé d'api invalide",
    "chiave api non valida",
    "ungültiger api",
    "api-schlüssel ungültig",
    "api-schlüssel ist ungültig",
    "неверный api",
    "недействительный api",
    "apiキーが無効",
    "apiキーが正しく",
    "api 키가 유효하지",
    "유효하지 않은 api",
    "密钥无效",
    "密钥错误",
    "金鑰無效",
    "apikey无效",
    "api key 无效",
    "api key错误",
];
const NO_PERMISSION: &[&str] = &[
    "no permission",
    "noautherror",
    "permission denied",
    "无权",
    "没有权限",
    "未开通",
    "未开放",
    "未实名",
];
/// Texts for a region that is not served.
const OUTSIDE: &[&str] = &[
    "available in your country",
    "available in your location",
    "available in your region",
    "disponible en su país",
    "disponible en su región",
    "disponible en tu país",
    "disponible en tu región",
    "disponible dans votre pays",
    "disponible dans votre région",
    "disponível em seu país",
    "disponível no seu país",
    "disponível na sua região",
    "disponibile nel tuo paese",
    "in deinem land",
    "in ihrem land",
    "in ihrer region",
    "в вашей стране",
    "в вашем регионе",
    "お住まいの国",
    "お住まいの地域",
    "국가에서는 사용할 수 없",
    "지역에서는 사용할 수 없",
    "country or region",
    "country, region",
    "region is not supported",
    "supported in your country",
    "supported in your region",
    "user location is not supported",
    "virtual network/firewall",
    "地区不支持",
    "地区暂不支持",
    "地區不支援",
    "所在地区",
];
/// Texts for a filtered prompt or answer, sent with a client error status.
const HELD_BACK: &[&str] = &[
    "blocked by content",
    "content exists risk",
    "content policy",
    "content violates",
    "inappropriate content",
    "safety_check",
    "safety system",
    "sensitive content",
    "unsafe content",
    "usage guidelines",
    "usage policies",
    "敏感信息",
    "敏感内容",
    "敏感內容",
    "违规内容",
    "不合规",
];
/// Texts for a server failure that is sent with a client error status.
const SERVER_FAILED: &[&str] = &["cuda error", "has crashed", "out of memory"];
/// Texts for a guardrail that the account has configured.
const GUARDRAIL: &[&str] = &[
    "blocked by guardrail",
    "blocked due to security configurations",
    "guardrail intervened",
    "guardrail_intervened",
    "violated guardrail",
];
/// Texts for a limit of the account, only valid with a 429.
const LIMIT_ON_429: &[&str] = &[
    "limit exceeded",
    "limit is exceeded",
    "limited to",
    "reached the limit",
    "limit reached",
];
const ACCOUNT_BLOCKED: &[&str] = &[
    "account has been banned",
    "account has been disabled",
    "account has been deactivated",
    "account is disabled",
    "account is not active",
    "account is blocked",
    "organization has been disabled",
    "organization has been restricted",
    "project has been disabled",
    "resource has been blocked",
    "resource has been temporarily blocked",
    "subscription is disabled",
];

/// Classifies an unexpected response with `status` and `body`.
pub fn error_answer(status: u16, body: &str, context: ErrorContext<'_>) -> Classified {
    match facts::parse(body) {
        Some(value) => error_value(status, &value, context),
        None => intercepted(status, body, context).unwrap_or_else(|| {
            Classified::new(page(status, body, context), page_message(status, body))
        }),
    }
}

/// Classifies a page from an intermediary: a bot challenge of a front end or a block page of this
/// network's web filter. `None` for any other body.
pub(super) fn intercepted(
    status: u16,
    body: &str,
    context: ErrorContext<'_>,
) -> Option<Classified> {
    if context.from_proxy {
        return None;
    }
    if let Some(name) = context.challenger {
        return Some(challenge(name, &page_message(status, body)));
    }
    let lower = body.to_ascii_lowercase();
    if !["<html", "<!doctype html", "<head", "<body"]
        .iter()
        .any(|tag| lower.contains(tag))
    {
        return None;
    }
    if let Some(name) = pages::challenger(&lower) {
        return Some(challenge(name, &page_message(status, body)));
    }
    let is_block = matches!(status, 200 | 403 | 407 | 503 | 511);
    let name = pages::filter(&lower).filter(|_| is_block)?;
    let message = format!(
        "{name} in this network has answered in the target's place: {}",
        page_message(status, body)
    );
    Some(Classified::new(Fault::LocalProxy, message))
}

/// Returns the fault of a challenge that only a browser passes; `name` is its vendor.
fn challenge(name: &str, text: &str) -> Classified {
    Classified::new(
        Fault::HttpEdge,
        format!("the target does not let automated visitors in ({name}): {text}"),
    )
}

/// Classifies an error object that arrived with `status`, which is 200 inside a stream.
pub fn error_value(status: u16, value: &Value, context: ErrorContext<'_>) -> Classified {
    let mut facts = Facts::of(value);
    if let Some(kind) = context.error_type {
        facts.add_code(kind);
    }
    // An edge that answers 200 may name the real status in the body.
    let inner = facts.status.filter(|_| status == 200).unwrap_or(status);
    let challenger = context.challenger.or_else(|| {
        let is_refusal = matches!(inner, 403 | 429);
        is_refusal.then(|| pages::script_challenger(&value.to_string()))?
    });
    if let Some(name) = challenger.filter(|_| !context.from_proxy) {
        return challenge(name, &facts.message);
    }
    let fault = if context.from_proxy {
        Fault::LocalProxy
    } else if facts.is_of_cloudflare {
        // Cloudflare's own blocks, for clients that accept JSON.
        if inner >= 500 {
            Fault::HttpEdge
        } else {
            Fault::AccountRegion
        }
    } else {
        by_content(inner, &facts, context)
            .unwrap_or_else(|| by_status(inner, status == 200, &facts.lower))
    };
    Classified {
        fault,
        message: facts.message,
        param: facts.param,
    }
}

/// Classifies by codes and texts; `None` if only the status is left.
fn by_content(status: u16, facts: &Facts, context: ErrorContext<'_>) -> Option<Fault> {
    let in_stream = status == 200;
    if facts.has(EDGE) {
        return Some(Fault::HttpEdge);
    }
    if status != 407 && status != 511 && is_money(status, facts) {
        return Some(Fault::AccountQuota);
    }
    if let Some(fault) = facts.minimax.and_then(|code| {
        let known = MINIMAX.iter().find(|(number, _)| *number == code);
        known.map(|(_, fault)| *fault)
    }) {
        return Some(fault);
    }
    if is_missing_model(status, facts) {
        return Some(Fault::RequestModelNotFound);
    }
    // The text of a server error may quote such words.
    let is_clients = in_stream || status < 500;
    if facts.has(KEY_WITHOUT_MODEL) {
        return Some(Fault::AccountPermission);
    }
    if is_clients && status != 429 {
        // The code is more specific than a 401.
        if facts.has(REGION) {
            return Some(Fault::AccountRegion);
        }
        if facts.says(ACCOUNT_BLOCKED) || facts.has(PERMISSION) && status != 401 {
            return Some(Fault::AccountPermission);
        }
        if facts.has(AUTH) || status == 401 || facts.says(BAD_KEY) {
            return Some(Fault::AccountAuth);
        }
        if in_stream && facts.says(NO_PERMISSION) {
            return Some(Fault::AccountPermission);
        }
    } else if facts.has(AUTH) && status != 429 {
        return Some(Fault::AccountAuth);
    }
    let is_held_back = is_clients && status != 429 && facts.says(HELD_BACK);
    if facts.has(FILTERED) || facts.is_moderated || facts.says(GUARDRAIL) || is_held_back {
        return Some(Fault::AnswerFiltered);
    }
    let is_outside = facts.has(REGION)
        || facts.says(OUTSIDE) && (in_stream || matches!(status, 400 | 401 | 403 | 451))
        || (status == 400 && facts.has(&["failed_precondition"]));
    if is_outside {
        return Some(Fault::AccountRegion);
    }
    if is_crowded(status, facts) {
        return Some(Fault::Overloaded);
    }
    if status == 429 {
        return Some(too_many(facts, context));
    }
    let is_limit = if status >= 500 {
        facts.has(&[
            "rate_limit_exceeded",
            "rate_limit_error",
            "throttlingexception",
        ]) || facts.names_window()
            || facts.says(&["rate limit", "ratelimit"])
    } else if in_stream || matches!(status, 400 | 403 | 413 | 412 | 406) {
        facts.has(OWN_LIMIT) || is_rate_limited(status, facts)
    } else {
        facts.has(OWN_LIMIT)
    };
    if is_limit {
        return Some(Fault::AccountRateLimit);
    }
    if matches!(status, 400 | 404 | 422) && facts.says(SERVER_FAILED) {
        return Some(Fault::HttpUnexpected);
    }
    // llama.cpp sends 501 for a feature that it was started without.
    let is_unsupported = status == 501 && facts.has(&["not_supported_error"]);
    let is_rejected = facts.has(REJECTED_ANYWHERE)
        || in_stream && facts.has(REJECTED)
        || is_unsupported
        || facts.has(&["conflict_error"]);
    if is_rejected {
        return Some(Fault::RequestRejected);
    }
    None
}

/// Reports whether the account's credit or quota is exhausted.
fn is_money(status: u16, facts: &Facts) -> bool {
    if status == 402 || facts.has(QUOTA) || facts.says(MONEY) {
        return true;
    }
    if status < 500 && facts.has_code_with(QUOTA_PARTS) {
        return true;
    }
    if facts.names_quota || facts.names_window() {
        return false;
    }
    // OpenAI's text, which gateways repeat after the name of their own exception.
    if facts.says(&["exceeded your current quota"]) && facts.says(&["billing"]) {
        return true;
    }
    if facts.has(OWN_LIMIT) || facts.says(RATE_LIMIT) {
        return false;
    }
    if facts.says(CROWDED) || !(status == 200 || (400..500).contains(&status)) {
        return false;
    }
    match status {
        // "Resource has been exhausted (e.g. check quota)" is ambiguous; a per-minute limit is more
        // frequent.
        429 => facts.says(&["current quota", "billing", "usage limit"]),
        _ => facts.says(PERHAPS_MONEY),
    }
}

/// Reports whether the model is unknown or not available to this account, whatever the status: a
/// gateway may use 503.
fn is_missing_model(status: u16, facts: &Facts) -> bool {
    if facts.has(MODEL) {
        return true;
    }
    let names_one = facts.says(&["model", "deployment", "模型", "モデル", "모델", "модел"]);
    if facts.has(NOT_FOUND) && status < 500 {
        return names_one;
    }
    let applies = status == 200 || status == 503 || (400..500).contains(&status) && status != 429;
    applies && (facts.says(NO_SUCH_MODEL) || status != 503 && facts.says_model_is_missing())
}

/// Reports whether the provider's capacity is exhausted, rather than a limit of the account.
fn is_crowded(status: u16, facts: &Facts) -> bool {
    let in_stream = status == 200;
    // Status codes of Groq and Anthropic for it.
    if matches!(status, 498 | 529) || facts.has(OVERLOADED) {
        return true;
    }
    // NVIDIA answers 400 while a function cannot be invoked.
    let may_be = in_stream
        || matches!(status, 408 | 424 | 429)
        || status >= 500
        || facts.says(&["degraded function"]);
    if may_be && facts.says(CROWDED) {
        return true;
    }
    match status {
        503 => facts.has(UNAVAILABLE) || facts.says(CROWDED_ON_503),
        200 | 500.. => {
            facts.says(&["overloaded"])
                || facts.has(&["service_unavailable_error", "service_unavailable"])
                || in_stream && facts.has(&["unavailable"])
        }
        429 => facts.says(&["capacity"]) && !is_rate_limited(status, facts),
        _ => false,
    }
}

fn is_rate_limited(status: u16, facts: &Facts) -> bool {
    facts.says(RATE_LIMIT) || facts.names_window() || status == 429 && facts.says(&["quota"])
}

/// Classifies a 429. Without any sign of a limit of the account, the provider is shedding load.
fn too_many(facts: &Facts, context: ErrorContext<'_>) -> Fault {
    let named = facts.has(OWN_LIMIT)
        || facts.has_code_with(&["ratelimit", "throttl"])
        || facts.names_quota
        || context.has_limit
        || is_rate_limited(429, facts)
        || facts.says(LIMIT_ON_429);
    // Google also uses this status for exhausted shared capacity, without naming a quota.
    let exhausted =
        !facts.has(&["resource_exhausted"]) || facts.names_quota || is_rate_limited(429, facts);
    if named && exhausted && !facts.is_upstream {
        Fault::AccountRateLimit
    } else {
        Fault::Overloaded
    }
}

/// Classifies by the status alone.
fn by_status(status: u16, in_stream: bool, lower: &str) -> Fault {
    let about_model = ["model", "deployment"].iter().any(|w| lower.contains(w));
    match status {
        200 => Fault::StreamError,
        300..=399 => Fault::HttpRedirect,
        401 => Fault::AccountAuth,
        402 => Fault::AccountQuota,
        // From a proxy, or from a network with a captive portal.
        407 | 511 => Fault::LocalProxy,
        403 => Fault::AccountPermission,
        // 410 may also mean a retired model.
        404 | 410 if about_model => Fault::RequestModelNotFound,
        // The server timed out waiting.
        408 if !in_stream => Fault::TimeoutHeaders,
        500..=519 | 528 | 531..=599 if !in_stream => Fault::Http5xx,
        // Status codes of Groq and Anthropic.
        498 | 529 => Fault::Overloaded,
        // Portkey's status code for a guardrail.
        446 => Fault::AnswerFiltered,
        451 => Fault::AccountRegion,
        400 | 404..=406 | 410..=417 | 422 | 426 | 431 => Fault::RequestRejected,
        429 => Fault::AccountRateLimit,
        520..=527 | 530 if !in_stream => Fault::HttpEdge,
        _ if in_stream => Fault::StreamError,
        _ => Fault::HttpUnexpected,
    }
}

/// Classifies a body that is not JSON: a page of the edge, or plain text.
fn page(status: u16, body: &str, context: ErrorContext<'_>) -> Fault {
    let lower = body.to_ascii_lowercase();
    let is_html = lower.contains("<html");
    let from_edge = lower.contains("cloudflare") || is_html || lower.contains("error code:");
    if context.from_proxy {
        return Fault::LocalProxy;
    }
    // A tunnel without its server, or Envoy without its cluster.
    let envoy = [
        "no healthy upstream",
        "upstream connect error",
        "upstream request timeout",
    ];
    let is_envoy = matches!(status, 502..=504) && envoy.iter().any(|text| lower.contains(text));
    if is_envoy || lower.contains("err_ngrok_") {
        return Fault::HttpEdge;
    }
    if status == 200 {
        return Fault::BodyMalformed;
    }
    match status {
        403 if from_edge => Fault::AccountRegion,
        // Cloudflare's rate limit per IP address.
        429 if from_edge && lower.contains("1015") => Fault::AccountRegion,
        502..=504 | 520..=527 | 530 if from_edge => Fault::HttpEdge,
        500..=599 if from_edge && !context.has_request_id && status != 511 && status != 529 => {
            Fault::HttpEdge
        }
        _ if is_html && status != 429 => by_status(status, false, &lower),
        _ => {
            let facts = Facts::of_text(body);
            by_content(status, &facts, context).unwrap_or_else(|| by_status(status, false, &lower))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The errors in the vendors' documentation, in their original format.
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
            (401, openai(invalid, "ip_not_authorized"), Fault::AccountRegion),
            (403, openai(invalid, "model_not_found"), Fault::RequestModelNotFound),
            (408, String::new(), Fault::TimeoutHeaders),
            (429, openai("rate_limit_error", "slow_down"), Fault::AccountRateLimit),
            (429, openai("insufficient_quota", "credit_balance_exhausted"), Fault::AccountQuota),
            (429, r#"{"status":"come back later"}"#.to_owned(), Fault::Overloaded),
            (429, "busy".to_owned(), Fault::Overloaded),
            (429, r#"{"statusCode":429,"message":"Rate limit is exceeded."}"#.to_owned(), Fault::AccountRateLimit),
            (503, openai("service_unavailable_error", "server_is_overloaded"), Fault::Overloaded),
            (200, openai("server_error", "server_is_overloaded"), Fault::Overloaded),
            (200, openai(invalid, "context_length_exceeded"), Fault::RequestRejected),
            (500, openai("server_error", "context_length_exceeded"), Fault::RequestRejected),
            (429, openai("x", "1311"), Fault::AccountPermission),
            (200, openai("server_error", "rate_limit_exceeded"), Fault::AccountRateLimit),
            (400, openai("x", "content_filter"), Fault::AnswerFiltered),
            (401, openai("x", "AuthenticationTypeDisabled"), Fault::AccountAuth),
            (404, openai("x", "DeploymentNotFound"), Fault::RequestModelNotFound),
            (424, openai("x", "424"), Fault::HttpUnexpected),
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
            (200, r#"{"error":{"code":"502","message":"m"}}"#.to_owned(), Fault::StreamError),
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
            assert_eq!(error_answer(status, &body, ErrorContext::default()).fault, fault, "{status} {body}");
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(status in 100u16..600, body in "\\PC{0,200}") {
            error_answer(status, &body, ErrorContext::default());
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
            error_answer(status, &body, ErrorContext::default());
        }
    }
}
