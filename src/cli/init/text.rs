//! Formats the text of a new configuration.

use super::ProbedCandidate;
use super::channel::ChannelBlock;
use crate::config::Environment;
use llmwatch_core::message::fault::is_providers_message;
use llmwatch_core::message::values::{Locale, clean};
use llmwatch_core::model::{Outcome, Sample, Timestamp};

/// The longest error in a comment, in characters.
const MAX_ERROR_CHARS: usize = 300;

/// Formats the complete file.
pub(super) fn render(
    probed: &[ProbedCandidate],
    channel: Option<&ChannelBlock>,
    surroundings: &Environment,
    now: Timestamp,
) -> String {
    let locale = Locale::default();
    let mut text = format!(
        "# Written by `llmwatch init` on {}. A commented key shows its default or an example.\n\
         # `llmwatch check` shows what this file means and costs; `llmwatch schema` describes every key.\n\
         # `${{NAME}}` is an environment variable: the file contains no key itself.\n\n",
        locale.date(now)
    );
    text += &monitor(surroundings);
    text += "\n[budget]\n\
             # daily_usd = 1.00                # over all endpoints; probing slows to fit\n\
             \n[defaults]\n\
             group = \"chat\"                    # endpoints of one group are alternatives for each other\n\
             # interval = \"60s\"\n";
    for one in probed {
        text += &format!("\n{}", comment(&one.sample));
        text += &one.candidate.block();
    }
    text += &channel.map_or_else(|| NO_CHANNEL.to_owned(), |c| format!("\n{}", c.text));
    text
}

fn monitor(surroundings: &Environment) -> String {
    let location = format!("# location = \"{}\"", surroundings.hostname);
    let mut text = format!(
        "[monitor]\n\
         {location:<33} # where this daemon probes from\n\
         # listen = \"127.0.0.1:8686\"       # the status page and the API; \"off\" for none\n\
         # public_url = \"https://status.example.com\"  # for links in messages\n\
         # timezone = \"UTC\"\n\
         # language = \"en\"                 # or \"es\"\n"
    );
    let proxies = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let has_value = |name: &&&str| surroundings.vars.get(**name).is_some_and(|v| !v.is_empty());
    if let Some(name) = proxies.iter().find(has_value) {
        text += &format!(
            "# proxy = \"env\"                   # {name} is set here and is not used without this line\n"
        );
    }
    text
}

const NO_CHANNEL: &str = r#"
# Nobody is notified yet: fill in one of these and remove the `#`.
# [[email]]
# to = ["oncall@example.com"]
# from = "llmwatch@example.com"
# smtp = "smtps://user:${SMTP_PASSWORD}@smtp.example.com"
#
# [[webhook]]
# kind = "slack"                  # or json, discord, teams, telegram, ntfy, pagerduty and others
# url = "${SLACK_WEBHOOK_URL}"
"#;

fn comment(sample: &Sample) -> String {
    match sample.outcome {
        Outcome::Failed => format!("# The first probe failed: {}\n", failure(sample)),
        _ => format!("# The first probe succeeded: {}.\n", success(sample)),
    }
}

/// Describes a successful first probe.
pub(super) fn success(sample: &Sample) -> String {
    let locale = Locale::default();
    match (sample.first_token_ms, sample.total_ms) {
        (Some(first), _) => format!("first token after {}", locale.latency(first)),
        (None, Some(total)) => format!("answer after {}", locale.latency(total)),
        (None, None) => "it answers".to_owned(),
    }
}

/// Describes why the first probe failed, in one line.
pub(super) fn failure(sample: &Sample) -> String {
    let Some(fault) = sample.fault else {
        return "the reason is not known".to_owned();
    };
    let mut text = format!("{} ({fault})", fault.describe());
    if let Some(error) = &sample.error {
        let source = if is_providers_message(fault) {
            "the API said"
        } else {
            "error"
        };
        let error: String = clean(error).chars().take(MAX_ERROR_CHARS).collect();
        text += &format!("; {source}: {error}");
    }
    text
}
