//! Is a container a Kafka node, and what does it say of itself? By evidence, and never by its name.

use std::collections::BTreeMap;

use kbo_core::inventory::Role;
use kbo_core::ports::node::MetaProperties;

use super::{Ignored, Place, Surveyed};

/// A container as the engine tells it. The environment may hold secrets: it is looked into, and nothing of it is kept but
/// roles, ids and paths.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) name: String,
    pub(super) image: String,
    pub(super) is_running: bool,
    pub(super) command: Vec<String>,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) mounts: Vec<MountSeen>,
}

/// A mount of it.
pub(super) struct MountSeen {
    pub(super) target: String,
    pub(super) source: String,
}

/// Where images have the file that they run with when nothing else is said.
const USUAL_FILES: [&str; 5] = [
    "/mnt/shared/config/server.properties",
    "/opt/kafka/config/server.properties",
    "/etc/kafka/kafka.properties",
    "/etc/kafka/server.properties",
    "/opt/bitnami/kafka/config/server.properties",
];

impl Seen {
    /// The properties files that its command names, and those that its image may have.
    pub(super) fn candidates(&self) -> Vec<String> {
        let mut candidates = self.named();
        candidates.extend(USUAL_FILES.map(str::to_owned));
        candidates
    }

    /// The properties files that its command names, but for those of its logging.
    fn named(&self) -> Vec<String> {
        let words = self
            .command
            .iter()
            .flat_map(|word| word.split(|c: char| c.is_whitespace() || "'\";=".contains(c)));
        words
            .filter(|word| word.starts_with('/') && word.ends_with(".properties") && !word.contains("log4j"))
            .map(str::to_owned)
            .collect()
    }

    /// A key of Kafka's as the images take it from the environment.
    fn variable(&self, key: &str) -> Option<String> {
        let name = key.to_ascii_uppercase().replace('.', "_");
        let value = ["KAFKA_", "KAFKA_CFG_"]
            .iter()
            .find_map(|prefix| self.environment.get(&format!("{prefix}{name}")));
        value
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    }

    /// Where a path of the container lies on the machine, by the mount that is nearest to it.
    fn place(&self, path: &str) -> Place {
        let within = |mount: &&MountSeen| {
            let target = mount.target.trim_end_matches('/');
            path == target || path.strip_prefix(target).is_some_and(|rest| rest.starts_with('/'))
        };
        let nearest = self
            .mounts
            .iter()
            .filter(|mount| mount.source.starts_with('/'))
            .filter(within)
            .max_by_key(|mount| mount.target.len());
        let on_node = nearest.map(|mount| {
            let rest = &path[mount.target.trim_end_matches('/').len()..];
            format!("{}{rest}", mount.source.trim_end_matches('/'))
        });
        Place {
            in_container: path.to_owned(),
            on_node,
        }
    }
}

pub(super) fn ignored(seen: &Seen, why: impl Into<String>) -> Ignored {
    Ignored {
        container: seen.name.clone(),
        image: seen.image.clone(),
        why: why.into(),
    }
}

/// What speaks for Kafka, before any file is read; or why it is none.
pub(super) fn suspicion(seen: &Seen) -> Result<&'static str, &'static str> {
    if seen.name.starts_with("kbo-helper-") {
        return Err("a helper of kbo's");
    }
    if seen.name.contains(".kbo-") {
        return Err("put aside by a run of kbo: see kbo recover");
    }
    let starts = |word: &String| word.contains("kafka-server-start") || word.contains("kafka.Kafka");
    if seen.command.iter().any(starts) {
        return Ok("its command is kafka-server-start");
    }
    if seen.variable("process.roles").is_some() {
        return Ok("KAFKA_PROCESS_ROLES is in its environment");
    }
    let image = seen.image.to_ascii_lowercase();
    if image.contains("kafka") || image.contains("cp-server") {
        return Ok("its image");
    }
    Err("not Kafka: neither its command nor its environment nor its image speaks of it")
}

/// The node that a container is.
pub(super) fn node(
    seen: &Seen,
    evidence: &str,
    files: &BTreeMap<String, BTreeMap<String, String>>,
) -> Result<Surveyed, String> {
    let has_roles = |path: &String| files.get(path).is_some_and(|file| file.contains_key("process.roles"));
    let named = seen.named().into_iter().rfind(has_roles);
    let by_environment = seen.variable("process.roles").is_some();
    let usual = USUAL_FILES.iter().map(|path| (*path).to_owned()).find(has_roles);
    let path = match (&named, by_environment) {
        (Some(path), _) => Some(path.clone()),
        // The file is made of the environment at the start; it may be of another start.
        (None, true) => usual,
        (None, false) => usual,
    };
    let file = path.as_ref().and_then(|path| files.get(path));
    let value = |key: &str| {
        let written = file.and_then(|file| file.get(key)).map(|value| value.trim().to_owned());
        let written = written.filter(|value| !value.is_empty());
        match named {
            Some(_) => written.or_else(|| seen.variable(key)),
            None => seen.variable(key).or(written),
        }
    };
    let roles = value("process.roles").ok_or_else(|| match seen.named().last() {
        Some(file) if files.contains_key(file) => format!("{file} has no process.roles: not a KRaft node"),
        Some(file) => {
            format!("its properties file {file} cannot be read, and its environment has no KAFKA_PROCESS_ROLES")
        }
        None => "no process.roles, in its environment or a properties file: not a KRaft node".to_owned(),
    })?;
    let (votes, serves) = (roles.contains("controller"), roles.contains("broker"));
    let role = match (votes, serves) {
        (true, true) => Role::Combined,
        (true, false) => Role::Controller,
        (false, true) => Role::Broker,
        (false, false) => return Err(format!("process.roles = {roles} means nothing")),
    };
    let data = data(seen, &value);
    let mut warnings = vec![];
    for place in data.iter().filter(|place| place.on_node.is_none()) {
        warnings.push(format!(
            "{} lies in no mount: it goes when the container goes",
            place.in_container
        ));
    }
    if !seen.is_running {
        warnings.push("the container does not run".to_owned());
    }
    // A file that lies in no mount was made by the image, of the environment.
    let config = path.as_deref().and_then(|path| configuration(seen, path));
    let (config, properties) = config.unzip();
    let config_is_one_file = path
        .as_ref()
        .is_some_and(|path| seen.mounts.iter().any(|mount| mount.target == *path));
    Ok(Surveyed {
        container: seen.name.clone(),
        image: seen.image.clone(),
        is_running: seen.is_running,
        role,
        node_id: value("node.id")
            .or_else(|| value("broker.id"))
            .and_then(|id| id.parse().ok()),
        cluster_id: None,
        config,
        config_is_one_file,
        properties,
        data,
        evidence: match &path {
            Some(path) => format!("{evidence}; process.roles={roles} in {path}"),
            None => format!("{evidence}; process.roles={roles}"),
        },
        warnings,
    })
}

/// The log dirs, and the metadata log's directory where it is none of them.
fn data(seen: &Seen, value: &dyn Fn(&str) -> Option<String>) -> Vec<Place> {
    let usual = match seen.image.contains("cp-kafka") || seen.image.contains("cp-server") {
        true => "/var/lib/kafka/data",
        false if seen.image.contains("bitnami") => "/bitnami/kafka/data",
        false => "/tmp/kraft-combined-logs",
    };
    let dirs = value("log.dirs")
        .or_else(|| value("log.dir"))
        .unwrap_or_else(|| usual.to_owned());
    let metadata = value("metadata.log.dir");
    let mut paths: Vec<String> = vec![];
    for dir in dirs.split(',').chain(metadata.as_deref()) {
        let dir = dir.trim().trim_end_matches('/').to_owned();
        if !dir.is_empty() && !paths.contains(&dir) {
            paths.push(dir);
        }
    }
    paths.iter().map(|path| seen.place(path)).collect()
}

/// The directory of the properties file and the file's name, as the machine has them; the file may be mounted alone.
fn configuration(seen: &Seen, path: &str) -> Option<(Place, String)> {
    let on_node = seen.place(path).on_node?;
    let (in_container, _) = path.rsplit_once('/')?;
    let (folder, name) = on_node.rsplit_once('/')?;
    (!folder.is_empty()).then(|| {
        let place = Place {
            in_container: in_container.to_owned(),
            on_node: Some(folder.to_owned()),
        };
        (place, name.to_owned())
    })
}

/// What the log dirs say of themselves.
pub(super) fn identify(node: &mut Surveyed, metas: &[(String, MetaProperties)]) {
    for (dir, meta) in metas {
        if let Some(id) = &meta.cluster_id {
            match &node.cluster_id {
                Some(known) if known != id.as_str() => {
                    node.warnings
                        .push(format!("{dir} is of the cluster {id}, another log dir of {known}"));
                }
                _ => node.cluster_id = Some(id.to_string()),
            }
        }
        match (node.node_id, meta.node_id) {
            (Some(said), Some(found)) if said != found => {
                node.warnings
                    .push(format!("node.id is {said}, and {dir} is of node {found}"));
            }
            (None, Some(found)) => node.node_id = Some(found),
            _ => {}
        }
    }
    if metas.is_empty() {
        node.warnings
            .push("no log dir has a meta.properties: it is not formatted yet, or cannot be read".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(source: &str, target: &str) -> MountSeen {
        MountSeen {
            target: target.to_owned(),
            source: source.to_owned(),
        }
    }

    fn files(path: &str, text: &str) -> BTreeMap<String, BTreeMap<String, String>> {
        BTreeMap::from([(path.to_owned(), crate::kafka::parse_properties(text))])
    }

    fn judged(seen: &Seen, files: &BTreeMap<String, BTreeMap<String, String>>) -> Result<Surveyed, String> {
        node(seen, suspicion(seen).map_err(str::to_owned)?, files)
    }

    fn places(node: &Surveyed) -> Vec<(&str, Option<&str>)> {
        node.data
            .iter()
            .map(|place| (place.in_container.as_str(), place.on_node.as_deref()))
            .collect()
    }

    #[test]
    fn the_file_that_the_command_names_says_what_the_node_is() {
        let seen = Seen {
            name: "kafka-broker-1".to_owned(),
            image: "registry/x:1".to_owned(),
            is_running: true,
            command: ["/usr/bin/kafka-server-start", "/etc/kafka/kraft.properties"]
                .map(str::to_owned)
                .into(),
            mounts: vec![
                mount("/data/cluster/config/kraft.properties", "/etc/kafka/kraft.properties"),
                mount("/data/cluster/data", "/var/lib/kafka/data"),
                mount("/meta", "/var/lib/kafka/data/meta"),
            ],
            ..Seen::default()
        };
        let text = "process.roles=broker\nnode.id=4\nlog.dirs=/var/lib/kafka/data/a, /var/lib/kafka/data/b/\nmetadata.log.dir=/var/lib/kafka/data/meta\n";
        let node = judged(&seen, &files("/etc/kafka/kraft.properties", text)).unwrap();
        assert_eq!((node.role, node.node_id), (Role::Broker, Some(4)));
        assert_eq!(
            places(&node),
            [
                ("/var/lib/kafka/data/a", Some("/data/cluster/data/a")),
                ("/var/lib/kafka/data/b", Some("/data/cluster/data/b")),
                ("/var/lib/kafka/data/meta", Some("/meta")),
            ]
        );
        assert!(node.config_is_one_file);
        let config = node.config.unwrap();
        assert_eq!(
            config.on_node.as_deref(),
            Some("/data/cluster/config"),
            "the file is mounted alone"
        );
        assert_eq!(node.properties.as_deref(), Some("kraft.properties"));
    }

    #[test]
    fn the_environment_does_where_no_file_is_named_and_its_secrets_show_nowhere() {
        let seen = Seen {
            name: "k".to_owned(),
            image: "apache/kafka:4.1.1".to_owned(),
            command: vec!["/etc/kafka/docker/run".to_owned()],
            environment: [
                ("KAFKA_PROCESS_ROLES", "broker,controller"),
                ("KAFKA_NODE_ID", "7"),
                ("KAFKA_LOG_DIRS", "/var/lib/kafka/data"),
                ("KAFKA_SASL_JAAS_CONFIG", "hunter2"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
            mounts: vec![mount("/var/lib/docker/volumes/v/_data", "/var/lib/kafka")],
            ..Seen::default()
        };
        // The image's own file, of before the first start.
        let stale = files(
            "/opt/kafka/config/server.properties",
            "process.roles=broker\nnode.id=1\nlog.dirs=/tmp/x\n",
        );
        let node = judged(&seen, &stale).unwrap();
        assert_eq!(
            (node.role, node.node_id, node.config.clone()),
            (Role::Combined, Some(7), None)
        );
        assert_eq!(
            places(&node),
            [("/var/lib/kafka/data", Some("/var/lib/docker/volumes/v/_data/data"))]
        );
        assert!(node.warnings.iter().any(|warning| warning.contains("does not run")));
        assert!(!format!("{node:?}").contains("hunter2"));
    }

    #[test]
    fn what_only_looks_like_kafka_is_left_out_with_the_reason() {
        let named = |name: &str, image: &str, command: &[&str]| Seen {
            name: name.to_owned(),
            image: image.to_owned(),
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            ..Seen::default()
        };
        let none = BTreeMap::new();
        let why = |seen: &Seen| judged(seen, &none).unwrap_err();
        assert!(why(&named("kafka", "postgres:18", &["postgres"])).contains("not Kafka"));
        assert!(why(&named("ui", "provectuslabs/kafka-ui", &[])).contains("process.roles"));
        assert!(why(&named("kbo-helper-k-1", "apache/kafka", &[])).contains("kbo"));
        assert!(why(&named("k.kbo-20261122T030000Z", "apache/kafka", &[])).contains("put aside"));
        let old = named(
            "zk",
            "cp-kafka",
            &["kafka-server-start", "/etc/kafka/server.properties"],
        );
        let text = judged(&old, &files("/etc/kafka/server.properties", "broker.id=1\n")).unwrap_err();
        assert!(text.contains("not a KRaft node"), "{text}");
    }

    #[test]
    fn log_dirs_confirm_the_identity_or_contradict_it() {
        let seen = Seen {
            image: "apache/kafka".to_owned(),
            environment: BTreeMap::from([("KAFKA_PROCESS_ROLES".to_owned(), "broker".to_owned())]),
            ..Seen::default()
        };
        let mut node = judged(&seen, &BTreeMap::new()).unwrap();
        let meta = |id, cluster: &str| MetaProperties {
            cluster_id: cluster.parse().ok(),
            node_id: Some(id),
            directory_id: None,
        };
        let (one, two) = ("AkU3OEVBNTcwNTJENDM2Qg", "BkU3OEVBNTcwNTJENDM2Qg");
        identify(
            &mut node,
            &[("/a".to_owned(), meta(3, one)), ("/b".to_owned(), meta(4, two))],
        );
        assert_eq!((node.node_id, node.cluster_id.as_deref()), (Some(3), Some(one)));
        assert!(node.warnings.iter().any(|warning| warning.contains(two)));
        assert!(node.warnings.iter().any(|warning| warning.contains("node 4")));
    }
}
