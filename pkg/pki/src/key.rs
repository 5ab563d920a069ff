//! Private keys.

use std::fmt;

use rcgen::{KeyPair, PublicKeyData, RsaKeySize, SigningKey};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;

use crate::{PkiError, der, pem};

/// A private key with its public half. Its debug form tells nothing of it.
pub struct Key {
    pair: KeyPair,
    pem: String,
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Key({:?})", self.pair.algorithm())
    }
}

impl Key {
    /// A new key on the curve P-256: small and fast, what upstream's kubelet uses.
    pub fn generate() -> Result<Key, PkiError> {
        let pair = KeyPair::generate().map_err(PkiError::Generate)?;
        let pem = pair.serialize_pem();
        Ok(Key { pair, pem })
    }

    /// A new RSA key of 2048 bits, for parties that want one.
    pub fn generate_rsa() -> Result<Key, PkiError> {
        let pair = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).map_err(PkiError::Generate)?;
        let pem = pair.serialize_pem();
        Ok(Key { pair, pem })
    }

    /// Reads the first private key of a PEM text: PKCS #8, PKCS #1 (RSA) or SEC 1 (EC).
    pub fn from_pem(text: &str) -> Result<Key, PkiError> {
        let der = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| PkiError::Key(error.to_string()))?;
        let pair = KeyPair::try_from(&der).map_err(|error| PkiError::Key(error.to_string()))?;
        Ok(Key { pair, pem: text.to_owned() })
    }

    /// The key as PEM: as it was read, or PKCS #8 if it was generated.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The public half as PEM (`PUBLIC KEY`).
    pub fn public_pem(&self) -> String {
        pem::encode(pem::PUBLIC_KEY, &self.spki())
    }

    /// The public half in DER: a SubjectPublicKeyInfo.
    pub fn spki(&self) -> Vec<u8> {
        self.pair.subject_public_key_info()
    }

    /// Signs with the key's usual algorithm: SHA-256 for RSA and P-256.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, PkiError> {
        self.pair.sign(message).map_err(PkiError::Sign)
    }

    /// The AlgorithmIdentifier of [`Key::sign`].
    pub(crate) fn signature_algorithm(&self) -> Vec<u8> {
        let algorithm = self.pair.algorithm();
        let null = der::value(der::NULL, &[]);
        let known: [(&rcgen::SignatureAlgorithm, &[u64], bool); 5] = [
            (&rcgen::PKCS_ECDSA_P256_SHA256, &[1, 2, 840, 10_045, 4, 3, 2], false),
            (&rcgen::PKCS_ECDSA_P384_SHA384, &[1, 2, 840, 10_045, 4, 3, 3], false),
            (&rcgen::PKCS_ECDSA_P521_SHA512, &[1, 2, 840, 10_045, 4, 3, 4], false),
            (&rcgen::PKCS_ED25519, &[1, 3, 101, 112], false),
            (&rcgen::PKCS_RSA_SHA256, &[1, 2, 840, 113_549, 1, 1, 11], true),
        ];
        let (_, oid, with_null) =
            known.into_iter().find(|(known, _, _)| *known == algorithm).expect("keys are generated or read with one of these algorithms");
        der::sequence(&[&der::oid(oid), if with_null { &null } else { &[] }])
    }
}
