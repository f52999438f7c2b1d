//! Answers of identity providers and metadata services, and profile files. No secret of an answer
//! stands in an error.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use llmwatch_core::model::Timestamp;
use llmwatch_core::protocol::{aws_credentials, entra_token};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fuzz_target!(|text: &str| {
    for status in [200, 400, 503] {
        if let Ok((_, life)) = entra_token::read(status, text) {
            assert!(life <= DAY);
        }
        for now in [Timestamp(0), Timestamp(1_800_000_000_000), Timestamp(i64::MAX), Timestamp(i64::MIN)] {
            for read in [aws_credentials::of_sts, aws_credentials::of_json] {
                if let Ok((_, life)) = read(status, text, now) {
                    assert!(life <= DAY);
                }
            }
        }
        let _ = aws_credentials::one_line(status, text);
    }
    let _ = aws_credentials::of_profile(text, "default");
});
