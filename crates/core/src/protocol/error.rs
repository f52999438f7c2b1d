//! From an error answer to a fault: its codes first, its text second, the HTTP status last. Pure.
//!
//! Every provider documents its own codes, but what they share is larger than what sets them apart, so one set of tables
//! reads them all. An error comes in many shapes: an object, a text, a list, JSON inside a text, no JSON at all; its code
//! may be a text, a number or null. Codes and texts are collected from wherever they stand ([`facts`]) and then compared.

mod facts;
mod pages;

use serde_json::Value;

use self::facts::Facts;
pub(super) use self::facts::{MAX_ERROR_BYTES, page_message};
use crate::model::Fault;

/// What an error answer was classified as.
#[derive(Debug, Clone, PartialEq)]
pub struct Classified {
    /// What went wrong.
    pub fault: Fault,
    /// The provider's own text, or ours where it sent none.
    pub message: String,
    /// The parameter of the request that it names.
    pub param: Option<String>,
}

impl Classified {
    /// A fault with our own text about it.
    pub fn new(fault: Fault, message: impl Into<String>) -> Self {
        Self {
            fault,
            message: message.into(),
            param: None,
        }
    }
}

/// What is known of an error answer besides its body.
#[derive(Debug, Clone, Copy, Default)]
pub struct ErrorContext<'a> {
    /// Whose headers say that this is a challenge for automated visitors.
    pub challenger: Option<&'static str>,
    /// The answer is a proxy's own (`x-squid-error`).
    pub from_proxy: bool,
    /// The vendor's own id of the request is there: the API answered and not its edge.
    pub has_request_id: bool,
    /// The headers say when to come back, or that a limit of the account is used up.
    pub has_limit: bool,
    /// The error's type in a header (`x-amzn-errortype`).
    pub error_type: Option<&'a str>,
}

/// Codes for money that is used up, each in lower case.
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
    // Zhipu's numbers for an account in arrears, without a plan, or whose plan has expired or is used up.
    "1113",
    "1309",
    "1310",
    "1316",
    "1317",
];
/// What codes for money have in common, without what separates their parts.
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
/// Codes of a key that is good but not for this model, at any status: gateways send them with 401 too.
const KEY_WITHOUT_MODEL: &[&str] = &["key_model_access_denied", "team_model_access_denied"];
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
    // Zhipu's number.
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
    // Zhipu's number.
    "1211",
    "model_deprecated",
    "model_retired",
    "resource_does_not_exist",
];
/// Codes of something that was not found: the model only where the text names one.
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
    // Zhipu's numbers for a model that too many use.
    "1305",
    "1312",
];
/// Codes that say so only together with a 503 or inside a stream.
const UNAVAILABLE: &[&str] = &[
    "service_unavailable_error",
    "service_unavailable",
    "slow_down",
    "temporarily_unavailable",
    "unavailable",
];
const EDGE: &[&str] = &["cf_bad_gateway", "cf_service_unavailable"];
/// Codes that name a limit of the account's.
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
    // Zhipu's numbers for concurrency, frequency and the day.
    "1302",
    "1303",
    "1304",
    "1308",
];
/// Codes of a request that the API does not take. In a stream they are all there is; elsewhere the status says it too.
const REJECTED: &[&str] = &[
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
    "validationexception",
];
/// MiniMax's numbers (`base_resp.status_code`, or in brackets behind its text).
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

/// Money, in texts that mean nothing else.
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
/// Money, unless the text or a code names a window of time: a rate limit's text may offer a better plan.
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
/// A rate limit of the account's own.
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
/// Windows of time that a rate limit is counted in, as complete tokens of a text.
const WINDOWS: &[&str] = &[
    "rpm", "tpm", "rpd", "tpd", "rps", "qps", "ipm", "daily", "hourly",
];
const WINDOW_UNITS: &[&str] = &["second", "minute", "min", "hour", "day"];
/// Capacity that all customers share.
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
/// The same where the status says already that the service is unavailable.
const CROWDED_ON_503: &[&str] = &["overloaded", "busy", "capacity"];
/// A model that does not exist, is not served, or not to this account.
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
    "permission denied",
    "无权",
    "没有权限",
    "未开通",
    "未实名",
];
/// Where the request comes from is not served.
const OUTSIDE: &[&str] = &[
    "available in your country",
    "available in your location",
    "available in your region",
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
/// The prompt or the answer itself was held back, in texts that come with the status of a client's mistake.
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
/// A server that has failed, though it answers with the status of a client's mistake.
const SERVER_FAILED: &[&str] = &["cuda error", "has crashed", "out of memory"];
/// A guardrail of the account's own in front of the model.
const GUARDRAIL: &[&str] = &[
    "blocked by guardrail",
    "blocked due to security configurations",
    "guardrail intervened",
    "guardrail_intervened",
    "violated guardrail",
];
/// A limit of the account's, in texts that say so only together with a 429.
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

/// Classifies an answer with `status` and `body` that is not what was asked for.
pub fn error_answer(status: u16, body: &str, context: ErrorContext<'_>) -> Classified {
    match facts::parse(body) {
        Some(value) => error_value(status, &value, context),
        None => intercepted(status, body, context).unwrap_or_else(|| {
            Classified::new(page(status, body, context), page_message(status, body))
        }),
    }
}

/// Classifies a page that somebody on the way has sent in the target's place: a front end that challenges automated
/// visitors, or a web filter of this network. `None` for any other body.
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
    let title = || page_message(status, body);
    if let Some(name) = pages::challenger(&lower) {
        return Some(challenge(name, &title()));
    }
    let is_block = matches!(status, 200 | 403 | 407 | 503 | 511);
    let name = pages::filter(&lower).filter(|_| is_block)?;
    let message = format!(
        "{name} in this network has answered in the target's place: {}",
        title()
    );
    Some(Classified::new(Fault::LocalProxy, message))
}

/// A challenge that only a browser passes; `name` says whose it is.
fn challenge(name: &str, text: &str) -> Classified {
    Classified::new(
        Fault::HttpEdge,
        format!("the target does not let automated visitors in ({name}): {text}"),
    )
}

/// Classifies an error object that arrived with `status`; inside a stream that began well, that is 200.
pub fn error_value(status: u16, value: &Value, context: ErrorContext<'_>) -> Classified {
    let mut facts = Facts::of(value);
    if let Some(kind) = context.error_type {
        facts.add_code(kind);
    }
    // An edge that answers 200 may still name the real status inside.
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
        // Cloudflare's own refusals, for clients that accept JSON.
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

/// What codes and texts say; `None` when only the status is left.
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
    // A server's own trouble may quote such words.
    let is_clients = in_stream || status < 500;
    if facts.has(KEY_WITHOUT_MODEL) {
        return Some(Fault::AccountPermission);
    }
    if is_clients && status != 429 {
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
    // llama.cpp says with 501 what it was not started for.
    let is_unsupported = status == 501 && facts.has(&["not_supported_error"]);
    if (in_stream && facts.has(REJECTED)) || is_unsupported || facts.has(&["conflict_error"]) {
        return Some(Fault::RequestRejected);
    }
    None
}

/// Whether it is the account's money that is used up.
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
    // OpenAI's text for it, which gateways repeat behind the name of an exception of theirs.
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
        // "Resource has been exhausted (e.g. check quota)" may be either; the limit of a minute is more frequent.
        429 => facts.says(&["current quota", "billing", "usage limit"]),
        _ => facts.says(PERHAPS_MONEY),
    }
}

/// Whether the model is unknown to the server or kept from this account, whatever the status: a gateway may say so with 503.
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

/// Whether the provider's capacity is used up and no limit of the account's.
fn is_crowded(status: u16, facts: &Facts) -> bool {
    let in_stream = status == 200;
    // Groq's and Anthropic's numbers for it.
    if matches!(status, 498 | 529) || facts.has(OVERLOADED) {
        return true;
    }
    // NVIDIA answers 400 while a function cannot be called.
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

/// Whose limit a 429 is about. Without any sign of one of the account's the provider sheds load, whatever number it has
/// put on it.
fn too_many(facts: &Facts, context: ErrorContext<'_>) -> Fault {
    let named = facts.has(OWN_LIMIT)
        || facts.has_code_with(&["ratelimit", "throttl"])
        || facts.names_quota
        || context.has_limit
        || is_rate_limited(429, facts)
        || facts.says(LIMIT_ON_429);
    // Google's shared capacity has this status too, and then names no quota.
    let exhausted =
        !facts.has(&["resource_exhausted"]) || facts.names_quota || is_rate_limited(429, facts);
    if named && exhausted && !facts.is_upstream {
        Fault::AccountRateLimit
    } else {
        Fault::Overloaded
    }
}

/// What the status alone says.
fn by_status(status: u16, in_stream: bool, lower: &str) -> Fault {
    let about_model = ["model", "deployment"].iter().any(|w| lower.contains(w));
    match status {
        200 => Fault::StreamError,
        300..=399 => Fault::HttpRedirect,
        401 => Fault::AccountAuth,
        402 => Fault::AccountQuota,
        // A proxy's, and a network's that wants a login first.
        407 | 511 => Fault::LocalProxy,
        403 => Fault::AccountPermission,
        // A retired model may be gone (410) and not unknown.
        404 | 410 if about_model => Fault::RequestModelNotFound,
        // The server gave up waiting.
        408 if !in_stream => Fault::TimeoutHeaders,
        500..=519 | 528 | 531..=599 if !in_stream => Fault::Http5xx,
        // Anthropic's number for it, and Groq's.
        498 | 529 => Fault::Overloaded,
        // Portkey's number for a guardrail.
        446 => Fault::AnswerFiltered,
        451 => Fault::AccountRegion,
        400 | 404..=406 | 410..=417 | 422 | 426 | 431 => Fault::RequestRejected,
        429 => Fault::AccountRateLimit,
        520..=527 | 530 if !in_stream => Fault::HttpEdge,
        _ if in_stream => Fault::StreamError,
        _ => Fault::HttpUnexpected,
    }
}

/// What a body says that is no JSON: a page of the edge, or plain text.
fn page(status: u16, body: &str, context: ErrorContext<'_>) -> Fault {
    let lower = body.to_ascii_lowercase();
    let is_html = lower.contains("<html");
    let from_edge = lower.contains("cloudflare") || is_html || lower.contains("error code:");
    if context.from_proxy {
        return Fault::LocalProxy;
    }
    // A tunnel without its server, and Envoy without its cluster.
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
        // Cloudflare's own limit per address.
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
            (408, String::new(), Fault::TimeoutHeaders),
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
