//! Advice about problems before they become failures, and its withdrawal.

use llmwatch::config::{self, Environment};
use llmwatch_core::detect::early_warning::Advisor;
use llmwatch_core::model::AdviceKind as Kind;
use llmwatch_core::model::{Endpoint, Sample, Timestamp};

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
        .consider(endpoint, sample)
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
