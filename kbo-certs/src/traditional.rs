//! OpenSSL's older format of encrypted keys: `Proc-Type: 4,ENCRYPTED` in a PEM block.

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt as _, KeyIvInit as _};
use md5::{Digest as _, Md5};
use zeroize::Zeroizing;

use kbo_core::secret::Secret;

use crate::key::{KeyError, forms};
use crate::pem::Block;

/// Decrypts the block's bytes.
pub(crate) fn decrypt(block: &Block, passphrase: Option<&Secret>) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let info = block.headers.iter().find(|(name, _)| name == "DEK-Info");
    let malformed = || KeyError::Malformed("its DEK-Info names no cipher and no start value".to_owned());
    let (cipher, start) = info
        .and_then(|(_, value)| value.split_once(','))
        .ok_or_else(malformed)?;
    let start = hex::decode(start.trim()).map_err(|_| malformed())?;
    let passphrase = passphrase.ok_or(KeyError::PassphraseNeeded)?;
    let salt = start.get(..8).ok_or_else(malformed)?;
    let key = |size| derive(passphrase.expose().as_bytes(), salt, size);

    let mut data = Zeroizing::new(block.data.to_vec());
    macro_rules! with {
        ($cipher:ty, $size:expr) => {{
            let cipher = cbc::Decryptor::<$cipher>::new_from_slices(&key($size), &start).map_err(|_| malformed())?;
            cipher.decrypt_padded::<Pkcs7>(&mut data).map(<[u8]>::len)
        }};
    }
    let length = match cipher.trim() {
        "AES-128-CBC" => with!(aes::Aes128, 16),
        "AES-192-CBC" => with!(aes::Aes192, 24),
        "AES-256-CBC" => with!(aes::Aes256, 32),
        "DES-EDE3-CBC" => with!(des::TdesEde3, 24),
        other => {
            let shown: String = other.chars().take(32).collect();
            return Err(forms::encryption(&format!("the private key's cipher {shown}")));
        }
    };
    data.truncate(length.map_err(|_| KeyError::WrongPassphrase)?);
    Ok(data)
}

/// EVP_BytesToKey with MD5 and one round.
fn derive(passphrase: &[u8], salt: &[u8], size: usize) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(Vec::with_capacity(size + 16));
    let mut block: Zeroizing<Vec<u8>> = Zeroizing::new(vec![]);
    while key.len() < size {
        block = Zeroizing::new(
            Md5::new()
                .chain_update(&*block)
                .chain_update(passphrase)
                .chain_update(salt)
                .finalize()
                .to_vec(),
        );
        key.extend_from_slice(&block);
    }
    key.truncate(size);
    key
}
