//! Keystores and truststores for Kafka from what an ACME client leaves in a folder.
//!
//! The codecs work on bytes and know no files: [`jks::Jks`] and [`pkcs12::Pkcs12`] write a [`store::Store`] and read it back.

pub mod jks;
pub mod pkcs12;
pub mod store;
