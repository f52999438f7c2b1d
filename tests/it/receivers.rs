//! One attempt at a time, against receivers that fail in every way they know: what is tried again, what is not, and who
//! has it already.

use std::time::Duration;

use llmwatch::clock;
use llmwatch::config::{self, Config, Surroundings};
use llmwatch::model::{Notice, NoticeType};
use llmwatch::notify::specimen::specimen;
use llmwatch::notify::{Attempt, Progress, Sender};
use llmwatch::simulate::{MailFault, MailSink, MailStage, WebhookBehaviour, WebhookSink};
use tokio::net::TcpListener;
use uuid::Uuid;

const ENDPOINT: &str = "[[endpoint]]\nprovider = \"openai\"\napi_key = \"k\"\n";

fn load(channel: &str) -> Config {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("monitor.toml");
    std::fs::write(&path, format!("{ENDPOINT}{channel}")).unwrap();
    let surroundings = Surroundings { vars: std::collections::HashMap::default(), hostname: "host".to_owned() };
    config::load(&path, &surroundings).unwrap_or_else(|e| panic!("{e}"))
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

fn opened() -> Notice {
    specimen(NoticeType::Opened, Uuid::now_v7(), "fra1", None, clock::now())
}

async fn attempt(config: &Config, notice: &Notice, progress: Progress) -> Attempt {
    Sender::new(config).unwrap().attempt(&config.channels[0], notice, progress, clock::now()).await
}

fn mail(sink: &MailSink) -> Config {
    load(&format!(
        "[[email]]\nto = [\"ann@example.com\", \"bob@example.com\", \"cy@example.com\"]\nfrom = \"llmwatch@example.com\"\n\
         smtp = \"smtp://{}\"\n",
        sink.addr()
    ))
}

fn hook(sink: &WebhookSink) -> Config {
    load(&format!("[[webhook]]\nurl = \"http://{}/\"\ntimeout = \"500ms\"\n", sink.addr()))
}

#[tokio::test]
async fn a_greylisting_server_is_tried_again_and_everybody_gets_the_same_message_once() {
    let sink = MailSink::start(listener().await).unwrap();
    let (config, notice) = (mail(&sink), opened());
    for stage in [MailStage::Mail, MailStage::Rcpt, MailStage::Data] {
        sink.set_fault(MailFault::Transient(stage));
        let Attempt::Retry { progress, error, .. } = attempt(&config, &notice, Progress::default()).await else {
            panic!("{stage:?} is worth another attempt");
        };
        assert!(progress.delivered.is_empty() && progress.refused.is_empty(), "{progress:?}");
        assert!(error.contains("451"), "{error}");
    }
    sink.set_fault(MailFault::None);
    let Attempt::Delivered { progress } = attempt(&config, &notice, Progress::default()).await else { panic!() };
    assert_eq!(progress.delivered.len(), 3);
    assert_eq!(sink.messages().len(), 3);
}

#[tokio::test]
async fn one_refused_of_three_costs_the_others_nothing() {
    let sink = MailSink::start(listener().await).unwrap();
    sink.set_fault(MailFault::RejectRecipient("bob@example.com".to_owned()));
    let Attempt::Delivered { progress } = attempt(&mail(&sink), &opened(), Progress::default()).await else { panic!() };
    assert_eq!(progress.delivered, ["ann@example.com", "cy@example.com"]);
    assert_eq!(progress.refused[0].0, "bob@example.com");
    assert!(progress.refused[0].1.contains("550"), "{progress:?}");
}

#[tokio::test]
async fn what_is_refused_by_all_is_refused_for_good() {
    let sink = MailSink::start(listener().await).unwrap();
    sink.set_fault(MailFault::Permanent(MailStage::Rcpt));
    let attempt = attempt(&mail(&sink), &opened(), Progress::default()).await;
    assert!(matches!(attempt, Attempt::Failed { .. }), "{attempt:?}");
}

#[tokio::test]
async fn a_connection_lost_in_the_message_is_tried_again_under_the_same_id() {
    let sink = MailSink::start(listener().await).unwrap();
    let (config, notice) = (mail(&sink), opened());
    sink.set_fault(MailFault::DisconnectInData);
    let Attempt::Retry { progress, .. } = attempt(&config, &notice, Progress::default()).await else { panic!() };
    sink.set_fault(MailFault::None);
    assert!(matches!(attempt(&config, &notice, progress).await, Attempt::Delivered { .. }));
    let id = format!("Message-ID: <{}@example.com>", notice.id);
    for mail in sink.messages() {
        assert!(String::from_utf8_lossy(&mail.data).contains(&id));
    }
}

#[tokio::test]
async fn a_receiver_says_how_long_to_wait_in_seconds_or_as_a_date() {
    let sink = WebhookSink::start(listener().await).unwrap();
    let config = hook(&sink);
    let wait = async |header: String| {
        sink.set_behaviour(WebhookBehaviour::Status(429, vec![("retry-after".to_owned(), header)]));
        match attempt(&config, &opened(), Progress::default()).await {
            Attempt::Retry { retry_after, .. } => retry_after,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(wait("7".to_owned()).await, Some(Duration::from_secs(7)));
    let date = (clock::now() + Duration::from_mins(10)).to_datetime().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let asked = wait(date).await.unwrap();
    assert!(asked > Duration::from_mins(8) && asked <= Duration::from_mins(10), "{asked:?}");
}

#[tokio::test]
async fn what_a_webhook_answers_decides_whether_it_is_tried_again() {
    let sink = WebhookSink::start(listener().await).unwrap();
    let config = hook(&sink);
    let status = |code| WebhookBehaviour::Status(code, Vec::new());
    for again in [status(500), status(503), status(429), WebhookBehaviour::Hang, WebhookBehaviour::Reset] {
        sink.set_behaviour(again.clone());
        let attempt = attempt(&config, &opened(), Progress::default()).await;
        assert!(matches!(attempt, Attempt::Retry { .. }), "{again:?}: {attempt:?}");
    }
    let elsewhere = WebhookBehaviour::Redirect(format!("http://{}/elsewhere", sink.addr()));
    for never in [status(400), status(404), status(410), elsewhere] {
        sink.set_behaviour(never.clone());
        let before = sink.requests().len();
        let attempt = attempt(&config, &opened(), Progress::default()).await;
        assert!(matches!(attempt, Attempt::Failed { .. }), "{never:?}: {attempt:?}");
        assert_eq!(sink.requests().len(), before + 1, "and nothing is followed");
    }
    sink.set_behaviour(WebhookBehaviour::HugeBody);
    let attempt = attempt(&config, &opened(), Progress::default()).await;
    assert!(matches!(attempt, Attempt::Delivered { .. }), "its body is not waited for: {attempt:?}");
}
