//! Errors of vendors and gateways in their original structure, with our own wording.

use llmwatch_core::model::Fault::{
    self, AccountAuth, AccountPermission, AccountQuota, AccountRateLimit, AccountRegion,
    AnswerFiltered, Http5xx, HttpEdge, HttpUnexpected, LocalProxy, Overloaded,
    RequestModelNotFound, RequestRejected,
};
use llmwatch_core::protocol::error::{ErrorContext, error_answer};

/// Description, status, body, and acceptable faults.
type Case = (&'static str, u16, &'static str, &'static [Fault]);

const CASES: &[Case] = &[
    // OpenRouter
    (
        "credits",
        402,
        r#"{"error":{"message":"More credits are needed for this request: 4,096 tokens asked, 12 affordable","code":402}}"#,
        &[AccountQuota],
    ),
    (
        "free models of a day",
        429,
        r#"{"error":{"message":"Rate limit exceeded: free-models-per-day. Add 10 credits for more","code":429}}"#,
        &[AccountRateLimit],
    ),
    (
        "upstream",
        429,
        r#"{"error":{"message":"Provider returned error","code":429,"metadata":{"provider_name":"Some","raw":"m is temporarily rate-limited upstream"}}}"#,
        &[Overloaded],
    ),
    (
        "upstream 502",
        502,
        r#"{"error":{"message":"Provider returned error","code":502,"metadata":{"provider_name":"Some"}}}"#,
        &[Http5xx],
    ),
    // LiteLLM
    (
        "cooldown",
        429,
        r#"{"error":{"message":"No deployments available for selected model, try again in 5 seconds. cooldown_list=['a']","type":"None","code":"429"}}"#,
        &[Overloaded],
    ),
    (
        "user budget",
        400,
        r#"{"error":{"message":"ExceededBudget: User=default over budget. Spend=1.02, Budget=1.0","type":"None","code":"400"}}"#,
        &[AccountQuota],
    ),
    (
        "key budget",
        429,
        r#"{"error":{"message":"Budget has been exceeded! Current cost: 2.5, Max budget: 2.0","type":"budget_exceeded","code":"429"}}"#,
        &[AccountQuota],
    ),
    (
        "key without the model",
        401,
        r#"{"error":{"message":"Key not allowed to use this one. Allowed: ['a']","type":"key_model_access_denied","code":"401"}}"#,
        &[AccountPermission],
    ),
    (
        "parallel requests",
        429,
        r#"{"error":{"message":"Crossed TPM / RPM / max parallel request limit for the key","type":"None","code":"429"}}"#,
        &[AccountRateLimit],
    ),
    (
        "no such name",
        400,
        r#"{"error":{"message":"{'error': '/chat/completions: Invalid model name passed in model=gpt-x'}","code":"400"}}"#,
        &[RequestModelNotFound],
    ),
    // vLLM, llama.cpp, TGI, Ollama, inference gateways
    (
        "unknown to vLLM",
        404,
        r#"{"object":"error","message":"The model `m` does not exist.","type":"NotFoundError","param":null,"code":404}"#,
        &[RequestModelNotFound],
    ),
    (
        "engine of vLLM",
        500,
        r#"{"object":"error","message":"EngineCore met an issue","type":"InternalServerError","code":500}"#,
        &[Http5xx],
    ),
    (
        "context of vLLM",
        400,
        r#"{"object":"error","message":"This model's maximum context length is 4096 tokens","type":"BadRequestError","code":400}"#,
        &[RequestRejected],
    ),
    (
        "loading",
        503,
        r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#,
        &[Http5xx, Overloaded],
    ),
    (
        "slots",
        503,
        r#"{"error":{"code":503,"message":"no slot available","type":"unavailable_error"}}"#,
        &[Overloaded],
    ),
    (
        "not started for it",
        501,
        r#"{"error":{"code":501,"message":"This server does not support embeddings","type":"not_supported_error"}}"#,
        &[RequestRejected],
    ),
    (
        "TGI",
        429,
        r#"{"error":"Model is overloaded","error_type":"overloaded"}"#,
        &[Overloaded],
    ),
    (
        "queue of Ollama",
        503,
        r#"{"error":"server busy, please try again. maximum pending requests exceeded"}"#,
        &[Overloaded],
    ),
    (
        "hour of Ollama's cloud",
        429,
        r#"{"error":"you have reached your hourly usage limit"}"#,
        &[AccountRateLimit],
    ),
    (
        "week of Ollama's cloud",
        429,
        r#"{"error":"you have reached your weekly usage limit"}"#,
        &[AccountQuota],
    ),
    (
        "inference gateway",
        429,
        "inference gateway: ResourceExhausted - failed to find target pod",
        &[Overloaded],
    ),
    ("Envoy", 503, "no healthy upstream", &[HttpEdge]),
    (
        "Envoy's connection",
        503,
        "upstream connect error or disconnect/reset before headers. reset reason: connection failure",
        &[HttpEdge],
    ),
    (
        "ngrok",
        404,
        "<!DOCTYPE html><html><body>The endpoint is offline. ERR_NGROK_3200</body></html>",
        &[HttpEdge],
    ),
    // Gateways in front of vendors
    (
        "Portkey's limit of a key",
        412,
        r#"{"status":"failure","message":"Usage limits exceeded"}"#,
        &[AccountQuota],
    ),
    (
        "Portkey's rate",
        429,
        r#"{"status":"failure","message":"Rate limits exceeded"}"#,
        &[AccountRateLimit],
    ),
    (
        "Cloudflare's gateway",
        429,
        r#"{"success":false,"result":[],"messages":[],"error":[{"code":2003,"message":"Rate limited"}]}"#,
        &[AccountRateLimit],
    ),
    (
        "Cloudflare's guardrail",
        424,
        r#"{"success":false,"error":[{"code":2016,"message":"Prompt blocked due to security configurations"}]}"#,
        &[AnswerFiltered],
    ),
    (
        "Workers AI's capacity",
        429,
        r#"{"errors":[{"code":3040,"message":"Capacity temporarily exceeded, please try again."}],"success":false}"#,
        &[Overloaded],
    ),
    (
        "Workers AI's allocation",
        429,
        r#"{"errors":[{"code":4006,"message":"You have used up your daily free allocation of neurons"}],"success":false}"#,
        &[AccountQuota],
    ),
    (
        "APIM's tokens",
        429,
        r#"{"statusCode":429,"message":"Token limit is exceeded. Try again in 54 seconds."}"#,
        &[AccountRateLimit],
    ),
    (
        "APIM's volume",
        403,
        r#"{"statusCode":403,"message":"Out of call volume quota. Quota will be replenished in 12:10:05."}"#,
        &[AccountQuota],
    ),
    (
        "APIM's key",
        401,
        r#"{"statusCode":401,"message":"Access denied due to invalid subscription key."}"#,
        &[AccountAuth],
    ),
    (
        "Kong",
        429,
        r#"{"message":"AI token rate limit exceeded for provider(s): openai"}"#,
        &[AccountRateLimit],
    ),
    (
        "Kong's routes",
        404,
        r#"{"message":"no Route matched with those values"}"#,
        &[RequestRejected],
    ),
    (
        "Kong's upstream",
        502,
        r#"{"message":"An invalid response was received from the upstream server"}"#,
        &[Http5xx, HttpEdge],
    ),
    // Clouds
    (
        "Bedrock's rate",
        429,
        r#"{"__type":"com.amazon.coral.service#ThrottlingException","message":"Wait before you send more"}"#,
        &[AccountRateLimit],
    ),
    (
        "Bedrock's model",
        400,
        r#"{"__type":"ValidationException","message":"The provided model identifier is invalid."}"#,
        &[RequestModelNotFound],
    ),
    (
        "Bedrock's access",
        403,
        r#"{"__type":"AccessDeniedException","message":"You don't have access to the model with the specified model ID."}"#,
        &[AccountPermission],
    ),
    (
        "Bedrock's token",
        403,
        r#"{"message":"The security token included in the request is expired"}"#,
        &[AccountAuth],
    ),
    (
        "Vertex's quota",
        429,
        r#"{"error":{"code":429,"message":"Quota exceeded for aiplatform.googleapis.com/generate_content_requests_per_minute_per_project_per_base_model","status":"RESOURCE_EXHAUSTED"}}"#,
        &[AccountRateLimit],
    ),
    (
        "Vertex's capacity",
        429,
        r#"{"error":{"code":429,"message":"Resource exhausted. Try again later.","status":"RESOURCE_EXHAUSTED"}}"#,
        &[Overloaded],
    ),
    (
        "Vertex's model",
        404,
        r#"{"error":{"code":404,"message":"Publisher Model `p/m` was not found","status":"NOT_FOUND"}}"#,
        &[RequestModelNotFound],
    ),
    (
        "Databricks' rate",
        429,
        r#"{"error_code":"REQUEST_LIMIT_EXCEEDED","message":"Exceeded workspace rate limit for m"}"#,
        &[AccountRateLimit],
    ),
    (
        "Databricks' endpoint",
        503,
        r#"{"error_code":"TEMPORARILY_UNAVAILABLE","message":"Not ready"}"#,
        &[Overloaded],
    ),
    (
        "Databricks' key",
        403,
        r#"{"error_code":403,"message":"Invalid access token. [ReqId: 1]"}"#,
        &[AccountAuth],
    ),
    (
        "NVIDIA's credits",
        402,
        r#"{"status":402,"title":"Payment Required","detail":"Account 'x': Cloud credits expired"}"#,
        &[AccountQuota],
    ),
    (
        "NVIDIA's function",
        400,
        r#"{"type":"urn:x","title":"Bad Request","status":400,"detail":"Function id 'x': DEGRADED function cannot be invoked"}"#,
        &[Overloaded, HttpUnexpected],
    ),
    (
        "NVIDIA's worker",
        429,
        r#"{"status":429,"title":"ResourceExhausted","detail":"Worker local total request limit reached (16/16)"}"#,
        &[Overloaded],
    ),
    (
        "Hugging Face's credits",
        402,
        r#"{"error":"You have exceeded your monthly included credits for Inference Providers."}"#,
        &[AccountQuota],
    ),
    (
        "Azure's demand",
        429,
        r#"{"error":{"code":"NoCapacity","message":"The system is experiencing high demand and cannot process your request."}}"#,
        &[Overloaded],
    ),
    // China
    (
        "Qianfan's rate",
        200,
        r#"{"error_code":18,"error_msg":"Open api qps request limit reached"}"#,
        &[AccountRateLimit],
    ),
    (
        "Qianfan's day",
        200,
        r#"{"error_code":17,"error_msg":"Open api daily request limit reached"}"#,
        &[AccountRateLimit],
    ),
    (
        "Qianfan's token",
        200,
        r#"{"error_code":111,"error_msg":"Access token expired"}"#,
        &[AccountAuth],
    ),
    (
        "Qianfan v2",
        401,
        r#"{"error":{"code":"invalid_iam_token","message":"IAM certification failed","type":"invalid_request_error"}}"#,
        &[AccountAuth],
    ),
    (
        "Tencent's rate",
        200,
        r#"{"Response":{"Error":{"Code":"RequestLimitExceeded.UinLimitExceeded","Message":"m"},"RequestId":"r"}}"#,
        &[AccountRateLimit],
    ),
    (
        "Tencent's service",
        200,
        r#"{"Response":{"Error":{"Code":"FailedOperation.ServiceNotActivated","Message":"服务未开通，请前往控制台开通"},"RequestId":"r"}}"#,
        &[AccountPermission],
    ),
    (
        "Tencent's packs",
        200,
        r#"{"Response":{"Error":{"Code":"FailedOperation.ResourcePackExhausted","Message":"m"},"RequestId":"r"}}"#,
        &[AccountQuota],
    ),
    (
        "Ark's trial",
        429,
        r#"{"error":{"code":"QuotaExceeded","message":"Your account has exhausted its free trial quota for the model","type":"TooManyRequests"}}"#,
        &[AccountQuota],
    ),
    (
        "Ark's load",
        429,
        r#"{"error":{"code":"ServerOverloaded","message":"Unable to handle additional requests due to server overload","type":"TooManyRequests"}}"#,
        &[Overloaded],
    ),
    (
        "Ark's rate",
        429,
        r#"{"error":{"code":"RateLimitExceeded.EndpointRPMExceeded","message":"The requests per minute (RPM) limit of the endpoint is exceeded"}}"#,
        &[AccountRateLimit],
    ),
    (
        "Ark's filter",
        400,
        r#"{"error":{"code":"SensitiveContentDetected","message":"The text may hold sensitive information","type":"BadRequest"}}"#,
        &[AnswerFiltered],
    ),
    (
        "SiliconFlow's balance",
        403,
        r#"{"code":30001,"message":"Sorry, your account balance is insufficient","data":null}"#,
        &[AccountQuota],
    ),
    (
        "SiliconFlow's rate",
        429,
        r#"{"message":"Request was rejected due to rate limiting. Details: TPM limit reached.","data":null}"#,
        &[AccountRateLimit],
    ),
    (
        "SiliconFlow's load",
        503,
        r#"{"code":50505,"message":"Model service overloaded. Please try again later.","data":null}"#,
        &[Overloaded],
    ),
    (
        "Zhipu's load",
        429,
        r#"{"error":{"code":"1305","message":"The service may be temporarily overloaded, please try again later"}}"#,
        &[Overloaded],
    ),
    (
        "DashScope's burst",
        429,
        r#"{"code":"Throttling.BurstRate","message":"Request rate increased too quickly","request_id":"r"}"#,
        &[AccountRateLimit],
    ),
    // Others
    (
        "Replicate's credit",
        402,
        r#"{"title":"Insufficient credit","detail":"You have insufficient credit to run this","status":402}"#,
        &[AccountQuota],
    ),
    (
        "Replicate's rate",
        429,
        r#"{"detail":"Request was throttled. Expected available in 1 second.","status":429}"#,
        &[AccountRateLimit],
    ),
    (
        "AI21's token",
        401,
        r#"{"detail":"Forbidden: bad or missing API token."}"#,
        &[AccountAuth],
    ),
    (
        "Upstage's credit",
        403,
        r#"{"error":{"message":"Your credit has been exhausted","type":"invalid_request_error","code":"forbidden"}}"#,
        &[AccountQuota],
    ),
    (
        "Nebius' balance",
        402,
        r#"{"detail":"Your balance does not suffice"}"#,
        &[AccountQuota],
    ),
    (
        "SambaNova's day",
        429,
        r#"{"error":{"message":"Requests per day limit reached","type":"x"}}"#,
        &[AccountRateLimit],
    ),
    (
        "Together's model",
        404,
        r#"{"error":{"message":"Unable to access m","type":"invalid_request_error","code":"model_not_available"}}"#,
        &[RequestModelNotFound],
    ),
    (
        "Cohere's trial",
        429,
        r#"{"message":"You are using a Trial key, limited to 1000 API calls / month"}"#,
        &[AccountQuota],
    ),
    (
        "Mistral's plan",
        401,
        r#"{"detail":"Inactive subscription or usage limit reached"}"#,
        &[AccountQuota],
    ),
    (
        "GitHub's day",
        429,
        r#"{"error":{"code":"RateLimitReached","message":"Rate limit of 50 per 86400s exceeded for UserByModelByDay"}}"#,
        &[AccountRateLimit],
    ),
    (
        "Novita's balance",
        403,
        r#"{"code":403,"reason":"NOT_ENOUGH_BALANCE","message":"m"}"#,
        &[AccountQuota],
    ),
    (
        "a key past its date",
        403,
        r#"{"error":{"message":"The API key has expired"}}"#,
        &[AccountAuth],
    ),
    (
        "funds to add",
        403,
        r#"{"error":"Add funds to go on"}"#,
        &[AccountQuota],
    ),
    (
        "a trial that is over",
        403,
        r#"{"message":"The free trial is over; a card is needed"}"#,
        &[AccountQuota],
    ),
    (
        "a plan that has expired",
        403,
        r#"{"error":{"message":"This plan has expired"}}"#,
        &[AccountQuota],
    ),
    (
        "a code of money of its own",
        403,
        r#"{"error":{"code":"negative_balance","message":"m"}}"#,
        &[AccountQuota],
    ),
    (
        "a pack of tokens",
        400,
        r#"{"code":"TokenPackExhausted","message":"m"}"#,
        &[AccountQuota],
    ),
    (
        "a key's budget of tokens",
        429,
        r#"{"error":{"message":"ExceededTokenBudget: spent 12.0 of 10.0","code":"429"}}"#,
        &[AccountQuota],
    ),
    (
        "money in Spanish",
        403,
        r#"{"error":{"message":"Saldo insuficiente en la cuenta"}}"#,
        &[AccountQuota],
    ),
    (
        "money in French",
        400,
        r#"{"error":{"message":"Solde insuffisant"}}"#,
        &[AccountQuota],
    ),
    (
        "money in German",
        400,
        r#"{"error":{"message":"Kein Guthaben mehr"}}"#,
        &[AccountQuota],
    ),
    (
        "money in Portuguese",
        400,
        r#"{"error":{"message":"Créditos insuficientes"}}"#,
        &[AccountQuota],
    ),
    (
        "money in Japanese",
        429,
        r#"{"error":{"message":"残高が足りません"}}"#,
        &[AccountQuota],
    ),
    (
        "money in Korean",
        403,
        r#"{"error":{"message":"잔액이 모자랍니다"}}"#,
        &[AccountQuota],
    ),
    (
        "money in Russian",
        403,
        r#"{"error":{"message":"На счёте недостаточно средств"}}"#,
        &[AccountQuota],
    ),
    (
        "money in traditional Chinese",
        400,
        r#"{"error":{"message":"帳戶餘額不足"}}"#,
        &[AccountQuota],
    ),
    (
        "a limit in Spanish",
        429,
        r#"{"error":{"message":"Ha alcanzado el límite de solicitudes"}}"#,
        &[AccountRateLimit],
    ),
    (
        "a limit in French",
        429,
        r#"{"error":{"message":"Limite de requêtes atteinte"}}"#,
        &[AccountRateLimit],
    ),
    (
        "a limit in Japanese",
        429,
        r#"{"error":{"message":"レート制限に達しました"}}"#,
        &[AccountRateLimit],
    ),
    (
        "a limit in Korean",
        429,
        r#"{"error":{"message":"요청 한도에 도달했습니다"}}"#,
        &[AccountRateLimit],
    ),
    (
        "Apigee's limit",
        429,
        r#"{"fault":{"faultstring":"Spike arrest: 5 a second","detail":{"errorcode":"policies.ratelimit.SpikeArrestViolation"}}}"#,
        &[AccountRateLimit],
    ),
    (
        "Apigee's key",
        401,
        r#"{"fault":{"faultstring":"The key is unknown","detail":{"errorcode":"oauth.v2.InvalidApiKey"}}}"#,
        &[AccountAuth],
    ),
    (
        "requests at once",
        429,
        r#"{"error":{"message":"Too many simultaneous requests for this plan"}}"#,
        &[AccountRateLimit],
    ),
    (
        "DeepInfra's busy model",
        429,
        r#"{"detail":{"error":"Model busy, try later"}}"#,
        &[Overloaded],
    ),
    (
        "a crowd in Chinese",
        429,
        r#"{"error":{"message":"该模型请求量过大"}}"#,
        &[Overloaded],
    ),
    (
        "a crowd in Spanish",
        429,
        r#"{"error":{"message":"El modelo está saturado"}}"#,
        &[Overloaded],
    ),
    (
        "LM Studio without a model",
        400,
        r#"{"error":"No models loaded. Load one first."}"#,
        &[RequestModelNotFound],
    ),
    (
        "LM Studio's crashed model",
        400,
        r#"{"error":"The model has crashed (exit code 6)"}"#,
        &[HttpUnexpected],
    ),
    (
        "a model of the past",
        400,
        r#"{"error":{"message":"The model `m` has been deprecated"}}"#,
        &[RequestModelNotFound],
    ),
    (
        "a model of another server",
        400,
        r#"{"error":{"message":"model \"m\" is not available on this server"}}"#,
        &[RequestModelNotFound],
    ),
    (
        "Databricks' endpoint",
        404,
        r#"{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"Endpoint 'm' is not there"}"#,
        &[RequestModelNotFound],
    ),
    (
        "a model in Spanish",
        404,
        r#"{"error":{"message":"El modelo m no existe"}}"#,
        &[RequestModelNotFound],
    ),
    (
        "a model in Chinese",
        400,
        r#"{"error":{"message":"模型 m 已下线"}}"#,
        &[RequestModelNotFound],
    ),
    (
        "a key in Spanish",
        400,
        r#"{"error":{"message":"Clave de API no válida"}}"#,
        &[AccountAuth],
    ),
    (
        "a country",
        403,
        r#"{"error":{"code":"forbidden","message":"Not available in your country"}}"#,
        &[AccountRegion],
    ),
    (
        "xAI's filter",
        403,
        r#"{"code":"The caller lacks permission","error":"Content violates guidelines: SAFETY_CHECK_TYPE_X"}"#,
        &[AnswerFiltered],
    ),
    (
        "DeepSeek's filter",
        400,
        r#"{"error":{"message":"Content Exists Risk","type":"invalid_request_error"}}"#,
        &[AnswerFiltered],
    ),
    (
        "a filter in Chinese",
        400,
        r#"{"error":{"message":"内容含有敏感信息"}}"#,
        &[AnswerFiltered],
    ),
    (
        "a server without memory is no money",
        500,
        r#"{"error":"CUDA error: out of memory"}"#,
        &[Http5xx],
    ),
    (
        "an address that is not on the list",
        401,
        r#"{"error":{"message":"The address of this request is not on your project's list","code":"ip_not_authorized"}}"#,
        &[AccountRegion],
    ),
    (
        "an address that the key does not allow",
        403,
        r#"{"error":{"code":403,"status":"PERMISSION_DENIED","message":"This key has an IP address restriction, which the calling address violates","details":[{"reason":"API_KEY_IP_ADDRESS_BLOCKED"}]}}"#,
        &[AccountRegion, AccountPermission],
    ),
    (
        "a project without billing",
        403,
        r#"{"error":{"code":403,"status":"PERMISSION_DENIED","message":"Billing has to be enabled for this","details":[{"reason":"BILLING_DISABLED"}]}}"#,
        &[AccountQuota],
    ),
    (
        "a subscription that is used up, said with 401",
        401,
        r#"{"message":"Subscription inactive, or its usage limit is reached","request_id":"r"}"#,
        &[AccountQuota],
    ),
    (
        "a new team without credits",
        403,
        r#"{"code":"The caller does not have permission","error":"This new team has no credits yet; purchase some first"}"#,
        &[AccountQuota],
    ),
    (
        "a queue that is full for all",
        429,
        r#"{"message":"High traffic at the moment, try again soon","type":"too_many_requests_error","param":"queue","code":"queue_exceeded"}"#,
        &[Overloaded],
    ),
    (
        "throttled by the capacity of all",
        503,
        r#"{"error":{"message":"Your requests are throttled because of limited system capacity","code":"ServiceUnavailable"}}"#,
        &[Overloaded],
    ),
    (
        "a tier that is full, at a status of its own",
        498,
        r#"{"error":{"message":"No capacity left in this tier","type":"capacity","code":"capacity_exceeded"}}"#,
        &[Overloaded],
    ),
    (
        "a model that was taken out of service",
        410,
        r#"{"error":{"message":"The model m is retired","code":"model_retired"}}"#,
        &[RequestModelNotFound],
    ),
    (
        "a traffic jam of a model, in Chinese",
        429,
        r#"{"error":{"code":"1305","message":"该模型访问量过大，请稍后"}}"#,
        &[Overloaded],
    ),
    (
        "a model that is a function of the account",
        404,
        r#"{"status":404,"title":"Not Found","detail":"Function 'f': Not found for account 'a'"}"#,
        &[RequestModelNotFound],
    ),
    (
        "the calls of a day, in Chinese",
        429,
        r#"{"error":{"message":"今日的调用次数已达上限，请明天再来"}}"#,
        &[AccountRateLimit, AccountQuota],
    ),
    (
        "a neuron allowance",
        429,
        r#"{"errors":[{"message":"the free daily allocation of neurons is used up, upgrade to a paid plan","code":4006}],"success":false}"#,
        &[AccountQuota, AccountRateLimit],
    ),
    (
        "a gateway's budget of a key",
        412,
        r#"{"status":"failure","message":"Usage limits of this API key are exceeded"}"#,
        &[AccountQuota],
    ),
    (
        "a busy server is no filter",
        429,
        r#"{"error":{"message":"Our safety system is busy, try later"}}"#,
        &[Overloaded],
    ),
];

#[test]
fn errors_of_vendors_and_gateways() {
    let wrong: Vec<_> = CASES
        .iter()
        .filter_map(|(name, status, body, wanted)| {
            let fault = error_answer(*status, body, ErrorContext::default()).fault;
            (!wanted.contains(&fault)).then(|| format!("{name}: {fault:?}, not {wanted:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Responses of a front end or a web filter on the way instead of the target.
#[test]
fn pages_that_others_send_in_the_targets_place() {
    let page = |title: &str, text: &str| {
        format!("<html><head><title>{title}</title></head><body>{text}</body></html>")
    };
    for (status, body, fault, name) in [
        (403, page("Just a moment...", ""), HttpEdge, "Cloudflare"),
        (
            405,
            page("Human Verification", "awsWafCaptcha"),
            HttpEdge,
            "AWS WAF",
        ),
        (
            200,
            page("", "<iframe src=/_Incapsula_Resource?a=1>"),
            HttpEdge,
            "Imperva",
        ),
        (
            403,
            page("Pardon Our Interruption", ""),
            HttpEdge,
            "Imperva",
        ),
        (
            429,
            page("Vercel Security Checkpoint", ""),
            HttpEdge,
            "Vercel",
        ),
        (
            403,
            page("Denied", "<div id=px-captcha></div>"),
            HttpEdge,
            "HUMAN",
        ),
        (
            200,
            page("Request Rejected", "Your support ID is: 1"),
            HttpEdge,
            "firewall",
        ),
        (
            200,
            page("Making sure you are not a bot", ""),
            HttpEdge,
            "browsers",
        ),
        (
            403,
            r#"{"url":"https://geo.captcha-delivery.com/c"}"#.to_owned(),
            HttpEdge,
            "DataDome",
        ),
        (
            403,
            page("Internet Security by Zscaler", ""),
            LocalProxy,
            "Zscaler",
        ),
        (
            403,
            page("Blocked", "FortiGuard: access blocked"),
            LocalProxy,
            "FortiGuard",
        ),
        (
            200,
            page("Blocked", "in accordance with company policy"),
            LocalProxy,
            "web filter",
        ),
        // Cloudflare inserts its script into the target's own pages.
        (
            401,
            page("401", "<script src=/cdn-cgi/challenge-platform/x.js>"),
            AccountAuth,
            "401",
        ),
        (500, page("Oops", "Our team was informed"), HttpEdge, "Oops"),
    ] {
        let found = error_answer(status, &body, ErrorContext::default());
        assert_eq!(found.fault, fault, "{status} {body}");
        assert!(found.message.contains(name), "{}", found.message);
        let is_challenge = found.message.contains("does not let automated visitors in");
        assert_eq!(is_challenge, fault == HttpEdge && name != "Oops", "{body}");
    }
}
