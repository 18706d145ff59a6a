//! Files, environments and commands, and what Kafka makes of them.

use super::*;

const BROKER: &str = "process.roles=broker\nnode.id=4\nlisteners=PLAINTEXT://:9092,SSL://[::1]:9093\n\
    advertised.listeners=PLAINTEXT://b4.example:19092\ncontroller.listener.names=controller\n\
    controller.quorum.voters=1@c1:9093,2@c2:9094,junk\ncontroller.quorum.bootstrap.servers=c1:9093,c2:9093\n\
    listener.security.protocol.map=controller:SSL, PLAINTEXT:PLAINTEXT,SSL:SSL\nlog.dirs=/d1, /d2\n\
    inter.broker.listener.name=PLAINTEXT\n";

fn dir_with(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    dir
}

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn command(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| (*w).to_owned()).collect()
}

fn endpoint(name: &str, host: &str, port: u16) -> Endpoint {
    Endpoint {
        name: name.to_owned(),
        host: host.to_owned(),
        port,
    }
}

#[test]
fn every_key_is_understood() {
    let dir = dir_with(&[("server.properties", BROKER)]);
    let config = NodeKafkaConfig::read(Some(dir.path()), &[], &[]).unwrap();
    assert!(config.is_broker && !config.is_controller);
    assert_eq!(config.node_id, Some(4));
    assert_eq!(
        config.listeners,
        [endpoint("PLAINTEXT", "", 9092), endpoint("SSL", "::1", 9093)]
    );
    assert_eq!(config.advertised, [endpoint("PLAINTEXT", "b4.example", 19092)]);
    assert_eq!(config.controller_listener_names, ["CONTROLLER"]);
    assert_eq!(
        config.protocol_map.unwrap()[0],
        ("CONTROLLER".to_owned(), "SSL".to_owned())
    );
    assert_eq!(config.voters, [(1, "c1".to_owned(), 9093), (2, "c2".to_owned(), 9094)]);
    assert_eq!(config.bootstrap_servers.len(), 2);
    assert_eq!(config.log_dirs, ["/d1", "/d2"]);
    assert_eq!(config.inter_broker_listener_name.as_deref(), Some("PLAINTEXT"));
}

/// As `Properties.load` of Java reads a stream.
#[test]
fn a_file_is_read_byte_by_byte() {
    let dir = dir_with(&[("server.properties", &format!("{BROKER}ssl.key.password=p\u{e4}\n"))]);
    let config = NodeKafkaConfig::read(Some(dir.path()), &[], &[]).unwrap();
    assert_eq!(config.own.get("ssl.key.password"), Some("p\u{c3}\u{a4}"));
}

#[test]
fn the_file_named_in_the_command_comes_first_and_outranks_the_environment() {
    let dir = dir_with(&[
        ("server.properties", BROKER),
        ("mine.properties", "process.roles=controller\nnode.id=1"),
    ]);
    let command = command(&[
        "sh",
        "-c",
        "exec java -Dlog4j.configuration=file:/x/log4j.properties kafka.Kafka '/etc/kafka/mine.properties' --override node.id=9",
    ]);
    let config = NodeKafkaConfig::read(Some(dir.path()), &env(&[("KAFKA_PROCESS_ROLES", "broker")]), &command).unwrap();
    assert!(config.is_controller && !config.is_broker);
    assert_eq!(config.node_id, Some(9));
    assert_eq!(config.source.unwrap(), dir.path().join("mine.properties"));
}

#[test]
fn the_parent_folder_in_the_command_tells_files_of_one_name_apart() {
    let dir = dir_with(&[
        ("server.properties", "process.roles=broker\nnode.id=1"),
        ("kraft/server.properties", "process.roles=broker,controller\nnode.id=2"),
    ]);
    let config = NodeKafkaConfig::read(
        Some(dir.path()),
        &[],
        &command(&["bin/kafka-server-start.sh", "/opt/kafka/config/kraft/server.properties"]),
    );
    assert_eq!(config.unwrap().node_id, Some(2));
}

#[test]
fn a_kraft_file_is_found_behind_a_zookeeper_sample() {
    let dir = dir_with(&[
        ("server.properties", "broker.id=0\nzookeeper.connect=localhost:2181"),
        ("kraft/server.properties", "process.roles=broker,controller\nnode.id=2"),
    ]);
    assert_eq!(
        NodeKafkaConfig::read(Some(dir.path()), &[], &[]).unwrap().node_id,
        Some(2)
    );
}

#[test]
fn a_single_file_of_any_name_is_found_and_of_several_none() {
    let dir = dir_with(&[
        ("node7.properties", "process.roles=broker\nnode.id=7"),
        ("log4j.properties", "x=y"),
    ]);
    assert_eq!(
        NodeKafkaConfig::read(Some(dir.path()), &[], &[]).unwrap().node_id,
        Some(7)
    );
    std::fs::write(dir.path().join("node8.properties"), "node.id=8").unwrap();
    let error = NodeKafkaConfig::read(Some(dir.path()), &[], &[]).unwrap_err();
    assert!(
        error.message.contains("node7.properties") && error.message.contains("node8.properties"),
        "{error}"
    );
}

#[test]
fn the_environment_of_the_images_overlays_the_file() {
    let dir = dir_with(&[("server.properties", BROKER)]);
    let vars = env(&[
        ("KAFKA_LISTENERS", "PLAINTEXT://0.0.0.0:29092"),
        ("KAFKA_CFG_NODE_ID", "12"),
        ("PATH", "/bin"),
    ]);
    let config = NodeKafkaConfig::read(Some(dir.path()), &vars, &[]).unwrap();
    assert_eq!(config.listeners, [endpoint("PLAINTEXT", "0.0.0.0", 29092)]);
    assert_eq!(config.node_id, Some(12));
}

#[test]
fn the_environment_alone_is_enough() {
    let vars = env(&[("KAFKA_PROCESS_ROLES", "broker,controller"), ("KAFKA_NODE_ID", "1")]);
    let config = NodeKafkaConfig::read(None, &vars, &[]).unwrap();
    assert!(config.is_broker && config.is_controller);
    assert_eq!(config.listeners, [endpoint("PLAINTEXT", "", 9092)]);
}

#[test]
fn underscores_become_what_the_images_make_of_them() {
    let keys = env_properties(&env(&[("KAFKA_A_B", "1"), ("KAFKA_A__B", "2"), ("KAFKA_A___B", "3")]));
    let expected = [("a.b", "1"), ("a_b", "2"), ("a-b", "3")];
    assert_eq!(
        keys,
        expected
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into_iter()
            .collect()
    );
}

#[test]
fn a_missing_or_wrong_key_is_named() {
    let error = NodeKafkaConfig::read(None, &[], &[]).unwrap_err();
    assert!(
        error.message.contains("process.roles") && error.hint.is_some(),
        "{error}"
    );
    let vars = env(&[("KAFKA_PROCESS_ROLES", "broker"), ("KAFKA_LISTENERS", "nonsense")]);
    let error = NodeKafkaConfig::read(None, &vars, &[]).unwrap_err();
    assert!(
        error.message.contains("listeners") && error.message.contains("nonsense"),
        "{error}"
    );
}

#[test]
fn zookeeper_is_recognised() {
    let error = NodeKafkaConfig::read(None, &env(&[("KAFKA_ZOOKEEPER_CONNECT", "z:2181")]), &[]).unwrap_err();
    assert!(error.hint.unwrap().contains("ZooKeeper"));
}
