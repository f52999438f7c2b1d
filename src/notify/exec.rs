//! Programs as channels: each run gets the generic webhook's JSON on standard input, without a
//! shell and with a timeout.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::{Attempt, Obstacle, Progress};
use crate::config::Webhook;
use crate::files;
use crate::redact::Redactor;
use llmwatch_core::message::render::{self, Setting};
use llmwatch_core::model::Notice;

/// How much of a program's standard error is kept, in bytes; the rest is discarded.
const MAX_READ: usize = 4096;
/// How much of it is shown, in characters.
const MAX_SHOWN: usize = 300;
/// The only environment variables that a program inherits, since others may hold keys.
const INHERITED: [&str; 5] = ["PATH", "HOME", "LANG", "TZ", "TMPDIR"];
/// Exit codes of sysexits.h for permanent failures: usage, data, input, configuration.
const PERMANENT: [i32; 4] = [64, 65, 66, 78];

/// An `exec` channel.
#[derive(Debug)]
pub(super) struct Program {
    command: Vec<String>,
    timeout: Duration,
    redactor: Redactor,
}

/// How a run ended.
struct ProgramExit {
    code: Option<i32>,
    stderr: String,
}

impl Program {
    pub(super) fn new(webhook: &Webhook, redactor: Redactor) -> Self {
        Self {
            command: webhook.command.clone(),
            timeout: webhook.timeout,
            redactor,
        }
    }

    /// Checks that the program exists and may be run.
    pub(super) fn open(&self) -> Result<(), String> {
        files::check_program(self.command.first().map_or("", String::as_str))
    }

    /// Runs the program once.
    pub(super) async fn attempt(
        &self,
        notice: &Notice,
        setting: Setting<'_>,
        mut progress: Progress,
    ) -> Attempt {
        let body = render::json(notice, setting).to_string();
        let (error, permanent) = match self.run(notice, body.as_bytes()).await {
            Ok(Some(ProgramExit { code: Some(0), .. })) => return Attempt::Delivered { progress },
            Ok(Some(ended)) => {
                let stderr = self.redactor.clean_cut(&ended.stderr);
                let stderr: String = stderr.trim().chars().take(MAX_SHOWN).collect();
                let what = match ended.code {
                    Some(code) => format!("the program ended with exit code {code}"),
                    None => "the program was killed by a signal".to_owned(),
                };
                let separator = if stderr.is_empty() { "" } else { ": " };
                let permanent = ended.code.is_some_and(|code| PERMANENT.contains(&code));
                (format!("{what}{separator}{stderr}"), permanent)
            }
            Ok(None) => {
                progress.perhaps = true;
                let limit = self.timeout.as_secs_f64();
                (
                    format!("the program took longer than `timeout` ({limit} s) and was killed"),
                    false,
                )
            }
            Err(error) => (
                format!("the program cannot be run: {}", reason(&error)),
                false,
            ),
        };
        if permanent {
            Attempt::Failed { progress, error }
        } else {
            Attempt::Retry {
                progress,
                error,
                retry_after: None,
                obstacle: Obstacle::Other,
            }
        }
    }

    /// Runs the program; `None` after a timeout.
    async fn run(&self, notice: &Notice, body: &[u8]) -> std::io::Result<Option<ProgramExit>> {
        let mut child = self.spawn(notice)?;
        let group = child.id();
        let ended = timeout(self.timeout, finish(&mut child, body)).await;
        // Background processes that it started must not outlive it.
        if let Some(group) = group.and_then(|id| Pid::from_raw(id.cast_signed())) {
            // Fails when the group has no processes left.
            let _ = kill_process_group(group, Signal::KILL);
        }
        if let Ok(ended) = ended {
            return ended.map(Some);
        }
        child.wait().await?;
        Ok(None)
    }

    fn spawn(&self, notice: &Notice) -> std::io::Result<Child> {
        let (program, arguments) = self
            .command
            .split_first()
            .ok_or(std::io::ErrorKind::NotFound)?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env("LLMWATCH_TYPE", notice.kind.as_str())
            .env("LLMWATCH_NOTIFICATION_ID", notice.id.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        for name in INHERITED {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.spawn()
    }
}

/// Writes the program's input and waits for its exit.
async fn finish(child: &mut Child, body: &[u8]) -> std::io::Result<ProgramExit> {
    let stdin = child.stdin.take();
    let stderr = child.stderr.take();
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A program need not read its input.
            let _ = stdin.write_all(body).await;
        }
    };
    let listen = async {
        let mut kept = Vec::new();
        let mut chunk = [0; 1024];
        if let Some(mut stderr) = stderr {
            while let Ok(count @ 1..) = stderr.read(&mut chunk).await {
                let room = MAX_READ.saturating_sub(kept.len());
                kept.extend_from_slice(&chunk[..count.min(room)]);
            }
        }
        kept
    };
    // A child process may keep standard error open, so its end is not awaited.
    let wait = async {
        let status = child.wait().await?;
        Ok::<_, std::io::Error>(status)
    };
    let output = async {
        tokio::pin!(listen);
        tokio::pin!(wait);
        tokio::select! {
            kept = &mut listen => (kept, wait.await),
            status = &mut wait => {
                let kept = timeout(Duration::from_millis(200), &mut listen).await;
                (kept.unwrap_or_default(), status)
            }
        }
    };
    let ((), (kept, status)) = tokio::join!(feed, output);
    Ok(ProgramExit {
        code: status?.code(),
        stderr: String::from_utf8_lossy(&kept)
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect(),
    })
}

/// Describes an error without the operating system's error number.
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_lowercase()
}
