//! Bootstrap tokens: Secrets of type `bootstrap.kubernetes.io/token` in kube-system that let a new node in.
//! Upstream: plugin/pkg/auth/authenticator/token/bootstrap.

use std::sync::Arc;

use api::core::v1::Secret;
use apimachinery::Time;
use async_trait::async_trait;

use super::{Authenticated, Authenticator, Credentials};
use crate::objects::Objects;
use crate::request::User;

/// Looks tokens of the form `id.secret` up among the Secrets.
pub struct BootstrapToken {
    pub objects: Arc<dyn Objects>,
}

impl std::fmt::Debug for BootstrapToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BootstrapToken")
    }
}

/// `([a-z0-9]{6})\.([a-z0-9]{16})`
fn split(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    (id.len() == 6 && secret.len() == 16 && plain(id) && plain(secret)).then_some((id, secret))
}

/// The user of a token secret, if it is good for authentication now.
fn user_of(secret: &Secret, id: &str, token_secret: &str, now: Time) -> Option<User> {
    let data = |key: &str| secret.data.get(key).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or("");
    let good = secret.type_ == "bootstrap.kubernetes.io/token"
        && secret.metadata.deletion_timestamp.is_none()
        && data("token-id") == id
        && same_in_constant_time(data("token-secret").as_bytes(), token_secret.as_bytes())
        && data("usage-bootstrap-authentication") == "true";
    let expired = match data("expiration") {
        "" => false,
        text => text.parse::<Time>().is_ok_and(|at| at <= now) || text.parse::<Time>().is_err(),
    };
    if !good || expired {
        return None;
    }
    let mut groups = vec!["system:bootstrappers".to_owned()];
    for group in data("auth-extra-groups").split(',').map(str::trim).filter(|group| !group.is_empty()) {
        if !group.starts_with("system:bootstrappers:") {
            return None;
        }
        groups.push(group.to_owned());
    }
    Some(User { name: format!("system:bootstrap:{id}"), groups, ..User::default() })
}

fn same_in_constant_time(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (x, y)| difference | (x ^ y)) == 0
}

#[async_trait]
impl Authenticator for BootstrapToken {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Option<Authenticated>, String> {
        let Some((id, token_secret)) = credentials.bearer().and_then(split) else { return Ok(None) };
        let found =
            self.objects.get("", "secrets", "kube-system", &format!("bootstrap-token-{id}")).await.map_err(|err| err.to_string())?;
        let Some(secret) = found.as_deref().and_then(|object| object.downcast_ref::<Secret>()) else { return Ok(None) };
        let user = user_of(secret, id, token_secret, Time::now());
        Ok(user.map(|user| Authenticated { user: Arc::new(user), audiences: Vec::new() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(entries: &[(&str, &str)]) -> Secret {
        let mut secret = Secret { type_: "bootstrap.kubernetes.io/token".to_owned(), ..Secret::default() };
        for (key, value) in
            [("token-id", "abcdef"), ("token-secret", "0123456789abcdef"), ("usage-bootstrap-authentication", "true")].iter().chain(entries)
        {
            secret.data.insert(*key, (*value).into());
        }
        secret
    }

    #[test]
    fn only_live_tokens_with_the_right_secret_and_groups_count() {
        let now = Time::from_unix(1_000);
        let user = |entries: &[(&str, &str)], token: &str| user_of(&secret(entries), "abcdef", token, now);
        assert_eq!(user(&[], "0123456789abcdef").unwrap().name, "system:bootstrap:abcdef");
        assert!(user(&[], "0123456789abcdeX").is_none());
        assert!(user(&[("usage-bootstrap-authentication", "false")], "0123456789abcdef").is_none());
        assert!(user(&[("expiration", "1970-01-01T00:00:01Z")], "0123456789abcdef").is_none());
        assert!(user(&[("auth-extra-groups", "system:masters")], "0123456789abcdef").is_none());
        let groups = user(&[("auth-extra-groups", "system:bootstrappers:worker")], "0123456789abcdef").unwrap().groups;
        assert_eq!(groups, ["system:bootstrappers", "system:bootstrappers:worker"]);
    }
}
