//! Paths of a node's container, as they are reached from here.

use std::path::{Component, Path, PathBuf};

use kbo_core::ports::node::{Mount, NodeError, NodeErrorKind};

use super::NodeSpec;

/// Where a path of the container lies on the engine's machine, by the container's mounts; `None` for what lies in none of them,
/// and for a path that is not absolute or goes upwards.
///
/// Symbolic links are not looked at: within the container they may lead elsewhere than outside of it.
pub fn on_node(mounts: &[Mount], path_in_container: &str) -> Option<PathBuf> {
    let path = normal(Path::new(path_in_container))?;
    let candidates = mounts.iter().filter_map(|mount| {
        let destination = normal(Path::new(&mount.destination))?;
        let rest = path.strip_prefix(&destination).ok()?.to_owned();
        Some((destination.components().count(), mount, rest))
    });
    let (_, mount, rest) = candidates.max_by_key(|(depth, ..)| *depth)?;
    let source = normal(Path::new(&mount.source))?;
    // Joined with nothing it would end in a slash.
    Some(source.components().chain(rest.components()).collect())
}

/// Without `.`, doubled and trailing slashes.
fn normal(path: &Path) -> Option<PathBuf> {
    let is_plain = |part: &Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
    let is_clean = path.is_absolute() && path.components().all(|part| is_plain(&part));
    is_clean.then(|| path.components().collect())
}

impl NodeSpec {
    /// A path of the engine's machine, as it is seen here; `None` where nothing of it is.
    pub fn seen_here(&self, path: &Path) -> Option<PathBuf> {
        if self.engine_paths.is_empty() {
            return Some(path.to_owned());
        }
        let found = self.engine_paths.iter().filter_map(|(seen, there)| {
            let rest = path.strip_prefix(there).ok()?;
            Some((Path::new(there).components().count(), Path::new(seen).join(rest)))
        });
        found.max_by_key(|(depth, _)| *depth).map(|(_, path)| path)
    }

    /// A directory that the operator writes, as it is reached here.
    ///
    /// # Errors
    /// It lies in nothing that is seen from here.
    pub fn reach(&self, dir: &str) -> Result<PathBuf, NodeError> {
        if self.seen_paths.is_empty() {
            return Ok(PathBuf::from(dir));
        }
        let found = self.seen_paths.iter().filter_map(|(configured, here)| {
            let rest = Path::new(dir).strip_prefix(configured).ok()?;
            // Joined with nothing it would end in a slash.
            let here = Path::new(here)
                .components()
                .chain(rest.components())
                .collect::<PathBuf>();
            Some((Path::new(configured).components().count(), here))
        });
        let deepest = found.max_by_key(|(depth, _)| *depth);
        deepest.map(|(_, path)| path).ok_or_else(|| {
            let text = format!("{dir} lies in no mount of the container {}", self.container);
            NodeError::new(NodeErrorKind::State, text)
                .hint("mount a folder of the node there, and give its path as it is in the container")
        })
    }

    /// A path of the node's container, as it is seen here, by the container's mounts.
    pub fn in_container(&self, mounts: &[Mount], path: &str) -> Option<PathBuf> {
        self.seen_here(&on_node(mounts, path)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(source: &str, destination: &str) -> Mount {
        Mount {
            source: source.into(),
            destination: destination.into(),
            writable: false,
        }
    }

    #[test]
    fn a_path_of_the_container_is_found_in_its_longest_mount() {
        let mounts = [
            mount("/srv", "/"),
            mount("/srv/outer", "/etc/kafka"),
            mount("/data/cluster/certificates", "/etc/kafka/certs/"),
            mount("/wrong", "/etc/kafka/cert"),
        ];
        let found = |path: &str| on_node(&mounts, path).map(|path| path.to_string_lossy().into_owned());
        assert_eq!(
            found("/etc/kafka/certs/k.p12").as_deref(),
            Some("/data/cluster/certificates/k.p12")
        );
        assert_eq!(found("/etc/kafka/certs").as_deref(), Some("/data/cluster/certificates"));
        assert_eq!(found("//etc/./kafka/x/").as_deref(), Some("/srv/outer/x"));
        assert_eq!(found("/etc/kafka/certs2").as_deref(), Some("/srv/outer/certs2"));
        assert_eq!(found("/opt/x").as_deref(), Some("/srv/opt/x"));
        for path in ["", "etc/kafka", "/etc/kafka/../shadow"] {
            assert_eq!(found(path), None, "{path}");
        }
        assert_eq!(on_node(&mounts[1..], "/opt/x"), None);
    }

    #[test]
    fn a_helper_sees_what_is_mounted_into_it() {
        let node = kbo_core::testing::Shape::SINGLE.cluster().start_order()[0].clone();
        let mut spec = NodeSpec::of(&node);
        let mounts = [mount("/srv/k/certs", "/certs"), mount("/opt", "/opt")];
        assert_eq!(spec.in_container(&mounts, "/certs/a"), Some("/srv/k/certs/a".into()));
        spec.engine_paths = vec![("/kbo/m0".into(), "/srv".into()), ("/kbo/m1".into(), "/srv/k".into())];
        assert_eq!(spec.in_container(&mounts, "/certs/a"), Some("/kbo/m1/certs/a".into()));
        assert_eq!(spec.in_container(&mounts, "/opt/a"), None);
    }

    #[test]
    fn a_directory_is_reached_as_written_unless_it_is_mounted_elsewhere() {
        let node = kbo_core::testing::Shape::SINGLE.cluster().start_order()[0].clone();
        let spec = NodeSpec::of(&node);
        assert_eq!(spec.reach("/certs").unwrap(), Path::new("/certs"));
        let seen = |path: &str| (format!("/{path}"), format!("/kbo/m0/{path}"));
        let spec = spec.seen_from(&[seen("etc"), seen("etc/certs"), seen("data")], None);
        assert_eq!(spec.reach("/etc/certs/").unwrap().to_str(), Some("/kbo/m0/etc/certs"));
        assert_eq!(spec.reach("/etc/ssl").unwrap().to_str(), Some("/kbo/m0/etc/ssl"));
        let error = spec.reach("/certs").unwrap_err();
        assert!(error.message.contains("/certs") && error.hint.is_some(), "{error:?}");
    }
}
