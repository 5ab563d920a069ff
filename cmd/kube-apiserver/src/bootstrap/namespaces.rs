//! `default`, `kube-system`, `kube-public` and `kube-node-lease` exist. Upstream: pkg/controlplane/controller/systemnamespaces.

use std::sync::Arc;
use std::time::Duration;

use api::core::v1::Namespace;
use apimachinery::status::StatusError;
use apiserver::objects::Objects;
use apiserver::server::Server;
use component_base::http::BoxError;
use tokio_util::sync::CancellationToken;

use super::ensure;

const NAMES: [&str; 4] = ["kube-system", "kube-public", "kube-node-lease", "default"];

/// How often they are looked after: somebody may delete them. Upstream's number.
const PERIOD: Duration = Duration::from_secs(60);

/// Makes those that are missing, and goes on doing so.
pub(super) async fn keep(server: Arc<Server>, stop: CancellationToken) -> Result<(), BoxError> {
    make(&server).await?;
    tokio::spawn(async move {
        // Both arms are cancel-safe.
        while tokio::select! { () = stop.cancelled() => false, () = tokio::time::sleep(PERIOD) => true } {
            if let Err(error) = make(&server).await {
                tracing::warn!(err = %error, "Cannot make the system namespaces");
            }
        }
    });
    Ok(())
}

async fn make(server: &Server) -> Result<(), StatusError> {
    let objects = server.objects();
    for name in NAMES {
        if objects.get("", "namespaces", "", name).await?.is_none() {
            let mut namespace = Namespace::default();
            name.clone_into(&mut namespace.metadata.name);
            ensure(objects.as_ref(), Box::new(namespace)).await?;
        }
    }
    Ok(())
}
