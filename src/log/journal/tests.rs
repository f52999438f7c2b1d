//! Tests of the module `journal`.

use super::*;

#[test]
fn an_entry_has_upper_case_fields_and_safe_line_feeds() {
    let Value::Object(fields) =
        serde_json::json!({"endpoint": "a", "_x": 1, "error": "two\nlines"})
    else {
        panic!("an object")
    };
    let entry = encode(
        Level::WARN,
        "probe.completed",
        "it failed",
        &fields,
        LONGEST_ENTRY,
    );
    let text = String::from_utf8_lossy(&entry);
    assert!(text.starts_with(
        "PRIORITY=4\nSYSLOG_IDENTIFIER=llmwatch\nEVENT=probe.completed\nMESSAGE=it failed\n"
    ));
    assert!(text.contains("\nENDPOINT=a\n"));
    assert!(
        text.contains("ERROR\n\u{9}\0\0\0\0\0\0\0two\nlines\n"),
        "{text:?}"
    );
    assert!(
        !text.contains("_X"),
        "fields that begin with an underscore are the journal's own"
    );
}

#[test]
fn full_or_restarted_journal_drops_and_never_stalls() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let reader = UnixDatagram::bind(&path).unwrap();
    let journal = Journal::at(path.clone()).unwrap();
    let say = |words: &str| journal.send(Level::INFO, "probe.completed", words, &FieldMap::new());
    let next = |reader: &UnixDatagram| {
        let mut entry = vec![0; LONGEST_ENTRY];
        let n = reader.recv(&mut entry).unwrap();
        String::from_utf8_lossy(&entry[..n]).into_owned()
    };
    let mut said = 0;
    while journal.dropped.load(Ordering::Relaxed) < 3 {
        say("nobody reads");
        said += 1;
    }
    for _ in 0..said - 3 {
        assert!(!next(&reader).contains("DROPPED_ENTRIES"));
    }
    say("there is room");
    assert!(next(&reader).ends_with("MESSAGE=there is room\nDROPPED_ENTRIES=3\n"));
    drop(reader);
    std::fs::remove_file(&path).unwrap();
    say("nobody is there");
    let reader = UnixDatagram::bind(&path).unwrap();
    say("it is back");
    assert!(next(&reader).ends_with("MESSAGE=it is back\nDROPPED_ENTRIES=1\n"));
}

#[test]
fn journal_entries_stay_within_limits_and_mark_cuts() {
    let long = "ü".repeat(1 << 16);
    let fields = (0..200)
        .map(|i| (format!("field{i}"), Value::from(long.clone())))
        .collect();
    for longest in [LONGEST_ENTRY, SHORT_ENTRY] {
        let entry = encode(Level::INFO, "probe.completed", &long, &fields, longest);
        assert!(entry.len() < longest + 64, "{}", entry.len());
        let text = String::from_utf8(entry).unwrap();
        assert!(text.lines().all(|line| line.len() < 4096));
        assert!(
            text.lines()
                .any(|line| line.starts_with("MESSAGE=ü") && line.ends_with("ü…"))
        );
        let held = text
            .lines()
            .filter(|line| line.starts_with("FIELD") && line.ends_with("ü…"))
            .count();
        assert!(text.ends_with(&format!("\nFIELDS_LEFT_OUT={}\n", 200 - held)));
    }
}

#[test]
fn journal_entry_too_large_for_the_socket_is_shortened() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let reader = UnixDatagram::bind(&path).unwrap();
    let journal = Journal::at(path).unwrap();
    // The smallest buffer that the kernel allows.
    nix::sys::socket::setsockopt(&journal.socket, nix::sys::socket::sockopt::SndBuf, &0).unwrap();
    let error = "long\n".repeat(1 << 12);
    let fields = [("endpoint", "one"), ("error", &error), ("answer", &error)];
    let fields = fields
        .map(|(name, value)| (name.to_owned(), Value::from(value)))
        .into_iter()
        .collect();
    journal.send(Level::WARN, "probe.completed", "it failed", &fields);
    let mut entry = vec![0; LONGEST_ENTRY];
    let n = reader.recv(&mut entry).unwrap();
    let text = String::from_utf8_lossy(&entry[..n]);
    assert!(
        text.contains("EVENT=probe.completed\nMESSAGE=it failed\nENDPOINT=one\n"),
        "{text:?}"
    );
    assert!(
        text.contains("long…\n") && text.ends_with("\nFIELDS_LEFT_OUT=1\n"),
        "{text:?}"
    );
    assert_eq!(journal.dropped.load(Ordering::Relaxed), 0);
}
