//! What the server makes by itself once it answers: the objects every cluster has. Upstream: pkg/controlplane.

mod authentication_config;
mod identity;
mod kubernetes_service;
mod namespaces;
mod priority_classes;
mod rbac;

use std::sync::Arc;

use apimachinery::Object;
use apimachinery::status::StatusError;
use apiserver::authentication::Authenticator;
use apiserver::authorization::Authorizer;
use apiserver::objects::Objects;
use apiserver::rest::ResourceDef;
use apiserver::server::PostStartHook;
use registry::rbac::Escalation;

use crate::Config;

/// What some resources are made of besides the registry's own settings.
pub struct Parts {
    pub registry: registry::Config,
    pub authenticator: Arc<dyn Authenticator>,
    pub authorizer: Arc<dyn Authorizer>,
    pub escalation: Option<Escalation>,
    pub api_audiences: Vec<String>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("registry", &self.registry).finish_non_exhaustive()
    }
}

/// Every resource this server serves.
pub fn resources(parts: &Parts) -> Vec<ResourceDef> {
    let mut resources = registry::core::resources(&parts.registry);
    resources.extend(registry::apps::resources());
    resources.extend(registry::authentication::resources(parts.authenticator.clone(), parts.api_audiences.clone()));
    resources.extend(registry::authorization::resources(&parts.authorizer));
    resources.extend(registry::batch::resources());
    resources.extend(registry::certificates::resources());
    resources.extend(registry::coordination::resources());
    resources.extend(registry::discovery::resources());
    resources.extend(registry::networking::resources());
    resources.extend(registry::node::resources());
    resources.extend(registry::policy::resources());
    resources.extend(registry::rbac::resources(parts.escalation.as_ref()));
    resources.extend(registry::scheduling::resources());
    resources.extend(registry::storage::resources());
    resources
}

/// Hooks in the order of `/readyz`, by upstream's names.
pub fn hooks(config: &Config) -> Vec<PostStartHook> {
    let (service, authentication) = (config.clone(), config.clone());
    vec![
        PostStartHook {
            name: "start-system-namespaces-controller",
            run: Box::new(|server, stop| Box::pin(namespaces::keep(server, stop))),
        },
        PostStartHook {
            name: "start-cluster-authentication-info-controller",
            run: Box::new(move |server, _| Box::pin(authentication_config::publish(server, authentication))),
        },
        PostStartHook {
            name: "start-kube-apiserver-identity-lease-controller",
            run: Box::new(|server, stop| Box::pin(identity::keep(server, stop))),
        },
        PostStartHook {
            name: "bootstrap-controller",
            run: Box::new(move |server, stop| Box::pin(kubernetes_service::keep(server, service, stop))),
        },
        PostStartHook { name: "rbac/bootstrap-roles", run: Box::new(|server, _| Box::pin(rbac::reconcile(server))) },
        PostStartHook {
            name: "scheduling/bootstrap-system-priority-classes",
            run: Box::new(|server, _| Box::pin(priority_classes::make(server))),
        },
    ]
}

/// Creates an object; one that is there already is as good.
async fn ensure(objects: &dyn Objects, object: Box<dyn Object>) -> Result<(), StatusError> {
    match objects.create(object).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_already_exists() => Ok(()),
        Err(error) => Err(error),
    }
}
