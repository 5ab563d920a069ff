//! The node's Lease in kube-node-lease: a small sign of life, renewed at a quarter of its duration.

use crate::api_server::{ApiError, ApiServer};
use api::coordination::v1::Lease;
use apimachinery::MicroTime;
use apimachinery::meta::v1::OwnerReference;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const NAMESPACE: &str = "kube-node-lease";
const RETRIES: usize = 5;

pub struct LeaseKeeper {
    pub server: Arc<dyn ApiServer>,
    pub node: String,
    pub duration_seconds: i32,
}

impl LeaseKeeper {
    async fn owner(&self) -> Option<OwnerReference> {
        let node = self.server.get_node(&self.node).await.ok()?;
        Some(OwnerReference {
            api_version: "v1".into(),
            kind: "Node".into(),
            name: self.node.clone(),
            uid: node.metadata.uid,
            ..Default::default()
        })
    }

    fn renewed(&self, mut lease: Lease) -> Lease {
        lease.metadata.name = self.node.clone();
        lease.metadata.namespace = NAMESPACE.into();
        lease.spec.holder_identity = Some(self.node.clone());
        lease.spec.lease_duration_seconds = Some(self.duration_seconds);
        lease.spec.renew_time = Some(MicroTime::now());
        lease
    }

    /// One sign of life on top of the last one, if its answer is at hand.
    async fn renew(&self, last: Option<Lease>) -> Result<Lease, ApiError> {
        let mut lease = match last {
            Some(lease) => lease,
            None => match self.server.get_lease(NAMESPACE, &self.node).await {
                Ok(lease) => lease,
                Err(ApiError::NotFound(_)) => {
                    let mut lease = self.renewed(Lease::default());
                    lease.metadata.owner_references = self.owner().await.into_iter().collect();
                    return self.server.create_lease(&lease).await;
                }
                Err(err) => return Err(err),
            },
        };
        if lease.metadata.owner_references.is_empty() {
            lease.metadata.owner_references = self.owner().await.into_iter().collect();
        }
        self.server.update_lease(&self.renewed(lease)).await
    }

    pub async fn run(self, stop: CancellationToken) {
        let period = Duration::from_secs_f64(f64::from(self.duration_seconds.max(1)) / 4.0);
        let keep = async {
            let mut last = None;
            loop {
                for attempt in 1..=RETRIES {
                    match self.renew(last.take()).await {
                        Ok(lease) => {
                            last = Some(lease);
                            break;
                        }
                        Err(err) if attempt == RETRIES => tracing::error!(err = %err, "Failed to update lease"),
                        Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
                    }
                }
                tokio::time::sleep(component_base::backoff::jittered(period, 0.04)).await;
            }
        };
        tokio::select! {
            () = keep => {}
            () = stop.cancelled() => {}
        }
    }
}
