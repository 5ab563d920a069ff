//! `system-node-critical` and `system-cluster-critical`. Upstream: pkg/registry/scheduling/rest.

use std::sync::Arc;

use api::scheduling::v1::PriorityClass;
use apiserver::objects::Objects;
use apiserver::server::Server;
use component_base::http::BoxError;

use super::ensure;

const CLASSES: [(&str, i32, &str); 2] = [
    ("system-node-critical", 2_000_001_000, "Used for system critical pods that must not be moved from their current node."),
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
];

pub(super) async fn make(server: Arc<Server>) -> Result<(), BoxError> {
    let objects = server.objects();
    for (name, value, description) in CLASSES {
        if objects.get("scheduling.k8s.io", "priorityclasses", "", name).await?.is_none() {
            let mut class = PriorityClass { value, description: description.to_owned(), ..PriorityClass::default() };
            name.clone_into(&mut class.metadata.name);
            ensure(objects.as_ref(), Box::new(class)).await?;
        }
    }
    Ok(())
}
