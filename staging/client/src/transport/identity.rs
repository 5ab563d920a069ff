//! A client certificate that can be exchanged while the process runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::ConfigError;

/// The certificate and key presented to servers. Clones share it; after [`set`](Self::set) new connections use the new one
/// and requests no longer start on connections that were made with the old one.
#[derive(Clone, Debug, Default)]
pub struct ClientIdentity {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    key: RwLock<Option<Arc<CertifiedKey>>>,
    generation: AtomicU64,
}

impl ClientIdentity {
    /// An identity that presents nothing until [`set`](Self::set).
    pub fn empty() -> ClientIdentity {
        ClientIdentity::default()
    }

    /// Presents this certificate chain from now on.
    pub fn set(&self, cert_pem: &[u8], key_pem: &[u8]) -> Result<(), ConfigError> {
        let key = certified_key(cert_pem, key_pem)?;
        let mut current = self.shared.key.write();
        if current.as_ref().is_some_and(|old| old.cert == key.cert) {
            return Ok(());
        }
        *current = Some(Arc::new(key));
        self.shared.generation.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Grows with each exchange; a connection made under an older number is not used for new requests.
    pub(crate) fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }
}

fn certified_key(cert_pem: &[u8], key_pem: &[u8]) -> Result<CertifiedKey, ConfigError> {
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(cert_pem).collect::<Result<_, _>>().map_err(|_| ConfigError::NoPem("certificate"))?;
    if chain.is_empty() {
        return Err(ConfigError::NoPem("certificate"));
    }
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|_| ConfigError::NoPem("key"))?;
    let provider = super::tls::provider();
    CertifiedKey::from_der(chain, key, &provider).map_err(ConfigError::Identity)
}

impl ResolvesClientCert for ClientIdentity {
    fn resolve(&self, _root_hint_subjects: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.shared.key.read().clone()
    }

    fn has_certs(&self) -> bool {
        self.shared.key.read().is_some()
    }
}
