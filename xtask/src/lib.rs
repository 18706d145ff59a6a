//! The project's tasks; the command line is in `main.rs`.

pub mod bench;
pub mod demo;
pub mod dist;
mod e2e;
pub mod lab;
pub mod reference;
#[path = "../../kbo-cli/tests/scene/terminal.rs"]
#[expect(dead_code, reason = "the tests of kbo-cli, which share it, use the rest")]
mod terminal;
pub mod test;
pub mod tidy;

/// Progress and errors of the tasks go to stderr, so that stdout stays a command's own output.
#[expect(clippy::print_stderr, reason = "a task speaks to the person who started it")]
pub fn say(line: &str) {
    eprintln!("{line}");
}

/// A line of a command's own output.
#[expect(clippy::print_stdout, reason = "the output of a task")]
pub fn print(line: &str) {
    println!("{line}");
}

/// The workspace's `target` directory.
fn target_dir() -> anyhow::Result<std::path::PathBuf> {
    Ok(lab::workspace()?.join("target"))
}
