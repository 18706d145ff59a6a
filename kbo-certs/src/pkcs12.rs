//! PKCS12 (RFC 7292), as Java and OpenSSL read it.

use kbo_core::secret::Secret;

use crate::store::{Store, StoreError};

/// The codec of PKCS12.
#[derive(Debug, Clone, Copy)]
pub struct Pkcs12;

/// Which algorithms protect a PKCS12 store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// PBES2 with AES-256 and HMAC-SHA256: Java from 8u301 and 11.0.12 on, OpenSSL from 1.1 on.
    #[default]
    Modern,
    /// 3DES and HMAC-SHA1, the only ones that older Java reads.
    Legacy,
}

impl Pkcs12 {
    /// Reads a store, whichever profile it has.
    ///
    /// # Errors
    /// A wrong password, and every kind of bytes that are no PKCS12.
    pub fn read(bytes: &[u8], password: &Secret) -> Result<Store, StoreError> {
        let _ = (bytes, password);
        Err(StoreError::Unsupported("PKCS12".to_owned()))
    }

    /// Writes a store; its keys have the store's own password, as Java wants it.
    ///
    /// # Errors
    /// Aliases that Java would take for one, a password with other than printable ASCII characters: Java refuses it.
    pub fn write(store: &Store, password: &Secret, profile: Profile) -> Result<Vec<u8>, StoreError> {
        let _ = (store, password, profile);
        Err(StoreError::Unsupported("PKCS12".to_owned()))
    }
}
