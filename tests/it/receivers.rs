//! Single delivery attempts to receivers that fail in every way: what is retried, what is not, and
//! who already has the message.

use std::sync::Arc;
use std::time::Duration;

use llmwatch::clock;
use llmwatch::config::{self, Environment, Settings};
use llmwatch::notify::{Attempt, Progress, Sender};
use llmwatch_core::message::test_notice::sample_notice;
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::{Notice, NoticeKind};
use llmwatch_simulator::{MailFault, MailSink, MailStage, MailTls, WebhookBehavior, WebhookSink};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use uuid::Uuid;

const ENDPOINT: &str = "[[endpoint]]\nprovider = \"openai\"\napi_key = \"k\"\n";

pub(crate) fn load(channel: &str) -> Settings {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("monitor.toml");
    std::fs::write(&path, format!("{ENDPOINT}{channel}")).unwrap();
    let surroundings = Environment {
        hostname: "host".to_owned(),
        ..Environment::default()
    };
    config::load(&path, &surroundings).unwrap_or_else(|e| panic!("{e}"))
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

pub(crate) fn opened() -> Notice {
    sample_notice(
        NoticeKind::Opened,
        Uuid::now_v7(),
        "fra1",
        None,
        clock::now(),
        &Locale::default(),
    )
}

async fn attempt(config: &Settings, notice: &Notice, progress: Progress) -> Attempt {
    Sender::new(config)
        .unwrap()
        .attempt(&config.channels[0], notice, progress, clock::now())
        .await
}

fn mail(sink: &MailSink) -> Settings {
    load(&format!(
        "[[email]]\nto = [\"ann@example.com\", \"bob@example.com\", \"cy@example.com\"]\nfrom = \"llmwatch@example.com\"\n\
         smtp = \"smtp://{}\"\n",
        sink.addr()
    ))
}

/// A webhook with this timeout.
fn hook(sink: &WebhookSink, timeout: &str) -> Settings {
    load(&format!(
        "[[webhook]]\nurl = \"http://{}/\"\ntimeout = \"{timeout}\"\n",
        sink.addr()
    ))
}

#[tokio::test]
async fn graylisting_is_retried_and_each_recipient_gets_one_mail() {
    let sink = MailSink::start(listener().await).unwrap();
    let (config, notice) = (mail(&sink), opened());
    for stage in [MailStage::Mail, MailStage::Rcpt, MailStage::Data] {
        sink.set_fault(MailFault::Transient(stage));
        let Attempt::Retry {
            progress, error, ..
        } = attempt(&config, &notice, Progress::default()).await
        else {
            panic!("{stage:?} is worth another attempt");
        };
        assert!(
            progress.delivered.is_empty() && progress.refused.is_empty(),
            "{progress:?}"
        );
        assert_eq!(
            error.matches("451").count(),
            1,
            "a reason that all share is said once: {error}"
        );
        assert_eq!(error.matches("Temporary failure").count(), 1, "{error}");
    }
    sink.set_fault(MailFault::None);
    let Attempt::Delivered { progress } = attempt(&config, &notice, Progress::default()).await
    else {
        panic!()
    };
    assert_eq!(progress.delivered.len(), 3);
    assert_eq!(sink.messages().len(), 3);
}

#[tokio::test]
async fn one_refused_of_three_costs_the_others_nothing() {
    let sink = MailSink::start(listener().await).unwrap();
    sink.set_fault(MailFault::RejectRecipient("bob@example.com".to_owned()));
    let Attempt::Delivered { progress } =
        attempt(&mail(&sink), &opened(), Progress::default()).await
    else {
        panic!()
    };
    assert_eq!(progress.delivered, ["ann@example.com", "cy@example.com"]);
    assert_eq!(progress.refused[0].0, "bob@example.com");
    assert!(progress.refused[0].1.contains("550"), "{progress:?}");

    // The outbox lists the recipients that did not get it.
    let store = llmwatch::store::Store::in_memory().unwrap();
    let (channel, notice) = ("mail".into(), opened());
    let outgoing = vec![llmwatch_core::model::Outgoing {
        channel,
        not_before: None,
        notice,
        supersedes_pending: false,
    }];
    store
        .commit(&[llmwatch::store::Commit {
            outgoing,
            ..Default::default()
        }])
        .unwrap();
    let pending = store.next_pending("mail", clock::now()).unwrap().unwrap();
    let (error, sent) = (
        progress.refused_summary(),
        llmwatch::store::DeliveryOutcome::Sent,
    );
    store
        .record_attempt(&pending, clock::now(), sent, "{}", error.as_deref(), None)
        .unwrap();
    let tally = &store.channel_stats().unwrap()[0];
    assert_eq!((tally.sent, tally.last_refused_at.is_some()), (1, true));
    assert!(
        tally
            .refused
            .as_deref()
            .unwrap()
            .starts_with("bob@example.com: "),
        "{tally:?}"
    );
}

#[tokio::test]
async fn what_is_refused_by_all_is_refused_for_good() {
    let sink = MailSink::start(listener().await).unwrap();
    sink.set_fault(MailFault::Permanent(MailStage::Rcpt));
    let attempt = attempt(&mail(&sink), &opened(), Progress::default()).await;
    assert!(matches!(attempt, Attempt::Failed { .. }), "{attempt:?}");
}

#[tokio::test]
async fn smtp_connection_lost_in_data_is_retried_under_its_id() {
    let sink = MailSink::start(listener().await).unwrap();
    let (config, notice) = (mail(&sink), opened());
    sink.set_fault(MailFault::DisconnectInData);
    let Attempt::Retry { progress, .. } = attempt(&config, &notice, Progress::default()).await
    else {
        panic!()
    };
    sink.set_fault(MailFault::None);
    assert!(matches!(
        attempt(&config, &notice, progress).await,
        Attempt::Delivered { .. }
    ));
    let id = format!("Message-ID: <{}@example.com>", notice.id);
    for mail in sink.messages() {
        assert!(String::from_utf8_lossy(&mail.data).contains(&id));
    }
}

#[tokio::test]
async fn a_receiver_says_how_long_to_wait_in_seconds_or_as_a_date() {
    let sink = WebhookSink::start(listener().await).unwrap();
    let config = hook(&sink, "2m");
    let wait = async |header: String| {
        sink.set_behavior(WebhookBehavior::Status(
            429,
            vec![("retry-after".to_owned(), header)],
        ));
        match attempt(&config, &opened(), Progress::default()).await {
            Attempt::Retry { retry_after, .. } => retry_after,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(wait("7".to_owned()).await, Some(Duration::from_secs(7)));
    let date = (clock::now() + Duration::from_mins(10))
        .to_datetime()
        .format("%a, %d %b %Y %H:%M:%S GMT")
        .to_string();
    let asked = wait(date).await.unwrap();
    assert!(
        asked > Duration::from_mins(8) && asked <= Duration::from_mins(10),
        "{asked:?}"
    );
}

#[tokio::test]
async fn what_a_webhook_answers_decides_whether_it_is_tried_again() {
    let sink = WebhookSink::start(listener().await).unwrap();
    let config = hook(&sink, "2m");
    let status = |code| WebhookBehavior::Status(code, Vec::new());
    for again in [
        status(500),
        status(503),
        status(429),
        WebhookBehavior::Hang,
        WebhookBehavior::Reset,
    ] {
        sink.set_behavior(again.clone());
        let config = if again == WebhookBehavior::Hang {
            &hook(&sink, "500ms")
        } else {
            &config
        };
        let attempt = attempt(config, &opened(), Progress::default()).await;
        assert!(
            matches!(attempt, Attempt::Retry { .. }),
            "{again:?}: {attempt:?}"
        );
    }
    let elsewhere = WebhookBehavior::Redirect(format!("http://{}/elsewhere", sink.addr()));
    for never in [status(400), status(404), status(410), elsewhere] {
        sink.set_behavior(never.clone());
        let before = sink.requests().len();
        let attempt = attempt(&config, &opened(), Progress::default()).await;
        assert!(
            matches!(attempt, Attempt::Failed { .. }),
            "{never:?}: {attempt:?}"
        );
        assert_eq!(sink.requests().len(), before + 1, "and nothing is followed");
    }
    sink.set_behavior(WebhookBehavior::HugeBody);
    let attempt = attempt(&config, &opened(), Progress::default()).await;
    assert!(
        matches!(attempt, Attempt::Delivered { .. }),
        "its body is not waited for: {attempt:?}"
    );
}

/// Creates a certificate for `name` that expires in this year. Returns the server's TLS settings,
/// and PEM for clients that trust it.
pub(crate) fn certificate(name: &str, year: i32) -> (Arc<rustls::ServerConfig>, String) {
    let mut wanted = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    wanted.not_before = rcgen::date_time_ymd(2020, 1, 1);
    wanted.not_after = rcgen::date_time_ymd(year, 2, 3);
    let key = rcgen::KeyPair::generate().unwrap();
    let made = wanted.self_signed(&key).unwrap();
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.der().clone()], der)
        .unwrap();
    (Arc::new(config), made.pem())
}

/// Sends to a mail server with TLS, with `trusted` in `ca_file`. Returns the attempt and the number
/// of mails received.
async fn encrypted(tls: MailTls, trusted: Option<&str>) -> (Attempt, usize) {
    let scheme = if matches!(tls, MailTls::Implicit(_)) {
        "smtps"
    } else {
        "smtp"
    };
    let sink = MailSink::start_with(listener().await, tls).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let roots = directory.path().join("roots.pem");
    std::fs::write(&roots, trusted.unwrap_or_default()).unwrap();
    let ca = trusted.map_or(String::new(), |_| {
        format!("[monitor]\nca_file = \"{}\"\n", roots.display())
    });
    let required = if scheme == "smtp" {
        "?tls=required"
    } else {
        ""
    };
    let config = load(&format!(
        "{ca}[[email]]\nto = [\"ann@example.com\"]\nfrom = \"llmwatch@example.com\"\n\
         smtp = \"{scheme}://127.0.0.1:{}{required}\"\n",
        sink.addr().port()
    ));
    let attempt = attempt(&config, &opened(), Progress::default()).await;
    (attempt, sink.messages().len())
}

#[tokio::test]
async fn mail_server_certificate_is_verified() {
    for implicit in [false, true] {
        let tls = |config| {
            if implicit {
                MailTls::Implicit(config)
            } else {
                MailTls::StartTls(config)
            }
        };
        let (config, pem) = certificate("127.0.0.1", 2060);
        let (trusted, arrived) = encrypted(tls(config.clone()), Some(&pem)).await;
        assert!(matches!(trusted, Attempt::Delivered { .. }), "{trusted:?}");
        assert_eq!(arrived, 1);

        let (expired, expired_pem) = certificate("127.0.0.1", 2021);
        let (other, other_pem) = certificate("mail.example.org", 2060);
        for (config, trusted, reported) in [
            (config, None, "issuer is unknown"),
            (expired, Some(&expired_pem), "expired"),
            (other, Some(&other_pem), "not valid for name"),
        ] {
            let (attempt, arrived) = encrypted(tls(config), trusted.map(String::as_str)).await;
            // Retried, because a person can fix it and then wants the pending messages.
            let Attempt::Retry { error, .. } = attempt else {
                panic!("{reported}: {attempt:?}")
            };
            assert!(error.contains(reported), "{reported}: {error}");
            assert!(error.contains("certificate"), "{error}");
            assert_eq!(arrived, 0, "nothing is sent to it");
        }
    }
}

#[tokio::test]
async fn required_starttls_sends_nothing_without_it() {
    let (attempt, arrived) = {
        let sink = MailSink::start(listener().await).unwrap();
        let config = load(&format!(
            "[[email]]\nto = [\"ann@example.com\"]\nfrom = \"llmwatch@example.com\"\nsmtp = \"smtp://{}?tls=required\"\n",
            sink.addr()
        ));
        (
            attempt(&config, &opened(), Progress::default()).await,
            sink.messages().len(),
        )
    };
    let Attempt::Retry { error, .. } = attempt else {
        panic!("{attempt:?}")
    };
    assert!(error.contains("STARTTLS"), "{error}");
    assert_eq!(arrived, 0);
}

#[tokio::test]
async fn a_mail_server_that_is_slow_gets_there() {
    let sink = MailSink::start(listener().await).unwrap();
    sink.set_fault(MailFault::Drip(Duration::from_millis(1)));
    let slow = attempt(&mail(&sink), &opened(), Progress::default()).await;
    let Attempt::Delivered { progress } = slow else {
        panic!("{slow:?}")
    };
    assert_eq!((progress.delivered.len(), sink.messages().len()), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn dripping_mail_server_is_cut_off() {
    let sink = MailSink::start(listener().await).unwrap();
    sink.set_fault(MailFault::Drip(Duration::from_secs(5)));
    let began = tokio::time::Instant::now();
    let attempt = attempt(&mail(&sink), &opened(), Progress::default()).await;
    let Attempt::Retry {
        progress, error, ..
    } = attempt
    else {
        panic!("{attempt:?}")
    };
    assert!(progress.delivered.is_empty(), "{progress:?}");
    assert!(
        began.elapsed() <= Duration::from_secs(95),
        "{:?}: {error}",
        began.elapsed()
    );
    assert!(sink.messages().is_empty());
}

#[tokio::test(start_paused = true)]
async fn silent_mail_server_is_retried() {
    let sink = MailSink::start(listener().await).unwrap();
    sink.set_fault(MailFault::HangAfterBanner);
    let attempt = attempt(&mail(&sink), &opened(), Progress::default()).await;
    assert!(matches!(attempt, Attempt::Retry { .. }), "{attempt:?}");
}
