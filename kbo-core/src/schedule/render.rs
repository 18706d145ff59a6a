//! The files of a schedule: a service and a timer of systemd, or a file for /etc/cron.d.

use std::path::{Path, PathBuf};

use super::Schedule;
use crate::manifest::BackupKind;

/// What the files of a schedule cannot say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unrenderable(pub(super) String);

/// A schedule and what its files must tell of this machine.
#[derive(Debug, Clone)]
pub struct Job {
    /// The schedule.
    pub schedule: Schedule,
    /// The kbo that runs.
    pub program: PathBuf,
    /// Folders that it writes to.
    pub writable: Vec<PathBuf>,
    /// Further files and folders that it reads.
    pub readable: Vec<PathBuf>,
    /// Whether a node is this very machine: then kbo's agent works here on files of other users.
    pub has_local_node: bool,
}

/// How long a scheduled backup waits for another run. Every night's and every hour's are due at the same moment once a day, and
/// neither may be lost for that.
const WAIT_SECONDS: u32 = 3600;

/// cron gives less than this.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Longer commands are cut off by some crons.
const LONGEST_COMMAND: usize = 990;

/// What a service is not to do, where all it works on is the store and the network.
const HARDENING: &str = "\
NoNewPrivileges=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
";

/// The same again; kbo's agent copies the modes of files of other users, these among them.
const HARDENING_WITHOUT_LOCAL_NODES: &str = "\
RestrictSUIDSGID=yes
CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_KILL CAP_SETGID CAP_SETUID
";

impl Job {
    fn arguments(&self, options: &[&str]) -> Result<Vec<String>, Unrenderable> {
        let only = match self.schedule.kind {
            BackupKind::Cluster => None,
            kind => Some(kind.as_str()),
        };
        let config = utf8(&self.schedule.config)?;
        let wait = WAIT_SECONDS.to_string();
        let mut arguments = vec![utf8(&self.program)?, "--config", config];
        arguments.extend(options);
        arguments.push("backup");
        arguments.extend(only.iter().flat_map(|only| ["--only", only]));
        arguments.extend(["--wait", &wait, "--schedule", self.schedule.name.as_str()]);
        Ok(arguments.into_iter().map(str::to_owned).collect())
    }

    fn unit_command(&self) -> Result<String, Unrenderable> {
        let arguments = self.arguments(&[])?;
        let program = utf8(&self.program)?;
        // systemd takes these in arguments, quoted, and not in the name of what it runs; nor does it look for variables there.
        if program.contains(['"', '\'', '\\']) {
            let why = format!(
                "systemd runs no program with a quote or a backslash in its path: {program}; name another with --program"
            );
            return Err(Unrenderable(why));
        }
        let rest = arguments.iter().skip(1).map(|word| unit_word(word, true));
        let words: Vec<String> = std::iter::once(unit_word(program, false)).chain(rest).collect();
        Ok(words.join(" "))
    }

    fn title(&self) -> String {
        let what = match self.schedule.kind {
            BackupKind::Cluster => "Backup",
            BackupKind::Config => "Backup of the configuration",
            BackupKind::Data => "Backup of the data",
        };
        format!("{what} of Kafka cluster {}", self.schedule.cluster)
    }

    /// The service.
    ///
    /// # Errors
    /// A path that systemd cannot be told.
    pub fn service(&self) -> Result<String, Unrenderable> {
        let writable = paths(&self.writable)?;
        let mounts = paths(&self.all_paths())?;
        let private_tmp = match self.all_paths().iter().any(|path| is_temporary(path)) {
            true => "no",
            false => "yes",
        };
        let more = if self.has_local_node {
            ""
        } else {
            HARDENING_WITHOUT_LOCAL_NODES
        };
        Ok(format!(
            "# Made by `kbo schedule install`, which makes it anew; `kbo schedule remove` takes it away.\n\
             {mark}\
             [Unit]\n\
             Description={title}\n\
             Wants=network-online.target\n\
             After=network-online.target\n\
             RequiresMountsFor={mounts}\n\
             \n\
             [Service]\n\
             Type=oneshot\n\
             User={user}\n\
             ExecStart={command}\n\
             TimeoutStartSec=infinity\n\
             # Asked to stop, kbo starts again what it has stopped; that takes as long as the cluster does.\n\
             # Only kbo itself is signalled: with KillMode=mixed systemd would send SIGKILL to all that is left of the unit as soon as\n\
             # kbo is gone, to the agent of a node on this machine as well, which undoes its part of the run when kbo has died.\n\
             KillMode=process\n\
             TimeoutStopSec=30min\n\
             UMask=0077\n\
             \n\
             # The folders of the store, the log and the metrics.\n\
             ReadWritePaths={writable}\n\
             ProtectSystem=strict\n\
             ProtectHome=read-only\n\
             PrivateTmp={private_tmp}\n\
             {HARDENING}{more}",
            mark = self.schedule.mark()?,
            title = self.title(),
            user = self.schedule.user,
            command = self.unit_command()?,
        ))
    }

    /// The timer.
    ///
    /// # Errors
    /// As those of [`Job::service`].
    pub fn timer(&self) -> Result<String, Unrenderable> {
        let calendar: String = self
            .schedule
            .when
            .on_calendar()
            .iter()
            .map(|line| format!("OnCalendar={line}\n"))
            .collect();
        Ok(format!(
            "# Made by `kbo schedule install`, which makes it anew; `kbo schedule remove` takes it away.\n\
             {mark}\
             [Unit]\n\
             Description={title} ({name})\n\
             \n\
             [Timer]\n\
             {calendar}\
             AccuracySec=1s\n\
             # A machine that was off at its time runs it once it is on.\n\
             Persistent=true\n\
             \n\
             [Install]\n\
             WantedBy=timers.target\n",
            mark = self.schedule.mark()?,
            title = self.title(),
            name = self.schedule.name,
        ))
    }

    /// The file for /etc/cron.d.
    ///
    /// # Errors
    /// A calendar expression of systemd, which no cron understands; a path that cron cannot be told.
    pub fn crontab(&self) -> Result<String, Unrenderable> {
        let crons = self.schedule.when.crons();
        let crons =
            crons.ok_or_else(|| Unrenderable("cron does not know calendar expressions of systemd".to_owned()))?;
        let command: Vec<String> = self
            .arguments(&["--quiet"])?
            .iter()
            .map(|word| shell_word(word))
            .collect();
        let command = command.join(" ");
        if command.len() > LONGEST_COMMAND {
            let why = format!(
                "the command has {} characters, and cron takes {LONGEST_COMMAND}: use shorter paths",
                command.len()
            );
            return Err(Unrenderable(why));
        }
        let lines: String = crons
            .iter()
            .map(|cron| format!("{cron} {} {command}\n", self.schedule.user))
            .collect();
        Ok(format!(
            "# {title}. Made by `kbo schedule install`, which makes it anew; `kbo schedule remove` takes it away.\n\
             {mark}\
             SHELL=/bin/sh\n\
             PATH={PATH}\n\
             {lines}",
            title = self.title(),
            mark = self.schedule.mark()?,
        ))
    }

    fn all_paths(&self) -> Vec<PathBuf> {
        let config = self.schedule.config.clone();
        let mut all: Vec<PathBuf> = self
            .writable
            .iter()
            .chain(&self.readable)
            .cloned()
            .chain([config])
            .collect();
        all.sort();
        all.dedup();
        all
    }
}

/// `PrivateTmp=` would hide it.
fn is_temporary(path: &Path) -> bool {
    path.starts_with("/tmp") || path.starts_with("/var/tmp")
}

/// Neither systemd nor cron can be told of others.
fn utf8(path: &Path) -> Result<&str, Unrenderable> {
    match path.to_str() {
        Some(text) if path.is_absolute() && !text.contains(char::is_control) => Ok(text),
        _ => Err(Unrenderable(format!(
            "{path:?} cannot stand in a schedule: it has to be an absolute path of printable characters"
        ))),
    }
}

fn paths(paths: &[PathBuf]) -> Result<String, Unrenderable> {
    let words = paths.iter().map(|path| Ok(unit_word(utf8(path)?, false)));
    Ok(words.collect::<Result<Vec<_>, Unrenderable>>()?.join(" "))
}

/// A word of a unit file: quoted where it must be, and no specifier. `$` begins a variable in commands only.
fn unit_word(word: &str, in_command: bool) -> String {
    let word = word.replace('%', "%%");
    let word = if in_command { word.replace('$', "$$") } else { word };
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._+:@=,-%$".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word;
    }
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A word of a command in a crontab: quoted for the shell, and `%` for cron, which else takes it for a line break.
fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._+:@=,-".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''")).replace('%', "\\%")
}
