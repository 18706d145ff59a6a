//! Authorities and certificates for a test, made in it.

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslAcceptor, SslAcceptorBuilder, SslMethod, SslVerifyMode, SslVersion};
use openssl::symm::Cipher;
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::{X509, X509Name};

/// A certificate and its key.
pub(super) struct Identity {
    pub(super) cert: X509,
    pub(super) key: PKey<Private>,
}

impl Identity {
    pub(super) fn authority(name: &str) -> Self {
        Self::make(name, None, |_| {})
    }

    /// A certificate signed by this authority, for a DNS name.
    pub(super) fn issue(&self, name: &str) -> Self {
        Self::make(name, Some(self), |san| {
            san.dns(name);
        })
    }

    fn make(name: &str, issuer: Option<&Self>, alternative: impl Fn(&mut SubjectAlternativeName)) -> Self {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        let mut subject = X509Name::builder().unwrap();
        subject.append_entry_by_text("CN", name).unwrap();
        let subject = subject.build();
        let mut builder = X509::builder().unwrap();
        builder.set_version(2).unwrap();
        let mut serial = BigNum::new().unwrap();
        serial.rand(64, openssl::bn::MsbOption::MAYBE_ZERO, false).unwrap();
        builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
        builder.set_subject_name(&subject).unwrap();
        builder.set_pubkey(&key).unwrap();
        builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::days_from_now(2).unwrap()).unwrap();
        match issuer {
            None => {
                builder.set_issuer_name(&subject).unwrap();
                builder
                    .append_extension(BasicConstraints::new().critical().ca().build().unwrap())
                    .unwrap();
                builder.sign(&key, MessageDigest::sha256()).unwrap();
            }
            Some(issuer) => {
                builder.set_issuer_name(issuer.cert.subject_name()).unwrap();
                let mut names = SubjectAlternativeName::new();
                alternative(&mut names);
                let names = names.build(&builder.x509v3_context(Some(&issuer.cert), None)).unwrap();
                builder.append_extension(names).unwrap();
                builder.sign(&issuer.key, MessageDigest::sha256()).unwrap();
            }
        }
        Self {
            cert: builder.build(),
            key,
        }
    }

    pub(super) fn cert_pem(&self) -> String {
        String::from_utf8(self.cert.to_pem().unwrap()).unwrap()
    }

    pub(super) fn key_pem(&self) -> String {
        String::from_utf8(self.key.private_key_to_pem_pkcs8().unwrap()).unwrap()
    }

    pub(super) fn encrypted_key_pem(&self, password: &str) -> String {
        let pem = self
            .key
            .private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), password.as_bytes());
        String::from_utf8(pem.unwrap()).unwrap()
    }

    /// A server with this identity; with an authority it demands a client certificate of it.
    pub(super) fn acceptor(&self, clients: Option<&Identity>) -> SslAcceptor {
        self.accepting(clients).build()
    }

    /// The same, for one version of TLS.
    pub(super) fn acceptor_for(&self, clients: Option<&Identity>, version: SslVersion) -> SslAcceptor {
        let mut builder = self.accepting(clients);
        builder.set_min_proto_version(Some(version)).unwrap();
        builder.set_max_proto_version(Some(version)).unwrap();
        builder.build()
    }

    /// A server that shows its issuer's certificate as well.
    pub(super) fn acceptor_with_issuer(&self, issuer: &Identity) -> SslAcceptor {
        let mut builder = self.accepting(None);
        builder.add_extra_chain_cert(issuer.cert.clone()).unwrap();
        builder.build()
    }

    fn accepting(&self, clients: Option<&Identity>) -> SslAcceptorBuilder {
        let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
        builder.set_certificate(&self.cert).unwrap();
        builder.set_private_key(&self.key).unwrap();
        if let Some(authority) = clients {
            let mut store = X509StoreBuilder::new().unwrap();
            store.add_cert(authority.cert.clone()).unwrap();
            builder.set_verify_cert_store(store.build()).unwrap();
            builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        }
        builder
    }
}
