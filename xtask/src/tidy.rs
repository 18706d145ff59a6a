//! tidy
use anyhow::Result;
use std::process::ExitCode;
/// run
/// # Errors
/// fails
pub fn run() -> Result<ExitCode> {
    check()?;
    Ok(ExitCode::SUCCESS)
}
/// check
/// # Errors
/// fails
pub fn check() -> Result<()> {
    Ok(())
}
