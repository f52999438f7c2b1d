//! What recording costs, counted and not timed; and that readers of the database miss nothing because of it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use llmwatch_core::model::{Sample, Timestamp};

use crate::support::{World, eventually};

/// A world in which `endpoints` endpoints are probed each second.
async fn busy(endpoints: usize) -> World {
    let world = World::new().await;
    let mut config = format!(
        "[monitor]\nlocation = \"fra1\"\nstate_dir = \"{}\"\nlisten = \"off\"\n[log]\nsamples = \"failures\"\n\
         [defaults]\ninterval = \"1s\"\nconnection = \"reuse\"\n",
        world.state().display()
    );
    for n in 0..endpoints {
        let _ = write!(
            config,
            "[[endpoint]]\nname = \"busy-{n:02}\"\nprovider = \"openai\"\nmodel = \"m\"\napi_key = \"none\"\n\
             base_url = \"http://{}/v1\"\nprice = {{ input = 0.0, output = 0.0 }}\n",
            world.openai.addr()
        );
    }
    world.write(&config);
    world
}

/// The transactions in the write-ahead log of the store: each is one `fsync`.
fn transactions(world: &World) -> usize {
    const HEADER: usize = 32;
    const FRAME_HEADER: usize = 24;
    let path = world.state().join("llmwatch.db-wal");
    let Ok(log) = std::fs::read(path) else {
        return 0;
    };
    let number = |at: usize| u32::from_be_bytes(log[at..at + 4].try_into().unwrap());
    if log.len() < HEADER {
        return 0;
    }
    let frame = FRAME_HEADER + number(8) as usize;
    // The last frame of a transaction says how many pages the file has after it; the salt tells old frames from new.
    let is_last = |at: &usize| number(at + 4) > 0 && number(at + 8) == number(16);
    let frames = (HEADER..).step_by(frame);
    frames
        .take_while(|at| at + frame <= log.len())
        .filter(is_last)
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn ordinary_samples_share_one_fsync_a_second() {
    let world = busy(30).await;
    let mut daemon = world.run();
    daemon.event("monitor.ready").await;
    let samples = || world.query::<i64>("SELECT count(*) FROM sample");
    eventually("samples", || (samples() > 30).then_some(())).await;
    let (began, recorded, before) = (Instant::now(), samples(), transactions(&world));
    tokio::time::sleep(Duration::from_secs(4)).await;
    let (recorded, written) = (samples() - recorded, transactions(&world) - before);
    let seconds = began.elapsed().as_secs() as usize;
    assert!(recorded > 60, "{recorded} samples");
    // One a second; a busy machine may split a second in two, and the state of detection is written as well.
    let most = 2 * seconds + 3;
    assert_eq!(daemon.stop().await, Some(0));
    assert!(!daemon.log.contains("\"fault\""), "{}", daemon.log);
    assert!(written <= most, "{written} transactions in {seconds} s");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_has_every_probe_that_has_ended() {
    let world = busy(20).await;
    let mut daemon = world.run();
    daemon.event("monitor.ready").await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let at = llmwatch::clock::now();
    let exported = exported(&world).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(daemon.stop().await, Some(0));
    // What had just ended may not have reached the queue yet.
    let ended = Timestamp(at.0 - 200);
    let all = self::exported(&world).await;
    let missing: Vec<_> = all
        .iter()
        .filter(|(_, ended_at)| *ended_at < ended)
        .filter(|sample| !exported.contains(sample))
        .collect();
    assert!(all.len() > 40, "{} samples", all.len());
    assert!(missing.is_empty(), "{} are missing", missing.len());
}

/// The endpoint of each exported sample and when the probe ended.
async fn exported(world: &World) -> BTreeSet<(String, Timestamp)> {
    let done = world.llmwatch(&["export"]).output().await.unwrap();
    assert!(done.status.success());
    let text = String::from_utf8(done.stdout).unwrap();
    let sample = |line: &str| serde_json::from_str::<Sample>(line).unwrap();
    text.lines()
        .map(sample)
        .map(|s| (s.endpoint.clone(), s.ended_at()))
        .collect()
}
