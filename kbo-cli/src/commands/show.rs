//! `kbo show`, and finding the backup that a person means.

use jiff::Timestamp;
use kbo_archive::store::{PassedOver, SelectError, Selected, Selector, Wanted, mentions, select};
use kbo_core::belonging::{Belonging, Identity};
use kbo_core::ids::BackupId;
use kbo_core::manifest::{FileKind, Manifest};
use kbo_core::ports::store::{BackupStore, Listed, Pin};
use kbo_core::report::Outcome;
use kbo_core::text::{ago, human};

use super::{Context, Ended, Trouble};
use crate::output;

/// A backup that a person named, and what is to be said of that.
pub(super) struct Chosen {
    pub(super) id: BackupId,
    /// What kind it is, how old, of how many nodes.
    pub(super) about: String,
    /// The newer ones that `latest` passed over.
    pub(super) passed_over: Vec<PassedOver>,
}

impl Chosen {
    /// What is worth saying before anything is done with it, the backup itself first.
    pub(super) fn lines(&self) -> Vec<String> {
        std::iter::once(self.about.clone())
            .chain(mentions(&self.passed_over))
            .collect()
    }

    /// Says it on standard error: a plan has it in its first lines, other commands have no plan.
    pub(super) fn told(self, context: &Context) -> BackupId {
        if !context.global.quiet && !self.passed_over.is_empty() {
            self.lines().iter().for_each(|line| output::error_line(line));
        }
        self.id
    }
}

/// The backup that `text` names, for somebody who wants this of it.
pub(super) async fn selected(context: &Context, text: &str, wanted: Wanted<'_>) -> Result<Chosen, Trouble> {
    let trouble = |error: SelectError| {
        let outcome = match error.is_of_damage() {
            true => Outcome::Damaged,
            false => Outcome::Usage,
        };
        let hint = match (&error, wanted) {
            (SelectError::None { .. } | SelectError::NoneGood { .. }, Wanted::Whole) => {
                "kbo list shows what there is; --only config takes a backup of configuration alone"
            }
            _ => "kbo list shows what there is",
        };
        Trouble::new(outcome, error.to_string()).hint(hint)
    };
    let selector: Selector = text.parse().map_err(trouble)?;
    let listed = context.composed.held.list().await?;
    let identity = context.composed.orchestrator.identity(&listed).await?;
    let Selected {
        backup,
        manifest,
        passed_over,
    } = select(&listed, &selector, &identity, wanted).map_err(trouble)?;
    Ok(Chosen {
        id: backup.id.clone(),
        about: about(manifest),
        passed_over,
    })
}

/// What a backup is, in a line.
pub(super) fn about(manifest: &Manifest) -> String {
    let unclean = match manifest.is_unclean() {
        true => ", NOT STOPPED CLEANLY",
        false => "",
    };
    let damaged = match manifest.source_damage().is_empty() {
        true => "",
        false => ", OF DAMAGED DATA",
    };
    format!(
        "{} backup {} of {}, {} ({}), {} nodes{unclean}{damaged}",
        manifest.kind,
        manifest.id,
        manifest.cluster,
        ago(manifest.created, Timestamp::now()),
        manifest.created,
        manifest.nodes.len()
    )
}

pub(super) async fn run(context: &Context, backup: &str, files: bool) -> Ended {
    let id = selected(context, backup, Wanted::WholeOrAny).await?.told(context);
    let mut manifest = context.composed.held.manifest(&id).await?;
    if context.global.json {
        if !files {
            manifest.archives.iter_mut().for_each(|archive| archive.files.clear());
        }
        output::json(&manifest);
    } else {
        let folder = context.composed.store.folder(&id).await?;
        let listed = context.composed.held.list().await?;
        let identity = context.composed.orchestrator.identity(&listed).await?;
        let listed = listed.iter().find(|listed| listed.id == id);
        show(&manifest, &folder, listed, &identity, files);
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

fn show(manifest: &Manifest, folder: &std::path::Path, listed: Option<&Listed>, identity: &Identity, files: bool) {
    output::line(&format!(
        "backup {} ({}) of {}",
        manifest.id, manifest.kind, manifest.cluster
    ));
    output::line(&format!("folder     {}", folder.display()));
    if let Some(id) = &manifest.cluster_id {
        let other = match (identity.of(manifest), &identity.id) {
            (Belonging::OtherId(_), Some(ours)) => {
                format!(
                    " (NOT that of {} now, which is {ours}: `latest` does not mean it, and only kbo rotate --cluster-id rotates it)",
                    identity.name
                )
            }
            _ => String::new(),
        };
        output::line(&format!("cluster.id {id}{other}"));
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
    for damage in manifest.source_damage() {
        output::line(&format!("damaged    {damage}"));
    }
    if !manifest.degraded.is_empty() {
        let partitions = kbo_core::text::some_of(&manifest.degraded);
        output::line(&format!("degraded   partitions {partitions}"));
    }
    let told = manifest.source_damage();
    for caveat in manifest
        .caveats
        .iter()
        .filter(|caveat| !told.contains(&caveat.as_str()))
    {
        output::line(&format!("caveat     {caveat}"));
    }
    let nodes = manifest.nodes.iter().map(|node| {
        let proof = match &node.clean_stop {
            Some(proof) if proof.clean => "stopped cleanly",
            Some(_) if node.degraded => "not whole before the backup",
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
