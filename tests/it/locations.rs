//! Several daemons that share a real PostgreSQL: quorum, delivery, takeover, loss of the database.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use llmwatch_simulator::{Request, Scenario, WebhookBehavior};
use serde_json::Value;

use crate::links::{ask, decoded};
use crate::support::postgres::Postgres;
use crate::support::{Daemon, PATIENCE, World, eventually, free_port};

const DOWN: &str = "[[rule]]\npath = \"/v1/*\"\nfault = \"openai_503\"\n";

pub(crate) fn body(request: &Request) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

/// Returns the incident messages that `world` received: type, incident id, notification id.
pub(crate) fn reported(world: &World) -> Vec<(String, String, String)> {
    let requests = world.hook.requests();
    let reported = requests.iter().map(|r| body(r)).map(|b| {
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        (
            text(&b["type"]),
            text(&b["data"]["incident"]["id"]),
            text(&b["data"]["notification_id"]),
        )
    });
    reported
        .filter(|(kind, ..)| kind.starts_with("incident."))
        .collect()
}

/// Returns the configuration of a daemon at `location`: its own vendors, a shared store, the
/// webhook of `hub`.
pub(crate) fn config(
    world: &World,
    hub: &World,
    location: &str,
    store: &str,
    more: &str,
) -> String {
    let own = world
        .endpoints()
        .replace("\"fra1\"", &format!("{location:?}"));
    format!("{own}\n[store]\nurl = {store:?}\n{more}\n{}", hub.webhook())
}

/// Starts daemons at `places`, all of which notify the webhook of the first one's world.
pub(crate) async fn daemons(places: &[&str], store: &str, more: &str) -> (Vec<World>, Vec<Daemon>) {
    let mut worlds = Vec::new();
    for _ in places {
        worlds.push(World::new().await);
    }
    let mut running = Vec::new();
    for (world, place) in worlds.iter().zip(places) {
        world.write(&config(world, &worlds[0], place, store, more));
        running.push(world.run());
    }
    for daemon in &mut running {
        daemon.well().await;
    }
    (worlds, running)
}

/// Keeps a location known, however late its next probe is.
pub(crate) const PATIENT: &str = "[quorum]\nstale_after = \"10m\"\n";

/// Waits until that many locations have reported in the store that both endpoints are operational.
pub(crate) async fn all_well(server: &Postgres, locations: usize) {
    let well = "SELECT count(*) FROM llmwatch_verdict WHERE data LIKE '%\"counts\":true%' AND data LIKE '%\"status\":\"operational\"%'";
    eventually("every location is known", || {
        (server.query("monitor", well) == (2 * locations).to_string()).then_some(())
    })
    .await;
}

pub(crate) fn break_at(world: &World) {
    world.openai.set_scenario(Scenario::parse(DOWN).unwrap());
}

pub(crate) async fn next_message(world: &mut World, kind: &str) -> Value {
    loop {
        let request = tokio::time::timeout(PATIENCE, world.hook.next()).await;
        let message = body(&request.unwrap_or_else(|_| panic!("no {kind} came")));
        if message["type"] == kind {
            return message;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_refuses_is_a_bad_configuration() {
    let Some(server) = Postgres::start("refusals of a shared store") else {
        return;
    };
    let good = server.database("good");
    server.query("postgres", "CREATE ROLE guest LOGIN");
    server.query(
        "postgres",
        "CREATE ROLE locked LOGIN PASSWORD 'right horse'",
    );
    server.query("good", "REVOKE CREATE ON SCHEMA public FROM PUBLIC");
    server.query(
        "postgres",
        "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0",
    );
    let newer = server.database("newer");
    server.query(
        "newer",
        "CREATE TABLE llmwatch_schema (id INT8 PRIMARY KEY, version INT8, store UUID);
         INSERT INTO llmwatch_schema VALUES (1, 99, gen_random_uuid())",
    );
    let standing = server.database("standing");
    server.query(
        "postgres",
        "ALTER DATABASE standing SET default_transaction_read_only = on",
    );
    let hba = std::fs::read_to_string(server.hba()).unwrap();
    let rule = "host all locked 127.0.0.1/32 scram-sha-256\n";
    std::fs::write(server.hba(), format!("{rule}{hba}")).unwrap();
    server.query("postgres", "SELECT pg_reload_conf()");
    let port = server.port;
    let cases = [
        (
            "postgres://u:s3cretword@127.0.0.1/db?ssl=on".to_owned(),
            "unknown parameter",
        ),
        (
            format!("postgres://locked:s3cretword@127.0.0.1:{port}/good"),
            "password",
        ),
        (
            format!("postgres://locked@127.0.0.1:{port}/good"),
            "password",
        ),
        (
            server.url("llmwatch", "absent"),
            "there is no database `absent`",
        ),
        (server.url("nobody", "good"), "role"),
        (server.url("guest", "good"), "lacks rights"),
        (server.url("llmwatch", "latin"), "LATIN1"),
        (newer, "version 99"),
        (standing, "read-only"),
        (format!("{good}?sslmode=verify-full"), "TLS"),
    ];
    for (url, wanted) in cases {
        refuses(&url, "", wanted).await;
    }
    // Another role has created the tables, and gives this one only read access.
    let world = World::new().await;
    world.write(&config(&world, &world, "fra1", &good, ""));
    assert_eq!(check_online(&world).await.0, Some(0));
    server.query(
        "good",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO guest",
    );
    let guest = server.url("guest", "good");
    refuses(&guest, "", "no DELETE on `llmwatch_advice`").await;
    let standby = Postgres::standby_of(&server);
    refuses(&standby.url("llmwatch", "good"), "", "read-only standby").await;
}

/// Runs `check --online`. Returns its exit code and output.
async fn check_online(world: &World) -> (Option<i32>, String) {
    let output = world.llmwatch(&["check", "--online"]).output();
    let done = tokio::time::timeout(PATIENCE, output).await.unwrap();
    let done = done.unwrap();
    let text = String::from_utf8_lossy(&done.stderr).into_owned();
    (done.status.code(), text)
}

/// Asserts that `run` and `check --online` both reject the store `url` with `wanted`, without
/// revealing a secret.
async fn refuses(url: &str, monitor: &str, wanted: &str) {
    let world = World::new().await;
    let text = config(&world, &world, "fra1", url, "");
    world.write(&text.replace("[monitor]\n", &format!("[monitor]\n{monitor}\n")));
    for verb in [&["run"][..], &["check", "--online"][..]] {
        let done = tokio::time::timeout(PATIENCE, world.llmwatch(verb).output())
            .await
            .unwrap()
            .unwrap();
        let text = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(78), "{url} {verb:?}: {text}");
        assert!(text.contains(wanted), "{url} {verb:?}: {text}");
        for foreign in [
            "s3cretword",
            "os error",
            "OtherError",
            "UnknownIssuer",
            "DnsName",
        ] {
            assert!(!text.contains(foreign), "{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_reports_a_store_that_does_not_answer() {
    let world = World::new().await;
    let port = free_port();
    for host in ["127.0.0.1", "db.invalid"] {
        let url = format!("postgres://llmwatch:s3cretword@{host}:{port}/monitor");
        world.write(&config(&world, &world, "fra1", &url, ""));
        let (code, text) = check_online(&world).await;
        assert_eq!(code, Some(0), "the daemon starts without it: {text}");
        assert!(
            text.contains(&format!("@{host}:{port}/monitor` cannot be reached")),
            "{text}"
        );
        assert!(text.contains("check that the server is running"), "{text}");
        assert!(!text.contains("s3cretword"), "{text}");
        assert!(!text.contains("os error"), "{text}");
    }
}

/// Creates a CA, and a certificate of it for `name` that is valid until `year`, with its key.
fn certificate(name: &str, year: i32) -> (String, String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    let certificate = params.signed_by(&key, &issuer).unwrap();
    (root.pem(), certificate.pem(), key.serialize_pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_of_the_store_is_verified() {
    let Some(server) = Postgres::start("TLS to a shared store") else {
        return;
    };
    server.database("good");
    server.query(
        "postgres",
        "CREATE ROLE locked LOGIN PASSWORD 'right horse'; ALTER DATABASE good OWNER TO locked",
    );
    let trusted = tempfile::tempdir().unwrap();
    let root_file = trusted.path().join("root.pem");
    let present = |name: &str, year: i32| {
        let (root, certificate, key) = certificate(name, year);
        std::fs::write(&root_file, root).unwrap();
        server.file("server.pem", &certificate);
        server.file("server.key", &key);
        server.reload();
    };
    present("localhost", 2090);
    server.set("ssl_cert_file", "server.pem");
    server.set("ssl_key_file", "server.key");
    server.set("ssl", "on");
    // Only with TLS and a password.
    let hba = std::fs::read_to_string(server.hba()).unwrap();
    let rule = "hostssl good locked 127.0.0.1/32 scram-sha-256\nhostnossl good locked 127.0.0.1/32 reject\n";
    std::fs::write(server.hba(), format!("{rule}{hba}")).unwrap();
    server.query("good", "ALTER SCHEMA public OWNER TO locked");
    server.reload();
    let port = server.port;
    let url = |login: &str, host: &str, more: &str| {
        format!("postgres://{login}@{host}:{port}/good?sslmode={more}")
    };
    let good = url("locked:right%20horse", "localhost", "verify-full");
    let with_root = format!("ca_file = {root_file:?}");

    let world = World::new().await;
    let text = config(&world, &world, "fra1", &good, "");
    world.write(&text.replace("[monitor]\n", &format!("[monitor]\n{with_root}\n")));
    let (code, text) = check_online(&world).await;
    assert_eq!(code, Some(0), "{text}");
    let mut daemon = world.run();
    daemon.event("monitor.ready").await;
    eventually("its samples are in the store", || {
        let samples = server.try_query("good", "SELECT count(*) FROM llmwatch_sample");
        samples.is_ok_and(|n| n != "0").then_some(())
    })
    .await;
    let encrypted = "SELECT bool_and(s.ssl) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE a.usename = 'locked'";
    assert_eq!(server.query("good", encrypted), "t");
    assert_eq!(daemon.stop().await, Some(0));

    refuses(&good, "", "`[monitor] ca_file`").await;
    let by_address = url("locked:right%20horse", "127.0.0.1", "verify-full");
    refuses(
        &by_address,
        &with_root,
        "use a host name from the certificate",
    )
    .await;
    let wrong = url("locked:s3cretword", "localhost", "verify-full");
    refuses(&wrong, &with_root, "rejects the password").await;
    let open = url("locked:right%20horse", "127.0.0.1", "disable");
    refuses(&open, "", "sslmode=verify-full").await;
    present("localhost", 2020);
    refuses(&good, &with_root, "renew it").await;
    present("db.example.com", 2090);
    refuses(&good, &with_root, "use a host name from the certificate").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_location_alone_is_an_incident_of_that_location() {
    let Some(server) = Postgres::start("three locations") else {
        return;
    };
    let store = server.database("monitor");
    let (mut worlds, mut daemons) = daemons(&["fra1", "nyc1", "sin1"], &store, PATIENT).await;
    all_well(&server, 3).await;
    break_at(&worlds[0]);
    let opened = next_message(&mut worlds[0], "incident.opened").await;
    let incident = &opened["data"]["incident"];
    assert_eq!(incident["scope"], "location", "{opened}");
    assert_eq!(incident["locations"][0]["location"], "fra1", "{opened}");
    assert_eq!(incident["locations"].as_array().unwrap().len(), 1);
    let text = incident["explanation"].as_str().unwrap();
    assert!(
        text.contains("from fra1 only; nyc1 and sin1 reach it"),
        "{text}"
    );
    // The quorum is reached: the same incident escalates.
    break_at(&worlds[1]);
    let escalated = next_message(&mut worlds[0], "incident.escalated").await;
    assert_eq!(escalated["data"]["incident"]["id"], incident["id"]);
    assert_eq!(escalated["data"]["incident"]["scope"], "all", "{escalated}");
    for daemon in &mut daemons {
        let opened = daemon.event("incident.opened").await;
        assert_eq!(opened["incident"], incident["id"]);
        daemon.event("incident.escalated").await;
    }
    for world in &worlds {
        world.openai.set_scenario(Scenario::healthy());
    }
    next_message(&mut worlds[0], "incident.resolved").await;
    for daemon in &mut daemons {
        daemon.event("incident.resolved").await;
        assert_eq!(daemon.stop().await, Some(0), "{}", daemon.log);
    }
    let reported = reported(&worlds[0]);
    let ids: BTreeSet<_> = reported.iter().map(|(.., id)| id).collect();
    assert_eq!(ids.len(), reported.len(), "each once: {reported:?}");
    let opened = reported
        .iter()
        .filter(|(kind, ..)| kind == "incident.opened");
    assert_eq!(opened.count(), 1, "{reported:?}");
}

/// Returns the samples exported by `world`'s command line.
async fn exported(world: &World) -> Vec<Value> {
    let done = world.llmwatch(&["export"]).output().await.unwrap();
    assert!(done.status.success());
    let text = String::from_utf8(done.stdout).unwrap();
    text.lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_without_the_store_spools_and_notifies_alone() {
    let Some(mut server) = Postgres::start("a daemon alone") else {
        return;
    };
    let store = server.database("monitor");
    let more = "[quorum]\nalone_after = \"3s\"\n";
    let (mut worlds, mut daemons) = daemons(&["fra1", "nyc1"], &store, more).await;
    all_well(&server, 2).await;
    server.down();
    daemons[0].event("store.unreachable").await;
    break_at(&worlds[0]);
    let opened = next_message(&mut worlds[0], "incident.opened").await;
    assert_eq!(opened["alone"], true, "{opened}");
    let incident = opened["data"]["incident"].clone();
    assert!(
        incident["title"].as_str().unwrap().starts_with("Alone:"),
        "{opened}"
    );
    for _ in 0..4 {
        daemons[1].event("probe.completed").await;
    }
    server.up();
    for daemon in &mut daemons {
        daemon.event("store.reachable").await;
        let spooled = daemon.event("store.spooled").await;
        assert!(spooled["samples"].as_u64().unwrap() > 0, "{spooled}");
    }
    // It keeps its id and becomes an incident of its location; nobody is notified again.
    let sql = format!(
        "SELECT count(*) FROM llmwatch_incident WHERE open AND id = '{}'",
        incident["id"].as_str().unwrap()
    );
    eventually("the incident is written back", || {
        (server.query("monitor", &sql) == "1").then_some(())
    })
    .await;
    worlds[0].openai.set_scenario(Scenario::healthy());
    let resolved = next_message(&mut worlds[0], "incident.resolved").await;
    assert_eq!(
        resolved["data"]["incident"]["id"], incident["id"],
        "{resolved}"
    );
    for daemon in &mut daemons {
        assert_eq!(daemon.stop().await, Some(0), "{}", daemon.log);
    }
    let reported = reported(&worlds[0]);
    let kinds: Vec<_> = reported.iter().map(|(kind, ..)| kind.as_str()).collect();
    assert_eq!(
        kinds,
        ["incident.opened", "incident.resolved"],
        "{reported:?}"
    );
    // Both daemons have every sample once, with its original times.
    let stored = server.query(
        "monitor",
        "SELECT count(*) || ' ' || count(DISTINCT id) FROM llmwatch_sample",
    );
    let (all, distinct) = stored.split_once(' ').unwrap();
    assert_eq!(all, distinct);
    for world in &worlds {
        let samples = exported(world).await;
        let ids: BTreeSet<_> = samples.iter().map(|s| s["id"].to_string()).collect();
        assert_eq!(ids.len(), samples.len(), "each once");
        let places: BTreeSet<_> = samples.iter().map(|s| s["location"].to_string()).collect();
        assert_eq!(places.len(), 2, "all locations");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_daemons_of_one_location_probe_each_slot_once() {
    let Some(server) = Postgres::start("a pair") else {
        return;
    };
    let store = server.database("monitor");
    let worlds = [World::new().await, World::new().await];
    let mut daemons = Vec::new();
    for world in &worlds {
        world.write(&config(world, &worlds[0], "fra1", &store, ""));
        daemons.push(world.run());
    }
    for daemon in &mut daemons {
        daemon.event("monitor.ready").await;
    }
    let slots = |since: &str| -> usize {
        let sql = format!(
            "SELECT count(*) FROM llmwatch_sample WHERE endpoint = 'openai-chat' AND scheduled_at > {since}"
        );
        server.query("monitor", &sql).parse().unwrap()
    };
    eventually("a pair probes", || (slots("0") >= 12).then_some(())).await;
    daemons[0].kill().await;
    // The pair does not probe twice and discard half, which would double the requests. The latest
    // probes are not recorded yet.
    let made: usize = worlds.iter().map(|w| w.openai.log().len()).sum();
    let kept = slots("0");
    assert!(
        2 * made < 3 * kept + 8,
        "{made} requests for {kept} samples"
    );
    let last = server.query("monitor", "SELECT max(scheduled_at) FROM llmwatch_sample");
    eventually("the other takes over", || (slots(&last) >= 6).then_some(())).await;
    assert_eq!(daemons[1].stop().await, Some(0));
    let doubled = server.query(
        "monitor",
        "SELECT count(*) FROM (SELECT 1 FROM llmwatch_sample WHERE trigger = 'schedule'
            GROUP BY endpoint, location, scheduled_at HAVING count(*) > 1) d",
    );
    assert_eq!(doubled, "0");
}

/// The receiver accepts the message, but the sending daemon is killed before recording that. When
/// another daemon takes over, the incident is over. The receiver ignores a repeated id, so the end
/// must be a separate message.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_is_sent_after_a_kill_in_a_delivery() {
    let Some(server) = Postgres::start("a kill in a delivery") else {
        return;
    };
    let store = server.database("monitor");
    let (mut worlds, mut daemons) = daemons(&["fra1", "nyc1"], &store, "").await;
    worlds[0].hook.set_behavior(WebhookBehavior::Hang);
    for world in &worlds {
        break_at(world);
    }
    let opened = next_message(&mut worlds[0], "incident.opened").await;
    let by = server.query(
        "monitor",
        "SELECT location FROM llmwatch_daemon d JOIN llmwatch_outbox o ON o.claimed_by = d.id WHERE kind = 'incident.opened'",
    );
    let (killed, other) = if by == "fra1" { (0, 1) } else { (1, 0) };
    daemons[killed].kill().await;
    worlds[0].hook.set_behavior(WebhookBehavior::Ok);
    for world in &worlds {
        world.openai.set_scenario(Scenario::healthy());
    }
    daemons[other].event("incident.resolved").await;
    let resolved = next_message(&mut worlds[0], "incident.resolved").await;
    assert_eq!(
        resolved["data"]["incident"]["id"], opened["data"]["incident"]["id"],
        "{resolved}"
    );
    // The first location to detect it may have opened it alone; then it escalates in between.
    let reported = reported(&worlds[0]);
    let kinds: Vec<_> = reported.iter().map(|(kind, ..)| kind.as_str()).collect();
    let openings = kinds.partition_point(|kind| *kind == "incident.opened");
    assert!(openings >= 2, "{reported:?}");
    let ids: BTreeSet<_> = reported[..openings].iter().map(|(.., id)| id).collect();
    assert_eq!(ids.len(), 1, "one id: {reported:?}");
    let rest = &kinds[openings..];
    let ends = rest.iter().filter(|kind| **kind == "incident.resolved");
    assert_eq!(ends.count(), 1, "{reported:?}");
    assert_eq!(kinds.last(), Some(&"incident.resolved"), "{reported:?}");
    assert_eq!(daemons[other].stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_of_a_killed_daemon_is_sent_by_another() {
    let Some(server) = Postgres::start("takeover of notifications") else {
        return;
    };
    let store = server.database("monitor");
    let (mut worlds, mut daemons) = daemons(&["fra1", "nyc1"], &store, "").await;
    let mut opened = 0;
    for round in 0..3 {
        for world in &worlds {
            break_at(world);
        }
        // Kills one daemon at an arbitrary step when the incident opens.
        daemons[0].event("incident.opened").await;
        daemons[0].kill().await;
        next_message(&mut worlds[0], "incident.opened").await;
        opened += 1;
        for world in &worlds {
            world.openai.set_scenario(Scenario::healthy());
        }
        next_message(&mut worlds[0], "incident.resolved").await;
        daemons[0] = worlds[0].run();
        daemons[0].event("monitor.ready").await;
        daemons[0].event("probe.completed").await;
        let _ = round;
    }
    for daemon in &mut daemons {
        assert_eq!(daemon.stop().await, Some(0), "{}", daemon.log);
    }
    let reported = reported(&worlds[0]);
    let incidents: BTreeSet<_> = reported.iter().map(|(_, id, _)| id).collect();
    assert_eq!(
        incidents.len(),
        opened,
        "none lost, none doubled: {reported:?}"
    );
    for id in incidents {
        let of_it: Vec<_> = reported.iter().filter(|(_, i, _)| i == id).collect();
        let ids: BTreeSet<_> = of_it.iter().map(|(kind, _, id)| (kind, id)).collect();
        let firsts = ids.iter().filter(|(kind, _)| *kind == "incident.opened");
        assert_eq!(firsts.count(), 1, "one id: {reported:?}");
        assert_eq!(of_it[0].0, "incident.opened", "in order: {reported:?}");
        assert_eq!(
            of_it[of_it.len() - 1].0,
            "incident.resolved",
            "in order: {reported:?}"
        );
    }
    let waiting = server.query(
        "monitor",
        "SELECT coalesce(string_agg(concat_ws(' ', seq, kind, attempts, error, claimed_until), ','), 'none')
         FROM llmwatch_outbox WHERE state = 'pending'",
    );
    assert_eq!(waiting, "none", "{reported:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_daemons_make_the_schema_at_once() {
    let Some(server) = Postgres::start("ten starts at once") else {
        return;
    };
    let store = server.database("monitor");
    let world = World::new().await;
    world.write(&config(&world, &world, "fra1", &store, ""));
    let checks: Vec<_> = (0..10)
        .map(|_| world.llmwatch(&["check", "--online"]).output())
        .collect();
    for done in futures_util::future::join_all(checks).await {
        let done = done.unwrap();
        let text = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(0), "{text}");
        assert!(text.contains("reachable"), "{text}");
    }
    assert_eq!(
        server.query("monitor", "SELECT version FROM llmwatch_schema"),
        "2"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn store_copy_can_be_interrupted_and_resumed() {
    let Some(server) = Postgres::start("a copied history") else {
        return;
    };
    let store = server.database("monitor");
    let world = World::new().await;
    world.write(&(world.endpoints() + &world.webhook()));
    let mut daemon = world.run();
    break_at(&world);
    daemon.event("incident.opened").await;
    world.openai.set_scenario(Scenario::healthy());
    daemon.event("incident.resolved").await;
    assert_eq!(daemon.stop().await, Some(0));
    let copy = [
        "store",
        "copy",
        "--from",
        "sqlite:llmwatch.db",
        "--to",
        store.as_str(),
    ];
    for round in 0..2 {
        let done = world.llmwatch(&copy).output().await.unwrap();
        let text = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(0), "{round}: {text}");
        assert!(
            String::from_utf8_lossy(&done.stdout).starts_with("ok: "),
            "{text}"
        );
    }
    let samples: String = world.query("SELECT CAST(count(*) AS TEXT) FROM sample");
    assert_eq!(
        server.query("monitor", "SELECT count(*) FROM llmwatch_sample"),
        samples
    );
    assert_eq!(
        server.query("monitor", "SELECT count(*) FROM llmwatch_incident"),
        "1"
    );
    // The daemon continues with the shared store: numbers continue, and nothing is imported twice.
    world.write(&config(&world, &world, "fra1", &store, ""));
    let mut daemon = world.run();
    daemon.event("probe.completed").await;
    break_at(&world);
    daemon.event("incident.opened").await;
    assert_eq!(daemon.stop().await, Some(0));
    assert_eq!(
        server.query("monitor", "SELECT max(number) FROM llmwatch_incident"),
        "2"
    );
    let (rows, ids): (i64, i64) = (
        world.query("SELECT count(*) FROM sample"),
        world.query("SELECT count(DISTINCT id) FROM sample"),
    );
    assert_eq!(rows, ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_standby_takes_over() {
    let Some(mut primary) = Postgres::start("promotion of a standby") else {
        return;
    };
    primary.database("monitor");
    let standby = Postgres::standby_of(&primary);
    let both = format!(
        "postgres://llmwatch@127.0.0.1:{},127.0.0.1:{}/monitor",
        primary.port, standby.port
    );
    let (mut worlds, mut daemons) = daemons(&["fra1", "nyc1"], &both, "").await;
    primary.down();
    for daemon in &mut daemons {
        daemon.event("store.unreachable").await;
    }
    standby.promote();
    for daemon in &mut daemons {
        daemon.event("store.reachable").await;
    }
    for world in &worlds {
        break_at(world);
    }
    let opened = next_message(&mut worlds[0], "incident.opened").await;
    assert!(opened["alone"].is_null(), "{opened}");
    for daemon in &mut daemons {
        assert_eq!(daemon.stop().await, Some(0), "{}", daemon.log);
    }
    assert_eq!(
        standby.query("monitor", "SELECT count(*) FROM llmwatch_incident"),
        "1"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_does_not_probe_shows_the_locations() {
    let Some(server) = Postgres::start("a daemon that only serves") else {
        return;
    };
    let store = server.database("monitor");
    let (worlds, mut daemons) = daemons(&["fra1", "nyc1", "sin1"], &store, PATIENT).await;
    let front = World::new().await;
    let serving = config(&front, &worlds[0], "front", &store, PATIENT).replace(
        "listen = \"off\"",
        "listen = \"127.0.0.1:0\"\nprobe = false",
    );
    front.write(&serving);
    all_well(&server, 3).await;
    let mut page = front.run();
    let address = page.event("web.listening").await["address"].clone();
    // The client does not install a crypto provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let get = async |path: &str| {
        let url = format!("http://{}{path}", address.as_str().unwrap());
        reqwest::get(url).await.unwrap().text().await.unwrap()
    };
    break_at(&worlds[1]);
    daemons[1].event("incident.opened").await;
    page.event("incident.opened").await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let status: Value = serde_json::from_str(&get("/api/v1/status").await).unwrap();
        let endpoint = &status["endpoints"][0];
        assert_eq!(endpoint["status"], "operational", "{endpoint}");
        if endpoint["locations_down"] == serde_json::json!(["nyc1"]) {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{endpoint}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let there: Value = serde_json::from_str(&get("/api/v1/status?location=nyc1").await).unwrap();
    assert_eq!(there["endpoints"][0]["status"], "outage", "{there}");
    let samples = get("/api/v1/endpoints/openai-chat/samples?location=sin1&limit=5").await;
    assert!(
        samples.contains("sin1") && !samples.contains("nyc1"),
        "{samples}"
    );
    let index = get("/").await;
    assert!(
        index.contains("?location=nyc1") && index.contains("outage"),
        "the matrix"
    );
    assert!(front.openai.log().is_empty(), "it does not probe");
    assert_eq!(page.stop().await, Some(0));
    for daemon in &mut daemons {
        assert_eq!(daemon.stop().await, Some(0), "{}", daemon.log);
    }
}

/// Runs a command. Returns its exit code and output.
async fn output(world: &World, verb: &[&str]) -> (Option<i32>, String) {
    let done = tokio::time::timeout(PATIENCE, world.llmwatch(verb).output()).await;
    let done = done.unwrap().unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    (done.status.code(), text)
}

async fn json(world: &World, verb: &[&str]) -> Value {
    let (_, text) = output(world, &[verb, &["--json"]].concat()).await;
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{verb:?}: {e}: {text}"))
}

/// Configures the daemon of `world` to serve its page. Returns the address.
fn serve(world: &World) -> String {
    let address = format!("127.0.0.1:{}", free_port());
    let text = std::fs::read_to_string(world.config_path()).unwrap();
    world.write(&text.replace("listen = \"off\"", &format!("listen = \"{address}\"")));
    address
}

async fn get(address: &str, path: &str) -> String {
    // The client does not install a crypto provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let response = reqwest::get(format!("http://{address}{path}")).await;
    response.unwrap().text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_view_tells_the_locations_apart() {
    let Some(server) = Postgres::start("views of locations") else {
        return;
    };
    let store = server.database("monitor");
    let (worlds, mut daemons) = daemons(&["fra1", "nyc1", "sin1"], &store, PATIENT).await;
    assert_eq!(daemons[0].stop().await, Some(0));
    let address = serve(&worlds[0]);
    daemons[0] = worlds[0].run();
    daemons[0].well().await;
    all_well(&server, 3).await;
    break_at(&worlds[1]);
    let opened = daemons[0].event("incident.opened").await;
    let here = &worlds[0];
    // Its own verdict may briefly be ahead.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let status = loop {
        let status = json(here, &["status"]).await;
        if status["endpoints"][0]["locations_down"][0] == "nyc1" {
            break status;
        }
        assert!(tokio::time::Instant::now() < deadline, "{status}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert_eq!(status["endpoints"][0]["status"], "operational", "{status}");
    let (_, text) = output(here, &["status"]).await;
    assert!(text.contains("not from nyc1"), "{text}");
    let (code, text) = output(here, &["status", "--location", "nyc1"]).await;
    assert_eq!(code, Some(2), "{text}");
    let (code, text) = output(here, &["status", "--location", "sin1"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(
        output(here, &["status", "--location", "x"]).await.0,
        Some(3)
    );

    let is_usable = async |location| {
        let choice = json(here, &["route", "chat", "--location", location]).await;
        let ranking = choice["ranking"].as_array().unwrap().clone();
        let of_it = ranking.iter().find(|r| r["endpoint"] == "openai-chat");
        (of_it.unwrap()["usable"].clone(), choice["endpoint"].clone())
    };
    assert_eq!(is_usable("sin1").await.0, true);
    assert_eq!(is_usable("nyc1").await, (false.into(), "azure-chat".into()));
    let health = get(&address, "/api/v1/health?group=chat&location=nyc1").await;
    assert!(health.contains("azure-chat"), "{health}");

    let from = async |location| json(here, &["incidents", "--location", location]).await;
    assert_eq!(from("nyc1").await[0]["id"], opened["incident"]);
    assert_eq!(from("sin1").await.as_array().unwrap().len(), 0);
    let (_, text) = output(here, &["incidents", "1"]).await;
    assert!(text.contains("locations  nyc1 since"), "{text}");
    assert!(text.contains("works from fra1, sin1"), "{text}");

    let series = async |location: &str| {
        let path = format!("/api/v1/endpoints/openai-chat/series?range=1h&location={location}");
        let series: Value = serde_json::from_str(&get(&address, &path).await).unwrap();
        let summary = &series["summary"];
        let failed = summary["failed_provider"].as_u64().unwrap();
        (failed, failed + summary["ok"].as_u64().unwrap())
    };
    let (failed, _) = series("nyc1").await;
    assert!(failed > 0);
    let (failed, probes) = series("sin1").await;
    assert!(failed == 0 && probes > 0, "{probes}");

    let availability = async |location| {
        let report = json(here, &["report", "--since", "1h", "--location", location]).await;
        report["endpoints"][0]["availability"].as_f64().unwrap()
    };
    assert!(availability("nyc1").await < 1.0);
    assert!((availability("sin1").await - 1.0).abs() < 1e-9);
    let unknown = output(here, &["report", "--location", "x"]).await;
    assert_eq!(unknown.0, Some(1), "{}", unknown.1);
    for daemon in &mut daemons {
        assert_eq!(daemon.stop().await, Some(0), "{}", daemon.log);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shared_outbox_is_seen_and_retried() {
    let Some(server) = Postgres::start("the outbox of all") else {
        return;
    };
    let store = server.database("monitor");
    let (mut worlds, mut daemons) = daemons(&["fra1", "nyc1"], &store, "").await;
    assert_eq!(daemons[0].stop().await, Some(0));
    let address = serve(&worlds[0]);
    daemons[0] = worlds[0].run();
    let refusing = WebhookBehavior::Status(410, Vec::new());
    worlds[0].hook.set_behavior(refusing);
    for world in &worlds {
        break_at(world);
    }
    next_message(&mut worlds[0], "incident.opened").await;
    // Either daemon may have got the rejection; both show it.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let dead = loop {
        let rows = json(&worlds[1], &["outbox"]).await;
        let failed = |row: &&Value| row["type"] == "incident.opened" && row["state"] == "failed";
        if let Some(row) = rows.as_array().unwrap().iter().find(failed) {
            break row.clone();
        }
        assert!(tokio::time::Instant::now() < deadline, "{rows}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert_eq!(dead["shared"], true, "{dead}");
    assert_eq!(dead["channel"], "hook", "{dead}");
    // If a location detected it first, it opened it alone, and its escalation failed as well.
    let failed = "llmwatch_notifications_total{channel=\"hook\",result=\"failed\"}";
    let is_counted = |metrics: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(failed));
        line.is_some_and(|count| ["1", "2"].contains(&count.trim()))
    };
    while !is_counted(&get(&address, "/metrics").await) {
        assert!(tokio::time::Instant::now() < deadline, "{failed}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    worlds[0].hook.set_behavior(WebhookBehavior::Ok);
    let id = dead["id"].as_str().unwrap();
    let (code, text) = output(&worlds[1], &["outbox", "retry", id]).await;
    assert_eq!((code, text.contains(id)), (Some(0), true), "{text}");
    let again = next_message(&mut worlds[0], "incident.opened").await;
    assert_eq!(again["data"]["notification_id"], dead["id"], "{again}");
    for daemon in &mut daemons {
        assert_eq!(daemon.stop().await, Some(0), "{}", daemon.log);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_all_daemons_spend_counts_against_a_shared_budget() {
    let Some(server) = Postgres::start("a shared budget") else {
        return;
    };
    let store = server.database("monitor");
    let (worlds, mut daemons) = daemons(&["fra1", "nyc1"], &store, "").await;
    assert_eq!(daemons[0].stop().await, Some(0));
    let shared = "[budget]\nshared = true\n";
    worlds[0].write(&config(&worlds[0], &worlds[0], "fra1", &store, shared));
    daemons[0] = worlds[0].run();
    daemons[0].event("probe.completed").await;
    server.query(
        "monitor",
        "INSERT INTO llmwatch_spent VALUES ((now() AT TIME ZONE 'UTC')::DATE::TEXT, 'sin1', 500, 0)",
    );
    daemons[0].event("budget.spent").await;
    // The other daemon has its own budget.
    for _ in 0..6 {
        daemons[1].event("probe.completed").await;
    }
    assert!(!daemons[1].log.contains("budget.spent"));
    for daemon in &mut daemons {
        assert_eq!(daemon.stop().await, Some(0), "{}", daemon.log);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_counts_what_both_spend() {
    let Some(server) = Postgres::start("the budget of a pair") else {
        return;
    };
    let store = server.database("monitor");
    let worlds = [World::new().await, World::new().await];
    let mut daemons = Vec::new();
    for world in &worlds {
        let text = config(world, &worlds[0], "fra1", &store, "");
        world.write(&text.replace("listen = \"off\"", "listen = \"127.0.0.1:0\""));
        daemons.push(world.run());
    }
    let mut addresses = Vec::new();
    for daemon in &mut daemons {
        let listening = daemon.event("web.listening").await;
        addresses.push(listening["address"].as_str().unwrap().to_owned());
    }
    eventually("both probe", || {
        worlds
            .iter()
            .all(|w| w.openai.log().len() + w.azure.log().len() > 3)
            .then_some(())
    })
    .await;
    assert_eq!(daemons[0].stop().await, Some(0));
    // What the other one knows of, before and after it says what was spent.
    let cost = async || -> (usize, f64) {
        let samples = exported(&worlds[1]).await;
        let costs = samples
            .iter()
            .map(|s| s["cost_usd"].as_f64().unwrap_or(0.0));
        (samples.len(), costs.sum())
    };
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let (known, before) = cost().await;
        let status = get(&addresses[1], "/api/v1/status").await;
        let status: Value = serde_json::from_str(&status).unwrap();
        let spent = status["spent_today_usd"].as_f64().unwrap();
        let (_, after) = cost().await;
        let own = worlds[1].openai.log().len() + worlds[1].azure.log().len();
        if known > own && before > 0.0 && spent >= before - 1e-12 && spent <= after + 1e-12 {
            break;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "{spent}, not from {before} to {after}; {known} samples, {own} of its own"
        );
    }
    assert_eq!(daemons[1].stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn advice_of_several_daemons_is_sent_once() {
    let Some(server) = Postgres::start("advice of several daemons") else {
        return;
    };
    let store = server.database("monitor");
    let mut worlds = [World::new().await, World::new().await];
    let little = "[[rule]]\npath = \"/v1/*\"\n\
                  response_headers = { x-ratelimit-limit-requests = \"100\", x-ratelimit-remaining-requests = \"4\" }\n";
    let mut daemons = Vec::new();
    for (world, place) in worlds.iter().zip(["fra1", "nyc1"]) {
        world.openai.set_scenario(Scenario::parse(little).unwrap());
        let text = config(world, &worlds[0], place, &store, "");
        world.write(&(text + "on = [\"advice\"]\n"));
        daemons.push(world.run());
    }
    for daemon in &mut daemons {
        while daemon.event("notification.queued").await["type"] != "advice.given" {}
    }
    for world in &worlds {
        let settled = "SELECT count(*) FROM outbox WHERE state = 'merged'";
        eventually("it is handed over", || {
            (world.query::<i64>(settled) == 1).then_some(())
        })
        .await;
    }
    let sent = next_message(&mut worlds[0], "advice.given").await;
    let advice = &sent["data"]["details"]["advice"];
    assert_eq!(advice[0]["endpoint"], "openai-chat", "{sent}");
    let rows = "SELECT count(*) FROM llmwatch_outbox WHERE kind = 'advice.given'";
    assert_eq!(server.query("monitor", rows), "1");
    for daemon in &mut daemons {
        assert_eq!(daemon.stop().await, Some(0), "{}", daemon.log);
    }
    assert_eq!(worlds[0].hook.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_of_one_daemon_works_at_the_other() {
    let Some(server) = Postgres::start("links of several daemons") else {
        return;
    };
    let store = server.database("monitor");
    let mut worlds = [World::new().await, World::new().await];
    let mut daemons = Vec::new();
    for (world, place) in worlds.iter().zip(["fra1", "nyc1"]) {
        let text = config(world, &worlds[0], place, &store, &worlds[0].email());
        let page = "listen = \"127.0.0.1:0\"\npublic_url = \"https://status.example.com\"";
        let token = "[web]\ntoken = \"a token of the operator\"\n";
        world.write(&format!(
            "{}\n{token}",
            text.replace("listen = \"off\"", page)
        ));
        daemons.push(world.run());
    }
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for daemon in &mut daemons {
        let listening = daemon.event("web.listening").await;
        addresses.push(listening["address"].as_str().unwrap().parse().unwrap());
        daemon.well().await;
    }
    for world in &worlds {
        break_at(world);
    }
    for daemon in &mut daemons {
        daemon.event("incident.opened").await;
    }
    let mail = tokio::time::timeout(PATIENCE, worlds[0].mail.next()).await;
    let mail = decoded(&mail.unwrap().data);
    let (_, rest) = mail
        .split_once("acknowledge with one click: https://status.example.com")
        .unwrap_or_else(|| panic!("{mail}"));
    let link = rest.split_whitespace().next().unwrap();
    // One of the two has signed it, and both take it.
    for address in &addresses {
        let (status, page) = ask(*address, "GET", link, "", "").await;
        assert_eq!(status, 200, "{page}");
        assert!(page.contains("Acknowledge incident 1?"), "{page}");
    }
    let (status, page) = ask(addresses[0], "POST", link, "", "").await;
    assert_eq!(status, 200, "{page}");
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let (status, page) = ask(addresses[1], "POST", link, "", "").await;
        assert_eq!(status, 200, "{page}");
        if page.contains("already acknowledged") {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{page}");
    }
    for daemon in &mut daemons {
        assert_eq!(daemon.stop().await, Some(0), "{}", daemon.log);
    }
}

/// Puts a copy of a sample into the database, as a daemon at `location` would; gives its id.
fn copy_sample(server: &Postgres, location: &str) -> String {
    let sql = format!(
        "INSERT INTO llmwatch_sample
         SELECT new.id, endpoint, '{location}', gen_random_uuid(), trigger, scheduled_at - (random() * 1e9)::INT8, started_at,
            outcome, (extract(epoch from clock_timestamp()) * 1000)::INT8,
            replace(replace(data, old.id::TEXT, new.id::TEXT), '\"location\":\"fra1\"', '\"location\":\"{location}\"')
         FROM llmwatch_sample old, (SELECT gen_random_uuid() AS id) new WHERE location = 'fra1' LIMIT 1 RETURNING id"
    );
    let printed = server.query("monitor", &sql);
    printed.lines().next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_of_many_locations_stay_in_the_database() {
    let Some(server) = Postgres::start("many locations") else {
        return;
    };
    let store = server.database("monitor");
    let world = World::new().await;
    let text = config(&world, &world, "fra1", &store, "");
    world.write(&text.replace("listen = \"off\"", "listen = \"127.0.0.1:0\""));
    let mut daemon = world.run();
    let listening = daemon.event("web.listening").await;
    let address = listening["address"].as_str().unwrap();
    all_well(&server, 1).await;
    // One sample more than a daemon takes in from elsewhere.
    server.query(
        "monitor",
        "INSERT INTO llmwatch_daemon SELECT gen_random_uuid(), 'far1', 'far', version, true, '{}', 72001, started_at,
            seen_at + 3600000 FROM llmwatch_daemon",
    );
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !get(address, "/api/v1/status").await.contains("\"far1\"") {
        assert!(tokio::time::Instant::now() < deadline, "far1 is unknown");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let has = |id: &str| {
        let id = id.replace('-', "");
        world.query::<i64>(&format!("SELECT count(*) FROM sample WHERE id = x'{id}'")) == 1
    };
    let far = copy_sample(&server, "far1");
    // What is pulled later than that one is here, so that one stays where it is.
    let partners = copy_sample(&server, "fra1");
    eventually("a partner's sample", || has(&partners).then_some(())).await;
    assert!(!has(&far));
    server.query(
        "monitor",
        "UPDATE llmwatch_daemon SET samples_per_hour = 72000 WHERE location = 'far1'",
    );
    let mut later = Vec::new();
    eventually("a sample from elsewhere", || {
        later.push(copy_sample(&server, "far1"));
        later.iter().any(|id| has(id)).then_some(())
    })
    .await;
    assert_eq!(daemon.stop().await, Some(0));
}

/// Returns the environment in which a program's clock starts at `start` or is ahead by an offset,
/// in `faketime` syntax.
pub(crate) fn clock(test: &str, start: &str) -> Option<Vec<(&'static str, String)>> {
    let libraries = ["x86_64", "aarch64"]
        .map(|machine| format!("/usr/lib/{machine}-linux-gnu/faketime/libfaketime.so.1"));
    let library = libraries
        .into_iter()
        .find(|l| std::path::Path::new(l).exists());
    if library.is_none() {
        crate::support::skipped(test, "faketime is not installed");
    }
    Some(vec![
        ("LD_PRELOAD", library?),
        ("FAKETIME", start.to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("TZ", "UTC".to_owned()),
    ])
}

pub(crate) fn as_pairs<'a>(environment: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    environment.iter().map(|(k, v)| (*k, v.as_str())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_periodic_report_is_sent_once() {
    let name = "a periodic report of several daemons";
    let Some(before_eight) = clock(name, "@2026-12-03 07:59:50") else {
        return;
    };
    let Some(server) = Postgres::start(name) else {
        return;
    };
    let store = server.database("monitor");
    let mut worlds = [World::new().await, World::new().await];
    let more = "[report]\nevery = \"daily\"\nat = \"08:00\"\nto = [\"hook\"]\n";
    let mut daemons = Vec::new();
    for (world, place) in worlds.iter().zip(["fra1", "nyc1"]) {
        world.write(&config(world, &worlds[0], place, &store, more));
        daemons.push(world.run_with(&as_pairs(&before_eight)));
    }
    for daemon in &mut daemons {
        while daemon.event("notification.queued").await["type"] != "report.periodic" {}
    }
    next_message(&mut worlds[0], "report.periodic").await;
    for _ in 0..6 {
        for daemon in &mut daemons {
            daemon.event("probe.completed").await;
        }
    }
    let reports = worlds[0].hook.requests();
    let reports = reports
        .iter()
        .filter(|r| body(r)["type"] == "report.periodic");
    assert_eq!(reports.count(), 1);
    for daemon in &mut daemons {
        assert_eq!(daemon.stop().await, Some(0), "{}", daemon.log);
    }
}
