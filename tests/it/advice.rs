//! Advice about problems before they become failures, and its withdrawal.

use llmwatch::config::{self, Environment};
use llmwatch_core::detect::early_warning::Advisor;
use llmwatch_core::detect::shared_fate::sentence;
use llmwatch_core::detect::{Blip, Cleared, DetectedCause, Patterns};
use llmwatch_core::message::values::{Language, Locale};
use llmwatch_core::model::AdviceKind as Kind;
use llmwatch_core::model::{Endpoint, Sample, SharedPart, Timestamp, Warning};

use crate::support::good;

const DAY: i64 = 86_400_000;
const NOW: Timestamp = Timestamp(1_795_435_200_000);

fn endpoint(keys: &str) -> Endpoint {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("monitor.toml");
    std::fs::write(
        &path,
        format!("[[endpoint]]\nname = \"e\"\nbase_url = \"http://127.0.0.1:1/v1\"\n{keys}\n"),
    )
    .unwrap();
    (*config::load(&path, &Environment::default())
        .unwrap()
        .endpoints[0])
        .clone()
}

/// Returns a good sample that causes no advice.
fn quiet(at: Timestamp) -> Sample {
    Sample {
        tls_expires_at: None,
        response_model: None,
        ratelimit_headroom: None,
        ..good("e", at)
    }
}

fn texts(advisor: &mut Advisor, endpoint: &Endpoint, sample: &Sample) -> Vec<String> {
    advisor
        .consider(endpoint, sample, &Locale::default())
        .into_iter()
        .map(|a| a.text)
        .collect()
}

#[test]
fn model_retirement_is_advised_at_each_step() {
    let endpoint = endpoint("provider = \"openai\"\nmodel = \"gpt-5-nano\"");
    let mut advisor = Advisor::default();
    let end = Timestamp(NOW.0 + 20 * DAY);
    let looked_up = Sample {
        model_retires_at: Some(end),
        ..quiet(NOW)
    };
    let reported = texts(&mut advisor, &endpoint, &looked_up);
    assert_eq!(
        reported,
        ["e: the model gpt-5-nano will be shut down in 19 days, on 2026-12-13"]
    );
    assert!(
        texts(&mut advisor, &endpoint, &quiet(Timestamp(NOW.0 + DAY))).is_empty(),
        "once"
    );
    let later = texts(&mut advisor, &endpoint, &quiet(Timestamp(NOW.0 + 7 * DAY)));
    assert_eq!(later.len(), 1, "again when it has come closer");
    assert_eq!(advisor.standing()[0].kind, Kind::ModelRetires);
}

#[test]
fn model_mismatch_advice_stands_until_the_model_answers() {
    for (asked, answered, is_other) in [
        ("gpt-6-luna", "gpt-6-luna-2026-09-22", false),
        ("gpt-6-luna", "gpt-6-luna-mini", true),
        (
            "omni-moderation-latest",
            "omni-moderation-2024-09-26",
            false,
        ),
        ("openai/gpt-6-luna", "gpt-6-luna", false),
        ("gemma4", "gemma4:latest", false),
        ("gpt-6-luna", "gpt-5-nano", true),
        ("qwen3:4b", "Qwen3-4B.gguf", false),
        ("Qwen/Qwen3-4B", "/models/qwen3-4b-q4_k_m.gguf", false),
        ("gemma-4-it", "gemma-4-it-IQ4_XS-00001-of-00002.gguf", false),
        ("qwen3:4b", "Qwen3-8B.gguf", true),
        ("gpt-6", "gpt-6.1", true),
    ] {
        let endpoint = endpoint(&format!(
            "provider = \"openai-compatible\"\nmodel = \"{asked}\""
        ));
        let mut advisor = Advisor::default();
        let sample = Sample {
            response_model: Some(answered.to_owned()),
            ..quiet(NOW)
        };
        assert_eq!(
            texts(&mut advisor, &endpoint, &sample).len(),
            usize::from(is_other),
            "{asked} {answered}"
        );
        let right = Sample {
            response_model: Some(asked.to_owned()),
            ..quiet(NOW)
        };
        assert!(texts(&mut advisor, &endpoint, &right).is_empty());
        assert!(advisor.standing().is_empty());
    }
}

#[test]
fn headroom_certificate_and_fingerprint() {
    let endpoint = endpoint("provider = \"openai\"");
    let mut advisor = Advisor::default();
    let with_headroom = |share| Sample {
        ratelimit_headroom: Some(share),
        ..quiet(NOW)
    };
    assert_eq!(
        texts(&mut advisor, &endpoint, &with_headroom(0.05)),
        ["e: only 5% of the account's rate limit is left"]
    );
    assert!(texts(&mut advisor, &endpoint, &with_headroom(0.15)).is_empty());
    assert_eq!(advisor.standing().len(), 1, "it takes more to take it back");
    assert!(texts(&mut advisor, &endpoint, &with_headroom(0.5)).is_empty());
    assert!(advisor.standing().is_empty());

    let expiring = |days| Sample {
        tls_expires_at: Some(Timestamp(NOW.0 + days * DAY)),
        ..quiet(NOW)
    };
    assert!(texts(&mut advisor, &endpoint, &expiring(30)).is_empty());
    assert_eq!(texts(&mut advisor, &endpoint, &expiring(13)).len(), 1);
    assert!(
        texts(&mut advisor, &endpoint, &expiring(90)).is_empty(),
        "renewed"
    );
    assert!(advisor.standing().is_empty());

    let with_print = |print: &str| Sample {
        system_fingerprint: Some(print.to_owned()),
        ..quiet(NOW)
    };
    assert!(
        texts(&mut advisor, &endpoint, &with_print("fp_1")).is_empty(),
        "the first is no news"
    );
    assert_eq!(texts(&mut advisor, &endpoint, &with_print("fp_2")).len(), 1);
    assert!(
        texts(&mut advisor, &endpoint, &with_print("fp_1")).is_empty(),
        "both are usual now"
    );
}

#[test]
fn a_retirement_names_the_successor() {
    let endpoint = endpoint("provider = \"openai\"\nmodel = \"gpt-5-nano\"");
    let looked_up = Sample {
        model_retires_at: Some(Timestamp(NOW.0 + DAY + 3_600_000)),
        model_successor: Some("gpt-6-luna".to_owned()),
        ..quiet(NOW)
    };
    let mut advisor = Advisor::default();
    let said = texts(&mut advisor, &endpoint, &looked_up);
    assert_eq!(said.len(), 1);
    assert!(
        said[0].ends_with("in 1 day, on 2026-11-24; its successor is gpt-6-luna"),
        "{said:?}"
    );
    let spanish = Locale {
        language: Language::Spanish,
        ..Locale::default()
    };
    let said = Advisor::default().consider(&endpoint, &looked_up, &spanish);
    assert!(said[0].text.ends_with("; su sucesor es gpt-6-luna"));
}

#[test]
fn credit_is_advised_before_it_is_used_up() {
    let endpoint = endpoint("provider = \"openrouter\"\nmodel = \"m\"");
    let mut advisor = Advisor::default();
    let mut left_at = |days: f64, left: f64| {
        let at = Timestamp(NOW.0 + (days * DAY as f64) as i64);
        let sample = Sample {
            credit_left: Some(left),
            credit_currency: Some("USD".to_owned()),
            ..quiet(at)
        };
        texts(&mut advisor, &endpoint, &sample)
    };
    let nothing: [&str; 0] = [];
    assert_eq!(left_at(0.0, 20.0), nothing);
    assert_eq!(left_at(1.0, 18.0), nothing, "nine days");
    assert_eq!(
        left_at(4.0, 12.0),
        ["e: the account's credit of $12.00 will last 6 d at the current rate"]
    );
    assert_eq!(left_at(4.5, 11.0), nothing, "once");
    assert_eq!(left_at(7.0, 6.0).len(), 1, "again at three days");
    assert_eq!(left_at(7.5, 50.0), nothing, "topped up");
    assert_eq!(left_at(9.0, 0.0), ["e: the account's credit is used up"]);
}

#[test]
fn a_little_credit_is_advised_at_once() {
    let endpoint = endpoint("provider = \"deepseek\"\nmodel = \"m\"");
    let sample = Sample {
        credit_left: Some(0.42),
        credit_currency: Some("CNY".to_owned()),
        ..quiet(NOW)
    };
    assert_eq!(
        texts(&mut Advisor::default(), &endpoint, &sample),
        ["e: only 0.42 CNY of the account's credit is left"]
    );
}

#[test]
fn credit_that_the_key_may_not_read_is_advised_once() {
    let endpoint = endpoint("provider = \"openrouter\"\nmodel = \"m\"");
    let mut advisor = Advisor::default();
    let hidden = |hour: i64| Sample {
        warnings: vec![Warning::CreditHidden],
        ..quiet(Timestamp(NOW.0 + hour * DAY / 24))
    };
    let said = texts(&mut advisor, &endpoint, &hidden(0));
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].starts_with("e: this key may not read the account's credit"),
        "{said:?}"
    );
    for hour in 1..72 {
        assert!(texts(&mut advisor, &endpoint, &hidden(hour)).is_empty());
    }
}

/// What the endpoints of one file share, once each has been probed, and the advice about it.
fn shared(file: &str, edges: &[(&str, &str)]) -> (Vec<(SharedPart, String)>, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("monitor.toml");
    std::fs::write(&path, file).unwrap();
    let config = config::load(&path, &Environment::default()).unwrap();
    let mut advisor = Advisor::default();
    let mut advice = Vec::new();
    for (n, endpoint) in config.endpoints.iter().enumerate() {
        let edge = edges.iter().find(|(name, _)| endpoint.name == *name);
        let sample = Sample {
            endpoint: endpoint.name.clone(),
            edge: edge.map(|(_, edge)| (*edge).to_owned()),
            remote_addr: None,
            ..quiet(NOW + std::time::Duration::from_secs(n as u64))
        };
        let given =
            advisor.consider_group(endpoint, &sample, &config.endpoints, &Locale::default());
        advice.extend(given.into_iter().map(|a| a.text));
    }
    let found = advisor.shared();
    let found = found.map(|f| (f.part, sentence(f, &Locale::default())));
    (found.collect(), advice)
}

#[test]
fn shared_fate_is_found_before_anything_fails() {
    let (found, advice) = shared(
        "[defaults]\ngroup = \"chat\"\napi_key = \"k\"\n\
         [[endpoint]]\nname = \"a\"\nprovider = \"openai\"\n\
         [[endpoint]]\nname = \"b\"\nprovider = \"openai\"\nmodel = \"gpt-5-mini\"\n",
        &[],
    );
    assert_eq!(
        found,
        [(
            SharedPart::Host,
            "a and b share the host api.openai.com".to_owned()
        )],
        "the key is the least of it"
    );
    assert_eq!(
        advice,
        ["chat: no alternative is independent of a: a and b share the host api.openai.com"]
    );
    let (found, advice) = shared(
        "[defaults]\ngroup = \"chat\"\n\
         [[endpoint]]\nname = \"a\"\nprovider = \"openai\"\napi_key = \"k1\"\n\
         [[endpoint]]\nname = \"r\"\nprovider = \"openrouter\"\nmodel = \"openai/gpt-6-luna\"\napi_key = \"k2\"\n\
         [[endpoint]]\nname = \"c\"\nprovider = \"anthropic\"\napi_key = \"k3\"\n",
        &[("a", "FRA"), ("r", "FRA"), ("c", "CDG")],
    );
    assert_eq!(
        found,
        [
            (
                SharedPart::Vendor,
                "a and r depend on OpenAI, in part through a gateway".to_owned()
            ),
            (
                SharedPart::FrontEnd,
                "a, r and c are behind Cloudflare".to_owned()
            ),
        ]
    );
    assert!(
        advice.is_empty(),
        "c has another key, host and vendor: {advice:?}"
    );
}

/// Outages of half a minute, two a day: advice from the sixth on, once, until a week has passed
/// without one.
#[test]
fn outages_too_brief_for_an_alert_become_advice() {
    let blip = |at: Timestamp, k: u32| Blip {
        endpoint: "e".into(),
        cause: DetectedCause::Errors,
        started_at: at,
        ended_at: Timestamp(at.0 + 35_000),
        k,
        n: 9,
        cleared: Cleared::Recovered,
    };
    let mut advisor = Advisor::default();
    let nothing = Patterns::default();
    let mut given = Vec::new();
    for half_day in 0..20 {
        let at = Timestamp(NOW.0 + half_day * DAY / 2);
        // Two failures are chance.
        advisor.remember_brief(&blip(at, 2));
        assert_eq!(given.len(), usize::from(half_day > 5));
        advisor.remember_brief(&blip(Timestamp(at.0 + 60_000), 3));
        given.extend(advisor.consider_patterns(
            "e",
            &nothing,
            Timestamp(at.0 + 120_000),
            &Locale::default(),
        ));
    }
    let [advice] = given.try_into().unwrap();
    assert_eq!(
        advice.text,
        "e failed 6 times in the last 7 days, each time too briefly for an alert (at most 35 s)"
    );
    assert_eq!(advice.kind, Kind::BriefOutages);
    assert_eq!(advisor.standing().len(), 1);
    let later = Timestamp(NOW.0 + 18 * DAY);
    assert!(
        advisor
            .consider_patterns("e", &nothing, later, &Locale::default())
            .is_empty()
    );
    assert!(advisor.standing().is_empty());
}
