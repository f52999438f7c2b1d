//! The mail and webhook sinks, used through the notifier's clients.

use std::io::ErrorKind;
use std::net::SocketAddr;

use lettre::transport::smtp::authentication::Credentials;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use llmwatch_core::model::Secret;
use llmwatch_simulator::{MailFault, MailSink, MailStage, WebhookBehavior, WebhookSink};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

type Mailer = AsyncSmtpTransport<Tokio1Executor>;

async fn mail_sink() -> MailSink {
    MailSink::start(TcpListener::bind("127.0.0.1:0").await.unwrap()).unwrap()
}

async fn webhook_sink() -> WebhookSink {
    WebhookSink::start(TcpListener::bind("127.0.0.1:0").await.unwrap()).unwrap()
}

fn mailer(sink: &MailSink) -> Mailer {
    Mailer::builder_dangerous("127.0.0.1")
        .port(sink.addr().port())
        .build()
}

fn mail() -> Message {
    Message::builder()
        .from("llmwatch@example.com".parse().unwrap())
        .to("ann@example.com".parse().unwrap())
        .cc("bob@example.com".parse().unwrap())
        .subject("[OUTAGE] OpenAI")
        .body("What is broken:\n.everything\n".to_owned())
        .unwrap()
}

#[tokio::test]
async fn a_mail_arrives_as_it_was_sent() {
    let mut sink = mail_sink().await;
    mailer(&sink).send(mail()).await.unwrap();
    let received = sink.next().await;
    assert_eq!(received.from, "llmwatch@example.com");
    assert_eq!(received.to, ["ann@example.com", "bob@example.com"]);
    let text = String::from_utf8(received.data.clone()).unwrap();
    assert!(text.contains("Subject: [OUTAGE] OpenAI\r\n"));
    assert!(
        text.contains("\r\n\r\nWhat is broken:\r\n.everything\r\n"),
        "dots are unstuffed: {text}"
    );
    assert_eq!(sink.messages().len(), 1);
}

#[tokio::test]
async fn commands_may_be_pipelined_and_taken_back() {
    let sink = mail_sink().await;
    let mut stream = TcpStream::connect(sink.addr()).await.unwrap();
    let dialogue = "HELO x\r\nRCPT TO:<early@x>\r\nMAIL FROM:<>\r\nRSET\r\nDATA\r\nNOOP\r\nVRFY x\r\n\
                    MAIL FROM:<a@x> SIZE=9\r\nRCPT TO:<b@x>\r\nDATA\r\n..dot\r\n.\r\nQUIT\r\n";
    stream.write_all(dialogue.as_bytes()).await.unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    let codes: Vec<&str> = answers.lines().map(|line| &line[..3]).collect();
    assert_eq!(
        codes,
        [
            "220", "250", "503", "250", "250", "503", "250", "502", "250", "250", "354", "250",
            "221"
        ]
    );
    assert_eq!(sink.messages()[0].data, b".dot\r\n");
}

#[tokio::test]
async fn the_mail_server_can_say_later_or_no() {
    let sink = mail_sink().await;
    for stage in [MailStage::Mail, MailStage::Rcpt, MailStage::Data] {
        sink.set_fault(MailFault::Transient(stage));
        assert!(
            mailer(&sink).send(mail()).await.unwrap_err().is_transient(),
            "{stage:?}"
        );
        sink.set_fault(MailFault::Permanent(stage));
        assert!(
            mailer(&sink).send(mail()).await.unwrap_err().is_permanent(),
            "{stage:?}"
        );
    }
    assert!(sink.messages().is_empty());
    sink.set_fault(MailFault::None);
    mailer(&sink).send(mail()).await.unwrap();
    assert_eq!(sink.messages().len(), 1);
}

#[tokio::test]
async fn one_recipient_can_be_unknown() {
    let sink = mail_sink().await;
    sink.set_fault(MailFault::RejectRecipient("bob@example.com".to_owned()));
    assert!(mailer(&sink).send(mail()).await.unwrap_err().is_permanent());

    let mut stream = TcpStream::connect(sink.addr()).await.unwrap();
    let dialogue = "EHLO x\r\nMAIL FROM:<a@x>\r\nRCPT TO:<bob@example.com>\r\nRCPT TO:<ann@example.com>\r\n\
                    DATA\r\nhello\r\n.\r\nQUIT\r\n";
    stream.write_all(dialogue.as_bytes()).await.unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    assert!(answers.contains("550 5.1.1"));
    assert_eq!(
        sink.messages()[0].to,
        ["ann@example.com"],
        "the others get theirs"
    );
}

#[tokio::test]
async fn the_mail_server_can_break_the_connection() {
    let sink = mail_sink().await;
    for fault in [MailFault::Refuse, MailFault::DisconnectInData] {
        sink.set_fault(fault.clone());
        let error = mailer(&sink).send(mail()).await.unwrap_err();
        assert!(!error.is_permanent(), "{fault:?}: {error}");
    }
    assert!(sink.messages().is_empty());
}

#[tokio::test]
async fn the_mail_server_can_fall_silent_after_its_greeting() {
    let sink = mail_sink().await;
    sink.set_fault(MailFault::HangAfterBanner);
    let mut stream = TcpStream::connect(sink.addr()).await.unwrap();
    let mut greeting = [0; 3];
    stream.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"220");
    // A hanging dialogue looks like a slow one, but not like one that ends.
    let sent = tokio::time::timeout(
        std::time::Duration::from_millis(50),
        mailer(&sink).send(mail()),
    )
    .await;
    assert!(sent.is_err(), "{sent:?}");
    assert!(sink.messages().is_empty());
}

#[tokio::test]
async fn the_mail_server_can_be_down_and_come_back_at_its_address() {
    let sink = mail_sink().await;
    let addr = sink.addr();
    let mailer = mailer(&sink);
    sink.stop().await;
    assert_eq!(
        TcpStream::connect(addr).await.unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );
    assert!(mailer.send(mail()).await.is_err());
    let mut sink = MailSink::start(TcpListener::bind(addr).await.unwrap()).unwrap();
    mailer.send(mail()).await.unwrap();
    sink.next().await;
}

#[tokio::test]
async fn a_login_can_be_asked_for() {
    use lettre::transport::smtp::authentication::Mechanism;
    let sink = mail_sink().await;
    sink.require_login("watch", Secret::new("right"));
    let with = |password: &str, mechanism| {
        Mailer::builder_dangerous("127.0.0.1")
            .port(sink.addr().port())
            .credentials(Credentials::new("watch".to_owned(), password.to_owned()))
            .authentication(vec![mechanism])
            .build()
    };
    for mechanism in [Mechanism::Plain, Mechanism::Login] {
        assert!(
            with("wrong", mechanism)
                .send(mail())
                .await
                .unwrap_err()
                .is_permanent()
        );
        with("right", mechanism).send(mail()).await.unwrap();
    }
    assert!(
        mailer(&sink).send(mail()).await.is_err(),
        "nobody gets past without one"
    );
    assert_eq!(sink.messages().len(), 2);
}

async fn post(sink: SocketAddr) -> reqwest::Result<reqwest::Response> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    client
        .post(format!("http://{sink}/hook?a=1"))
        .header("webhook-id", "n1")
        .body("{}")
        .send()
        .await
}

#[tokio::test]
async fn webhook_sink_records_and_answers_as_configured() {
    let mut sink = webhook_sink().await;
    assert_eq!(
        post(sink.addr()).await.unwrap().text().await.unwrap(),
        "ok\n"
    );
    let request = sink.next().await;
    assert_eq!(
        (
            request.method.as_str(),
            request.path.as_str(),
            request.query.as_deref()
        ),
        ("POST", "/hook", Some("a=1"))
    );
    assert_eq!(
        (request.header("webhook-id"), request.body.as_slice()),
        (Some("n1"), &b"{}"[..])
    );

    sink.set_behavior(WebhookBehavior::Status(
        429,
        vec![("retry-after".to_owned(), "7".to_owned())],
    ));
    let limited = post(sink.addr()).await.unwrap();
    assert_eq!(
        (
            limited.status().as_u16(),
            limited.headers()["retry-after"].to_str().unwrap()
        ),
        (429, "7")
    );

    sink.set_behavior(WebhookBehavior::Redirect("http://127.0.0.1:9/".to_owned()));
    assert_eq!(post(sink.addr()).await.unwrap().status(), 307);

    sink.set_behavior(WebhookBehavior::Reset);
    assert!(post(sink.addr()).await.is_err());

    sink.set_behavior(WebhookBehavior::HugeBody);
    let huge = post(sink.addr()).await.unwrap();
    assert_eq!(huge.content_length(), Some(10_000_000_000));
    assert_eq!(
        sink.requests().len(),
        5,
        "each is recorded, whatever the answer"
    );
}

#[tokio::test]
async fn a_webhook_can_be_accepted_and_never_answered() {
    let mut sink = webhook_sink().await;
    sink.set_behavior(WebhookBehavior::Hang);
    let addr = sink.addr();
    let asking = tokio::spawn(async move { post(addr).await });
    sink.next().await;
    assert!(!asking.is_finished());
    asking.abort();
}
