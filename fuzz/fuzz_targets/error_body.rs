//! Bodies of error answers. The last two bytes choose the status.
#![no_main]

use libfuzzer_sys::fuzz_target;
use llmwatch_core::protocol::error::{ErrorContext, error_answer};

fuzz_target!(|data: &[u8]| {
    let [body @ .., high, low] = data else {
        return;
    };
    let status = 100 + u16::from_be_bytes([*high, *low]) % 500;
    let body = String::from_utf8_lossy(body);
    let context = ErrorContext {
        has_request_id: *low & 1 == 1,
        has_limit: *low & 2 == 2,
        ..ErrorContext::default()
    };
    let classified = error_answer(status, &body, context);
    assert!(classified.message.len() <= body.len().max(4096));
});
