//! `kbo export`, `kbo import`

use std::fs::File;
use std::io::Read;
use std::path::Path;

use jiff::Timestamp;
use kbo_archive::store::{export, export_to_file, import as import_from};
use kbo_core::ports::store::{BackupStore, Pin, StoreError};
use kbo_core::report::Outcome;
use kbo_core::text::human;
use serde::Serialize;

use super::{Context, Ended, Trouble, show};
use crate::args::{ExportArgs, ImportArgs};
use crate::output;

#[derive(Serialize)]
struct Document<'a> {
    outcome: Outcome,
    id: &'a str,
    cluster: &'a str,
    file: String,
    stored_bytes: u64,
    verdict: &'a str,
}

pub(super) async fn export_backup(context: &Context, args: &ExportArgs) -> Ended {
    let id = show::selected(context, &args.backup, &[]).await?;
    let store = &context.composed.store;
    let to_stdout = args.file == Path::new("-");
    if to_stdout && context.global.json {
        return Err(Trouble::new(
            Outcome::Usage,
            "--json and the exported file cannot both go to standard output",
        ));
    }
    let exported = if to_stdout {
        export(store, &id, Box::new(std::io::stdout())).await
    } else {
        export_to_file(store, &id, &args.file, args.force).await
    };
    let manifest = exported.map_err(|error| match error {
        StoreError::Taken(file) => {
            Trouble::new(Outcome::Usage, format!("{file} exists already")).hint("--force overwrites it")
        }
        error => error.into(),
    })?;
    let file = args.file.display().to_string();
    let stored_bytes = manifest.stored_bytes();
    let verdict = format!(
        "backup {id} exported, {} and every archive as its manifest says",
        human(stored_bytes)
    );
    if context.global.json {
        let (id, cluster) = (id.as_str(), manifest.cluster.as_str());
        output::json(&Document {
            outcome: Outcome::Done,
            id,
            cluster,
            file,
            stored_bytes,
            verdict: &verdict,
        });
    }
    if to_stdout || context.global.json {
        output::error_line(&verdict);
    } else {
        output::line(&verdict);
    }
    Ok(Outcome::Done)
}

pub(super) async fn import(context: &Context, args: &ImportArgs) -> Ended {
    let from: Box<dyn Read + Send> = if args.file == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        let file = File::open(&args.file)
            .map_err(|error| Trouble::new(Outcome::Usage, format!("cannot open {}: {error}", args.file.display())))?;
        Box::new(std::io::BufReader::with_capacity(1 << 20, file))
    };
    let store = &context.composed.store;
    let manifest = import_from(store, from).await.map_err(|error| match error {
        StoreError::Taken(id) => Trouble::new(
            Outcome::Usage,
            format!("the store has a backup {id} already; nothing was changed"),
        ),
        error => error.into(),
    })?;
    let id = &manifest.id;
    if args.pin {
        let pin = Pin {
            reason: Some("imported".to_owned()),
            since: Timestamp::now(),
        };
        store.pin(id, &pin).await?;
    }
    let of_others = if manifest.cluster == context.config.cluster_name {
        String::new()
    } else {
        format!(
            " of the cluster {}, not of {}",
            manifest.cluster, context.config.cluster_name
        )
    };
    let days = Timestamp::now().duration_since(manifest.created).as_secs() / (24 * 3600);
    let is_old = days >= i64::from(context.config.retention.of(manifest.kind).days);
    let goes = if is_old && !args.pin && of_others.is_empty() {
        format!("; it is {days} days old and may go with the next rotation: kbo pin {id}")
    } else {
        String::new()
    };
    let verdict = format!(
        "backup {id}{of_others} imported, {}, every archive as its manifest says{goes}",
        human(manifest.stored_bytes())
    );
    if context.global.json {
        let (file, stored_bytes) = (args.file.display().to_string(), manifest.stored_bytes());
        let (id, cluster) = (id.as_str(), manifest.cluster.as_str());
        output::json(&Document {
            outcome: Outcome::Done,
            id,
            cluster,
            file,
            stored_bytes,
            verdict: &verdict,
        });
        output::error_line(&verdict);
    } else {
        output::line(&verdict);
    }
    Ok(Outcome::Done)
}
