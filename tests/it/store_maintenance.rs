//! Maintenance of the store's file: damage is detected, repaired, and never overwritten.

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use llmwatch::store::{Commit, IntegrityError, SampleQuery, SignUp, Store, StoreError, repair};
use llmwatch_core::message::subscriber::SubscriberText;
use llmwatch_core::model::{Sample, Timestamp};

use crate::support::{World, good};

const SAMPLES: i64 = 2_000;

fn filled(path: &Path) {
    let store = Store::open(path).unwrap();
    let of_sample = |i| Commit {
        sample: Some(good("openai-chat", Timestamp(i))),
        ..Commit::default()
    };
    store
        .commit(&(0..SAMPLES).map(of_sample).collect::<Vec<_>>())
        .unwrap();
}

fn recorded(store: &Store) -> Vec<Sample> {
    let mut samples = Vec::new();
    let all = store.each_sample(SampleQuery::default(), |_, s| {
        samples.push(s);
        Ok::<_, StoreError>(())
    });
    all.unwrap();
    samples
}

/// Writes garbage over the pages in the middle of the file.
fn damage(path: &Path) {
    let mut file = std::fs::File::options().write(true).open(path).unwrap();
    let middle = file.metadata().unwrap().len() / 2 / 4096 * 4096;
    file.seek(SeekFrom::Start(middle)).unwrap();
    file.write_all(&[0xA5; 3 * 4096]).unwrap();
}

#[test]
fn a_damaged_store_is_refused_left_alone_and_rescued_from() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("llmwatch.db");
    filled(&path);
    damage(&path);
    let before = std::fs::read(&path).unwrap();

    let refused = Store::open(&path).unwrap_err().to_string();
    assert!(
        refused.contains("is damaged") && refused.contains("llmwatch store repair"),
        "{refused}"
    );
    assert!(
        std::fs::read(&path).unwrap() == before,
        "the file is as it was"
    );
    let condition = Store::open_read_only(&path).unwrap().condition().unwrap();
    assert_ne!(condition.problems, [] as [&str; 0]);

    let done = repair(&path, ".damaged", &mut |_| {}).unwrap();
    assert_eq!(done.kept_as, directory.path().join("llmwatch.db.damaged"));
    assert!(
        std::fs::read(&done.kept_as).unwrap() == before,
        "the damaged file is kept"
    );
    let samples = recorded(&Store::open(&path).unwrap());
    assert!(
        samples.len() as i64 > SAMPLES * 9 / 10,
        "{} rescued",
        samples.len()
    );
    let first_and_last = (
        samples.first().unwrap().started_at,
        samples.last().unwrap().started_at,
    );
    assert_eq!(
        first_and_last,
        (Timestamp(0), Timestamp(SAMPLES - 1)),
        "from before and after the damage"
    );
}

#[test]
fn a_repair_keeps_what_reports_links_and_subscribers_need() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("llmwatch.db");
    filled(&path);
    let store = Store::open(&path).unwrap();
    store.checkpoint_wal();
    // The sums of these samples are not in the file when the process ends.
    let late = (SAMPLES..SAMPLES + 50).map(|i| Commit {
        sample: Some(good("openai-chat", Timestamp(i))),
        ..Commit::default()
    });
    store.commit(&late.collect::<Vec<_>>()).unwrap();
    let mail = SubscriberText {
        subject: "Confirm".to_owned(),
        body: "Text.".to_owned(),
    };
    let ask = store
        .sign_up("ann@example.com", &mail, Timestamp(0))
        .unwrap();
    assert_eq!(ask, SignUp::Accepted);
    let kept = |store: &Store| {
        let sums = store
            .sums(Timestamp(0), Timestamp(3_600_000), None)
            .unwrap();
        let sums = i64::from(sums["openai-chat"].ok);
        let subscribers = store.subscribers().unwrap();
        let addresses: Vec<_> = subscribers.into_iter().map(|s| s.address).collect();
        (sums, store.link_keys().unwrap(), addresses)
    };
    let before = kept(&store);
    assert_eq!(before.0, SAMPLES + 50);
    drop(store);

    repair(&path, ".damaged", &mut |_| {}).unwrap();
    assert_eq!(kept(&Store::open(&path).unwrap()), before);
}

#[test]
fn file_that_is_no_store_is_refused_and_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("llmwatch.db");
    std::fs::write(&path, "a shopping list\n".repeat(1000)).unwrap();
    assert!(matches!(
        Store::open(&path),
        Err(StoreError::Damaged { .. })
    ));
    repair(&path, ".damaged", &mut |_| {}).unwrap();
    assert_eq!(recorded(&Store::open(&path).unwrap()), []);
    assert!(
        std::fs::read_to_string(directory.path().join("llmwatch.db.damaged"))
            .unwrap()
            .contains("shopping")
    );
}

#[test]
fn a_store_in_use_is_checked_and_copied_but_not_repaired() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("llmwatch.db");
    filled(&path);
    let daemon = Store::open(&path).unwrap();
    let reader = Store::open_read_only(&path).unwrap();
    let condition = reader.condition().unwrap();
    assert_eq!(
        (condition.samples, condition.problems),
        (SAMPLES as u64, vec![])
    );

    let copy = directory.path().join("copy.db");
    reader.back_up(&copy).unwrap();
    assert!(matches!(
        reader.back_up(&copy),
        Err(IntegrityError::Exists { .. })
    ));
    assert_eq!(recorded(&Store::open(&copy).unwrap()), recorded(&daemon));
    assert!(matches!(
        repair(&path, ".damaged", &mut |_| {}),
        Err(IntegrityError::InUse { .. })
    ));
}

#[tokio::test]
async fn the_verbs_say_what_they_found_and_did() {
    let world = World::new().await;
    world.write(&world.endpoints());
    filled(&world.store());
    let said = async |verb: &[&str]| {
        let out = world.llmwatch(verb).output().await.unwrap();
        let stdout = String::from_utf8(out.stdout).unwrap();
        (
            out.status.code(),
            stdout.replace(&*world.store().to_string_lossy(), "STORE"),
        )
    };
    let (code, sound) = said(&["store", "check"]).await;
    assert_eq!(code, Some(0));
    assert!(sound.starts_with("STORE: ok; version "), "{sound}");
    assert!(
        sound.contains("2000 samples, 0 incidents, 0 notifications waiting"),
        "{sound}"
    );

    damage(&world.store());
    let (code, damaged) = said(&["store", "check", "--json"]).await;
    let damaged: serde_json::Value = serde_json::from_str(&damaged).unwrap();
    assert_eq!(code, Some(1));
    assert_ne!(damaged["problems"], serde_json::json!([]));
    let (code, repaired) = said(&["store", "repair"]).await;
    assert_eq!(code, Some(0));
    assert!(
        repaired.contains("the damaged file is kept as STORE.damaged-"),
        "{repaired}"
    );
    assert_eq!(said(&["store", "check"]).await.0, Some(0));
}

#[tokio::test]
async fn the_schema_knows_every_key_of_the_example() {
    let world = World::new().await;
    let out = world.llmwatch(&["schema"]).output().await.unwrap();
    let schema: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/monitor.toml");
    let example: toml::Table = std::fs::read_to_string(example).unwrap().parse().unwrap();
    let mut seen = 0;
    for (table, content) in &example {
        let of_table = &schema["properties"][table];
        let (keys, one) = match content {
            toml::Value::Array(items) => (
                &of_table["items"]["properties"],
                items[0].as_table().unwrap(),
            ),
            other => (&of_table["properties"], other.as_table().unwrap()),
        };
        for key in one.keys() {
            assert!(
                keys[key].is_object(),
                "the schema does not know `{key}` of `{table}`"
            );
            seen += 1;
        }
    }
    assert!(seen > 4, "{seen}");
    assert_eq!(
        schema["properties"]["endpoint"]["items"]["additionalProperties"],
        false
    );
    assert_eq!(
        schema["properties"]["endpoint"]["items"]["properties"]["timeout"]["properties"]["connect"]
            ["type"],
        "string"
    );
}
