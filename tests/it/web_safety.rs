//! Protection against hostile or careless clients.

use std::time::Duration;

use base64::Engine as _;
use llmwatch_core::model::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{PATIENCE, World, good, site::Site};

const NOW: Timestamp = Timestamp(1_790_000_000_000);
const TOKEN: &str = "correct horse battery staple";

fn config(web: &str) -> String {
    format!(
        "[monitor]\nlocation = \"fra1\"\npublic_url = \"https://status.example.com\"\n\n[web]\n{web}\n\
         [[endpoint]]\nname = \"a\"\nprovider = \"openai-compatible\"\nbase_url = \"http://127.0.0.1:1/v1\"\nmodel = \"m\"\n"
    )
}

#[tokio::test]
async fn only_our_own_names_are_answered() {
    let site = Site::new(&config("trusted_hosts = [\"monitor.internal\"]"), NOW).await;
    for ours in [
        "localhost:8686",
        "127.0.0.1",
        "[::1]:8686",
        "status.example.com",
        "Monitor.Internal:80",
    ] {
        let answer = site
            .ask("GET", "/api/v1/status", &format!("host: {ours}\r\n"))
            .await;
        assert_eq!(answer.status, 200, "{ours}: {answer:?}");
    }
    for foreign in [
        "evil.example",
        "evil.example:8686",
        "localhost.evil.example",
        "192.168.1.5",
        "a b",
    ] {
        for path in ["/", "/api/v1/status", "/api/v1/route"] {
            let answer = site.ask("GET", path, &format!("host: {foreign}\r\n")).await;
            assert_eq!(answer.status, 421, "{foreign} {path}: {answer:?}");
            assert_eq!(
                answer.header("content-type"),
                Some("application/problem+json")
            );
        }
    }
    for two in [
        "GET /api/v1/status HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n",
        "GET http://evil.example/api/v1/status HTTP/1.1\r\nhost: localhost\r\n",
    ] {
        let answer = site.raw(&format!("{two}connection: close\r\n\r\n")).await;
        assert!([400, 421].contains(&answer.status), "{two}: {answer:?}");
    }
    let nameless = site
        .raw("GET /api/v1/status HTTP/1.1\r\nconnection: close\r\n\r\n")
        .await;
    assert_eq!(nameless.status, 400);
}

#[tokio::test]
async fn with_a_token_nothing_is_read_without_it_but_health() {
    let site = Site::new(&config(&format!("token = \"{TOKEN}\"")), NOW).await;
    let bearer = |token: &str| format!("authorization: Bearer {token}\r\n");
    for path in [
        "/",
        "/api/v1/status",
        "/api/v1/openapi.json",
        "/api/v2/summary.json",
        "/nothing",
    ] {
        let answer = site.get(path).await;
        assert_eq!(answer.status, 401, "{path}: {answer:?}");
        assert!(
            answer
                .header("www-authenticate")
                .unwrap()
                .starts_with("Bearer")
        );
        assert_eq!(
            site.ask("GET", path, &bearer("correct horse")).await.status,
            401
        );
    }
    assert_eq!(
        site.ask("GET", "/api/v1/status", &bearer(TOKEN))
            .await
            .status,
        200
    );
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("anyone:{TOKEN}"));
    let basic = format!("authorization: Basic {basic}\r\n");
    assert_eq!(
        site.ask("GET", "/api/v1/status", &basic).await.status,
        200,
        "a browser asks for a password"
    );
    assert_eq!(
        site.ask("POST", "/api/v1/silences", &basic).await.status,
        401,
        "but a form elsewhere must not write"
    );
    assert_eq!(site.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn without_a_token_nothing_can_be_written_and_it_says_how() {
    let site = Site::new(&config(""), NOW).await;
    let answer = site
        .ask("POST", "/api/v1/silences", "content-length: 0\r\n")
        .await;
    assert_eq!(answer.status, 403);
    assert!(
        answer.json()["detail"]
            .as_str()
            .unwrap()
            .contains("`token` in `[web]`"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn an_oversized_head_or_body_is_refused() {
    let site = Site::new(&config(&format!("token = \"{TOKEN}\"")), NOW).await;
    let long = format!("x-long: {}\r\n", "x".repeat(64 * 1024));
    assert_eq!(site.ask("GET", "/healthz", &long).await.status, 431);
    let many = (0..100).fold(String::new(), |all, n| all + &format!("x-{n}: 1\r\n"));
    assert_eq!(site.ask("GET", "/healthz", &many).await.status, 431);
    let head = format!(
        "POST /api/v1/silences HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {TOKEN}\r\n\
         content-length: 100000\r\n\r\n"
    );
    assert_eq!(
        site.raw(&(head.clone() + &"x".repeat(100_000)))
            .await
            .status,
        413
    );
    let broken =
        head.replace("content-length: 100000", "transfer-encoding: chunked") + "no number\r\n";
    assert_eq!(site.raw(&broken).await.status, 400);
}

#[tokio::test]
async fn every_answer_carries_the_headers_that_keep_a_browser_safe() {
    let site = Site::new(&config(""), NOW).await;
    for path in ["/", "/api/v1/status", "/api/v1/nothing", "/healthz"] {
        let answer = site.get(path).await;
        let policy = answer.header("content-security-policy").unwrap();
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(
            answer.header("x-content-type-options"),
            Some("nosniff"),
            "{path}"
        );
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(
            answer.header("access-control-allow-origin"),
            None,
            "no other site may read us"
        );
    }
}

#[tokio::test]
async fn a_flood_from_one_address_is_slowed_down() {
    const FLOOD: usize = 10_000;
    let site = Site::new(&config(""), NOW).await;
    let mut stream = TcpStream::connect(site.address).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let mut answers = String::new();
    let flood = async {
        let many = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(FLOOD);
        writer.write_all(many.as_bytes()).await.unwrap();
        std::future::pending::<()>().await;
    };
    let refused = async {
        let mut buffer = vec![0; 64 * 1024];
        while !answers.contains("retry-after: 1\r\n") {
            let n = reader.read(&mut buffer).await.unwrap();
            answers += &String::from_utf8_lossy(&buffer[..n]);
            assert!(
                n > 0 && answers.matches("HTTP/1.1 200").count() < FLOOD,
                "nothing was refused"
            );
        }
    };
    // Time is paused, because the rate limit would refill as fast as a slow machine answers. It
    // advances when there is nothing to do, so a busy task prevents that.
    tokio::time::pause();
    let busy = async {
        loop {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! { () = refused => (), () = flood => (), () = busy => () }
    assert!(
        answers.contains("HTTP/1.1 429 Too Many Requests\r\n"),
        "{answers}"
    );
}

#[tokio::test]
async fn stopping_ends_idle_and_open_connections() {
    let mut site = Site::new(&config(""), NOW).await;
    site.record([good("a", NOW)]);
    let mut idle = TcpStream::connect(site.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut half = TcpStream::connect(site.address).await.unwrap();
    half.write_all(b"GET /healthz HTTP/1.1\r\nhost: loc")
        .await
        .unwrap();
    let mut buffer = [0; 1024];
    assert!(idle.read(&mut buffer).await.unwrap() > 0);
    site.stop.cancel();
    tokio::time::timeout(PATIENCE, &mut site.server)
        .await
        .expect("the server ends")
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_requests_are_cut_off_while_probing_continues() {
    let world = World::new().await;
    let config = world
        .endpoints()
        .replace("listen = \"off\"", "listen = \"127.0.0.1:0\"");
    world.write(&config);
    let mut daemon = world.run();
    let address = daemon.event("web.listening").await["address"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut slow = Vec::new();
    for _ in 0..300 {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nx-slow: ")
            .await
            .unwrap();
        slow.push(stream);
    }
    let dripping = tokio::spawn(async move {
        let mut cut = 0;
        while cut < 300 {
            slow.retain_mut(|stream| {
                let alive = stream.try_write(b"x").is_ok()
                    && !matches!(stream.try_read(&mut [0; 512]), Ok(0));
                cut += u32::from(!alive);
                alive
            });
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    // All or at least some of them are still open: none has reached its limit yet.
    daemon.good_probes(&["openai-chat", "azure-chat"]).await;
    tokio::time::timeout(PATIENCE, dripping)
        .await
        .expect("all are cut off")
        .unwrap();
    daemon.good_probes(&["openai-chat", "azure-chat"]).await;
    assert_eq!(daemon.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_token_people_silence_and_acknowledge() {
    let mut world = World::new().await;
    let config = world
        .endpoints()
        .replace("listen = \"off\"", "listen = \"127.0.0.1:0\"");
    let hook = world.webhook() + "on = [\"updated\"]\n";
    world.write(&format!("{config}\n[web]\ntoken = \"{TOKEN}\"\n{hook}"));
    let mut daemon = world.run();
    let address = daemon.event("web.listening").await["address"]
        .as_str()
        .unwrap()
        .to_owned();
    // Fails only if another test has already installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = |path: &str| format!("http://{address}/api/v1/{path}");

    let refused = client
        .post(url("silences"))
        .body("{\"for\":\"2h\"}")
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 401);
    let made = client
        .post(url("silences"))
        .bearer_auth(TOKEN)
        .body("{\"for\":\"2h\",\"by\":\"kim\"}")
        .send()
        .await
        .unwrap();
    assert_eq!(made.status(), 201);
    let made: serde_json::Value = serde_json::from_slice(&made.bytes().await.unwrap()).unwrap();
    assert_eq!(made["by"], "kim");
    let id = made["id"].as_str().unwrap();
    let ended = client
        .delete(url(&format!("silences?id={id}")))
        .bearer_auth(TOKEN)
        .send()
        .await
        .unwrap();
    assert_eq!(ended.status(), 200);
    let again = client
        .delete(url(&format!("silences/{id}")))
        .bearer_auth(TOKEN)
        .send()
        .await
        .unwrap();
    assert_eq!(again.status(), 404);
    let bad = client
        .post(url("silences"))
        .bearer_auth(TOKEN)
        .body("{\"for\":\"2h\",\"groups\":[\"x\"]}")
        .send()
        .await
        .unwrap();
    assert_eq!(bad.status(), 404);

    let scenario = "[[rule]]\npath = \"/v1/*\"\nfault = \"openai_503\"\n";
    world
        .openai
        .set_scenario(llmwatch_simulator::Scenario::parse(scenario).unwrap());
    let opened = daemon.event("incident.opened").await;
    let number = opened["number"].as_u64().unwrap_or(1);
    let mut failed_since = 0;
    while failed_since < 2 {
        failed_since += i32::from(daemon.event("probe.completed").await["outcome"] == "failed");
    }
    let started_at = Timestamp::parse(opened["started_at"].as_str().unwrap()).unwrap();
    let lasted_s = llmwatch::clock::now().since_ms(started_at) as f64 / 1000.0;
    let acknowledged = client
        .post(url(&format!("incidents/{number}/ack")))
        .bearer_auth(TOKEN)
        .body("{\"by\":\"kim\"}");
    let acknowledged = acknowledged.send().await.unwrap();
    assert_eq!(acknowledged.status(), 200);
    let incident: serde_json::Value =
        serde_json::from_slice(&acknowledged.bytes().await.unwrap()).unwrap();
    assert_eq!(incident["acknowledged"]["by"], "kim");
    // The answer and the webhook have the figures as of now, and every field.
    assert!(incident["duration_s"].as_f64().unwrap() >= lasted_s);
    assert_eq!(incident.get("ended_at"), Some(&serde_json::Value::Null));
    let request = tokio::time::timeout(PATIENCE, world.hook.next()).await;
    let update: serde_json::Value = serde_json::from_slice(&request.unwrap().body).unwrap();
    assert_eq!(update["type"], "incident.updated");
    let updated = &update["data"]["incident"];
    assert!(
        updated["duration_s"].as_f64().unwrap() >= lasted_s,
        "{updated}"
    );
    assert_eq!(updated["title"], incident["title"]);
    let evidence = &updated["evidence"];
    assert_eq!(evidence["failed"], incident["evidence"]["failed"]);
    assert!(evidence["failed"].as_u64() >= Some(4), "{evidence}");
    let none = client
        .post(url("incidents/99/ack"))
        .bearer_auth(TOKEN)
        .send()
        .await
        .unwrap();
    assert_eq!(none.status(), 404);
    assert_eq!(daemon.stop().await, Some(0));
}
