//! The cost of recording, counted rather than timed; and readers of the database must still see
//! everything.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::support::{World, eventually};

/// Creates a world whose `endpoints` endpoints are each probed every second.
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

/// Counts the transactions in the store's write-ahead log; each is one `fsync`.
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
    // The last frame of a transaction has the new size of the database file; the salt distinguishes
    // new frames from old ones.
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
    let (began, before, counted) = (Instant::now(), samples(), transactions(&world));
    eventually("more samples", || (samples() > before + 90).then_some(())).await;
    let written = transactions(&world).saturating_sub(counted);
    let seconds = began.elapsed().as_secs() as usize;
    // One per second. A busy machine may split a second in two, the detection state is written as
    // well, and a failed probe is committed at once.
    assert_eq!(daemon.stop().await, Some(0));
    let failed = daemon.log.matches("\"fault\"").count();
    let most = 2 * seconds + 3 + 2 * failed;
    assert!(written <= most, "{written} transactions in {seconds} s");
}

/// How long an export waits for the daemon to commit; after that, it reads what is there.
const FLUSH_PATIENCE: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn an_export_has_every_probe_that_was_counted() {
    let world = busy(20).await;
    let config = std::fs::read_to_string(world.config_path()).unwrap();
    world.write(&config.replace("listen = \"off\"", "listen = \"127.0.0.1:0\""));
    let mut daemon = world.run();
    let address = daemon.event("web.listening").await["address"].clone();
    let address = address.as_str().unwrap();
    daemon.event("monitor.ready").await;
    eventually("samples", || {
        (world.query::<i64>("SELECT count(*) FROM sample") > 20).then_some(())
    })
    .await;
    // At different moments between two writes.
    for _ in 0..5 {
        let counted = counted(address).await;
        let began = Instant::now();
        let exported = exported(&world).await;
        if began.elapsed() < FLUSH_PATIENCE {
            assert!(exported >= counted, "{exported} of {counted}");
        }
    }
    assert_eq!(daemon.stop().await, Some(0));
}

/// Returns the number of probes that the daemon has counted so far.
async fn counted(address: &str) -> usize {
    let (_, _, metrics) = crate::pages::get(address, "/metrics").await;
    let probes = metrics
        .lines()
        .filter(|line| line.starts_with("llmwatch_probes_total{"));
    let values = probes.filter_map(|line| line.split("} ").nth(1)?.split(' ').next());
    values.map(|n| n.parse::<f64>().unwrap() as usize).sum()
}

/// Returns the number of samples in an export.
async fn exported(world: &World) -> usize {
    let done = world.llmwatch(&["export"]).output().await.unwrap();
    assert!(done.status.success());
    String::from_utf8(done.stdout).unwrap().lines().count()
}
