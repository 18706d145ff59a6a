//! Whole files, as the older tool's users have them.

use super::*;

const CONFIG_INI: &str = "\
# comment
[general]
PID_FILE=/tmp/x.pid
LOG_FILE=/backup/log/x.log
LOG_LEVEL=INFO

[ssh]
SSH_KEY_PRI=/root/.ssh/id_rsa
SSH_KEY_PUB=/root/.ssh/id_rsa.pub
SSH_USER=ops
[storage]
STORAGE_TEMP=/data/temp
STORAGE_COLD=/backup/cold
STORAGE_RETENTION_POLICY=14
STORAGE_WARN_LOW=25
[cluster]
IMAGE=confluentinc/cp-kafka:7.8.0
CLUSTER_ID=AkU3OEVBNTcwNTJENDM2Qk
NODE_CONFIG=/data/cluster/config
NODE_DATA=/data/cluster/data/
NODE_TEMP=/data/temp
[nodes]
kafka-broker-1=10.1.3.24
kafka-controller-2=10.1.3.22
kafka-controller-1=10.1.3.21
[order]
startup=kafka-controller-1,kafka-controller-2,kafka-broker-1
shutdown=kafka-broker-1,kafka-controller-2,kafka-controller-1
";

pub(super) fn main(name: &str, text: &str) -> Source {
    Source {
        name: name.to_owned(),
        text: text.to_owned(),
        scope: Scope::Main,
    }
}

pub(super) fn group(name: &str, text: &str) -> Source {
    Source {
        name: format!("group_vars/{name}.yml"),
        text: text.to_owned(),
        scope: Scope::Group(name.to_owned()),
    }
}

pub(super) fn imported(sources: &[Source]) -> Imported {
    import(sources, &Wishes::default()).unwrap_or_else(|error| panic!("{error}"))
}

fn failed(text: &str) -> ImportError {
    import(&[main("f", text)], &Wishes::default()).unwrap_err()
}

pub(super) fn destination<'a>(imported: &'a Imported, key: &str) -> &'a str {
    let found = imported.carried.iter().find(|carried| carried.key == key);
    found.map_or("", |carried| carried.to.as_str())
}

pub(super) fn reason<'a>(imported: &'a Imported, key: &str) -> &'a str {
    let found = imported.left.iter().find(|left| left.key == key);
    found.map_or("", |left| left.why.as_str())
}

fn position(text: &str, part: &str) -> usize {
    text.find(part).unwrap_or_else(|| panic!("{part} is not in\n{text}"))
}

#[test]
fn every_key_of_config_ini_is_in_one_of_the_lists() {
    let imported = imported(&[main("config.ini", CONFIG_INI)]);
    let keys = CONFIG_INI
        .lines()
        .filter(|line| !line.starts_with('#') && line.contains('='))
        .count();
    assert_eq!(imported.carried.len() + imported.left.len(), keys);
    for (key, to) in [
        ("LOG_FILE", "log.file"),
        ("SSH_KEY_PRI", "ssh.key"),
        ("SSH_USER", "ssh.user"),
        ("STORAGE_COLD", "storage.cold"),
        ("STORAGE_RETENTION_POLICY", "retention.days"),
        ("STORAGE_WARN_LOW", "storage.warn_free_percent"),
        ("IMAGE", "defaults.container.image"),
        ("CLUSTER_ID", "cluster.id"),
        ("NODE_CONFIG", "defaults.config"),
        ("NODE_DATA", "defaults.data"),
        ("startup", "the order of [[node]]"),
    ] {
        assert_eq!(destination(&imported, key), to, "{key}");
    }
    for key in [
        "PID_FILE",
        "LOG_LEVEL",
        "SSH_KEY_PUB",
        "STORAGE_TEMP",
        "NODE_TEMP",
        "shutdown",
    ] {
        assert!(!reason(&imported, key).is_empty(), "{key}");
    }
    let text = &imported.toml;
    for line in [
        "data = \"/data/cluster/data\"",
        "days = 14",
        "user = \"ops\"",
        "cold = \"/backup/cold\"",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let order =
        ["\"kafka-controller-1\"", "\"kafka-controller-2\"", "\"kafka-broker-1\""].map(|name| position(text, name));
    assert!(order.is_sorted(), "{text}");
}

#[test]
fn values_that_do_not_do_are_named_and_the_rest_goes_on() {
    let text = CONFIG_INI
        .replace("AkU3OEVBNTcwNTJENDM2Qk", &"x".repeat(300))
        .replace("POLICY=14", "POLICY=never")
        .replace("LOW=25", "LOW=250")
        .replace("SSH_USER=ops", "SSH_USER=")
        .replace("[order]", "[extra]\nX=1\n[order]\nNEW=1")
        .replace("startup=", "startup=kafka-broker-1,ghost,");
    let imported = imported(&[main("config.ini", &text)]);
    assert!(reason(&imported, "CLUSTER_ID").contains("is not a valid cluster id"));
    assert!(reason(&imported, "STORAGE_RETENTION_POLICY").contains("number of days"));
    assert!(reason(&imported, "STORAGE_WARN_LOW").contains("percentage"));
    assert_eq!(reason(&imported, "SSH_USER"), "it has no value");
    assert!(reason(&imported, "X").contains("[extra]"));
    assert_eq!(reason(&imported, "NEW"), "kbo has no such setting");
    let startup = destination(&imported, "startup");
    assert!(
        startup.contains("ghost") && startup.contains("controllers start before brokers"),
        "{startup}"
    );
}

#[test]
fn a_key_that_is_written_twice_counts_once_and_a_node_may_not_be() {
    let twice = CONFIG_INI.replace("SSH_USER=ops", "SSH_USER=first\nSSH_USER=second");
    let imported = imported(&[main("c", &twice)]);
    assert!(imported.toml.contains("\"second\"") && !imported.toml.contains("\"first\""));
    assert!(reason(&imported, "SSH_USER").contains("written again on line"));
    let error = failed(&CONFIG_INI.replace("[order]", "kafka-broker-1=10.0.0.9\n[order]"));
    assert_eq!(error.line, Some(23), "{error}");
}

#[test]
fn lines_that_cannot_be_read_have_a_number_and_a_remedy() {
    for (text, line) in [
        ("[nodes]\na=1\nnonsense\n", 3),
        ("[nodes\na=1\n", 1),
        ("[nodes]\na b=1\n[ssh]\nSSH_USER=x\n", 2),
        ("SSH_USER=x\n[nodes]\na=1\n", 1),
        ("[nodes]\nc=\n", 2),
        ("[cluster]\nNODE_DATA=data\n[nodes]\nc=1\n", 2),
        ("all:\n  hosts:\n    a: [\n", 4),
        ("all:\n  hosts: x\n", 2),
        ("[a]\nh ansible_host='x\n", 2),
        ("[a:vars]\nhunter2\n", 2),
        ("[ssh]\nhunter2\n[nodes]\na=1\n", 2),
        ("[a] hunter2\n", 1),
        ("[Nodes]\na=1\n", 1),
        ("[nodes]\na=10.0.0.1 x\n", 2),
        ("[nodes]\na=-oProxyCommand=x\n", 2),
        ("[brokers]\nb ansible_host='10.0.0.1 x'\n", 2),
        ("[brokers]\nb ansible_host=-x\n", 2),
    ] {
        let error = failed(text);
        assert_eq!(error.line, Some(line), "{text:?}: {error}");
        assert!(!error.hint.is_empty());
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
    assert!(failed("[Nodes]\na=1\n").hint.contains("[nodes]"));
    assert!(
        failed("$ANSIBLE_VAULT;1.1;AES256\n6162\n")
            .why
            .contains("ansible-vault")
    );
    assert!(failed("# nothing\n").why.contains("says nothing"));
    assert!(failed("[ssh]\nSSH_USER=x\n").why.contains("no node"));
}

const HOSTS_YML: &str = "\
all:
  children:
    central:
      hosts:
        node-00: {ansible_host: 10.0.0.1}
    cluster:
      children:
        controllers:
          hosts:
            node-01: {ansible_host: 10.0.0.11, hostname: node-01.example.org, node_id: 1}
        brokers:
          hosts:
            node-02: {ansible_host: 10.0.0.21, hostname: node-02.example.org, node_id: 2, ansible_port: 2222}
";

const ALL_YML: &str = "\
ansible_user: root
ansible_private_key_file: /keys/id
ansible_ssh_pass: hunter2
cluster_id: AkU3OEVBNTcwNTJENDM2Qd
retention_policy_cluster: 21
storage_cold_path: /backup/cold
base: /data/cluster
node_config_path: \"{{ base }}/config\"
node_data_path: \"{{ base }}/data/logs\"
node_meta_path: \"{{ base }}/data/meta\"
backup_date: \"{{ ansible_date_time.date }}\"
kafka_services:
  - role: controllers
    image: apache/kafka:4.3.1
    volumes: [\"{{ hostvars[inventory_hostname]['node_config_path'] }}:/mnt/shared/config\", \"{{ node_data_path }}:/var/lib/kafka/data\", \"{{ node_meta_path }}:/var/lib/kafka/meta\"]
    command: [/opt/kafka/bin/kafka-server-start.sh, /mnt/shared/config/kraft.properties]
";

#[test]
fn an_inventory_in_yaml_with_its_variables_becomes_nodes() {
    let imported = imported(&[main("hosts.yml", HOSTS_YML), group("all", ALL_YML)]);
    let text = &imported.toml;
    for line in [
        "container = \"node-01.example.org\"",
        "node_id = 2",
        "port = 2222",
        "key = \"/keys/id\"",
        "config = \"/data/cluster/config\"",
        "data = [\"/data/cluster/data/logs\", \"/data/cluster/data/meta\"]",
        "days = 21",
        "[defaults.controller.container]",
        "config_mount = \"/mnt/shared/config\"",
        "data_mount = [\"/var/lib/kafka/data\", \"/var/lib/kafka/meta\"]",
        "properties = \"kraft.properties\"",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains("node-00"), "the central host is no node");
    let left = imported.left.iter().find(|left| left.place == "host node-00").unwrap();
    assert!(left.why.contains("central"), "{left:?}");
    assert!(reason(&imported, "ansible_ssh_pass").contains("secret"));
    assert!(reason(&imported, "backup_date").contains("time"));
    assert!(!format!("{imported:?}").contains("hunter2"));
    assert!(
        imported
            .assumed
            .iter()
            .any(|assumed| assumed.key == "node.node-01.role")
    );
}

#[test]
fn an_inventory_in_ini_has_ranges_children_and_variables_of_groups() {
    let text = "\
[kafka_controllers]
c[1:2] ansible_host=10.0.0.1

[kafka_brokers]
b1:2200 ansible_host=\"10.0.0.3\" ansible_user=own

[kafka:children]
kafka_controllers
kafka_brokers

[kafka:vars]
ansible_user=ops
ansible_become=yes
node_data=/d1,/d2
[all:vars]
ansible_user=general
";
    let imported = imported(&[main("inventory", text)]);
    let text = &imported.toml;
    assert_eq!(text.matches("user = \"ops\"").count(), 2, "{text}");
    assert_eq!(text.matches("user = \"own\"").count(), 1, "{text}");
    assert!(text.contains("port = 2200") && text.contains("become = true"));
    assert!(text.contains("data = [\"/d1\", \"/d2\"]"));
    let general = imported.left.iter().find(|left| left.place == "[all:vars]").unwrap();
    assert!(general.why.contains("says otherwise"), "{general:?}");
}

#[test]
fn a_group_that_is_called_like_a_section_is_still_a_group() {
    let text = "[nodes]\nnode-1 node_id=1\nnode-2 node_id=2\n";
    let imported = imported(&[main("inventory", text)]);
    assert_eq!(imported.formats, ["Ansible inventory (INI)"]);
    assert_eq!(imported.toml.matches("role = \"combined\"").count(), 2);
    assert!(imported.toml.contains("host = \"node-2\"") && imported.toml.contains("node_id = 2"));
}

#[test]
fn groups_in_a_circle_end() {
    let text = "[a:children]\nb\n[b:children]\na\n[b]\nh ansible_host=1\n";
    assert!(imported(&[main("i", text)]).toml.contains("\"h\""));
}

#[test]
fn what_only_ansible_can_evaluate_is_said_and_missing_things_are_assumed_loudly() {
    let text =
        "[brokers]\nb ansible_host=1 node_data_path=\"{{ x | default('/y') }}\"\n[controllers]\nc ansible_host=2\n";
    let imported = imported(&[main("i", text)]);
    assert!(reason(&imported, "node_data_path").contains("only Ansible"));
    for key in ["cluster.name", "storage.cold", "data"] {
        assert!(imported.assumed.iter().any(|assumed| assumed.key == key), "{key}");
    }
    assert!(imported.toml.contains("ASSUMED"));
}
