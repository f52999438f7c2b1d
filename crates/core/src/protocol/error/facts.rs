//! Extracts codes and texts from an error response, wherever they appear. Pure.

use serde_json::Value;

/// Longer error bodies are not parsed, because parsed JSON takes a multiple of its size in memory.
pub(in crate::protocol) const MAX_ERROR_BYTES: usize = 64 * 1024;
/// The maximum nesting of errors: a gateway's around a router's around a vendor's.
const MAX_DEPTH: usize = 5;
/// The maximum number of codes to collect.
const MAX_CODES: usize = 32;
/// The maximum number of errors to quote.
const MAX_QUOTED: usize = 3;
/// The maximum length of a text. It is longer than what is stored, because redaction must see
/// entire secrets.
const MAX_TEXT_CHARS: usize = 2000;

/// The maximum distance from the word `model` to the text that says it is missing, in characters.
const MODEL_NAME_CHARS: usize = 80;

/// The word for a model in several languages; "modelo" and "modell" begin like the first.
const MODEL_WORDS: [&str; 6] = ["model", "modèle", "модел", "モデル", "모델", "模型"];
/// What follows the name of a missing model.
const MISSING: [&str; 26] = [
    " not found",
    " does not exist",
    " doesn't exist",
    " has been deprecated",
    " has been removed",
    " has been retired",
    " is no longer available",
    " is no longer supported",
    " is not available for",
    " is not available on",
    " is not loaded",
    " no existe",
    " não existe",
    " non esiste",
    " n'existe pas",
    " introuvable",
    " existiert nicht",
    " nicht gefunden",
    " не найден",
    " не существует",
    "存在しません",
    "見つかりません",
    "존재하지",
    "찾을 수 없",
    "不存在",
    "已下线",
];

/// Keys that hold a code.
const CODE_KEYS: [&str; 14] = [
    "__type",
    "Code",
    "code",
    "err_code",
    "errorCode",
    "error_code",
    "error_type",
    "errorcode",
    "http_code",
    "reason",
    "status",
    "statusCode",
    "status_code",
    "type",
];
/// Keys that hold another error, from the outside to the inside.
const NESTED_KEYS: [&str; 14] = [
    "error",
    "Error",
    "errors",
    "fault",
    "message",
    "detail",
    "details",
    "base_resp",
    "Response",
    "innererror",
    "response",
    "cause",
    "header",
    "metadata",
];
/// Keys that hold a text, the most informative first. An `error` that is an object or a list takes
/// precedence.
const TEXT_KEYS: [&str; 18] = [
    "message",
    "Message",
    "error_message",
    "errorMessage",
    "error_description",
    "error_msg",
    "errmsg",
    "faultstring",
    "msg",
    "status_msg",
    "detail",
    "details",
    "error",
    "description",
    "reason",
    "title",
    "status",
    "code",
];
/// Keys that hold an error object or a list of them.
const OBJECT_KEYS: [&str; 6] = ["error", "Error", "errors", "fault", "base_resp", "Response"];

/// The facts collected from an error.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// In lower case, without a namespace.
    codes: Vec<String>,
    pub(super) message: String,
    /// The text to compare: in lower case and without URLs, whose paths mention billing and limits.
    pub(super) lower: String,
    /// The HTTP status in the body.
    pub(super) status: Option<u16>,
    /// The request parameter that the error names.
    pub(super) param: Option<String>,
    /// MiniMax's code.
    pub(super) minimax: Option<i64>,
    /// Whether a router forwards the error of an upstream provider.
    pub(super) is_upstream: bool,
    /// Whether a router's own moderation rejected the prompt.
    pub(super) is_moderated: bool,
    /// Whether Google names the exhausted quota; its shared capacity has none.
    pub(super) names_quota: bool,
    pub(super) is_of_cloudflare: bool,
}

impl Facts {
    /// Collects the facts of `value`.
    pub(super) fn of(value: &Value) -> Self {
        let mut facts = Self::default();
        facts.collect(value, 0);
        let message = text_of(value, 0).unwrap_or_else(|| match value {
            Value::Object(_) | Value::Array(_) => value.to_string(),
            _ => String::new(),
        });
        let raw = error_of(value)["metadata"]["raw"].as_str();
        let message = match raw.map(|raw| text_of(&Value::from(raw), 1).unwrap_or_default()) {
            Some(raw) if !raw.is_empty() => format!("{message}: {raw}"),
            _ => message,
        };
        facts.set_message(message);
        if facts.minimax.is_none() {
            facts.minimax = number_in_brackets(&facts.message);
        }
        facts
    }

    /// Collects the facts of a text that is not JSON.
    pub(super) fn of_text(text: &str) -> Self {
        let mut facts = Self::default();
        facts.set_message(text.chars().take(MAX_TEXT_CHARS).collect());
        facts
    }

    /// Adds a code, for instance from a header.
    pub(super) fn add_code(&mut self, code: &str) {
        // `ThrottlingException:http://…` and `com.amazon.coral.service#ThrottlingException`.
        let code = code.split(":http").next().unwrap_or_default();
        let code = code.rsplit('#').next().unwrap_or_default().trim();
        if !code.is_empty() && self.codes.len() < MAX_CODES {
            let code = code.to_lowercase();
            // `RequestLimitExceeded.UinLimitExceeded`: also add the prefix, in case the full code
            // is unknown.
            if let Some((family, _)) = code.split_once('.') {
                self.codes.push(family.to_owned());
            }
            self.codes.push(code);
        }
    }

    /// Reports whether one of the codes is among `names`.
    pub(super) fn has(&self, names: &[&str]) -> bool {
        self.codes.iter().any(|code| names.contains(&code.as_str()))
    }

    /// Reports whether one of the codes contains one of `parts`, whatever its separators.
    pub(super) fn has_code_with(&self, parts: &[&str]) -> bool {
        self.codes.iter().any(|code| {
            // Some vendors put a sentence in place of a code.
            let joined: String = code.chars().filter(|c| c.is_alphanumeric()).collect();
            parts.iter().any(|part| joined.contains(part))
        })
    }

    /// Reports whether the text contains one of `parts`.
    pub(super) fn says(&self, parts: &[&str]) -> bool {
        parts.iter().any(|part| self.lower.contains(part))
    }

    /// Reports whether the text says that a model is missing, soon after naming it: `Model "m" not
    /// found`.
    pub(super) fn says_model_is_missing(&self) -> bool {
        let named = MODEL_WORDS.iter().flat_map(|w| self.lower.match_indices(w));
        named.into_iter().any(|(at, _)| {
            let rest: String = self.lower[at..].chars().take(MODEL_NAME_CHARS).collect();
            let end = rest.find(". ").unwrap_or(rest.len());
            MISSING.iter().any(|missing| rest[..end].contains(missing))
        })
    }

    /// Reports whether the text names the time window of a rate limit: "per minute", "/ day",
    /// "(TPM)".
    pub(super) fn names_window(&self) -> bool {
        let mut before_is_per = false;
        for token in self.lower.split(|c: char| !c.is_alphanumeric() && c != '/') {
            if super::WINDOWS.contains(&token) {
                return true;
            }
            let (is_per, unit) = match token.rsplit_once('/') {
                Some((_, unit)) => (true, unit),
                None => (before_is_per, token),
            };
            if is_per && super::WINDOW_UNITS.contains(&unit) {
                return true;
            }
            if !token.is_empty() {
                before_is_per = token == "per" || token.ends_with('/');
            }
        }
        false
    }

    fn set_message(&mut self, message: String) {
        let lower = message.to_lowercase();
        let mut kept = String::with_capacity(lower.len());
        for part in lower.split_inclusive(char::is_whitespace) {
            match part.find("://") {
                // Keep what precedes the URL.
                Some(at) => {
                    kept.push_str(part[..at].trim_end_matches(|c: char| c.is_ascii_alphanumeric()));
                }
                None => kept.push_str(part),
            }
        }
        self.lower = kept;
        self.message = message;
    }

    fn collect(&mut self, value: &Value, depth: usize) {
        if depth > MAX_DEPTH {
            return;
        }
        match value {
            Value::String(text) => {
                if let Some(inner) = json_in(text) {
                    self.collect(&inner, depth + 1);
                }
            }
            Value::Array(items) => {
                for item in items.iter().take(MAX_CODES) {
                    self.collect(item, depth + 1);
                }
            }
            Value::Object(map) => {
                for key in CODE_KEYS {
                    self.collect_code(key, &value[key]);
                }
                if map
                    .get("@type")
                    .and_then(Value::as_str)
                    .is_some_and(|kind| kind.ends_with("QuotaFailure"))
                {
                    self.names_quota = true;
                }
                if let Some(param) = value["param"].as_str().filter(|param| !param.is_empty()) {
                    self.param.get_or_insert_with(|| param.to_owned());
                }
                self.is_of_cloudflare |= value["cloudflare_error"] == Value::Bool(true);
                let metadata = &value["metadata"];
                self.is_upstream |= !metadata["provider_name"].is_null();
                self.is_moderated |=
                    metadata["reasons"].is_array() || metadata["flagged_input"].is_string();
                if let Some(code) = value["base_resp"]["status_code"].as_i64() {
                    self.minimax = Some(code).filter(|code| *code != 0);
                }
                for key in NESTED_KEYS {
                    if let Some(inner) = map.get(key) {
                        self.collect(inner, depth + 1);
                    }
                }
                if let Some(raw) = metadata["raw"].as_str().and_then(json_in) {
                    self.collect(&raw, depth + 1);
                }
            }
            _ => {}
        }
    }

    fn collect_code(&mut self, key: &str, value: &Value) {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return,
        };
        if self.status.is_none() && key != "type" && key != "reason" {
            self.status = text.parse().ok().filter(|s| (400..600).contains(s));
        }
        self.add_code(&text);
    }
}

/// Parses the body as JSON, or its first event if it is a stream. Returns `None` for a body that is
/// too long for an error.
pub(super) fn parse(body: &str) -> Option<Value> {
    if body.len() > MAX_ERROR_BYTES {
        return None;
    }
    let body = body.trim_start_matches('\u{feff}').trim();
    json_in(body).or_else(|| {
        let mut data = body.lines().filter_map(|line| line.strip_prefix("data:"));
        data.find_map(|data| json_in(data.trim()))
    })
}

/// Parses a text as a JSON object or list.
fn json_in(text: &str) -> Option<Value> {
    let text = text.trim();
    if text.len() > MAX_ERROR_BYTES || !text.starts_with(['{', '[']) {
        return None;
    }
    serde_json::from_str::<Value>(text)
        .ok()
        .filter(|value| value.is_object() || value.is_array())
}

/// Returns the error object inside a response, or the response itself.
fn error_of(value: &Value) -> &Value {
    let value = value.get(0).unwrap_or(value);
    let error = &value["error"];
    if error.is_object() { error } else { value }
}

/// Returns the text of the innermost error that has one.
fn text_of(value: &Value, depth: usize) -> Option<String> {
    if depth > MAX_DEPTH {
        return None;
    }
    match value {
        Value::String(text) => {
            let text = text.trim();
            let inner = json_in(text).and_then(|inner| text_of(&inner, depth + 1));
            inner.or_else(|| (!text.is_empty()).then(|| text.to_owned()))
        }
        Value::Array(items) => {
            let texts: Vec<String> = items
                .iter()
                .take(MAX_QUOTED)
                .filter_map(|item| text_of(item, depth + 1))
                .collect();
            (!texts.is_empty()).then(|| texts.join("; "))
        }
        Value::Object(map) => {
            if let Some(text) = place_and_text(value) {
                return Some(text);
            }
            let objects = OBJECT_KEYS.iter().filter_map(|key| map.get(*key));
            let nested = objects
                .filter(|inner| !inner.is_string())
                .find_map(|inner| text_of(inner, depth + 1));
            nested.or_else(|| {
                let texts = TEXT_KEYS.iter().filter_map(|key| map.get(*key));
                texts
                    .filter(|inner| !inner.is_number())
                    .find_map(|inner| text_of(inner, depth + 1))
            })
        }
        _ => None,
    }
}

/// Formats Pydantic's errors, which FastAPI sends: location (`loc`) and message (`msg`).
fn place_and_text(value: &Value) -> Option<String> {
    let text = value["msg"].as_str()?;
    let place: Vec<String> = value["loc"]
        .as_array()?
        .iter()
        .map(|part| {
            part.as_str()
                .map_or_else(|| part.to_string(), str::to_owned)
        })
        .collect();
    Some(format!("{}: {text}", place.join(".")))
}

/// Returns the four-digit code in parentheses after MiniMax's text.
fn number_in_brackets(text: &str) -> Option<i64> {
    let inner = text.trim_end().strip_suffix(')')?.rsplit_once('(')?.1;
    Some(inner)
        .filter(|digits| digits.len() == 4)
        .and_then(|digits| digits.parse().ok())
}

/// Returns the title of a page, or its beginning.
pub(in crate::protocol) fn page_message(status: u16, body: &str) -> String {
    let start: String = body.trim().chars().take(MAX_TEXT_CHARS).collect();
    if start.is_empty() {
        return format!("HTTP {status} without a body");
    }
    let lower = start.to_ascii_lowercase();
    let is_html = ["<html", "<!doctype html", "<head", "<body"]
        .iter()
        .any(|tag| lower.contains(tag));
    let shown = title(body).unwrap_or(start);
    if is_html && status == 200 {
        return format!("an HTML page instead of an answer (check `base_url`): {shown}");
    }
    shown
}

fn title(body: &str) -> Option<String> {
    let lower = body.to_ascii_lowercase();
    let from = lower.find("<title")?;
    let from = from + lower[from..].find('>')? + 1;
    let end = from + lower[from..].find("</title>")?;
    let title = body.get(from..end)?.trim();
    (!title.is_empty()).then(|| title.chars().take(MAX_TEXT_CHARS).collect())
}
