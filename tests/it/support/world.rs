//! A test environment: simulated vendors, notification sinks, and the real binary between them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use llmwatch_simulator::{MailSink, Scenario, Simulator, WebhookSink};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How long a test waits for an expected event. It is far longer than any machine needs, so that
/// only a bug hits it.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// The API key of every endpoint. It must never appear anywhere except on the wire.
pub(crate) const KEY: &str = "sk-sentinel-4f9c2d7ab1e85";

pub(crate) struct World {
    pub(crate) openai: Simulator,
    pub(crate) azure: Simulator,
    pub(crate) mail: MailSink,
    pub(crate) hook: WebhookSink,
    pub(crate) directory: tempfile::TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self {
            openai: Simulator::start_as("openai", listener().await, Scenario::healthy()).unwrap(),
            azure: Simulator::start_as("azure", listener().await, Scenario::healthy()).unwrap(),
            mail: MailSink::start(listener().await).unwrap(),
            hook: WebhookSink::start(listener().await).unwrap(),
            directory: tempfile::tempdir().unwrap(),
        }
    }

    /// A configuration that probes this world every second, without channels. Its timeouts are far
    /// longer than any answer takes, so that no probe fails on a busy machine.
    pub(crate) fn endpoints(&self) -> String {
        format!(
            r#"
[monitor]
location = "fra1"
state_dir = "{state}"
listen = "off"

[detection]
alert_after = "2s"
resolve_after = "2s"

[defaults]
interval = "1s"
group = "chat"
api_key = "{KEY}"
timeout = {{ headers = "60s", first_token = "60s", total = "90s" }}

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
"#,
            state = self.state().display(),
            openai = self.openai.addr(),
            azure = self.azure.addr(),
        )
    }

    pub(crate) fn email(&self) -> String {
        format!(
            "\n[[email]]\nname = \"oncall\"\nto = [\"oncall@example.com\"]\nfrom = \"llmwatch@example.com\"\nsmtp = \"smtp://{}\"\ngroup_wait = \"0s\"\n",
            self.mail.addr()
        )
    }

    pub(crate) fn webhook(&self) -> String {
        format!(
            "\n[[webhook]]\nname = \"hook\"\nurl = \"http://{}/alerts\"\ngroup_wait = \"0s\"\n",
            self.hook.addr()
        )
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.state().join("llmwatch.db")
    }

    pub(crate) fn config_path(&self) -> PathBuf {
        self.directory.path().join("monitor.toml")
    }

    pub(crate) fn write(&self, config: &str) {
        std::fs::write(self.config_path(), config).unwrap();
    }

    /// The binary with this world's configuration.
    pub(crate) fn llmwatch(&self, verb: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_llmwatch"));
        command
            .arg("-c")
            .arg(self.config_path())
            .args(["--log-format", "json"])
            .args(verb);
        command
            .current_dir(self.directory.path())
            .kill_on_drop(true);
        command
    }

    /// Starts the daemon.
    pub(crate) fn run(&self) -> Daemon {
        self.run_with(&[])
    }

    /// Starts the daemon with additional environment variables.
    pub(crate) fn run_with(&self, environment: &[(&str, &str)]) -> Daemon {
        let mut command = self.llmwatch(&["run"]);
        command.envs(environment.iter().copied());
        command.stderr(Stdio::piped()).stdout(Stdio::piped());
        Daemon::start(command)
    }

    /// Queries a value from the store.
    pub(crate) fn query<T: rusqlite::types::FromSql>(&self, sql: &str) -> T {
        query(&self.store(), sql)
    }
}

pub(crate) fn query<T: rusqlite::types::FromSql>(store: &Path, sql: &str) -> T {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = rusqlite::Connection::open_with_flags(store, flags).unwrap();
    connection.busy_timeout(PATIENCE).unwrap();
    connection.query_row(sql, [], |r| r.get(0)).unwrap()
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

pub(crate) struct Daemon {
    child: Child,
    events: mpsc::UnboundedReceiver<String>,
    /// Everything logged and read so far.
    pub(crate) log: String,
}

impl Daemon {
    /// Starts `command`, whose stderr is the log.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let (lines, events) = mpsc::unbounded_channel();
        let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        tokio::spawn(async move {
            while let Ok(Some(line)) = stderr.next_line().await {
                let _ = lines.send(line);
            }
        });
        Self {
            child,
            events,
            log: String::new(),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("the daemon runs")
    }

    /// Waits for the next log event of this name.
    pub(crate) async fn event(&mut self, name: &str) -> Value {
        // Other events, which keep coming, must not prolong the wait without end.
        let deadline = Instant::now() + 2 * PATIENCE;
        loop {
            let line = tokio::time::timeout_at(deadline, self.events.recv()).await;
            let line = line.unwrap_or_else(|_| panic!("no `{name}` came; the log:\n{}", self.log));
            let line = line.unwrap_or_else(|| {
                panic!("the daemon ended before `{name}`; the log:\n{}", self.log)
            });
            let _ = writeln!(self.log, "{line}");
            let event: Value =
                serde_json::from_str(&line).unwrap_or_else(|e| panic!("not JSON: {line}: {e}"));
            if event["event"] == name {
                return event;
            }
        }
    }

    /// Waits until each of these endpoints has had a good probe.
    pub(crate) async fn good_probes(&mut self, endpoints: &[&str]) {
        let mut missing = endpoints.to_vec();
        while !missing.is_empty() {
            let sample = self.event("probe.completed").await;
            missing.retain(|name| sample["endpoint"] != *name || sample["outcome"] == "failed");
        }
    }

    /// Waits until the daemon is ready and both endpoints of the world have had a good probe.
    pub(crate) async fn well(&mut self) {
        self.event("monitor.ready").await;
        self.good_probes(&["openai-chat", "azure-chat"]).await;
    }

    /// Returns the kernel's memory figure for `key`, in bytes; for instance `VmHWM`, the peak.
    pub(crate) fn memory(&self, key: &str) -> u64 {
        let pid = self.child.id().expect("the daemon runs");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|l| l.starts_with(key)).unwrap();
        let kib = line.split_whitespace().nth(1).unwrap();
        kib.parse::<u64>().unwrap() * 1024
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().expect("the daemon runs").to_string();
        // The shell's builtin: not every machine has /bin/kill.
        let sent = std::process::Command::new("sh")
            .args(["-c", "kill -s $0 $1", name, &pid])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Waits for the daemon to end and returns its exit code.
    pub(crate) async fn exit(&mut self) -> Option<i32> {
        let status = tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .expect("the daemon ends")
            .unwrap();
        while let Some(line) = self.events.recv().await {
            let _ = writeln!(self.log, "{line}");
        }
        status.code()
    }

    /// Stops the daemon as a service manager does.
    pub(crate) async fn stop(&mut self) -> Option<i32> {
        self.signal("TERM");
        self.exit().await
    }

    /// Kills the daemon without warning.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }
}

/// Calls `wanted` every 50 ms until it returns a value, and returns that.
pub(crate) async fn eventually<T>(what: &str, mut wanted: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = wanted() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}: it did not come");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
