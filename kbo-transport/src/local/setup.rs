//! What a node's own Kafka is configured with, in words that kbo.toml can be compared with.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use kbo_core::ports::node::{FileId, KafkaDir, KafkaSetup, Mount};

use super::NodeSpec;
use super::paths::on_node;
use crate::kafka::NodeKafkaConfig;

/// The log dirs that `config` names, as kbo.toml would have to name them.
pub(super) fn setup(spec: &NodeSpec, mounts: &[Mount], config: &NodeKafkaConfig) -> KafkaSetup {
    let dir = |path: &str| {
        let node = on_node(mounts, path);
        KafkaDir {
            path: path.to_owned(),
            // Through an engine the operator writes paths of the container, else of the node.
            configured_as: node.as_ref().map(|node| match spec.seen_paths.is_empty() {
                true => node.to_string_lossy().into_owned(),
                false => path.to_owned(),
            }),
            file: node.and_then(|node| file_id(&spec.seen_here(&node)?)),
        }
    };
    // What a config provider would put in is not known here.
    let is_known = |path: &&String| !path.contains("${");
    let log_dirs = match config.log_dirs.iter().all(|path| is_known(&path)) {
        true => config.log_dirs.iter().map(|path| dir(path)).collect(),
        false => Vec::new(),
    };
    let metadata = config.own.get("metadata.log.dir").map(str::trim);
    KafkaSetup {
        source: match &config.source {
            Some(path) => path.display().to_string(),
            None => "the container's environment".to_owned(),
        },
        node_id: config.node_id,
        log_dirs,
        metadata_log_dir: metadata
            .filter(|path| !path.is_empty() && !path.contains("${"))
            .map(dir),
    }
}

fn file_id(path: &Path) -> Option<FileId> {
    let meta = std::fs::metadata(path).ok()?;
    Some(FileId {
        device: meta.dev(),
        inode: meta.ino(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> NodeKafkaConfig {
        let properties = crate::kafka::parse_properties(text);
        NodeKafkaConfig::from_properties(&properties, None).unwrap()
    }

    #[test]
    fn log_dirs_are_told_as_kbo_toml_names_them() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_str().unwrap();
        std::fs::create_dir_all(dir.path().join("disk1/logs")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("disk1"), dir.path().join("kafka")).unwrap();
        let mounts = [Mount {
            source: format!("{root}/kafka"),
            destination: "/var/lib/kafka".to_owned(),
            writable: true,
        }];
        let mut spec = NodeSpec::of(&kbo_core::testing::Shape::SINGLE.cluster().start_order()[0]);
        let config = config(
            "process.roles=broker\nnode.id=4\nlog.dirs=/var/lib/kafka/logs, /tmp/x\nmetadata.log.dir=/var/lib/kafka/meta\n",
        );
        let found = setup(&spec, &mounts, &config);
        assert_eq!(found.node_id, Some(4));
        let [first, second] = found.log_dirs.as_slice() else {
            panic!("{found:?}")
        };
        assert_eq!(first.configured_as, Some(format!("{root}/kafka/logs")));
        assert_eq!(first.file, file_id(&dir.path().join("disk1/logs")), "by whatever path");
        assert_eq!((second.configured_as.as_deref(), second.file), (None, None));
        assert_eq!(
            found.metadata_log_dir.unwrap().configured_as,
            Some(format!("{root}/kafka/meta"))
        );

        // Through an engine kbo.toml names paths of the container.
        spec.seen_paths = vec![("/var/lib/kafka".to_owned(), "/kbo/m0/kafka".to_owned())];
        let found = setup(&spec, &mounts, &config);
        assert_eq!(found.log_dirs[0].configured_as.as_deref(), Some("/var/lib/kafka/logs"));
    }

    #[test]
    fn what_a_provider_puts_in_is_unknown() {
        let spec = NodeSpec::of(&kbo_core::testing::Shape::SINGLE.cluster().start_order()[0]);
        let found = setup(&spec, &[], &config("process.roles=broker\nlog.dirs=/a,${env:LOGS}\n"));
        assert!(found.log_dirs.is_empty(), "{found:?}");
    }
}
