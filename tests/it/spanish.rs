//! Spanish: no text is untranslated, and every message is in one language.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use llmwatch_core::message::render;
use llmwatch_core::message::severity::Severity;
use llmwatch_core::message::values::{Language, Locale};
use llmwatch_core::model::{AdviceKind, Fault, Notice, NoticeKind};
use llmwatch_simulator::Scenario;

use crate::formats::{notice, notice_in, setting};
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
    found.extend(AdviceKind::ALL.iter().map(|kind| kind.remedy().to_owned()));
    let severities = [
        Severity::Local,
        Severity::Account,
        Severity::Degraded,
        Severity::Outage,
    ];
    found.extend(
        severities
            .iter()
            .flat_map(|s| [s.noun().to_owned(), s.plural().to_owned()]),
    );
    // A figure with its unit, and names alone, are the same in every language.
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

/// Words of English that are none of Spanish.
const ENGLISH: &[&str] = &[
    "the",
    "is",
    "are",
    "of",
    "and",
    "from",
    "with",
    "was",
    "were",
    "not",
    "this",
    "that",
    "been",
    "since",
    "its",
    "it",
    "to",
    "on",
    "for",
    "by",
    "at",
    "failed",
    "failing",
    "fail",
    "probes",
    "probe",
    "last",
    "you",
    "your",
    "what",
    "when",
    "which",
    "have",
    "will",
    "no-one",
    "incidents",
    "only",
    "still",
    "now",
    "then",
    "there",
];

/// Texts that come from outside as they are.
const FOREIGN: &[&str] = &[
    "The server is overloaded",
    "The engine is currently overloaded",
    "Elevated error",
    "Content-Security-Policy",
];

/// The lines of `text` that read as English. Markup is taken off; what a screen reader says is
/// kept.
fn english_lines(text: &str) -> Vec<String> {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        plain.push_str(&rest[..start]);
        plain.push('\n');
        let Some(len) = rest[start..].find('>') else {
            break;
        };
        let tag = &rest[start..start + len];
        for attribute in [
            "title=\"",
            "aria-label=\"",
            "alt=\"",
            "content=\"",
            "placeholder=\"",
        ] {
            if let Some((_, value)) = tag.split_once(attribute) {
                plain.push_str(value.split('"').next().unwrap_or_default());
                plain.push('\n');
            }
        }
        rest = &rest[start + len + 1..];
        for skipped in ["<style", "<script"] {
            if tag.starts_with(skipped) {
                let end = format!("</{}", &skipped[1..]);
                rest = rest.find(&end).map_or("", |at| &rest[at..]);
            }
        }
    }
    plain.push_str(rest);
    let is_english = |line: &str| {
        let words = line.split(|c: char| !(c.is_alphanumeric() || "-_'.`/".contains(c)));
        let english = words.filter(|word| ENGLISH.contains(&word.to_lowercase().as_str()));
        english.count() >= 2 && !FOREIGN.iter().any(|foreign| line.contains(foreign))
    };
    plain
        .lines()
        .map(|line| line.trim().to_owned())
        .filter(|line| is_english(line))
        .collect()
}

/// What stands below the headers of a mail.
fn body_of(mail: &str) -> &str {
    let parts = mail.split_once("\n\n").or(mail.split_once("\r\n\r\n"));
    parts.unwrap().1
}

#[track_caller]
fn assert_spanish(what: &str, text: &str) {
    let english = english_lines(text);
    assert!(english.is_empty(), "{what} says in English: {english:#?}");
}

#[test]
fn english_in_a_spanish_text_is_found() {
    let page = "<p title=\"since the start\">hola</p><script>the end of it</script>\nit is slow";
    assert_eq!(english_lines(page), ["since the start", "it is slow"]);
    assert!(english_lines("openai-chat falla desde las 10:18 (http.5xx)").is_empty());
}

#[test]
fn no_message_says_anything_in_english() {
    let context = render::RenderContext {
        locale: SPANISH,
        ..setting()
    };
    let linked = render::RenderContext {
        acknowledge_url: Some("https://status.example.com/a/x"),
        confirm_url: Some("https://status.example.com/a/y"),
        ..context
    };
    for &kind in NoticeKind::ALL {
        for context in [context, linked] {
            let notice = notice_in(kind, &SPANISH);
            let name = kind.as_str();
            assert_spanish(name, &render::subject(&notice, &SPANISH));
            assert_spanish(name, &render::text(&notice, context));
            assert_spanish(name, &render::html(&notice, context));
        }
    }
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
    insta::assert_snapshot!(shown.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
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
    assert_spanish("the mail", body_of(&mail));
    for path in [
        "/",
        "/endpoints/openai-chat",
        "/endpoints/azure-chat",
        "/endpoints/openai-chat/days",
        "/groups/chat",
        "/incidents",
        "/incidents/1",
        "/embed",
        "/feed.atom",
    ] {
        let (status, answer) = ask(address, "GET", path, "", "").await;
        assert_eq!(status, 200, "{path}: {answer}");
        let page = answer.split_once("\r\n\r\n").unwrap().1;
        assert_spanish(path, page);
    }
    for arguments in [
        &["status"][..],
        &["incidents"],
        &["incidents", "1"],
        &["report", "--since", "1d", "--sla", "99.9"],
        &["report", "--since", "1d", "--failover"],
        &[
            "report",
            "--since",
            "1d",
            "--failover",
            "--sla",
            "99.9",
            "--format",
            "html",
        ],
        &["report", "--since", "1d", "--format", "md"],
    ] {
        let shown = world.llmwatch(arguments).output().await.unwrap();
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(!shown.is_empty(), "{arguments:?}");
        assert_spanish(&arguments.join(" "), &shown);
    }
    let (_, ranked) = ask(address, "GET", "/api/v1/route?group=chat", "", "").await;
    assert!(ranked.contains("sin fallos recientes"), "{ranked}");
    world.openai.set_scenario(Scenario::healthy());
    let mail = tokio::time::timeout(PATIENCE, world.mail.next())
        .await
        .unwrap();
    let mail = decoded(&mail.data);
    assert!(mail.contains("Subject: [RESOLVED tras "), "{mail}");
    assert_spanish("the mail of the end", body_of(&mail));
    let (_, answer) = ask(address, "GET", "/incidents/1", "", "").await;
    assert_spanish("the incident", answer.split_once("\r\n\r\n").unwrap().1);
    assert_eq!(daemon.stop().await, Some(0));
}
