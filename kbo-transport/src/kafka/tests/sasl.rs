//! Logins, against a server of SASL that is written apart from the client.

use std::sync::{Arc, Mutex};

use kbo_core::config::Mechanism;
use kbo_core::ports::node::{KafkaAnswer, KafkaQuestion, NodeError, NodeErrorKind};
use kbo_core::secret::Secret;
use openssl::base64::{decode_block, encode_block};
use openssl::hash::{MessageDigest, hash};
use openssl::pkcs5::pbkdf2_hmac;
use openssl::pkey::PKey;
use openssl::sign::Signer;

use super::super::{KafkaAccess, Sasl};
use super::certs::Identity;
use super::fake::{self, Bytes, Handler, Reply, Request, api_versions, frame};
use super::prober;

/// A broker that lets one user in.
#[derive(Clone)]
struct Server {
    mechanisms: &'static [&'static str],
    password: &'static str,
    /// The mechanisms that the user has credentials for, by the end of their names.
    known: &'static str,
    /// Whether it proves that it knows the password.
    honest: bool,
    iterations: usize,
    /// What was asked for, in order.
    asked: Arc<Mutex<Vec<String>>>,
}

enum State {
    New,
    Agreed(String),
    Challenged {
        mechanism: String,
        first_bare: String,
        server_first: String,
    },
    In,
}

impl Server {
    fn new(mechanisms: &'static [&'static str]) -> Self {
        Self {
            mechanisms,
            password: "pen,cil=",
            known: "",
            honest: true,
            iterations: 4096,
            asked: Arc::default(),
        }
    }

    fn serve(&self, identity: Option<&Identity>) -> u16 {
        let server = self.clone();
        fake::serve_stateful(identity.map(|identity| identity.acceptor(None)), move || {
            server.connection()
        })
    }

    fn connection(&self) -> Handler {
        let server = self.clone();
        let mut state = State::New;
        Box::new(move |request| server.answer(&mut state, request))
    }

    fn answer(&self, state: &mut State, request: &Request) -> Reply {
        match (request.key, std::mem::replace(state, State::New)) {
            (17, State::New) => {
                assert_eq!(request.version, 1);
                let mechanism = text(&request.body[2..]);
                self.asked.lock().unwrap().push(mechanism.clone());
                let known = self.mechanisms.contains(&mechanism.as_str());
                let mut out = Bytes::new(false);
                out.i16(if known { 0 } else { 33 });
                out.list(self.mechanisms, |out, name| out.string(Some(name)));
                if known {
                    *state = State::Agreed(mechanism);
                    return Reply::Bytes(frame(request, false, &out.out));
                }
                Reply::Last(frame(request, false, &out.out))
            }
            (36, State::Agreed(mechanism)) if mechanism == "PLAIN" => {
                let expected = format!("\0ali,ce\0{}", self.password);
                if text(&request.body[4..]) != expected {
                    return refused(request, "Authentication failed: Invalid username or password");
                }
                *state = State::In;
                authenticated(request, b"")
            }
            (36, State::Agreed(mechanism)) => {
                let first = text(&request.body[4..]);
                let first_bare = first.strip_prefix("n,,").expect("no channel binding").to_owned();
                let nonce = first_bare.strip_prefix("n=ali=2Cce,r=").expect("name and nonce");
                let server_first = format!("r={nonce}more,s={},i={}", encode_block(b"salty"), self.iterations);
                let reply = authenticated(request, server_first.as_bytes());
                *state = State::Challenged {
                    mechanism,
                    first_bare,
                    server_first,
                };
                reply
            }
            (
                36,
                State::Challenged {
                    mechanism,
                    first_bare,
                    server_first,
                },
            ) => {
                let last = text(&request.body[4..]);
                let (without_proof, proof) = last.rsplit_once(",p=").expect("a proof");
                let signed = format!("{first_bare},{server_first},{without_proof}");
                match self.check(&mechanism, &signed, &decode_block(proof).unwrap()) {
                    Some(signature) => {
                        *state = State::In;
                        let signature = if self.honest {
                            signature
                        } else {
                            vec![0; signature.len()]
                        };
                        authenticated(request, format!("v={}", encode_block(&signature)).as_bytes())
                    }
                    None => refused(
                        request,
                        "Authentication failed during authentication due to invalid credentials",
                    ),
                }
            }
            (18, State::In) => {
                *state = State::In;
                Reply::Bytes(frame(request, false, &api_versions(request.version, &[(18, 0, 4)])))
            }
            (key, _) => panic!("request {key} at the wrong time"),
        }
    }

    /// The server's signature, if the proof is right.
    fn check(&self, mechanism: &str, signed: &str, proof: &[u8]) -> Option<Vec<u8>> {
        let digest = if mechanism.ends_with("512") {
            MessageDigest::sha512()
        } else {
            MessageDigest::sha256()
        };
        let hmac = |key: &[u8], message: &[u8]| {
            let key = PKey::hmac(key).unwrap();
            Signer::new(digest, &key).unwrap().sign_oneshot_to_vec(message).unwrap()
        };
        let mut salted = vec![0; digest.size()];
        pbkdf2_hmac(self.password.as_bytes(), b"salty", self.iterations, digest, &mut salted).unwrap();
        let stored = hash(digest, &hmac(&salted, b"Client Key")).unwrap();
        let signature = hmac(&stored, signed.as_bytes());
        let client_key: Vec<u8> = proof.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        let is_right = *hash(digest, &client_key).unwrap() == *stored && mechanism.ends_with(self.known);
        is_right.then(|| hmac(&hmac(&salted, b"Server Key"), signed.as_bytes()))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn authenticated(request: &Request, bytes: &[u8]) -> Reply {
    assert_eq!(request.version, 1);
    let mut out = Bytes::new(false);
    out.i16(0);
    out.string(None);
    out.i32(bytes.len() as i32);
    out.raw(bytes);
    out.i64(0);
    Reply::Bytes(frame(request, false, &out.out))
}

fn refused(request: &Request, message: &str) -> Reply {
    let mut out = Bytes::new(false);
    out.i16(58);
    out.string(Some(message));
    out.i32(0);
    out.i64(0);
    Reply::Last(frame(request, false, &out.out))
}

fn sasl(mechanism: Option<Mechanism>, password: &str) -> Sasl {
    Sasl::new(mechanism, "ali,ce".to_owned(), Secret::new(password))
}

async fn ask(port: u16, protocol: &str, access: KafkaAccess) -> Result<KafkaAnswer, NodeError> {
    let text = format!(
        "process.roles=broker\nnode.id=4\nlisteners=L://127.0.0.1:{port}\nadvertised.listeners=L://b4.example:9094\n\
         listener.security.protocol.map=L:{protocol}"
    );
    prober(&text, access).ask(KafkaQuestion::Alive).await
}

async fn plaintext(server: &Server, sasl: Sasl) -> Result<KafkaAnswer, NodeError> {
    let access = KafkaAccess {
        sasl: Some(sasl),
        ..KafkaAccess::default()
    };
    ask(server.serve(None), "SASL_PLAINTEXT", access).await
}

#[tokio::test]
async fn every_mechanism_lets_in_who_knows_the_password() {
    for mechanism in Mechanism::ALL {
        let server = Server::new(&["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]);
        let answer = plaintext(&server, sasl(Some(mechanism), "pen,cil=")).await;
        assert_eq!(answer, Ok(KafkaAnswer::Alive), "{mechanism}");
        assert_eq!(*server.asked.lock().unwrap(), [mechanism.name()]);
    }
}

#[tokio::test]
async fn a_wrong_password_is_an_error_at_once_that_names_the_user_and_shows_no_password() {
    for mechanism in Mechanism::ALL {
        let server = Server::new(&["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]);
        let error = plaintext(&server, sasl(Some(mechanism), "hunter2")).await.unwrap_err();
        assert_eq!(error.kind, NodeErrorKind::Refused);
        assert!(
            error.message.contains("refused the credentials") && error.message.contains("ali,ce"),
            "{error}"
        );
        assert!(error.message.contains(mechanism.name()), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"));
        assert!(error.hint.unwrap().contains("sasl_password_file"));
    }
}

#[tokio::test]
async fn without_a_mechanism_the_best_that_is_offered_is_taken() {
    let server = Server::new(&["SCRAM-SHA-256", "PLAIN"]);
    assert_eq!(plaintext(&server, sasl(None, "pen,cil=")).await, Ok(KafkaAnswer::Alive));
    assert_eq!(*server.asked.lock().unwrap(), ["SCRAM-SHA-512", "SCRAM-SHA-256"]);
}

#[tokio::test]
async fn a_user_with_credentials_for_one_mechanism_only_is_let_in_by_that() {
    let server = Server {
        known: "256",
        ..Server::new(&["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
    };
    assert_eq!(plaintext(&server, sasl(None, "pen,cil=")).await, Ok(KafkaAnswer::Alive));
    assert_eq!(*server.asked.lock().unwrap(), ["SCRAM-SHA-512", "SCRAM-SHA-256"]);
    let error = plaintext(&server, sasl(None, "wrong")).await.unwrap_err();
    assert!(
        error.message.contains("SCRAM-SHA-512, SCRAM-SHA-256 as user"),
        "{error}"
    );
}

#[tokio::test]
async fn plain_goes_over_tls_unasked_and_without_tls_only_by_name() {
    let server = Server::new(&["PLAIN"]);
    let error = plaintext(&server, sasl(None, "pen,cil=")).await.unwrap_err();
    assert!(error.message.contains("offers PLAIN"), "{error}");
    assert!(error.hint.unwrap().contains("sasl_mechanism"));
    assert_eq!(*server.asked.lock().unwrap(), ["SCRAM-SHA-512"]);

    let authority = Identity::authority("lab");
    let port = server.serve(Some(&authority.issue("b4.example")));
    let access = KafkaAccess {
        ca_pem: Some(authority.cert_pem()),
        sasl: Some(sasl(None, "pen,cil=")),
        ..KafkaAccess::default()
    };
    assert_eq!(ask(port, "SASL_SSL", access).await, Ok(KafkaAnswer::Alive));
}

#[tokio::test]
async fn a_mechanism_that_is_not_offered_is_an_error_that_names_those_that_are() {
    let server = Server::new(&["GSSAPI", "OAUTHBEARER"]);
    for mechanism in [None, Some(Mechanism::ScramSha256)] {
        let error = plaintext(&server, sasl(mechanism, "pen,cil=")).await.unwrap_err();
        assert_eq!(error.kind, NodeErrorKind::Refused);
        assert!(error.message.contains("GSSAPI, OAUTHBEARER"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_know_the_password_either_is_not_believed() {
    let server = Server {
        honest: false,
        ..Server::new(&["SCRAM-SHA-512"])
    };
    let error = plaintext(&server, sasl(None, "pen,cil=")).await.unwrap_err();
    assert!(error.message.contains("its signature is wrong"), "{error}");
    for iterations in [1, 100_000_000] {
        let server = Server {
            iterations,
            ..Server::new(&["SCRAM-SHA-512"])
        };
        let error = plaintext(&server, sasl(None, "pen,cil=")).await.unwrap_err();
        assert!(error.message.contains("iterations"), "{error}");
    }
}

#[tokio::test]
async fn what_a_server_says_is_repeated_without_the_password_and_control_characters() {
    let port = fake::serve(|request| match request.key {
        17 => Reply::Bytes(frame(request, false, &[0, 0, 0, 0, 0, 0])),
        _ => refused(request, "no \x1b[31m hunter2 for you"),
    });
    let access = KafkaAccess {
        sasl: Some(sasl(Some(Mechanism::Plain), "hunter2")),
        ..KafkaAccess::default()
    };
    let error = ask(port, "SASL_PLAINTEXT", access).await.unwrap_err();
    assert!(error.message.contains("[redacted] for you"), "{error}");
    assert!(!error.message.contains('\x1b') && !format!("{error:?}").contains("hunter2"));
}

#[tokio::test]
async fn an_answer_to_a_login_that_is_too_long_is_refused_by_its_length_and_not_waited_for() {
    for key in [17, 36] {
        let port = fake::serve(move |request| match request.key {
            17 if key == 36 => Reply::Bytes(frame(request, false, &[0, 0, 0, 0, 0, 0])),
            // Its length, and nothing of what should follow.
            _ => Reply::Bytes((64 * 1024 + 1_u32).to_be_bytes().to_vec()),
        });
        let access = KafkaAccess {
            sasl: Some(sasl(Some(Mechanism::Plain), "pen,cil=")),
            ..KafkaAccess::default()
        };
        let error = ask(port, "SASL_PLAINTEXT", access).await.unwrap_err();
        assert!(error.message.contains("65537 bytes long"), "{error}");
    }
}
