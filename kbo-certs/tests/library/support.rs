//! A little authority for tests.

use jiff::Timestamp;
use kbo_certs::set::Options;
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName, SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Builder, X509Name};

pub(crate) const DAY: i64 = 24 * 60 * 60;
/// 2026-06-01.
pub(crate) const NOW: i64 = 1_780_272_000;

pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

pub(crate) fn options() -> Options {
    Options {
        passphrase: None,
        roots: vec![],
        now: now(),
    }
}

pub(crate) fn ec(curve: Nid) -> PKey<Private> {
    let group = EcGroup::from_curve_name(curve).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

pub(crate) fn p256() -> PKey<Private> {
    ec(Nid::X9_62_PRIME256V1)
}

pub(crate) fn rsa(bits: u32) -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap()
}

#[derive(Clone)]
pub(crate) struct Authority {
    pub(crate) key: PKey<Private>,
    pub(crate) certificate: X509,
}

/// What a certificate is to say.
#[derive(Clone)]
pub(crate) struct Wish {
    pub(crate) name: String,
    pub(crate) dns: Vec<String>,
    pub(crate) addresses: Vec<String>,
    pub(crate) from: i64,
    pub(crate) until: i64,
    pub(crate) is_ca: bool,
    pub(crate) server: bool,
    pub(crate) client: bool,
    pub(crate) serial: u32,
    pub(crate) digest: MessageDigest,
    /// Whether its key usage allows to sign handshakes, and certificates; `None` for none.
    pub(crate) key_usage: Option<(bool, bool)>,
    /// An authority's extended key usage, where it has one: servers and clients as above.
    pub(crate) limited: bool,
    /// How many authorities may be below it.
    pub(crate) path_length: Option<u32>,
    /// X.509 version 1 has no extensions.
    pub(crate) v1: bool,
}

impl Wish {
    pub(crate) fn leaf() -> Self {
        Self {
            name: "*.example.org".to_owned(),
            dns: vec!["*.example.org".to_owned()],
            addresses: vec![],
            from: NOW - 30 * DAY,
            until: NOW + 60 * DAY,
            is_ca: false,
            server: true,
            client: true,
            serial: 0x00ab_cdef,
            digest: MessageDigest::sha256(),
            key_usage: None,
            limited: false,
            path_length: None,
            v1: false,
        }
    }

    pub(crate) fn authority(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            dns: vec![],
            from: NOW - 1000 * DAY,
            until: NOW + 1000 * DAY,
            is_ca: true,
            serial: 7,
            ..Self::leaf()
        }
    }
}

pub(crate) fn sign(wish: &Wish, key: &PKey<Private>, issuer: Option<&Authority>) -> X509 {
    let name = |text: &str| {
        let mut name = X509Name::builder().unwrap();
        name.append_entry_by_nid(Nid::COMMONNAME, text).unwrap();
        name.build()
    };
    let mut builder = X509::builder().unwrap();
    builder.set_version(if wish.v1 { 0 } else { 2 }).unwrap();
    let serial = BigNum::from_u32(wish.serial).unwrap().to_asn1_integer().unwrap();
    builder.set_serial_number(&serial).unwrap();
    let subject = name(&wish.name);
    builder.set_subject_name(&subject).unwrap();
    builder
        .set_issuer_name(issuer.map_or(&*subject, |issuer| issuer.certificate.subject_name()))
        .unwrap();
    builder
        .set_not_before(&Asn1Time::from_unix(wish.from).unwrap())
        .unwrap();
    builder
        .set_not_after(&Asn1Time::from_unix(wish.until).unwrap())
        .unwrap();
    builder.set_pubkey(key).unwrap();
    if !wish.v1 {
        extend(&mut builder, wish, issuer);
    }
    let signer = issuer.map_or(key, |issuer| &issuer.key);
    let digest = if signer.id() == openssl::pkey::Id::ED25519 {
        MessageDigest::null()
    } else {
        wish.digest
    };
    builder.sign(signer, digest).unwrap();
    builder.build()
}

fn extend(builder: &mut X509Builder, wish: &Wish, issuer: Option<&Authority>) {
    let mut basic = BasicConstraints::new();
    basic.critical();
    if wish.is_ca {
        basic.ca();
        if let Some(length) = wish.path_length {
            basic.pathlen(length);
        }
    }
    builder.append_extension(basic.build().unwrap()).unwrap();
    let context = builder.x509v3_context(issuer.map(|issuer| &*issuer.certificate), None);
    let id = SubjectKeyIdentifier::new().build(&context).unwrap();
    builder.append_extension(id).unwrap();
    if issuer.is_some_and(|issuer| issuer.certificate.subject_key_id().is_some()) {
        let context = builder.x509v3_context(issuer.map(|issuer| &*issuer.certificate), None);
        let id = AuthorityKeyIdentifier::new().keyid(true).build(&context).unwrap();
        builder.append_extension(id).unwrap();
    }
    if (!wish.is_ca || wish.limited) && (wish.server || wish.client) {
        let mut usage = ExtendedKeyUsage::new();
        if wish.server {
            usage.server_auth();
        }
        if wish.client {
            usage.client_auth();
        }
        builder.append_extension(usage.build().unwrap()).unwrap();
    }
    if !wish.dns.is_empty() || !wish.addresses.is_empty() {
        let mut names = SubjectAlternativeName::new();
        for dns in &wish.dns {
            names.dns(dns);
        }
        for address in &wish.addresses {
            names.ip(address);
        }
        let context = builder.x509v3_context(issuer.map(|issuer| &*issuer.certificate), None);
        let names = names.build(&context).unwrap();
        builder.append_extension(names).unwrap();
    }
    if let Some((handshakes, certificates)) = wish.key_usage {
        let mut usage = KeyUsage::new();
        usage.critical().key_agreement();
        if handshakes {
            usage.digital_signature();
        }
        if certificates {
            usage.key_cert_sign();
        }
        builder.append_extension(usage.build().unwrap()).unwrap();
    }
}

pub(crate) fn authority(wish: &Wish, issuer: Option<&Authority>) -> Authority {
    let key = p256();
    let certificate = sign(wish, &key, issuer);
    Authority { key, certificate }
}

/// A root, an intermediate, and a leaf.
pub(crate) struct Made {
    pub(crate) root: Authority,
    pub(crate) intermediate: Authority,
    pub(crate) leaf: Authority,
}

pub(crate) fn made(wish: &Wish) -> Made {
    made_for(wish, p256())
}

pub(crate) fn made_for(wish: &Wish, key: PKey<Private>) -> Made {
    let root = authority(&Wish::authority("Root"), None);
    let intermediate = authority(&Wish::authority("Intermediate"), Some(&root));
    let certificate = sign(wish, &key, Some(&intermediate));
    Made {
        root,
        intermediate,
        leaf: Authority { key, certificate },
    }
}

impl Authority {
    pub(crate) fn pem(&self) -> Vec<u8> {
        self.certificate.to_pem().unwrap()
    }

    pub(crate) fn der(&self) -> Vec<u8> {
        self.certificate.to_der().unwrap()
    }

    pub(crate) fn key_pem(&self) -> Vec<u8> {
        self.key.private_key_to_pem_pkcs8().unwrap()
    }
}

impl Made {
    /// Everything, each in a file of its own.
    pub(crate) fn files(&self) -> Vec<(&'static str, Vec<u8>)> {
        vec![
            ("key", self.leaf.key_pem()),
            ("crt", self.leaf.pem()),
            ("ca", [self.intermediate.pem(), self.root.pem()].concat()),
        ]
    }
}
