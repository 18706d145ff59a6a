//! kbo: cold-consistent backups of Kafka clusters. This crate composes: it reads the command line and the configuration,
//! builds the cluster's transports and store, and shows what the orchestrator does.

mod args;
mod atomic;
mod commands;
mod compose;
mod environment;
mod given;
mod hooks;
mod interrupt;
mod load;
mod logging;
mod menu;
mod metrics;
mod output;
mod progress;
mod scheduler;
mod system_clock;
mod terminal;
mod written;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use kbo_core::report::Outcome;

/// Help and version are no misuse. Whoever asked for JSON gets a document for the rest as well.
fn misused(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    let code = error.exit_code();
    if code != 0 && std::env::args_os().any(|argument| argument == "--json") {
        output::json(&commands::Trouble::new(Outcome::Usage, error.kind().to_string()));
    }
    ExitCode::from(u8::try_from(code).unwrap_or(2))
}

/// Without a command a person gets the menu, and a script what it did wrong.
fn parsed() -> Result<Cli, clap::Error> {
    let error = match Cli::try_parse() {
        Err(error) if is_without_command(&error) && menu::is_possible() => error,
        parsed => return parsed,
    };
    let menu = std::env::args_os().chain(["menu".into()]);
    Cli::try_parse_from(menu)
        .ok()
        .filter(|cli| !cli.global.json)
        .ok_or(error)
}

fn is_without_command(error: &clap::Error) -> bool {
    use clap::error::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    )
}

fn main() -> ExitCode {
    let cli = match parsed() {
        Ok(cli) => cli,
        Err(error) => return misused(&error),
    };
    if let Command::Agent = cli.command {
        return commands::agent::run();
    }
    if let Command::StoreAgent = cli.command {
        return commands::agent::store();
    }
    if let Command::LogAgent(args) = &cli.command {
        return logging::file::serve(&args.file);
    }
    if let Command::Survey(args) = &cli.command {
        return commands::agent::survey(&args.socket);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::error_line(&format!("cannot start: {error}"));
            return ExitCode::from(1);
        }
    };
    let code = match cli.command {
        Command::Menu => menu::run(runtime.handle(), &cli.global),
        _ => runtime.block_on(commands::run(cli)),
    };
    // A prompt that was interrupted leaves a thread in a read of the terminal: do not wait for it.
    runtime.shutdown_background();
    logging::file::finish();
    match output::unwritten() {
        Some(why) if code == 0 => {
            output::error_line(&format!("kbo: the output could not be written: {why}"));
            ExitCode::from(1)
        }
        _ => ExitCode::from(code),
    }
}
