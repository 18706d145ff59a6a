//! Where the node's directories lie on the engine's machine, and how the helper container sees them.

use bollard::models::MountPoint;
use kbo_core::ports::node::{NodeError, NodeErrorKind};

/// What the helper mounts and where it finds the node's directories.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Folders of the engine's machine, mounted at `/kbo/m0`, `/kbo/m1`, ...
    pub(super) sources: Vec<String>,
    /// Volumes to be mounted as well: the engine mounts some only while a container uses them, and until then their folder in
    /// the parent is empty.
    pub(super) volumes: Vec<String>,
    /// (path in the node's container, path in the helper).
    pub(super) paths: Vec<(String, String)>,
}

/// Where the n-th source is mounted in the helper.
pub(super) fn target(n: usize) -> String {
    format!("/kbo/m{n}")
}

impl Layout {
    /// (folder in the helper, the same on the engine's machine).
    pub(super) fn engine_paths(&self) -> Vec<(String, String)> {
        let sources = self.sources.iter().enumerate();
        sources.map(|(n, source)| (target(n), source.clone())).collect()
    }

    /// Finds each directory in the container's mounts.
    ///
    /// What is mounted is always a folder that CONTAINS the directory, never the directory itself: snapshots and staging lie
    /// beside it, and link() and rename() do not cross mounts, not even two of the same filesystem.
    pub(super) fn of(container: &str, dirs: &[String], mounts: &[MountPoint]) -> Result<Self, NodeError> {
        let mut located = Vec::new();
        let mut volumes: Vec<String> = Vec::new();
        for dir in dirs {
            let (mount, source, rest) = locate(container, dir, mounts)?;
            // The mount's root has its neighbours outside of the mount; all that is deeper has them within.
            let (outer, inner) = match rest.as_str() {
                "" => split(&source).ok_or_else(|| {
                    NodeError::new(
                        NodeErrorKind::State,
                        format!("container {container}: {dir} is the root of the engine's machine, nothing can lie beside it"),
                    )
                })?,
                rest => (source, rest.to_owned()),
            };
            located.push((dir.clone(), outer, inner));
            if let (Some("volume"), Some(name)) = (mount.typ.as_deref(), &mount.name)
                && !volumes.contains(name)
            {
                volumes.push(name.clone());
            }
        }
        // Outer folders first: what lies in one is not mounted again.
        let mut outers: Vec<String> = located.iter().map(|(_, outer, _)| outer.clone()).collect();
        outers.sort_by_key(|outer| depth(outer));
        let mut sources: Vec<String> = Vec::new();
        for outer in outers {
            if !sources.iter().any(|source| below(source, &outer).is_some()) {
                sources.push(outer);
            }
        }
        let paths = located
            .into_iter()
            .filter_map(|(dir, outer, inner)| {
                let (n, rest) = sources
                    .iter()
                    .enumerate()
                    .find_map(|(n, source)| Some((n, below(source, &outer)?)))?;
                let between = if rest.is_empty() {
                    String::new()
                } else {
                    format!("/{rest}")
                };
                Some((dir, format!("{}{between}/{inner}", target(n))))
            })
            .collect();
        Ok(Self {
            sources,
            volumes,
            paths,
        })
    }
}

/// The mount that a directory of the container lies in, its source on the engine's machine, and the rest of the path.
fn locate<'a>(
    container: &str,
    dir: &str,
    mounts: &'a [MountPoint],
) -> Result<(&'a MountPoint, String, String), NodeError> {
    let dir = normal(dir);
    let state = |text: String| NodeError::new(NodeErrorKind::State, format!("container {container}: {text}"));
    let best = mounts
        .iter()
        .filter_map(|mount| {
            let destination = normal(mount.destination.as_deref()?);
            Some((destination.len(), mount, below(&destination, &dir)?.to_owned()))
        })
        .max_by_key(|(length, _, _)| *length);
    let Some((_, mount, rest)) = best else {
        return Err(state(format!(
            "{dir} is in no volume and no bind mount: it is lost with the container"
        ))
        .hint("give the path as it is in the container; data in the container's own layer is not backed up"));
    };
    match mount.source.as_deref().map(normal) {
        Some(source) if source.starts_with('/') && mount.typ.as_deref() != Some("tmpfs") => Ok((mount, source, rest)),
        _ => Err(state(format!(
            "{dir} lies in memory (tmpfs), or in a mount without a folder on the engine's machine"
        ))
        .hint("use a named volume or a bind mount")),
    }
}

/// Without doubled and trailing slashes.
fn normal(path: &str) -> String {
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    format!("/{}", parts.join("/"))
}

/// What remains of a path below a folder; nothing for the folder itself.
fn below<'a>(folder: &str, path: &'a str) -> Option<&'a str> {
    let rest = path.strip_prefix(folder.trim_end_matches('/'))?;
    if rest.is_empty() {
        Some("")
    } else {
        rest.strip_prefix('/')
    }
}

/// Parent and last name.
fn split(path: &str) -> Option<(String, String)> {
    let (parent, name) = path.rsplit_once('/')?;
    (!name.is_empty()).then(|| (normal(parent), name.to_owned()))
}

fn depth(path: &str) -> usize {
    path.split('/').filter(|part| !part.is_empty()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(typ: &str, name: Option<&str>, source: &str, destination: &str) -> MountPoint {
        MountPoint {
            typ: Some(typ.into()),
            name: name.map(Into::into),
            source: Some(source.into()),
            destination: Some(destination.into()),
            ..Default::default()
        }
    }

    fn layout(dirs: &[&str], mounts: &[MountPoint]) -> Result<Layout, NodeError> {
        Layout::of(
            "kafka-1",
            &dirs.iter().map(|dir| (*dir).to_owned()).collect::<Vec<_>>(),
            mounts,
        )
    }

    fn path(from: &str, to: &str) -> (String, String) {
        (from.to_owned(), to.to_owned())
    }

    #[test]
    fn the_parent_of_a_volume_is_mounted_and_the_volume_with_it() {
        let mounts = [mount(
            "volume",
            Some("k1"),
            "/var/lib/docker/volumes/k1/_data",
            "/data/kafka",
        )];
        let found = layout(&["/data/kafka/"], &mounts).unwrap();
        assert_eq!(found.sources, ["/var/lib/docker/volumes/k1"]);
        assert_eq!(found.volumes, ["k1"]);
        assert_eq!(found.paths, [path("/data/kafka/", "/kbo/m0/_data")]);
    }

    #[test]
    fn a_directory_deep_in_a_mount_has_its_neighbours_within() {
        let mounts = [mount("bind", None, "/srv/kafka", "/data")];
        let found = layout(&["/data/a/logs"], &mounts).unwrap();
        assert_eq!(found.sources, ["/srv/kafka"]);
        assert_eq!(found.paths, [path("/data/a/logs", "/kbo/m0/a/logs")]);
    }

    #[test]
    fn two_directories_of_one_parent_share_a_mount() {
        let mounts = [
            mount("bind", None, "/srv/k/config", "/etc/kafka"),
            mount("bind", None, "/srv/k/data", "/data"),
        ];
        let found = layout(&["/etc/kafka", "/data"], &mounts).unwrap();
        assert_eq!(found.sources, ["/srv/k"]);
        assert_eq!(
            found.paths,
            [path("/etc/kafka", "/kbo/m0/config"), path("/data", "/kbo/m0/data")]
        );
    }

    #[test]
    fn what_lies_in_a_mounted_folder_is_not_mounted_again() {
        let mounts = [
            mount("bind", None, "/srv/k/data", "/data"),
            mount("bind", None, "/srv", "/srv"),
        ];
        let found = layout(&["/data", "/srv/conf"], &mounts).unwrap();
        assert_eq!(found.sources, ["/srv"]);
        assert_eq!(
            found.paths,
            [path("/data", "/kbo/m0/k/data"), path("/srv/conf", "/kbo/m0/conf")]
        );
    }

    #[test]
    fn the_longest_destination_counts_and_whole_names_only() {
        let mounts = [
            mount("bind", None, "/outer", "/data"),
            mount("volume", Some("v"), "/volumes/v/_data", "/data/kafka"),
            mount("bind", None, "/wrong", "/data/kaf"),
        ];
        let found = layout(&["/data/kafka", "/data/kafka2"], &mounts).unwrap();
        assert_eq!(
            found.paths,
            [
                path("/data/kafka", "/kbo/m1/_data"),
                path("/data/kafka2", "/kbo/m0/kafka2")
            ]
        );
        assert_eq!(found.sources, ["/outer", "/volumes/v"]);
    }

    #[test]
    fn a_directory_in_no_mount_is_an_error_with_a_hint() {
        let error = layout(&["/data"], &[]).unwrap_err();
        assert_eq!(error.kind, NodeErrorKind::State);
        assert!(error.message.contains("/data") && error.hint.is_some(), "{error:?}");
        assert!(layout(&["/data"], &[mount("tmpfs", None, "", "/data")]).is_err());
    }

    #[test]
    fn a_folder_right_below_the_root_is_reached_through_the_root() {
        let found = layout(&["/data"], &[mount("bind", None, "/data", "/data")]).unwrap();
        assert_eq!(found.sources, ["/"]);
        assert_eq!(found.paths, [path("/data", "/kbo/m0/data")]);
    }
}
