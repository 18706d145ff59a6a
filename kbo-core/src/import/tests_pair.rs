//! An inventory and the config.ini beside it, and values that hold for some hosts and not for others.

use super::tests::{destination, group, imported, main, reason};
use super::*;

const INVENTORY: &str =
    "[controllers]\nc1 ansible_host=10.0.0.1\n[brokers]\nb1 ansible_host=10.0.0.2\nb2 ansible_host=10.0.0.3\n";

/// config.ini of the later tool: no nodes.
const CONFIG: &str = "[ssh]\nSSH_USER=ops\nSSH_KEY_PRI=/keys/id\n[storage]\nSTORAGE_COLD=/cold\nSTORAGE_WARN_LOW=25\n\
                      [cluster]\nIMAGE=apache/kafka:4.3.1\nCLUSTER_ID=AkU3OEVBNTcwNTJENDM2Qk\n\
                      NODE_CONFIG=/k/config\nNODE_DATA=/k/d1\n";

const OF_NODES: [(&str, &str, &str); 5] = [
    ("SSH_USER", "ssh.user", "user = \"ops\""),
    ("SSH_KEY_PRI", "ssh.key", "key = \"/keys/id\""),
    ("IMAGE", "defaults.container.image", "image = \"apache/kafka:4.3.1\""),
    ("NODE_CONFIG", "defaults.config", "config = \"/k/config\""),
    ("NODE_DATA", "defaults.data", "data = \"/k/d1\""),
];

fn both_orders(inventory: &str, config: &str) -> [Imported; 2] {
    let (inventory, config) = (main("hosts", inventory), main("config.ini", config));
    [
        imported(&[inventory.clone(), config.clone()]),
        imported(&[config, inventory]),
    ]
}

#[test]
fn what_config_ini_says_is_for_nodes_that_the_inventory_says_nothing_of() {
    for imported in both_orders(INVENTORY, CONFIG) {
        for (key, to, line) in OF_NODES {
            assert_eq!(destination(&imported, key), to, "{key}");
            assert_eq!(imported.toml.matches(line).count(), 1, "{line}\n{}", imported.toml);
        }
        assert!(!imported.assumed.iter().any(|assumed| assumed.key == "data"));
        assert!(
            !imported.toml.contains("jmx"),
            "only the script's own containers are known"
        );
    }
}

#[test]
fn what_the_inventory_says_for_every_node_counts_and_config_ini_is_not_carried() {
    let inventory = format!(
        "{INVENTORY}[all:vars]\nansible_user=root\nssh_key_pri=/other\nimage=x/y:1\nnode_config_path=/c\nnode_data_path=/d\n"
    );
    for imported in both_orders(&inventory, CONFIG) {
        for (key, _, line) in OF_NODES {
            assert!(destination(&imported, key).is_empty(), "{key}");
            assert_eq!(reason(&imported, key), "the inventory says it, which counts", "{key}");
            assert!(!imported.toml.contains(line), "{line}");
        }
    }
    let one = INVENTORY.replace("10.0.0.2", "10.0.0.2 ansible_user=own node_data_path=/d");
    let [imported, _] = both_orders(&one, CONFIG);
    let but = " (but not for b1: the inventory says it, which counts)";
    assert_eq!(destination(&imported, "SSH_USER"), format!("ssh.user{but}"));
    assert_eq!(destination(&imported, "NODE_DATA"), format!("defaults.data{but}"));
    assert_eq!(imported.toml.matches("user = \"own\"").count(), 1);
    assert_eq!(imported.toml.matches("user = \"ops\"").count(), 2);
}

#[test]
fn an_image_of_one_role_does_not_hide_the_one_for_the_others() {
    let inventory = format!("{INVENTORY}[brokers:vars]\nimage=x/y:1\n");
    let [imported, _] = both_orders(&inventory, CONFIG);
    assert!(destination(&imported, "IMAGE").starts_with("defaults.container.image (but not for role broker"));
    assert!(imported.toml.contains("[defaults.container]") && imported.toml.contains("[defaults.broker.container]"));
}

#[test]
fn of_two_cluster_ids_and_limits_one_counts_and_the_other_is_named_in_whichever_order() {
    let inventory = format!(
        "{INVENTORY}[controllers:vars]\ncluster_id=AkU3OEVBNTcwNTJENDM2Qd\n[brokers:vars]\ncluster_id=AkU3OEVBNTcwNTJENDM2Qd\n\
         [all:vars]\nstorage_warn_low=10\nstorage_cold=/other\n"
    );
    for imported in both_orders(&inventory, CONFIG) {
        assert_eq!(destination(&imported, "CLUSTER_ID"), "cluster.id");
        assert_eq!(destination(&imported, "STORAGE_WARN_LOW"), "storage.warn_free_percent");
        let ids = imported.left.iter().filter(|left| left.key == "cluster_id");
        let whys: Vec<&str> = ids.map(|left| left.why.as_str()).collect();
        assert_eq!(whys, ["another key says another cluster.id, which counts"; 2]);
        assert!(reason(&imported, "storage_warn_low").contains("another storage.warn_free_percent"));
        assert!(reason(&imported, "storage_cold").contains("another storage.cold"));
        assert!(imported.toml.contains("AkU3OEVBNTcwNTJENDM2Qk") && imported.toml.contains("warn_free_percent = 25"));
    }
    // The same value in two places is no conflict.
    for imported in both_orders(&inventory, "[ssh]\nSSH_USER=ops\n") {
        let to: Vec<&str> = imported
            .carried
            .iter()
            .filter(|carried| carried.key == "cluster_id")
            .map(|carried| carried.to.as_str())
            .collect();
        assert_eq!(to, ["cluster.id"; 2]);
    }
}

#[test]
fn the_start_order_of_config_ini_has_its_remarks_beside_an_inventory_too() {
    for imported in both_orders(INVENTORY, "[order]\nstartup=b2,ghost,c1,b1\n") {
        let to = destination(&imported, "startup");
        assert!(
            to.contains("but for ghost") && to.contains("controllers start before brokers"),
            "{to}"
        );
        let places = ["\"c1\"", "\"b2\"", "\"b1\""].map(|name| imported.toml.find(name).unwrap());
        assert!(places.is_sorted(), "{}", imported.toml);
    }
}

#[test]
fn a_variable_that_some_hosts_cannot_have_says_for_whom_it_is_lost() {
    let text = format!(
        "{}[all:vars]\nansible_user=\"{{{{ who }}}}\"\n",
        INVENTORY.replace("10.0.0.1", "10.0.0.1 who=ops")
    );
    let one = imported(&[main("hosts", &text)]);
    assert_eq!(
        destination(&one, "ansible_user"),
        "ssh.user (but not for b1, b2: a template that only Ansible can evaluate)"
    );
    assert_eq!(reason(&one, "who"), "used in ansible_user");
    // Two hosts with one template, that only one of them can have.
    let text = "[brokers:vars]\nansible_host=\"{{ ip }}\"\n[brokers]\nb1 ip=10.0.0.1\nb2\n";
    let two = imported(&[main("hosts", text)]);
    assert!(destination(&two, "ansible_host").contains("node.host (but not for b2: a template"));
    let assumed = two
        .assumed
        .iter()
        .find(|assumed| assumed.key == "node.b2.host")
        .unwrap();
    assert!(
        assumed.value == "b2" && assumed.why.contains("ansible_host"),
        "{assumed:?}"
    );
    assert!(!two.assumed.iter().any(|assumed| assumed.key == "node.b1.host"));
}

#[test]
fn ports_behind_addresses_are_the_nodes_ports() {
    let text = "[nodes]\nb1=10.0.0.1:2222\nb2=[2001:db8::1]:2223\n";
    let nodes = "[brokers]\nb1 ansible_host=10.0.0.1:2222\nb2 ansible_host=[2001:db8::1]:2223\n";
    for text in [text, nodes] {
        let toml = imported(&[main("f", text)]).toml;
        for line in [
            "host = \"10.0.0.1\"\nport = 2222",
            "host = \"2001:db8::1\"\nport = 2223",
        ] {
            assert!(toml.contains(line), "{line}\n{toml}");
        }
    }
}

#[test]
fn values_that_can_never_work_are_not_carried() {
    let text = "[general]\nLOG_FILE=kbo.log\n[ssh]\nSSH_USER=a b\n[storage]\nSTORAGE_COLD=/\n[nodes]\na=1\n";
    let classic = imported(&[main("config.ini", text)]);
    let text = "[brokers]\nb\n[all:vars]\nlog_file=/\nansible_user='a b'\nstorage_cold=cold\nimage='a b'\n";
    let inventory = imported(&[main("hosts", text)]);
    for (imported, keys) in [
        (&classic, ["LOG_FILE", "SSH_USER", "STORAGE_COLD"].as_slice()),
        (&inventory, &["log_file", "ansible_user", "storage_cold", "image"]),
    ] {
        for key in keys {
            assert!(destination(imported, key).is_empty(), "{key}");
            let why = reason(imported, key);
            assert!(
                why.contains("called so") || why.contains("absolute path"),
                "{key}: {why}"
            );
        }
        assert!(!imported.toml.contains("a b") && !imported.toml.contains("[log]"));
        assert!(imported.assumed.iter().any(|assumed| assumed.key == "storage.cold"));
    }
}

#[test]
fn several_data_directories_of_config_ini_are_all_data() {
    let toml = imported(&[main("c", "[cluster]\nNODE_DATA=/d1, /d2/\n[nodes]\na=1\n")]).toml;
    assert!(toml.contains("data = [\"/d1\", \"/d2\"]"), "{toml}");
}

#[test]
fn an_image_with_several_data_directories_is_left_for_its_mounts_are_not_said() {
    let several = CONFIG.replace("NODE_DATA=/k/d1", "NODE_DATA=/k/d1,/k/d2");
    let inventory = format!("{INVENTORY}[all:vars]\nIMAGE=x/y:1\nnode_data_path=/d1,/d2\n");
    let nodes = format!("{several}[nodes]\na=10.0.0.1\n");
    for sources in [
        vec![main("hosts", INVENTORY), main("config.ini", &several)],
        vec![main("hosts", &inventory)],
        vec![main("config.ini", &nodes)],
    ] {
        let imported = imported(&sources);
        assert!(reason(&imported, "IMAGE").contains("data_mount"));
        assert!(!imported.toml.contains("container]"), "{}", imported.toml);
    }
}

#[test]
fn merged_keys_reach_the_hosts_and_groups_that_are_not_there_are_named() {
    let text = "all:\n  vars: &all {ansible_user: ops, ansible_port: 22}\nbrokers:\n  hosts:\n    b1:\n      <<: *all\n      ansible_port: 2222\n";
    // The variables may stand before their inventory.
    let imported = imported(&[group("nobody", "node_data_path: /d\n"), main("hosts.yml", text)]);
    assert!(imported.toml.contains("user = \"ops\"") && imported.toml.contains("port = 2222"));
    assert_eq!(reason(&imported, "node_data_path"), "no group nobody in the inventory");
    assert!(reason(&imported, "<<").is_empty());
}
