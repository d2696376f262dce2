//! How do shells and manuals learn about the program? Both are generated from the definition of the command line.

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use super::Cli;
use super::say::print;
use crate::error::{Error, Kind, Result};
use crate::job::did_you_mean;

/// The command line, without hidden commands.
fn command() -> Command {
    let whole = Cli::command();
    let hidden = |command: &Command| command.is_hide_set();
    let shown = whole.get_subcommands().filter(|c| !hidden(c)).cloned();
    let shown: Vec<Command> = shown.collect();
    let bare = Command::new("milvusdm")
        .version(env!("CARGO_PKG_VERSION"))
        .about(whole.get_about().cloned().unwrap_or_default());
    bare.args(whole.get_arguments().cloned()).subcommands(shown)
}

/// `milvusdm completions`: a script for a shell.
pub fn completions(shell: Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "milvusdm", &mut script);
    print(&String::from_utf8_lossy(&script))
}

/// `milvusdm man`: the page of the program, or of one of its commands.
pub fn man(of: Option<&str>) -> Result<()> {
    let mut program = command();
    // Propagates global flags to each command.
    program.build();
    let page = match of {
        None => program,
        Some(name) => {
            let found = program.find_subcommand(name).cloned();
            let Some(found) = found else {
                let names: Vec<&str> = program.get_subcommands().map(Command::get_name).collect();
                let hint = did_you_mean(name, &names);
                let hint = hint.unwrap_or_else(|| format!("there are {}", names.join(", ")));
                return Err(Error::new(Kind::Job, format!("unknown command `{name}`")).hint(hint));
            };
            found
                .display_name(format!("milvusdm-{name}"))
                .version(env!("CARGO_PKG_VERSION"))
        }
    };
    let mut text = Vec::new();
    let written = Man::new(page).manual("milvusdm").render(&mut text);
    written.map_err(|e| Error::new(Kind::Io, format!("cannot write the page: {e}")))?;
    print(&String::from_utf8_lossy(&text))
}
