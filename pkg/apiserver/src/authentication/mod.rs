//! Who is asking. Each way to tell is one file; the union tries them in order. Upstream: apiserver/pkg/authentication.

use std::sync::Arc;

use async_trait::async_trait;

use crate::request::User;

/// What authenticators look at.
#[derive(Debug)]
pub struct Credentials<'a> {
    pub headers: &'a http::HeaderMap,
    pub path: &'a str,
    /// The client's certificate chain as DER, leaf first; empty without one. It has not been verified.
    pub peer_certificates: &'a [Vec<u8>],
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
