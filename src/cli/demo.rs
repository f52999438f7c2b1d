//! `llmwatch demo`: a complete demonstration without account or network, printed live.
//!
//! It runs two simulated vendors, a mail server and a webhook receiver on loopback, and the real
//! daemon with short intervals. One vendor fails: the daemon detects and notifies the outage and
//! its recovery.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{Exit, Globals, paint, print, status};
use crate::config::{self, Environment, Settings, duration};
use crate::daemon;
use crate::log;
use llmwatch_core::model::Status;
use llmwatch_simulator::{Mail, MailSink, Request, Scenario, Simulator, WebhookSink};

/// How long everything stays healthy, to establish a baseline.
const HEALTHY: Duration = Duration::from_secs(10);

const OUTAGE: &str = r#"
[[rule]]
path = "/v1/*"
fault = "openai_503"
"#;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: llmwatch demo --for 10m --listen 127.0.0.1:8686")]
pub(super) struct DemoArgs {
    /// Time limit; when given, the page stays up until then
    #[arg(long = "for", value_name = "DURATION")]
    limit: Option<String>,
    /// Save the mails that arrive as `alert.eml` and `recovery.eml` in this directory
    #[arg(long, value_name = "DIRECTORY")]
    save: Option<PathBuf>,
    /// Address of the status page
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

pub(super) async fn run(globals: &Globals, args: &DemoArgs) -> Exit {
    let given = match &args.limit {
        Some(text) => Some(duration(text).map_err(|why| anyhow::anyhow!("`--for {text}`: {why}"))?),
        None => None,
    };
    let ends = Instant::now() + given.unwrap_or(Duration::from_secs(90));
    globals.install_log(None);
    let level = globals.level.unwrap_or(tracing::Level::ERROR);
    log::set_level(level);
    let progress = DemoProgress {
        began: Instant::now(),
    };
    let stage = Stage::build(args.listen).await?;
    let stop = CancellationToken::new();
    let mut config = stage.config.clone();
    config.log.level = level;
    let reload = {
        let config = config.clone();
        Box::new(move || Ok(config.clone()))
    };
    let mut daemon = tokio::spawn(daemon::run(config, reload, stop.clone()));
    let outcome = tokio::select! {
        outcome = timeout_at(ends, stage.play(&progress, args.save.as_deref())) => outcome,
        ended = &mut daemon => {
            ended.context("the daemon panicked")??;
            return Err(anyhow::anyhow!("interrupted before an alert and its recovery were delivered").into());
        }
    };
    let mut ended = None;
    if given.is_some() && matches!(outcome, Ok(Ok(()))) {
        progress.print("the page stays up until the time limit");
        ended = timeout_at(ends, &mut daemon).await.ok();
    }
    stop.cancel();
    let ended = match ended {
        Some(ended) => ended,
        None => daemon.await,
    };
    ended.context("the daemon panicked")??;
    outcome
        .context("the demo did not finish in time: an alert or its recovery was not delivered")??;
    progress.print(&paint(
        "both notifications arrived, by mail and by webhook",
        32,
    ));
    Ok(0)
}

/// The simulated vendors and receivers, and the configuration that monitors them.
struct Stage {
    openai: Simulator,
    _azure: Simulator,
    mail: MailSink,
    hook: WebhookSink,
    config: Settings,
    /// Holds the store; removed when dropped.
    _state: Scratch,
}

impl Stage {
    async fn build(listen: SocketAddr) -> anyhow::Result<Self> {
        let any = || TcpListener::bind("127.0.0.1:0");
        let openai = Simulator::start_as("openai", any().await?, Scenario::healthy())?;
        let azure = Simulator::start_as("azure", any().await?, Scenario::healthy())?;
        let mail = MailSink::start(any().await?)?;
        let hook = WebhookSink::start(any().await?)?;
        let state = Scratch::new()?;
        // With port 0, the system would choose the port only when the daemon binds it, too late to
        // print it.
        let page = match listen.port() {
            0 => TcpListener::bind(listen).await?.local_addr()?,
            _ => listen,
        };
        let text = config_text(
            &state.0,
            page,
            openai.addr(),
            azure.addr(),
            mail.addr(),
            hook.addr(),
        );
        let path = state.0.join("monitor.toml");
        std::fs::write(&path, text)?;
        let config = config::load(&path, &Environment::from_process())
            .map_err(|e| anyhow::anyhow!("{e}"))?;
        Ok(Self {
            openai,
            _azure: azure,
            mail,
            hook,
            config,
            _state: state,
        })
    }

    async fn play(mut self, progress: &DemoProgress, save: Option<&Path>) -> anyhow::Result<()> {
        progress.print("two vendors are up: `openai-chat` and the same model at `azure-chat`, probed every second");
        if let Some(page) = self.config.process.listen {
            progress.print(&format!("the page is at http://{page}/"));
        }
        self.wait_for(|all| all.iter().all(|s| *s == Status::Operational))
            .await;
        progress.print(&paint("both are operational", 32));
        tokio::time::sleep(HEALTHY).await;

        let injected = Instant::now();
        self.openai.set_scenario(Scenario::parse(OUTAGE)?);
        progress.print(&paint(
            "OUTAGE INJECTED: OpenAI answers 503 from now on",
            31,
        ));
        let mail = self.mail.next().await;
        progress.print(&format!(
            "detected, and mailed {:.1} s after it began:",
            injected.elapsed().as_secs_f64()
        ));
        keep_mail(save, "alert.eml", &mail)?;
        show_mail(&mail);
        let hook = self.hook.next().await;
        expect_type(&hook, "incident.opened", progress)?;

        let recovered = Instant::now();
        self.openai.set_scenario(Scenario::healthy());
        progress.print(&paint("RECOVERED: OpenAI answers again", 32));
        let mail = self.mail.next().await;
        progress.print(&format!(
            "recovery mailed {:.1} s later:",
            recovered.elapsed().as_secs_f64()
        ));
        keep_mail(save, "recovery.eml", &mail)?;
        show_mail(&mail);
        let hook = self.hook.next().await;
        expect_type(&hook, "incident.resolved", progress)
    }

    /// Polls the daemon's API until the endpoints have the expected statuses.
    async fn wait_for(&self, wanted: impl Fn(&[Status]) -> bool) {
        loop {
            if let Ok(snapshot) = status::ask(&self.config).await {
                let all: Vec<_> = snapshot.endpoints.iter().map(|e| e.status).collect();
                if wanted(&all) {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

fn config_text(
    state: &Path,
    page: SocketAddr,
    openai: SocketAddr,
    azure: SocketAddr,
    mail: SocketAddr,
    hook: SocketAddr,
) -> String {
    format!(
        r#"
[monitor]
location = "demo"
state_dir = "{state}"
listen = "{page}"

[detection]
alert_after = "4s"
resolve_after = "4s"

[defaults]
interval = "1s"
group = "chat"
api_key = "demo-key"
timeout = {{ headers = "5s", first_token = "5s", total = "10s" }}

[[endpoint]]
name = "openai-chat"
provider = "openai"
base_url = "http://{openai}/v1"

[[endpoint]]
name = "azure-chat"
provider = "azure-openai"
base_url = "http://{azure}"
deployment = "gpt-6-luna"
model = "gpt-6-luna"

[[email]]
name = "oncall"
to = ["oncall@example.com"]
from = "llmwatch@example.com"
smtp = "smtp://{mail}"
group_wait = "1s"

[[webhook]]
name = "hook"
url = "http://{hook}/alerts"
group_wait = "1s"
"#,
        state = state.display()
    )
}

/// A directory that is removed when the demo ends.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("llmwatch-demo-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // If this fails, the system clears its temporary files eventually.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Prints each line with the seconds since the demo started.
struct DemoProgress {
    began: Instant,
}

impl DemoProgress {
    fn print(&self, line: &str) {
        print(&format!(
            "{:6.1} s  {line}",
            self.began.elapsed().as_secs_f64()
        ));
    }
}

fn expect_type(hook: &Request, wanted: &str, progress: &DemoProgress) -> anyhow::Result<()> {
    let body: Value =
        serde_json::from_slice(&hook.body).context("the webhook's body is not JSON")?;
    if body["type"] != wanted {
        bail!("the webhook got {} instead of {wanted}", body["type"]);
    }
    let alternatives = body["data"]["incident"]["alternatives"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let names: Vec<_> = alternatives
        .iter()
        .filter_map(|a| a["endpoint"].as_str())
        .collect();
    match names.as_slice() {
        [] => progress.print(&format!("the webhook got {wanted}")),
        [best, ..] => progress.print(&format!(
            "the webhook got {wanted}; what works instead: {}",
            paint(best, 36)
        )),
    }
    Ok(())
}

fn keep_mail(directory: Option<&Path>, name: &str, mail: &Mail) -> anyhow::Result<()> {
    let Some(directory) = directory else {
        return Ok(());
    };
    let path = directory.join(name);
    std::fs::write(&path, &mail.data).with_context(|| format!("cannot write {}", path.display()))
}

fn show_mail(mail: &Mail) {
    let (subject, text) = readable(&String::from_utf8_lossy(&mail.data));
    let mut shown = format!(
        "  ┌ To: {}\n  │ Subject: {subject}\n  │\n",
        mail.to.join(", ")
    );
    for line in text.lines() {
        let _ = writeln!(shown, "  │ {line}");
    }
    print(&format!("{shown}  └"));
}

/// Returns the subject and the text part of one of our own mails.
fn readable(mail: &str) -> (String, String) {
    let mail = mail.replace("\r\n", "\n");
    let (head, body) = mail.split_once("\n\n").unwrap_or((&mail, ""));
    let head = head.replace("\n ", " ").replace("\n\t", " ");
    let subject = head
        .lines()
        .find_map(|l| l.strip_prefix("Subject: "))
        .unwrap_or_default()
        .to_owned();
    let text = body
        .split("\n--")
        .find(|part| part.contains("text/plain"))
        .unwrap_or(body);
    let (part_head, text) = text.split_once("\n\n").unwrap_or(("", text));
    if part_head.to_ascii_lowercase().contains("quoted-printable") {
        let decoded =
            quoted_printable::decode(text, quoted_printable::ParseMode::Robust).unwrap_or_default();
        return (subject, String::from_utf8_lossy(&decoded).into_owned());
    }
    (subject, text.to_owned())
}
