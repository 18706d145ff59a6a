//! Keystores and truststores for Kafka from what an ACME client leaves in a folder, without Java and without OpenSSL.
//!
//! [`WildcardSet::load`] reads a folder, [`check()`] says whether the set will do, [`make()`] makes the bytes of stores. The codecs work
//! on bytes and know no files: [`Jks`] and [`Pkcs12`] write a [`store::Store`] and read it back.
//!
//! ```
//! use std::path::Path;
//!
//! use kbo_certs::{Expectation, Format, Host, Layout, Options, Pkcs12, Profile, Recipe, Secret, WildcardSet, check, make};
//!
//! # let now: jiff::Timestamp = "2027-06-01T00:00:00Z".parse()?;
//! # let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/set"));
//! # /*
//! let now = jiff::Timestamp::now();
//! let folder = Path::new("/data/certificates");
//! # */
//! // wildcard.example.org-ACME.key, .crt and .ca, in whatever order their certificates are.
//! let layout = Layout { domain: Some("example.org".to_owned()), ..Layout::default() };
//! let set = WildcardSet::load(folder, &layout, &Options { passphrase: None, roots: vec![], now })?;
//!
//! let host = Host { node: "broker-1".to_owned(), host: "broker-1.example.org".to_owned() };
//! let expected = Expectation { hosts: vec![host], now, warn_days: 21, mutual_tls: true };
//! let report = check(&set, &expected);
//! assert!(report.is_good(), "{:?}", report.findings);
//!
//! let password = Secret::new("changeit");
//! let recipe = Recipe {
//!     alias: "kafka".to_owned(),
//!     password: password.clone(),
//!     truststore_password: password.clone(),
//!     formats: vec![Format::Pkcs12(Profile::Modern), Format::Jks, Format::Pem],
//! };
//! let made = make(&set, &expected, &recipe, false)?;
//! let names: Vec<&str> = made.iter().map(|file| file.name.as_str()).collect();
//! assert_eq!(
//!     names,
//!     ["keystore.p12", "truststore.p12", "keystore.jks", "truststore.jks", "keystore.pem", "truststore.pem"]
//! );
//!
//! // What was written is read back: the leaf and its intermediate; the root is in the truststore.
//! let keystore = Pkcs12::read(&made[0].bytes, &password)?;
//! assert_eq!(keystore.entries[0].alias, "kafka");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod certificate;
pub mod chain;
pub mod check;
pub mod folder;
pub mod jks;
pub mod key;
pub mod make;
pub mod pem;
pub mod pkcs12;
pub mod public_key;
pub mod set;
pub mod store;

mod traditional;

pub use check::{Expectation, Host, Report, check};
pub use folder::Layout;
pub use jks::Jks;
pub use make::{Format, Made, MakeError, Recipe, make};
pub use pkcs12::{Pkcs12, Profile};
pub use set::{Options, SetError, WildcardSet};
pub use store::{Certificate, Content, Entry, PrivateKey, Store};

// What passwords are given as: nobody needs kbo-core for it.
pub use kbo_core::secret::Secret;
