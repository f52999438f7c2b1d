//! Email subscriptions, from outside: double opt-in, one-click unsubscription, and attempts at
//! abuse.

use std::net::SocketAddr;

use llmwatch_simulator::Scenario;

use crate::links::{ask, decoded};
use crate::support::{Daemon, PATIENCE, World, eventually};

pub(crate) const FORM: &str = "content-type: application/x-www-form-urlencoded\r\n";

async fn started(world: &World) -> (Daemon, SocketAddr) {
    let config = world.endpoints().replace(
        "listen = \"off\"",
        "listen = \"127.0.0.1:0\"\npublic_url = \"https://status.example.com\"",
    );
    // The operators' own channel gets no incident mails, so every mail is a subscriber's.
    let email = world.email() + "on = [\"report\"]\n";
    let web = "\n[web]\ntoken = \"a token of the operator\"\npublic = \"summary\"\nsubscribe = true\ntitle = \"Acme\"\n";
    world.write(&(config + &email + web));
    let mut daemon = world.run();
    let listening = daemon.event("web.listening").await;
    let address = listening["address"].as_str().unwrap().parse().unwrap();
    daemon.event("monitor.ready").await;
    (daemon, address)
}

pub(crate) async fn mail(world: &mut World) -> (String, String) {
    let mail = tokio::time::timeout(PATIENCE, world.mail.next())
        .await
        .unwrap();
    (mail.to.join(","), decoded(&mail.data))
}

pub(crate) fn link(mail: &str, below: &str) -> String {
    let start = format!("https://status.example.com{below}");
    let at = mail.find(&start).unwrap_or_else(|| panic!("{mail}"));
    let url = mail[at..].split(['>', '\n', ' ', '\r']).next().unwrap();
    url.trim_start_matches("https://status.example.com")
        .to_owned()
}

fn confirmed(world: &World) -> i64 {
    world.query("SELECT count(*) FROM subscriber WHERE confirmed_at IS NOT NULL")
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriber_confirms_gets_mail_and_unsubscribes() {
    let mut world = World::new().await;
    let (mut daemon, at) = started(&world).await;
    let (status, page) = ask(at, "GET", "/subscribe", "", "").await;
    assert_eq!(status, 200, "{page}");
    assert!(page.contains("name=\"email\""), "{page}");
    let (status, first) = ask(at, "POST", "/subscribe", FORM, "email=ann%40example.org").await;
    assert_eq!(status, 200, "{first}");
    assert!(!first.contains("ann@"), "{first}");
    let (to, text) = mail(&mut world).await;
    assert_eq!(to, "ann@example.org");
    assert!(
        text.contains("Subject: Confirm your subscription to Acme"),
        "{text}"
    );
    let confirm = link(&text, "/a/");
    // Another request within the hour gets the same answer, but no second mail.
    let (status, _) = ask(at, "POST", "/subscribe", FORM, "email=ann%40example.org").await;
    assert_eq!(status, 200);

    // A link scanner follows the link, which confirms nothing.
    let (status, page) = ask(at, "GET", &confirm, "", "").await;
    assert_eq!(status, 200, "{page}");
    assert!(page.contains("<button"), "{page}");
    assert_eq!(confirmed(&world), 0);
    let (status, page) = ask(at, "POST", &confirm, "", "").await;
    assert_eq!((status, confirmed(&world)), (200, 1), "{page}");
    let (_, page) = ask(at, "POST", &confirm, "", "").await;
    assert!(page.contains("already confirmed"), "{page}");

    let outage = "[[rule]]\npath = \"/v1/*\"\nfault = \"openai_503\"\n";
    world.openai.set_scenario(Scenario::parse(outage).unwrap());
    let (to, text) = mail(&mut world).await;
    assert_eq!(to, "ann@example.org");
    assert!(text.contains("openai-chat is failing"), "{text}");
    for internal in ["503", "http.", "overloaded", "gpt-6", "request"] {
        assert!(!text.contains(internal), "{internal}: {text}");
    }
    assert!(
        text.contains("List-Unsubscribe-Post: List-Unsubscribe=One-Click"),
        "{text}"
    );
    let unsubscribe = link(&text, "/unsubscribe/");
    let (status, page) = ask(at, "GET", &unsubscribe, "", "").await;
    assert_eq!((status, confirmed(&world)), (200, 1), "{page}");
    assert!(!page.contains("ann@"), "{page}");
    let one_click = "List-Unsubscribe=One-Click";
    let (status, page) = ask(at, "POST", &unsubscribe, FORM, one_click).await;
    assert_eq!((status, confirmed(&world)), (200, 0), "{page}");
    let (status, page) = ask(at, "POST", &unsubscribe, FORM, one_click).await;
    assert!(
        status == 200 && page.contains("already unsubscribed"),
        "{page}"
    );
    // Replaying a confirmation does not subscribe again.
    let (status, page) = ask(at, "POST", &confirm, "", "").await;
    assert_eq!((status, confirmed(&world)), (410, 0), "{page}");
    // A token is valid for one action only.
    let foreign = unsubscribe.replace("/unsubscribe/", "/a/");
    assert_eq!(ask(at, "POST", &foreign, "", "").await.0, 404);
    let foreign = confirm.replace("/a/", "/unsubscribe/");
    assert_eq!(ask(at, "POST", &foreign, "", "").await.0, 404);

    assert_eq!(daemon.stop().await, Some(0));
    for secret in ["ann@example.org", confirm.trim_start_matches("/a/")] {
        assert!(!daemon.log.contains(secret), "{}", daemon.log);
    }
}

/// Signs `address` up and confirms it.
async fn subscribe(world: &mut World, at: SocketAddr, address: &str) {
    let body = format!("email={}", address.replace('@', "%40"));
    ask(at, "POST", "/subscribe", FORM, &body).await;
    let (to, text) = mail(world).await;
    assert_eq!(to, address);
    let (status, page) = ask(at, "POST", &link(&text, "/a/"), "", "").await;
    assert_eq!(status, 200, "{page}");
}

/// Returns the value of a header, without its angle brackets.
fn header<'a>(mail: &'a str, name: &str) -> Option<&'a str> {
    let head = mail.split("\n\n").next().unwrap();
    let line = head.lines().find_map(|line| line.strip_prefix(name));
    line.map(|value| value.trim_matches([':', ' ', '<', '>']))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thread_begins_with_the_first_mail_that_a_subscriber_got() {
    let mut world = World::new().await;
    let (mut daemon, at) = started(&world).await;
    subscribe(&mut world, at, "ann@example.org").await;
    world.openai.set_scenario(
        Scenario::parse("[[rule]]\npath = \"/v1/*\"\nfault = \"openai_503\"\n").unwrap(),
    );
    let incident = daemon.event("incident.opened").await["incident"].clone();
    let (to, opened) = mail(&mut world).await;
    assert_eq!(to, "ann@example.org");
    assert_eq!(header(&opened, "References"), None, "{opened}");
    subscribe(&mut world, at, "bob@example.org").await;

    world.openai.set_scenario(Scenario::healthy());
    for _ in 0..2 {
        let (to, resolved) = mail(&mut world).await;
        assert!(resolved.contains("[RESOLVED after"), "{resolved}");
        let begun_by = header(&opened, "Message-ID").filter(|_| to == "ann@example.org");
        for name in ["References", "In-Reply-To"] {
            assert_eq!(header(&resolved, name), begun_by, "{to}: {resolved}");
        }
        assert_eq!(header(&resolved, "X-Llmwatch-Incident"), incident.as_str());
        for part in [
            "multipart/alternative",
            "text/plain",
            "text/html",
            "</html>",
        ] {
            assert!(resolved.contains(part), "{part}: {resolved}");
        }
    }
    assert_eq!(daemon.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_up_form_cannot_be_abused() {
    let mut world = World::new().await;
    let (mut daemon, at) = started(&world).await;
    let bad = [
        "",
        "email=",
        "email=ann",
        "email=ann%40example.org%0D%0ABcc%3A+eve%40example.org",
        "email=ann%40example.org%2Ceve%40example.org",
        "email=%3Cann%40example.org%3E",
        "x=1",
    ];
    for body in bad {
        let (status, page) = ask(at, "POST", "/subscribe", FORM, body).await;
        assert_eq!(status, 400, "{body}: {page}");
    }
    let mut answers = Vec::new();
    for n in 0..15 {
        // The same address repeatedly, then others from the same client.
        let body = format!("email=ann{}%40example.org", n / 5);
        let (status, page) = ask(at, "POST", "/subscribe", FORM, &body).await;
        let body = page.split_once("<main").unwrap().1;
        let body = body.split("</main>").next().unwrap().to_owned();
        answers.push((status, body));
    }
    // Known and new addresses get the same answer, until the client's hourly limit is reached.
    assert!(answers[..10].iter().all(|a| *a == answers[0] && a.0 == 200));
    assert!(answers[10..].iter().all(|a| a.0 == 429), "{answers:?}");
    let mut recipients = vec![mail(&mut world).await.0, mail(&mut world).await.0];
    recipients.sort();
    assert_eq!(recipients, ["ann0@example.org", "ann1@example.org"]);
    eventually("nothing waits any more", || {
        (world.query::<i64>("SELECT count(*) FROM subscriber_mail") == 0).then_some(())
    })
    .await;
    assert_eq!(world.query::<i64>("SELECT count(*) FROM subscriber"), 2);
    assert_eq!(daemon.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_form_unless_it_is_configured() {
    let world = World::new().await;
    let config = world
        .endpoints()
        .replace("listen = \"off\"", "listen = \"127.0.0.1:0\"");
    world.write(&config);
    let mut daemon = world.run();
    let listening = daemon.event("web.listening").await;
    let at: SocketAddr = listening["address"].as_str().unwrap().parse().unwrap();
    for method in ["GET", "POST"] {
        let (status, _) = ask(at, method, "/subscribe", FORM, "email=ann%40example.org").await;
        assert_eq!(status, 404);
    }
    assert_eq!(daemon.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_up_survives_kill_9_before_its_confirmation() {
    let mut world = World::new().await;
    let (mut daemon, at) = started(&world).await;
    let (status, _) = ask(at, "POST", "/subscribe", FORM, "email=ann%40example.org").await;
    assert_eq!(status, 200);
    // Killed at once: the mail is already on disk, sent or not.
    daemon.kill().await;
    let (mut daemon, _) = started(&world).await;
    let (to, text) = mail(&mut world).await;
    assert_eq!(to, "ann@example.org");
    let confirm = link(&text, "/a/");
    daemon.kill().await;
    let (mut daemon, at) = started(&world).await;
    let (status, page) = ask(at, "POST", &confirm, "", "").await;
    assert_eq!((status, confirmed(&world)), (200, 1), "{page}");
    assert_eq!(daemon.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_takes_a_hundred_sign_ups_and_the_store_20000_subscribers() {
    let world = World::new().await;
    let (mut daemon, at) = started(&world).await;
    for n in 0..=100 {
        // A local proxy names another client after every ten requests.
        let from = format!("{FORM}x-forwarded-for: 192.0.2.{}\r\n", n / 10);
        let body = format!("email=ann{n}%40example.org");
        let (status, page) = ask(at, "POST", "/subscribe", &from, &body).await;
        assert_eq!(status, if n < 100 { 200 } else { 429 }, "{n}: {page}");
    }
    assert_eq!(world.query::<i64>("SELECT count(*) FROM subscriber"), 100);
    assert_eq!(daemon.stop().await, Some(0));

    let store = rusqlite::Connection::open(world.store()).unwrap();
    store
        .execute_batch(
            "DELETE FROM subscriber;
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
             INSERT INTO subscriber (id, address, asked_at, asked, confirmed_at)
             SELECT randomblob(16), 'bob' || i || '@example.org', 0, 1, 1 FROM n;",
        )
        .unwrap();
    drop(store);
    let (mut daemon, at) = started(&world).await;
    let (status, page) = ask(at, "POST", "/subscribe", FORM, "email=eve%40example.org").await;
    assert_eq!(status, 429, "{page}");
    assert_eq!(confirmed(&world), 20_000);
    assert_eq!(daemon.stop().await, Some(0));
}
