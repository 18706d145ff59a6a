//! Java's own store format, JKS.

use kbo_core::secret::Secret;

use crate::store::{Store, StoreError};

/// The codec of JKS, version 2.
#[derive(Debug, Clone, Copy)]
pub struct Jks;

impl Jks {
    /// Reads a store. `key_password` opens its keys where it is not the store's own.
    ///
    /// # Errors
    /// A wrong password, and every kind of bytes that are no JKS.
    pub fn read(bytes: &[u8], password: &Secret, key_password: Option<&Secret>) -> Result<Store, StoreError> {
        let _ = (bytes, password, key_password);
        Err(StoreError::Unsupported("JKS".to_owned()))
    }

    /// Writes a store. Keys are protected with `key_password`, else with the store's own.
    ///
    /// # Errors
    /// Aliases that Java would take for one, a password that Java would not take.
    pub fn write(store: &Store, password: &Secret, key_password: Option<&Secret>) -> Result<Vec<u8>, StoreError> {
        let _ = (store, password, key_password);
        Err(StoreError::Unsupported("JKS".to_owned()))
    }
}
