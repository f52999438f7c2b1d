//! The channel of a new configuration, from flags or from a person's answers.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use url::Url;

use super::environment::{Candidate, quoted};
use crate::config::{self, Environment};
use llmwatch_core::model::Provider;

/// How often a question is repeated before it is skipped.
const MAX_TRIES: usize = 3;

/// A secret in a file of its own, to keep it out of the configuration.
pub(super) struct SecretFile {
    /// Its name, in the configuration's directory.
    name: String,
    /// Its content.
    pub(super) content: String,
}

impl SecretFile {
    pub(super) fn path(&self, config: &Path) -> PathBuf {
        config.with_file_name(&self.name)
    }
}

/// The table of a channel.
pub(super) struct ChannelBlock {
    /// The text to write.
    pub(super) text: String,
    /// The secret files that it refers to.
    pub(super) secrets: Vec<SecretFile>,
    /// The text with the secrets inlined, only for checking.
    literal: String,
}

impl ChannelBlock {
    /// An email channel to `to`.
    pub(super) fn email(config: &Path, to: &str, from: Option<&str>, smtp: &str) -> Self {
        let domain = to.rsplit('@').next().unwrap_or("localhost");
        let from = from.map_or_else(|| format!("llmwatch@{domain}"), str::to_owned);
        let head = format!(
            "[[email]]\nto = [{}]\nfrom = {}\n",
            quoted(to.trim()),
            quoted(from.trim())
        );
        let has_password = Url::parse(smtp).is_ok_and(|url| url.password().is_some());
        Self::new(config, &head, "smtp", smtp, has_password)
    }

    /// A webhook; its kind is derived from its host.
    pub(super) fn webhook(config: &Path, url: &str) -> Self {
        let head = format!("[[webhook]]\nkind = {}\n", quoted(kind(url)));
        // Anyone who knows the URL of a webhook can post to it.
        Self::new(config, &head, "url", url, true)
    }

    fn new(config: &Path, head: &str, key: &str, value: &str, is_secret: bool) -> Self {
        let value = value.trim();
        let literal = format!("{head}{key} = {}\n", quoted(value));
        if !is_secret || value.contains("${") {
            return Self {
                text: literal.clone(),
                secrets: Vec::new(),
                literal,
            };
        }
        let stem = config.file_stem().unwrap_or_default().to_string_lossy();
        let name = format!("{stem}.{key}");
        Self {
            text: format!(
                "{head}{key}_file = {}   # contains the URL with its secret\n",
                quoted(&name)
            ),
            secrets: vec![SecretFile {
                name,
                content: format!("{value}\n"),
            }],
            literal,
        }
    }

    /// Checks that the configuration accepts this channel.
    ///
    /// # Errors
    /// What is wrong, and what to do.
    pub(super) fn check(&self, config: &Path, surroundings: &Environment) -> Result<(), String> {
        match config::load_text(config, self.literal.clone(), surroundings) {
            Ok(_) => Ok(()),
            Err(error) => {
                let problems = error.diagnostics().iter().map(|d| match &d.help {
                    Some(help) => format!("{}; {help}", d.message),
                    None => d.message.clone(),
                });
                Err(problems.collect::<Vec<_>>().join("\n"))
            }
        }
    }
}

/// Returns the kind of webhook that the host of `url` expects.
fn kind(url: &str) -> &'static str {
    let url = Url::parse(url.trim()).ok();
    let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
    match host {
        "hooks.slack.com" => "slack",
        "discord.com" | "discordapp.com" => "discord",
        "chat.googleapis.com" => "google_chat",
        "ntfy.sh" => "ntfy",
        host if host.ends_with(".webhook.office.com") || host.ends_with(".logic.azure.com") => {
            "teams"
        }
        _ => "json",
    }
}

/// Asks questions on the terminal, if there is one.
pub(super) struct Answers {
    asks: bool,
}

impl Answers {
    pub(super) fn new(asks: bool) -> Self {
        Self { asks }
    }

    /// Asks one question; `None` if the answer is empty or there is no terminal.
    fn ask(&mut self, question: &str) -> Option<String> {
        if !self.asks {
            return None;
        }
        eprint!("{question}: ");
        let _ = std::io::stderr().flush();
        let mut line = String::new();
        match std::io::stdin().read_line(&mut line) {
            Ok(0) | Err(_) => {
                eprintln!();
                self.asks = false;
                None
            }
            Ok(_) => Some(line.trim().to_owned()).filter(|answer| !answer.is_empty()),
        }
    }

    /// Asks for the deployment of an Azure endpoint, and returns the endpoint.
    pub(super) fn deployment(&mut self, found: &str, needed: &str) -> Option<Candidate> {
        if needed != "AZURE_OPENAI_DEPLOYMENT" {
            return None;
        }
        let var = |name: &str| std::env::var(name).ok().filter(|v| !v.trim().is_empty());
        let key = ["AZURE_OPENAI_API_KEY", "AZURE_OPENAI_KEY"];
        let key = key.into_iter().find(|name| var(name).is_some())?;
        let address = ["AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_BASE_URL"];
        let address = address.into_iter().find_map(var)?;
        let deployment = self.ask("Name of the deployment on Azure (empty to skip Azure)")?;
        let candidate = Candidate::new(found, Provider::AzureOpenAi)
            .with("api_key", &format!("${{{key}}}"))
            .with("base_url", address.trim())
            .with("deployment", &deployment);
        Some(candidate)
    }

    /// Checks an address before anything else is asked about it.
    fn check_address(config: &Path, to: &str, surroundings: &Environment) -> Result<(), String> {
        let from = Some("llmwatch@localhost");
        ChannelBlock::email(config, to, from, "smtp://127.0.0.1:25").check(config, surroundings)
    }

    /// Asks where to send alerts.
    pub(super) fn channel(
        &mut self,
        config: &Path,
        surroundings: &Environment,
    ) -> Option<ChannelBlock> {
        for _ in 0..MAX_TRIES {
            let wanted = self
                .ask("Send alerts to an email address or a webhook URL (empty to decide later)")?;
            let block = if wanted.contains("://") {
                ChannelBlock::webhook(config, &wanted)
            } else if let Err(why) = Self::check_address(config, &wanted, surroundings) {
                eprintln!("{why}");
                continue;
            } else {
                let smtp = self.ask(
                    "Mail server, such as smtps://user:password@smtp.example.com or smtp://127.0.0.1:25",
                )?;
                let from = self.ask("Sender of the mails (empty for llmwatch@ and your domain)");
                ChannelBlock::email(config, &wanted, from.as_deref(), &smtp)
            };
            match block.check(config, surroundings) {
                Ok(()) => return Some(block),
                Err(why) => eprintln!("{why}"),
            }
        }
        None
    }
}
