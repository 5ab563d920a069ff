//! Whoever gives no credential is `system:anonymous`, where that is allowed.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Authenticated, Authenticator, Credentials, names};
use crate::request::User;

/// Takes everybody. Comes last in a union. `paths` restricts it to these URLs (AuthenticationConfiguration's conditions); empty means all.
#[derive(Debug, Default)]
pub struct Anonymous {
    pub paths: Vec<String>,
}

#[async_trait]
impl Authenticator for Anonymous {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Option<Authenticated>, String> {
        if !self.paths.is_empty() && !self.paths.iter().any(|path| path == credentials.path) {
            return Ok(None);
        }
        let user = User { name: names::ANONYMOUS.to_owned(), groups: vec![names::UNAUTHENTICATED.to_owned()], ..User::default() };
        Ok(Some(Authenticated { user: Arc::new(user), audiences: Vec::new() }))
    }
}
