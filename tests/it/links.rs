//! One-click links in mails, from outside: the mail, the page with a button, and the second click.

use std::net::SocketAddr;

use llmwatch_simulator::Scenario;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{PATIENCE, World};

/// Decodes the text of a quoted-printable mail, without soft line breaks.
pub(crate) fn decoded(mail: &[u8]) -> String {
    let text = String::from_utf8_lossy(mail).replace("=\r\n", "");
    text.replace("=3D", "=").replace("\r\n", "\n")
}

/// Sends one request. Returns the status and the complete response.
pub(crate) async fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    more: &str,
    body: &str,
) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{more}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text.split(' ').nth(1).unwrap().parse().unwrap();
    (status, text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_acknowledges_with_one_click_and_says_so_twice() {
    let mut world = World::new().await;
    let config = world.endpoints().replace(
        "listen = \"off\"",
        "listen = \"127.0.0.1:0\"\npublic_url = \"https://status.example.com/llm\"",
    );
    world.write(&(config + &world.email() + "\n[web]\ntoken = \"a token of the operator\"\n"));
    let mut daemon = world.run();
    let listening = daemon.event("web.listening").await;
    let address: SocketAddr = listening["address"].as_str().unwrap().parse().unwrap();
    daemon.well().await;
    let outage = "[[rule]]\npath = \"/v1/*\"\nfault = \"openai_503\"\n";
    world.openai.set_scenario(Scenario::parse(outage).unwrap());
    let mail = tokio::time::timeout(PATIENCE, world.mail.next()).await;
    let mail = decoded(&mail.unwrap().data);
    let (_, rest) = mail
        .split_once("acknowledge with one click: https://status.example.com/llm")
        .unwrap_or_else(|| panic!("{mail}"));
    let link = rest.split_whitespace().next().unwrap().to_owned();
    assert!(link.starts_with("/a/"), "{link}");
    assert!(mail.contains("llmwatch ack 1"), "{mail}");

    // A link scanner may follow the link any number of times.
    for _ in 0..2 {
        let (status, page) = ask(address, "GET", &link, "", "").await;
        assert_eq!(status, 200, "{page}");
        assert!(page.contains("Acknowledge incident 1?"), "{page}");
    }
    let acknowledged = || {
        let data: String = world.query("SELECT data FROM incident WHERE number = 1");
        serde_json::from_str::<Value>(&data).unwrap()["acknowledged"].clone()
    };
    assert_eq!(acknowledged(), Value::Null);
    let (status, page) = ask(address, "POST", &link, "", "").await;
    assert_eq!(status, 200, "{page}");
    assert!(page.contains("Incident 1 is acknowledged."), "{page}");
    let first = acknowledged();
    assert_eq!(first["by"], "link");
    let (status, page) = ask(address, "POST", &link, "", "").await;
    assert_eq!(status, 200, "{page}");
    assert!(page.contains("already acknowledged"), "{page}");
    assert_eq!(acknowledged(), first);

    let token = link.trim_start_matches("/a/");
    assert_eq!(daemon.stop().await, Some(0));
    assert!(!daemon.log.contains(token), "{}", daemon.log);
}
