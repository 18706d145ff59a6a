//! Where the passwords of stores come from: a file, a program, the environment; never a command line.

use std::process::Stdio;
use std::time::Duration;

use kbo_core::config::certs::PasswordSource;
use kbo_core::report::Outcome;
use kbo_core::secret::Secret;
use kbo_transport::ssh::read_passphrase;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::commands::Trouble;

/// How long a program may take: it may ask somebody.
const TO_ANSWER: Duration = Duration::from_secs(120);
/// More than any password.
const MOST_BYTES: u64 = 4096;

/// The password of `key`, such as `certs.password`.
pub(super) async fn read(source: &PasswordSource, key: &str) -> Result<Secret, Trouble> {
    let (secret, from) = match source {
        PasswordSource::File(path) => {
            let secret = read_passphrase(path).map_err(|error| {
                let trouble = refused(&format!("{key}_file"), &error.message);
                match &error.hint {
                    Some(hint) => trouble.hint(hint),
                    None => trouble,
                }
            })?;
            (secret, format!("{key}_file"))
        }
        PasswordSource::Command(words) => {
            let from = format!("{key}_command");
            (printed(words, &from).await?, from)
        }
        PasswordSource::Environment(name) => {
            let from = format!("{key}_env");
            let value = std::env::var(name).map_err(|_| {
                refused(&from, &format!("the environment has no {name}, or no text in it"))
                    .hint(format!("export {name}, or give {key}_file or {key}_command"))
            })?;
            (Secret::new(value), from)
        }
    };
    if secret.expose().is_empty() {
        return Err(refused(&from, "the password is empty"));
    }
    Ok(secret)
}

fn refused(from: &str, why: &str) -> Trouble {
    Trouble::new(Outcome::Usage, format!("{from}: {why}"))
}

/// The first line that a program prints. It is called without a shell; its errors go to stderr.
async fn printed(words: &[String], from: &str) -> Result<Secret, Trouble> {
    let Some((program, arguments)) = words.split_first() else {
        return Err(refused(from, "no program is named"));
    };
    // Its arguments may be secrets.
    let failed = |why: String| refused(from, &format!("{program} {why}"));
    let mut child = Command::new(program)
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(format!("cannot be started: {error}")))?;
    let mut text = zeroize::Zeroizing::new(Vec::with_capacity(4097));
    let stdout = child.stdout.take();
    let answered = async {
        if let Some(stdout) = stdout {
            stdout.take(MOST_BYTES + 1).read_to_end(&mut text).await?;
        }
        child.wait().await
    };
    let status = match tokio::time::timeout(TO_ANSWER, answered).await {
        Err(_) => return Err(failed(format!("did not end within {} s", TO_ANSWER.as_secs()))),
        Ok(status) => status.map_err(|error| failed(format!("cannot be read: {error}")))?,
    };
    if text.len() as u64 > MOST_BYTES {
        return Err(failed(format!(
            "printed more than {MOST_BYTES} bytes: that is no password"
        )));
    }
    if !status.success() {
        return Err(failed(format!("failed: {status}")));
    }
    let text = std::str::from_utf8(&text).map_err(|_| failed("printed no text in UTF-8".to_owned()))?;
    Ok(Secret::new(text.lines().next().unwrap_or_default()))
}
