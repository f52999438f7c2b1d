//! `llmwatch test-alert`: a clearly marked test through each channel, and how each delivery went.

use uuid::Uuid;

use super::{EX_USAGE, Exit, Failure, Globals, print};
use crate::clock;
use crate::model::{Notice, NoticeType};
use crate::notify::{Attempt, Progress, Sender};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The channels [default: all]
    channels: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(globals: &Globals, args: &Args) -> Exit {
    let config = globals.load()?;
    for name in &args.channels {
        if !config.channels.iter().any(|c| c.name == *name) {
            let known: Vec<_> = config.channels.iter().map(|c| c.name.as_str()).collect();
            let text = format!("llmwatch: there is no channel `{name}`; there are: {}", known.join(", "));
            return Err(Failure { code: EX_USAGE, text });
        }
    }
    let chosen: Vec<_> =
        config.channels.iter().filter(|c| args.channels.is_empty() || args.channels.contains(&c.name)).collect();
    if chosen.is_empty() {
        let text = "llmwatch: no channel is configured: add an `[[email]]` or a `[[webhook]]`".to_owned();
        return Err(Failure { code: 1, text });
    }
    let sender = Sender::new(&config)?;
    let mut all_delivered = true;
    for channel in chosen {
        let now = clock::now();
        let notice = Notice {
            id: Uuid::now_v7(),
            r#type: NoticeType::Test,
            decided_at: now,
            location: config.monitor.location.clone(),
            incident: None,
            subject: config.monitor.location.clone(),
            title: format!("test notification for {}", channel.name),
            alternatives: Vec::new(),
            url: config.monitor.public_url.clone(),
            thread: None,
            already_over: false,
            recent: Vec::new(),
            test: false,
            instead_of: None,
            document: None,
        };
        let (delivered, error) = match sender.attempt(channel, &notice, Progress::default(), now).await {
            Attempt::Delivered { progress } => (progress.refused_summary().is_none(), progress.refused_summary()),
            Attempt::Retry { error, .. } | Attempt::Failed { error, .. } => (false, Some(error)),
        };
        all_delivered &= delivered;
        if args.json {
            let line = serde_json::json!({
                "channel": channel.name, "delivered": delivered, "notification": notice.id, "error": error,
            });
            print(&line.to_string());
        } else {
            let error = error.map(|e| format!(": {e}")).unwrap_or_default();
            let word = if delivered { "delivered" } else { "NOT delivered" };
            print(&format!("{}: {word}{error}", channel.name));
        }
    }
    Ok(u8::from(!all_delivered))
}
