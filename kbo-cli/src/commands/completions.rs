//! `kbo completions`

use clap::CommandFactory;
use clap_complete::Shell;
use kbo_core::report::Outcome;
use serde::Serialize;

use super::Ended;
use crate::args::{Cli, CompletionsArgs};
use crate::output;

#[derive(Serialize)]
struct Document {
    outcome: Outcome,
    shell: String,
    script: String,
}

pub(super) fn run(args: &CompletionsArgs, json: bool) -> Ended {
    let script = script(args.shell);
    if json {
        output::json(&Document {
            outcome: Outcome::Done,
            shell: args.shell.to_string(),
            script,
        });
    } else {
        output::line(script.trim_end());
    }
    Ok(Outcome::Done)
}

/// The script with which the shell completes kbo's commands and options.
pub(super) fn script(shell: Shell) -> String {
    let whole = Cli::command();
    // clap_complete would offer hidden commands as well.
    let shown = whole.get_subcommands().filter(|command| !command.is_hide_set());
    let mut shown = clap::Command::new("kbo")
        .version(env!("CARGO_PKG_VERSION"))
        .args(whole.get_arguments().cloned())
        .subcommands(shown.cloned());
    let mut bytes = vec![];
    clap_complete::generate(shell, &mut shown, "kbo", &mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}
