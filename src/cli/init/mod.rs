//! `llmwatch init`: writes a configuration from what it finds on this machine, and asks for the
//! rest.

mod channel;
mod environment;
mod ollama;
mod text;

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use self::channel::{Answers, ChannelBlock};
use self::environment::{Candidate, Missing};
use super::{Exit, Failure, Globals, probe};
use crate::clock;
use crate::config::{self, Environment};
use llmwatch_core::model::{Outcome, Sample};

/// A candidate endpoint with the result of its first probe.
struct ProbedCandidate {
    candidate: Candidate,
    name: String,
    sample: Sample,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  OPENAI_API_KEY=… llmwatch init\n  llmwatch init --yes --to oncall@example.com --smtp smtp://127.0.0.1:25 --output /etc/llmwatch/monitor.toml"
)]
pub(super) struct InitArgs {
    /// Ask nothing: write what is found
    #[arg(long, short)]
    yes: bool,
    /// File to write
    #[arg(long, short, value_name = "FILE", default_value = "monitor.toml")]
    output: PathBuf,
    /// Overwrite the file if it exists
    #[arg(long)]
    force: bool,
    /// Send alerts to this email address; needs --smtp
    #[arg(long, value_name = "ADDRESS", requires = "smtp")]
    to: Option<String>,
    /// Sender of the mails (default: llmwatch@ and the domain of --to)
    #[arg(long, value_name = "ADDRESS", requires = "to")]
    from: Option<String>,
    /// Mail server, such as `smtps://user:${SMTP_PASSWORD}@smtp.example.com`
    #[arg(long, value_name = "URL", requires = "to")]
    smtp: Option<String>,
    /// Send alerts to this webhook
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
}

impl InitArgs {
    fn asks(&self) -> bool {
        !self.yes && std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }
}

pub(super) async fn run(globals: &Globals, args: &InitArgs) -> Exit {
    let _ = globals;
    let path = &args.output;
    if !args.force && path.symlink_metadata().is_ok() {
        return refused(&format!(
            "`{}` exists and was not changed; `--force` overwrites it, `--output FILE` writes another",
            path.display()
        ));
    }
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        return refused(&format!(
            "there is no directory `{}`: create it, or choose another `--output`",
            folder.display()
        ));
    }
    let surroundings = Environment::from_process();
    let mut asked = Answers::new(args.asks());
    let (mut candidates, missing) = environment::candidates(&surroundings.vars);
    candidates.extend(ollama::candidate(&surroundings).await);
    for Missing { found, needed } in missing {
        match asked.deployment(&found, &needed) {
            Some(candidate) => candidates.push(candidate),
            None => eprintln!("found {found}, but not {needed}: skipped"),
        }
    }
    candidates.retain(|candidate| is_usable(path, candidate, &surroundings));
    if candidates.is_empty() {
        return refused(&format!(
            "nothing to monitor was found and nothing was written. Export a key, such as {}, or start \
             Ollama, and run `llmwatch init` again",
            environment::KEYS_OF_VENDORS
        ));
    }
    for candidate in &candidates {
        eprintln!("found {}", candidate.found);
    }
    let channel = match channel_of_flags(path, args, &surroundings)? {
        Some(block) => Some(block),
        None => asked.channel(path, &surroundings),
    };
    eprintln!("probing each endpoint once …");
    let mut probed = probe_all(path, candidates, &surroundings).await?;
    probed.retain(is_kept);
    if probed.is_empty() {
        return refused("no endpoint answered and nothing was written");
    }
    let written = text::render(&probed, channel.as_ref(), &surroundings, clock::now());
    for secret in channel.iter().flat_map(|c| &c.secrets) {
        write(
            &secret.path(path),
            &secret.content,
            Secrecy::Private,
            args.force,
        )?;
    }
    write(path, &written, Secrecy::Public, args.force)?;
    // Reads the written file as `run` would.
    if let Err(error) = config::load(path, &surroundings) {
        return refused(&format!(
            "`{}` was written, but it is not valid yet:\n{error}",
            path.display()
        ));
    }
    next_steps(path, &probed, channel.as_ref());
    Ok(0)
}

fn refused(text: &str) -> Exit {
    Err(Failure::new(text))
}

/// Reports whether the configuration accepts `candidate`; if not, prints why.
fn is_usable(path: &Path, candidate: &Candidate, surroundings: &Environment) -> bool {
    match config::load_text(path, candidate.block(), surroundings) {
        Ok(_) => true,
        Err(error) => {
            let why = error.diagnostics().first().map(|d| d.message.clone());
            eprintln!(
                "found {}, but it cannot be used: {}",
                candidate.found,
                why.unwrap_or_default()
            );
            false
        }
    }
}

/// Drops a guess whose first probe failed, and prints why.
fn is_kept(probed: &ProbedCandidate) -> bool {
    let is_dropped = probed.candidate.is_guess && probed.sample.outcome == Outcome::Failed;
    if is_dropped {
        eprintln!(
            "{} by {}: the first probe failed, so these credentials are probably for something else: skipped; {}",
            probed.name,
            probed.candidate.found,
            text::failure(&probed.sample)
        );
    }
    !is_dropped
}

fn channel_of_flags(
    path: &Path,
    args: &InitArgs,
    surroundings: &Environment,
) -> Result<Option<ChannelBlock>, Failure> {
    let block = match (&args.to, &args.smtp, &args.webhook) {
        (Some(to), Some(smtp), _) => ChannelBlock::email(path, to, args.from.as_deref(), smtp),
        (_, _, Some(url)) => ChannelBlock::webhook(path, url),
        _ => return Ok(None),
    };
    block
        .check(path, surroundings)
        .map(|()| Some(block))
        .map_err(|why| Failure::new(format!("nothing was written: {why}")))
}

async fn probe_all(
    path: &Path,
    candidates: Vec<Candidate>,
    surroundings: &Environment,
) -> Result<Vec<ProbedCandidate>, Failure> {
    let blocks: String = candidates.iter().map(Candidate::block).collect();
    let settings = config::load_text(path, blocks, surroundings)
        .map_err(|error| Failure::misconfigured(&error).with(1))?;
    let samples = probe::samples(&settings, &settings.endpoints, 1).await?;
    let probed = candidates.into_iter().zip(samples).zip(&settings.endpoints);
    Ok(probed
        .filter_map(|((candidate, samples), endpoint)| {
            let sample = samples.into_iter().next()?;
            Some(ProbedCandidate {
                candidate,
                name: endpoint.name.to_string(),
                sample,
            })
        })
        .collect())
}

/// Who may read a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Secrecy {
    /// Anyone that the umask permits.
    Public,
    /// Only its owner.
    Private,
}

/// Writes a file atomically; replaces an existing one only if `overwrite` is set.
fn write(path: &Path, content: &str, secrecy: Secrecy, overwrite: bool) -> Result<(), Failure> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    if secrecy == Secrecy::Private {
        options.mode(0o600);
    }
    // Writes a new file beside it first, so that a failure leaves the old one intact.
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let fresh = path.with_file_name(name);
    let result = options
        .open(&fresh)
        .and_then(|mut file| {
            file.write_all(content.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| {
            if overwrite {
                std::fs::rename(&fresh, path)
            } else {
                // Unlike a rename, a hard link never replaces an existing file.
                std::fs::hard_link(&fresh, path)
            }
        });
    let _ = std::fs::remove_file(&fresh);
    result.map_err(|error| Failure::new(format!("cannot write `{}`: {error}", path.display())))
}

fn next_steps(path: &Path, probed: &[ProbedCandidate], channel: Option<&ChannelBlock>) {
    let shown = path.display();
    let option = if path == Path::new("monitor.toml") {
        String::new()
    } else {
        format!(" -c {shown}")
    };
    eprintln!("\nwrote {shown}:");
    for one in probed {
        let sample = &one.sample;
        match sample.outcome {
            Outcome::Failed => eprintln!(
                "  {}: the first probe failed: {}",
                one.name,
                text::failure(sample)
            ),
            _ => eprintln!("  {}: {}", one.name, text::success(sample)),
        }
    }
    eprintln!("\nnext:");
    if channel.is_none() {
        eprintln!("  edit {shown}: fill in [[email]] or [[webhook]], or nobody is notified");
    }
    eprintln!("  llmwatch{option} check         # what it means and costs; touches no network");
    if channel.is_some() {
        eprintln!("  llmwatch{option} test-alert    # whether alerts arrive");
    }
    eprintln!("  llmwatch{option} run           # then open http://127.0.0.1:8686/");
}
