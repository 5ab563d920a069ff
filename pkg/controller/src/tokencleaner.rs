//! token-cleaner-controller: deletes bootstrap tokens that have expired.
//!
//! Reads and deletes Secrets of type `bootstrap.kubernetes.io/token` in kube-system. Upstream: pkg/controller/bootstrap/tokencleaner.go.

use std::sync::Arc;
use std::time::Duration;

use api::core::v1::Secret;
use apimachinery::Time;
use client::{Api, DeleteParams};
use component_base::clock::Clock;
use component_base::tasks::Tasks;
use informer::{ObjectKey, Reconcile, Requeue, Selection, Store, WorkQueue};

use crate::{ControllerContext, Registration, StartError, Started, WriteError};

/// Only clusters that let nodes join by tokens need it: off unless asked for, as upstream.
pub const REGISTRATION: Registration =
    Registration { name: "token-cleaner-controller", alias: Some("tokencleaner"), default_on: false, start };

const TYPE: &str = "bootstrap.kubernetes.io/token";
const NAMESPACE: &str = "kube-system";

/// In how many seconds the token expires; `None` if it never does. One whose time cannot be read has expired: nobody can
/// authenticate with it either.
pub fn expires_in(secret: &Secret, now: Time) -> Option<i64> {
    let expiration = secret.data.get("expiration").filter(|text| !text.is_empty())?;
    let text = String::from_utf8_lossy(expiration.as_ref());
    Some(text.parse::<Time>().map_or(0, |at| at.seconds_since(now)))
}

fn start(context: &ControllerContext, tasks: &mut Tasks) -> Result<Started, StartError> {
    let mut sources = context.sources();
    let selection = Selection { namespace: NAMESPACE.into(), field_selector: Some(format!("type={TYPE}")), ..Selection::default() };
    let secrets = sources.select::<Secret>(selection);
    let queue = WorkQueue::new("token_cleaner");
    secrets.enqueue(&queue);
    let client = context.client("token-cleaner")?;
    let reconciler = TokenCleaner { secrets: secrets.store(), api: Api::namespaced(&client, NAMESPACE), clock: context.clock.clone() };
    context.spawn(tasks, sources, Arc::new(reconciler), queue, 1);
    Ok(Started::Running)
}

struct TokenCleaner {
    secrets: Arc<Store<Secret>>,
    api: Api<Secret>,
    clock: Arc<dyn Clock>,
}

impl Reconcile for TokenCleaner {
    const NAME: &'static str = "token-cleaner-controller";
    type Error = WriteError;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, WriteError> {
        let Some(secret) = self.secrets.get(key) else { return Ok(Requeue::OnChange) };
        match expires_in(&secret, Time::from(self.clock.now())) {
            None => return Ok(Requeue::OnChange),
            Some(left) if left > 0 => return Ok(Requeue::After(Duration::from_secs(u64::try_from(left).unwrap_or(1)))),
            Some(_) => {}
        }
        match self.api.delete(key.name(), &DeleteParams::of_uid(secret.metadata.uid.clone())).await {
            Err(err) if !err.is_not_found() => Err(WriteError::new("delete", format!("secret \"{key}\""), err)),
            _ => Ok(Requeue::OnChange),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_expires_when_it_says_so() {
        for (expiration, expected) in [
            (None, None),
            (Some(""), None),
            (Some("1970-01-01T00:01:00Z"), Some(20)),
            (Some("1970-01-01T00:00:30Z"), Some(-10)),
            (Some("soon"), Some(0)),
        ] {
            let mut secret = Secret::default();
            if let Some(text) = expiration {
                secret.data.insert("expiration", text.as_bytes().to_vec().into());
            }
            assert_eq!(expires_in(&secret, Time::from_unix(40)), expected, "{expiration:?}");
        }
    }
}
