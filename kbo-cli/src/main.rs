//! kbo: cold-consistent backups of Kafka clusters. This crate composes: it reads the command line and the configuration,
//! builds the cluster's transports and store, and shows what the orchestrator does.

mod args;
mod atomic;
mod commands;
mod compose;
mod environment;
mod hooks;
mod interrupt;
mod load;
mod logging;
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

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misused(&error),
    };
    if let Command::Agent = cli.command {
        return commands::agent::run();
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
    let code = runtime.block_on(commands::run(cli));
    // A prompt that was interrupted leaves a thread in a read of the terminal: do not wait for it.
    runtime.shutdown_background();
    ExitCode::from(code)
}
