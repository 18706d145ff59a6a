//! TLS towards a listener, and what its failures mean.

use std::io::{Read, Write};
use std::net::IpAddr;
use std::path::Path;

use kbo_core::ports::node::{NodeError, NodeErrorKind};
use kbo_core::secret::Secret;
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{
    HandshakeError, Ssl, SslContext, SslContextBuilder, SslMethod, SslStream, SslVerifyMode, SslVersion,
};
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::{X509CheckFlags, X509VerifyFlags};
use openssl::x509::{X509, X509VerifyResult};

use super::client::Trouble;
use super::sasl::Sasl;

/// How a node's Kafka is to be reached, as kbo.toml has it. With TLS the peer is always verified.
#[derive(Debug, Clone)]
pub struct KafkaAccess {
    /// Certificates of the authorities that may vouch for brokers, as PEM; `None` for those of the system.
    pub ca_pem: Option<String>,
    /// The client's certificate and its chain, as PEM, for listeners that ask for one.
    pub cert_pem: Option<String>,
    /// The key that belongs to it, as PEM.
    pub key_pem: Option<Secret>,
    /// The password of an encrypted key.
    pub key_password: Option<Secret>,
    /// Whether the certificate must name the host; it must be signed by an authority either way.
    pub verify_hostname: bool,
    /// Who we are to listeners with SASL.
    pub sasl: Option<Sasl>,
    /// The node's client properties: an absolute path in the container, or one in the node's configuration directory.
    pub client_properties: Option<String>,
}

impl KafkaAccess {
    /// Whether it has a client certificate, or a part of one.
    pub(crate) fn has_identity(&self) -> bool {
        self.cert_pem.is_some() || self.key_pem.is_some()
    }
}

impl Default for KafkaAccess {
    fn default() -> Self {
        Self {
            ca_pem: None,
            cert_pem: None,
            key_pem: None,
            key_password: None,
            verify_hostname: true,
            sasl: None,
            client_properties: None,
        }
    }
}

/// A client for the listeners of one node.
pub(crate) struct Tls {
    context: SslContext,
    verify_hostname: bool,
}

impl Tls {
    /// Reads the certificates and the key. The errors name which of them is wrong, and show none of it.
    pub(crate) fn new(access: &KafkaAccess) -> Result<Self, NodeError> {
        let mut builder = SslContext::builder(SslMethod::tls_client()).map_err(|e| unusable("the TLS library", &e))?;
        builder
            .set_min_proto_version(Some(SslVersion::TLS1_2))
            .map_err(|e| unusable("the TLS library", &e))?;
        builder.set_verify(SslVerifyMode::PEER);
        match &access.ca_pem {
            Some(pem) => {
                let what = "the CA certificate for Kafka";
                let mut store = X509StoreBuilder::new().map_err(|e| unusable(what, &e))?;
                // Whoever is named is trusted, as in Java, be it no authority of its own.
                store
                    .set_flags(X509VerifyFlags::PARTIAL_CHAIN)
                    .map_err(|e| unusable(what, &e))?;
                for authority in certificates(pem, what)? {
                    store.add_cert(authority).map_err(|e| unusable(what, &e))?;
                }
                builder.set_cert_store(store.build());
            }
            None => trust_the_system(&mut builder)?,
        }
        match (&access.cert_pem, &access.key_pem) {
            (None, None) => {}
            (Some(cert), Some(key)) => {
                let what = "the client certificate for Kafka";
                let mut chain = certificates(cert, what)?.into_iter();
                if let Some(own) = chain.next() {
                    builder.set_certificate(&own).map_err(|e| unusable(what, &e))?;
                }
                for issuer in chain {
                    builder.add_extra_chain_cert(issuer).map_err(|e| unusable(what, &e))?;
                }
                let key = private_key(key, access.key_password.as_ref())?;
                builder
                    .set_private_key(&key)
                    .and_then(|()| builder.check_private_key())
                    .map_err(|_| {
                        wrong("the client key for Kafka does not belong to the client certificate".to_owned())
                            .hint("the first certificate of the file must be the key's own")
                    })?;
            }
            (Some(_), None) => {
                return Err(wrong(
                    "a client certificate for Kafka is given without its key".to_owned(),
                ));
            }
            (None, Some(_)) => {
                return Err(wrong(
                    "a client key for Kafka is given without its certificate".to_owned(),
                ));
            }
        }
        Ok(Self {
            context: builder.build(),
            verify_hostname: access.verify_hostname,
        })
    }

    /// A connection to come, and whom it expects.
    fn session(&self, server_name: &str) -> Result<Ssl, ErrorStack> {
        let mut ssl = Ssl::new(&self.context)?;
        let address = server_name.parse::<IpAddr>();
        if address.is_err() {
            // SNI is for names only.
            ssl.set_hostname(server_name)?;
        }
        if self.verify_hostname {
            let expected = ssl.param_mut();
            expected.set_hostflags(X509CheckFlags::NO_PARTIAL_WILDCARDS);
            match address {
                Ok(ip) => expected.set_ip(ip)?,
                Err(_) => expected.set_host(server_name)?,
            }
        }
        Ok(ssl)
    }

    /// Shakes hands. `server_name` is what the certificate must name.
    pub(crate) fn handshake<S: Read + Write>(&self, server_name: &str, stream: S) -> Result<SslStream<S>, Trouble> {
        let ssl = self
            .session(server_name)
            .map_err(|e| Trouble::Failed(unusable("the server name", &e)))?;
        match ssl.connect(stream) {
            Ok(stream) => Ok(stream),
            Err(HandshakeError::SetupFailure(stack)) => Err(Trouble::Failed(unusable("the server name", &stack))),
            // The stream blocks until its deadline and then fails for good, so there is no WouldBlock to go on from.
            Err(HandshakeError::Failure(half) | HandshakeError::WouldBlock(half)) => {
                let verdict = half.ssl().verify_result();
                if verdict != X509VerifyResult::OK {
                    return Err(Trouble::Failed(not_trusted(server_name, verdict)));
                }
                let error = half.into_error();
                match error.ssl_error() {
                    Some(stack) => Err(meaning(stack)),
                    None => Err(match error.io_error() {
                        Some(io) => Trouble::of_io(io, "during the TLS handshake"),
                        None => Trouble::NotYet("closed the connection during the TLS handshake".to_owned()),
                    }),
                }
            }
        }
    }
}

/// The library was built into this binary and knows no distribution's paths but by SSL_CERT_FILE and SSL_CERT_DIR.
fn trust_the_system(builder: &mut SslContextBuilder) -> Result<(), NodeError> {
    /// Of Debian and its like, of Red Hat and its like, of Alpine.
    const BUNDLES: [&str; 3] = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/cert.pem",
    ];
    let what = "the system's CA certificates";
    builder.set_default_verify_paths().map_err(|e| unusable(what, &e))?;
    if let Some(bundle) = BUNDLES.iter().find(|bundle| Path::new(bundle).is_file()) {
        builder.set_ca_file(bundle).map_err(|e| unusable(what, &e))?;
    }
    Ok(())
}

/// What a TLS failure means after or during the handshake: an alert of the peer, no TLS at all, or a broken connection.
pub(crate) fn meaning(stack: &ErrorStack) -> Trouble {
    // Alerts come as 1000 plus their number (RFC 8446, 6).
    const ALERTS: std::ops::Range<i32> = 1000..1256;
    const INTERNAL_ERROR: i32 = 1080;
    const CERTIFICATE_REQUIRED: i32 = 1116;
    // bad_certificate to certificate_unknown, and unknown_ca.
    const CERTIFICATE_REFUSED: [i32; 6] = [1042, 1043, 1044, 1045, 1046, 1048];
    // Reasons of the library when what came is no TLS.
    const HTTP_REQUEST: i32 = 156;
    const PACKET_LENGTH_TOO_LONG: i32 = 198;
    const UNKNOWN_PROTOCOL: i32 = 252;
    const WRONG_VERSION_NUMBER: i32 = 267;

    let Some(first) = stack.errors().first() else {
        return Trouble::NotYet("TLS failed for no known reason".to_owned());
    };
    let reason = first.reason().unwrap_or("the connection broke");
    match first.reason_code() {
        WRONG_VERSION_NUMBER | UNKNOWN_PROTOCOL | PACKET_LENGTH_TOO_LONG | HTTP_REQUEST => Trouble::Failed(
            wrong(format!("the answer is no TLS ({reason})"))
                .hint("the listener's protocol on the wire is not SSL as listener.security.protocol.map says, or something else has its port"),
        ),
        INTERNAL_ERROR => Trouble::NotYet("answered the TLS handshake with an internal error".to_owned()),
        CERTIFICATE_REQUIRED => refused("it requires a client certificate".to_owned(), CLIENT_HINT),
        // Before TLS 1.3 a missing certificate is a bad one.
        code if CERTIFICATE_REFUSED.contains(&code) => {
            refused(format!("it refused the client certificate, or wants one ({reason})"), CLIENT_HINT)
        }
        code if ALERTS.contains(&code) => refused(
            format!("it refused the TLS connection ({reason})"),
            "there may be no TLS version or cipher in common; the node's log says more",
        ),
        _ => Trouble::NotYet(format!("TLS failed ({reason})")),
    }
}

const CLIENT_HINT: &str = "give a client certificate and key that the node's truststore accepts";

fn refused(message: String, hint: &str) -> Trouble {
    Trouble::Failed(NodeError::new(NodeErrorKind::Refused, message).hint(hint))
}

fn not_trusted(server_name: &str, verdict: X509VerifyResult) -> NodeError {
    /// X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH.
    const NAMES: [i32; 2] = [62, 64];
    let why = verdict.error_string();
    let error = NodeError::new(
        NodeErrorKind::Refused,
        format!("its certificate is not trusted for {server_name}: {why}"),
    );
    if NAMES.contains(&verdict.as_raw()) {
        error.hint("the certificate must name the advertised host; else set `[kafka] verify_hostname = false`")
    } else {
        error.hint("name the certificate of the authority that signed the node's: `[kafka] ca`")
    }
}

fn certificates(pem: &str, what: &str) -> Result<Vec<X509>, NodeError> {
    let found = X509::stack_from_pem(pem.as_bytes()).map_err(|e| unusable(what, &e))?;
    if found.is_empty() {
        return Err(wrong(format!("{what} holds no certificate")).hint("it must be PEM, with BEGIN CERTIFICATE lines"));
    }
    Ok(found)
}

fn private_key(pem: &Secret, password: Option<&Secret>) -> Result<PKey<Private>, NodeError> {
    let text = pem.expose();
    match password {
        Some(password) => PKey::private_key_from_pem_passphrase(text.as_bytes(), password.expose().as_bytes())
            .map_err(|_| wrong("the client key for Kafka cannot be read with its password".to_owned())),
        // Without a callback the library would ask on the terminal.
        None => PKey::private_key_from_pem_callback(text.as_bytes(), |_| Ok(0)).map_err(|_| {
            if text.contains("ENCRYPTED") {
                wrong("the client key for Kafka is encrypted, and no password is given".to_owned())
            } else {
                wrong("the client key for Kafka cannot be read".to_owned()).hint("it must be a private key as PEM")
            }
        }),
    }
}

fn wrong(message: String) -> NodeError {
    NodeError::new(NodeErrorKind::State, message)
}

/// The library's reasons only: what else it attaches may quote the input.
fn unusable(what: &str, stack: &ErrorStack) -> NodeError {
    let reasons: Vec<&str> = stack.errors().iter().filter_map(|e| e.reason()).collect();
    wrong(format!("{what} cannot be used: {}", reasons.join(", ")))
}
