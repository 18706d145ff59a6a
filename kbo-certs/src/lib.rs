//! Keystores and truststores for Kafka from what an ACME client leaves in a folder, without Java and without OpenSSL.
//!
//! [`WildcardSet::load`] reads a folder, [`check`] says whether the set will do, [`make`] makes the bytes of stores. The codecs work
//! on bytes and know no files: [`Jks`] and [`Pkcs12`] write a [`store::Store`] and read it back.

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
