//! `kbo show`, and finding the backup that a person means.

use kbo_archive::store::{SelectError, Selector, select};
use kbo_core::ids::BackupId;
use kbo_core::inventory::Dataset;
use kbo_core::manifest::{FileKind, Manifest};
use kbo_core::ports::store::{BackupStore, Listed, Pin};
use kbo_core::report::Outcome;
use kbo_core::text::human;

use super::{Context, Ended, Trouble};
use crate::output;

/// The backup that `text` names, holding `datasets`.
pub(super) async fn selected(context: &Context, text: &str, datasets: &[Dataset]) -> Result<BackupId, Trouble> {
    let (id, damaged_newer) = selected_past_damage(context, text, datasets).await?;
    if damaged_newer > 0 {
        tracing::warn!("{damaged_newer} newer backups have damaged manifests and were passed over");
    }
    Ok(id)
}

/// The same, and how many newer ones with damaged manifests `latest` has passed over.
pub(super) async fn selected_past_damage(
    context: &Context,
    text: &str,
    datasets: &[Dataset],
) -> Result<(BackupId, usize), Trouble> {
    let trouble = |error: SelectError| {
        let outcome = match error {
            SelectError::Damaged { .. } => Outcome::Damaged,
            _ => Outcome::Usage,
        };
        Trouble::new(outcome, error.to_string()).hint("kbo list shows what there is")
    };
    let selector: Selector = text.parse().map_err(trouble)?;
    let listed = context.composed.held.list().await?;
    let selected = select(&listed, &selector, &context.config.cluster_name, datasets).map_err(trouble)?;
    Ok((selected.backup.id.clone(), selected.damaged_newer))
}

pub(super) async fn run(context: &Context, backup: &str, files: bool) -> Ended {
    let id = selected(context, backup, &[]).await?;
    let mut manifest = context.composed.held.manifest(&id).await?;
    if context.global.json {
        if !files {
            manifest.archives.iter_mut().for_each(|archive| archive.files.clear());
        }
        output::json(&manifest);
    } else {
        let folder = context.composed.store.folder(&id).await?;
        let listed = context.composed.held.list().await?;
        let listed = listed.iter().find(|listed| listed.id == id);
        show(&manifest, &folder, listed, files);
    }
    Ok(Outcome::Done)
}

/// A pin for a person.
fn pinned(pin: Option<&Pin>) -> String {
    let Some(pin) = pin else { return "by hand".to_owned() };
    let by = pin.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    let why = pin.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    format!("since {}{by}{why}", pin.since)
}

fn show(manifest: &Manifest, folder: &std::path::Path, listed: Option<&Listed>, files: bool) {
    output::line(&format!(
        "backup {} ({}) of {}",
        manifest.id, manifest.kind, manifest.cluster
    ));
    output::line(&format!("folder     {}", folder.display()));
    if let Some(id) = &manifest.cluster_id {
        output::line(&format!("cluster.id {id}"));
    }
    output::line(&format!(
        "created    {}, committed {}, by kbo {}",
        manifest.created, manifest.committed, manifest.kbo_version
    ));
    if let Some(window) = &manifest.window {
        output::line(&format!(
            "window     {:.1} s, from {} to {}",
            window.seconds, window.from, window.to
        ));
    }
    output::line(&format!(
        "size       {} stored of {}",
        human(manifest.stored_bytes()),
        human(manifest.raw_bytes())
    ));
    if let Some(listed) = listed.filter(|listed| listed.pinned) {
        output::line(&format!("pinned     {}", pinned(listed.pin.as_ref())));
    }
    if let Some(missing) = listed.and_then(|listed| listed.missing.as_ref()) {
        output::line(&format!("DAMAGED    {missing}"));
    }
    for caveat in &manifest.caveats {
        output::line(&format!("caveat     {caveat}"));
    }
    let nodes = manifest.nodes.iter().map(|node| {
        let proof = match &node.clean_stop {
            Some(proof) if proof.clean => "stopped cleanly",
            Some(_) => "NOT STOPPED CLEANLY",
            None => "not stopped",
        };
        let id = node.node_id.map_or_else(|| "-".to_owned(), |id| id.to_string());
        let kafka = node.kafka_version.clone().unwrap_or_else(|| "-".to_owned());
        vec![
            node.name.to_string(),
            node.role.to_string(),
            id,
            kafka,
            proof.to_owned(),
        ]
    });
    let head = ["NODE", "ROLE", "NODE.ID", "KAFKA", "PROOF"]
        .map(str::to_owned)
        .to_vec();
    output::table(&std::iter::once(head).chain(nodes).collect::<Vec<_>>(), &[2]);
    let archives = manifest.archives.iter().map(|archive| {
        vec![
            archive.name.clone(),
            archive.files.len().to_string(),
            human(archive.raw_size),
            human(archive.size),
            archive.sha256.to_string(),
        ]
    });
    let head = ["ARCHIVE", "ENTRIES", "DATA", "STORED", "SHA-256"]
        .map(str::to_owned)
        .to_vec();
    output::table(&std::iter::once(head).chain(archives).collect::<Vec<_>>(), &[1, 2, 3]);
    if files {
        for archive in &manifest.archives {
            output::line(&format!("{}:", archive.name));
            let rows = archive.files.iter().map(|file| {
                let (size, digest) = match &file.kind {
                    FileKind::File { size, sha256 } => (size.to_string(), sha256.to_string()),
                    FileKind::Dir => ("-".to_owned(), "directory".to_owned()),
                    FileKind::Symlink { target } => ("-".to_owned(), format!("-> {target}")),
                };
                let path = if file.path.is_empty() {
                    ".".to_owned()
                } else {
                    file.path.clone()
                };
                vec![
                    format!("{:04o}", file.mode),
                    format!("{}:{}", file.uid, file.gid),
                    size,
                    digest,
                    path,
                ]
            });
            output::table(&rows.collect::<Vec<_>>(), &[2]);
        }
    }
}
