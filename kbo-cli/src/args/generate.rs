//! Arguments of what is made from the command line and the configuration themselves.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use clap_complete::Shell;

#[derive(Debug, Args)]
#[command(after_help = "bash: kbo completions bash > /etc/bash_completion.d/kbo
zsh:  kbo completions zsh > /usr/local/share/zsh/site-functions/_kbo
fish: kbo completions fish > ~/.config/fish/completions/kbo.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// What to write
    #[arg(value_enum)]
    pub(crate) what: Generated,
    /// The folder to write to; made where there is none
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
}

/// What can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Generated {
    /// A manual page for each command.
    Man,
    /// Completions for bash, zsh and fish.
    Completions,
    /// Tables of commands and keys in Markdown, and the JSON schema of kbo.toml.
    Reference,
}
