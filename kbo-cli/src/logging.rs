//! Logs: to stderr as far as -v asks for, and to the configured file in full.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// Installs the subscriber.
pub(crate) fn start(verbose: u8, quiet: bool, file: Option<&Path>) -> anyhow::Result<()> {
    let level = match (quiet, verbose) {
        (true, _) => LevelFilter::ERROR,
        (false, 0) => LevelFilter::WARN,
        (false, 1) => LevelFilter::INFO,
        (false, _) => LevelFilter::DEBUG,
    };
    let stderr = fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false)
        .without_time()
        .with_filter(ours(level));
    let file = file.map(open).transpose()?;
    let file = file.map(|file| {
        fmt::layer()
            .with_writer(file)
            .with_ansi(false)
            .with_filter(ours(LevelFilter::DEBUG))
    });
    tracing_subscriber::registry().with(stderr).with(file).init();
    Ok(())
}

/// What kbo says, up to a level; of the libraries' only warnings, for what they say beyond (an engine's answers, say) may hold secrets.
fn ours(level: LevelFilter) -> Targets {
    Targets::new()
        .with_target("kbo", level)
        .with_default(level.min(LevelFilter::WARN))
}

fn open(path: &Path) -> anyhow::Result<Arc<File>> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {} for log.file", folder.display()))?;
    }
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    Ok(Arc::new(
        file.with_context(|| format!("cannot open log.file {}", path.display()))?,
    ))
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn libraries_are_heard_when_they_warn_and_not_when_they_chatter() {
        let file = ours(LevelFilter::DEBUG);
        for target in ["kbo", "kbo_core::orchestrator", "kbo_transport::local"] {
            assert!(file.would_enable(target, &Level::DEBUG), "{target}");
        }
        assert!(file.would_enable("bollard", &Level::WARN));
        assert!(!file.would_enable("bollard::docker", &Level::DEBUG));
        assert!(!ours(LevelFilter::ERROR).would_enable("bollard", &Level::WARN));
    }
}
