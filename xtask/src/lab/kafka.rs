//! The six nodes of a cluster: their configuration and the command of their containers.

use super::Kind;

/// The Kafka version when KAFKA_VERSION does not say otherwise.
const DEFAULT_VERSION: &str = "4.1.1";

/// Seconds that the engine gives Kafka to stop, as kbo would say it.
pub(super) const STOP_TIMEOUT: &str = "360";

/// What a node does in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A member of the metadata quorum.
    Controller,
    /// A holder of data.
    Broker,
}

impl Role {
    /// As kbo.toml writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Controller => "controller",
            Self::Broker => "broker",
        }
    }
}

/// One node of a lab.
#[derive(Clone, Debug)]
pub struct Node {
    /// Name of the node and of its container.
    pub name: String,
    /// Controller or broker.
    pub role: Role,
    /// `node.id`.
    pub id: u32,
    /// Its address.
    pub ip: String,
}

impl Node {
    /// The name that certificates are made out to: one label below the lab's domain.
    #[must_use]
    pub fn host(&self) -> String {
        format!("{}.{}", self.name, super::DOMAIN)
    }
}

/// The version asked for in the environment, if any.
pub(super) fn wanted_version() -> Option<String> {
    std::env::var("KAFKA_VERSION")
        .ok()
        .filter(|version| !version.is_empty())
}

/// The version to start.
pub(super) fn version() -> String {
    wanted_version().unwrap_or_else(|| DEFAULT_VERSION.to_owned())
}

/// The nodes of a lab, in the order of their start.
pub(super) fn nodes(kind: Kind) -> Vec<Node> {
    let (prefix, network) = match kind {
        Kind::Ssh => ("kafka", "10.77.0"),
        Kind::Docker => ("kbo-lab", "172.28.77"),
    };
    let node = |role: Role, index: u32, id: u32, host: u32| Node {
        name: format!("{prefix}-{}-{index}", role.name()),
        role,
        id,
        ip: format!("{network}.{host}"),
    };
    let controllers = (1..=3).map(|i| node(Role::Controller, i, i, 20 + i));
    let brokers = (1..=3).map(|i| node(Role::Broker, i, 3 + i, 30 + i));
    controllers.chain(brokers).collect()
}

/// What the lab's kbo.toml calls its cluster.
pub(super) fn cluster_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Ssh => "lab-ssh",
        Kind::Docker => "lab-docker",
    }
}

/// The cluster id of a lab: 16 bytes in base64url.
pub(super) fn cluster_id(kind: Kind) -> &'static str {
    match kind {
        Kind::Ssh => "kboLabSshCluster00001Q",
        Kind::Docker => "kboLabDockerClust0001Q",
    }
}

/// Where clients find the brokers.
pub(super) fn bootstrap(kind: Kind) -> String {
    let brokers = nodes(kind).into_iter().filter(|node| node.role == Role::Broker);
    brokers
        .map(|node| format!("{}:9092", node.ip))
        .collect::<Vec<_>>()
        .join(",")
}

/// The files of a node's configuration directory.
pub(super) fn config_files(kind: Kind, node: &Node, log_dir: &str) -> [(&'static str, String); 3] {
    [
        ("server.properties", server_properties(kind, node, log_dir)),
        ("log4j2.properties", LOG4J2.to_owned()),
        ("log4j.properties", RELOAD4J.to_owned()),
    ]
}

/// Properties with other values for some keys, and keys that they had not.
pub(crate) fn with_values(text: &str, values: &[(&str, String)]) -> String {
    let is_other = |line: &&str| !values.iter().any(|(key, _)| line.starts_with(&format!("{key}=")));
    let kept = text.lines().filter(is_other).map(|line| format!("{line}\n"));
    kept.chain(values.iter().map(|(key, value)| format!("{key}={value}\n")))
        .collect()
}

fn server_properties(kind: Kind, node: &Node, log_dir: &str) -> String {
    let voters = nodes(kind).into_iter().filter(|other| other.role == Role::Controller);
    let voters = voters
        .map(|other| format!("{}@{}:9093", other.id, other.ip))
        .collect::<Vec<_>>()
        .join(",");
    let Node { id, ip, role, .. } = node;
    let listeners = match role {
        Role::Controller => format!("listeners=CONTROLLER://{ip}:9093\n"),
        Role::Broker => format!(
            "listeners=PLAINTEXT://{ip}:9092\nadvertised.listeners=PLAINTEXT://{ip}:9092\ninter.broker.listener.name=PLAINTEXT\n"
        ),
    };
    format!(
        "process.roles={}\n\
         node.id={id}\n\
         controller.quorum.voters={voters}\n\
         controller.listener.names=CONTROLLER\n\
         {listeners}\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
         log.dirs={log_dir}\n\
         log.segment.bytes=67108864\n\
         num.partitions=3\n\
         default.replication.factor=3\n\
         min.insync.replicas=2\n\
         auto.create.topics.enable=false\n\
         offsets.topic.replication.factor=3\n\
         offsets.topic.num.partitions=10\n\
         transaction.state.log.replication.factor=3\n\
         transaction.state.log.num.partitions=10\n\
         transaction.state.log.min.isr=2\n\
         group.initial.rebalance.delay.ms=0\n\
         num.recovery.threads.per.data.dir=2\n\
         message.max.bytes=4194304\n",
        role.name()
    )
}

/// What a node's container runs: the same for a pulled apache/kafka and for an image of the lab's own. The directory is formatted
/// only when it is empty, the class path names every jar as that of `bin/kafka-run-class.sh` does, and Java replaces the shell, so
/// that the engine's SIGTERM reaches Kafka.
pub(super) fn container_script(kind: Kind, log_dir: &str) -> String {
    format!(
        "set -eu\n\
         libs=$(echo /opt/kafka/libs/*.jar | tr ' ' :)\n\
         if [ ! -e {log_dir}/meta.properties ]; then\n\
         java -Xmx128m -XX:TieredStopAtLevel=1 -cp \"$libs\" \
         kafka.tools.StorageTool format -g -t {} -c /etc/kafka/server.properties\n\
         fi\n\
         exec java -Xms128m -Xmx384m -Dlog4j2.configurationFile=/etc/kafka/log4j2.properties \
         -Dlog4j.configuration=file:/etc/kafka/log4j.properties -cp \"$libs\" kafka.Kafka /etc/kafka/server.properties\n",
        cluster_id(kind)
    )
}

/// The same as kbo.toml has it, without what differs between the labs.
pub(super) fn container_toml(kind: Kind, log_dir: &str) -> String {
    format!(
        "entrypoint = [\"/bin/sh\"]\ncommand = [\"-c\", {:?}]\nuser = \"1000:1000\"\n",
        container_script(kind, log_dir)
    )
}

const LOG4J2: &str = "\
status=error
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=[%d] %p %m (%c)%n
rootLogger.level=info
rootLogger.appenderRef.out.ref=out
";

const RELOAD4J: &str = "\
log4j.rootLogger=INFO, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=[%d] %p %m (%c)%n
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_id_is_22_characters_that_decode_to_16_bytes() {
        for kind in Kind::ALL {
            let id = cluster_id(kind);
            assert_eq!(id.len(), 22);
            // 22 characters hold 132 bits: the last four must be zero.
            assert!(id.ends_with(['A', 'Q', 'g', 'w']));
        }
    }

    #[test]
    fn controllers_come_before_brokers_and_ids_are_unique() {
        let nodes = nodes(Kind::Ssh);
        assert_eq!(nodes.iter().map(|node| node.id).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
        assert_eq!(nodes[0].name, "kafka-controller-1");
        assert_eq!(nodes[5].ip, "10.77.0.33");
    }
}
