//! Logging in by SASL: PLAIN (RFC 4616) and SCRAM, in Kafka's SaslHandshake and SaslAuthenticate requests.
//!
//! A KRaft broker accepts connections only once it has published the metadata that hold its SCRAM users, so credentials that it
//! refuses are wrong however soon after its start. A controller may not know them before its quorum has a leader; who waits for a
//! quorum waits through errors.

mod scram;

use bytes::Bytes;
use kafka_protocol::messages::{SaslAuthenticateRequest, SaslHandshakeRequest};
use kafka_protocol::protocol::StrBytes;
use kbo_core::config::Mechanism;
use kbo_core::ports::node::{NodeError, NodeErrorKind};
use kbo_core::secret::{REDACTED, Secret};
use zeroize::Zeroizing;

use super::client::{Connection, Trouble, refusal};
use super::messages::{Ask, SaslAuthenticated, SaslOffer};
use scram::{Rejected, Scram};

#[cfg(feature = "fuzzing")]
pub(crate) use fuzzing::read_server;

const UNSUPPORTED_SASL_MECHANISM: i16 = 33;
const SASL_AUTHENTICATION_FAILED: i16 = 58;

/// A message of a login is some hundred bytes.
const LONGEST: u32 = 64 * 1024;

/// Who we are to listeners with SASL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sasl {
    /// The mechanisms that these credentials are for, the best first.
    pub mechanisms: Vec<Mechanism>,
    /// The user.
    pub username: String,
    /// Its password.
    pub password: Secret,
    /// Whether PLAIN may go without TLS: it gives the password away to whoever listens on the wire.
    pub plain_in_clear: bool,
}

impl Sasl {
    /// Credentials for `mechanism`; without one, for whichever the listener offers. Who names PLAIN has it without TLS too.
    pub fn new(mechanism: Option<Mechanism>, username: String, password: Secret) -> Self {
        let mechanisms = match mechanism {
            Some(one) => vec![one],
            None => vec![Mechanism::ScramSha512, Mechanism::ScramSha256, Mechanism::Plain],
        };
        Self {
            plain_in_clear: mechanism == Some(Mechanism::Plain),
            mechanisms,
            username,
            password,
        }
    }

    /// The mechanisms for a listener.
    fn suitable(&self, is_encrypted: bool) -> Vec<Mechanism> {
        let plain = is_encrypted || self.plain_in_clear;
        let suits = |mechanism: &&Mechanism| **mechanism != Mechanism::Plain || plain;
        self.mechanisms.iter().filter(suits).copied().collect()
    }
}

/// Why a mechanism did not let us in.
enum Denied {
    /// It refused the credentials; a user may have some for another mechanism.
    Credentials(Trouble),
    /// Whatever else.
    Other(Trouble),
}

impl From<Trouble> for Denied {
    fn from(trouble: Trouble) -> Self {
        Self::Other(trouble)
    }
}

/// Logs in on a connection that `open` makes: one for each mechanism that suits, the best first, as far as the listener offers it.
pub(crate) fn log_in(
    open: impl Fn() -> Result<Connection, Trouble>,
    sasl: &Sasl,
    is_encrypted: bool,
) -> Result<Connection, Trouble> {
    let suitable = sasl.suitable(is_encrypted);
    if suitable.is_empty() {
        // Asking for a mechanism gives nothing away, and tells what there is instead.
        let offer = shake_hands(&mut open()?, Mechanism::Plain)?;
        return Err(not_offered(&suitable, &offer.mechanisms, sasl, is_encrypted));
    }
    let mut offered: Option<Vec<String>> = None;
    let mut tried = Vec::new();
    let mut denied = None;
    for &mechanism in &suitable {
        if offered
            .as_ref()
            .is_some_and(|offered| !offered.iter().any(|name| name == mechanism.name()))
        {
            continue;
        }
        // Kafka closes a connection on which it refused something.
        let mut connection = open()?;
        let offer = shake_hands(&mut connection, mechanism)?;
        let is_agreed = offer.error == 0;
        if !is_agreed || !offer.mechanisms.is_empty() {
            offered = Some(offer.mechanisms);
        }
        if !is_agreed {
            continue;
        }
        tried.push(mechanism.name());
        let whose = |trouble| match trouble {
            Trouble::Failed(mut error) => {
                error.message = format!("{} as user {}: {}", tried.join(", "), sasl.username, error.message);
                Trouble::Failed(error)
            }
            other => other,
        };
        match converse(&mut connection, mechanism, sasl) {
            Ok(()) => return Ok(connection),
            Err(Denied::Other(trouble)) => return Err(whose(trouble)),
            Err(Denied::Credentials(trouble)) => denied = Some(whose(trouble)),
        }
    }
    Err(denied.unwrap_or_else(|| not_offered(&suitable, &offered.unwrap_or_default(), sasl, is_encrypted)))
}

/// Asks for a mechanism.
fn shake_hands(connection: &mut Connection, mechanism: Mechanism) -> Result<SaslOffer, Trouble> {
    let request = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(mechanism.name()));
    let body = connection.call_for(LONGEST, SaslHandshakeRequest::SPOKEN.max, &request)?;
    let offer = SaslOffer::decode(&body)?;
    match offer.error {
        0 | UNSUPPORTED_SASL_MECHANISM => Ok(offer),
        code => Err(refusal("SaslHandshake", code, None)),
    }
}

fn converse(connection: &mut Connection, mechanism: Mechanism, sasl: &Sasl) -> Result<(), Denied> {
    match Scram::begin(mechanism, &sasl.username).map_err(rejected)? {
        None => plain(connection, sasl),
        Some(scram) => scrammed(connection, &scram, sasl),
    }
}

fn plain(connection: &mut Connection, sasl: &Sasl) -> Result<(), Denied> {
    if sasl.username.contains('\0') || sasl.password.expose().contains('\0') {
        return Err(refused("neither name nor password may hold a NUL".to_owned()).into());
    }
    let mut token = Zeroizing::new(Vec::with_capacity(
        sasl.username.len() + sasl.password.expose().len() + 2,
    ));
    token.push(0);
    token.extend_from_slice(sasl.username.as_bytes());
    token.push(0);
    token.extend_from_slice(sasl.password.expose().as_bytes());
    authenticate(connection, token, sasl).map(drop)
}

fn scrammed(connection: &mut Connection, scram: &Scram, sasl: &Sasl) -> Result<(), Denied> {
    let say = |text: String| Zeroizing::new(text.into_bytes());
    let first = authenticate(connection, say(scram.first()), sasl)?;
    let proof = scram.answer(&first, &sasl.password).map_err(rejected)?;
    let last = authenticate(connection, say(proof.message.clone()), sasl)?;
    proof.verify(&last).map_err(rejected)
}

/// One message and its answer.
fn authenticate(connection: &mut Connection, message: Zeroizing<Vec<u8>>, sasl: &Sasl) -> Result<Vec<u8>, Denied> {
    let request = SaslAuthenticateRequest::default().with_auth_bytes(Bytes::from_owner(message));
    let body = connection.call_for(LONGEST, SaslAuthenticateRequest::SPOKEN.max, &request)?;
    let answer = SaslAuthenticated::decode(&body).map_err(Trouble::from)?;
    match answer.error {
        0 => Ok(answer.bytes),
        SASL_AUTHENTICATION_FAILED => Err(Denied::Credentials(refused(format!(
            "it refused the credentials{}",
            said(answer.message.as_deref(), sasl)
        )))),
        code => Err(refusal("SaslAuthenticate", code, None).into()),
    }
}

/// What the other side says, as far as it may be repeated.
fn said(message: Option<&str>, sasl: &Sasl) -> String {
    let Some(message) = message.filter(|message| !message.is_empty()) else {
        return String::new();
    };
    let password = sasl.password.expose();
    let message = if password.is_empty() {
        message.to_owned()
    } else {
        message.replace(password, REDACTED)
    };
    let plain: String = message.chars().filter(|c| !c.is_control()).take(200).collect();
    format!(": {plain}")
}

fn rejected(why: Rejected) -> Denied {
    match why {
        Rejected::ByServer(error) => {
            let plain: String = error.chars().filter(|c| !c.is_control()).take(100).collect();
            Denied::Credentials(refused(format!("it refused the credentials: {plain}")))
        }
        Rejected::Server(what) => Denied::Other(Trouble::Failed(
            NodeError::new(
                NodeErrorKind::Refused,
                format!("what it answers is not to be trusted: {what}"),
            )
            .hint("something else than the node's Kafka may answer there"),
        )),
        Rejected::Library => Denied::Other(Trouble::Failed(NodeError::new(
            NodeErrorKind::State,
            "the cryptographic library failed",
        ))),
    }
}

fn refused(message: String) -> Trouble {
    Trouble::Failed(NodeError::new(NodeErrorKind::Refused, message).hint(CREDENTIALS))
}

/// What to do about credentials.
pub(crate) const CREDENTIALS: &str = "set `sasl_username` and `sasl_password_file` in `[kafka]` of kbo.toml, or have the user and password in a \
     client.properties in the node's configuration directory";

fn not_offered(suitable: &[Mechanism], offered: &[String], sasl: &Sasl, is_encrypted: bool) -> Trouble {
    let ours: Vec<&str> = suitable.iter().map(|mechanism| mechanism.name()).collect();
    let theirs: Vec<String> = offered
        .iter()
        .take(10)
        .map(|name| name.chars().filter(|c| !c.is_control()).take(40).collect())
        .collect();
    let theirs = if theirs.is_empty() {
        "nothing".to_owned()
    } else {
        theirs.join(", ")
    };
    let text = if ours.is_empty() {
        format!("it offers {theirs} for SASL, and kbo has a user for PLAIN only, which it does not speak without TLS")
    } else {
        format!("it offers {theirs} for SASL, not {}", ours.join(" or "))
    };
    let withheld = sasl.mechanisms.contains(&Mechanism::Plain) && !suitable.contains(&Mechanism::Plain);
    let only_plain = !is_encrypted && withheld && offered.iter().any(|name| name == "PLAIN");
    Trouble::Failed(NodeError::new(NodeErrorKind::Refused, text).hint(if only_plain {
        "PLAIN without TLS shows the password to the network: kbo speaks it only with `sasl_mechanism = \"PLAIN\"` and a user in `[kafka]` \
         of kbo.toml, or by a client.properties with security.protocol=SASL_PLAINTEXT"
    } else {
        CREDENTIALS
    }))
}

#[cfg(feature = "fuzzing")]
mod fuzzing {
    use super::*;

    /// Takes `data` for what a server says in a login.
    pub(crate) fn read_server(data: &[u8]) {
        drop(SaslOffer::decode(data));
        drop(SaslAuthenticated::decode(data));
        for mechanism in [Mechanism::ScramSha256, Mechanism::ScramSha512] {
            let Some(scram) = Scram::with_nonce(mechanism, "u", "n".to_owned()) else {
                continue;
            };
            if let Ok(proof) = scram.answer(data, &Secret::new("p")) {
                drop(proof.verify(data));
            }
        }
    }
}
