//! Client certificates: the common name is the user, organizations are groups.

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use component_base::serving::peer::CaBundle;

use super::{Authenticated, Authenticator, Credentials, names};
use crate::request::User;

/// Verifies the client's certificate against `--client-ca-file`. The bundle can be exchanged while the server runs.
#[derive(Debug)]
pub struct X509 {
    pub authorities: Arc<ArcSwap<CaBundle>>,
}

#[async_trait]
impl Authenticator for X509 {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Option<Authenticated>, String> {
        let Some(peer) = credentials.peer.filter(|peer| !peer.chain().is_empty()) else { return Ok(None) };
        let verified =
            peer.verify(&self.authorities.load_full(), SystemTime::now()).map_err(|err| format!("verifying certificate failed: {err}"))?;
        if verified.cn.is_empty() {
            return Ok(None);
        }
        let user = User {
            name: verified.cn.clone(),
            uid: verified.uid.clone().unwrap_or_default(),
            groups: verified.orgs.clone(),
            extra: vec![(names::CREDENTIAL_ID.to_owned(), vec![format!("X509SHA256={}", verified.sha256)])],
        };
        Ok(Some(Authenticated { user: Arc::new(user), audiences: Vec::new() }))
    }
}
