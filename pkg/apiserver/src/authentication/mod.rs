//! Who is asking. Each way to tell is one file; the union tries them in order. Upstream: apiserver/pkg/authentication.

pub mod anonymous;
pub mod bootstrap_token;
pub mod request_header;
pub mod service_account;
pub mod token_file;
pub mod union;
pub mod x509;

use std::sync::Arc;

use async_trait::async_trait;
use component_base::serving::peer::PeerCertificates;

use crate::request::User;

/// What authenticators look at.
#[derive(Debug)]
pub struct Credentials<'a> {
    pub headers: &'a http::HeaderMap,
    pub path: &'a str,
    /// The client's certificate chain, if it sent one. It has not been verified.
    pub peer: Option<&'a PeerCertificates>,
}

impl<'a> Credentials<'a> {
    /// The bearer token of the Authorization header. WebSocket clients that cannot set headers send it as a subprotocol
    /// (`base64url.bearer.authorization.k8s.io.TOKEN`); see [`bearer_from_websocket`].
    pub fn bearer(&self) -> Option<&'a str> {
        let value = self.headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = value.trim().split_once(' ')?;
        let token = token.trim();
        (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
    }
}

/// The bearer token a browser hides among the WebSocket subprotocols.
pub fn bearer_from_websocket(headers: &http::HeaderMap) -> Option<String> {
    use base64::Engine;
    const PREFIX: &str = "base64url.bearer.authorization.k8s.io.";
    let protocols = headers.get_all(http::header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let token = protocols.flat_map(|list| list.split(',')).find_map(|protocol| protocol.trim().strip_prefix(PREFIX))?;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).ok()?;
    String::from_utf8(bytes).ok().filter(|token| !token.is_empty())
}

/// Groups and user of those who give no (good) credential.
pub mod names {
    pub const ANONYMOUS: &str = "system:anonymous";
    pub const UNAUTHENTICATED: &str = "system:unauthenticated";
    pub const AUTHENTICATED: &str = "system:authenticated";
    pub const MASTERS: &str = "system:masters";
    pub const NODES: &str = "system:nodes";
    pub const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";
    pub const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";
    pub const NODE_PREFIX: &str = "system:node:";
    /// Extra key under which every credential tells what it was.
    pub const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";
}

/// A successful authentication.
#[derive(Clone, Debug)]
pub struct Authenticated {
    pub user: Arc<User>,
    /// Audiences the credential is good for and the server asked for; empty if it names none.
    pub audiences: Vec<String>,
}

/// One way to tell who asks.
#[async_trait]
pub trait Authenticator: Send + Sync + 'static {
    /// `Ok(None)`: not this kind of credential, ask the next. `Err`: this kind, but no good; the text goes to the log, the client sees 401.
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Option<Authenticated>, String>;
}
