//! `kbo agent`: serves the node that it runs on.

use std::path::Path;
use std::process::ExitCode;

use kbo_transport::agent::{AgentLimits, serve_stdio};

/// Says what the engine of this machine has, in one line.
pub(crate) fn survey(socket: &str) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            crate::output::error_line(&format!("the survey cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    crate::output::line(&runtime.block_on(kbo_transport::survey::answer(socket)));
    ExitCode::SUCCESS
}

/// Works on the store's disk until the other end is gone, and ends at once then.
pub(crate) fn store() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            crate::output::error_line(&format!("the store's process cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .with_ansi(false)
        .with_level(false)
        .with_target(false)
        .without_time()
        .init();
    let replace = |path: &Path, text: &str| {
        // Who reads it is another user, and a service's umask lets no other in.
        crate::atomic::make_folder(path.parent().unwrap_or(Path::new("/")), 0o755, None)?;
        crate::atomic::replace(path, text, 0o644)
    };
    let served = runtime.block_on(kbo_archive::store::serve(std::io::stdin(), std::io::stdout(), replace));
    // Threads may be left in system calls that do not end before the disk answers.
    std::process::exit(i32::from(served.is_err()));
}

/// Serves until the other end says goodbye or, left alone, until what it left undone is undone.
pub(crate) fn run() -> ExitCode {
    let level = tracing_subscriber::filter::LevelFilter::WARN;
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(level)
        .with_ansi(false)
        .without_time()
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            crate::output::error_line(&format!("the agent cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(serve_stdio(AgentLimits::default()));
    if let Err(error) = &result {
        crate::output::error_line(&error.to_string());
    }
    // A thread may be left in a read of standard input, which nothing would end.
    std::process::exit(i32::from(result.is_err()));
}
