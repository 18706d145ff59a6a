//! The commands: each composes, calls, shows, and names the exit code.

mod adopt;
pub(crate) mod agent;
mod attended;
mod backup;
mod certs;
mod check;
mod completions;
mod conduct;
mod create;
mod format;
mod generate;
mod import_config;
mod init;
mod list;
mod pin;
mod power;
mod recover;
mod restore;
mod rotate;
mod schedule;
mod show;
mod ssh_setup;
mod status;
mod transfer;
mod verify;

use std::path::PathBuf;

use kbo_core::cancel::Cancel;
use kbo_core::config::Config;
use kbo_core::report::{Outcome, chain};
use serde::Serialize;

use crate::args::{Cli, Command, Global, Only};
use crate::compose::{Composed, MakeVolumes, Reach, compose, planned};
use crate::hooks::HookRun;
use crate::progress::Progress;
use crate::terminal::{self, Interrupted};
use crate::{interrupt, load, logging, output};
use kbo_core::machine::Operation;
use kbo_core::manifest::BackupKind;

/// What every command works with.
pub(crate) struct Context {
    pub(crate) config: Config,
    /// Where it was read from.
    pub(crate) file: PathBuf,
    pub(crate) composed: Composed,
    pub(crate) global: Global,
}

/// A command that could not do its work; the outcome is its exit code.
#[derive(Debug, Serialize)]
pub(crate) struct Trouble {
    outcome: Outcome,
    /// What went wrong, as the last line says it.
    verdict: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// The hooks that ran.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hooks: Vec<HookRun>,
    /// What failed of what follows a run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

impl Trouble {
    pub(crate) fn new(outcome: Outcome, verdict: impl Into<String>) -> Self {
        Self {
            outcome,
            verdict: verdict.into(),
            hint: None,
            hooks: vec![],
            warnings: vec![],
        }
    }

    /// What could not be begun: for wrong usage or configuration, unless somebody ended it at a question.
    pub(crate) fn begun(error: &anyhow::Error) -> Self {
        if error.is::<Interrupted>() {
            return Interrupted.into();
        }
        Self::new(Outcome::Usage, format!("{error:#}"))
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Shows it; the result is the process's exit code.
    pub(crate) fn told(&self, json: bool) -> u8 {
        if json {
            output::json(self);
        }
        // The verdict is the last line.
        if let Some(hint) = &self.hint {
            output::error_line(&format!("hint: {hint}"));
        }
        output::error_line(&format!("kbo: {}", self.verdict));
        self.outcome.exit_code()
    }
}

impl From<kbo_core::ports::store::StoreError> for Trouble {
    fn from(error: kbo_core::ports::store::StoreError) -> Self {
        use kbo_core::ports::store::StoreError;
        use kbo_core::ports::stream::StreamError;
        let outcome = match &error {
            StoreError::Locked { .. } | StoreError::Waits { .. } => Outcome::Locked,
            StoreError::NoSuchBackup(_) | StoreError::Unsupported { .. } => Outcome::Usage,
            StoreError::Format { .. } => Outcome::Damaged,
            StoreError::DoesNotFit { .. } => Outcome::Refused,
            StoreError::Stream(StreamError::Interrupted) => Outcome::Interrupted,
            _ => Outcome::Failed,
        };
        Trouble::new(outcome, chain(&error))
    }
}

/// What a command ends with.
pub(crate) type Ended = Result<Outcome, Trouble>;

/// Runs a command; the result is the process's exit code.
pub(crate) async fn run(cli: Cli) -> u8 {
    let json = cli.global.json;
    let ended = match &cli.command {
        // What kbo says of itself needs no configuration.
        Command::Completions(args) => completions::run(args, json),
        Command::Generate(args) => generate::run(args, json),
        Command::ImportConfig(args) => import_config::run(args, &cli.global),
        Command::SshSetup(args) => ssh_setup::run(args, &cli.global).await,
        Command::Init(args) => init::run(args, &cli.global).await,
        _ => begin(cli).await,
    };
    match ended {
        Ok(outcome) => outcome.exit_code(),
        Err(trouble) => trouble.told(json),
    }
}

/// What a command works with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// The store alone: what reads backups needs no key, passphrase or certificate.
    Store,
    /// The same for long: it ends by removing what is unfinished.
    StoreLong,
    /// The nodes, to look at: it may be ended as usual.
    Look,
    /// The nodes, to change: it ends by undoing.
    Change,
}

fn needs(command: &Command) -> Needs {
    match command {
        Command::List
        | Command::Show { .. }
        | Command::Verify { .. }
        | Command::Rotate(_)
        | Command::Adopt(_)
        | Command::Pin(_)
        | Command::Unpin(_)
        | Command::Schedule(_) => Needs::Store,
        Command::Export(_) | Command::Import(_) => Needs::StoreLong,
        Command::Certs(args) if args.action.is_offline() => Needs::Store,
        Command::Check
        | Command::Menu
        | Command::Status(_)
        | Command::Completions(_)
        | Command::Generate(_)
        | Command::ImportConfig(_)
        | Command::SshSetup(_)
        | Command::Init(_)
        | Command::Survey(_)
        | Command::StoreAgent
        | Command::LogAgent(_)
        | Command::Agent => Needs::Look,
        Command::Certs(args) if args.action.is_deployment() => Needs::Change,
        Command::Certs(_) => Needs::Look,
        Command::Backup(_)
        | Command::Restore(_)
        | Command::Start(_)
        | Command::Stop(_)
        | Command::Restart(_)
        | Command::Run(_)
        | Command::Remove(_)
        | Command::Format(_)
        | Command::Recover => Needs::Change,
    }
}

/// A backup that cannot even be prepared is a run that failed, too: whoever waits for it hears of that.
async fn begin(cli: Cli) -> Ended {
    let (config, file) = load::load(cli.global.config.as_deref()).map_err(|error| Trouble::begun(&error))?;
    let cancel = Cancel::default();
    match prepare(&cli, config.clone(), file.clone(), cancel.clone()) {
        Ok(context) => match needs(&cli.command) {
            // Nothing has to be undone.
            Needs::Look | Needs::Store => terminal::interruptible(dispatch(&context, cli.command)).await,
            Needs::Change | Needs::StoreLong => dispatch(&context, cli.command).await,
        },
        Err(error) => match &cli.command {
            Command::Backup(args) if !args.dry_run => {
                let attended = attended::Attended::backup(&config, &file, &cli.global, cancel, args);
                Err(attended.troubled(Trouble::begun(&error)).await)
            }
            _ => Err(Trouble::begun(&error)),
        },
    }
}

fn prepare(cli: &Cli, mut config: Config, file: PathBuf, cancel: Cancel) -> anyhow::Result<Context> {
    if let Command::Backup(args) = &cli.command {
        config.settings.allow_unclean = args.allow_unclean;
        config.settings.allow_degraded |= args.allow_degraded;
    }
    logging::start(cli.global.verbose, cli.global.quiet, config.log_file.as_deref())?;
    let needs = needs(&cli.command);
    if matches!(needs, Needs::Change | Needs::StoreLong) {
        interrupt::listen(cancel.clone())?;
    }
    let progress = Progress::new(cli.global.quiet);
    let nodes = match &cli.command {
        _ if matches!(needs, Needs::Store | Needs::StoreLong) => Reach::Nothing,
        // A lost container is made by what the backup tells, which is not known yet.
        Command::Run(args) if args.from.is_some() => Reach::Nothing,
        Command::Format(args) if !args.dry_run => Reach::Planned(planned(&config), MakeVolumes::Yes),
        _ => Reach::Planned(planned(&config), MakeVolumes::No),
    };
    let composed = compose(&config, nodes, progress, cancel)?;
    Ok(Context {
        config,
        file,
        composed,
        global: cli.global.clone(),
    })
}

async fn dispatch(context: &Context, command: Command) -> Ended {
    match command {
        Command::Check => check::run(context).await,
        Command::Status(args) => status::run(context, &args).await,
        Command::Backup(args) => backup::run(context, &args).await,
        Command::Restore(args) => restore::run(context, &args).await,
        Command::List => list::run(context).await,
        Command::Show { backup, files } => show::run(context, &backup, files).await,
        Command::Verify { backup, all } => verify::run(context, &backup, all).await,
        Command::Rotate(args) => rotate::run(context, &args).await,
        Command::Adopt(args) => adopt::run(context, &args.cluster_id).await,
        Command::Pin(args) => pin::pin(context, &args.backup, args.reason).await,
        Command::Unpin(args) => pin::unpin(context, &args.backup).await,
        Command::Export(args) => transfer::export_backup(context, &args).await,
        Command::Import(args) => transfer::import(context, &args).await,
        Command::Start(args) => power::run(context, Operation::Start, &args).await,
        Command::Stop(args) => power::run(context, Operation::Stop, &args).await,
        Command::Restart(args) if args.rolling => power::rolling(context, &args.power).await,
        Command::Restart(args) => power::run(context, Operation::Restart, &args.power).await,
        Command::Run(args) => create::run(context, &args).await,
        Command::Remove(args) => power::remove(context, &args).await,
        Command::Format(args) => format::run(context, &args).await,
        Command::Recover => recover::run(context).await,
        Command::Schedule(args) => schedule::run(context, &args).await,
        Command::Certs(args) => certs::run(context, &args.action).await,
        Command::Completions(args) => completions::run(&args, context.global.json),
        Command::Generate(args) => generate::run(&args, context.global.json),
        Command::ImportConfig(args) => import_config::run(&args, &context.global),
        Command::SshSetup(args) => ssh_setup::run(&args, &context.global).await,
        Command::Init(args) => init::run(&args, &context.global).await,
        // These are served before a cluster is composed.
        Command::Menu | Command::Agent | Command::StoreAgent | Command::LogAgent(_) | Command::Survey(_) => {
            Err(Trouble::new(Outcome::Usage, "this is started by kbo itself"))
        }
    }
}

/// Holds the lock around work on the store alone. A run that died is left to those who can reach the nodes.
async fn store_locked(context: &Context, purpose: &str, work: impl Future<Output = Ended>) -> Ended {
    let orchestrator = &context.composed.orchestrator;
    let lock = orchestrator.store.lock(&orchestrator.name, purpose).await?;
    let ended = work.await;
    if let Err(error) = lock.release().await {
        tracing::warn!("the lock cannot be released: {}", chain(&error));
    }
    ended
}

fn kind_of(only: Option<Only>) -> BackupKind {
    match only {
        None => BackupKind::Cluster,
        Some(Only::Config) => BackupKind::Config,
        Some(Only::Data) => BackupKind::Data,
    }
}
