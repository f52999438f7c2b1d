//! Converts the end of a probe to its sample, without I/O.

use std::time::Duration;

use uuid::Uuid;

use super::Due;
use super::credentials::Held;
use super::end::End;
use super::transport::ConnectionTimes;
use llmwatch_core::model::{
    Aws, Endpoint, Fault, Google, Outcome, Sample, Secret, Timestamp, Warning,
};
use llmwatch_core::protocol::dialect::Answer;
use llmwatch_core::protocol::response::{ResponseOutcome, Times};
use llmwatch_core::protocol::response_head::ResponseHead;
use llmwatch_core::schedule::budget::MAX_ADDED_TOKENS;

/// How many bytes of the provider's message, and of a wrong answer, are kept.
const MAX_WORDS: usize = 500;
const MAX_ANSWER: usize = 200;

/// The inputs for recording a probe.
pub(super) struct Recorder<'a> {
    pub(super) endpoint: &'a Endpoint,
    /// The credential that was used.
    pub(super) held: &'a Held,
    pub(super) stages: ConnectionTimes,
    pub(super) total: Duration,
    /// The size of the request body in bytes.
    pub(super) sent: usize,
}

/// Returns the most tokens that `bytes` can hold, at about one byte each, plus those that a
/// provider adds.
fn most_tokens(bytes: usize) -> u32 {
    u32::try_from(bytes)
        .unwrap_or(u32::MAX)
        .saturating_add(MAX_ADDED_TOKENS)
}

impl Recorder<'_> {
    pub(super) fn record(&self, sample: &mut Sample, end: End) {
        let ConnectionTimes {
            dns,
            tcp,
            tls,
            proxy,
            remote,
            tls_expires_at,
            refused_with,
        } = self.stages;
        sample.tls_expires_at = tls_expires_at;
        sample.http_status = refused_with;
        sample.dns_ms = dns.map(ms);
        sample.tcp_ms = tcp.map(ms);
        sample.tls_ms = tls.map(ms);
        sample.proxy_ms = proxy.map(ms);
        sample.remote_addr = remote.map(|a| a.to_string());
        sample.total_ms = Some(ms(self.total));
        let fault = match end {
            End::Broken(fault, words) => Some((fault, Some(words).filter(|w| !w.is_empty()))),
            End::Answered(head, times, ended) => {
                self.record_answer(sample, head, times, &ended);
                ended.fault
            }
            End::BrokenOff(head, times, ended, fault, words) => {
                self.record_answer(sample, head, times, &ended);
                // An error that arrived before the response broke off is valid; an incomplete body
                // is not.
                let said = ended.fault.filter(|(fault, words)| {
                    words.is_some()
                        && !matches!(fault, Fault::BodyMalformed | Fault::HttpUnexpected)
                });
                Some(said.unwrap_or((fault, Some(words).filter(|w| !w.is_empty()))))
            }
        };
        let Some((fault, words)) = fault else {
            if self.endpoint.slow.exceeded_by(sample) == Some(true) {
                sample.outcome = Outcome::Slow;
            }
            return;
        };
        sample.outcome = Outcome::Failed;
        sample.fault = Some(fault);
        sample.attribution = Some(fault.attribution());
        sample.error = words.map(|w| self.presentable(&w, MAX_WORDS));
    }

    fn record_answer(
        &self,
        sample: &mut Sample,
        head: ResponseHead,
        times: Times,
        ended: &ResponseOutcome,
    ) {
        sample.http_status = Some(head.status);
        sample.http_version = Some(head.http_version);
        sample.request_id = head.request_id.map(|id| self.presentable(&id, 128));
        sample.server_ms = head.server_ms;
        sample.edge = head.edge.map(|place| self.presentable(&place, 64));
        sample.ratelimit_remaining_requests = head.remaining_requests;
        sample.ratelimit_remaining_tokens = head.remaining_tokens;
        sample.ratelimit_headroom = head.headroom;
        sample.organization = head.organization;
        if let Some(model) = &self.endpoint.model {
            let retirement = ended.answer.retiring.iter().find(|r| r.model == *model);
            sample.model_retires_at = retirement.and_then(|r| moment(&r.date));
            sample.model_successor = retirement
                .and_then(|r| r.successor.as_deref())
                .map(|name| self.presentable(name, 128));
        }
        if let Some(credit) = &ended.answer.credit {
            sample.credit_left = Some(credit.left);
            sample.credit_currency = Some(credit.currency.clone());
        }
        sample.retry_after_ms = head.retry_after.map(ms);
        sample.first_event_ms = times.first_event;
        sample.first_token_ms = times.first_token;
        sample.first_any_token_ms = times.first_any_token;
        sample.max_gap_ms = times.max_gap.map(round);
        sample.events = (times.events > 0).then_some(times.events);
        let answer = &ended.answer;
        sample.load_ms = answer.load_ms.map(round);
        sample.warnings = ended.warnings.clone();
        sample.input_tokens = answer.input_tokens;
        sample.output_tokens = answer.output_tokens;
        sample.reasoning_tokens = answer.reasoning_tokens;
        sample.finish_reason = answer
            .finish_reason
            .as_deref()
            .map(|r| self.presentable(r, 64));
        sample.response_model = answer.model.as_deref().map(|m| self.presentable(m, 128));
        sample.system_fingerprint = answer
            .fingerprint
            .as_deref()
            .map(|f| self.presentable(f, 128));
        let after_first = answer
            .output_tokens
            .filter(|n| *n > 1)
            .map(|n| f64::from(n - 1));
        sample.tpot_ms = times
            .first_token
            .zip(times.last_token)
            .zip(after_first)
            .map(|((first, last), n)| round((last - first) / n));
        self.price(sample, answer, times.bytes);
        if matches!(ended.fault, Some((Fault::AnswerWrong, _))) {
            sample.answer = Some(self.presentable(answer.visible_text(), MAX_ANSWER));
        }
    }

    /// Computes the cost of the probe. Implausible usage is recorded as reported, but priced at the
    /// limit that the number of bytes allows.
    fn price(&self, sample: &mut Sample, answer: &Answer, received: usize) {
        let apart = answer.reasoning_tokens.filter(|_| answer.reasoning_apart);
        let input = answer.input_tokens.unwrap_or(0);
        let output = answer
            .output_tokens
            .unwrap_or(0)
            .saturating_add(apart.unwrap_or(0));
        let most_input = most_tokens(self.sent);
        // Reasoning is not always sent, and is limited by the request's token budget.
        let most_output = most_tokens(received).saturating_add(self.endpoint.max_tokens);
        if input > most_input || output > most_output {
            sample.warnings.push(Warning::UsageImplausible);
        }
        if let (Some(price), Some(_)) = (self.endpoint.price, answer.input_tokens) {
            sample.cost_usd = Some(price.cost(input.min(most_input), output.min(most_output)));
        }
    }

    /// Sanitizes external text: no secrets, no control characters, limited length.
    fn presentable(&self, text: &str, most: usize) -> String {
        let endpoint = self.endpoint;
        let of_credentials = endpoint
            .entra
            .iter()
            .map(|entra| &entra.client_secret)
            .chain(endpoint.aws.iter().flat_map(Aws::secrets))
            .chain(endpoint.google.iter().flat_map(Google::secrets));
        let of_headers = self.endpoint.headers.iter().map(|(_, value)| value);
        let secrets = self
            .endpoint
            .api_key
            .iter()
            .chain(of_credentials)
            .chain(of_headers.clone());
        let redacted = secrets.fold(text.to_owned(), |t, secret: &Secret| secret.redact(&t));
        // The key itself follows `Bearer ` and similar prefixes, and may be echoed alone.
        let bare =
            of_headers.filter_map(|value| Some(Secret::new(value.expose().split_once(' ')?.1)));
        let redacted = bare.fold(redacted, |t, secret| secret.redact(&t));
        let redacted = self.held.mask(&redacted);
        let clean: String = redacted
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let clean = hide_keys(&clean);
        clean[..clean.floor_char_boundary(most)].trim().to_owned()
    }
}

/// A date or a moment, as vendors write when a model ends.
pub(super) fn moment(text: &str) -> Option<Timestamp> {
    Timestamp::parse(text)
        .or_else(|_| Timestamp::parse(&format!("{text}T00:00:00Z")))
        .ok()
}

/// How API keys, tokens of Google and JSON Web Tokens begin.
const KEY_PREFIXES: [&str; 6] = ["sk-", "sk_", "AIza", "whsec_", "ya29.", "eyJ"];
/// How the id of an AWS key begins, and its length.
const AWS_PREFIXES: [&str; 2] = ["AKIA", "ASIA"];
const AWS_ID: usize = 20;

/// Masks anything that looks like a credential, ours or not, and the signatures of requests.
fn hide_keys(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut is_signature = false;
    for word in text.split_inclusive(ends_word) {
        let bare = word.trim_end_matches(ends_word);
        if looks_like_key(bare) || is_signature && is_hex(bare) {
            out += "***";
            out += &word[bare.len()..];
        } else {
            out += word;
        }
        is_signature = bare.ends_with("Signature") || is_signature && bare.is_empty();
    }
    out
}

fn ends_word(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | ':' | ',' | '=' | '&' | '<' | '>')
}

fn looks_like_key(word: &str) -> bool {
    let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    bare.len() >= 12 && KEY_PREFIXES.iter().any(|p| bare.starts_with(p)) || is_aws_id(bare)
}

fn is_aws_id(word: &str) -> bool {
    let is_id = |id: &[u8]| {
        id.iter()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
    };
    AWS_PREFIXES.iter().any(|p| word.starts_with(p))
        && word.as_bytes().get(..AWS_ID).is_some_and(is_id)
}

fn is_hex(word: &str) -> bool {
    word.len() >= 32 && word.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Milliseconds with microsecond resolution.
pub(super) fn ms(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

fn round(ms: f64) -> f64 {
    (ms * 1000.0).round() / 1000.0
}

/// Creates the sample of a probe that has not ended yet.
pub(super) fn blank(endpoint: &Endpoint, due: Due, location: &str) -> Sample {
    Sample {
        id: Uuid::now_v7(),
        model: endpoint.model.clone(),
        scheduled_at: due.scheduled_at,
        ..Sample::unmeasured(
            &endpoint.name,
            endpoint.provider,
            endpoint.api,
            location,
            due.started_at,
            due.trigger,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Environment};
    use crate::redact::Redactor;

    #[test]
    fn echoed_key_is_redacted_in_every_form() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("monitor.toml");
        let keys = "provider = \"openai\"\nbase_url = \"http://127.0.0.1:1/v1\"\napi_key = \"key-of-mine\"\n\
                    headers = { Proxy-Key = \"Bearer second-key\" }";
        std::fs::write(&path, format!("[[endpoint]]\n{keys}\n")).unwrap();
        let config = config::load(&path, &Environment::default()).unwrap();
        let token = Secret::new("token-of-mine");
        let redactor = Redactor::of_secrets([&token]);
        let held = Held::Token(token, redactor);
        let recorder = Recorder {
            endpoint: &config.endpoints[0],
            held: &held,
            stages: ConnectionTimes::default(),
            total: Duration::ZERO,
            sent: 0,
        };
        for (said, shown) in [
            ("key-of-mine is wrong", "*** is wrong"),
            (r#"{"token":"second-key"}"#, r#"{"token":"***"}"#),
            ("got Bearer second-key", "got ***"),
            (
                "the token token-of-mine has expired",
                "the token *** has expired",
            ),
            (r#"{"key":"sk-somebody-elses"}"#, r#"{"key":"***"}"#),
            (
                "key=sk-somebody-elses,AIzaSomebodyElses: no",
                "key=***,***: no",
            ),
            ("sk-short: a:b, \"c\" = d", "sk-short: a:b, \"c\" = d"),
            (
                "Credential=AKIAIOSFODNN7EXAMPLE/20261130/us-east-1/bedrock/aws4_request, \
                 Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
                "Credential=***, Signature=***",
            ),
            (
                "?X-Amz-Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7&x=1",
                "?X-Amz-Signature=***&x=1",
            ),
            (
                "id <AccessKeyId>ASIAIOSFODNN7EXAMPLE</AccessKeyId>",
                "id <AccessKeyId>***</AccessKeyId>",
            ),
            (
                "arn:aws:iam::123456789012:role/llm, digest 5d672d79c15b13162d9279b0855cfba6",
                "arn:aws:iam::123456789012:role/llm, digest 5d672d79c15b13162d9279b0855cfba6",
            ),
        ] {
            assert_eq!(recorder.presentable(said, MAX_WORDS), shown);
        }
    }
}
