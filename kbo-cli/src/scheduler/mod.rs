//! Who begins scheduled runs, systemd or cron, and the files by which they are told.

pub(crate) mod systemd;
pub(crate) mod users;

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::ValueEnum;
use jiff::tz::TimeZone;
use kbo_core::ids::ClusterName;
use kbo_core::schedule::{Job, Schedule, Unrenderable};
use serde::Serialize;

use crate::atomic;

/// Who begins scheduled runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scheduler {
    /// A service and a timer in /etc/systemd/system.
    Systemd,
    /// A file in /etc/cron.d.
    Cron,
}

impl fmt::Display for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scheduler::Systemd => "systemd",
            Scheduler::Cron => "cron",
        })
    }
}

impl Scheduler {
    /// The one of this machine.
    pub(crate) fn of_machine() -> Self {
        // The folder is how systemd itself tells; a container may see that of its host, so the name of PID 1 counts as well.
        let booted = Path::new("/run/systemd/system").is_dir();
        let is_first = fs::read_to_string("/proc/1/comm").map_or(true, |name| name.trim() == "systemd");
        if booted && is_first {
            Scheduler::Systemd
        } else {
            Scheduler::Cron
        }
    }
}

/// Where the files are: on this machine, or below the folder of an image.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    root: PathBuf,
    is_image: bool,
}

/// A schedule that is installed.
#[derive(Debug, Clone)]
pub(crate) struct Installed {
    pub(crate) schedule: Schedule,
    pub(crate) scheduler: Scheduler,
    /// Its files, that of the timer or of cron first.
    pub(crate) files: Vec<PathBuf>,
}

/// A file that kbo has made, of a schedule that it does not understand.
#[derive(Debug, Clone)]
pub(crate) struct Unclear {
    /// What the schedule is called, by the name of the file.
    pub(crate) name: String,
    pub(crate) stem: String,
    pub(crate) scheduler: Scheduler,
    pub(crate) path: PathBuf,
}

impl Place {
    pub(crate) fn at(root: Option<&Path>) -> Self {
        Self {
            root: root.unwrap_or(Path::new("/")).to_owned(),
            is_image: root.is_some(),
        }
    }

    /// Whether the machine that the files are for is another one, whose scheduler cannot be spoken to.
    pub(crate) fn is_image(&self) -> bool {
        self.is_image
    }

    fn folder(&self, scheduler: Scheduler) -> PathBuf {
        self.root.join(match scheduler {
            Scheduler::Systemd => "etc/systemd/system",
            Scheduler::Cron => "etc/cron.d",
        })
    }

    /// The files of a schedule, that of the timer or of cron first.
    pub(crate) fn paths(&self, scheduler: Scheduler, stem: &str) -> Vec<PathBuf> {
        let folder = self.folder(scheduler);
        match scheduler {
            Scheduler::Systemd => vec![
                folder.join(format!("{stem}.timer")),
                folder.join(format!("{stem}.service")),
            ],
            Scheduler::Cron => vec![folder.join(stem)],
        }
    }

    /// The files of a schedule with what stands in them, in the order of [`Place::paths`].
    pub(crate) fn files(&self, scheduler: Scheduler, job: &Job) -> Result<Vec<(PathBuf, String)>, Unrenderable> {
        let texts = match scheduler {
            Scheduler::Systemd => vec![job.timer()?, job.service()?],
            Scheduler::Cron => vec![job.crontab()?],
        };
        Ok(self
            .paths(scheduler, &job.schedule.stem())
            .into_iter()
            .zip(texts)
            .collect())
    }

    /// A file as the run will find it.
    pub(crate) fn of_run(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The schedules of a cluster, by name; and what looks like one and cannot be read.
    pub(crate) fn installed(&self, cluster: &ClusterName) -> (Vec<Installed>, Vec<String>) {
        let (found, _, troubles) = self.all(cluster);
        (found, troubles)
    }

    /// The same, and the files that kbo has made and does not understand, by whose names they could be this cluster's.
    pub(crate) fn all(&self, cluster: &ClusterName) -> (Vec<Installed>, Vec<Unclear>, Vec<String>) {
        let (mut found, mut unclear, mut troubles) = (vec![], vec![], vec![]);
        let beginning = format!("{}-", Schedule::stem_of(cluster));
        for scheduler in [Scheduler::Systemd, Scheduler::Cron] {
            for path in self.candidates(scheduler, &mut troubles) {
                match read(&path) {
                    Ok(Held::Ours(schedule)) if schedule.cluster == *cluster => {
                        let files = self.paths(scheduler, &schedule.stem());
                        found.push(Installed {
                            schedule: *schedule,
                            scheduler,
                            files,
                        });
                    }
                    Ok(Held::Unclear(why)) => {
                        troubles.push(format!("{}: {why}", path.display()));
                        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
                        if let Some(name) = stem.strip_prefix(&beginning) {
                            unclear.push(Unclear {
                                name: name.to_owned(),
                                stem: stem.to_owned(),
                                scheduler,
                                path: path.clone(),
                            });
                        }
                    }
                    Ok(_) => {}
                    Err(error) => troubles.push(format!("cannot read {}: {error}", path.display())),
                }
            }
        }
        found.sort_by(|a, b| a.schedule.name.cmp(&b.schedule.name));
        unclear.sort_by(|a, b| a.name.cmp(&b.name));
        (found, unclear, troubles)
    }

    fn candidates(&self, scheduler: Scheduler, troubles: &mut Vec<String>) -> Vec<PathBuf> {
        let folder = self.folder(scheduler);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return vec![],
            Err(error) => {
                troubles.push(format!("cannot read {}: {error}", folder.display()));
                return vec![];
            }
        };
        let ending = match scheduler {
            Scheduler::Systemd => Some("timer"),
            Scheduler::Cron => None,
        };
        let paths = entries.flatten().map(|entry| entry.path());
        paths
            .filter(|path| path.extension().and_then(|ending| ending.to_str()) == ending)
            .filter(|path| {
                path.file_name()
                    .is_some_and(|name| name.as_encoded_bytes().starts_with(b"kbo-"))
            })
            .collect()
    }
}

/// What a file is.
#[derive(Debug)]
pub(crate) enum Held {
    /// There is none.
    Nothing,
    /// A schedule, and the whole text.
    Ours(Box<Schedule>),
    /// A schedule that this kbo does not understand.
    Unclear(String),
    /// A file of somebody else's.
    Foreign,
}

/// What a file is, by what stands in it.
pub(crate) fn read(path: &Path) -> io::Result<Held> {
    const LONGEST: u64 = 1 << 16;
    let file = match fs::metadata(path) {
        // A pipe would be waited for.
        Ok(seen) if !seen.is_file() => return Ok(Held::Foreign),
        Ok(_) => File::open(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Held::Nothing),
        Err(error) => return Err(error),
    };
    let mut bytes = vec![];
    file.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(match Schedule::read(&String::from_utf8_lossy(&bytes)) {
        None => Held::Foreign,
        Some(Ok(schedule)) => Held::Ours(Box::new(schedule)),
        Some(Err(why)) => Held::Unclear(format!("the line that tells the schedule is not understood: {why}")),
    })
}

/// Writes a file of a schedule; cron takes none that others than root may write.
pub(crate) fn write(path: &Path, text: &str, make_folder: bool) -> anyhow::Result<()> {
    let context = || format!("cannot write {}", path.display());
    if let Some(folder) = path.parent().filter(|folder| !folder.is_dir()) {
        if !make_folder {
            bail!(
                "cannot write {}: there is no {}; is its scheduler installed?",
                path.display(),
                folder.display()
            );
        }
        fs::create_dir_all(folder).with_context(context)?;
    }
    atomic::replace(path, text, 0o644).with_context(context)
}

/// Removes a file; whether it was there.
pub(crate) fn remove(path: &Path) -> anyhow::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot remove {}", path.display())),
    }
}

/// The zone of this machine, by which timers and cron go; `TZ` is that of a shell.
pub(crate) fn zone() -> TimeZone {
    if std::env::var_os("TZ").is_none() {
        return TimeZone::system();
    }
    let Ok(file) = fs::canonicalize("/etc/localtime") else {
        return TimeZone::UTC;
    };
    let file = file.display().to_string();
    let name = file.split_once("zoneinfo/").map(|(_, name)| name);
    name.and_then(|name| TimeZone::get(name).ok())
        .unwrap_or_else(TimeZone::system)
}

/// Whether a cron runs on this machine.
pub(crate) fn has_cron() -> bool {
    const NAMES: [&str; 5] = ["cron", "crond", "cronie", "fcron", "systemd-cron"];
    let Ok(processes) = fs::read_dir("/proc") else {
        return true;
    };
    let names = processes
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path().join("comm")).ok());
    names.into_iter().any(|name| NAMES.contains(&name.trim()))
}
