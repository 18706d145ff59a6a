//! `kbo agent`: serves the node that it runs on.

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
