//! Replies of mail servers. One never holds more than its limit.
#![no_main]

use libfuzzer_sys::fuzz_target;
use llmwatch::notify::smtp::read_replies;

fuzz_target!(|data: &[u8]| {
    for reply in read_replies(data) {
        assert!(reply.chars().count() <= 300);
    }
});
