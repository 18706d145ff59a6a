//! SCRAM (RFC 5802, RFC 7677) as Kafka has it: without channel binding, names and passwords as UTF-8 without SASLprep.
//!
//! Own code on OpenSSL's primitives, since no crate that is kept up speaks it without a framework around it.

use kbo_core::config::Mechanism;
use kbo_core::secret::Secret;
use openssl::base64::{decode_block, encode_block};
use openssl::error::ErrorStack;
use openssl::hash::{MessageDigest, hash};
use openssl::memcmp;
use openssl::pkcs5::pbkdf2_hmac;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use zeroize::Zeroizing;

/// Fewer than this Kafka itself does not take, from either side.
const FEWEST_ITERATIONS: usize = 4096;
/// More would keep the node busy for seconds, whoever asks for them.
const MOST_ITERATIONS: usize = 1_000_000;
/// No part of a message has a reason to be longer.
const LONGEST: usize = 4096;
/// GS2 header "n,," in base64: no channel binding, no other identity.
const NO_BINDING: &str = "biws";

/// Why an exchange ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rejected {
    /// The server says that the credentials are wrong, in its words.
    ByServer(String),
    /// What the server says does not belong into this exchange.
    Server(&'static str),
    /// The library.
    Library,
}

impl From<ErrorStack> for Rejected {
    fn from(_: ErrorStack) -> Self {
        Self::Library
    }
}

/// One exchange, begun.
pub(crate) struct Scram {
    digest: MessageDigest,
    nonce: String,
    bare: String,
}

/// The client's last message, and what the server's must prove.
pub(crate) struct Proof {
    pub(crate) message: String,
    signature: Vec<u8>,
}

impl Scram {
    /// An exchange with a nonce of its own. `None` where the mechanism is no SCRAM.
    pub(crate) fn begin(mechanism: Mechanism, user: &str) -> Result<Option<Self>, Rejected> {
        let mut random = [0; 24];
        openssl::rand::rand_bytes(&mut random)?;
        Ok(Self::with_nonce(mechanism, user, encode_block(&random)))
    }

    pub(super) fn with_nonce(mechanism: Mechanism, user: &str, nonce: String) -> Option<Self> {
        let digest = match mechanism {
            Mechanism::Plain => return None,
            Mechanism::ScramSha256 => MessageDigest::sha256(),
            Mechanism::ScramSha512 => MessageDigest::sha512(),
        };
        let name = user.replace('=', "=3D").replace(',', "=2C");
        let bare = format!("n={name},r={nonce}");
        Some(Self { digest, nonce, bare })
    }

    /// The client's first message.
    pub(crate) fn first(&self) -> String {
        format!("n,,{}", self.bare)
    }

    /// Answers the server's first message.
    pub(crate) fn answer(&self, server_first: &[u8], password: &Secret) -> Result<Proof, Rejected> {
        let text = text(server_first)?;
        let mut parts = text.split(',');
        let nonce = attribute(parts.next(), "r=")?;
        let salt = attribute(parts.next(), "s=")?;
        let iterations = attribute(parts.next(), "i=")?;
        // Extensions may follow, and mean nothing here; mandatory ones would have come first.
        if nonce.len() <= self.nonce.len() || !nonce.starts_with(&self.nonce) {
            return Err(Rejected::Server("its nonce does not go on from ours"));
        }
        let salt = decode(salt)?;
        let iterations: usize = iterations
            .parse()
            .map_err(|_| Rejected::Server("its iteration count is no number"))?;
        if iterations < FEWEST_ITERATIONS {
            return Err(Rejected::Server("it wants fewer than 4096 iterations"));
        }
        if iterations > MOST_ITERATIONS {
            return Err(Rejected::Server("it wants more than a million iterations"));
        }

        let without_proof = format!("c={NO_BINDING},r={nonce}");
        let signed = format!("{},{text},{without_proof}", self.bare);
        let mut salted = Zeroizing::new(vec![0; self.digest.size()]);
        pbkdf2_hmac(
            password.expose().as_bytes(),
            &salt,
            iterations,
            self.digest,
            &mut salted,
        )?;
        let client_key = Zeroizing::new(self.hmac(&salted, b"Client Key")?);
        let stored_key = Zeroizing::new(hash(self.digest, &client_key)?.to_vec());
        let client_signature = self.hmac(&stored_key, signed.as_bytes())?;
        let proof: Vec<u8> = client_key.iter().zip(&client_signature).map(|(a, b)| a ^ b).collect();
        let server_key = Zeroizing::new(self.hmac(&salted, b"Server Key")?);
        Ok(Proof {
            message: format!("{without_proof},p={}", encode_block(&proof)),
            signature: self.hmac(&server_key, signed.as_bytes())?,
        })
    }

    fn hmac(&self, key: &[u8], message: &[u8]) -> Result<Vec<u8>, ErrorStack> {
        let key = PKey::hmac(key)?;
        Signer::new(self.digest, &key)?.sign_oneshot_to_vec(message)
    }
}

impl Proof {
    /// The server must know the password as well: who does not has no right to the answer's trust.
    pub(crate) fn verify(&self, server_final: &[u8]) -> Result<(), Rejected> {
        let text = text(server_final)?;
        let first = text.split(',').next();
        if let Some(error) = first.and_then(|part| part.strip_prefix("e=")) {
            return Err(Rejected::ByServer(error.to_owned()));
        }
        let signature = decode(attribute(first, "v=")?)?;
        if signature.len() == self.signature.len() && memcmp::eq(&signature, &self.signature) {
            Ok(())
        } else {
            Err(Rejected::Server(
                "its signature is wrong: it does not know the password",
            ))
        }
    }
}

fn text(message: &[u8]) -> Result<&str, Rejected> {
    if message.len() > LONGEST {
        return Err(Rejected::Server("its message is too long"));
    }
    std::str::from_utf8(message).map_err(|_| Rejected::Server("its message is not UTF-8"))
}

fn attribute<'a>(part: Option<&'a str>, name: &str) -> Result<&'a str, Rejected> {
    part.and_then(|part| part.strip_prefix(name))
        .filter(|value| !value.is_empty())
        .ok_or(Rejected::Server("its message lacks a part"))
}

fn decode(base64: &str) -> Result<Vec<u8>, Rejected> {
    decode_block(base64).map_err(|_| Rejected::Server("a part of its message is no base64"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";

    fn exchange(mechanism: Mechanism, user: &str) -> Scram {
        Scram::with_nonce(mechanism, user, NONCE.to_owned()).unwrap()
    }

    #[test]
    fn the_example_of_rfc_7677_comes_out() {
        let scram = exchange(Mechanism::ScramSha256, "user");
        assert_eq!(scram.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let first = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let proof = scram.answer(first, &Secret::new("pencil")).unwrap();
        assert_eq!(
            proof.message,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(proof.verify(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), Ok(()));
    }

    /// Worked out with Python's hashlib and hmac.
    #[test]
    fn sha_512_and_an_awkward_name_come_out_as_another_implementation_has_them() {
        let scram = exchange(Mechanism::ScramSha512, "a=b,c");
        assert_eq!(scram.first(), "n,,n=a=3Db=2Cc,r=rOprNGfwEbeRWgbNEkqO");
        let first = b"r=rOprNGfwEbeRWgbNEkqOserver,s=c2FsdHlzYWx0,i=8192,x=extension";
        let proof = scram.answer(first, &Secret::new("pässwörd")).unwrap();
        assert_eq!(
            proof.message,
            "c=biws,r=rOprNGfwEbeRWgbNEkqOserver,p=U/ptxneLvGyaBmYozLLQnjadPzQqavN40hcJ0Sen8ZtRLymPtKAFg3560cDjKQ/qlaYOUDZpWqHp9qbERw5u7w=="
        );
        assert_eq!(
            proof.verify(b"v=jCYlOnjr8QdYe9ai+BdRUmvY3Nn3lWXBQu52mxzsp8NCouUMT5OuRA7Ebgmgckf1+ijUHLWEg1sWUM2hdgiLXQ=="),
            Ok(())
        );
    }

    #[test]
    fn a_server_that_does_not_know_the_password_is_not_believed() {
        let scram = exchange(Mechanism::ScramSha256, "user");
        let first = format!("r={NONCE}x,s=c2FsdA==,i=4096");
        let proof = scram.answer(first.as_bytes(), &Secret::new("pencil")).unwrap();
        for last in [
            format!("v={}", encode_block(&[0; 32])),
            format!("v={}", encode_block(&[])),
            "v=AAAA".to_owned(),
            "v=".to_owned(),
            String::new(),
        ] {
            assert!(
                matches!(proof.verify(last.as_bytes()), Err(Rejected::Server(_))),
                "{last}"
            );
        }
        assert_eq!(
            proof.verify(b"e=invalid-proof"),
            Err(Rejected::ByServer("invalid-proof".to_owned()))
        );
    }

    #[test]
    fn a_first_message_out_of_bounds_is_refused_before_anything_is_computed() {
        let scram = exchange(Mechanism::ScramSha512, "user");
        let long = "A".repeat(5000);
        for first in [
            format!("r={NONCE},s=c2FsdA==,i=4096"),
            "r=other,s=c2FsdA==,i=4096".to_owned(),
            format!("r={NONCE}x,s=,i=4096"),
            format!("r={NONCE}x,s=*,i=4096"),
            format!("r={NONCE}x,s=c2FsdA==,i=4095"),
            format!("r={NONCE}x,s=c2FsdA==,i=1000001"),
            format!("r={NONCE}x,s=c2FsdA==,i=99999999999999999999"),
            format!("r={NONCE}x,s=c2FsdA==,i=-1"),
            format!("m=must,r={NONCE}x,s=c2FsdA==,i=4096"),
            format!("r={NONCE}x,s={long},i=4096"),
        ] {
            let outcome = scram.answer(first.as_bytes(), &Secret::new("x"));
            assert!(matches!(outcome, Err(Rejected::Server(_))), "{first}");
        }
    }

    proptest! {
        #[test]
        fn no_message_makes_it_panic(first in proptest::collection::vec(any::<u8>(), 0..200), last in ".{0,60}") {
            let scram = exchange(Mechanism::ScramSha256, "user");
            drop(scram.answer(&first, &Secret::new("x")));
            let proof = Proof { message: String::new(), signature: vec![1; 32] };
            prop_assert!(proof.verify(last.as_bytes()).is_err());
        }
    }
}
