//! Status pages of every platform. What is kept of one is bounded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use llmwatch_core::config::FeedKind;
use llmwatch_core::protocol::status_page::read;

fuzz_target!(|data: &[u8]| {
    let (body, list) = data.split_at(data.len() / 2);
    for kind in [
        FeedKind::Statuspage,
        FeedKind::IncidentIo,
        FeedKind::GoogleCloud,
        FeedKind::AzureRss,
    ] {
        for (body, list) in [(data, None), (body, Some(list))] {
            if let Ok(page) = read(kind, body, list, &["api".to_owned()], "https://status.test/") {
                assert!(page.incidents.len() <= 50);
                assert!(page.url.len() <= 500);
                for incident in &page.incidents {
                    assert!(incident.components.len() <= 20);
                    assert!(incident.name.chars().count() <= 200);
                }
            }
        }
    }
});
