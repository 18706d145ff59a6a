//! Certificates as other programs see them: OpenSSL on every listener, keytool on every store.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::lab::{Lab, Node, Role, Set, secured};

/// The serial number of a certificate in PEM, as OpenSSL writes it.
pub(super) fn serial(pem: &Path) -> Result<String> {
    let told = run(Command::new("openssl")
        .args(["x509", "-noout", "-serial", "-in"])
        .arg(pem))?;
    let serial = told.trim().strip_prefix("serial=");
    Ok(serial.with_context(|| format!("openssl x509 says: {told}"))?.to_owned())
}

/// The SHA-256 of a certificate in PEM, as kbo writes it.
pub(super) fn fingerprint(pem: &Path) -> Result<String> {
    let told = run(Command::new("openssl")
        .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
        .arg(pem))?;
    let (_, digits) = told
        .trim()
        .split_once('=')
        .with_context(|| format!("openssl x509 says: {told}"))?;
    Ok(digits.replace(':', "").to_lowercase())
}

/// The SHA-256 of a file.
pub(super) fn sha256(path: &Path) -> Result<String> {
    let told = run(Command::new("sha256sum").arg(path))?;
    Ok(told.split_whitespace().next().unwrap_or_default().to_owned())
}

/// The serial number of a set's leaf.
pub(super) fn serial_of(set: &Set, scratch: &Path) -> Result<String> {
    let path = scratch.join("leaf.pem");
    fs::write(&path, &set.leaf).with_context(|| format!("cannot write {}", path.display()))?;
    serial(&path)
}

/// Insist that every listener of the cluster shows this certificate, with a chain that a client can verify and a name that it
/// knows the node by.
pub(super) fn all_show(lab: &Lab, wanted: &str, scratch: &Path) -> Result<()> {
    for node in lab.nodes() {
        let port = match node.role {
            Role::Controller => 9093,
            Role::Broker => 9092,
        };
        let what = || format!("the listener of {} at port {port}", node.name);
        let shown = shown(lab, node, port, scratch).with_context(what)?;
        if shown != wanted {
            bail!("{} shows the certificate with serial {shown}, not {wanted}", what());
        }
    }
    Ok(())
}

fn shown(lab: &Lab, node: &Node, port: u16, scratch: &Path) -> Result<String> {
    // Where a client's certificate is wanted the connection ends afterwards: what was said before counts.
    let output = Command::new("openssl")
        .args(["s_client", "-showcerts", "-connect", &format!("{}:{port}", node.ip)])
        .args(["-servername", &node.host(), "-verify_hostname", &node.host(), "-CAfile"])
        .arg(secured::authority(lab)?.root())
        .stdin(Stdio::null())
        .output()
        .context("cannot run openssl")?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    if !told.contains("Verification: OK") {
        bail!(
            "OpenSSL does not verify what is shown: {told}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let certificates = told.matches("-----BEGIN CERTIFICATE-----").count();
    if certificates != 2 {
        bail!("{certificates} certificates are shown, not the leaf and the intermediate: {told}");
    }
    let begin = told.find("-----BEGIN").unwrap_or_default();
    let path = scratch.join("shown.pem");
    fs::write(&path, &told[begin..]).with_context(|| format!("cannot write {}", path.display()))?;
    serial(&path)
}

/// Insist that keytool reads a node's stores, and finds the key with its chain and the authority in them.
pub(super) fn keytool_reads(lab: &Lab, node: &str) -> Result<()> {
    let dir = lab.certificates_dir(node)?;
    for ending in ["p12", "jks"] {
        for (stem, entry) in [("keystore", "PrivateKeyEntry"), ("truststore", "trustedCertEntry")] {
            let store = dir.join(format!("{stem}.{ending}"));
            let told = run(Command::new("keytool")
                .args(["-J-Duser.language=en", "-list", "-v", "-keystore"])
                .arg(&store)
                .arg("-storepass:file")
                .arg(secured::password_file(lab, "stores")?))?;
            let chain = told.contains("Certificate chain length: 2");
            if !told.contains(entry) || (stem == "keystore") != chain {
                bail!("keytool finds otherwise in {}: {told}", store.display());
            }
        }
    }
    Ok(())
}

/// A file: what it holds, and its stamp.
type Stamp = (Vec<u8>, u32, u32, u32, (i64, i64));

/// Everything in the nodes' folders of keystores.
pub(super) fn folders(lab: &Lab) -> Result<BTreeMap<PathBuf, Stamp>> {
    let mut found = BTreeMap::new();
    for node in lab.nodes() {
        let mut dirs = vec![lab.certificates_dir(&node.name)?];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
                let path = entry?.path();
                if path.is_dir() {
                    dirs.push(path.clone());
                }
                let meta = fs::symlink_metadata(&path)?;
                let bytes = if meta.is_file() { fs::read(&path)? } else { vec![] };
                let stamp = (
                    bytes,
                    meta.mode(),
                    meta.uid(),
                    meta.gid(),
                    (meta.mtime(), meta.mtime_nsec()),
                );
                found.insert(path, stamp);
            }
        }
    }
    Ok(found)
}

/// Insist that two states of the folders are the same, without showing what is in them.
pub(super) fn same_folders(before: &BTreeMap<PathBuf, Stamp>, after: &BTreeMap<PathBuf, Stamp>) -> Result<()> {
    let differ = |path: &&PathBuf| before.get(*path) != after.get(*path);
    match before.keys().chain(after.keys()).find(differ) {
        Some(path) => bail!("{} was touched", path.display()),
        None => Ok(()),
    }
}

pub(super) fn run(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!(
            "{} failed: {text}{}",
            command.get_program().display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(text)
}
