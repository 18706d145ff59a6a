//! The cluster of VMs with TLS and passwords: what its nodes, its clients and kbo are told, and the way there from plaintext.
//!
//! Everybody speaks to brokers by SASL_SSL; controllers have SSL and insist on a certificate of whoever calls. All stores are of one
//! wildcard set of the lab's own authority. Nodes differ in the format of their stores on purpose. kbo.toml has no credentials: kbo
//! takes a broker's client.properties, where there is one, else what the node's Kafka has for itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::authority::{Authority, Key, Set, Usage, Validity, write_secret};
use super::kafka::{self, Node, Role};
use super::shell::Cmd;
use super::ssh_cluster::{CERTIFICATES, SECRETS};
use super::{DOMAIN, Lab};

/// What clients call the brokers' mechanism.
const MECHANISM: &str = "SCRAM-SHA-512";
/// All that the brokers offer.
pub(crate) const MECHANISMS: [&str; 3] = [MECHANISM, "SCRAM-SHA-256", "PLAIN"];
/// Everybody who logs in: the brokers, and the lab's own client.
const USERS: [&str; 2] = ["broker", "lab"];

/// A format of keystores, as Kafka calls it and as kbo's files end.
#[derive(Clone, Copy)]
struct Format {
    kind: &'static str,
    ending: &'static str,
}

const PKCS12: Format = Format {
    kind: "PKCS12",
    ending: "p12",
};
const JKS: Format = Format {
    kind: "JKS",
    ending: "jks",
};
const PEM: Format = Format {
    kind: "PEM",
    ending: "pem",
};

/// The folder of the set that is to be used, as an ACME client would leave it.
pub(crate) fn source(lab: &Lab) -> PathBuf {
    lab.dir().join("acme")
}

/// The lab's own authority.
pub(crate) fn authority(lab: &Lab) -> Result<Authority> {
    Authority::open(&lab.dir().join("authority"))
}

/// A set like the one that the cluster is to have, issued now, in its place.
pub(crate) fn renew(lab: &Lab, key: Key) -> Result<Set> {
    let set = authority(lab)?.issue(DOMAIN, Validity::FRESH, key, Usage::Both)?;
    set.write(&source(lab), DOMAIN)?;
    Ok(set)
}

/// The file of a password of the lab's: of a user, or of the `stores`. Made when it is first asked for.
pub(crate) fn password_file(lab: &Lab, of: &str) -> Result<PathBuf> {
    let dir = lab.dir().join("passwords");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let path = dir.join(of);
    if !path.exists() {
        write_secret(&path, &Cmd::new("openssl").args(["rand", "-hex", "16"]).output()?)?;
    }
    Ok(path)
}

fn password(lab: &Lab, of: &str) -> Result<String> {
    let path = password_file(lab, of)?;
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.trim().to_owned())
}

/// What kbo.toml says of certificates; the files need not be there before the lab is secured.
pub(super) fn certs_toml(dir: &Path) -> String {
    format!(
        "\n[certs]\nsource = {:?}\ndomain = \"{DOMAIN}\"\noutput = {:?}\nformats = [\"pkcs12\", \"jks\", \"pem\"]\n\
         password_file = {:?}\ndir = \"{CERTIFICATES}\"\n",
        dir.join("acme"),
        dir.join("certs"),
        dir.join("passwords/stores"),
    )
}

/// Where clients find the brokers, by the names that their certificates have.
pub(super) fn bootstrap(nodes: &[Node]) -> String {
    let brokers = nodes.iter().filter(|node| node.role == Role::Broker);
    brokers
        .map(|node| format!("{}:9092", node.host()))
        .collect::<Vec<_>>()
        .join(",")
}

/// Make the plaintext cluster that runs a secured one, as its operator would.
pub(crate) fn secure(lab: &Lab, kbo: &Path) -> Result<()> {
    let run = |args: &[&str]| {
        Cmd::new(kbo)
            .arg("--config")
            .arg(lab.config_path())
            .args(args)
            .run()
            .context("the lab is up, but not secured")
    };
    crate::say("lab: users, stores, TLS");
    prepare(lab)?;
    run(&["stop"])?;
    switch(lab)?;
    run(&["certs", "make"])?;
    run(&["certs", "deploy"])?;
    run(&["start"])?;
    lab.wait_ready(Duration::from_secs(180))
}

/// What must be there before TLS: the set, the passwords, and the users, whom only a running cluster can note.
pub(crate) fn prepare(lab: &Lab) -> Result<Set> {
    password_file(lab, "stores")?;
    for user in USERS {
        let file = password_file(lab, user)?;
        lab.client_run([
            "scram-user",
            "--user",
            user,
            "--password-file",
            &file.display().to_string(),
        ])?;
    }
    renew(lab, Key::Ec)
}

/// The properties of the stopped nodes and of the lab's client with TLS; they count from the next start on.
pub(crate) fn switch(lab: &Lab) -> Result<()> {
    for node in lab.nodes() {
        let path = lab.config_dir(&node.name)?.join("server.properties");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        fs::write(&path, kafka::with_values(&text, &server(lab, node)?))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    for node in lab
        .nodes()
        .iter()
        .filter(|node| node.id % 2 == 0 && node.role == Role::Broker)
    {
        let path = lab.config_dir(&node.name)?.join("client.properties");
        write_secret(&path, &client(lab, SECRETS)?)?;
    }
    write_secret(
        &lab.client_properties(),
        &client(lab, &lab.dir().join("certs").display().to_string())?,
    )
}

/// The lab's client speaks plaintext again, as the nodes do after a restore.
pub(crate) fn forget(lab: &Lab) -> Result<()> {
    let path = lab.client_properties();
    fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
}

/// What a client is told, whose truststore lies in this folder.
fn client(lab: &Lab, stores: &str) -> Result<String> {
    Ok(format!(
        "security.protocol=SASL_SSL\n\
         sasl.mechanism={MECHANISM}\n\
         sasl.jaas.config={}\n\
         ssl.truststore.type=PKCS12\n\
         ssl.truststore.location={stores}/truststore.p12\n\
         ssl.truststore.password={}\n",
        scram("lab", &password(lab, "lab")?),
        password(lab, "stores")?
    ))
}

fn scram(user: &str, password: &str) -> String {
    format!(
        "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"{user}\" password=\"{password}\";"
    )
}

/// What a node's properties have otherwise than in plaintext.
fn server(lab: &Lab, node: &Node) -> Result<Vec<(&'static str, String)>> {
    let voters = lab.nodes().iter().filter(|other| other.role == Role::Controller);
    let voters: Vec<String> = voters
        .map(|other| format!("{}@{}:9093", other.id, other.host()))
        .collect();
    let host = node.host();
    let mut values = vec![
        ("controller.quorum.voters", voters.join(",")),
        (
            "listener.security.protocol.map",
            "CONTROLLER:SSL,SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT".to_owned(),
        ),
    ];
    values.extend(stores(lab, node)?);
    match node.role {
        Role::Controller => values.extend([
            ("listeners", format!("CONTROLLER://{host}:9093")),
            ("listener.name.controller.ssl.client.auth", "required".to_owned()),
        ]),
        Role::Broker => values.extend([
            ("listeners", format!("SASL_SSL://{host}:9092")),
            ("advertised.listeners", format!("SASL_SSL://{host}:9092")),
            ("inter.broker.listener.name", "SASL_SSL".to_owned()),
            ("sasl.enabled.mechanisms", MECHANISMS.join(",")),
            ("sasl.mechanism.inter.broker.protocol", MECHANISM.to_owned()),
            (
                "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config",
                scram("broker", &password(lab, "broker")?),
            ),
            // Kafka wants a login module for each mechanism that it offers.
            (
                "listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config",
                "org.apache.kafka.common.security.scram.ScramLoginModule required;".to_owned(),
            ),
            (
                "listener.name.sasl_ssl.plain.sasl.jaas.config",
                format!(
                    "org.apache.kafka.common.security.plain.PlainLoginModule required user_lab=\"{}\";",
                    password(lab, "lab")?
                ),
            ),
        ]),
    }
    Ok(values)
}

/// Every format is used by a controller and by a broker.
fn stores(lab: &Lab, node: &Node) -> Result<Vec<(&'static str, String)>> {
    let Format { kind, ending } = [PKCS12, JKS, PEM][node.id as usize % 3];
    let mut values = vec![
        ("ssl.keystore.type", kind.to_owned()),
        ("ssl.keystore.location", format!("{SECRETS}/keystore.{ending}")),
        ("ssl.truststore.type", kind.to_owned()),
        ("ssl.truststore.location", format!("{SECRETS}/truststore.{ending}")),
    ];
    if kind != PEM.kind {
        let password = password(lab, "stores")?;
        values.push(("ssl.keystore.password", password.clone()));
        values.push(("ssl.key.password", password.clone()));
        values.push(("ssl.truststore.password", password));
    }
    Ok(values)
}
