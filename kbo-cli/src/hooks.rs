//! Running hooks: bounded in time, ended with kbo, and deaf to nothing that they are told.

use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use kbo_core::cancel::{Cancel, Urgency};
use kbo_core::config::hooks::{HookCommand, Hooks, Moment};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

/// By this variable a kbo knows that a hook has called it.
const CALLED_BY_HOOK: &str = "KBO_RUN_HOOK";

/// How long a hook that is told to end has for it.
const TO_END: Duration = Duration::from_secs(5);

/// A hook that ran.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct HookRun {
    hook: Moment,
    /// Which of that moment's, counted from one.
    number: usize,
    /// What was called; its arguments may be secrets.
    program: String,
    seconds: f64,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<String>,
}

impl fmt::Display for HookRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failure = self.failure.as_deref().unwrap_or("done");
        write!(
            f,
            "hooks.{} number {} ({}): {failure}",
            self.hook.as_str(),
            self.number,
            self.program
        )
    }
}

/// What hooks are told.
pub(crate) struct Facts {
    /// In environment variables; never one that is unset.
    pub(crate) variables: Vec<(&'static str, String)>,
    /// On standard input.
    pub(crate) document: String,
}

/// Runs the hooks of a moment one after the other. After a failing `before` hook the others do not run.
///
/// They are ended when `cancel` becomes as urgent as `end_at`.
pub(crate) async fn run(
    hooks: &Hooks,
    moment: Moment,
    facts: &Facts,
    cancel: &Cancel,
    end_at: Urgency,
) -> Vec<HookRun> {
    let commands = hooks.of(moment);
    if commands.is_empty() {
        return vec![];
    }
    if std::env::var_os(CALLED_BY_HOOK).is_some() {
        tracing::info!("a hook has called this kbo: its own hooks do not run");
        return vec![];
    }
    let mut runs = vec![];
    for (at, command) in commands.iter().enumerate() {
        let begun = Instant::now();
        let failure = one(command, moment, facts, hooks.timeout, cancel.reached(end_at))
            .await
            .err();
        let run = HookRun {
            hook: moment,
            number: at + 1,
            program: command.0.first().cloned().unwrap_or_default(),
            seconds: begun.elapsed().as_secs_f64(),
            failure,
        };
        // What failed is said with the report.
        tracing::info!("{run}");
        let refuses = moment == Moment::Before && run.failure.is_some();
        runs.push(run);
        if refuses {
            break;
        }
    }
    runs
}

async fn one(
    command: &HookCommand,
    moment: Moment,
    facts: &Facts,
    timeout: Duration,
    ended: impl Future<Output = ()>,
) -> Result<(), String> {
    let mut child = spawn(command, moment, facts).map_err(|error| format!("cannot be started: {error}"))?;
    let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    // Beside the waiting, for a hook need not read it.
    let document = facts.document.clone().into_bytes();
    let writing = child.stdin.take().map(|mut stdin| {
        tokio::spawn(async move {
            // A reader that goes away has read what it wanted.
            let _ = stdin.write_all(&document).await;
        })
    });
    let result = tokio::select! {
        status = child.wait() => judged(status),
        () = tokio::time::sleep(timeout) => {
            end(&mut child, group).await;
            Err(format!("did not end within {} s, and was ended", timeout.as_secs()))
        }
        () = ended => {
            end(&mut child, group).await;
            Err("was ended, for kbo was interrupted".to_owned())
        }
    };
    if let Some(writing) = writing {
        writing.abort();
    }
    result
}

fn spawn(command: &HookCommand, moment: Moment, facts: &Facts) -> io::Result<Child> {
    let (program, arguments) = command.0.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let variables = facts
        .variables
        .iter()
        .map(|(name, value)| (*name, value.replace('\0', "")));
    Command::new(program)
        .args(arguments)
        .env(CALLED_BY_HOOK, moment.as_str())
        .envs(variables)
        .stdin(Stdio::piped())
        // Standard output belongs to kbo's own document.
        .stdout(Stdio::from(io::stderr()))
        .stderr(Stdio::inherit())
        // A group of its own: Ctrl-C on the terminal is for kbo, and what the hook starts ends with it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

fn judged(status: io::Result<ExitStatus>) -> Result<(), String> {
    let status = status.map_err(|error| format!("cannot be waited for: {error}"))?;
    match (status.success(), status.code(), status.signal()) {
        (true, ..) => Ok(()),
        (false, Some(code), _) => Err(format!("exit code {code}")),
        (false, None, Some(signal)) => Err(format!("killed by signal {signal}")),
        (false, None, None) => Err(status.to_string()),
    }
}

/// Ends a hook and what it has started: asked first, then killed.
async fn end(child: &mut Child, group: Option<Pid>) {
    let Some(group) = group else { return };
    let _ = kill_process_group(group, Signal::TERM);
    let _ = tokio::time::timeout(TO_END, child.wait()).await;
    // What is left of the group, even where its leader has gone.
    let _ = kill_process_group(group, Signal::KILL);
    let _ = child.wait().await;
}
