//! What a certificate is for, by the names of the certificates API.

use crate::{PkiError, der};

/// Key usages and extended key usages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usages {
    /// Named bits, bit 0 highest.
    key: u16,
    extended: Vec<&'static [u64]>,
}

const SERVER_AUTH: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 3, 1];
const CLIENT_AUTH: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 3, 2];

const DIGITAL_SIGNATURE: u16 = bit(0);
const KEY_ENCIPHERMENT: u16 = bit(2);
const CERT_SIGN: u16 = bit(5);

const fn bit(number: u16) -> u16 {
    0x8000 >> number
}

const KEY_USAGES: [(&str, u16); 10] = [
    ("signing", DIGITAL_SIGNATURE),
    ("digital signature", DIGITAL_SIGNATURE),
    ("content commitment", bit(1)),
    ("key encipherment", KEY_ENCIPHERMENT),
    ("data encipherment", bit(3)),
    ("key agreement", bit(4)),
    ("cert sign", CERT_SIGN),
    ("crl sign", bit(6)),
    ("encipher only", bit(7)),
    ("decipher only", bit(8)),
];

const EXTENDED_USAGES: [(&str, &[u64]); 13] = [
    ("any", &[2, 5, 29, 37, 0]),
    ("server auth", SERVER_AUTH),
    ("client auth", CLIENT_AUTH),
    ("code signing", &[1, 3, 6, 1, 5, 5, 7, 3, 3]),
    ("email protection", &[1, 3, 6, 1, 5, 5, 7, 3, 4]),
    ("s/mime", &[1, 3, 6, 1, 5, 5, 7, 3, 4]),
    ("ipsec end system", &[1, 3, 6, 1, 5, 5, 7, 3, 5]),
    ("ipsec tunnel", &[1, 3, 6, 1, 5, 5, 7, 3, 6]),
    ("ipsec user", &[1, 3, 6, 1, 5, 5, 7, 3, 7]),
    ("timestamping", &[1, 3, 6, 1, 5, 5, 7, 3, 8]),
    ("ocsp signing", &[1, 3, 6, 1, 5, 5, 7, 3, 9]),
    ("microsoft sgc", &[1, 3, 6, 1, 4, 1, 311, 10, 3, 3]),
    ("netscape sgc", &[2, 16, 840, 1, 113_730, 4, 1]),
];

impl Usages {
    /// A CA's.
    pub(crate) fn authority() -> Usages {
        Usages { key: DIGITAL_SIGNATURE | KEY_ENCIPHERMENT | CERT_SIGN, extended: Vec::new() }
    }

    /// A server's.
    pub fn server() -> Usages {
        Usages { key: DIGITAL_SIGNATURE | KEY_ENCIPHERMENT, extended: vec![SERVER_AUTH] }
    }

    /// A client's.
    pub fn client() -> Usages {
        Usages { key: DIGITAL_SIGNATURE | KEY_ENCIPHERMENT, extended: vec![CLIENT_AUTH] }
    }

    /// For both ends, as etcd's members need it.
    pub fn server_and_client() -> Usages {
        Usages { key: DIGITAL_SIGNATURE | KEY_ENCIPHERMENT, extended: vec![SERVER_AUTH, CLIENT_AUTH] }
    }

    /// From the names in `spec.usages` of a CertificateSigningRequest.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Usages, PkiError> {
        let mut usages = Usages::default();
        for name in names {
            if let Some((_, bits)) = KEY_USAGES.iter().find(|(known, _)| *known == name) {
                usages.key |= bits;
            } else if let Some((_, oid)) = EXTENDED_USAGES.iter().find(|(known, _)| *known == name) {
                if !usages.extended.contains(oid) {
                    usages.extended.push(oid);
                }
            } else {
                return Err(PkiError::Usage(name.to_owned()));
            }
        }
        // Two names may stand for one usage, and the order of names means nothing.
        usages.extended.sort();
        Ok(usages)
    }

    /// The content of the key usage extension, if there is any.
    pub(crate) fn key_usage(&self) -> Option<Vec<u8>> {
        (self.key != 0).then(|| der::named_bits(self.key))
    }

    /// The content of the extended key usage extension, if there is any.
    pub(crate) fn extended_key_usage(&self) -> Option<Vec<u8>> {
        let oids: Vec<u8> = self.extended.iter().flat_map(|oid| der::oid(oid)).collect();
        (!oids.is_empty()).then(|| der::value(der::SEQUENCE, &oids))
    }
}
