//! Keys of service-account tokens.

use aws_lc_rs::digest;
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA512_FIXED, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256,
    RsaKeyPair, UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("data does not contain any valid RSA or ECDSA public keys")]
    NoPublicKey,
    #[error("data does not contain a valid RSA or ECDSA private key")]
    NoPrivateKey,
    #[error("unknown private key type, must be RSA or ECDSA on P-256, P-384 or P-521")]
    UnknownType,
}

/// A signature algorithm of JSON web tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Rs256,
    Es256,
    Es384,
    Es512,
}

impl Algorithm {
    /// The name in a token's header.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Rs256 => "RS256",
            Algorithm::Es256 => "ES256",
            Algorithm::Es384 => "ES384",
            Algorithm::Es512 => "ES512",
        }
    }

    /// Tells the key type from the algorithm identifier at the start of a SubjectPublicKeyInfo.
    fn of_spki(spki: &[u8]) -> Option<Self> {
        const OIDS: [(&[u8], Algorithm); 4] = [
            (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01], Algorithm::Rs256),
            (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07], Algorithm::Es256),
            (&[0x2b, 0x81, 0x04, 0x00, 0x22], Algorithm::Es384),
            (&[0x2b, 0x81, 0x04, 0x00, 0x23], Algorithm::Es512),
        ];
        let head = &spki[..spki.len().min(36)];
        OIDS.iter().find(|(oid, _)| head.windows(oid.len()).any(|window| window == *oid)).map(|(_, algorithm)| *algorithm)
    }
}

/// A key that tokens are verified with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// Hash of the key, as in a token's `kid`.
    pub id: String,
    pub algorithm: Algorithm,
    spki: Vec<u8>,
}

impl PublicKey {
    fn from_spki(spki: Vec<u8>) -> Option<Self> {
        let algorithm = Algorithm::of_spki(&spki)?;
        let id = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, &spki));
        Some(Self { id, algorithm, spki })
    }

    /// True if `signature` is this key's over `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &dyn signature::VerificationAlgorithm = match self.algorithm {
            Algorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
            Algorithm::Es256 => &ECDSA_P256_SHA256_FIXED,
            Algorithm::Es384 => &ECDSA_P384_SHA384_FIXED,
            Algorithm::Es512 => &ECDSA_P521_SHA512_FIXED,
        };
        UnparsedPublicKey::new(algorithm, &self.spki).verify(message, signature).is_ok()
    }

    /// The DER of the SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The key as a JSON web key, for `/openid/v1/jwks`.
    pub fn to_jwk(&self) -> apimachinery::Value {
        let mut jwk = apimachinery::value::Object::default();
        jwk.insert("use", "sig");
        jwk.insert("kty", if self.algorithm == Algorithm::Rs256 { "RSA" } else { "EC" });
        jwk.insert("kid", self.id.as_str());
        jwk.insert("alg", self.algorithm.name());
        let point = |size: usize| {
            let bytes = &self.spki[self.spki.len() - 2 * size..];
            (URL_SAFE_NO_PAD.encode(&bytes[..size]), URL_SAFE_NO_PAD.encode(&bytes[size..]))
        };
        match self.algorithm {
            Algorithm::Rs256 => {
                if let Some((n, e)) = rsa_numbers(&self.spki) {
                    jwk.insert("n", URL_SAFE_NO_PAD.encode(n));
                    jwk.insert("e", URL_SAFE_NO_PAD.encode(e));
                }
            }
            Algorithm::Es256 | Algorithm::Es384 | Algorithm::Es512 => {
                let (curve, size) = match self.algorithm {
                    Algorithm::Es384 => ("P-384", 48),
                    Algorithm::Es512 => ("P-521", 66),
                    _ => ("P-256", 32),
                };
                let (x, y) = point(size);
                jwk.insert("crv", curve);
                jwk.insert("x", x);
                jwk.insert("y", y);
            }
        }
        apimachinery::Value::Object(jwk)
    }
}

/// One DER element: its content and what follows.
fn der_element(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.get(1..)?.split_first()?;
    let (len, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        let bytes = rest.get(..count).filter(|_| count <= 4)?;
        (bytes.iter().fold(0, |len, b| len << 8 | usize::from(*b)), &rest[count..])
    };
    Some((rest.get(..len)?, &rest[len..]))
}

/// Modulus and exponent of an RSA SubjectPublicKeyInfo, without leading zeros.
fn rsa_numbers(spki: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (outer, _) = der_element(spki)?;
    let (_, after_algorithm) = der_element(outer)?;
    let (bits, _) = der_element(after_algorithm)?;
    let (numbers, _) = der_element(bits.get(1..)?)?;
    let (modulus, rest) = der_element(numbers)?;
    let (exponent, _) = der_element(rest)?;
    let trimmed = |number: &[u8]| number.iter().copied().skip_while(|b| *b == 0).collect();
    Some((trimmed(modulus), trimmed(exponent)))
}

enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
}

/// A key that tokens are signed with.
pub struct SigningKey {
    pair: Pair,
    public: PublicKey,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey {}", self.public.id)
    }
}

impl SigningKey {
    /// Reads the first private key of a PEM text: PKCS#8, PKCS#1 or SEC 1.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let der = PrivateKeyDer::from_pem_slice(pem).map_err(|_| KeyError::NoPrivateKey)?;
        Self::from_der(&der).ok_or(KeyError::UnknownType)
    }

    fn from_der(der: &PrivateKeyDer<'_>) -> Option<Self> {
        let bytes = der.secret_der();
        if let Some(pair) = RsaKeyPair::from_pkcs8(bytes).ok().or_else(|| RsaKeyPair::from_der(bytes).ok()) {
            let spki = pair.public_key().as_der().ok()?.as_ref().to_vec();
            return Some(Self { public: PublicKey::from_spki(spki)?, pair: Pair::Rsa(pair) });
        }
        let algorithms = [&ECDSA_P256_SHA256_FIXED_SIGNING, &ECDSA_P384_SHA384_FIXED_SIGNING, &ECDSA_P521_SHA512_FIXED_SIGNING];
        let pair = algorithms.into_iter().find_map(|algorithm| EcdsaKeyPair::from_private_key_der(algorithm, bytes).ok())?;
        let spki = pair.public_key().as_der().ok()?.as_ref().to_vec();
        Some(Self { public: PublicKey::from_spki(spki)?, pair: Pair::Ec(pair) })
    }

    /// The verifying half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs a message. RSA takes about a millisecond.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).expect("a key that loaded signs");
                signature
            }
            Pair::Ec(pair) => pair.sign(&random, message).expect("a key that loaded signs").as_ref().to_vec(),
        }
    }
}

/// Reads every key of a PEM text that can verify: public keys, and the public halves of private ones.
pub fn parse_public_keys(pem: &[u8]) -> Result<Vec<PublicKey>, KeyError> {
    let mut keys: Vec<PublicKey> = SubjectPublicKeyInfoDer::pem_slice_iter(pem)
        .filter_map(Result::ok)
        .filter_map(|spki| PublicKey::from_spki(spki.as_ref().to_vec()))
        .collect();
    keys.extend(
        PrivateKeyDer::pem_slice_iter(pem).filter_map(Result::ok).filter_map(|der| SigningKey::from_der(&der)).map(|key| key.public),
    );
    if keys.is_empty() { Err(KeyError::NoPublicKey) } else { Ok(keys) }
}
