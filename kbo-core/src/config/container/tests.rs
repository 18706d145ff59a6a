//! What kbo.toml makes of a container.

use serde_json::json;

use std::collections::BTreeMap;

use super::*;
use crate::inventory::Role;

fn node(role: Role) -> Node {
    Node {
        name: "n1".parse().unwrap(),
        role,
        container: "n1".to_owned(),
        config: Some("/data/config".to_owned()),
        data: vec!["/data/kafka".to_owned()],
        node_id: None,
        unit: None,
    }
}

fn image(image: &str) -> RawContainer {
    RawContainer {
        image: Some(image.to_owned()),
        ..RawContainer::default()
    }
}

fn body(levels: &[&RawContainer], role: Role) -> serde_json::Value {
    let made = definition(levels, &node(role), Paths::OnNode, 360).unwrap().unwrap();
    made.body(&BTreeMap::new()).0
}

fn refused(change: impl FnOnce(&mut RawContainer)) -> String {
    let mut raw = image("apache/kafka:4.1.1");
    change(&mut raw);
    definition(&[&raw], &node(Role::Broker), Paths::OnNode, 360)
        .unwrap_err()
        .to_string()
}

#[test]
fn an_image_is_enough_and_without_one_there_is_no_definition() {
    assert_eq!(
        definition(&[&RawContainer::default()], &node(Role::Broker), Paths::OnNode, 360),
        Ok(None)
    );
    let body = body(&[&image("apache/kafka:4.1.1")], Role::Broker);
    assert_eq!(
        body["Cmd"],
        json!([
            "/opt/kafka/bin/kafka-server-start.sh",
            "/mnt/kafka/config/server.properties"
        ])
    );
    assert_eq!(
        body["HostConfig"]["Binds"],
        json!(["/data/config:/mnt/kafka/config:ro", "/data/kafka:/var/lib/kafka/data"])
    );
    assert_eq!(
        body["HostConfig"]["PortBindings"],
        json!({ "9092/tcp": [{ "HostIp": "", "HostPort": "9092" }] })
    );
    assert_eq!(body["HostConfig"]["RestartPolicy"], json!({ "Name": "unless-stopped" }));
    assert_eq!((&body["Hostname"], &body["StopTimeout"]), (&json!("n1"), &json!(360)));
}

#[test]
fn confluents_image_has_its_program_on_the_path_and_controllers_their_port() {
    for name in [
        "confluentinc/cp-kafka:8.1.0",
        "registry.local:5000/cp-kafka",
        "registry.local/confluentinc/cp-server:8",
    ] {
        let body = body(&[&image(name)], Role::Combined);
        assert_eq!(body["Cmd"][0], "kafka-server-start", "{name}");
        let ports = body["HostConfig"]["PortBindings"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>();
        assert_eq!(ports, ["9092/tcp", "9093/tcp"]);
    }
}

#[test]
fn the_more_particular_table_wins_and_maps_add_up() {
    let mut general = image("a:1");
    general.memory = Some(Scalar::Text("1g".to_owned()));
    general.environment.insert("A".to_owned(), Scalar::Whole(1));
    let mut own = RawContainer {
        memory: Some(Scalar::Text("512m".to_owned())),
        ..RawContainer::default()
    };
    own.environment.insert("B".to_owned(), Scalar::Bool(true));
    let body = body(&[&general, &RawContainer::default(), &own], Role::Broker);
    assert_eq!(body["HostConfig"]["Memory"], json!(512 << 20));
    assert_eq!(body["Env"], json!(["A=1", "B=true"]));
}

#[test]
fn wrong_values_name_their_key_and_what_to_write() {
    for (key, text) in [
        ("ports", refused(|raw| raw.ports = Some(vec!["70000".to_owned()]))),
        (
            "ports",
            refused(|raw| {
                raw.network = Some("host".to_owned());
                raw.ports = Some(vec!["9092".to_owned()]);
            }),
        ),
        (
            "mounts",
            refused(|raw| raw.mounts = Some(vec!["data:relative".to_owned()])),
        ),
        (
            "mounts",
            refused(|raw| raw.mounts = Some(vec!["/a/../b:/c".to_owned()])),
        ),
        (
            "memory",
            refused(|raw| raw.memory = Some(Scalar::Text("much".to_owned()))),
        ),
        ("cpus", refused(|raw| raw.cpus = Some(-1.0))),
        ("restart", refused(|raw| raw.restart = Some("sometimes".to_owned()))),
        (
            "ulimits",
            refused(|raw| drop(raw.ulimits.insert("nofile".to_owned(), Scalar::Text("9:1".to_owned())))),
        ),
        (
            "extra_hosts",
            refused(|raw| raw.extra_hosts = Some(vec!["nowhere".to_owned()])),
        ),
        ("ip", refused(|raw| raw.ip = Some("10.0.0.1".to_owned()))),
        ("jmx", refused(|raw| raw.jmx = Some(Scalar::Text("here:1".to_owned())))),
        (
            "properties",
            refused(|raw| raw.properties = Some("../server.properties".to_owned())),
        ),
    ] {
        assert!(
            text.contains(&format!("node.n1.container.{key}")) && text.contains("write "),
            "{text}"
        );
    }
}

#[test]
fn through_an_engine_mounts_must_say_what_lies_behind_the_directories() {
    let raw = image("apache/kafka");
    let text = definition(&[&raw], &node(Role::Broker), Paths::InContainer, 360)
        .unwrap_err()
        .to_string();
    assert!(text.contains("mounts") && text.contains("/data/config"), "{text}");
    let mounts = ["/srv/n1:/data/config:ro", "n1-data:/data"];
    let raw = RawContainer {
        mounts: Some(mounts.map(str::to_owned).into()),
        ..raw
    };
    let made = definition(&[&raw], &node(Role::Broker), Paths::InContainer, 360)
        .unwrap()
        .unwrap();
    assert_eq!(made.properties.as_deref(), Some("/data/config/server.properties"));
    assert_eq!(made.data, ["/data/kafka"]);
}

#[test]
fn kafkas_own_file_is_found_in_a_command() {
    let mut raw = image("own");
    let script = "if [ ! -e /d/meta.properties ]; then x; fi; exec java -Dlog4j2=/e/log4j2.properties kafka.Kafka /e/kraft.properties";
    raw.command = Some(vec!["-c".to_owned(), script.to_owned()]);
    let made = definition(&[&raw], &node(Role::Broker), Paths::OnNode, 360)
        .unwrap()
        .unwrap();
    assert_eq!(made.properties.as_deref(), Some("/e/kraft.properties"));
}

#[test]
fn jmx_is_published_where_told_and_reached_under_that_address() {
    let mut raw = image("apache/kafka");
    raw.jmx = Some(Scalar::Text("127.0.0.1:9999".to_owned()));
    let body = body(&[&raw], Role::Broker);
    assert_eq!(
        body["HostConfig"]["PortBindings"]["9999/tcp"],
        json!([{ "HostIp": "127.0.0.1", "HostPort": "9999" }])
    );
    assert!(
        body["Env"][0]
            .as_str()
            .unwrap()
            .contains("java.rmi.server.hostname=127.0.0.1"),
        "{body}"
    );
}
