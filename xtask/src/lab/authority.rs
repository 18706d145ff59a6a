//! The lab's own certificate authority: a root, an intermediate, and wildcard sets as an ACME client would leave them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P384_SHA384,
};
use time::{Duration, OffsetDateTime};

use super::shell::Cmd;

/// A root and an intermediate, kept in a directory: what is issued later is of the same authority.
#[derive(Debug)]
pub struct Authority {
    dir: PathBuf,
}

/// What kind of key a leaf has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// The curve P-256.
    Ec,
    /// RSA with 2048 bits.
    Rsa,
}

/// Whom a leaf is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Servers and clients.
    Both,
    /// Servers alone, as most public authorities have it.
    Servers,
}

/// When a leaf is valid, in days from now.
#[derive(Clone, Copy, Debug)]
pub struct Validity {
    /// The first day.
    pub from: i64,
    /// The last day.
    pub to: i64,
}

impl Validity {
    /// What a fresh certificate of an ACME authority has.
    pub const FRESH: Self = Self { from: -1, to: 89 };
}

/// A leaf with its key and its chain, all as PEM.
#[derive(Debug)]
pub struct Set {
    /// The leaf alone.
    pub leaf: String,
    /// Its private key.
    pub key: String,
    /// The intermediate and the root.
    pub chain: [String; 2],
}

impl Authority {
    /// That of the directory; made if there is none.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be made or written.
    pub fn open(dir: &Path) -> Result<Self> {
        let authority = Self { dir: dir.to_owned() };
        if !authority.certificate("intermediate").exists() {
            fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
            let root = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384)?;
            let certificate = ca("root", 1)?.self_signed(&root)?;
            let issuer = Issuer::new(ca("root", 1)?, root);
            authority.keep("root", issuer.key(), &certificate.pem())?;
            let intermediate = KeyPair::generate()?;
            let certificate = ca("intermediate", 0)?.signed_by(&intermediate, &issuer)?;
            authority.keep("intermediate", &intermediate, &certificate.pem())?;
        }
        Ok(authority)
    }

    /// The file of the root's certificate, for those who trust it.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.certificate("root")
    }

    /// A new leaf for all hosts of a domain.
    ///
    /// # Errors
    ///
    /// Fails when the authority's files cannot be read.
    pub fn issue(&self, domain: &str, validity: Validity, key: Key, usage: Usage) -> Result<Set> {
        let path = self.dir.join("intermediate.key");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let issuer = Issuer::new(ca("intermediate", 0)?, KeyPair::from_pem(&text)?);
        let key = match key {
            Key::Ec => KeyPair::generate()?,
            Key::Rsa => KeyPair::from_pem(
                &Cmd::new("openssl")
                    .args([
                        "genpkey",
                        "-quiet",
                        "-algorithm",
                        "RSA",
                        "-pkeyopt",
                        "rsa_keygen_bits:2048",
                    ])
                    .output()?,
            )?,
        };
        let mut params = CertificateParams::new([format!("*.{domain}")])?;
        params
            .distinguished_name
            .push(DnType::CommonName, format!("*.{domain}"));
        let now = OffsetDateTime::now_utc();
        params.not_before = now + Duration::days(validity.from);
        params.not_after = now + Duration::days(validity.to);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if usage == Usage::Both {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        }
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&key, &issuer)?;
        let read = |name: &str| {
            let path = self.certificate(name);
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        Ok(Set {
            leaf: leaf.pem(),
            key: key.serialize_pem(),
            chain: [read("intermediate")?, read("root")?],
        })
    }

    fn certificate(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.pem"))
    }

    fn keep(&self, name: &str, key: &KeyPair, certificate: &str) -> Result<()> {
        write_secret(&self.dir.join(format!("{name}.key")), &key.serialize_pem())?;
        let path = self.certificate(name);
        fs::write(&path, certificate).with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Set {
    /// Write it into a folder of its own, whatever was there, under the names that Kafka's operators know from their ACME client.
    ///
    /// # Errors
    ///
    /// Fails when the folder cannot be written.
    pub fn write(&self, dir: &Path, domain: &str) -> Result<()> {
        self.write_parts(dir, domain, &["all.pem", "ca", "crt", "fullchain", "key"])
    }

    /// The same with some of its files only.
    ///
    /// # Errors
    ///
    /// Fails when the folder cannot be written.
    pub fn write_parts(&self, dir: &Path, domain: &str, parts: &[&str]) -> Result<()> {
        if dir.exists() {
            fs::remove_dir_all(dir).with_context(|| format!("cannot empty {}", dir.display()))?;
        }
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let ca = self.chain.concat();
        for part in parts {
            let text = match *part {
                "key" => self.key.clone(),
                "crt" => self.leaf.clone(),
                "ca" => ca.clone(),
                "fullchain" => format!("{}{ca}", self.leaf),
                _ => format!("{}{}{ca}", self.key, self.leaf),
            };
            write_secret(&dir.join(format!("wildcard.{domain}-ACME.{part}")), &text)?;
        }
        Ok(())
    }
}

/// What a certificate authority's certificate says of itself: the same at every call, so that it can issue again.
fn ca(name: &str, below: u8) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params
        .distinguished_name
        .push(DnType::CommonName, format!("kbo lab {name}"));
    params.distinguished_name.push(DnType::OrganizationName, "kbo lab");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::days(400);
    params.not_after = now + Duration::days(3650);
    Ok(params)
}

/// A file that only its owner reads, from its first byte on.
pub(crate) fn write_secret(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot create {}", path.display()))?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}
