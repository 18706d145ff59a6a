//! Kafka's meta.properties: the identity of a log dir.

use kbo_core::ports::node::MetaProperties;

/// Reads a meta.properties file (a Java properties file; Kafka writes only plain `key=value` lines). Values that are not
/// what they should be are left out, as if they were absent.
pub fn parse(text: &str) -> MetaProperties {
    let mut meta = MetaProperties {
        cluster_id: None,
        node_id: None,
        directory_id: None,
    };
    for line in text.lines() {
        let line = line.trim_start();
        if line.starts_with(['#', '!']) {
            continue;
        }
        let Some((key, value)) = line.split_once(['=', ':']) else {
            continue;
        };
        let value = value.trim();
        match key.trim() {
            "cluster.id" => meta.cluster_id = value.parse().ok(),
            // broker.id is what version 0, of ZooKeeper's days, called it.
            "node.id" | "broker.id" => meta.node_id = value.parse().ok(),
            "directory.id" => meta.directory_id = (!value.is_empty()).then(|| value.to_owned()),
            _ => {}
        }
    }
    meta
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_identity_of_a_log_dir_is_read() {
        let text = "#\n#Sat Nov 22 03:00:00 UTC 2026\ncluster.id=AkU3OEVBNTcwNTJENDM2Qg\nnode.id=4\n\
                    directory.id=Yh4Jr0W6TN2Wq3CZ_hhVuw\nversion=1\n";
        let meta = parse(text);
        assert_eq!(meta.cluster_id.unwrap().as_str(), "AkU3OEVBNTcwNTJENDM2Qg");
        assert_eq!(meta.node_id, Some(4));
        assert_eq!(meta.directory_id.as_deref(), Some("Yh4Jr0W6TN2Wq3CZ_hhVuw"));
    }

    #[test]
    fn nonsense_is_absence() {
        let meta = parse("cluster.id=\nnode.id=four\ndirectory.id=\nfoo\n=\n");
        assert_eq!(
            meta,
            MetaProperties {
                cluster_id: None,
                node_id: None,
                directory_id: None
            }
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = parse(&text);
        }
    }
}
