//! Authenticators asked one after another.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Authenticated, Authenticator, Credentials, names};

/// Asks each authenticator in order; the first that knows the credential decides. A bad credential is remembered, and the next ones are still asked,
/// but not `last`: who shows a bad credential is not anonymous.
pub struct Union {
    pub members: Vec<Box<dyn Authenticator>>,
    /// Asked only if nobody complained: the anonymous authenticator.
    pub last: Option<Box<dyn Authenticator>>,
}

impl std::fmt::Debug for Union {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Union of {}", self.members.len())
    }
}

#[async_trait]
impl Authenticator for Union {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Option<Authenticated>, String> {
        let mut complaints = Vec::new();
        for member in &self.members {
            match member.authenticate(credentials).await {
                Ok(Some(found)) => return Ok(Some(in_authenticated_group(found))),
                Ok(None) => {}
                Err(complaint) => complaints.push(complaint),
            }
        }
        if !complaints.is_empty() {
            return Err(format!("[{}]", complaints.join(", ")));
        }
        // A token nobody knows is a bad token, not an anonymous user.
        if credentials.bearer().is_some() || super::bearer_from_websocket(credentials.headers).is_some() {
            return Err("invalid bearer token".to_owned());
        }
        match &self.last {
            Some(last) => last.authenticate(credentials).await,
            None => Ok(None),
        }
    }
}

/// Everybody who showed a credential is in `system:authenticated`.
fn in_authenticated_group(found: Authenticated) -> Authenticated {
    let user = &found.user;
    if user.name == names::ANONYMOUS || user.in_group(names::AUTHENTICATED) || user.in_group(names::UNAUTHENTICATED) {
        return found;
    }
    let mut user = (**user).clone();
    user.groups.push(names::AUTHENTICATED.to_owned());
    Authenticated { user: Arc::new(user), audiences: found.audiences }
}
