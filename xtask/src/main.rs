//! The project's tasks, run as `cargo xtask TASK`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tasks of the project")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// See kbo at work: a real cluster, a backup, a disaster, a restore, and proof (needs root).
    Demo(xtask::demo::Args),
    /// Run everything: formatting, lints, documentation, unit tests, and kbo on real clusters (those need root).
    Test(xtask::test::Args),
    /// Check what no compiler checks: crate edges, lints, licences, lengths, links.
    Tidy,
    /// Write docs/reference, the tables of commands and keys, from the code.
    Reference(xtask::reference::Args),
    /// Make the packages: static binary, manual pages, completions, units, examples, .tar.zst and .deb.
    Dist(xtask::dist::Args),
    /// Real Kafka clusters on this machine, to try kbo on (needs root).
    Lab {
        #[command(subcommand)]
        command: xtask::lab::Command,
    },
    /// Measure speed and memory against what the project promises (needs root for the parts on a real cluster).
    Bench(xtask::bench::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.task {
        Task::Demo(args) => xtask::demo::run(&args),
        Task::Test(args) => xtask::test::run(&args),
        Task::Tidy => xtask::tidy::run(),
        Task::Dist(args) => xtask::dist::run(&args),
        Task::Reference(args) => xtask::reference::run(&args),
        Task::Lab { command } => xtask::lab::run(command),
        Task::Bench(args) => xtask::bench::run(&args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            xtask::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
