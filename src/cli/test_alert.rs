//! `llmwatch test-alert`: sends marked test messages through each channel and reports each
//! delivery, or writes the messages to files.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::{Exit, Failure, Globals, print};
use crate::clock;
use crate::config::Channel;
use crate::notify::{Attempt, Progress, Sender};
use llmwatch_core::message::test_notice::sample_notice;
use llmwatch_core::message::values::Locale;
use llmwatch_core::model::{Notice, NoticeKind};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: llmwatch test-alert email --reason opened --reason resolved")]
pub(super) struct TestAlertArgs {
    /// Channels to test [default: all]
    channels: Vec<String>,
    /// Kind of notification to imitate: test, opened, updated, escalated, resolved, reminder,
    /// offline, …; `all` for one of each. May be repeated
    #[arg(long = "reason", value_name = "REASON", default_value = "test", value_parser = reasons)]
    reasons: Vec<Reasons>,
    /// Send nothing; write the messages to files in this directory
    #[arg(long, value_name = "DIR")]
    preview: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One `--reason`.
#[derive(Debug, Clone)]
struct Reasons(Vec<NoticeKind>);

fn reasons(word: &str) -> Result<Reasons, String> {
    let found: Vec<_> = NoticeKind::ALL
        .iter()
        .filter(|t| ["all", t.reason(), t.as_str(), t.filter_word()].contains(&word))
        .copied()
        .collect();
    if found.is_empty() {
        let known: Vec<_> = NoticeKind::ALL.iter().map(|t| t.reason()).collect();
        return Err(format!("expected one of: all, {}", known.join(", ")));
    }
    Ok(Reasons(found))
}

pub(super) async fn run(globals: &Globals, args: &TestAlertArgs) -> Exit {
    let config = globals.load_whole()?;
    if config.channels.is_empty() {
        let text = "no channel is configured: add an `[[email]]` or a `[[webhook]]`";
        return Err(Failure::new(text));
    }
    for name in &args.channels {
        if !config.channels.iter().any(|c| c.name == *name) {
            let known: Vec<_> = config.channels.iter().map(|c| c.name.as_str()).collect();
            let text = format!("unknown channel `{name}`; configured: {}", known.join(", "));
            return Err(Failure::new(text));
        }
    }
    let chosen: Vec<_> = config
        .channels
        .iter()
        .filter(|c| args.channels.is_empty() || args.channels.iter().any(|n| c.name == *n))
        .collect();
    let sender = Sender::new(&config)?;
    let url = config.monitor.public_url.as_deref();
    let locale = Locale::of(&config);
    let mut all_delivered = true;
    for channel in chosen {
        let mut thread = None;
        for kind in args.reasons.iter().flat_map(|r| &r.0) {
            let now = clock::now();
            let mut notice = sample_notice(
                *kind,
                Uuid::now_v7(),
                &config.monitor.location,
                url,
                now,
                &locale,
            );
            if notice.incident.is_some() {
                notice.thread = thread;
                thread.get_or_insert(notice.id);
            }
            let outcome = match &args.preview {
                Some(directory) => write(
                    &sender.preview(channel, &notice, now),
                    directory,
                    channel,
                    &notice,
                ),
                None => match sender
                    .attempt(channel, &notice, Progress::default(), now)
                    .await
                {
                    Attempt::Delivered { progress } => {
                        progress.refused_summary().map_or(Ok(Vec::new()), Err)
                    }
                    Attempt::Retry { error, .. } | Attempt::Failed { error, .. } => Err(error),
                },
            };
            all_delivered &= outcome.is_ok();
            report(args, channel, &notice, &outcome);
        }
    }
    Ok(u8::from(!all_delivered))
}

/// Writes the files of one message and returns their paths.
fn write(
    files: &[(&str, Vec<u8>)],
    directory: &Path,
    channel: &Channel,
    notice: &Notice,
) -> Result<Vec<PathBuf>, String> {
    std::fs::create_dir_all(directory)
        .map_err(|e| format!("cannot create `{}`: {e}", directory.display()))?;
    let plain = |c: char| {
        if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') {
            c
        } else {
            '_'
        }
    };
    let name: String = format!("{}-{}", channel.name, notice.kind.reason())
        .chars()
        .map(plain)
        .collect();
    let mut paths = Vec::new();
    for (extension, bytes) in files {
        let path = directory.join(format!("{name}.{extension}"));
        std::fs::write(&path, bytes)
            .map_err(|e| format!("cannot write `{}`: {e}", path.display()))?;
        paths.push(path);
    }
    Ok(paths)
}

fn report(
    args: &TestAlertArgs,
    channel: &Channel,
    notice: &Notice,
    outcome: &Result<Vec<PathBuf>, String>,
) {
    let error = outcome.as_ref().err();
    if args.json {
        let mut line = serde_json::json!({
            "channel": channel.name, "type": notice.kind, "delivered": args.preview.is_none() && error.is_none(),
            "notification": notice.id, "error": error,
        });
        if let (Some(_), Ok(paths)) = (&args.preview, outcome) {
            line["files"] = serde_json::json!(paths);
        }
        print(&line.to_string());
        return;
    }
    let what = match notice.kind {
        NoticeKind::Test => channel.name.to_string(),
        kind => format!("{} ({})", channel.name, kind.reason()),
    };
    match (outcome, &args.preview) {
        (Ok(paths), Some(_)) => {
            let paths: Vec<_> = paths.iter().map(|p| p.display().to_string()).collect();
            print(&format!("{what}: {}", paths.join(" ")));
        }
        (Ok(_), None) => print(&format!("{what}: delivered")),
        (Err(error), Some(_)) => print(&format!("{what}: {error}")),
        (Err(error), None) => print(&format!("{what}: NOT delivered: {error}")),
    }
}
