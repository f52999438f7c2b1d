//! `llmwatch man` and `llmwatch completions`: generated from the definition of the command line.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Exit, note};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: llmwatch completions bash > /etc/bash_completion.d/llmwatch")]
pub(super) struct CompletionsArgs {
    /// Shell to complete for
    shell: Shell,
}

pub(super) fn completions(args: &CompletionsArgs) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "llmwatch", &mut script);
    data(&script)
}

pub(super) fn man() -> Exit {
    // Without the commit, so that each release always generates the same page.
    Ok(data(&page(
        Cli::command().version(env!("CARGO_PKG_VERSION")),
    )?))
}

/// Generates the manual page: the subcommands with their options, the exit codes, the files.
fn page(mut command: Command) -> io::Result<Vec<u8>> {
    // Only `build` determines the number of values of an argument, and so its notation.
    command.build();
    let mut verbs = String::from(".SH COMMANDS\n");
    for verb in command.get_subcommands().filter(|v| shown(v)) {
        describe(&mut verbs, verb, "");
    }
    let man = clap_mangen::Man::new(command);
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    page.extend_from_slice(verbs.as_bytes());
    page.extend_from_slice(include_bytes!("manual.roff"));
    Ok(page)
}

/// Describes one subcommand with its arguments and its own subcommands.
fn describe(page: &mut String, verb: &Command, above: &str) {
    let name = format!("{above}{}", verb.get_name());
    let about = verb
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default();
    let (operands, options): (Vec<_>, Vec<_>) = verb
        .get_arguments()
        .filter(|a| !a.is_hide_set() && !a.is_global_set() && a.get_id() != "help")
        .partition(|a| a.is_positional());
    *page += &format!(".TP\n\\fB{}\\fR", escape(&name));
    for operand in operands {
        let _ = write!(page, " \\fI{}\\fR", escape(&operand.to_string()));
    }
    let _ = writeln!(page, "\n{}.", escape(&about));
    for option in options {
        let help = option
            .get_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        let _ = writeln!(
            page,
            ".RS\n.TP\n\\fB{}\\fR\n{}.\n.RE",
            escape(&option.to_string()),
            escape(&help)
        );
    }
    for below in verb.get_subcommands().filter(|v| shown(v)) {
        describe(page, below, &format!("{name} "));
    }
}

fn shown(verb: &Command) -> bool {
    !verb.is_hide_set() && verb.get_name() != "help"
}

/// Escapes roff: a backslash anywhere, and a dot or an apostrophe at the start of a line.
fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) {
        format!("\\&{text}")
    } else {
        text
    }
}

/// Writes to stdout. A closed pipe is not an error.
fn data(bytes: &[u8]) -> u8 {
    let mut stdout = io::stdout();
    note(stdout.write_all(bytes).and_then(|()| stdout.flush()));
    0
}
