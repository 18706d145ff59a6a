//! `kbo schedule install`

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use kbo_core::config::{Access, Config};
use kbo_core::report::Outcome;
use kbo_core::schedule::{Job, Schedule, ScheduleName, When};
use serde::Serialize;

use super::super::{Context, Ended, Trouble};
use super::{folders, listed};
use crate::args::InstallArgs;
use crate::scheduler::systemd::{Elapse, Systemctl};
use crate::scheduler::{self, Held, Place, Scheduler, systemd, users};
use crate::{load, output};

#[derive(Serialize)]
struct Document<'a> {
    outcome: Outcome,
    scheduler: Scheduler,
    schedule: &'a Schedule,
    changed: bool,
    files: Vec<FileText<'a>>,
    warnings: &'a [String],
    verdict: &'a str,
}

#[derive(Serialize)]
struct FileText<'a> {
    path: &'a Path,
    text: &'a str,
}

pub(super) fn run(context: &Context, args: &InstallArgs) -> Ended {
    let place = Place::at(args.root.root.as_deref());
    let when = when(args)?;
    let scheduler = scheduler(args, &when, &place)?;
    let mut warnings = vec![];
    if let When::Calendar(calendar) = &when {
        warnings.extend(understood(calendar.as_str())?);
    }
    let owner = owner(args, &place)?;
    let config = config(context, args, &owner)?;
    warnings.extend(owner.warning.clone());
    let mut job = job(&config, &context.file, args, when, &mut warnings)?;
    let unrenderable = |error: kbo_core::schedule::Unrenderable| Trouble::new(Outcome::Usage, error.to_string());
    let known = ours(&place, scheduler, &job.schedule)?;
    // Installed anew as it was, it is no new schedule: what was due meanwhile is still due.
    if let Some(known) = known.as_ref().filter(|known| same(known, &job.schedule)) {
        job.schedule.installed = known.installed;
    }
    let has_same_times = known.is_some_and(|known| known.when == job.schedule.when);
    let files = place.files(scheduler, &job).map_err(unrenderable)?;
    let changed = files
        .iter()
        .any(|(path, text)| std::fs::read_to_string(path).ok().as_ref() != Some(text));
    warnings.extend(surprises(&config, &context.file, &place, scheduler));
    if !place.of_run(&job.program).is_file() {
        warnings.push(format!(
            "there is no program {}: no run begins before there is",
            place.of_run(&job.program).display()
        ));
    }
    let paths: Vec<PathBuf> = files.iter().map(|(path, _)| path.clone()).collect();
    let name = &job.schedule.name;
    let verdict = if args.print {
        format!("these files would be written: {}", listed(&paths))
    } else if args.dry_run {
        let verb = if changed {
            "would be written"
        } else {
            "are there already"
        };
        format!("dry run; schedule {name}: {} {verb}", listed(&paths))
    } else {
        // The way of the other scheduler goes first: at no moment do both begin a run.
        let other = match scheduler {
            Scheduler::Systemd => Scheduler::Cron,
            Scheduler::Cron => Scheduler::Systemd,
        };
        let trouble = |error: anyhow::Error| failed(&error);
        if let Some(before) = ours(&place, other, &job.schedule)? {
            super::remove::take_away(&place, other, &before.stem()).map_err(trouble)?;
        }
        if !place.is_image() {
            folders::make(&job.writable, config.metrics_textfile.as_deref(), owner.ids).map_err(trouble)?;
        }
        if changed {
            for (path, text) in &files {
                scheduler::write(path, text, place.is_image()).map_err(trouble)?;
            }
        }
        if scheduler == Scheduler::Systemd && !place.is_image() {
            let timer = format!("{}.timer", job.schedule.stem());
            let systemctl = Systemctl::default();
            let taken = match has_same_times {
                true => systemctl.keep(&timer),
                false => systemctl.enable(&timer),
            };
            taken.map_err(|error| {
                let text = format!("{} are written, but not in use: {error:#}", listed(&paths));
                Trouble::new(Outcome::Failed, text).hint("mend it and run the command again, or kbo schedule remove")
            })?;
        }
        match changed {
            true => format!(
                "schedule {name} is installed ({scheduler}, {}): {}",
                job.schedule.when,
                listed(&paths)
            ),
            false => format!(
                "schedule {name} was installed already ({scheduler}, {}); nothing has changed",
                job.schedule.when
            ),
        }
    };
    show(
        context,
        args,
        &job.schedule,
        scheduler,
        changed,
        &files,
        &warnings,
        &verdict,
    );
    Ok(Outcome::Done)
}

#[expect(clippy::too_many_arguments, reason = "it shows each of them")]
fn show(
    context: &Context,
    args: &InstallArgs,
    schedule: &Schedule,
    scheduler: Scheduler,
    changed: bool,
    files: &[(PathBuf, String)],
    warnings: &[String],
    verdict: &str,
) {
    for warning in warnings {
        output::error_line(&format!("warning: {warning}"));
    }
    if context.global.json {
        let files = files.iter().map(|(path, text)| FileText { path, text }).collect();
        output::json(&Document {
            outcome: Outcome::Done,
            scheduler,
            schedule,
            changed,
            files,
            warnings,
            verdict,
        });
        output::error_line(verdict);
    } else if args.print {
        // Nothing else on standard output: one file alone can be redirected to its place.
        for (path, text) in files {
            if files.len() > 1 {
                output::line(&format!("# {}", path.display()));
            }
            // The end of its last line comes with the line.
            output::line(text.strip_suffix('\n').unwrap_or(text));
        }
        output::error_line(verdict);
    } else {
        output::line(verdict);
    }
}

fn failed(error: &anyhow::Error) -> Trouble {
    let denied = error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|cause| cause.kind() == std::io::ErrorKind::PermissionDenied);
    let trouble = Trouble::new(Outcome::Failed, format!("{error:#}"));
    if denied {
        return trouble.hint("schedules belong to root: run it with sudo, or --print and put the files there by hand");
    }
    trouble
}

fn when(args: &InstallArgs) -> Result<When, Trouble> {
    let at = args.at.clone().map(When::At);
    let calendar = args.calendar.clone().map(When::Calendar);
    let cron = args.cron.clone().map(|cron| When::Cron(Box::new(cron)));
    let given = at.or(calendar).or(cron);
    given.ok_or_else(|| Trouble::new(Outcome::Usage, "one of --at, --calendar and --cron says when"))
}

fn scheduler(args: &InstallArgs, when: &When, place: &Place) -> Result<Scheduler, Trouble> {
    let of_machine = Scheduler::of_machine();
    let is_calendar = matches!(when, When::Calendar(_));
    // What is not for this machine, or only looked at, need not suit it.
    let elsewhere = place.is_image() || args.print;
    let scheduler = args.scheduler.unwrap_or(if is_calendar && elsewhere {
        Scheduler::Systemd
    } else {
        of_machine
    });
    if is_calendar && scheduler == Scheduler::Cron {
        let why = "--calendar is an expression of systemd, and systemd is not PID 1 here: cron does not know such expressions";
        return Err(Trouble::new(Outcome::Usage, why).hint("write --cron \"0 3 * * *\" or --at \"03:00\" instead"));
    }
    if scheduler == Scheduler::Systemd && of_machine == Scheduler::Cron && !elsewhere && !args.dry_run {
        let why = "systemd is not PID 1 here, so no timer would ever come";
        return Err(Trouble::new(Outcome::Usage, why)
            .hint("leave --scheduler out, or install below the folder of an image with --root"));
    }
    Ok(scheduler)
}

/// Has systemd read the expression; where there is none to ask, that is said.
fn understood(expression: &str) -> Result<Option<String>, Trouble> {
    let usage = |text: String| Trouble::new(Outcome::Usage, text).hint("man systemd.time has the expressions");
    match systemd::next(expression, Timestamp::now()) {
        Ok(Elapse::At(_)) => Ok(None),
        Ok(Elapse::Never) => Err(usage(format!("--calendar {expression:?}: it does not come any more"))),
        Ok(Elapse::Unknown) => Ok(Some(format!(
            "there is no systemd-analyze here: {expression:?} was not checked"
        ))),
        Err(error) => Err(usage(format!("--calendar {expression:?}: {error:#}"))),
    }
}

/// Whose the runs are.
struct Owner {
    /// What `~` stands for.
    home: Option<PathBuf>,
    /// Whom the folders belong to that are made here.
    ids: Option<(u32, u32)>,
    warning: Option<String>,
}

fn owner(args: &InstallArgs, place: &Place) -> Result<Owner, Trouble> {
    let name = &args.user;
    // The users of an image are its own.
    let found = match place.is_image() {
        true => users::in_file(&place.of_run(Path::new("/etc/passwd")), name).map_err(anyhow::Error::from),
        false => users::here(name),
    };
    let found = found.map_err(|error| Trouble::new(Outcome::Failed, format!("--user {name}: {error:#}")))?;
    match found {
        Some(user) => Ok(Owner {
            home: Some(user.home),
            ids: Some(user.ids),
            warning: None,
        }),
        None if name == "root" => Ok(Owner {
            home: Some("/root".into()),
            ids: Some((0, 0)),
            warning: None,
        }),
        None if !place.is_image() => Err(Trouble::new(
            Outcome::Usage,
            format!("--user {name}: this machine knows no such user"),
        )
        .hint("make the user first, or name another one")),
        None => Ok(Owner {
            home: None,
            ids: None,
            warning: Some(format!(
                "the image knows no user {name}: without one no run begins there"
            )),
        }),
    }
}

/// The configuration as the scheduled run has it: of the file alone, with the `~` of its user.
fn config(context: &Context, args: &InstallArgs, owner: &Owner) -> Result<Config, Trouble> {
    let file = &context.file;
    let usage = |text: String| Trouble::new(Outcome::Usage, text);
    if let Some(variable) = load::variables()
        .into_iter()
        .find(|name| name == "KBO_STORAGE_COLD" || name == "KBO_CLUSTER_NAME")
    {
        return Err(usage(format!(
            "{variable} is set here but not for the scheduled run, which would work on another store or cluster"
        ))
        .hint(format!("write its value into {} and unset it", file.display())));
    }
    let config = load::load_for(file, owner.home.as_deref()).map_err(|error| {
        usage(format!("the scheduled run cannot read its configuration: {error:#}"))
            .hint("it has none of the variables that are set here")
    })?;
    let paths = [
        Some(&config.storage.cold),
        config.log_file.as_ref(),
        config.metrics_textfile.as_ref(),
    ];
    if let Some(path) = paths.into_iter().flatten().find(|path| path.starts_with("~")) {
        return Err(usage(format!(
            "{}: what ~ is for user {} is not known here",
            path.display(),
            args.user
        ))
        .hint(format!("write an absolute path into {}", file.display())));
    }
    Ok(config)
}

fn job(
    config: &Config,
    file: &Path,
    args: &InstallArgs,
    when: When,
    warnings: &mut Vec<String>,
) -> Result<Job, Trouble> {
    let usage = |text: String| Trouble::new(Outcome::Usage, text);
    let absolute = |path: &Path| {
        std::path::absolute(path).map_err(|error| usage(format!("{} has no absolute path: {error}", path.display())))
    };
    let program = match &args.program {
        Some(program) => absolute(program)?,
        None => std::env::current_exe().map_err(|error| {
            usage(format!(
                "kbo does not know where it is: {error}; name it with --program"
            ))
        })?,
    };
    let kind = args.kind.into();
    let store = absolute(&config.storage.cold)?;
    let parent = |path: &Path| Ok::<_, Trouble>(absolute(path)?.parent().unwrap_or(Path::new("/")).to_owned());
    let mut writable = vec![store.clone()];
    for file in config.log_file.iter().chain(&config.metrics_textfile) {
        writable.push(parent(file)?);
    }
    for folder in &args.writable {
        writable.push(absolute(folder)?);
    }
    let mut readable = vec![program.clone()];
    let mut has_local_node = false;
    for (name, access) in &config.access {
        match access {
            Access::Ssh(ssh) => {
                let files = ssh.key.iter().chain(&ssh.passphrase_file).chain([&ssh.known_hosts]);
                readable.extend(files.cloned());
            }
            Access::Local => {
                has_local_node = true;
                // kbo's own folder on a node lies beside the directory that it belongs to.
                let node = config.cluster.node(name);
                let dirs = node.into_iter().flat_map(|node| node.config.iter().chain(&node.data));
                for dir in dirs.map(Path::new) {
                    match dir.parent().filter(|beside| *beside != Path::new("/")) {
                        Some(beside) => writable.push(beside.to_owned()),
                        None => warnings.push(format!(
                            "node {name}: beside {} is /, which a service of systemd may not write to, so its backups fail: \
                             have the directory further down, or call this with --writable /",
                            dir.display()
                        )),
                    }
                }
            }
            Access::Docker { .. } => {}
        }
    }
    let kafka = &config.kafka;
    readable.extend(
        [&kafka.ca, &kafka.cert, &kafka.key, &kafka.key_password_file]
            .into_iter()
            .flatten()
            .cloned(),
    );
    // An image's user, whose ~ is not known here.
    readable.retain(|path| !path.starts_with("~"));
    for path in &mut readable {
        *path = absolute(path)?;
    }
    writable.sort();
    writable.dedup();
    Ok(Job {
        schedule: Schedule {
            name: args.name.clone().unwrap_or_else(|| ScheduleName::of(kind)),
            cluster: config.cluster_name.clone(),
            kind,
            when,
            config: absolute(file)?,
            store,
            user: args.user.clone(),
            installed: now_in_seconds(),
        },
        program,
        writable,
        readable,
        has_local_node,
    })
}

fn now_in_seconds() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// The same but for when it was installed.
fn same(known: &Schedule, new: &Schedule) -> bool {
    let mut known = known.clone();
    known.installed = new.installed;
    known == *new
}

/// The schedule of this name that is installed already. Files of others are not touched.
fn ours(place: &Place, scheduler: Scheduler, schedule: &Schedule) -> Result<Option<Schedule>, Trouble> {
    let mut found = None;
    for path in place.paths(scheduler, &schedule.stem()) {
        let refused = |why: String| {
            Trouble::new(
                Outcome::Refused,
                format!("{}: {why}; nothing was touched", path.display()),
            )
            .hint("give this schedule another name with --name")
        };
        match scheduler::read(&path) {
            Ok(Held::Nothing | Held::Unclear(_)) => {}
            Ok(Held::Foreign) => return Err(refused("it is there, and kbo has not made it".to_owned())),
            Ok(Held::Ours(known)) if known.cluster != schedule.cluster => {
                return Err(refused(format!(
                    "it is the schedule of another cluster, {}",
                    known.cluster
                )));
            }
            Ok(Held::Ours(known)) => found = Some(*known),
            Err(error) => {
                return Err(Trouble::new(
                    Outcome::Failed,
                    format!("cannot read {}: {error}", path.display()),
                ));
            }
        }
    }
    Ok(found)
}

/// What a run without a person, a terminal and this shell's environment would trip over.
fn surprises(config: &Config, file: &Path, place: &Place, scheduler: Scheduler) -> Vec<String> {
    let mut warnings = vec![];
    let variables = load::variables();
    if !variables.is_empty() {
        warnings.push(format!(
            "{} set here but not for the scheduled run: write the values into {}",
            variables.join(", "),
            file.display()
        ));
    }
    let ssh = config.access.values().filter_map(|access| match access {
        Access::Ssh(ssh) => Some(ssh),
        _ => None,
    });
    let (mut agent, mut locked) = (false, vec![]);
    for ssh in ssh {
        match &ssh.key {
            None => agent = true,
            Some(key) if ssh.passphrase_file.is_none() && kbo_transport::ssh::key_is_encrypted(key) => {
                locked.push(key.display().to_string());
            }
            Some(_) => {}
        }
    }
    if agent {
        warnings.push("the scheduled run has no ssh-agent: name a key file as ssh.key".to_owned());
    }
    locked.dedup();
    for key in locked {
        warnings.push(format!(
            "{key} has a passphrase, and the scheduled run has nobody to ask: set ssh.passphrase_file"
        ));
    }
    if scheduler == Scheduler::Cron && !place.is_image() && !scheduler::has_cron() {
        warnings.push("no cron runs on this machine: until one does, neither does the schedule".to_owned());
    }
    warnings
}
