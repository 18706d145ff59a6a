//! TLS and passwords: a plaintext cluster becomes a secured one with stores that kbo makes and brings, lives through everything that
//! certificates do to it, and goes back.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use super::world::text;
use super::{Case, World, data, nodes, tls};
use crate::lab::{DOMAIN, Key, Set, Usage, Validity, secured};

pub(super) const CASES: &[Case] = &[
    Case::new(
        "a_plaintext_cluster_becomes_a_secured_one_with_stores_that_kbo_makes_and_brings",
        secure,
    ),
    Case::new(
        "every_mechanism_of_a_secured_cluster_lets_kbo_in_by_credentials_of_its_own",
        entered,
    ),
    Case::new("a_secured_cluster_is_backed_up_and_restored", survives),
    Case::new(
        "a_renewed_secured_set_is_rolled_out_without_a_lost_record_and_taken_back",
        renewed,
    ),
    Case::new(
        "bad_sets_are_refused_and_no_node_of_the_secured_cluster_is_touched",
        refused,
    ),
    Case::new(
        "a_node_that_cannot_be_staged_leaves_all_nodes_of_the_secured_cluster_untouched",
        unstaged,
    ),
    Case::new("a_secured_cluster_goes_back_to_plaintext_by_a_restore", back),
];

fn secure(world: &mut World) -> Result<()> {
    if world.lab.is_secured() {
        bail!("the cluster is secured already: `cargo xtask lab down ssh` first");
    }
    let backup = world.full()?;
    let set = secured::prepare(&world.lab)?;
    world.kbo.expect(0, &["stop"])?;
    secured::switch(&world.lab)?;
    world.kbo.expect(0, &["certs", "make"])?;
    world.kbo.expect(0, &["certs", "deploy"])?;
    world.kbo.expect(0, &["start"])?;
    world.lab.wait_ready(super::WHOLE)?;
    data::unchanged(&world.lab, &backup.digest)?;

    world.kbo.expect(0, &["check"])?;
    world.kbo.expect(0, &["certs", "check"])?;
    tls::all_show(
        &world.lab,
        &tls::serial_of(&set, world.kbo.scratch())?,
        world.kbo.scratch(),
    )?;
    for node in world.lab.nodes() {
        tls::keytool_reads(&world.lab, &node.name)?;
    }
    Ok(())
}

/// The cluster is secured, by the first case or now.
fn need(world: &mut World) -> Result<()> {
    match world.lab.is_secured() {
        true => Ok(()),
        false => secure(world),
    }
}

/// The other cases take what the nodes have; here kbo.toml has a user, and a wrong password is told as such.
fn entered(world: &mut World) -> Result<()> {
    need(world)?;
    let password = secured::password_file(&world.lab, "lab")?;
    let wrong = world.kbo.scratch().join("wrong-password");
    fs::write(&wrong, "not this one\n").with_context(|| format!("cannot write {}", wrong.display()))?;
    for mechanism in secured::MECHANISMS {
        let with = |password: &Path| {
            world
                .kbo
                .with("KBO_KAFKA_SASL_MECHANISM", mechanism)
                .with("KBO_KAFKA_SASL_USERNAME", "lab")
                .with("KBO_KAFKA_SASL_PASSWORD_FILE", password)
        };
        with(&password).expect(0, &["check"])?;
        with(&wrong)
            .expect(3, &["check"])?
            .says("as user lab")?
            .says("refused")?;
    }
    Ok(())
}

fn survives(world: &mut World) -> Result<()> {
    need(world)?;
    let digest = world.seeded()?;
    // A case that came before may have left it, and then the backup holds it.
    if data::count(&world.lab, data::SINCE)?.is_some() {
        world.lab.client_run(["delete", "--topic", data::SINCE])?;
    }
    let probe = world.lab.probe(data::LOADED)?;
    let report = world.kbo.json(&["backup"])?;
    let probed = probe.finish()?;
    world.note_window("backup", &report);
    if probed["failed"].as_u64() != Some(0) {
        bail!("the client lost records: {probed}");
    }
    let id = text(&report, "id")?;
    world.kbo.expect(0, &["verify", &id])?;
    data::write_since(&world.lab, 10_000_000)?;
    world.lab.client_run(["delete", "--topic", "gzip"])?;
    let report = world.kbo.json(&["restore", &id, "--yes"])?;
    world.note_window("restore", &report);
    world.lab.wait_ready(super::WHOLE)?;
    data::unchanged(&world.lab, &digest)?;
    if data::count(&world.lab, data::SINCE)?.is_some() {
        bail!("a topic that was made after the backup is still there");
    }
    Ok(())
}

fn renewed(world: &mut World) -> Result<()> {
    need(world)?;
    world.seeded()?;
    let scratch = world.kbo.scratch().to_owned();
    let old = serial_in_use(world)?;
    tls::all_show(&world.lab, &old, &scratch)?;
    let before = data::count(&world.lab, data::LOADED)?.unwrap_or(0);

    // Of another kind of key, to make it worse.
    let new = tls::serial_of(&secured::renew(&world.lab, Key::Rsa)?, &scratch)?;
    world.kbo.expect(0, &["certs", "make"])?;
    let probe = world.lab.probe(data::LOADED)?;
    world.kbo.expect(0, &["certs", "deploy", "--restart", "rolling"])?;
    let probed = probe.finish()?;
    world.note(format!(
        "client gap {:.1} s",
        probed["longest_gap_ms"].as_f64().unwrap_or(0.0) / 1000.0
    ));
    tls::all_show(&world.lab, &new, &scratch)?;
    world.lab.wait_ready(super::WHOLE)?;
    let (acked, failed) = (probed["acked"].as_u64(), probed["failed"].as_u64());
    if failed != Some(0) || acked.is_none_or(|acked| acked == 0) {
        bail!("the client lost records: {probed}");
    }
    // The probe begins with a record in each of the three partitions, which it does not count.
    let expected = before + acked.unwrap_or(0) + 3;
    let found = data::count(&world.lab, data::LOADED)?.unwrap_or(0);
    if found != expected {
        bail!("{found} records are read back, {expected} were acknowledged");
    }
    world.kbo.expect(0, &["certs", "check"])?;
    // What is deployed already is not deployed again.
    let containers = nodes::containers(&world.lab)?;
    world.kbo.expect(0, &["certs", "deploy"])?.says("nothing to do")?;
    nodes::untouched(&world.lab, &containers)?;

    world
        .kbo
        .expect(0, &["certs", "deploy", "--rollback", "--restart", "cluster"])?;
    tls::all_show(&world.lab, &old, &scratch)
}

/// The serial number in the stores that the nodes have.
fn serial_in_use(world: &World) -> Result<String> {
    tls::serial(&world.lab.certificates_dir(&world.broker(1))?.join("keystore.pem"))
}

/// A set that will not do: its name, its validity, its domain, whom it is for, its files, and what kbo says of it.
struct Bad {
    name: &'static str,
    validity: Validity,
    domain: &'static str,
    usage: Usage,
    parts: &'static [&'static str],
    reason: &'static str,
    remedy: &'static str,
}

const WHOLE_SET: &[&str] = &["all.pem", "ca", "crt", "fullchain", "key"];

const BAD: &[Bad] = &[
    Bad {
        name: "expired",
        validity: Validity { from: -90, to: -1 },
        domain: DOMAIN,
        usage: Usage::Both,
        parts: WHOLE_SET,
        reason: "expired on",
        remedy: "--force",
    },
    Bad {
        name: "not-yet",
        validity: Validity { from: 2, to: 90 },
        domain: DOMAIN,
        usage: Usage::Both,
        parts: WHOLE_SET,
        reason: "is not valid before",
        remedy: "wait until then",
    },
    Bad {
        name: "wrong-domain",
        validity: Validity::FRESH,
        domain: "other.test",
        usage: Usage::Both,
        parts: WHOLE_SET,
        reason: "not valid for kafka-broker-1.lab.kbo.test",
        remedy: "have a certificate for this name issued",
    },
    Bad {
        name: "key-less",
        validity: Validity::FRESH,
        domain: DOMAIN,
        usage: Usage::Both,
        parts: &["ca", "crt", "fullchain"],
        reason: "no private key",
        remedy: "put the private key",
    },
    Bad {
        name: "chain-less",
        validity: Validity::FRESH,
        domain: DOMAIN,
        usage: Usage::Both,
        parts: &["crt", "key"],
        reason: "issuer is not in the files",
        remedy: "chain",
    },
    // The controllers of the secured cluster ask for certificates.
    Bad {
        name: "servers-only",
        validity: Validity::FRESH,
        domain: DOMAIN,
        usage: Usage::Servers,
        parts: WHOLE_SET,
        reason: "does not allow clients",
        remedy: "a certificate with both usages",
    },
];

fn refused(world: &mut World) -> Result<()> {
    need(world)?;
    let containers = nodes::containers(&world.lab)?;
    let before = tls::folders(&world.lab)?;
    for bad in BAD {
        let outcome = refuse(world, bad).with_context(|| format!("of the set that is {}", bad.name));
        tls::same_folders(&before, &tls::folders(&world.lab)?).and(outcome)?;
    }
    forced(world)?;
    nodes::untouched(&world.lab, &containers)
}

fn refuse(world: &World, bad: &Bad) -> Result<()> {
    let source = world.kbo.scratch().join(bad.name);
    let set = secured::authority(&world.lab)?.issue(bad.domain, bad.validity, Key::Ec, bad.usage)?;
    // Under the usual names: contents decide.
    set.write_parts(&source, DOMAIN, bad.parts)?;
    let output = world.kbo.scratch().join(format!("{}-stores", bad.name));
    let kbo = world
        .kbo
        .with("KBO_CERTS_SOURCE", &source)
        .with("KBO_CERTS_OUTPUT", &output);
    kbo.expect(3, &["certs", "check"])?.says(bad.reason)?;
    kbo.expect(3, &["certs", "make"])?.says(bad.reason)?.says(bad.remedy)?;
    if output.exists() {
        bail!("{} was made although the set was refused", output.display());
    }
    // Stores that were good when they were made, or were made by another: deploy looks for itself.
    forge(world, bad, &set, &output)?;
    kbo.expect(3, &["certs", "deploy", "--restart", "rolling"])?
        .says(bad.reason)?
        .says(bad.remedy)
        .map(drop)
}

/// A folder as kbo makes it, with PEM stores of a set that kbo refuses to make stores of.
fn forge(world: &World, bad: &Bad, set: &Set, output: &Path) -> Result<()> {
    fs::create_dir(output).with_context(|| format!("cannot create {}", output.display()))?;
    let has = |part: &str| bad.parts.contains(&part);
    let key = if has("key") { set.key.as_str() } else { "" };
    let intermediate = if has("ca") { set.chain[0].as_str() } else { "" };
    let mut sums = Map::new();
    for (name, text) in [
        ("keystore.pem", format!("{key}{}{intermediate}", set.leaf)),
        ("truststore.pem", set.chain[1].clone()),
    ] {
        let path = output.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        sums.insert(name.to_owned(), tls::sha256(&path)?.into());
    }
    let good = world.lab.dir().join("certs/set.json");
    let text = fs::read_to_string(&good).with_context(|| format!("cannot read {}", good.display()))?;
    let mut told: Value = serde_json::from_str(&text).with_context(|| format!("{} is no JSON", good.display()))?;
    told["files"] = sums.into();
    told["fingerprint"] = tls::fingerprint(&output.join("keystore.pem"))?.into();
    fs::write(output.join("set.json"), told.to_string()).context("cannot write set.json")
}

/// What has merely expired is made and deployed by force, and taken back.
fn forced(world: &World) -> Result<()> {
    let old = serial_in_use(world)?;
    let source = world.kbo.scratch().join("expired");
    let output = world.kbo.scratch().join("forced-stores");
    let kbo = world
        .kbo
        .with("KBO_CERTS_SOURCE", &source)
        .with("KBO_CERTS_OUTPUT", &output);
    kbo.expect(0, &["certs", "make", "--force"])?;
    kbo.expect(3, &["certs", "deploy"])?.says("--force")?;
    kbo.expect(0, &["certs", "deploy", "--force"])?;
    let expired = tls::serial(&output.join("keystore.pem"))?;
    let there = serial_in_use(world)?;
    if there != expired {
        bail!("the certificate on the nodes is {there}, not the expired {expired} that was forced there");
    }
    kbo.expect(0, &["certs", "deploy", "--rollback"])?;
    let back = serial_in_use(world)?;
    if back != old {
        bail!("the certificate on the nodes is {back}, not {old} as before");
    }
    Ok(())
}

fn unstaged(world: &mut World) -> Result<()> {
    need(world)?;
    let containers = nodes::containers(&world.lab)?;
    let before = tls::folders(&world.lab)?;
    let output = world.kbo.scratch().join("unstaged");
    let kbo = world.kbo.with("KBO_CERTS_OUTPUT", &output);
    secured::renew(&world.lab, Key::Ec)?;
    kbo.expect(0, &["certs", "make"])?;

    let last = world.broker(3);
    let dir = "/data/cluster/certificates";
    let mount = |args: &[&str]| -> Result<()> {
        let output = world.lab.exec(&last, args)?;
        match output.status.success() {
            true => Ok(()),
            false => bail!("{}: {}", args.join(" "), output.stderr),
        }
    };
    mount(&["mount", "--bind", dir, dir])?;
    let outcome = mount(&["mount", "-o", "remount,ro,bind", dir]).and_then(|()| {
        kbo.expect(3, &["certs", "deploy", "--restart", "rolling"])?
            .says(&last)
            .map(drop)
    });
    let unmounted = mount(&["umount", dir]);
    outcome.context("one node's folder cannot be written")?;
    unmounted?;
    tls::same_folders(&before, &tls::folders(&world.lab)?)?;

    // A machine that is not there.
    let away = unreachable(world)?;
    kbo.configured(away)
        .expect(3, &["certs", "deploy", "--restart", "rolling"])?
        .says(&last)?;
    tls::same_folders(&before, &tls::folders(&world.lab)?)?;
    nodes::untouched(&world.lab, &containers)
}

/// A kbo.toml that has the third broker at a port at which nobody listens.
fn unreachable(world: &World) -> Result<PathBuf> {
    let text = fs::read_to_string(world.lab.config_path()).context("cannot read kbo.toml")?;
    let path = world.kbo.scratch().join("unreachable.toml");
    // The last of the file's tables is that broker.
    fs::write(&path, format!("{text}port = 9\n")).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn back(world: &mut World) -> Result<()> {
    let backup = world.full()?;
    if !world.lab.is_secured() {
        bail!("the cluster is not secured: this case follows the others of its kind");
    }
    world.kbo.expect(0, &["restore", &backup.id, "--yes"])?;
    secured::forget(&world.lab)?;
    world.lab.wait_ready(super::WHOLE)?;
    data::unchanged(&world.lab, &backup.digest)
}
