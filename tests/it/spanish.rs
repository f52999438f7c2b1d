//! Spanish: no text is untranslated, and every message is in one language.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use llmwatch_core::message::render;
use llmwatch_core::message::values::{Language, Locale};
use llmwatch_core::model::{Fault, Notice, NoticeKind};
use llmwatch_simulator::Scenario;

use crate::formats::{notice, setting};
use crate::links::{ask, decoded};
use crate::support::{PATIENCE, World};

const SPANISH: Locale = Locale {
    timezone: chrono_tz::Tz::Europe__Madrid,
    language: Language::Spanish,
};

fn files(below: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// Returns the string literals within the parentheses at the start of `text`.
fn literals(text: &str) -> Vec<String> {
    let (mut depth, mut found, mut current) = (1, Vec::new(), None::<String>);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (&mut current, c) {
            (Some(literal), '\\') => match chars.next() {
                // A line continuation: skip the spaces before the next word.
                Some('\n') => {
                    let rest = chars.as_str().trim_start();
                    chars = rest.chars();
                }
                Some(escaped) => literal.push(escaped),
                None => {}
            },
            (Some(_), '"') => found.extend(current.take()),
            (Some(literal), c) => literal.push(c),
            (None, '"') => current = Some(String::new()),
            (None, '(') => depth += 1,
            (None, ')') => depth -= 1,
            (None, _) => {}
        }
        if depth == 0 {
            break;
        }
    }
    found
}

/// Returns every text that is shown in more than one language.
fn sentences() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = Vec::new();
    for below in [
        "src",
        "crates/core/src",
        "templates",
        "crates/core/templates",
    ] {
        files(&root.join(below), &mut all);
    }
    let mut found = BTreeSet::new();
    for path in all {
        if path.ends_with("message/text.rs") || path.ends_with("message/spanish.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for marker in ["text!(", ".say(", "Answer::fixed(", "Missing("] {
            for (at, _) in code.match_indices(marker) {
                found.extend(literals(&code[at + marker.len()..]));
            }
        }
    }
    found.extend(Fault::ALL.iter().map(|fault| fault.describe().to_owned()));
    found.extend(
        Fault::ALL
            .iter()
            .map(|fault| llmwatch_core::message::fault::remedy(*fault).to_owned()),
    );
    found.extend(
        Fault::ALL
            .iter()
            .map(|fault| llmwatch_core::message::fault::local_cause(*fault).to_owned()),
    );
    // Numbers with units, and names alone, are the same in every language.
    found.retain(|text| text.chars().any(char::is_alphabetic));
    found
}

#[test]
fn no_sentence_is_missing() {
    let all = sentences();
    assert!(all.len() > 200, "{}", all.len());
    let missing: Vec<_> = all
        .iter()
        .filter(|english| !llmwatch_core::message::text::is_translated(english))
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_mail_reads_as_spanish() {
    let mut shown = String::new();
    for kind in [
        NoticeKind::Opened,
        NoticeKind::Escalated,
        NoticeKind::Resolved,
        NoticeKind::Reminder,
        NoticeKind::Offline,
    ] {
        let notice = Notice {
            test: false,
            ..notice(kind)
        };
        let context = render::RenderContext {
            locale: SPANISH,
            ..setting()
        };
        shown += &format!(
            "### {}\nSubject: {}\n\n{}\n",
            kind.as_str(),
            render::subject(&notice, &SPANISH),
            render::text(&notice, context)
        );
        assert!(render::html(&notice, context).contains("<html lang=\"es\">"));
    }
    insta::assert_snapshot!(shown);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_speaks_spanish_when_it_is_asked_to() {
    let mut world = World::new().await;
    let config = world.endpoints().replace(
        "listen = \"off\"",
        "listen = \"127.0.0.1:0\"\nlanguage = \"es\"",
    );
    world.write(&(config + &world.email()));
    let mut daemon = world.run();
    let listening = daemon.event("web.listening").await;
    let address = listening["address"].as_str().unwrap().parse().unwrap();
    daemon.well().await;
    let (_, page) = ask(address, "GET", "/", "", "").await;
    assert!(page.contains("<html lang=\"es\""), "{page}");
    assert!(page.contains(">Incidentes</a>"), "{page}");
    let (_, feed) = ask(address, "GET", "/feed.atom", "", "").await;
    assert!(feed.contains("xml:lang=\"es\""), "{feed}");
    assert!(feed.contains("incidentes vistos en fra1"), "{feed}");
    let outage = "[[rule]]\npath = \"/v1/*\"\nfault = \"openai_503\"\n";
    world.openai.set_scenario(Scenario::parse(outage).unwrap());
    let mail = tokio::time::timeout(PATIENCE, world.mail.next())
        .await
        .unwrap();
    let mail = decoded(&mail.data);
    assert!(
        mail.contains("Subject: [OUTAGE] OpenAI: openai-chat falla (overloaded), Azure funciona"),
        "{mail}"
    );
    let listed = world.llmwatch(&["incidents"]).output().await.unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("sondeos fallaron"), "{listed}");
    world.openai.set_scenario(Scenario::healthy());
    let mail = tokio::time::timeout(PATIENCE, world.mail.next())
        .await
        .unwrap();
    let mail = decoded(&mail.data);
    assert!(mail.contains("Subject: [RESOLVED tras "), "{mail}");
    assert_eq!(daemon.stop().await, Some(0));
}
