//! The daemon's memory must not depend on the length of the history: measures the peak of the real
//! process over a store that was filled by bulk inserts of rollups.

use std::fmt::Write as _;
use std::time::Duration;

use llmwatch::store::Store;
use llmwatch_core::model::Timestamp;
use llmwatch_core::report::rollup::{Resolution, Sketch};
use rusqlite::params;

use crate::support::{Daemon, World};

const MIB: u64 = 1024 * 1024;

/// Creates a world with `endpoints` configured endpoints, each probed once an hour.
async fn fleet(endpoints: usize, listen: &str, more: &str) -> World {
    let world = World::new().await;
    let mut config = format!(
        "[monitor]\nlocation = \"fra1\"\nstate_dir = \"{}\"\nlisten = \"{listen}\"\n\
         [defaults]\ninterval = \"1h\"\n{more}",
        world.state().display()
    );
    for n in 0..endpoints {
        let _ = write!(
            config,
            "[[endpoint]]\nname = \"fleet-{n:04}\"\nprovider = \"http\"\nbase_url = \"http://{}\"\n",
            world.openai.addr()
        );
    }
    world.write(&config);
    world
}

/// Returns the sketch of `probes` latencies, most near 400 ms and a few far above.
fn latencies(probes: u32, seed: u64) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut sketch = Sketch::default();
    for _ in 0..probes {
        let spread: f64 = (0..4).map(|_| rng.f64()).sum::<f64>() - 2.0;
        sketch.add(400.0 * (0.6 * spread).exp());
    }
    sketch.to_bytes()
}

/// Inserts for each endpoint one rollup of `resolution` for each of the last `count` periods.
fn history(world: &World, endpoints: usize, resolution: Resolution, count: i64) {
    drop(Store::open(&world.store()).unwrap());
    let mut connection = rusqlite::Connection::open(world.store()).unwrap();
    let step = resolution.length().as_millis() as i64;
    let probes = u32::try_from(step / 60_000).unwrap();
    let sketches: Vec<_> = (0..50).map(|seed| latencies(probes, seed)).collect();
    let end = resolution.begin(llmwatch::clock::now()).0;
    let tx = connection.transaction().unwrap();
    for n in 0..endpoints {
        let name = format!("fleet-{n:04}");
        tx.execute(
            "INSERT OR IGNORE INTO series (endpoint, provider, api, model, location)
             VALUES (?1, 'http', 'http', '', 'fra1')",
            [&name],
        )
        .unwrap();
        let series: i64 = tx
            .query_row("SELECT id FROM series WHERE endpoint = ?1", [&name], |r| {
                r.get(0)
            })
            .unwrap();
        let mut insert = tx
            .prepare_cached(
                "INSERT INTO rollup VALUES (?1, ?2, ?3, ?4, 0, 1, 0, 0, 100, 100, 0.01, 1, 1, 1, 1, ?5, ?6)",
            )
            .unwrap();
        for back in (0..count).rev() {
            let place = (n * 31 + back as usize * 7) % sketches.len();
            let (first, total) = (&sketches[place], &sketches[(place + 1) % sketches.len()]);
            let step_s = step / 1000;
            insert
                .execute(params![
                    step_s,
                    series,
                    end - back * step,
                    probes,
                    first,
                    total
                ])
                .unwrap();
        }
    }
    tx.commit().unwrap();
}

async fn get(address: &str, path: &str) -> usize {
    // The client requires a crypto provider, even for plain HTTP.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(format!("http://{address}{path}")).send();
    let answer = answer.await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
    answer.bytes().await.unwrap().len()
}

/// Measures the memory of the idle process after its start.
async fn idle(daemon: &Daemon) -> u64 {
    tokio::time::sleep(Duration::from_secs(2)).await;
    daemon.memory("VmRSS")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_front_page_of_1000_endpoints_fits_in_60_mib() {
    let world = fleet(1000, "127.0.0.1:0", "").await;
    history(&world, 1000, Resolution::Day, 90);
    history(&world, 1000, Resolution::Hour, 24);
    let mut daemon = world.run();
    let listening = daemon.event("web.listening").await;
    let address = listening["address"].as_str().unwrap().to_owned();
    daemon.event("monitor.ready").await;
    let idle = idle(&daemon).await;
    for _ in 0..3 {
        // Healthy endpoints are collapsed; a search shows the most rows that the page can have.
        get(&address, "/").await;
        assert!(get(&address, "/?q=fleet").await > 100_000);
    }
    let above = daemon.memory("VmHWM").saturating_sub(idle);
    assert!(above < 60 * MIB, "{} MiB above idle", above / MIB);
    assert_eq!(daemon.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_over_200_endpoints_and_60_days_fits_in_100_mib() {
    let world = fleet(200, "off", "").await;
    let report = format!(
        "[report]\nevery = \"monthly\"\n{}on = [\"report\"]\n",
        world.webhook()
    );
    history(&world, 200, Resolution::Day, 92);
    history(&world, 200, Resolution::Hour, 92 * 24);
    let mut daemon = world.run();
    daemon.event("monitor.ready").await;
    let idle = idle(&daemon).await;
    assert_eq!(daemon.stop().await, Some(0));

    let config = std::fs::read_to_string(world.config_path()).unwrap();
    world.write(&(config + &report));
    let long_ago = llmwatch::clock::now() - Duration::from_hours(70 * 24);
    due_since(&world, long_ago);
    let mut daemon = world.run();
    let queued = daemon.event("notification.queued").await;
    assert_eq!(queued["type"], "report.periodic");
    let above = daemon.memory("VmHWM").saturating_sub(idle);
    assert!(above < 100 * MIB, "{} MiB above idle", above / MIB);
    assert_eq!(daemon.stop().await, Some(0));
}

/// Sets the end of the last periodic report to `at`.
fn due_since(world: &World, at: Timestamp) {
    let connection = rusqlite::Connection::open(world.store()).unwrap();
    let state = serde_json::json!({"reported_until": at}).to_string();
    connection
        .execute(
            "INSERT INTO notification_state (id, state) VALUES (1, ?1)
             ON CONFLICT (id) DO UPDATE SET state = excluded.state",
            [state],
        )
        .unwrap();
}
