//! Warns before something fails: a model that will be shut down, an answer from a model that was
//! not requested, a changed fingerprint, an account close to its limit, a certificate that expires.
//! Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::shared_fate::{self, Whereabouts};
use super::{Blip, Cleared, DetectedCause, Patterns};
use crate::message::values::{Locale, clean};
use crate::model::{
    Advice, AdviceKind, Endpoint, EndpointName, Provider, Sample, SharedFate, Timestamp, Warning,
};
use crate::text;

const DAY_MS: i64 = 86_400_000;
/// Days before a model or a certificate ends at which the advice is repeated.
const MODEL_DAYS: [i64; 5] = [60, 30, 14, 7, 1];
const CERTIFICATE_DAYS: [i64; 4] = [14, 7, 3, 1];
/// How often what the endpoints of a group share is determined again when nothing new is known.
const SHARED_EVERY_MS: i64 = 3_600_000;
/// Days of credit left at which the advice is repeated.
const CREDIT_DAYS: [i64; 3] = [7, 3, 1];
/// The step of the advice that the credit is not known.
const CREDIT_HIDDEN: i64 = i64::MAX;
/// While the rate of use is unknown, advice is given below this credit, in the account's currency.
const CREDIT_LOW: f64 = 1.0;
/// The time between two stored amounts, and how many are stored: a week.
const CREDIT_EVERY_MS: i64 = DAY_MS / 4;
const CREDIT_READINGS: usize = 28;
/// The share of the rate limit left, 0 to 1, below which advice is given, and above which it ends.
const HEADROOM_LOW: f64 = 0.10;
const HEADROOM_FINE: f64 = 0.20;
/// How many fingerprints are remembered. A provider serves a model from several backends at once.
const FINGERPRINTS: usize = 16;
/// How often the same advice is given at most: a provider may alternate between two models, and a
/// limit may fill and recover.
const QUIET_MS: i64 = DAY_MS;
/// How often advice about a recurring pattern is given at most: it may come and go.
const PATTERN_QUIET_MS: i64 = 90 * DAY_MS;
/// Brief outages, and the days with one, from which advice is given; and the period that counts.
const BRIEF_FROM: usize = 6;
const BRIEF_DAYS: usize = 3;
const BRIEF_WITHIN_MS: i64 = 7 * DAY_MS;
/// Failures that make an outage rather than chance, and how many outages are remembered.
const BRIEF_FAILURES: u32 = 3;
const BRIEF_REMEMBERED: usize = 20;
/// How long a changed fingerprint is reported as a change.
const NEWS_MS: i64 = DAY_MS;

/// What is known about the endpoints, and the advice given so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Advisor {
    standing: Vec<Advice>,
    fingerprints: BTreeMap<EndpointName, BTreeSet<String>>,
    retires_at: BTreeMap<EndpointName, Timestamp>,
    /// The model that its vendor names as the successor, by endpoint.
    #[serde(default)]
    successors: BTreeMap<EndpointName, String>,
    #[serde(default)]
    credit: BTreeMap<EndpointName, CreditHistory>,
    /// Where the endpoints of groups are, according to their answers.
    #[serde(default)]
    places: BTreeMap<EndpointName, Whereabouts>,
    /// What the endpoints of each group share, and when that was determined.
    #[serde(default)]
    shared: BTreeMap<String, (Timestamp, Vec<SharedFate>)>,
    /// When advice was last given, and at which step, by endpoint and kind.
    #[serde(default)]
    #[serde(rename = "told")]
    given: BTreeMap<EndpointName, BTreeMap<AdviceKind, (Timestamp, i64)>>,
    /// The last outages that were too brief for an alert, by endpoint.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    brief: BTreeMap<EndpointName, Vec<BriefOutage>>,
}

/// The credit left over the last week.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct CreditHistory {
    /// The amounts, [`CREDIT_EVERY_MS`] apart, the oldest first.
    readings: Vec<(Timestamp, f64)>,
}

impl CreditHistory {
    fn add(&mut self, now: Timestamp, left: f64) {
        // The account was topped up: earlier amounts say nothing about how long the credit lasts.
        if self
            .readings
            .last()
            .is_some_and(|(_, before)| left > *before)
        {
            self.readings.clear();
        }
        let is_due = match self.readings.last() {
            Some((at, _)) => now.since_ms(*at).abs() >= CREDIT_EVERY_MS,
            None => true,
        };
        if is_due {
            self.readings.push((now, left));
        }
        let excess = self.readings.len().saturating_sub(CREDIT_READINGS);
        self.readings.drain(..excess);
    }

    /// Returns how many days `left` lasts at the rate since the oldest reading. `None` for the
    /// first half day, and while nothing is used.
    fn days_left(&self, now: Timestamp, left: f64) -> Option<f64> {
        let (at, before) = *self.readings.first()?;
        let days = now.since_ms(at) as f64 / DAY_MS as f64;
        let used = before - left;
        (days >= 0.5 && used > 0.0).then(|| left * days / used)
    }
}

/// An outage too brief for an alert: when it began, and its length in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct BriefOutage(Timestamp, i64);

/// What a sample says about one kind of advice.
enum Finding {
    /// Nothing.
    Silent,
    /// All is well.
    Fine,
    /// Advice to give, at this step.
    Worth(i64, String),
}

impl Finding {
    /// Returns advice with this text; without a text, all is well.
    fn of(text: Option<String>) -> Self {
        text.map_or(Self::Fine, |text| Self::Worth(0, text))
    }
}

impl Advisor {
    /// Returns the open advice, in the order in which it was given.
    pub fn standing(&self) -> &[Advice] {
        &self.standing
    }

    /// Forgets the endpoints that `is_known` does not know.
    pub fn retain(&mut self, is_known: impl Fn(&str) -> bool) {
        self.standing.retain(|a| is_known(&a.endpoint));
        self.fingerprints.retain(|name, _| is_known(name));
        self.retires_at.retain(|name, _| is_known(name));
        self.successors.retain(|name, _| is_known(name));
        self.credit.retain(|name, _| is_known(name));
        self.places.retain(|name, _| is_known(name));
        self.shared.retain(|_, (_, all)| {
            all.iter()
                .flat_map(|s| &s.endpoints)
                .all(|name| is_known(name))
        });
        self.given.retain(|name, _| is_known(name));
        self.brief.retain(|name, _| is_known(name));
    }

    /// Remembers failures that ended without an alert.
    pub fn remember_brief(&mut self, blip: &Blip) {
        let is_outage = blip.cause == DetectedCause::Errors
            && blip.cleared == Cleared::Recovered
            && blip.k >= BRIEF_FAILURES;
        if is_outage {
            let known = self.brief.entry(blip.endpoint.clone()).or_default();
            let length_ms = blip.ended_at.since_ms(blip.started_at).max(0);
            known.push(BriefOutage(blip.started_at, length_ms));
            if known.len() > BRIEF_REMEMBERED {
                known.remove(0);
            }
        }
    }

    /// Returns the advice about brief outages of the last days, if they are many.
    fn brief_outages(&self, name: &str, now: Timestamp, locale: &Locale) -> Option<String> {
        let known = self.brief.get(name)?.iter();
        let recent: Vec<_> = known
            .filter(|BriefOutage(at, _)| now.since_ms(*at) <= BRIEF_WITHIN_MS)
            .collect();
        let days: BTreeSet<_> = recent
            .iter()
            .map(|BriefOutage(at, _)| at.0.div_euclid(DAY_MS))
            .collect();
        let longest_ms = recent.iter().map(|BriefOutage(_, ms)| *ms).max()?;
        (recent.len() >= BRIEF_FROM && days.len() >= BRIEF_DAYS).then(|| {
            let times = locale.number(recent.len());
            let longest = locale.duration(longest_ms as f64 / 1000.0);
            text!(
                locale,
                "{name} failed {times} times in the last 7 days, each time too briefly for an alert (at most {longest})",
                name,
                times,
                longest
            )
        })
    }

    /// Evaluates a sample and returns the advice to send because of it.
    pub fn consider(
        &mut self,
        endpoint: &Endpoint,
        sample: &Sample,
        locale: &Locale,
    ) -> Vec<Advice> {
        let now = sample.ended_at();
        self.note_retirement(&endpoint.name, sample);
        let name = &endpoint.name;
        let credit = self.credit(endpoint, sample, now, locale);
        let findings = [
            (
                AdviceKind::ModelRetires,
                self.retirement(endpoint, now, locale),
            ),
            (
                AdviceKind::Certificate,
                certificate(name, sample.tls_expires_at, now, locale),
            ),
            (
                AdviceKind::OtherModel,
                other_model(endpoint, sample, locale),
            ),
            (
                AdviceKind::Headroom,
                self.headroom(endpoint, sample, locale),
            ),
            (
                AdviceKind::Fingerprint,
                self.fingerprint(endpoint, sample, now, locale),
            ),
            (AdviceKind::Credit, credit),
        ];
        self.settle(name, findings, now)
    }

    /// Remembers when the model retires, and its successor.
    fn note_retirement(&mut self, name: &EndpointName, sample: &Sample) {
        let Some(at) = sample.model_retires_at else {
            return;
        };
        self.retires_at.insert(name.clone(), at);
        match &sample.model_successor {
            Some(successor) => self.successors.insert(name.clone(), clean(successor)),
            None => self.successors.remove(name),
        };
    }

    fn retirement(&self, endpoint: &Endpoint, now: Timestamp, locale: &Locale) -> Finding {
        let name = &endpoint.name;
        let at = self.retires_at.get(name).copied();
        ends(at, now, &MODEL_DAYS, |days, date| {
            let model = endpoint.model.as_deref().unwrap_or(name);
            let end = match days {
                0 => text!(
                    locale,
                    "{name}: the model {model} will be shut down within a day, on {date}",
                    name,
                    model,
                    date
                ),
                _ => text!(
                    locale,
                    days => "{name}: the model {model} will be shut down in {days} day, on {date}",
                    "{name}: the model {model} will be shut down in {days} days, on {date}";
                    name, model, days, date
                ),
            };
            match self.successors.get(name) {
                Some(successor) => text!(
                    locale,
                    "{end}; its successor is {successor}",
                    end,
                    successor
                ),
                None => end,
            }
        })
    }

    /// Evaluates the recurring patterns of an endpoint and returns the advice to send because of
    /// them.
    pub fn consider_patterns(
        &mut self,
        name: &str,
        patterns: &Patterns,
        now: Timestamp,
        locale: &Locale,
    ) -> Vec<Advice> {
        let rush = patterns.rush.map(|rush| {
            let factor = locale.decimal(f64::from(rush.factor), 1);
            let from = format!("{:02}:00", rush.from_hour);
            let to = format!("{:02}:00", rush.to_hour);
            text!(
                locale,
                "{name} is usually {factor} times slower on weekdays from {from} to {to} UTC",
                name,
                factor,
                from,
                to
            )
        });
        let minutes = patterns.minutes.map(|m| {
            let from = m.from_minute;
            let to = m.to_minute;
            let share = locale.percentage(100.0 * f64::from(m.share), 0);
            text!(
                locale,
                "{name}: requests fail between minute {from} and {to} in {share} of all hours",
                name,
                from,
                to,
                share
            )
        });
        let cold = patterns.cold_starts.then(|| {
            text!(
                locale,
                "{name} starts cold: after idle periods its first answer is late",
                name
            )
        });
        let findings = [
            (AdviceKind::RushHours, Finding::of(rush)),
            (AdviceKind::FailingMinutes, Finding::of(minutes)),
            (AdviceKind::ColdStarts, Finding::of(cold)),
            (
                AdviceKind::BriefOutages,
                Finding::of(self.brief_outages(name, now, locale)),
            ),
        ];
        self.settle(name, findings, now)
    }

    /// Returns what the endpoints of groups share.
    pub fn shared(&self) -> impl Iterator<Item = &SharedFate> {
        self.shared.values().flat_map(|(_, all)| all)
    }

    /// Determines from time to time what the endpoints of the group of `endpoint` share.
    /// `endpoints` are all endpoints in the order of the configuration. Returns the advice to send
    /// because of it.
    pub fn consider_group(
        &mut self,
        endpoint: &Endpoint,
        sample: &Sample,
        endpoints: &[Arc<Endpoint>],
        locale: &Locale,
    ) -> Vec<Advice> {
        let Some(group) = endpoint.group.as_deref() else {
            return Vec::new();
        };
        let now = sample.ended_at();
        let is_news = self
            .places
            .entry(endpoint.name.clone())
            .or_default()
            .note(sample);
        let is_fresh = self
            .shared
            .get(group)
            .is_some_and(|(at, _)| (0..SHARED_EVERY_MS).contains(&now.since_ms(*at)));
        if is_fresh && !is_news {
            return Vec::new();
        }
        let members: Vec<_> = endpoints
            .iter()
            .map(Arc::as_ref)
            .filter(|e| e.group.as_deref() == Some(group))
            .collect();
        let found = shared_fate::find(group, &members, &self.places);
        let Some(first) = members.first() else {
            return Vec::new();
        };
        let telling = shared_fate::without_alternative(first, &members, &found);
        let finding = if telling.is_empty() {
            Finding::Fine
        } else {
            let why: Vec<_> = telling
                .into_iter()
                .map(|fate| shared_fate::sentence(fate, locale))
                .collect();
            let first = &first.name;
            let why = why.join("; ");
            let text = text!(
                locale,
                "{group}: no alternative is independent of {first}: {why}",
                group,
                first,
                why
            );
            Finding::Worth(0, text)
        };
        self.shared.insert(group.to_owned(), (now, found));
        let name = first.name.clone();
        self.settle(&name, [(AdviceKind::SharedFate, finding)], now)
    }

    fn settle<const N: usize>(
        &mut self,
        name: &str,
        findings: [(AdviceKind, Finding); N],
        now: Timestamp,
    ) -> Vec<Advice> {
        let mut due = Vec::new();
        for (kind, finding) in findings {
            let place = self
                .standing
                .iter()
                .position(|a| a.endpoint == name && a.kind == kind);
            match (place, finding) {
                (_, Finding::Silent) | (None, Finding::Fine) => {}
                (Some(place), Finding::Fine) => {
                    self.standing.remove(place);
                }
                (None, Finding::Worth(step, text)) => {
                    let advice = Advice {
                        endpoint: name.into(),
                        kind,
                        text,
                        since: now,
                        step,
                    };
                    self.standing.push(advice.clone());
                    if self.should_repeat(&advice, now) {
                        due.push(advice);
                    }
                }
                (Some(place), Finding::Worth(step, text)) => {
                    let advice = &mut self.standing[place];
                    advice.text = text;
                    if step != std::mem::replace(&mut advice.step, step) {
                        let advice = advice.clone();
                        if self.should_repeat(&advice, now) {
                            due.push(advice);
                        }
                    }
                }
            }
        }
        due
    }

    /// Reports whether to give the advice now, and records it if so. The same advice is not
    /// repeated within [`quiet_ms`] unless it has reached the next step.
    fn should_repeat(&mut self, advice: &Advice, now: Timestamp) -> bool {
        let known = self.given.entry(advice.endpoint.clone()).or_default();
        if let Some((at, step)) = known.get(&advice.kind) {
            let is_same = *step == advice.step || advice.kind == AdviceKind::Fingerprint;
            if is_same && (0..quiet_ms(advice.kind)).contains(&now.since_ms(*at)) {
                return false;
            }
        }
        known.insert(advice.kind, (now, advice.step));
        true
    }

    fn headroom(&self, endpoint: &Endpoint, sample: &Sample, locale: &Locale) -> Finding {
        let Some(share) = sample.ratelimit_headroom else {
            return Finding::Silent;
        };
        let stands = self
            .standing
            .iter()
            .any(|a| a.endpoint == endpoint.name && a.kind == AdviceKind::Headroom);
        if share >= if stands { HEADROOM_FINE } else { HEADROOM_LOW } {
            return Finding::Fine;
        }
        let name = &endpoint.name;
        let left = locale.percentage(share * 100.0, 0);
        Finding::Worth(
            0,
            text!(
                locale,
                "{name}: only {left} of the account's rate limit is left",
                name,
                left
            ),
        )
    }

    /// Evaluates the account's prepaid credit: how long it lasts at last week's rate, or that
    /// little is left.
    fn credit(
        &mut self,
        endpoint: &Endpoint,
        sample: &Sample,
        now: Timestamp,
        locale: &Locale,
    ) -> Finding {
        let name = &endpoint.name;
        let Some(left) = sample.credit_left else {
            if !sample.warnings.contains(&Warning::CreditHidden) {
                return Finding::Silent;
            }
            let text = text!(
                locale,
                "{name}: this key may not read the account's credit and has no limit of its own, so nothing warns before the credit is used up",
                name
            );
            return Finding::Worth(CREDIT_HIDDEN, text);
        };
        let history = self.credit.entry(endpoint.name.clone()).or_default();
        history.add(now, left);
        let days = history.days_left(now, left);
        let amount = match sample.credit_currency.as_deref() {
            None | Some("USD") => locale.money(left),
            Some(other) => format!("{} {}", locale.decimal(left, 2), clean(other)),
        };
        if left <= 0.0 {
            let text = text!(locale, "{name}: the account's credit is used up", name);
            return Finding::Worth(0, text);
        }
        let step = days.and_then(|days| {
            CREDIT_DAYS
                .into_iter()
                .filter(|step| days <= *step as f64)
                .min()
        });
        match (step, days) {
            (Some(step), Some(days)) => {
                let lasts = locale.duration((days * DAY_MS as f64 / 1000.0).floor());
                let text = text!(
                    locale,
                    "{name}: the account's credit of {amount} will last {lasts} at the current rate",
                    name,
                    amount,
                    lasts
                );
                Finding::Worth(step, text)
            }
            (None, None) if left < CREDIT_LOW => {
                let text = text!(
                    locale,
                    "{name}: only {amount} of the account's credit is left",
                    name,
                    amount
                );
                Finding::Worth(CREDIT_DAYS[0], text)
            }
            _ => Finding::Fine,
        }
    }

    fn fingerprint(
        &mut self,
        endpoint: &Endpoint,
        sample: &Sample,
        now: Timestamp,
        locale: &Locale,
    ) -> Finding {
        let Some(seen) = &sample.system_fingerprint else {
            return Finding::Silent;
        };
        let known = self.fingerprints.entry(endpoint.name.clone()).or_default();
        let is_first = known.is_empty();
        if known.len() >= FINGERPRINTS && !known.contains(seen) {
            known.clear();
        }
        if known.insert(seen.clone()) && !is_first {
            let name = &endpoint.name;
            let text = text!(
                locale,
                "{name}: the model has a new system fingerprint, {seen}",
                name,
                seen
            );
            return Finding::Worth(now.0, text);
        }
        let known = self
            .standing
            .iter()
            .find(|a| a.endpoint == endpoint.name && a.kind == AdviceKind::Fingerprint);
        match known {
            Some(known) if now.since_ms(Timestamp(known.step)) > NEWS_MS => Finding::Fine,
            _ => Finding::Silent,
        }
    }
}

/// Returns the advice about an approaching end, with the smallest of `steps` (days) that is
/// reached.
fn ends(
    at: Option<Timestamp>,
    now: Timestamp,
    steps: &[i64],
    say: impl Fn(i64, String) -> String,
) -> Finding {
    let Some(at) = at else { return Finding::Silent };
    let left = at.since_ms(now);
    let Some(step) = steps
        .iter()
        .copied()
        .filter(|days| left <= days * DAY_MS)
        .min()
    else {
        return Finding::Fine;
    };
    let days = left.div_euclid(DAY_MS).max(0);
    Finding::Worth(
        step,
        say(days, at.to_datetime().format("%Y-%m-%d").to_string()),
    )
}

fn certificate(
    name: &EndpointName,
    expires_at: Option<Timestamp>,
    now: Timestamp,
    locale: &Locale,
) -> Finding {
    ends(
        expires_at,
        now,
        &CERTIFICATE_DAYS,
        |days, date| match days {
            0 => text!(
                locale,
                "{name}: the server's certificate expires within a day, on {date}",
                name,
                date
            ),
            _ => text!(
                locale,
                days => "{name}: the server's certificate expires in {days} day, on {date}",
                "{name}: the server's certificate expires in {days} days, on {date}";
                name, days, date
            ),
        },
    )
}

/// Reports whether another model answered. A dated release of the model, or one with a tag, is the
/// same model.
fn other_model(endpoint: &Endpoint, sample: &Sample, locale: &Locale) -> Finding {
    let (Some(asked), Some(answered)) =
        (endpoint.model.as_deref(), sample.response_model.as_deref())
    else {
        return Finding::Silent;
    };
    // On Azure the deployment's name says nothing about the model.
    if endpoint.provider == Provider::AzureOpenAi && endpoint.deployment.as_deref() == Some(asked) {
        return Finding::Silent;
    }
    let wanted = without_vendor(asked);
    let got = without_vendor(answered);
    let wanted = wanted.strip_suffix("-latest").unwrap_or(&wanted);
    let is_it = got.strip_prefix(wanted).is_some_and(|rest| {
        rest.is_empty()
            || rest.starts_with([':', '@'])
            || rest == "-latest"
            || rest
                .strip_prefix('-')
                .is_some_and(|r| r.starts_with(|c: char| c.is_ascii_digit()))
    });
    if is_it || is_same_model(asked, answered) {
        return Finding::Fine;
    }
    let name = &endpoint.name;
    Finding::Worth(
        0,
        text!(
            locale,
            "{name}: asked for the model {asked}, answered by {answered}",
            name,
            asked,
            answered
        ),
    )
}

/// Tokens of a model's name that say how its weights are stored, not which model it is.
const STORAGE: &[&str] = &[
    "4bit",
    "8bit",
    "awq",
    "bf16",
    "bnb",
    "f16",
    "f32",
    "fp16",
    "fp4",
    "fp8",
    "gguf",
    "ggml",
    "gptq",
    "int4",
    "int8",
    "mlx",
    "mxfp4",
    "nvfp4",
    "onnx",
    "quantized",
    "safetensors",
    "bin",
    "ud",
];

/// Returns a model's name in lower case without the vendor before it, as gateways write it.
fn without_vendor(model: &str) -> String {
    let name = model.rsplit('/').next().unwrap_or(model);
    name.to_ascii_lowercase()
}

/// Reports whether two names are spellings of one model: a file name, another notation, another
/// storage format, a dated release. `Qwen/Qwen3-4B`, `qwen3:4b-q4_K_M` and
/// `/models/Qwen3-4B.Q4_K_M.gguf` are the same model.
fn is_same_model(asked: &str, answered: &str) -> bool {
    let wanted = name_tokens(asked);
    let got = name_tokens(answered);
    if wanted.is_empty() || got.is_empty() {
        return false;
    }
    let is_dated = got.strip_prefix(wanted.as_slice()).is_some_and(|rest| {
        rest.first().is_some_and(|first| first.len() >= 3)
            && rest
                .iter()
                .all(|token| token.chars().all(|c| c.is_ascii_digit()))
    });
    is_dated || wanted.concat() == got.concat()
}

/// Returns the parts of a model's name that identify the model, in lower case.
fn name_tokens(name: &str) -> Vec<String> {
    let file = name
        .rsplit(['/', '\\'])
        .next()
        .unwrap_or(name)
        .to_ascii_lowercase();
    // `…-00001-of-00003.gguf` is one part of a split file.
    let model_file = file.split("-00001-of-").next().unwrap_or(&file);
    let mut tokens = Vec::new();
    for token in model_file.split(|c: char| !c.is_alphanumeric()) {
        // `q4_k_m`, `iq4_xs`: everything after it describes the storage as well.
        let digits = token.trim_start_matches('i').strip_prefix('q');
        if digits.is_some_and(|d| d.len() == 1 && d.chars().all(|c| c.is_ascii_digit())) {
            break;
        }
        if !token.is_empty() && !STORAGE.contains(&token) && token != "latest" {
            tokens.push(token.to_owned());
        }
    }
    tokens
}

/// Returns how long the same advice is not repeated, in milliseconds.
fn quiet_ms(kind: AdviceKind) -> i64 {
    match kind {
        AdviceKind::RushHours
        | AdviceKind::FailingMinutes
        | AdviceKind::ColdStarts
        | AdviceKind::SharedFate
        | AdviceKind::BriefOutages => PATTERN_QUIET_MS,
        _ => QUIET_MS,
    }
}
