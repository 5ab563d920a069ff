//! [`NodeAccess`]: how to reach a node's kubelet. Upstream: pkg/kubelet/client.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use api::core::v1::Node;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use streaming::BoxIo;
use tokio::net::TcpStream;

/// The kubelet's port of a node that does not tell.
const DEFAULT_PORT: u16 = 10250;

/// `--kubelet-timeout` and the time to a TCP connection upstream's dialer allows are far apart; nobody waits longer than this for either.
const DIAL_TIMEOUT: Duration = Duration::from_secs(30);

/// Why there is no access to nodes.
#[derive(Debug, thiserror::Error)]
pub enum NodeAccessError {
    #[error("cannot read {path}")]
    Read {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{0} holds no certificate")]
    NoCertificate(String),
    #[error("{0} holds no private key")]
    NoKey(String),
    #[error("the certificate and key for kubelets do not fit")]
    Pair(#[source] rustls::Error),
}

/// How kubelets are reached: credentials, and which of a node's addresses.
#[derive(Clone, Debug)]
pub struct NodeAccess {
    kubelets: Arc<ClientConfig>,
    anybody: Arc<ClientConfig>,
    address_types: Vec<String>,
}

impl NodeAccess {
    /// From `--kubelet-certificate-authority` (without it no certificate is checked), `--kubelet-client-certificate`,
    /// `--kubelet-client-key` and `--kubelet-preferred-address-types`.
    pub fn from_files(
        authority: Option<&Path>,
        certificate: Option<&Path>,
        key: Option<&Path>,
        address_types: Vec<String>,
    ) -> Result<Self, NodeAccessError> {
        let roots = match authority {
            Some(path) => Some(roots(path)?),
            None => None,
        };
        let identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificates(certificate)?, private_key(key)?)),
            _ => None,
        };
        let kubelets = client_config(roots, identity).map_err(NodeAccessError::Pair)?;
        Ok(Self { kubelets: Arc::new(kubelets), ..Self::without_credentials(address_types) })
    }

    /// Checks no certificate and shows none.
    pub fn without_credentials(address_types: Vec<String>) -> Self {
        let config = Arc::new(client_config(None, None).expect("there is no certificate that could be wrong"));
        Self { kubelets: config.clone(), anybody: config, address_types }
    }

    /// Host and port of the node's kubelet.
    pub fn address(&self, node: &Node) -> Result<(String, u16), String> {
        let port = u16::try_from(node.status.daemon_endpoints.kubelet_endpoint.port).ok().filter(|port| *port != 0).unwrap_or(DEFAULT_PORT);
        let addresses = &node.status.addresses;
        let found = self.address_types.iter().find_map(|wanted| addresses.iter().find(|address| address.type_ == *wanted));
        match found {
            Some(address) => Ok((address.address.clone(), port)),
            None => Err(format!("no preferred addresses found; known addresses: {:?}", known(node))),
        }
    }

    /// Connects to a kubelet.
    pub async fn dial_kubelet(&self, host: &str, port: u16) -> std::io::Result<BoxIo> {
        dial(host, port, Some(self.kubelets.clone())).await
    }

    /// Connects to a Pod or an endpoint of a Service; whatever certificate it shows will do, as there is nothing to check it against.
    pub async fn dial_endpoint(&self, host: &str, port: u16, tls: bool) -> std::io::Result<BoxIo> {
        dial(host, port, tls.then(|| self.anybody.clone())).await
    }
}

fn known(node: &Node) -> Vec<String> {
    node.status.addresses.iter().map(|address| format!("{}={}", address.type_, address.address)).collect()
}

async fn dial(host: &str, port: u16, tls: Option<Arc<ClientConfig>>) -> std::io::Result<BoxIo> {
    let connecting = async {
        let tcp = TcpStream::connect((host, port)).await?;
        tcp.set_nodelay(true)?;
        let Some(config) = tls else { return Ok(Box::new(tcp) as BoxIo) };
        let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
        Ok(Box::new(tokio_rustls::TlsConnector::from(config).connect(name, tcp).await?) as BoxIo)
    };
    match tokio::time::timeout(DIAL_TIMEOUT, connecting).await {
        Ok(connected) => connected,
        Err(_) => Err(std::io::Error::new(std::io::ErrorKind::TimedOut, format!("dial tcp {host}:{port}: i/o timeout"))),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, NodeAccessError> {
    std::fs::read(path).map_err(|source| NodeAccessError::Read { path: path.display().to_string(), source })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, NodeAccessError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&read(path)?).filter_map(Result::ok).collect();
    if certificates.is_empty() { Err(NodeAccessError::NoCertificate(path.display().to_string())) } else { Ok(certificates) }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, NodeAccessError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|_| NodeAccessError::NoKey(path.display().to_string()))
}

fn roots(path: &Path) -> Result<RootCertStore, NodeAccessError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(path)?);
    Ok(roots)
}

fn client_config(
    roots: Option<RootCertStore>,
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let builder = match roots {
        Some(roots) => builder.with_root_certificates(roots),
        None => builder.dangerous().with_custom_certificate_verifier(Arc::new(TrustAnyone(provider))),
    };
    let mut config = match identity {
        Some((certificates, key)) => builder.with_client_auth_cert(certificates, key)?,
        None => builder.with_no_client_auth(),
    };
    // Streams take the connection over, which HTTP/2 has no way to do.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Any certificate will do, but the handshake itself must still be sound.
#[derive(Debug)]
struct TrustAnyone(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAnyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_preferred_type_wins() {
        let json = br#"{"status":{"addresses":[{"type":"Hostname","address":"h"},{"type":"InternalIP","address":"192.0.2.1"}]}}"#;
        let node: Node = apimachinery::json::from_slice(json).unwrap();
        let access = |types: &[&str]| NodeAccess::without_credentials(types.iter().map(|kind| (*kind).to_owned()).collect()).address(&node);
        assert_eq!(access(&["InternalIP", "Hostname"]).unwrap(), ("192.0.2.1".to_owned(), 10250));
        assert_eq!(access(&["ExternalIP", "Hostname"]).unwrap().0, "h");
        assert!(access(&["ExternalIP"]).unwrap_err().starts_with("no preferred addresses found"));
    }
}
