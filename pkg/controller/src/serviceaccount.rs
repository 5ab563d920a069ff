//! serviceaccount-controller: every active namespace has the service account that its pods run as by default.
//!
//! Reads Namespaces and ServiceAccounts; creates ServiceAccounts. Upstream: pkg/controller/serviceaccount/serviceaccounts_controller.go.

use std::sync::Arc;

use api::core::v1::{Namespace, ServiceAccount};
use client::Api;
use component_base::tasks::Tasks;
use informer::{Event, ObjectKey, Reconcile, Requeue, Store, WorkQueue};

use crate::{ControllerContext, Registration, StartError, Started, WriteError};

pub const REGISTRATION: Registration =
    Registration { name: "serviceaccount-controller", alias: Some("serviceaccount"), default_on: true, start };

/// What admission gives to pods that name no account.
const DEFAULT: &str = "default";

/// Whether the namespace still has to get its account.
pub fn is_wanting(namespace: &Namespace, account: Option<&ServiceAccount>) -> bool {
    namespace.status.phase == "Active" && account.is_none()
}

fn start(context: &ControllerContext, tasks: &mut Tasks) -> Result<Started, StartError> {
    let mut sources = context.sources();
    let namespaces = sources.of::<Namespace>();
    let accounts = sources.of::<ServiceAccount>();
    let queue = WorkQueue::new("serviceaccount");
    namespaces.enqueue(&queue);
    let deleted = queue.clone();
    accounts.on_event(move |event| {
        if let Event::Deleted(account) = event
            && account.metadata.name == DEFAULT
        {
            deleted.add(ObjectKey::new("", &account.metadata.namespace));
        }
    });
    let client = context.client("service-account-controller")?;
    let reconciler = ServiceAccounts { namespaces: namespaces.store(), accounts: accounts.store(), api: Api::all(&client) };
    context.spawn(tasks, sources, Arc::new(reconciler), queue, 1);
    Ok(Started::Running)
}

struct ServiceAccounts {
    namespaces: Arc<Store<Namespace>>,
    accounts: Arc<Store<ServiceAccount>>,
    api: Api<ServiceAccount>,
}

impl Reconcile for ServiceAccounts {
    const NAME: &'static str = "serviceaccount-controller";
    type Error = WriteError;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, WriteError> {
        let Some(namespace) = self.namespaces.get(key) else { return Ok(Requeue::OnChange) };
        let account = self.accounts.get_named(key.name(), DEFAULT);
        if !is_wanting(&namespace, account.as_deref()) {
            return Ok(Requeue::OnChange);
        }
        let mut account = ServiceAccount::default();
        account.metadata.name = DEFAULT.into();
        account.metadata.namespace = key.name().into();
        match self.api.within(key.name()).create(&account).await {
            // Made by someone else meanwhile, or the namespace went away.
            Err(err) if err.is_already_exists() || err.is_namespace_terminating() || err.is_not_found() => Ok(Requeue::OnChange),
            Err(err) => Err(WriteError::new("create", format!("service account \"{}/{DEFAULT}\"", key.name()), err)),
            Ok(_) => Ok(Requeue::OnChange),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_active_namespaces_get_an_account() {
        let account = ServiceAccount::default();
        for (phase, account, expected) in
            [("Active", None, true), ("Active", Some(&account), false), ("Terminating", None, false), ("", None, false)]
        {
            let mut namespace = Namespace::default();
            namespace.status.phase = phase.into();
            assert_eq!(is_wanting(&namespace, account), expected, "{phase}");
        }
    }
}
