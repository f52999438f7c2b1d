//! Redacts the secrets of the configuration in text from outside, before it is logged, stored,
//! shown or sent. One place knows every secret in every form in which others may repeat it.
//! Invisible characters are escaped as well.
//!
//! All text from outside passes [`Redactor::clean`] once, where it enters: answers of providers,
//! status pages, mail servers, receivers, proxies and collectors. Code after that point can use it
//! as it is.

mod decoded;

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use url::Url;

use crate::config::{ChannelKind, Email, Proxy, Settings, Webhook};
use crate::files;
use llmwatch_core::message::values::escape_invisible;
use llmwatch_core::model::{Aws, Endpoint, Google, Sample, Secret, VendorPage};

/// Shorter secrets (in bytes) are not redacted: they would mangle ordinary text.
const MIN_SECRET: usize = 6;
/// Shorter parts of a secret URL (in bytes) are not redacted.
const MIN_PART: usize = 8;
/// Replaces a secret.
const MASK: &str = "***";
/// Parts of receivers' URLs that are the same for everyone.
const COMMON_PARTS: [&str; 20] = [
    "services",
    "webhooks",
    "workflows",
    "triggers",
    "messages",
    "incoming",
    "incomingwebhook",
    "integrations",
    "notifications",
    "messagesend",
    "application/json",
    "sendmessage",
    "webhookb2",
    "llmwatch",
    "markdown",
    "telegram",
    "mattermost",
    "alertmanager",
    "opsgenie",
    "pagerduty",
];

/// Knows every secret of a configuration. Cheap to clone.
#[derive(Clone, Default)]
pub struct Redactor(Option<Arc<Patterns>>);

struct Patterns {
    automaton: AhoCorasick,
    texts: Vec<String>,
}

impl Patterns {
    /// Returns where `text` contains a secret.
    fn found(&self, text: &[u8]) -> Vec<Range<usize>> {
        self.automaton
            .find_iter(text)
            .map(|found| found.range())
            .collect()
    }

    /// Returns where `text` ends with the beginning of a secret.
    fn begun_at_end(&self, text: &[u8]) -> Option<Range<usize>> {
        let longest = self.texts.iter().filter_map(|secret| {
            let from = MIN_SECRET.min(secret.len());
            // A short text cannot end with more of a long secret.
            (from..secret.len().min(text.len() + 1))
                .rev()
                .find(|length| text.ends_with(&secret.as_bytes()[..*length]))
        });
        let length = longest.max()?;
        Some(text.len() - length..text.len())
    }
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Redactor")
    }
}

impl Redactor {
    /// Collects the secrets of `config`.
    pub fn new(config: &Settings) -> Self {
        let mut forms = Forms::default();
        forms.add_config(config);
        Self::of(forms)
    }

    /// Knows only `secrets`, such as a token that was fetched.
    pub fn of_secrets<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let mut forms = Forms::default();
        for secret in secrets {
            forms.add(secret.expose());
        }
        Self::of(forms)
    }

    fn of(forms: Forms) -> Self {
        let texts: Vec<_> = forms.0.into_iter().collect();
        // Fails only beyond four billion states, which takes gigabytes of secrets. By default, a few
        // patterns become a DFA, which takes 2.5 kB for each byte of a secret: 5 MB for a fetched
        // token of 2 KiB.
        let automaton = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .match_kind(MatchKind::LeftmostLongest)
            .build(&texts);
        Self(
            automaton
                .ok()
                .filter(|_| !texts.is_empty())
                .map(|automaton| Arc::new(Patterns { automaton, texts })),
        )
    }

    /// Replaces every secret in `text` with `***` and escapes invisible characters.
    pub fn clean(&self, text: &str) -> String {
        self.masked(text, Patterns::found)
    }

    /// Cleans a text that may have been truncated: also masks a secret of which only the beginning
    /// remains.
    pub fn clean_cut(&self, text: &str) -> String {
        self.masked(text, |patterns, text| {
            let mut found = patterns.found(text);
            found.extend(patterns.begun_at_end(text));
            found
        })
    }

    /// Masks what `find` finds in `text`, in whatever form it is there.
    fn masked(&self, text: &str, find: fn(&Patterns, &[u8]) -> Vec<Range<usize>>) -> String {
        let Some(patterns) = &self.0 else {
            return escape_invisible(text);
        };
        let mut found: Vec<_> = decoded::levels(text)
            .flat_map(|level| {
                let found = find(patterns, &level.bytes);
                found.into_iter().map(move |range| level.original(range))
            })
            .collect();
        found.sort_unstable_by_key(|range| range.start);
        let mut clean = String::with_capacity(text.len());
        let mut end = 0;
        for range in found {
            if range.start >= end {
                clean += text.get(end..range.start).unwrap_or_default();
                clean += MASK;
            }
            end = end.max(range.end);
        }
        clean += text.get(end..).unwrap_or_default();
        escape_invisible(&clean)
    }

    /// Cleans the fields of `sample` that come from the provider's answer.
    pub fn clean_sample(&self, sample: &mut Sample) {
        let texts = [
            &mut sample.finish_reason,
            &mut sample.response_model,
            &mut sample.system_fingerprint,
            &mut sample.request_id,
            &mut sample.edge,
            &mut sample.error,
            &mut sample.answer,
        ];
        for text in texts.into_iter().flatten() {
            *text = self.clean_cut(text);
        }
    }

    /// Cleans the text of a status page.
    pub fn clean_page(&self, page: &mut VendorPage) {
        page.url = self.clean(&page.url);
        for incident in &mut page.incidents {
            incident.id = self.clean(&incident.id);
            incident.name = self.clean(&incident.name);
            incident.phase = self.clean(&incident.phase);
            if let Some(url) = &mut incident.url {
                *url = self.clean(url);
            }
            for component in &mut incident.components {
                *component = self.clean(component);
            }
        }
    }
}

/// A redactor for a task that seldom needs one: it is built when it is first needed, and again
/// after a reload. The patterns of many channels take a megabyte.
#[derive(Debug, Default)]
pub struct LazyRedactor(Option<(Arc<Settings>, Redactor)>);

impl LazyRedactor {
    /// Replaces every secret of `config` in `text`.
    pub fn clean(&mut self, config: &Arc<Settings>, text: &str) -> String {
        let known = self.0.take().filter(|(of, _)| Arc::ptr_eq(of, config));
        let (_, redactor) = self
            .0
            .insert(known.unwrap_or_else(|| (config.clone(), Redactor::new(config))));
        redactor.clean(text)
    }
}

/// The texts to replace.
#[derive(Default)]
struct Forms(BTreeSet<String>);

impl Forms {
    fn add_config(&mut self, config: &Settings) {
        self.add_proxy(&config.monitor.proxy);
        for endpoint in &config.endpoints {
            self.add_endpoint(endpoint);
        }
        for channel in &config.channels {
            match &channel.kind {
                ChannelKind::Email(email) => self.add_email(email),
                ChannelKind::Webhook(webhook) => self.add_webhook(webhook),
            }
        }
        for feed in &config.status_feeds {
            self.add_login_and_query(&feed.url);
        }
        for check in &config.connectivity_checks {
            self.add_login_and_query(&check.url);
        }
        if let Some(heartbeat) = &config.heartbeat {
            self.add_url(heartbeat.url.expose());
            if let Some(url) = &heartbeat.fail_url {
                self.add_url(url.expose());
            }
        }
        if let Some(otlp) = &config.otlp {
            self.add_login_and_query(&otlp.endpoint);
            self.add_headers(&otlp.headers);
        }
        if let Some(password) = config
            .store
            .shared
            .as_ref()
            .and_then(|url| url.password.as_ref())
        {
            self.add(password.expose());
        }
        if let Some(token) = &config.web.token {
            self.add(token.expose());
        }
    }

    fn add_endpoint(&mut self, endpoint: &Endpoint) {
        if let Some(key) = &endpoint.api_key {
            self.add(key.expose());
        }
        if let Some(entra) = &endpoint.entra {
            self.add(entra.client_secret.expose());
            self.add_pair(&entra.client_id, entra.client_secret.expose());
        }
        let of_cloud = endpoint.aws.iter().flat_map(Aws::secrets);
        for secret in of_cloud.chain(endpoint.google.iter().flat_map(Google::secrets)) {
            self.add_lines(secret.expose());
        }
        if let Some(identity) = &endpoint.client {
            self.add_key_file(&identity.key);
        }
        self.add_headers(&endpoint.headers);
        self.add_login_and_query(&endpoint.base_url);
    }

    fn add_email(&mut self, email: &Email) {
        if let Some((user, password)) = &email.smtp.credentials {
            self.add(password.expose());
            self.add_pair(user, password.expose());
            // AUTH PLAIN
            self.add_base64(&format!("\0{user}\0{}", password.expose()));
            // What AUTH LOGIN sends, and what a server echoes.
            self.add_base64(user);
        }
        if let Some(dkim) = &email.dkim {
            self.add_key_file(&dkim.key_file);
        }
    }

    /// Adds the private keys of a PEM file. Only its content is secret, not its path.
    fn add_key_file(&mut self, path: &Path) {
        let pem = files::read_to_string(path, files::MAX_SECRET).unwrap_or_default();
        self.add_lines(&pem);
    }

    /// Adds each line of a secret but the frame of a PEM file: others repeat single lines as well.
    fn add_lines(&mut self, text: &str) {
        text.lines()
            .filter(|line| !line.starts_with("-----"))
            .for_each(|line| self.add(line.trim()));
    }

    fn add_webhook(&mut self, webhook: &Webhook) {
        self.add_url(webhook.url.expose());
        if let Some(secret) = &webhook.secret {
            self.add(secret.expose());
            self.add(secret.expose().trim_start_matches("whsec_"));
        }
        self.add_headers(&webhook.headers);
        for (key, value) in &webhook.extra {
            if !matches!(
                key.as_str(),
                "body" | "content_type" | "method" | "priority"
            ) {
                self.add(value.expose());
            }
        }
    }

    fn add_proxy(&mut self, proxy: &Proxy) {
        let urls: Vec<&Secret> = match proxy {
            Proxy::None => Vec::new(),
            Proxy::Env { http, https, .. } => http.iter().chain(https).collect(),
            Proxy::Url(url) => vec![url],
        };
        for url in urls {
            if let Ok(url) = Url::parse(url.expose()) {
                self.add_login_and_query(&url);
            }
        }
    }

    /// Adds header values. In `Bearer KEY` and `Basic BASE64` the secret follows the scheme.
    fn add_headers(&mut self, headers: &[(String, Secret)]) {
        for (_, value) in headers {
            let value = value.expose();
            self.add(value);
            let Some((scheme, credentials)) = value.split_once(' ') else {
                continue;
            };
            let credentials = credentials.trim();
            self.add(credentials);
            let login = STANDARD.decode(credentials).unwrap_or_default();
            let login = String::from_utf8(login).unwrap_or_default();
            if let (true, Some((user, password))) =
                (scheme.eq_ignore_ascii_case("basic"), login.split_once(':'))
            {
                self.add(password);
                self.add_pair(user, password);
            }
        }
    }

    /// Adds a secret URL: anyone with its path and query can use it.
    fn add_url(&mut self, text: &str) {
        self.add(text);
        let Ok(url) = Url::parse(text) else { return };
        self.add(url.as_str());
        self.add_login_and_query(&url);
        let segments: Vec<_> = url.path().split('/').filter(|s| !s.is_empty()).collect();
        if segments.len() > 1 {
            self.add_part(url.path());
        }
        for segment in segments {
            self.add_part(segment);
            // As in Telegram's `/bot123:KEY`.
            segment.split(':').for_each(|part| self.add_part(part));
        }
        if let Some(fragment) = url.fragment() {
            self.add_part(fragment);
        }
    }

    /// Adds the parts that are secret in any URL.
    fn add_login_and_query(&mut self, url: &Url) {
        if let Some(password) = url.password() {
            let user = decoded(url.username());
            let password = decoded(password);
            self.add(&password);
            self.add_pair(&user, &password);
        } else if url.username().len() >= MIN_PART {
            self.add(&decoded(url.username()));
        }
        for (_, value) in url.query_pairs() {
            self.add_part(&value);
        }
    }

    fn add_pair(&mut self, user: &str, password: &str) {
        if password.len() >= MIN_SECRET {
            let pair = format!("{user}:{password}");
            self.add_base64(&pair);
            // What stands in the header is as good as the password, and may be encoded again.
            self.add_base64(&STANDARD.encode(pair));
        }
    }

    fn add_part(&mut self, part: &str) {
        let plain = decoded(part);
        if plain.len() >= MIN_PART {
            self.add(part);
            self.add(&plain);
        }
    }

    /// Adds one secret in all its forms.
    fn add(&mut self, secret: &str) {
        let is_common = COMMON_PARTS.contains(&secret.to_ascii_lowercase().as_str());
        if secret.len() < MIN_SECRET || is_common {
            return;
        }
        self.add_base64(secret);
        self.0.insert(secret.to_owned());
        // A form has `+` for a blank; every other escape is decoded before it is searched.
        self.0.insert(secret.replace(' ', "+"));
    }

    fn add_base64(&mut self, secret: &str) {
        if secret.len() < MIN_SECRET {
            return;
        }
        let encoded = [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD]
            .map(|engine| engine.encode(secret));
        self.0.extend(encoded);
        for offset in 0..3 {
            let inner = [STANDARD_NO_PAD, URL_SAFE_NO_PAD]
                .map(|engine| base64_within(secret, offset, &engine))
                .into_iter()
                .filter(|text| text.len() >= MIN_SECRET);
            self.0.extend(inner);
        }
    }
}

/// Returns what `secret` looks like within the base64 of a longer text, where it begins `offset`
/// bytes after a group of three: the characters that only the secret determines.
fn base64_within(secret: &str, offset: usize, engine: &impl base64::Engine) -> String {
    let mut bytes = vec![0; offset];
    bytes.extend(secret.as_bytes());
    let text = engine.encode(&bytes);
    // Each character holds six bits.
    let first = (offset * 8).div_ceil(6);
    let end = bytes.len() * 8 / 6;
    text.get(first..end).unwrap_or_default().to_owned()
}

/// Decodes percent codes.
fn decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let code = (*first == b'%')
            .then(|| std::str::from_utf8(tail.get(..2)?).ok())
            .flatten()
            .and_then(|code| u8::from_str_radix(code, 16).ok());
        out.push(code.unwrap_or(*first));
        rest = if code.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor(add: impl FnOnce(&mut Forms)) -> Redactor {
        let mut forms = Forms::default();
        add(&mut forms);
        Redactor::of(forms)
    }

    #[test]
    fn a_key_is_replaced_in_every_form() {
        let key = "p@ss w/rd\"&<é";
        let redactor = redactor(|forms| forms.add(key));
        let forms = [
            key.to_owned(),
            STANDARD.encode(key),
            URL_SAFE_NO_PAD.encode(key),
            "p%40ss%20w%2Frd%22%26%3C%C3%A9".to_owned(),
            "p%40ss%20w%2frd%22%26%3c%c3%a9".to_owned(),
            "p%40ss+w%2Frd%22%26%3C%C3%A9".to_owned(),
            "p@ss w/rd\\\"&<é".to_owned(),
            "p@ss w/rd&quot;&amp;&lt;é".to_owned(),
            "p@ss w&#x2F;rd&#34;&#38;&lt;&eacute;".replace("&eacute;", "&#233;"),
            "p@ss w\\/rd\\u0022\\u0026\\u003c\\u00e9".to_owned(),
            "p\\x40ss w/rd\\x22&<é".to_owned(),
            "p%2540ss%2520w%252Frd%2522%2526%253C%25C3%25A9".to_owned(),
            "p%40ss+w%2Frd%22&amp;%3C\\u00e9".to_owned(),
            "p@ss w/rd\\\\\\\"\\\\u0026<é".to_owned(),
        ];
        for form in forms {
            assert_eq!(redactor.clean(&format!("a {form} b")), "a *** b", "{form}");
        }
    }

    #[test]
    fn a_key_within_an_encoded_text_is_replaced() {
        let redactor = redactor(|forms| forms.add_pair("someone", "hunter22-and-more"));
        let key = redactor_of_key("hunter22-and-more");
        for before in ["", "k", "ke", "key", "/services/"] {
            for after in ["", "?", "?a", "?a=1"] {
                let text = STANDARD.encode(format!("{before}hunter22-and-more{after}"));
                let clean = key.clean(&text);
                assert!(clean.contains(MASK), "{text}");
                assert!(
                    clean.len() < MASK.len() + before.len() * 2 + after.len() * 2 + 8,
                    "{clean}"
                );
            }
        }
        let header = format!("Basic {}", STANDARD.encode("someone:hunter22-and-more"));
        let twice = redactor.clean(&STANDARD.encode(header));
        assert!(twice.contains(MASK) && twice.len() < 16, "{twice}");
    }

    fn redactor_of_key(key: &str) -> Redactor {
        redactor(|forms| forms.add(key))
    }

    #[test]
    fn the_patterns_of_a_long_token_are_small() {
        let token: String = (0..8192_u32)
            .map(|n| char::from(b'a' + (n * n % 23) as u8))
            .collect();
        let redactor = redactor_of_key(&token);
        let size = redactor.0.as_ref().unwrap().automaton.memory_usage();
        assert!(size < 2 << 20, "{size} bytes");
        assert_eq!(redactor.clean(&token), MASK);
        assert_eq!(redactor.clean_cut(&token[..500]), MASK);
    }

    #[test]
    fn the_parts_of_a_secret_url_are_replaced() {
        let url = "https://me:letmein1@hooks.example.com/services/T0000001/B0000001/XyZ12345abc?token=q%2Buery123&a=1";
        let redactor = redactor(|forms| forms.add_url(url));
        let clean = |text: &str| redactor.clean(text);
        assert_eq!(
            clean("Cannot POST /services/T0000001/B0000001/XyZ12345abc"),
            "Cannot POST ***"
        );
        assert_eq!(clean("no hook XyZ12345abc here"), "no hook *** here");
        assert_eq!(clean("token q+uery123 or q%2Buery123"), "token *** or ***");
        assert_eq!(clean(&STANDARD.encode("me:letmein1")), "***");
        assert_eq!(
            clean("our services at hooks.example.com"),
            "our services at hooks.example.com"
        );
    }

    #[test]
    fn logins_are_replaced_as_the_wire_shows_them() {
        let redactor = redactor(|forms| {
            forms.add_headers(&[
                (
                    "authorization".to_owned(),
                    Secret::new("Basic dXNlcjpodW50ZXIyMg=="),
                ),
                ("x".to_owned(), Secret::new("Bearer abcdef-123")),
            ]);
        });
        assert_eq!(
            redactor.clean("hunter22 dXNlcjpodW50ZXIyMg== abcdef-123"),
            "*** *** ***"
        );
    }

    #[test]
    fn the_beginning_of_a_secret_at_a_cut_is_masked() {
        let redactor = redactor(|forms| forms.add("sk-1234567890"));
        assert_eq!(redactor.clean_cut("bad key sk-12345"), "bad key ***");
        assert_eq!(redactor.clean_cut("bad key sk-12"), "bad key sk-12");
        assert_eq!(redactor.clean_cut("bad key sk%2D12345"), "bad key ***");
        assert_eq!(
            Redactor::default().clean_cut("te\u{202e}xt"),
            "te\\u{202e}xt"
        );
    }
}
