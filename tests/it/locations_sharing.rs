//! What several daemons share besides incidents: subscribers, and the budget of a pair.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use llmwatch_simulator::Scenario;

use crate::links::ask;
use crate::locations::{body, break_at, config};
use crate::subscriptions::{FORM, link, mail};
use crate::support::link::{Link, Path};
use crate::support::postgres::Postgres;
use crate::support::{Daemon, PATIENCE, World, eventually};

const SITE: &str =
    "\n[web]\ntoken = \"a token of the operator\"\npublic = \"summary\"\nsubscribe = true\n";

/// Writes the configuration of a daemon at `place` with a page where visitors subscribe. All mails
/// go to the sink of `hub`, which gets none for operators.
fn write_site(world: &World, hub: &World, place: &str, store: &str) {
    let email = hub.email() + "on = [\"report\"]\n";
    let text = config(world, hub, place, store, &email);
    let page = "listen = \"127.0.0.1:0\"\npublic_url = \"https://status.example.com\"";
    world.write(&(text.replace("listen = \"off\"", page) + SITE));
}

async fn address_of(daemon: &mut Daemon) -> SocketAddr {
    let listening = daemon.event("web.listening").await;
    listening["address"].as_str().unwrap().parse().unwrap()
}

/// Starts daemons at two locations with pages where visitors subscribe.
async fn sites(store: &str) -> ([World; 2], Vec<Daemon>, Vec<SocketAddr>) {
    let worlds = [World::new().await, World::new().await];
    let mut daemons = Vec::new();
    let mut addresses = Vec::new();
    for (world, place) in worlds.iter().zip(["fra1", "nyc1"]) {
        write_site(world, &worlds[0], place, store);
        let mut daemon = world.run();
        addresses.push(address_of(&mut daemon).await);
        daemon.well().await;
        daemons.push(daemon);
    }
    (worlds, daemons, addresses)
}

async fn sign_up(at: SocketAddr, name: &str) {
    let form = format!("email={name}%40example.org");
    let (status, page) = ask(at, "POST", "/subscribe", FORM, &form).await;
    assert_eq!(status, 200, "{page}");
}

/// Returns the mails of the next incident's opening, by recipient.
async fn next_mails(world: &mut World, count: usize) -> BTreeMap<String, String> {
    let mut mails = BTreeMap::new();
    while mails.len() < count {
        let (to, text) = mail(world).await;
        assert!(mails.insert(to, text).is_none(), "each once: {mails:?}");
    }
    mails
}

fn none_waits(server: &Postgres) -> Option<()> {
    let waiting = server.query("monitor", "SELECT count(*) FROM llmwatch_subscriber_mail");
    (waiting == "0").then_some(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_of_any_daemon_gets_each_mail_once() {
    let Some(server) = Postgres::start("subscribers of several daemons") else {
        return;
    };
    let store = server.database("monitor");
    let (mut worlds, mut daemons, at) = sites(&store).await;
    // Signed up at one, confirmed at the other.
    for (name, here, there) in [("ann", 0, 1), ("bob", 1, 0)] {
        sign_up(at[here], name).await;
        let (to, text) = mail(&mut worlds[0]).await;
        assert_eq!(to, format!("{name}@example.org"));
        let confirm = link(&text, "/a/");
        let (status, page) = ask(at[there], "POST", &confirm, "", "").await;
        assert_eq!(status, 200, "{page}");
        let (_, page) = ask(at[here], "POST", &confirm, "", "").await;
        assert!(page.contains("already confirmed"), "{page}");
        // A subscriber who signs up at the other one gets no second confirmation.
        sign_up(at[there], name).await;
    }
    for world in &worlds {
        break_at(world);
    }
    let opened = next_mails(&mut worlds[0], 2).await;
    assert!(
        opened["ann@example.org"].contains("is failing"),
        "{opened:?}"
    );
    let unsubscribe = link(&opened["ann@example.org"], "/unsubscribe/");
    let (status, page) = ask(
        at[1],
        "POST",
        &unsubscribe,
        FORM,
        "List-Unsubscribe=One-Click",
    )
    .await;
    assert_eq!(status, 200, "{page}");
    let (_, page) = ask(
        at[0],
        "POST",
        &unsubscribe,
        FORM,
        "List-Unsubscribe=One-Click",
    )
    .await;
    assert!(page.contains("already unsubscribed"), "{page}");
    for world in &worlds {
        world.openai.set_scenario(Scenario::healthy());
    }
    let (to, text) = mail(&mut worlds[0]).await;
    assert_eq!(to, "bob@example.org", "{text}");
    let over = "SELECT bool_and(over) FROM llmwatch_announced";
    eventually("the end is announced", || {
        (server.query("monitor", over) == "t").then_some(())
    })
    .await;
    eventually("nothing waits", || none_waits(&server)).await;
    for daemon in &mut daemons {
        assert_eq!(daemon.stop().await, Some(0), "{}", daemon.log);
        assert!(!daemon.log.contains("@example.org"), "{}", daemon.log);
    }
    let mut sent = BTreeMap::new();
    for mail in worlds[0].mail.messages() {
        *sent.entry(mail.to.join(",")).or_insert(0) += 1;
    }
    let wanted = [("ann@example.org", 2), ("bob@example.org", 3)];
    assert_eq!(sent, wanted.map(|(to, n)| (to.to_owned(), n)).into());
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_of_one_daemon_move_to_the_shared_store() {
    let Some(server) = Postgres::start("subscribers that move") else {
        return;
    };
    let store = server.database("monitor");
    let mut world = World::new().await;
    write_site(&world, &world, "fra1", "sqlite:llmwatch.db");
    let mut daemon = world.run();
    let at = address_of(&mut daemon).await;
    sign_up(at, "ann").await;
    let (_, text) = mail(&mut world).await;
    let confirm = link(&text, "/a/");
    assert_eq!(daemon.stop().await, Some(0));

    write_site(&world, &world, "fra1", &store);
    let mut daemon = world.run();
    let at = address_of(&mut daemon).await;
    eventually("she has moved", || {
        let moved = server.query("monitor", "SELECT count(*) FROM llmwatch_subscriber");
        (moved == "1").then_some(())
    })
    .await;
    let (status, page) = ask(at, "POST", &confirm, "", "").await;
    assert_eq!(status, 200, "{page}");
    let confirmed = "SELECT count(*) FROM llmwatch_subscriber WHERE confirmed_at IS NOT NULL";
    assert_eq!(server.query("monitor", confirmed), "1");
    eventually("her address is in one place", || {
        (world.query::<i64>("SELECT count(*) FROM subscriber") == 0).then_some(())
    })
    .await;
    assert_eq!(daemon.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; `just locations` runs it"]
async fn a_pair_that_has_spent_its_budget_stops_together() {
    let Some(server) = Postgres::start("a pair without money") else {
        return;
    };
    let store = server.database("monitor");
    let worlds = [World::new().await, World::new().await];
    // Answers of 1,500 tokens, for 3 dollars each, where three tokens were planned.
    let costly = "[healthy]\ntokens = 1500\ntoken_gap = \"0ms\"\n";
    let mut daemons = Vec::new();
    for world in &worlds {
        world.openai.set_scenario(Scenario::parse(costly).unwrap());
        world.azure.set_scenario(Scenario::parse(costly).unwrap());
        let more = "on = [\"monitor\"]\n";
        let text = config(
            world,
            &worlds[0],
            "fra1",
            &store,
            "[budget]\nshared = true\ndaily_usd = 600.0\n",
        );
        let text = text.replace("interval = \"1s\"", "interval = \"5s\"");
        let text = text.replace(
            "[defaults]\n",
            "[defaults]\nprice = { input = 0.0, output = 2000.0 }\nmax_tokens = 500\n",
        );
        world.write(&(text + more));
        daemons.push(world.run());
    }
    for daemon in &mut daemons {
        daemon.well().await;
    }
    server.query(
        "monitor",
        "INSERT INTO llmwatch_spent VALUES ((now() AT TIME ZONE 'UTC')::DATE::TEXT, 'sin1', 570, 0)",
    );
    for daemon in &mut daemons {
        daemon.event("budget.spent").await;
    }
    let handed_over = "SELECT count(*) FROM outbox WHERE state = 'merged'";
    for world in &worlds {
        eventually("it is handed over", || {
            (world.query::<i64>(handed_over) == 1).then_some(())
        })
        .await;
    }
    eventually("it is notified", || {
        let sent = "SELECT count(*) FROM llmwatch_outbox WHERE state = 'sent'";
        (server.query("monitor", sent) == "1").then_some(())
    })
    .await;
    // Nothing is sent from then on.
    let asked = |worlds: &[World; 2]| -> usize {
        worlds
            .iter()
            .map(|w| w.openai.log().len() + w.azure.log().len())
            .sum()
    };
    let before = asked(&worlds);
    let now = "SELECT (extract(epoch from now()) * 1000)::INT8";
    let began: i64 = server.query("monitor", now).parse().unwrap();
    let seen = format!(
        "SELECT bool_and(seen_at > {}) FROM llmwatch_daemon",
        began + 20_000
    );
    eventually("four more intervals", || {
        (server.query("monitor", &seen) == "t").then_some(())
    })
    .await;
    assert!(asked(&worlds) <= before + 4, "at most those under way");
    for daemon in &mut daemons {
        assert_eq!(daemon.stop().await, Some(0), "{}", daemon.log);
    }
    let once = "SELECT count(*) = count(DISTINCT (endpoint, scheduled_at)) FROM llmwatch_sample WHERE trigger = 'schedule'";
    assert_eq!(
        server.query("monitor", once),
        "t",
        "no slot is probed twice"
    );
    let counted =
        "SELECT usd >= 30 AND abs(usd - 3 * (SELECT count(*) FROM llmwatch_sample)) < 0.01
         FROM llmwatch_spent WHERE location = 'fra1'";
    assert_eq!(
        server.query("monitor", counted),
        "t",
        "nothing is counted twice"
    );
    // One message for both.
    let messages = worlds[0].hook.requests();
    let kinds: Vec<_> = messages.iter().map(|r| body(r)["type"].clone()).collect();
    assert_eq!(kinds, ["monitor.budget"]);
}

/// A daemon that has never reached the database signs its links with a key of its own.
#[tokio::test(flavor = "multi_thread")]
async fn links_that_a_daemon_signed_alone_work_everywhere_later() {
    let Some(server) = Postgres::start("links of a daemon alone") else {
        return;
    };
    let store = server.database("monitor");
    let link_to_store = Link::to(server.port).await;
    link_to_store.set(Path::Cut);
    let behind = format!(
        "postgres://llmwatch@127.0.0.1:{}/monitor",
        link_to_store.port
    );
    let mut worlds = [World::new().await, World::new().await];
    let page = "listen = \"127.0.0.1:0\"\npublic_url = \"https://status.example.com\"";
    let mut daemons = Vec::new();
    let mut at = Vec::new();
    // The one that reaches the database is the first to put a key there.
    for (world, place, store) in [(&worlds[1], "nyc1", &store), (&worlds[0], "fra1", &behind)] {
        let more = world.email()
            + "[quorum]\nalone_after = \"2s\"\n[web]\ntoken = \"a token of the operator\"\n";
        let text = config(world, world, place, store, &more);
        world.write(&text.replace("listen = \"off\"", page));
        let mut daemon = world.run();
        at.push(address_of(&mut daemon).await);
        daemon.well().await;
        daemons.push(daemon);
    }
    break_at(&worlds[0]);
    let (_, text) = mail(&mut worlds[0]).await;
    assert!(
        text.lines().any(|line| line.starts_with("Alone: ")),
        "{text}"
    );
    let acknowledge = link(&text, "/a/");
    let (status, answer) = ask(at[1], "GET", &acknowledge, "", "").await;
    assert_eq!(status, 200, "{answer}");
    let (status, answer) = ask(at[0], "GET", &acknowledge, "", "").await;
    assert_eq!(status, 404, "nyc1 cannot know the key yet: {answer}");
    link_to_store.set(Path::Open);
    daemons[1].event("store.reachable").await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let (status, answer) = ask(at[0], "POST", &acknowledge, "", "").await;
        if status == 200 && answer.contains("is acknowledged") {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{status} {answer}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // After a restart the daemon still accepts the old link, and signs with the common key.
    assert_eq!(daemons[1].stop().await, Some(0), "{}", daemons[1].log);
    let mut restarted = worlds[0].run();
    let there = address_of(&mut restarted).await;
    restarted.event("monitor.ready").await;
    let (status, answer) = ask(there, "GET", &acknowledge, "", "").await;
    assert_eq!(status, 200, "{answer}");
    let keys = "SELECT count(*) || ' ' || count(DISTINCT value) FROM llmwatch_secret";
    assert_eq!(server.query("monitor", keys), "2 2");
    let signing = "SELECT encode(value, 'hex') FROM llmwatch_secret WHERE name = 'links'";
    let signing = server.query("monitor", signing);
    for world in &worlds {
        let own = "SELECT lower(hex(value)) FROM secret WHERE name = 'links'";
        assert_eq!(world.query::<String>(own), signing);
    }
    assert_eq!(restarted.stop().await, Some(0), "{}", restarted.log);
    assert_eq!(daemons[0].stop().await, Some(0), "{}", daemons[0].log);
}

/// Each daemon has drills of its own; annotations are common to all.
#[tokio::test(flavor = "multi_thread")]
async fn drills_and_annotations_are_shown_with_a_shared_store() {
    let Some(server) = Postgres::start("drills with a shared store") else {
        return;
    };
    let store = server.database("monitor");
    let world = World::new().await;
    world.write(&config(&world, &world, "fra1", &store, ""));
    let mut daemon = world.run();
    daemon.well().await;
    for verb in [&["note", "Deploy 42"][..], &["drill", "hook"]] {
        let done = world.llmwatch(verb).output().await.unwrap();
        assert_eq!(done.status.code(), Some(0), "{done:?}");
    }
    assert_eq!(daemon.stop().await, Some(0), "{}", daemon.log);
    let mut restarted = world.run();
    restarted.well().await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let done = world
            .llmwatch(&["status", "--json"])
            .output()
            .await
            .unwrap();
        let status: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        let notes = status["annotations"].as_array().unwrap();
        let drills = status["drills"]["messages"].as_array().unwrap();
        if let ([note], [drill]) = (notes.as_slice(), drills.as_slice()) {
            assert_eq!(note["text"], "Deploy 42");
            assert_eq!(drill["channel"], "hook");
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{status}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(restarted.stop().await, Some(0), "{}", restarted.log);
}
