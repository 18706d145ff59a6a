//! Speaking to systemd by its own programs.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::remove;

/// systemctl, and where systemd keeps when a timer last came.
pub(crate) struct Systemctl {
    program: PathBuf,
    stamps: PathBuf,
}

impl Default for Systemctl {
    fn default() -> Self {
        Self {
            program: "systemctl".into(),
            stamps: "/var/lib/systemd/timers".into(),
        }
    }
}

impl Systemctl {
    /// Takes a timer in use: with what its file says now, and from now on.
    pub(crate) fn enable(&self, timer: &str) -> anyhow::Result<()> {
        self.call(&["daemon-reload"])?;
        // A timer that catches up goes by when it last came: with another time it would come at once, in the middle of the day.
        let _ = self.call(&["stop", timer]);
        self.forget(timer)?;
        self.call(&["enable", "--now", timer])
    }

    /// Makes sure that a timer whose times are as they were is in use. It goes on by when it last came.
    pub(crate) fn keep(&self, timer: &str) -> anyhow::Result<()> {
        self.call(&["daemon-reload"])?;
        self.call(&["enable", "--now", timer])
    }

    /// Takes a timer out of use. What it has begun goes on.
    pub(crate) fn disable(&self, timer: &str) -> anyhow::Result<()> {
        self.call(&["disable", "--now", timer])
    }

    /// Has systemd see that the files of a timer have gone.
    pub(crate) fn reload(&self, timer: &str) -> anyhow::Result<()> {
        self.forget(timer)?;
        self.call(&["daemon-reload"])
    }

    /// When a timer last came is kept in a file of its own.
    fn forget(&self, timer: &str) -> anyhow::Result<()> {
        remove(&self.stamps.join(format!("stamp-{timer}"))).map(drop)
    }

    fn call(&self, arguments: &[&str]) -> anyhow::Result<()> {
        run(&self.program.display().to_string(), arguments).map(drop)
    }
}

fn run(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let called = format!("{program} {}", arguments.join(" "));
    let output = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        // The timers go by the machine's zone.
        .env_remove("TZ")
        .output()
        .with_context(|| format!("cannot run `{called}`"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    bail!("`{called}` failed ({}): {}", output.status, said.trim())
}

/// What systemd knows of a calendar expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Elapse {
    /// It comes next then.
    At(Timestamp),
    /// It does not come any more.
    Never,
    /// There is no systemd-analyze to ask.
    Unknown,
}

/// When an expression first comes after a time.
///
/// # Errors
/// systemd does not understand it.
pub(crate) fn next(expression: &str, after: Timestamp) -> anyhow::Result<Elapse> {
    let base = format!("--base-time=@{}", after.as_second());
    let arguments = ["calendar", "--iterations=1", &base, "--", expression];
    match run("systemd-analyze", &arguments) {
        Ok(text) => told(&text).with_context(|| format!("systemd-analyze said of {expression:?}: {text:?}")),
        Err(error) => match error.downcast_ref::<std::io::Error>() {
            Some(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(Elapse::Unknown),
            _ => Err(error),
        },
    }
}

/// `Next elapse: Fri 2026-11-27 03:00:00 UTC`, or that of another zone and below it `(in UTC): …`.
fn told(text: &str) -> Option<Elapse> {
    let values = text.lines().filter_map(|line| {
        let (key, value) = line.split_once(": ")?;
        matches!(key.trim(), "Next elapse" | "(in UTC)").then_some(value.trim())
    });
    let mut found = None;
    for value in values {
        if value == "never" {
            return Some(Elapse::Never);
        }
        if let Some(time) = value.strip_suffix(" UTC").and_then(|value| value.split_once(' ')) {
            let seconds = time.1.get(..19)?;
            let civil = DateTime::strptime("%Y-%m-%d %H:%M:%S", seconds).ok()?;
            found = Some(Elapse::At(civil.to_zoned(TimeZone::UTC).ok()?.timestamp()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use kbo_core::schedule::Cron;

    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn what_systemd_says_is_understood_in_every_zone() {
        let at = Some(Elapse::At(time("2026-11-27T02:00:00Z")));
        assert_eq!(
            told(
                "  Original form: Fri 03:00\n    Next elapse: Fri 2026-11-27 03:00:00 CET\n       (in UTC): Fri 2026-11-27 02:00:00 UTC\n       From now: 2 days left\n"
            ),
            at
        );
        assert_eq!(
            told("Normalized form: Fri *-*-* 02:00:00 UTC\n    Next elapse: Fri 2026-11-27 02:00:00 UTC\n"),
            at
        );
        assert_eq!(told("    Next elapse: never\n"), Some(Elapse::Never));
        assert_eq!(told("nonsense"), None);
    }

    #[test]
    fn systemd_itself_is_asked_and_its_refusal_is_passed_on() {
        let after = time("2026-11-25T12:00:00Z");
        assert_eq!(
            next("Fri 02:00 UTC", after).unwrap(),
            Elapse::At(time("2026-11-27T02:00:00Z"))
        );
        assert_eq!(next("2020-01-01", after).unwrap(), Elapse::Never);
        let error = format!("{:#}", next("every now and then", after).unwrap_err());
        assert!(
            error.contains("every now and then") && error.contains("Failed to parse"),
            "{error}"
        );
    }

    /// A systemctl that notes what it is called with, and fails where it is told to.
    fn noting(folder: &std::path::Path, failing: &str) -> Systemctl {
        use std::os::unix::fs::PermissionsExt;
        let program = folder.join("systemctl");
        let calls = folder.join("calls");
        let script = format!(
            "#!/bin/sh\necho \"$*\" >> {}\ncase \"$1\" in {failing}) echo \"no such unit\" >&2; exit 5;; esac\n",
            calls.display()
        );
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        Systemctl {
            program,
            stamps: folder.to_owned(),
        }
    }

    #[test]
    fn a_timer_with_another_time_forgets_when_it_came_before_it_is_started() {
        let temp = tempfile::tempdir().unwrap();
        let stamp = temp.path().join("stamp-kbo-dev-cluster.timer");
        std::fs::write(&stamp, "").unwrap();
        // A timer that does not run yet cannot be stopped, which is no failure.
        noting(temp.path(), "stop").enable("kbo-dev-cluster.timer").unwrap();
        let calls = std::fs::read_to_string(temp.path().join("calls")).unwrap();
        let timer = "kbo-dev-cluster.timer";
        assert_eq!(calls, format!("daemon-reload\nstop {timer}\nenable --now {timer}\n"));
        assert!(!stamp.exists());
    }

    #[test]
    fn a_timer_with_the_same_times_is_neither_stopped_nor_forgets_when_it_came() {
        let temp = tempfile::tempdir().unwrap();
        let stamp = temp.path().join("stamp-kbo-dev-cluster.timer");
        std::fs::write(&stamp, "").unwrap();
        noting(temp.path(), "stop").keep("kbo-dev-cluster.timer").unwrap();
        let calls = std::fs::read_to_string(temp.path().join("calls")).unwrap();
        assert_eq!(calls, "daemon-reload\nenable --now kbo-dev-cluster.timer\n");
        assert!(stamp.exists());
    }

    #[test]
    fn what_systemctl_refuses_is_told_with_the_call_and_its_words() {
        let temp = tempfile::tempdir().unwrap();
        let systemctl = noting(temp.path(), "enable|disable");
        for error in [systemctl.enable("x.timer"), systemctl.disable("x.timer")] {
            let error = format!("{:#}", error.unwrap_err());
            assert!(
                error.contains("able --now x.timer` failed") && error.contains("no such unit"),
                "{error}"
            );
        }
    }

    /// What systemd makes of the lines for it is what the cron line means.
    #[test]
    fn systemd_comes_when_cron_would() {
        let after = time("2026-11-25T12:34:00Z");
        let lines = [
            "0 3 * * *",
            "*/7 * * * *",
            "0 3 * * mon-fri",
            "30 4 1,15 * 5",
            "0 0 29 2 *",
            "5 3 */2 * 1",
            "0 12 */10 3-9/2 sun,wed",
            "59 23 31 12 7",
            "0 0 * * 5-7",
            "10-50/20 1-5,20 * nov,dec *",
            "15 0 30 * 2",
            "@weekly",
            "@monthly",
            "0 12 1-31 * 2",
        ];
        for line in lines {
            let cron: Cron = line.parse().unwrap();
            let (mut by_cron, mut by_systemd) = (after, after);
            for _ in 0..4 {
                by_cron = cron.next(by_cron, &TimeZone::UTC).unwrap();
                let elapses = cron.on_calendar().into_iter().map(|expression| {
                    match next(&format!("{expression} UTC"), by_systemd).unwrap() {
                        Elapse::At(at) => at,
                        other => panic!("{line}: {expression}: {other:?}"),
                    }
                });
                by_systemd = elapses.min().unwrap();
                assert_eq!(by_cron, by_systemd, "{line}");
            }
        }
    }
}
