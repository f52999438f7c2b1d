//! Mail servers that misbehave on the wire, and the outcome of each attempt.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use llmwatch::clock;
use llmwatch::config::Settings;
use llmwatch::notify::{Attempt, Obstacle, Progress, Sender};
use llmwatch_core::message::test_notice::sample_notice;
use llmwatch_core::message::values::Locale;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use uuid::Uuid;

use crate::receivers::{certificate, load, opened};

/// A server that answers each command from a table by its first word, and records what it received.
#[derive(Clone, Default)]
struct Script {
    greeting: &'static str,
    replies: BTreeMap<&'static str, &'static str>,
    received: Arc<Mutex<Vec<String>>>,
}

impl Script {
    fn new(replies: &[(&'static str, &'static str)]) -> Self {
        let usual = [
            ("EHLO", "250 mail.test\r\n"),
            ("MAIL", "250 OK\r\n"),
            ("RCPT", "250 OK\r\n"),
            ("DATA", "354 go ahead\r\n"),
            (".", "250 queued\r\n"),
            ("QUIT", "221 bye\r\n"),
        ];
        Self {
            greeting: "220 mail.test\r\n",
            replies: usual.into_iter().chain(replies.iter().copied()).collect(),
            received: Arc::default(),
        }
    }

    async fn serve(self) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(self.clone().talk(stream));
            }
        });
        port
    }

    async fn talk(self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        let _ = stream.write_all(self.greeting.as_bytes()).await;
        let mut in_message = false;
        let mut line = String::new();
        while matches!(stream.read_line(&mut line).await, Ok(1..)) {
            let text = std::mem::take(&mut line);
            let text = text.trim_end();
            let word = text.split(' ').next().unwrap_or_default();
            if in_message && word != "." {
                continue;
            }
            self.received.lock().unwrap().push(text.to_owned());
            in_message = word == "DATA";
            let reply = self.replies.get(word).unwrap_or(&"502 unknown\r\n");
            if stream.write_all(reply.as_bytes()).await.is_err() {
                return;
            }
        }
    }

    fn received(&self) -> Vec<String> {
        self.received.lock().unwrap().clone()
    }
}

fn channel(url: &str, more: &str) -> Settings {
    load(&format!(
        "[[email]]\nto = [\"ann@example.com\"]\nfrom = \"llmwatch@example.com\"\nsmtp = \"{url}\"\n{more}"
    ))
}

async fn attempt(config: &Settings) -> Attempt {
    Sender::new(config)
        .unwrap()
        .attempt(
            &config.channels[0],
            &opened(),
            Progress::default(),
            clock::now(),
        )
        .await
}

async fn error_of(config: &Settings) -> (String, Obstacle) {
    match attempt(config).await {
        Attempt::Retry {
            error, obstacle, ..
        } => (error, obstacle),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_endless_reply_ends_the_attempt_before_tls_too() {
    for required in ["", "?tls=required"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let sent = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut sent = 0_usize;
            while sent < 64 << 20 && stream.write_all(&[b'2'; 4096]).await.is_ok() {
                sent += 4096;
            }
            sent
        });
        let config = channel(&format!("smtp://127.0.0.1:{port}{required}"), "");
        let (error, _) = error_of(&config).await;
        assert!(error.contains("a reply of more than 64 KiB"), "{error}");
        assert!(
            sent.await.unwrap() < 16 << 20,
            "the connection was closed early"
        );
    }
}

/// A man in the middle that appends `injected` to the reply to STARTTLS, and a server behind it
/// that accepts nothing.
async fn injecting(injected: &'static [u8]) -> (Settings, Arc<Mutex<Vec<u8>>>, tempfile::TempDir) {
    let (tls, pem) = certificate("127.0.0.1", 2060);
    let directory = tempfile::tempdir().unwrap();
    let roots = directory.path().join("roots.pem");
    std::fs::write(&roots, pem).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = seen.clone();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"220 mail.test\r\n").await.unwrap();
        let mut buffer = [0; 1024];
        let _ = stream.read(&mut buffer).await.unwrap();
        stream
            .write_all(b"250-mail.test\r\n250 STARTTLS\r\n")
            .await
            .unwrap();
        let _ = stream.read(&mut buffer).await.unwrap();
        let reply = [b"220 go ahead\r\n", injected].concat();
        stream.write_all(&reply).await.unwrap();
        let Ok(mut stream) = TlsAcceptor::from(tls).accept(stream).await else {
            return;
        };
        // The server accepts no mail: any success that the client reports comes from the man in the
        // middle.
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            kept.lock().unwrap().extend_from_slice(&buffer[..count]);
        }
    });
    let config = load(&format!(
        "[monitor]\nca_file = \"{}\"\n[[email]]\nto = [\"ann@example.com\"]\nfrom = \"llmwatch@example.com\"\n\
         smtp = \"smtp://127.0.0.1:{port}?tls=required\"\n",
        roots.display()
    ));
    (config, seen, directory)
}

#[tokio::test]
async fn replies_injected_before_tls_are_refused() {
    let forged =
        b"250-mail.test\r\n250 8BITMIME\r\n250 OK\r\n250 OK\r\n354 go\r\n250 queued as 1\r\n";
    let (config, seen, _directory) = injecting(forged).await;
    let (error, obstacle) = error_of(&config).await;
    assert!(
        error.contains("between its reply to STARTTLS and TLS"),
        "{error}"
    );
    assert_eq!(obstacle, Obstacle::Other);
    assert!(
        seen.lock().unwrap().is_empty(),
        "nothing is sent through it"
    );
}

#[tokio::test]
async fn a_refused_connection_is_known_as_such() {
    // Bound, so that nobody else can listen on the port, but not listening.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    let (error, obstacle) = error_of(&channel(&format!("smtp://127.0.0.1:{port}"), "")).await;
    assert!(error.contains("refuses connections"), "{error}");
    assert!(!error.contains("os error"), "{error}");
    assert_eq!(obstacle, Obstacle::Refused);
}

#[tokio::test]
async fn an_old_server_gets_helo_and_its_bare_line_feeds_are_read() {
    let script = Script::new(&[
        ("EHLO", "502 what?\n"),
        ("HELO", "250 hello\n"),
        ("MAIL", "250-gr\n250 go\n"),
    ]);
    let port = script.clone().serve().await;
    let config = channel(&format!("smtp://127.0.0.1:{port}"), "");
    let attempt = attempt(&config).await;
    assert!(matches!(attempt, Attempt::Delivered { .. }), "{attempt:?}");
    let received = script.received();
    assert!(
        received[0].starts_with("EHLO ") && received[1].starts_with("HELO "),
        "{received:?}"
    );
    assert_ne!(received[0], "EHLO [127.0.0.1]");
}

#[tokio::test]
async fn the_name_of_hello_and_the_senders_name_are_sent() {
    let script = Script::new(&[]);
    let port = script.clone().serve().await;
    let config = load(&format!(
        "[[email]]\nto = [\"ann@example.com\"]\nfrom = \"The Watch <llmwatch@example.com>\"\n\
         smtp = \"smtp://127.0.0.1:{port}\"\nhello = \"monitor.example.net\"\n"
    ));
    assert!(matches!(attempt(&config).await, Attempt::Delivered { .. }));
    let received = script.received();
    assert_eq!(received[0], "EHLO monitor.example.net");
    assert_eq!(received[1], "MAIL FROM:<llmwatch@example.com>");
    let sender = Sender::new(&config).unwrap();
    let notice = sample_notice(
        llmwatch_core::model::NoticeKind::Opened,
        Uuid::now_v7(),
        "fra1",
        None,
        clock::now(),
        &Locale::default(),
    );
    let preview = sender.preview(&config.channels[0], &notice, clock::now());
    let mail = String::from_utf8_lossy(&preview[0].1).into_owned();
    assert!(
        mail.contains("From: \"The Watch\" <llmwatch@example.com>\r\n"),
        "{mail}"
    );
}

#[tokio::test]
async fn a_server_that_wants_starttls_names_the_key() {
    let script = Script::new(&[
        ("EHLO", "250-mail.test\r\n250 STARTTLS\r\n"),
        ("MAIL", "530 5.7.0 Must issue a STARTTLS command first\r\n"),
    ]);
    let port = script.serve().await;
    let (error, _) = error_of(&channel(&format!("smtp://127.0.0.1:{port}"), "")).await;
    assert!(error.contains("add `?tls=required`"), "{error}");

    let script = Script::new(&[("EHLO", "250-mail.test\r\n250 STARTTLS\r\n")]);
    let port = script.serve().await;
    let (error, _) = error_of(&channel(&format!("smtp://u:secret@127.0.0.1:{port}"), "")).await;
    assert!(error.contains("add `?tls=required`"), "{error}");
}

#[tokio::test]
async fn a_login_that_the_server_repeats_is_masked() {
    let script = Script::new(&[
        ("EHLO", "250-mail.test\r\n250 AUTH PLAIN\r\n"),
        // The base64 of "\0user\0hunter2hunter2" and the password itself.
        (
            "AUTH",
            "535 no AHVzZXIAaHVudGVyMmh1bnRlcjI= hunter2hunter2\r\n",
        ),
    ]);
    let port = script.serve().await;
    let url = format!("smtp://user:hunter2hunter2@127.0.0.1:{port}");
    let (error, _) = error_of(&channel(&url, "")).await;
    assert!(error.ends_with("535 no *** ***"), "{error}");
}

#[tokio::test]
async fn plain_or_foreign_port_is_named_in_the_error() {
    let port = Script::new(&[]).serve().await;
    let (error, _) = error_of(&channel(&format!("smtps://127.0.0.1:{port}"), "")).await;
    assert!(
        error.contains("write `smtp://` instead of `smtps://`"),
        "{error}"
    );

    let script = Script {
        greeting: "HTTP/1.1 400 Bad Request\r\n\r\n",
        ..Script::new(&[])
    };
    let port = script.serve().await;
    let (error, _) = error_of(&channel(&format!("smtp://127.0.0.1:{port}"), "")).await;
    assert!(error.contains("does not speak SMTP"), "{error}");
}
