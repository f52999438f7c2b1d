//! Certificates of servers, DER.
#![no_main]

use libfuzzer_sys::fuzz_target;
use llmwatch_core::protocol::certificate;

fuzz_target!(|data: &[u8]| {
    let _ = certificate::expires_at(data);
});
