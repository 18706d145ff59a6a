//! Whether a snapshot is all of its node: what the metadata log within says the node holds.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use kbo_core::ids::RunId;
use kbo_core::inventory::Role;

use super::index::{self, Entry, Kind, Layout};
use crate::error::Error;
use crate::metadata::{self, Held, Part};
use crate::metaprops;
use crate::work::{DirSpec, Place};

/// The metadata log's directory.
const METADATA: &str = "__cluster_metadata-0/";

/// What to compare where a snapshot is not all of its node.
const COMPARE: &str = "compare log.dirs and metadata.log.dir of its Kafka with `data` of this node in kbo.toml";

/// Most of a small file that is read.
const SMALL: u64 = 1 << 20;

/// A directory's snapshot.
struct Shot {
    layout: Layout,
    entries: Vec<Entry>,
}

/// Refuses the run's snapshot of a node's log dirs where it is not all that the node held when it stopped: without the log of the
/// metadata quorum, or, of a broker, without replicas that this very log says it holds. Gives what could not be proven.
///
/// # Errors
/// [`Error::State`] that names what is missing; those of reading the snapshot.
pub fn prove_whole(run: &RunId, dirs: &[DirSpec], role: Role) -> Result<Vec<String>, Error> {
    let shots = dirs
        .iter()
        .map(|spec| {
            let layout = Layout::new(&Place::of(spec)?.folder(run));
            let (_, entries) = index::read(&layout)?;
            Ok(Shot { layout, entries })
        })
        .collect::<Result<Vec<_>, Error>>()?;
    let labels = || dirs.iter().map(|dir| dir.label.as_str()).collect::<Vec<_>>().join(", ");
    let Some(shot) = shots.iter().find(|shot| shot.parts().next().is_some()) else {
        return Err(Error::State {
            what: format!(
                "there is no __cluster_metadata-0 in {}: this is not all of the node",
                labels()
            ),
            hint: Some(COMPARE),
        });
    };
    if !role.is_broker() {
        return Ok(Vec::new());
    }
    let unproven = |why: String| {
        let text = format!(
            "whether {} hold every replica of the broker could not be proven: {why}",
            labels()
        );
        Ok(vec![text])
    };
    let meta: Vec<_> = shots
        .iter()
        .map(|shot| shot.small("meta.properties").map(|text| metaprops::parse(&text)))
        .collect();
    let Some(node_id) = meta.iter().flatten().find_map(|meta| meta.node_id) else {
        return unproven("no meta.properties names a node.id".to_owned());
    };
    let opens: Vec<_> = shot
        .parts()
        .map(|(name, entry)| (name, move || shot.open(entry)))
        .collect();
    let parts: Vec<Part<'_>> = opens.iter().map(|(name, open)| Part { name, open }).collect();
    let image = match metadata::read(&parts) {
        Ok(image) => image,
        Err(why) => return unproven(format!("__cluster_metadata-0/{why}")),
    };
    let held: Vec<Held> = shots
        .iter()
        .zip(&meta)
        .map(|(shot, meta)| Held {
            id: meta
                .as_ref()
                .and_then(|meta| metadata::uuid(meta.directory_id.as_deref()?)),
            dirs: shot.dirs(),
        })
        .collect();
    let holding = metadata::check(&image, node_id, &held);
    if holding.missing.is_empty() {
        return Ok(Vec::new());
    }
    let elsewhere = match holding.elsewhere {
        0 => String::new(),
        count => format!(" ({count} of them in a log dir that is none of these)"),
    };
    Err(Error::State {
        what: format!(
            "its metadata log says that it holds {} partitions which are not in {}: {}{elsewhere}",
            holding.missing.len(),
            labels(),
            kbo_core::text::some_of(&holding.missing)
        ),
        hint: Some(COMPARE),
    })
}

impl Shot {
    /// The files of the metadata log: (name, entry).
    fn parts(&self) -> impl Iterator<Item = (&str, &Entry)> {
        let files = self
            .entries
            .iter()
            .filter(|entry| matches!(entry.kind, Kind::File { .. }));
        files.filter_map(|entry| Some((entry.path.strip_prefix(METADATA)?, entry)))
    }

    /// The directories right in the log dir.
    fn dirs(&self) -> Vec<String> {
        let dirs = self.entries.iter().filter(|entry| entry.kind == Kind::Dir);
        let top = dirs.filter(|entry| !entry.path.is_empty() && !entry.path.contains('/'));
        top.map(|entry| entry.path.clone()).collect()
    }

    fn small(&self, path: &str) -> Option<String> {
        let entry = self.entries.iter().find(|entry| entry.path == path)?;
        let mut text = String::new();
        self.open(entry).ok()?.take(SMALL).read_to_string(&mut text).ok()?;
        Some(text)
    }

    /// A file's content: its linked part and what was copied behind it.
    fn open(&self, entry: &Entry) -> io::Result<Box<dyn Read>> {
        let Kind::File { link, pack, .. } = &entry.kind else {
            return Ok(Box::new(io::empty()));
        };
        let linked: Box<dyn Read> = match link {
            Some(link) => Box::new(File::open(self.layout.links().join(&link.name))?.take(link.len)),
            None => Box::new(io::empty()),
        };
        let packed: Box<dyn Read> = match pack {
            Some(pack) => {
                let mut file = File::open(self.layout.folder.join(&pack.name))?;
                file.seek(SeekFrom::Start(pack.at))?;
                Box::new(file.take(pack.len))
            }
            None => Box::new(io::empty()),
        };
        Ok(Box::new(linked.chain(packed)))
    }
}
