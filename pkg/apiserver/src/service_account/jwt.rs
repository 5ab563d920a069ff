//! JSON web tokens, compact form.

use apimachinery::Value;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::keys::{PublicKey, SigningKey};

/// Why a token was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    #[error("square/go-jose: compact JWS format must have three parts")]
    Malformed,
    #[error("failed to validate signature")]
    BadSignature,
}

/// Signs claims.
pub fn sign(key: &SigningKey, claims: &Value) -> String {
    let header = format!("{{\"alg\":\"{}\",\"kid\":\"{}\"}}", key.public().algorithm.name(), key.public().id);
    let mut token = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims.to_vec()));
    let signature = key.sign(token.as_bytes());
    token.push('.');
    token.push_str(&URL_SAFE_NO_PAD.encode(signature));
    token
}

/// The claims of a token whose signature has not been looked at, with what is needed for looking.
#[derive(Clone, Debug)]
pub struct Unverified<'a> {
    pub claims: Value,
    key_id: String,
    algorithm: String,
    signed: &'a str,
    signature: Vec<u8>,
}

/// Takes a token apart.
pub fn parse(token: &str) -> Result<Unverified<'_>, JwtError> {
    let (signed, signature) = token.rsplit_once('.').ok_or(JwtError::Malformed)?;
    let (header, claims) = signed.split_once('.').ok_or(JwtError::Malformed)?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| JwtError::Malformed);
    let object = |part: &str| Value::parse(&decode(part)?).map_err(|_| JwtError::Malformed);
    let header = object(header)?;
    Ok(Unverified {
        claims: object(claims)?,
        key_id: header.str_at(&["kid"]).unwrap_or("").to_owned(),
        algorithm: header.str_at(&["alg"]).unwrap_or("").to_owned(),
        signed,
        signature: decode(signature)?,
    })
}

impl Unverified<'_> {
    /// The claims if one of the keys made the signature. Keys named by the token are tried first; a token that names none may be anybody's.
    pub fn verify(self, keys: &[PublicKey]) -> Result<Value, JwtError> {
        let named = keys.iter().filter(|key| key.id == self.key_id);
        let others = keys.iter().filter(|key| key.id != self.key_id);
        let mut candidates = named.chain(others).filter(|key| key.algorithm.name() == self.algorithm);
        if candidates.any(|key| key.verifies(self.signed.as_bytes(), &self.signature)) {
            Ok(self.claims)
        } else {
            Err(JwtError::BadSignature)
        }
    }
}
