//! A scenario: how the provider answers when healthy, and the rules by which it fails.
//!
//! `docs/simulate.md` is the reference of the file format.

use std::time::Duration;

use fastrand::Rng;
use llmwatch_core::model::Secret;

use crate::latency_profile::ResponseProfile;
use crate::rule::{Arrival, Rule};
use crate::status_page::Notice;
use crate::written::WrittenScenario;

/// The behavior of a simulator, from one TOML file. It is deterministic: the same scenario, seed
/// and order of requests give the same responses.
#[derive(Debug, Clone, Default)]
pub struct Scenario {
    /// The seed of everything random: probabilities, jitter, request IDs.
    pub seed: u64,
    /// The key that callers must send as `Authorization: Bearer` or `api-key`; `None` accepts any
    /// or no key.
    pub api_key: Option<Secret>,
    /// How requests are answered if no rule applies.
    pub healthy: ResponseProfile,
    /// The rules; the first match applies.
    pub rules: Vec<Rule>,
    /// What the status page shows, and when.
    pub status_page: Vec<Notice>,
}

/// An invalid scenario file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScenarioError {
    /// Invalid TOML, or an unknown key or value; the message has the line and a caret.
    #[error(transparent)]
    Toml(#[from] toml::de::Error),
    /// The keys of a rule contradict each other.
    #[error("line {line}, {rule}: {problem}")]
    Rule {
        /// The line of its `[[rule]]`.
        line: usize,
        /// The rule's name.
        rule: String,
        /// What is wrong.
        problem: String,
    },
}

impl Scenario {
    /// Returns a scenario without faults.
    pub fn healthy() -> Self {
        Self::default()
    }

    /// Parses a scenario file.
    ///
    /// # Errors
    /// When the file is not valid TOML, has an unknown key or has an invalid rule.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let written: WrittenScenario = toml::from_str(text)?;
        let rules = (1..).zip(written.rule).map(|(n, rule)| {
            let line = text
                .bytes()
                .take(rule.span().start)
                .filter(|&byte| byte == b'\n')
                .count()
                + 1;
            let rule = rule.into_inner();
            let name = rule.name.clone().unwrap_or_else(|| format!("rule {n}"));
            Rule::new(name.clone(), rule).map_err(|problem| ScenarioError::Rule {
                line,
                rule: name,
                problem,
            })
        });
        Ok(Self {
            seed: written.seed,
            api_key: written.api_key.map(Secret::new),
            healthy: written.healthy,
            rules: rules.collect::<Result<_, _>>()?,
            status_page: written.status_page,
        })
    }

    /// Returns the first rule that matches `arrival` when the scenario has been active for
    /// `elapsed`.
    ///
    /// A rule with a probability draws once if everything else matches, so that a seed reproduces
    /// its run.
    pub fn rule_at(
        &self,
        elapsed: Duration,
        arrival: &Arrival<'_>,
        rng: &mut Rng,
    ) -> Option<&Rule> {
        self.rules
            .iter()
            .find(|rule| rule.applies(elapsed, arrival, rng))
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use proptest::{prop_assert, proptest};

    use super::*;
    use crate::{Fault, Preset};

    const CHAT: &str = "/v1/chat/completions";

    fn asks<'a>(path: &'a str, model: &'a str) -> Arrival<'a> {
        Arrival::Request {
            vendor: "openai",
            path,
            model: Some(model),
        }
    }

    /// Returns the name of the rule that matches a request after so many seconds.
    fn rule_after(scenario: &Scenario, seconds: f64, arrival: &Arrival<'_>) -> Option<String> {
        let elapsed = Duration::from_secs_f64(seconds);
        scenario
            .rule_at(elapsed, arrival, &mut Rng::with_seed(1))
            .map(|rule| rule.name.clone())
    }

    #[test]
    fn the_first_rule_that_matches_in_its_window_is_applied() {
        let scenario = Scenario::parse(
            r#"
            [[rule]]
            name = "outage"
            path = "/v1/chat"
            from = "60s"
            to = "2m"
            fault = "openai_503"

            [[rule]]
            model = "gpt-6*"
            first_token_after = "3s"
            "#,
        )
        .unwrap();
        let chat = asks(CHAT, "gpt-6-luna");
        assert_eq!(
            rule_after(&scenario, 59.999, &chat).as_deref(),
            Some("rule 2")
        );
        assert_eq!(
            rule_after(&scenario, 60.0, &chat).as_deref(),
            Some("outage")
        );
        assert_eq!(
            rule_after(&scenario, 120.0, &chat).as_deref(),
            Some("rule 2")
        );
        assert_eq!(
            rule_after(&scenario, 90.0, &asks("/v1/models", "claude")),
            None
        );
        assert_eq!(scenario.rules[0].fault, Fault::Preset(Preset::OpenAi503));
        assert_eq!(
            scenario.rules[1]
                .profile(&scenario.healthy, Duration::ZERO)
                .first_token_after
                .as_secs(),
            3
        );
    }

    #[test]
    fn rules_look_at_vendor_path_and_model() {
        for (keys, path, model, applies) in [
            (r#"vendor = "openai""#, CHAT, "m", true),
            (r#"vendor = "azure""#, CHAT, "m", false),
            (r#"path = "/v1/""#, CHAT, "m", true),
            (r#"path = "/openai/""#, CHAT, "m", false),
            (r#"path = "*/chat/*""#, CHAT, "m", true),
            (r#"path = "/v1/*/chat""#, CHAT, "m", false),
            (r#"model = "gpt-6""#, CHAT, "gpt-6-luna", false),
            (r#"model = "gpt*luna""#, CHAT, "gpt-6-luna", true),
        ] {
            let scenario = Scenario::parse(&format!("[[rule]]\n{keys}")).unwrap();
            assert_eq!(
                rule_after(&scenario, 0.0, &asks(path, model)).is_some(),
                applies,
                "{keys} {path} {model}"
            );
        }
    }

    #[test]
    fn faults_before_the_request_are_chosen_at_connect() {
        let scenario = Scenario::parse("[[rule]]\nreset_at = \"accept\"").unwrap();
        assert_eq!(
            rule_after(&scenario, 0.0, &Arrival::Connection { vendor: "openai" }).as_deref(),
            Some("rule 1")
        );
        assert_eq!(rule_after(&scenario, 0.0, &asks(CHAT, "m")), None);
    }

    #[test]
    fn a_seed_repeats_its_run() {
        let scenario =
            Scenario::parse("seed = 7\n[[rule]]\nprobability = 0.25\nstatus = 500").unwrap();
        let run = || {
            let mut rng = Rng::with_seed(scenario.seed);
            let hit = |_| {
                scenario
                    .rule_at(Duration::ZERO, &asks(CHAT, "m"), &mut rng)
                    .is_some()
            };
            (0..1000).map(hit).collect::<Vec<bool>>()
        };
        assert_eq!(run(), run());
        let hits = run().iter().filter(|hit| **hit).count();
        assert!(
            (200..300).contains(&hits),
            "{hits} of 1000 is not about a quarter"
        );
    }

    #[test]
    fn a_ramp_grows_over_the_window() {
        let scenario = Scenario::parse(
            r#"
            [healthy]
            first_token_after = "1s"
            [[rule]]
            from = "100s"
            to = "200s"
            ramp = "delays"
            first_token_after = "31s"
            [[rule]]
            from = "200s"
            to = "300s"
            ramp = "probability"
            status = 500
            "#,
        )
        .unwrap();
        let first_token = |seconds| {
            let profile =
                scenario.rules[0].profile(&scenario.healthy, Duration::from_secs(seconds));
            profile.first_token_after.as_secs_f64().round()
        };
        assert_eq!(
            (first_token(100), first_token(150), first_token(200)),
            (1.0, 16.0, 31.0)
        );

        let mut rng = Rng::with_seed(1);
        let mut hits = |seconds| {
            let at = Duration::from_secs(seconds);
            (0..1000)
                .filter(|_| scenario.rule_at(at, &asks(CHAT, "m"), &mut rng).is_some())
                .count()
        };
        assert_eq!(hits(200), 0);
        assert!((400..600).contains(&hits(250)));
        assert!(hits(299) > 950);
    }

    #[test]
    fn a_bad_scenario_is_refused_with_the_line_and_the_key() {
        let refusal = |text: &str| Scenario::parse(text).unwrap_err().to_string();
        assert_snapshot!(refusal("seed = 1\n\n[[rule]]\nfirst_tokn_after = \"1s\"\n"), @r#"
        TOML parse error at line 4, column 1
          |
        4 | first_tokn_after = "1s"
          | ^^^^^^^^^^^^^^^^
        unknown field `first_tokn_after`, expected one of `name`, `path`, `model`, `vendor`, `from`, `to`, `probability`, `ramp`, `headers_after`, `first_token_after`, `token_gap`, `jitter`, `drip`, `tokens`, `answer`, `finish_reason`, `response_headers`, `status`, `body`, `fault`, `stream_error`, `truncate_after_tokens`, `close_after_tokens`, `stall_after_tokens`, `reset_at`, `refuse_tls`, `endless_comments`, `huge_body`, `header_bomb`, `gzip_bomb`, `invalid_utf8`
        "#);
        assert_snapshot!(refusal("[[rule]]\npath = \"/\"\nfirst_token_after = \"soon\"\n"), @r#"
        TOML parse error at line 3, column 21
          |
        3 | first_token_after = "soon"
          |                     ^^^^^^
        `soon` is not a duration such as "250ms", "30s" or "5m"
        "#);
        assert_snapshot!(refusal("[[rule]]\nstatus = 503\n\n[[rule]]\nstatus = 200\nstall_after_tokens = 1\n"), @"line 4, rule 2: `status` and `stall_after_tokens` contradict each other: one rule, one fault");
        assert_snapshot!(refusal("[[rule]]\nfault = \"openai_418\"\n"), @r#"
        TOML parse error at line 2, column 9
          |
        2 | fault = "openai_418"
          |         ^^^^^^^^^^^^
        unknown variant `openai_418`, expected one of `openai_400_unsupported_parameter`, `openai_401`, `openai_401_missing_key`, `openai_403_region`, `openai_404_model`, `openai_429_rate_limit`, `openai_429_quota`, `openai_429_load_shedding`, `openai_500`, `openai_502_edge`, `openai_503`, `azure_400_content_filter`, `azure_401`, `azure_404_deployment`, `azure_429_rate_limit`, `azure_429_high_demand`, `azure_500`, `azure_503`, `bedrock_403_signature`, `bedrock_403_access`, `bedrock_429_throttling`, `bedrock_429_daily_quota`, `bedrock_503`, `vertex_401`, `vertex_403_billing`, `vertex_429_exhausted`, `vertex_503`, `cloudflare_403_challenge`, `cloudflare_502`, `cloudflare_520`, `cloudflare_524`, `cloudflare_530`
        "#);
        assert_snapshot!(refusal("[[rule]]\nfrom = \"2m\"\nto = \"60s\"\n"), @"line 1, rule 1: `to` must be later than `from`");
        assert_snapshot!(refusal("[[rule]]\nramp = \"delays\"\n"), @"line 1, rule 1: `ramp` needs a `to`: it grows over the window");
        assert_snapshot!(refusal("[[rule]]\nmodel = \"gpt-6\"\nrefuse_tls = true\n"), @"line 1, rule 1: `path` and `model` cannot choose what happens before the request is read");
        assert_snapshot!(refusal("[[rule]]\nprobability = 1.5\n"), @r#"
        TOML parse error at line 2, column 15
          |
        2 | probability = 1.5
          |               ^^^
        the probability 1.5 is not between 0 and 1
        "#);
        assert_snapshot!(refusal("[[rule]]\nreset_at = \"noon\"\n"), @r#"
        TOML parse error at line 2, column 12
          |
        2 | reset_at = "noon"
          |            ^^^^^^
        `noon` is not "accept", "headers" or "token:N"
        "#);
        assert_snapshot!(refusal("[healthy]\ntokens = 1000000\n"), @r#"
        TOML parse error at line 2, column 10
          |
        2 | tokens = 1000000
          |          ^^^^^^^
        1000000 tokens are more than the limit of 100000
        "#);
    }

    proptest! {
        #[test]
        fn any_text_is_a_scenario_or_refused(text in "(\\[\\[rule\\]\\]\n)?[a-z_]{0,8} ?= ?.{0,20}") {
            let _ = Scenario::parse(&text);
        }

        #[test]
        fn a_pattern_made_from_a_text_matches_it(pieces in proptest::collection::vec("[a-z/]{0,4}", 2..5)) {
            let scenario = Scenario::parse(&format!("[[rule]]\npath = \"{}\"", pieces.join("*"))).unwrap();
            let path = pieces.join("/x/");
            prop_assert!(rule_after(&scenario, 0.0, &asks(&path, "m")).is_some());
        }
    }
}
