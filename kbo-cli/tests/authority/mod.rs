//! A little authority with an intermediate, and the files that an ACME client leaves.

use std::fs;
use std::path::Path;

use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509NameBuilder};

const DAY: i64 = 24 * 60 * 60;

/// A certificate and its key.
pub(crate) struct Issued {
    pub(crate) certificate: X509,
    pub(crate) key: PKey<Private>,
}

/// Who signs, and what for.
enum For<'a> {
    Authority,
    Names(&'a [&'a str]),
}

fn issue(subject: &str, serial: u32, days: (i64, i64), what: &For<'_>, issuer: Option<&Issued>) -> Issued {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_nid(Nid::COMMONNAME, subject).unwrap();
    let name = name.build();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let at = |days: i64| Asn1Time::from_unix(i64::try_from(now.as_secs()).unwrap() + days * DAY).unwrap();
    let mut builder = X509Builder::new().unwrap();
    builder.set_version(2).unwrap();
    let serial = Asn1Integer::from_bn(&BigNum::from_u32(serial).unwrap()).unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(&name).unwrap();
    let issuer_name = issuer.map_or(name.as_ref(), |issuer| issuer.certificate.subject_name());
    builder.set_issuer_name(issuer_name).unwrap();
    builder.set_not_before(&at(days.0)).unwrap();
    builder.set_not_after(&at(days.1)).unwrap();
    builder.set_pubkey(&key).unwrap();
    match what {
        For::Authority => {
            let is_ca = BasicConstraints::new().critical().ca().build().unwrap();
            builder.append_extension(is_ca).unwrap();
            let usage = KeyUsage::new().critical().key_cert_sign().crl_sign().build().unwrap();
            builder.append_extension(usage).unwrap();
        }
        For::Names(names) => {
            let mut alternative = SubjectAlternativeName::new();
            for name in *names {
                alternative.dns(name);
            }
            let alternative = alternative.build(&builder.x509v3_context(None, None)).unwrap();
            builder.append_extension(alternative).unwrap();
            let usage = ExtendedKeyUsage::new().server_auth().client_auth().build().unwrap();
            builder.append_extension(usage).unwrap();
        }
    }
    let signer = issuer.map_or(&key, |issuer| &issuer.key);
    builder.sign(signer, MessageDigest::sha256()).unwrap();
    Issued {
        certificate: builder.build(),
        key,
    }
}

/// A root and an intermediate.
pub(crate) struct Authority {
    pub(crate) root: Issued,
    pub(crate) between: Issued,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let root = issue("Root", 1, (-10, 3650), &For::Authority, None);
        let between = issue("Between", 2, (-10, 1000), &For::Authority, Some(&root));
        Self { root, between }
    }

    /// A certificate for names, valid from and until so many days from now.
    pub(crate) fn leaf(&self, serial: u32, names: &[&str], days: (i64, i64)) -> Issued {
        issue(names[0], serial, days, &For::Names(names), Some(&self.between))
    }

    /// Leaves the files of a set in a folder.
    pub(crate) fn leave(&self, folder: &Path, leaf: &Issued) {
        fs::create_dir_all(folder).unwrap();
        let part = |name: &str, bytes: &[u8]| {
            fs::write(folder.join(format!("wildcard.example.org-ACME.{name}")), bytes).unwrap();
        };
        let pem = |one: &Issued| one.certificate.to_pem().unwrap();
        let authorities = [pem(&self.between), pem(&self.root)].concat();
        part("crt", &pem(leaf));
        part("ca", &authorities);
        part("fullchain", &[pem(leaf), authorities].concat());
        part("key", &leaf.key.private_key_to_pem_pkcs8().unwrap());
    }
}
