//! root-ca-certificate-publisher-controller: every active namespace has the CA of the API server in a ConfigMap, which
//! is mounted into pods beside their tokens.
//!
//! Reads Namespaces; writes ConfigMaps `kube-root-ca.crt`. Upstream: pkg/controller/certificates/rootcacertpublisher.

use std::sync::Arc;

use api::core::v1::{ConfigMap, Namespace};
use apimachinery::Map;
use client::Api;
use component_base::tasks::Tasks;
use informer::{Event, ObjectKey, Reconcile, Requeue, Selection, Store, WorkQueue};

use crate::{ControllerContext, Registration, StartError, Started, WriteError};

pub const REGISTRATION: Registration =
    Registration { name: "root-ca-certificate-publisher-controller", alias: Some("root-ca-cert-publisher"), default_on: true, start };

const NAME: &str = "kube-root-ca.crt";
const KEY: &str = "ca.crt";
const DESCRIPTION: (&str, &str) = (
    "kubernetes.io/description",
    "The CA bundle to check kube-apiserver by, where it is reached inside of the cluster: by the service's IP or as kubernetes.default.svc. \
     It vouches for nothing else.",
);

/// A write to make.
#[derive(Debug, PartialEq)]
pub enum Action {
    Create(Box<ConfigMap>),
    Update(Box<ConfigMap>),
}

/// What has to change so that the namespace has the right map.
pub fn plan(namespace: &Namespace, published: Option<&ConfigMap>, root_ca: &str) -> Option<Action> {
    if namespace.status.phase != "Active" {
        return None;
    }
    let data = Map::from([(KEY, root_ca.to_string())]);
    let Some(published) = published else {
        let mut map = ConfigMap { data, ..ConfigMap::default() };
        map.metadata.name = NAME.into();
        map.metadata.namespace = namespace.metadata.name.clone();
        map.metadata.annotations.insert(DESCRIPTION.0, DESCRIPTION.1.to_string());
        return Some(Action::Create(Box::new(map)));
    };
    if published.data == data && published.metadata.annotations.contains_key(DESCRIPTION.0) {
        return None;
    }
    let mut map = published.clone();
    map.data = data;
    map.metadata.annotations.insert(DESCRIPTION.0, DESCRIPTION.1.to_string());
    Some(Action::Update(Box::new(map)))
}

fn start(context: &ControllerContext, tasks: &mut Tasks) -> Result<Started, StartError> {
    let Some(root_ca) = &context.settings.root_ca else { return Ok(Started::Skipped("no root CA is known")) };
    let root_ca = String::from_utf8(root_ca.clone()).map_err(|_| StartError::Settings("the root CA is not PEM".into()))?;
    let mut sources = context.sources();
    let namespaces = sources.of::<Namespace>();
    let maps = sources.select::<ConfigMap>(Selection { field_selector: Some(format!("metadata.name={NAME}")), ..Selection::default() });
    let queue = WorkQueue::new("root_ca_cert_publisher");
    let for_maps = queue.clone();
    maps.on_event(move |event| for_maps.add(ObjectKey::new("", &event.object().metadata.namespace)));
    let for_namespaces = queue.clone();
    namespaces.on_event(move |event| {
        if !matches!(event, Event::Deleted(_)) {
            for_namespaces.add(event.key());
        }
    });
    let client = context.client("root-ca-cert-publisher")?;
    let reconciler = Publisher { root_ca, namespaces: namespaces.store(), maps: maps.store(), api: Api::all(&client) };
    context.spawn(tasks, sources, Arc::new(reconciler), queue, 1);
    Ok(Started::Running)
}

struct Publisher {
    root_ca: String,
    namespaces: Arc<Store<Namespace>>,
    maps: Arc<Store<ConfigMap>>,
    api: Api<ConfigMap>,
}

impl Reconcile for Publisher {
    const NAME: &'static str = "root-ca-certificate-publisher-controller";
    type Error = WriteError;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, WriteError> {
        let Some(namespace) = self.namespaces.get(key) else { return Ok(Requeue::OnChange) };
        let published = self.maps.get_named(key.name(), NAME);
        let api = self.api.within(key.name());
        let written = match plan(&namespace, published.as_deref(), &self.root_ca) {
            None => return Ok(Requeue::OnChange),
            Some(Action::Create(map)) => api.create(&map).await,
            Some(Action::Update(map)) => api.update(&map).await,
        };
        match written {
            // The watch will tell what came before us.
            Err(err) if err.is_already_exists() || err.is_namespace_terminating() || err.is_not_found() => Ok(Requeue::OnChange),
            Err(err) => Err(WriteError::new("write", format!("config map \"{}/{NAME}\"", key.name()), err)),
            Ok(_) => Ok(Requeue::OnChange),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(phase: &str) -> Namespace {
        let mut namespace = Namespace::default();
        namespace.metadata.name = "ns".into();
        namespace.status.phase = phase.into();
        namespace
    }

    #[test]
    fn a_map_is_created_kept_and_mended() {
        let active = namespace("Active");
        let Some(Action::Create(map)) = plan(&active, None, "PEM") else { panic!("a new namespace gets a map") };
        assert_eq!((map.metadata.namespace.as_str(), map.data.get_str(KEY)), ("ns", "PEM"));
        assert_eq!(plan(&active, Some(&map), "PEM"), None, "planning twice changes nothing");

        let mut changed = (*map).clone();
        changed.data.insert(KEY, "other".to_string());
        let Some(Action::Update(mended)) = plan(&active, Some(&changed), "PEM") else { panic!("a changed map is mended") };
        assert_eq!(mended.data, map.data);
        assert_eq!(plan(&namespace("Terminating"), None, "PEM"), None);
    }
}
