//! `default`, `kube-system`, `kube-public` and `kube-node-lease` exist. Upstream: pkg/controlplane/controller/systemnamespaces.

use std::sync::Arc;

use api::core::v1::Namespace;
use apiserver::objects::Objects;
use apiserver::server::Server;
use component_base::http::BoxError;
use tokio_util::sync::CancellationToken;

const NAMES: [&str; 4] = ["kube-system", "kube-public", "kube-node-lease", "default"];

/// Makes those that are missing.
pub(super) async fn keep(server: Arc<Server>, _stop: CancellationToken) -> Result<(), BoxError> {
    let objects = server.objects();
    for name in NAMES {
        if objects.get("", "namespaces", "", name).await?.is_some() {
            continue;
        }
        let mut namespace = Namespace::default();
        name.clone_into(&mut namespace.metadata.name);
        match objects.create(Box::new(namespace)).await {
            Ok(_) => {}
            Err(error) if error.is_already_exists() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
