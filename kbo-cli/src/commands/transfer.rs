//! `kbo export`, `kbo import`

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use kbo_archive::store::{Transfer, Wanted, export, export_to_file, import as import_from};
use kbo_core::belonging::Belonging;
use kbo_core::cancel::Urgency;
use kbo_core::manifest::{ArchiveRecord, Manifest};
use kbo_core::ports::monitor::MonitorEvent;
use kbo_core::ports::store::{BackupStore, StoreError};
use kbo_core::ports::stream::StreamError;
use kbo_core::report::Outcome;
use kbo_core::text::human;
use serde::Serialize;

use super::{Context, Ended, Trouble, pin, show};
use crate::args::{ExportArgs, ImportArgs};
use crate::output;

#[derive(Serialize)]
struct Document<'a> {
    outcome: Outcome,
    id: &'a str,
    cluster: &'a str,
    file: String,
    stored_bytes: u64,
    pinned: bool,
    verdict: &'a str,
}

pub(super) async fn export_backup(context: &Context, args: &ExportArgs) -> Ended {
    let id = show::selected(context, &args.backup, Wanted::WholeOrAny)
        .await?
        .told(context);
    let store = &context.composed.store;
    let to_stdout = args.file == Path::new("-");
    if to_stdout && context.global.json {
        let why = "--json and the exported file cannot both go to standard output";
        return Err(Trouble::new(Outcome::Usage, why));
    }
    if to_stdout && std::io::stdout().is_terminal() {
        let why = "standard output is a terminal: send it into a file or a pipe";
        return Err(Trouble::new(Outcome::Usage, why));
    }
    let how = transfer(context, "export");
    let manifest = if to_stdout {
        let exporting = export(store, &id, Box::new(std::io::stdout()), &how);
        unless_hurried(context, exporting).await
    } else {
        let exporting = export_to_file(store, &id, &args.file, args.force, &how);
        unless_hurried(context, exporting).await
    };
    let manifest = manifest.map_err(|error| match error {
        StoreError::Taken(file) => {
            Trouble::new(Outcome::Usage, format!("{file} exists already")).hint("--force overwrites it")
        }
        StoreError::Format { .. } => Trouble::from(error).hint(format!("nothing was exported; kbo verify {id}")),
        error => error.into(),
    })?;
    let verdict = format!(
        "backup {id} exported: {} archives, {}, each as its manifest says",
        manifest.archives.len(),
        human(manifest.stored_bytes())
    );
    ended(context, &manifest, &args.file, false, &verdict);
    Ok(Outcome::Done)
}

pub(super) async fn import(context: &Context, args: &ImportArgs) -> Ended {
    let store = &context.composed.store;
    let how = transfer(context, "import");
    let pin = match args.pin {
        true => Some(pin::because(Some(&args.reason))?),
        false => None,
    };
    let importing = import_from(store, input(&args.file)?, pin.as_ref(), &how);
    let manifest = unless_hurried(context, importing).await.map_err(|error| match error {
        StoreError::Taken(id) => {
            let text = format!("the store has a backup {id} already; nothing was changed");
            Trouble::new(Outcome::Usage, text)
        }
        error => error.into(),
    })?;
    let id = &manifest.id;
    let listed = store.list().await?;
    let belonging = context.composed.orchestrator.identity(&listed).await?.of(&manifest);
    let is_ours = belonging == Belonging::Own;
    let of_others = match belonging {
        Belonging::Own => String::new(),
        Belonging::OtherId(id) => format!(" of another cluster id ({id})"),
        Belonging::OtherName(name) => format!(" of the cluster {name}, not of {}", context.config.cluster_name),
    };
    let days = Timestamp::now().duration_since(manifest.created).as_secs() / (24 * 3600);
    let is_old = days >= i64::from(context.config.retention.of(manifest.kind).days);
    let goes = if is_old && is_ours && !args.pin {
        format!("; it is {days} days old and may go with the next rotation: kbo pin {id}")
    } else {
        String::new()
    };
    let verdict = format!(
        "backup {id}{of_others} imported: {} archives, {}, each as its manifest says{goes}",
        manifest.archives.len(),
        human(manifest.stored_bytes())
    );
    ended(context, &manifest, &args.file, args.pin, &verdict);
    Ok(Outcome::Done)
}

fn input(file: &Path) -> Result<Box<dyn Read + Send>, Trouble> {
    if file == Path::new("-") {
        return Ok(Box::new(std::io::stdin()));
    }
    match File::open(file) {
        Ok(file) => Ok(Box::new(file)),
        Err(error) => {
            let text = format!("cannot open {}: {error}", file.display());
            Err(Trouble::new(Outcome::Usage, text))
        }
    }
}

/// Ended by Ctrl-C, and shown as it goes.
fn transfer(context: &Context, verb: &'static str) -> Transfer {
    let orchestrator = &context.composed.orchestrator;
    let monitor = Arc::clone(&orchestrator.monitor);
    let told = move |archive: &ArchiveRecord, done: u64| {
        monitor.event(MonitorEvent::Progress {
            node: archive.node.clone(),
            what: format!("{verb} {}", archive.dataset),
            done,
            total: archive.size,
        });
    };
    Transfer::new(orchestrator.cancel.clone(), Arc::new(told))
}

/// Asked once, a transfer ends by itself and clears away what is unfinished; but it may wait for a pipe where nothing comes.
async fn unless_hurried(
    context: &Context,
    work: impl Future<Output = Result<Manifest, StoreError>>,
) -> Result<Manifest, StoreError> {
    let cancel = &context.composed.orchestrator.cancel;
    let interrupted = || StoreError::from(StreamError::Interrupted);
    tokio::select! {
        done = work => done.map_err(|error| if cancel.is_asked() { interrupted() } else { error }),
        () = cancel.reached(Urgency::Hurry) => Err(interrupted()),
    }
}

fn ended(context: &Context, manifest: &Manifest, file: &Path, pinned: bool, verdict: &str) {
    if context.global.json {
        output::json(&Document {
            outcome: Outcome::Done,
            id: manifest.id.as_str(),
            cluster: manifest.cluster.as_str(),
            file: file.display().to_string(),
            stored_bytes: manifest.stored_bytes(),
            pinned,
            verdict,
        });
    }
    // What was exported to standard output has it for itself.
    if context.global.json || file == Path::new("-") {
        output::error_line(verdict);
    } else {
        output::line(verdict);
    }
}
